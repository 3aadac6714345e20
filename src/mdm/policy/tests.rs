//! The tables of spec/admin.md §7 and spec/mqtt.md §3.2, row by row.

use std::collections::HashSet;

use serde_json::json;

use super::*;
use crate::ids::TaskId;

fn file() -> Item {
    Item::File(Some(File { id: FileId(5), name: "a.pdf".into(), version: 2 }))
}

fn package(parse_status: &str) -> Item {
    let is_parsed = parse_status == "parsed";
    Item::Package(Some(Package {
        id: PackageId(12),
        name: "F-Droid".into(),
        package_name: if is_parsed { "org.fdroid.fdroid" } else { "" }.into(),
        version_code: "1009000".into(),
        parse_status: parse_status.into(),
    }))
}

/// The body of a task with this value and number 41.
fn wire(symbol: &str, value: &str, expected: &str) {
    let policy = by_symbol(symbol).unwrap();
    let item = match policy.kind {
        Kind::DeployApp => package("parsed"),
        Kind::DeployFile => file(),
        _ => Item::None,
    };
    let body = wire::body(policy, value, &item, TaskId(41)).unwrap();
    assert_eq!(std::str::from_utf8(&body).unwrap(), expected, "{symbol}");
    let removal = wire::removal(symbol, TaskId(41));
    assert_eq!(std::str::from_utf8(&removal).unwrap(), format!(r#"{{"{symbol}":"default","taskId":"41"}}"#));
    assert_eq!(wire::tail(symbol, TaskId(41)), format!("Policy/{symbol}/Task/41"));
}

#[test]
#[rustfmt::skip]
fn every_policy_has_its_bytes_on_the_wire() {
    let rows: &[(&str, &str, &str)] = &[
        ("deployApp",  r#"{"remove_on_delete":1}"#, r#"{"deployApp":"org.fdroid.fdroid","id":"12","versionCode":"1009000","taskId":41}"#),
        ("removeApp",  "org.fdroid.fdroid", r#"{"removeApp":"org.fdroid.fdroid","taskId":41}"#),
        ("deployFile", r#"{"destination":"%SDCARD%/docs","remove_on_delete":0}"#, r#"{"deployFile":"%SDCARD%/docs/","id":"5","version":"2","taskId":41}"#),
        ("removeFile", "%SDCARD%/docs/old.pdf", r#"{"removeFile":"%SDCARD%/docs/old.pdf","taskId":41}"#),
        ("disableUnknownAppSources", "1", r#"{"disableUnknownAppSources":"true","taskId":41}"#),
        ("storageEncryption", "1", r#"{"storageEncryption":"true","taskId":41}"#),
        ("periodicGeolocation", "30", r#"{"periodicGeolocation":"30","taskId":41}"#),
        ("passwordEnabled", "PASSWORD_PIN", r#"{"passwordEnabled":"PASSWORD_PIN","taskId":41}"#),
        ("passwordMinLength", "6", r#"{"passwordMinLength":"6","taskId":41}"#),
        ("passwordQuality", "PASSWORD_QUALITY_COMPLEX", r#"{"passwordQuality":"PASSWORD_QUALITY_COMPLEX","taskId":41}"#),
        ("passwordMinLetters", "2", r#"{"passwordMinLetters":"2","taskId":41}"#),
        ("passwordMinLowerCase", "1", r#"{"passwordMinLowerCase":"1","taskId":41}"#),
        ("passwordMinNonLetter", "1", r#"{"passwordMinNonLetter":"1","taskId":41}"#),
        ("passwordMinNumeric", "1", r#"{"passwordMinNumeric":"1","taskId":41}"#),
        ("passwordMinSymbols", "1", r#"{"passwordMinSymbols":"1","taskId":41}"#),
        ("passwordMinUpperCase", "1", r#"{"passwordMinUpperCase":"1","taskId":41}"#),
        ("maximumFailedPasswordsForWipe", "5", r#"{"maximumFailedPasswordsForWipe":"5","taskId":41}"#),
        ("maximumTimeToLock", "60000", r#"{"maximumTimeToLock":"60000","taskId":41}"#),
        ("disableCamera", "0", r#"{"disableCamera":"false","taskId":41}"#),
        ("disableWifi", "1", r#"{"disableWifi":"true","taskId":41}"#),
        ("disableBluetooth", "1", r#"{"disableBluetooth":"true","taskId":41}"#),
        ("disableRoaming", "1", r#"{"disableRoaming":"true","taskId":41}"#),
        ("disableGPS", "1", r#"{"disableGPS":"true","taskId":41}"#),
        ("disableMobileLine", "1", r#"{"disableMobileLine":"true","taskId":41}"#),
        ("disableNfc", "1", r#"{"disableNfc":"true","taskId":41}"#),
        ("disableHostpotTethering", "1", r#"{"disableHostpotTethering":"true","taskId":41}"#),
        ("disableAirplaneMode", "1", r#"{"disableAirplaneMode":"true","taskId":41}"#),
        ("disableSpeakerphone", "1", r#"{"disableSpeakerphone":"true","taskId":41}"#),
        ("disableUsbMtp", "1", r#"{"disableUsbMtp":"true","taskId":41}"#),
        ("disableUsbPtp", "1", r#"{"disableUsbPtp":"true","taskId":41}"#),
        ("disableUsbAdb", "0", r#"{"disableUsbAdb":"false","taskId":41}"#),
        ("disableStatusBar", "1", r#"{"disableStatusBar":"true","taskId":41}"#),
        ("disableScreenCapture", "1", r#"{"disableScreenCapture":"true","taskId":41}"#),
        ("disableStreamMusic", "1", r#"{"disableStreamMusic":"true","taskId":41}"#),
        ("disableStreamRing", "1", r#"{"disableStreamRing":"true","taskId":41}"#),
        ("disableStreamAlarm", "1", r#"{"disableStreamAlarm":"true","taskId":41}"#),
        ("disableStreamNotification", "1", r#"{"disableStreamNotification":"true","taskId":41}"#),
        ("disableStreamAccessibility", "1", r#"{"disableStreamAccessibility":"true","taskId":41}"#),
        ("disableStreamDTMF", "1", r#"{"disableStreamDTMF":"true","taskId":41}"#),
        ("disableStreamSystem", "1", r#"{"disableStreamSystem":"true","taskId":41}"#),
        ("defaultStreamType", "RINGER_MODE_SILENT", r#"{"defaultStreamType":"RINGER_MODE_SILENT","taskId":41}"#),
    ];
    for (symbol, value, expected) in rows {
        wire(symbol, value, expected);
    }
    let tested: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let all: Vec<&str> = POLICIES.iter().map(|it| it.symbol).collect();
    assert_eq!(tested, all, "a row for every policy");
}

#[test]
fn slashes_and_letters_are_not_escaped_on_the_wire() {
    wire("removeFile", "%SDCARD%/é\"/x", r#"{"removeFile":"%SDCARD%/é\"/x","taskId":41}"#);
}

#[test]
fn the_grouped_form_holds_text_only_and_only_files() {
    let element =
        |symbol: &str, value: &str, item: &Item| wire::element(by_symbol(symbol).unwrap(), value, item, TaskId(44));
    let deploy = element("deployFile", r#"{"destination":"%SDCARD%/docs","remove_on_delete":0}"#, &file()).unwrap();
    let remove = element("removeFile", "%SDCARD%/a", &Item::None).unwrap();
    let expected = r#"{"file":[{"deployFile":"%SDCARD%/docs/","id":"5","version":"2","taskId":"44"},{"removeFile":"%SDCARD%/a","taskId":"44"}]}"#;
    assert_eq!(wire::grouped([deploy.as_str(), remove.as_str()].into_iter()), expected);
    assert_eq!(wire::grouped([].into_iter()), r#"{"file":[]}"#);
    assert_eq!(element("disableWifi", "1", &Item::None), None);
    assert_eq!(element("removeApp", "x", &Item::None), None);
}

#[test]
fn what_cannot_be_fetched_is_not_published() {
    let body = |symbol: &str, item: &Item| {
        wire::body(by_symbol(symbol).unwrap(), r#"{"destination":"%SDCARD%","remove_on_delete":0}"#, item, TaskId(1))
    };
    assert_eq!(body("deployApp", &package("pending")), None);
    assert_eq!(body("deployApp", &Item::Package(None)), None);
    assert_eq!(body("deployFile", &Item::None), None);
}

fn check(symbol: &str, value: Value, item: Item, expected: Result<(&str, &str), &str>) {
    let paths = ["%SDCARD%".to_owned(), "%DOCUMENTS%".to_owned()];
    let checked = by_symbol(symbol).unwrap().check(&value, &item, &paths);
    let expected = expected.map(|(value, subject)| Setting { value: value.into(), subject: subject.into() });
    assert_eq!(checked, expected, "{symbol} {value}");
}

#[test]
#[rustfmt::skip]
fn simple_values_are_checked_by_their_kind() {
    let bad = || Err("Incorrect value for this policy");
    check("disableWifi", json!("1"), Item::None, Ok(("1", "")));
    check("disableWifi", json!(0), Item::None, Ok(("0", "")));
    check("disableWifi", json!(true), Item::None, Ok(("1", "")));
    check("disableWifi", json!("2"), Item::None, bad());
    check("disableWifi", json!(""), Item::None, bad());
    check("disableWifi", json!(null), Item::None, bad());
    check("disableWifi", json!("1"), file(), bad());
    check("passwordMinLength", json!("6"), Item::None, Ok(("6", "")));
    check("passwordMinLength", json!(-1), Item::None, bad());
    check("passwordMinLength", json!("12abc"), Item::None, bad());
    check("passwordEnabled", json!("PASSWORD_PIN"), Item::None, Ok(("PASSWORD_PIN", "")));
    check("passwordEnabled", json!("password_pin"), Item::None, bad());
    check("removeApp", json!("org.x"), Item::None, Ok(("org.x", "org.x")));
    check("removeApp", json!(""), Item::None, Err("An application ID is required"));
    check("removeFile", json!("%SDCARD%/a"), Item::None, Ok(("%SDCARD%/a", "%SDCARD%/a")));
    check("removeFile", json!(""), Item::None, bad());
    check("removeFile", json!("x".repeat(VALUE_BYTES_MAX + 1)), Item::None, Err("The value is too long"));
}

#[test]
#[rustfmt::skip]
fn deployments_of_applications_are_checked_in_order() {
    let flag = json!({"remove_on_delete": "1"});
    check("deployApp", flag.clone(), package("parsed"), Ok((r#"{"remove_on_delete":1}"#, "12")));
    check("deployApp", json!(r#"{"remove_on_delete":0}"#), package("parsed"), Ok((r#"{"remove_on_delete":0}"#, "12")));
    check("deployApp", json!({}), Item::None, Err("The remove on delete flag is mandatory"));
    check("deployApp", json!("x"), package("parsed"), Err("The remove on delete flag is mandatory"));
    check("deployApp", json!({"remove_on_delete": 2}), Item::None, Err("The remove on delete flag must be 0 or 1"));
    check("deployApp", flag.clone(), file(), Err("You must choose an application to apply this policy"));
    check("deployApp", flag.clone(), Item::Package(None), Err("The application does not exists"));
    check("deployApp", flag.clone(), package("pending"), Err("The application is not analysed yet; try again in a moment"));
    check("deployApp", flag, package("failed"), Err("The application could not be analysed; upload it again"));
}

#[test]
#[rustfmt::skip]
fn deployments_of_files_are_checked_in_order() {
    let to = |destination: &str| json!({"destination": destination, "remove_on_delete": 0});
    let mandatory = || Err("A destination and the remove on delete flag are mandatory");
    let path = || Err("invalid base path");
    check("deployFile", to("%SDCARD%/docs"), file(), Ok((r#"{"destination":"%SDCARD%/docs","remove_on_delete":0}"#, "5 %SDCARD%/docs/")));
    check("deployFile", to("%SDCARD%"), file(), Ok((r#"{"destination":"%SDCARD%","remove_on_delete":0}"#, "5 %SDCARD%/")));
    check("deployFile", json!({"destination": "%SDCARD%"}), Item::None, mandatory());
    check("deployFile", json!({"remove_on_delete": 1}), Item::None, mandatory());
    check("deployFile", json!({"destination": "x", "remove_on_delete": "yes"}), Item::None, Err("The remove on delete flag must be 0 or 1"));
    check("deployFile", to("x"), package("parsed"), Err("You must choose a file to apply this policy"));
    check("deployFile", to("x"), Item::File(None), Err("The file does not exists"));
    check("deployFile", to("x"), file(), path());
    check("deployFile", to("%SDCARD%x"), file(), path());
    check("deployFile", to("%SDCARD%//x"), file(), path());
    check("deployFile", to("%SDCARD%/../x"), file(), path());
    check("deployFile", to("%SDCARD%/./x"), file(), path());
    check("deployFile", to("%SDCARD%/.."), file(), path());
}

#[test]
fn removals_exclude_the_deployment_of_the_same_thing() {
    let conflict = |symbol: &str, value: Value, item: Item, other: (&str, &str)| {
        let policy = by_symbol(symbol).unwrap();
        let setting = policy.check(&value, &item, &["%SDCARD%".to_owned()]).unwrap();
        policy.conflict(&setting, &item, [other]).is_some()
    };
    let app = |other| conflict("deployApp", json!({"remove_on_delete": 0}), package("parsed"), other);
    assert!(app(("removeApp", "org.fdroid.fdroid")));
    assert!(app(("removeApp", "F-Droid")));
    assert!(!app(("removeApp", "org.other")));
    assert!(!app(("removeFile", "org.fdroid.fdroid")));
    let to = |destination: &str, other| {
        conflict("deployFile", json!({"destination": destination, "remove_on_delete": 0}), file(), other)
    };
    assert!(to("%SDCARD%/docs", ("removeFile", "%SDCARD%/docs")));
    assert!(to("%SDCARD%/docs/", ("removeFile", "%SDCARD%/docs/a.pdf")));
    assert!(!to("%SDCARD%/docs", ("removeFile", "%SDCARD%/docs/b.pdf")));
    assert!(!conflict("disableWifi", json!(1), Item::None, ("removeFile", "1")));
}

#[test]
fn a_deployment_that_is_undone_with_its_task_leaves_a_removal() {
    let undoing = |symbol: &str, value: &str, item: Item| {
        by_symbol(symbol).unwrap().undoing(value, &item).map(|(policy, value)| (policy.symbol, value))
    };
    let app = undoing("deployApp", r#"{"remove_on_delete":1}"#, package("parsed"));
    assert_eq!(app, Some(("removeApp", "org.fdroid.fdroid".to_owned())));
    let there = undoing("deployFile", r#"{"destination":"%SDCARD%/docs","remove_on_delete":1}"#, file());
    assert_eq!(there, Some(("removeFile", "%SDCARD%/docs/a.pdf".to_owned())));
    assert_eq!(undoing("deployApp", r#"{"remove_on_delete":0}"#, package("parsed")), None);
    assert_eq!(undoing("disableWifi", "1", Item::None), None);
    let forced = without_removal(r#"{"destination":"%SDCARD%","remove_on_delete":1}"#).unwrap();
    assert_eq!(deployment(&forced), Some(Deployment { destination: "%SDCARD%".into(), remove_on_delete: false }));
}

#[test]
fn what_is_typed_at_the_command_line_becomes_a_value() {
    let check = |symbol: &str, text: &str, remove, expected: Value| {
        assert_eq!(typed(by_symbol(symbol).unwrap(), text, remove), expected, "{symbol} {text}");
    };
    check("disableWifi", "1", false, json!("1"));
    check("deployFile", "%SDCARD%/x", false, json!({"destination": "%SDCARD%/x", "remove_on_delete": 0}));
    check("deployFile", r#"{"destination":"a"}"#, true, json!({"destination": "a", "remove_on_delete": 1}));
    let given = r#"{"destination":"a","remove_on_delete":"1"}"#;
    check("deployFile", given, false, json!({"destination": "a", "remove_on_delete": "1"}));
    check("deployApp", "", true, json!({"remove_on_delete": 1}));
}

#[test]
fn only_deployments_and_removals_wait_for_the_user() {
    let status = |symbol: &str, name| by_symbol(symbol).unwrap().status(name);
    assert_eq!(status("disableWifi", "overriden"), Some("overriden"));
    assert_eq!(status("disableWifi", "waiting"), None);
    assert_eq!(status("removeFile", "waiting"), Some("waiting"));
    assert_eq!(status("removeFile", "overridden"), None);
}

#[test]
fn numbers_symbols_and_categories_hang_together() {
    let ids: Vec<i64> = POLICIES.iter().map(|it| it.id).collect();
    assert_eq!(ids, (1..=41).collect::<Vec<_>>());
    assert_eq!(POLICIES.iter().map(|it| it.symbol).collect::<HashSet<_>>().len(), POLICIES.len());
    assert!(POLICIES.iter().all(|it| CATEGORIES.iter().any(|category| category.id == it.category)));
    for policy in POLICIES.iter().filter(|it| it.is_unique()) {
        for value in [policy.default, policy.recommended] {
            assert!(policy.check(&json!(value), &Item::None, &[]).is_ok(), "{} takes its own {value}", policy.symbol);
        }
    }
    let password = CATEGORIES.iter().find(|it| it.id == 7).unwrap();
    assert_eq!((password.complete_name().as_str(), password.level()), ("Security > Authentication > Password", 3));
    assert_eq!(by_id(20).unwrap().symbol, "disableWifi");
}
