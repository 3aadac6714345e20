//! The tables of spec/agent-behaviour.md, row by row.

use super::*;

const NOW: Timestamp = Timestamp(1_499_364_642_000);

fn device(profile: Profile) -> Device {
    Device::new(profile, "S1", "76/agent/S1", Bytes::from_static(b"<REQUEST/>"))
}

fn check(profile: Profile, topic: &str, body: &str, expected: &[Action]) {
    assert_eq!(device(profile).heard(topic, body.as_bytes(), NOW), expected, "{profile:?} on {topic} {body}");
}

fn says(topic: &str, body: &str) -> Action {
    Action::Publish { topic: topic.into(), payload: Bytes::copy_from_slice(body.as_bytes()) }
}

fn subscribes(filter: &str, qos: QoS) -> Action {
    Action::Subscribe(vec![(filter.into(), qos)])
}

const FLEET: &str = r#"{"subscribe":[{"topic":"76/fleet/7"}]}"#;
const NO_FLEET: &str = r#"{"subscribe":[{"topic":null}]}"#;

#[test]
#[rustfmt::skip]
fn profile_a_answers_by_http_from_the_topic_alone() {
    use HttpReport::{Inventory, Online, Pong, Position};
    let http = Action::Http;
    check(Profile::A, "76/agent/S1/Command/Ping",      r#"{"query":"Ping"}"#,      &[http(Pong)]);
    check(Profile::A, "76/agent/S1/Command/Ping",      "",                         &[http(Pong)]);
    check(Profile::A, "76/agent/S1/Command/Geolocate", r#"{"query":"Geolocate"}"#, &[http(Position)]);
    check(Profile::A, "76/agent/S1/Command/Inventory", r#"{"query":"Inventory"}"#, &[http(Inventory)]);
    check(Profile::A, "76/agent/S1/Command/Lock",      r#"{"lock":"now"}"#,        &[Action::Screen(true), http(Pong)]);
    check(Profile::A, "76/agent/S1/Command/Lock",      r#"{"lock":"unlock"}"#,     &[Action::Screen(false), http(Pong)]);
    check(Profile::A, "76/agent/S1/Command/Wipe",      r#"{"wipe":"NOW"}"#,        &[http(Online(false)), Action::Forget]);
    check(Profile::A, "76/agent/S1/Command/Wipe",      r#"{"wipe":"later"}"#,      &[]);
    check(Profile::A, "76/agent/S1/Command/Unenroll",  "",                         &[http(Online(false)), Action::Forget]);
    check(Profile::A, "76/agent/S1/Command/Subscribe", FLEET,                      &[Action::Fleet, subscribes("76/fleet/7/#", QoS::AtMostOnce)]);
    check(Profile::A, "76/agent/S1/Command/Subscribe", NO_FLEET,                   &[Action::Fleet]);
    check(Profile::A, "76/fleet/7/Policy/disableWifi/Task/4", r#"{"disableWifi":"default","taskId":"4"}"#, &[]);
    let done = |task, statuses| http(HttpReport::TaskStatus { task, statuses });
    check(Profile::A, "76/fleet/7/Policy/maximumTimeToLock/Task/4", r#"{"maximumTimeToLock":"5","taskId":4}"#, &[done(4, &["done"]), Action::Screen(false), http(Pong)]);
    check(Profile::A, "76/fleet/7/Policy/disableWifi/Task/4", r#"{"disableWifi":"true","taskId":4}"#, &[done(4, &["done"])]);
    check(Profile::A, "76/agent/S1/Policy/deployApp/Task/5", r#"{"deployApp":"x","id":"1","versionCode":"2","taskId":"5"}"#, &[done(5, &["waiting", "done"])]);
    check(Profile::A, "76/agent/S1/Policy/removeFile/Task/6", r#"{"removeFile":"x","taskId":6}"#, &[done(6, &["done", "done"])]);
    check(Profile::A, "76/fleet/7/Policy/disableNfc/Task/4", r#"{"disableNfc":"true","taskId":4}"#, &[]);
    check(Profile::A, "76/fleet/7/Policy/disableWifi/Task/4", r#"{"disablewifi":"true","taskId":4}"#, &[]);
}

#[test]
fn profile_a_unsubscribes_the_fleets_it_remembers() {
    let mut device = device(Profile::A);
    device.heard("76/agent/S1/Command/Subscribe", FLEET.as_bytes(), NOW);
    let actions = device.heard("76/agent/S1/Command/Subscribe", NO_FLEET.as_bytes(), NOW);
    assert_eq!(actions, [Action::Fleet, Action::Unsubscribe(vec!["76/fleet/7/#".into()])]);
}

#[test]
#[rustfmt::skip]
fn profile_b_answers_by_mqtt_and_checks_the_body() {
    let here = r#"{"latitude":"47.9570000","longitude":"0.0000000","datetime":1499364642}"#;
    let (latitude, longitude) = device(Profile::B).coordinates();
    let here = here.replace("47.9570000", &format!("{latitude:.7}")).replace("0.0000000", &format!("{longitude:.7}"));
    check(Profile::B, "76/agent/S1/Command/Ping",      r#"{"query":"Ping"}"#,      &[says("76/agent/S1/Status/Ping", "!")]);
    check(Profile::B, "76/agent/S1/Command/Ping",      "",                         &[]);
    check(Profile::B, "76/agent/S1/Command/Geolocate", r#"{"query":"Geolocate"}"#, &[says("76/agent/S1/Status/Geolocation", &here)]);
    check(Profile::B, "76/agent/S1/Command/Inventory", r#"{"query":"Inventory"}"#, &[says("76/agent/S1/Status/Inventory", "<REQUEST/>")]);
    check(Profile::B, "76/agent/S1/Command/Lock",      r#"{"lock":"now"}"#,        &[Action::Screen(true)]);
    check(Profile::B, "76/agent/S1/Command/Wipe",      r#"{"wipe":"now"}"#,        &[Action::Forget]);
    check(Profile::B, "76/agent/S1/Command/Unenroll",  r#"{"unenroll":"Now"}"#,    &[says("76/agent/S1/Status/Unenroll", UNENROLLED), Action::Forget]);
    check(Profile::B, "76/agent/S1/Command/Unenroll",  "",                         &[]);
    check(Profile::B, "76/agent/S1/Command/Subscribe", FLEET,                      &[Action::Fleet, subscribes("76/fleet/7/#", QoS::AtMostOnce)]);
    check(Profile::B, "76/agent/S1/Command/Subscribe", NO_FLEET,                   &[Action::Fleet, subscribes("null/#", QoS::AtMostOnce)]);
    check(Profile::B, "76/fleet/7/Policy/disableWifi/Task/4", r#"{"disableWifi":"true","taskId":4}"#, &[says("76/fleet/7/Policy/disableWifi/Task/4/Status/Task/4", r#"{ "status": "done" }"#)]);
    check(Profile::B, "76/fleet/7/Policy/deployApp/Task/5", r#"{"deployApp":"x","id":"1","versionCode":"2","taskId":5}"#, &[says("76/agent/S1/Status/Task/5", r#"{ "status": "received" }"#)]);
    check(Profile::B, "76/fleet/7/Policy/removeFile/Task/6", r#"{"removeFile":"x","taskId":"6"}"#, &[says("76/agent/S1/Status/Task/6", r#"{ "status": "done" }"#)]);
    check(Profile::B, "76/fleet/7/Policy/disableWifi/Task/4", "", &[]);
}

#[test]
#[rustfmt::skip]
fn profile_f_looks_at_json_keys_only() {
    check(Profile::F, "76/agent/S1/Command/Ping",      r#"{"query":"Ping"}"#,      &[says("76/agent/S1/Status/Ping", "!")]);
    check(Profile::F, "76/agent/S1/Command/Ping",      r#"{"query":"ping"}"#,      &[]);
    check(Profile::F, "76/agent/S1/Command/Inventory", r#"{"query":"Inventory"}"#, &[says("76/agent/S1/Status/Inventory", "<REQUEST/>")]);
    check(Profile::F, "76/agent/S1/Command/Lock",      r#"{"lock":"now"}"#,        &[]);
    check(Profile::F, "76/agent/S1/Command/Unenroll",  r#"{"unenroll":"now"}"#,    &[says("76/agent/S1/Status/Unenroll", UNENROLLED), Action::Disconnect, Action::Forget]);
    check(Profile::F, "76/agent/S1/Command/Unenroll",  r#"{"unenroll":"Now"}"#,    &[]);
    check(Profile::F, "76/agent/S1/Command/Subscribe", FLEET,                      &[Action::Fleet, subscribes("76/fleet/7/#", QoS::AtLeastOnce)]);
    check(Profile::F, "76/agent/S1/Command/Subscribe", NO_FLEET,                   &[Action::Fleet]);
    check(Profile::F, "76/fleet/7/file", r#"{"file":[{"removeFile":"x","taskId":"4"}]}"#, &[]);
    check(Profile::F, "76/fleet/7/Policy/disableWifi/Task/4", r#"{"disableWifi":"true","taskId":4}"#, &[]);
}

#[test]
fn ios_dates_lie_in_january_1970() {
    let actions = device(Profile::F).heard("76/agent/S1/Command/Geolocate", br#"{"query":"Geolocate"}"#, NOW);
    let [Action::Publish { payload, .. }] = &actions[..] else { panic!("{actions:?}") };
    let position: Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(position["datetime"], 1_499_364);
    assert!(position["latitude"].is_number());
}

#[test]
fn profiles_connect_and_subscribe_as_their_tables_say() {
    let own = || ("76/agent/S1/#".to_owned(), QoS::AtMostOnce);
    let manifest = || (MANIFEST.to_owned(), QoS::AtMostOnce);

    let mut a = device(Profile::A);
    let connect = a.connect("paho1", "secret");
    assert_eq!((connect.version, connect.clean_session, connect.keep_alive_s), (Version::V3_1, true, 60));
    let will = connect.will.unwrap();
    assert_eq!(
        (&*will.topic, &will.payload[..], will.retain),
        ("76/agent/S1/Status/Online", &br#"{ "online": false }"#[..], true)
    );
    let [Action::Http(HttpReport::Online(true)), Action::Subscribe(first), Action::Subscribe(second)] =
        &a.connected()[..]
    else {
        panic!("profile A says online by HTTP and subscribes twice")
    };
    assert_eq!((first, second), (&vec![own()], &vec![manifest()]));

    let mut b = device(Profile::B);
    let expected = [
        says("76/agent/S1/Status/Online", r#"{"online": true}"#),
        Action::Subscribe(vec![own()]),
        Action::Subscribe(vec![own(), manifest()]),
    ];
    assert_eq!(b.connected(), expected);

    let c = device(Profile::C).connect("paho1", "secret").will.unwrap();
    assert_eq!((&*c.topic, &c.payload[..], c.retain), ("/Status/Online", &b"{ online: false }"[..], false));

    let mut f = device(Profile::F);
    assert_eq!(f.connect("S1", "secret").version, Version::V3_1_1);
    let expected = [
        subscribes("76/agent/S1/#", QoS::AtLeastOnce),
        subscribes("/FlyvemdmManifest/Status/Version", QoS::AtLeastOnce),
    ];
    assert_eq!(f.connected(), expected);
}
