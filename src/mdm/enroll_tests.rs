//! Which check speaks first, and in which words.

use serde_json::json;

use super::*;

const RULES: Rules<'static> = Rules { android_version_min: "", apple_version_min: "", agents_per_entity_max: 0 };
const PLACE: Place = Place { agents: 3, fleet: Some(FleetId(1)) };

fn invitation() -> Invitation {
    Invitation {
        id: InvitationId(1),
        person: PersonId(2),
        email: "a@b".into(),
        entity: EntityId(76),
        is_pending: true,
        expires_at: Timestamp(1000),
    }
}

/// A complete attempt with some members changed.
fn attempt(changes: Value) -> Attempt {
    let mut input = json!({
        "_email": "A@b ", "_invitation_token": "t", "_serial": "AZERTY", "_uuid": "U-1", "csr": "", "firstname": "my",
        "lastname": "own", "version": "0.99.0", "type": "android",
    });
    for (name, value) in changes.as_object().unwrap() {
        input[name] = value.clone();
    }
    Attempt::read(input.as_object().unwrap())
}

fn verdict(changes: Value) -> Result<Accepted, Refusal> {
    check(&attempt(changes), Some(invitation()), PLACE, RULES, Timestamp(999))
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn the_seeds_attempt_is_accepted_under_both_contracts() {
    let accepted = verdict(json!({})).unwrap();
    assert_eq!((accepted.serial.as_str(), accepted.uuid.as_str(), accepted.mdm_type), ("AZERTY", "U-1", "android"));
    assert!(verdict(json!({"type": null, "_uuid": null})).is_ok());
    assert_eq!(verdict(json!({"_serial": "", "_uuid": "U"})).unwrap().serial.as_str(), "U");
    assert_eq!(verdict(json!({"_serial": " AZERTY\r\n"})).unwrap().serial.as_str(), "AZERTY");
    assert_eq!(verdict(json!({"type": "apple"})).unwrap().mdm_type, "apple");
}

#[test]
fn every_check_refuses_with_its_own_text() {
    let check = |changes: Value, text: &str| assert_eq!(verdict(changes).unwrap_err().to_string(), text);
    check(json!({"_email": ""}), "Unable to find a enrollment method");
    check(json!({"_invitation_token": []}), "Unable to find a enrollment method");
    check(json!({"notification_type": "fcm"}), "FCM service is not available");
    check(json!({"notification_type": "pigeon"}), "Notification settings are invalid");
    check(json!({"_serial": {}, "_uuid": null}), "One of serial and uuid is mandatory");
    for bad in ["a/b", "a\0b", "AZERTY\0", "\0", "a\nb", "a\u{7f}b", "a\u{85}b"] {
        check(json!({"_serial": bad}), "a serial must not contain '/', '+', '#' or control characters");
    }
    check(json!({"inventory": ""}), "Device inventory XML is mandatory");
    check(json!({"inventory": 7}), "Device inventory XML is mandatory");
    check(json!({"inventory": base64("  ")}), "Device inventory XML is mandatory");
    check(json!({"inventory": "***"}), "Inventory XML is not well formed");
    check(json!({"inventory": base64("no xml")}), "Inventory XML is not well formed");
    check(json!({"version": ""}), "Agent version missing");
    check(json!({"type": "symbian"}), "unknown MDM type");
    check(json!({"version": "two"}), "Bad agent version");
    check(json!({"_email": "c@b"}), "Wrong email address");
}

#[test]
fn earlier_checks_speak_first() {
    let bad = attempt(json!({"_email": "c@b", "version": "", "_serial": "", "_uuid": ""}));
    let done = Invitation { is_pending: false, ..invitation() };
    let judge = |attempt: &Attempt, invitation, place, now| check(attempt, invitation, place, RULES, now).unwrap_err();
    assert_eq!(judge(&bad, None, PLACE, Timestamp(0)), Refusal::NoInvitation);
    assert_eq!(judge(&bad, Some(done.clone()), PLACE, Timestamp(0)), Refusal::NoIdentity);
    assert_eq!(judge(&attempt(json!({"_email": "c@b"})), Some(done), PLACE, Timestamp(2000)), Refusal::NotPending);
    assert_eq!(judge(&attempt(json!({"_email": "c@b"})), Some(invitation()), PLACE, Timestamp(1000)), Refusal::Expired);
    let nowhere = Place { fleet: None, ..PLACE };
    assert_eq!(judge(&attempt(json!({})), Some(invitation()), nowhere, Timestamp(0)), Refusal::NoFleet);
}

#[test]
fn the_operator_sets_versions_and_limits() {
    let rules = Rules { android_version_min: "2.0", apple_version_min: "1.0", agents_per_entity_max: 3 };
    let judge = |changes: Value, agents: i64| {
        check(&attempt(changes), Some(invitation()), Place { agents, ..PLACE }, rules, Timestamp(0)).map(|_| ())
    };
    assert_eq!(judge(json!({}), 0), Err(Refusal::LowVersion));
    assert_eq!(judge(json!({"version": "2.0.0-rc.5"}), 0), Ok(()));
    assert_eq!(judge(json!({"version": "1.0.0", "type": "apple"}), 0), Ok(()));
    assert_eq!(judge(json!({"version": "2.0.0"}), 3), Err(Refusal::TooMany));
    assert_eq!(judge(json!({"version": "2.0.0"}), 2), Ok(()));
}

#[test]
fn the_inventory_names_the_device_unless_it_hides_its_serial() {
    let with = |ssn: &str, serial: &str| {
        let xml = format!("<REQUEST><CONTENT><BIOS><SSN>{ssn}</SSN></BIOS></CONTENT></REQUEST>");
        verdict(json!({"inventory": base64(&xml), "_serial": serial})).map(|it| it.serial.to_string())
    };
    assert_eq!(with("FROMXML", "OTHER"), Ok("FROMXML".into()));
    assert_eq!(with("", "OTHER"), Ok("OTHER".into()));
    assert_eq!(with("Unknown", "OTHER"), Ok("OTHER".into()));
    assert_eq!(with("unknown", "Unknown"), Ok("unknown".into()));
    assert_eq!(with("a/b", "OTHER"), Err(Refusal::BadSerial(BadSerial::Character)));
    let escaped = "&lt;REQUEST&gt;&lt;CONTENT&gt;&lt;BIOS&gt;&lt;SSN&gt;E1&lt;/SSN&gt;&lt;/BIOS&gt;&lt;/CONTENT&gt;&lt;/REQUEST&gt;";
    assert_eq!(verdict(json!({"inventory": base64(escaped)})).unwrap().serial.as_str(), "E1");
}

#[test]
fn devices_that_share_a_placeholder_are_told_apart() {
    let check = |serial: &str, ours: &str, theirs: &str, same: bool| {
        assert_eq!(is_same_device(&Serial::parse(serial).unwrap(), ours, theirs), same, "{serial} {ours} {theirs}");
    };
    check("AZERTY", "u", "u", true);
    check("AZERTY", "u", "", true);
    check("AZERTY", "", "", true);
    check("AZERTY", "u", "v", false);
    check("Unknown", "u", "U", true);
    check("Unknown", "", "", false);
    check("unknown", "u", "", false);
}

#[test]
fn wrong_types_everywhere_are_refused_and_nothing_more() {
    let names = ["_email", "_invitation_token", "_serial", "_uuid", "csr", "firstname", "version", "type", "inventory"];
    for name in names {
        for value in [json!(1e300), json!([[]]), json!({"a": 1}), json!(true), json!(-1), json!("\0\u{202e}")] {
            let mut change = json!({});
            change[name] = value;
            let _ = verdict(change);
        }
    }
}
