//! What each odd payload does.

use super::*;
use crate::{
    ids::AgentId,
    mdm::{agent::tests::agent, catalog},
};

pub(crate) const HEARD: Heard =
    Heard { now: Timestamp(1000), connection: ConnectionNumber(5), has_open_commands: false };
const SEEN: Change = Change::Seen { agent: AgentId(1), at: Timestamp(1000) };

fn hear(topic: &str, payload: &[u8], heard: &Heard) -> Changes {
    let topic = format!("3/agent/S1/{topic}");
    let agent = agent();
    let found = catalog::recognize(&agent, &topic).unwrap();
    (found.report.effect)(&agent, &Message { tail: found.tail, payload }, heard)
}

fn check(topic: &str, payload: &str, expected: Result<&[Change], Malformed>) {
    assert_eq!(hear(topic, payload.as_bytes(), &HEARD), expected.map(<[Change]>::to_vec), "{topic} {payload}");
}

fn online(is_online: bool) -> Change {
    Change::SaysOnline { agent: AgentId(1), is_online, connection: Some(ConnectionNumber(5)) }
}

#[test]
fn ping_is_exactly_an_exclamation_mark() {
    check("Status/Ping", "!", Ok(&[SEEN]));
    check("Status/Ping", "?", Err(Malformed::Payload));
    check("Status/Ping", "", Err(Malformed::Payload));
}

#[test]
fn online_in_every_spelling() {
    for yes in ["true", r#""true""#, "1", r#""1""#, r#""yes""#] {
        check("Status/Online", &format!(r#"{{"online":{yes}}}"#), Ok(&[online(true), SEEN]));
    }
    for no in ["false", r#""false""#, "0", r#""0""#, r#""no""#, r#""off""#] {
        check("Status/Online", &format!(r#"{{ "online": {no} }}"#), Ok(&[online(false), SEEN]));
    }
    check("Status/Online", "{ online: false }", Ok(&[online(false), SEEN]));
    check("Status/Online", "{online: true}", Ok(&[online(true), SEEN]));
    check("Status/Online", r#"{"online":null}"#, Ok(&[SEEN]));
    check("Status/Online", r#"{"online":2}"#, Ok(&[SEEN]));
    check("Status/Online", "{}", Ok(&[SEEN]));
    check("Status/Online", "true", Err(Malformed::Json));
    check("Status/Online", "{ online: maybe }", Err(Malformed::Json));
    let bomb = format!(r#"{{"online":true,"x":[{}0]}}"#, r#"{"":0},"#.repeat(100_000));
    check("Status/Online", &bomb, Err(Malformed::Large));
    check("Status/Geolocation", &bomb, Err(Malformed::Large));
    check("Status/Online", "", Err(Malformed::Json));
}

#[test]
fn positions() {
    let at = |latitude: &str, longitude: &str, seconds: i64| Change::Position {
        agent: AgentId(1),
        computer: agent().computer,
        at: Timestamp(seconds * 1000),
        latitude: latitude.into(),
        longitude: longitude.into(),
    };
    let topic = "Status/Geolocation";
    check(topic, "?", Ok(&[]));
    check(
        topic,
        r#"{"latitude":"10.5","longitude":"-67.5","datetime":1499364642}"#,
        Ok(&[at("10.5", "-67.5", 1499364642), SEEN]),
    );
    check(topic, r#"{"latitude":48.25,"longitude":-1,"datetime":1476345}"#, Ok(&[at("48.25", "-1", 1476345), SEEN]));
    check(topic, r#"{"latitude":"na","longitude":"na","datetime":"7"}"#, Ok(&[at("na", "na", 7), SEEN]));
    check(topic, r#"{"datetime":7,"gps":"OFF"}"#, Ok(&[at("na", "na", 7), SEEN]));
    check(topic, r#"{"gps":"off"}"#, Ok(&[SEEN]));
    check(topic, r#"{"latitude":1,"datetime":7}"#, Ok(&[SEEN]));
    check(topic, r#"{"latitude":"NaN","longitude":"0","datetime":7}"#, Err(Malformed::Position));
    check(topic, r#"{"latitude":"inf","longitude":"0","datetime":7}"#, Err(Malformed::Position));
    check(topic, r#"{"latitude":181,"longitude":0,"datetime":7}"#, Err(Malformed::Position));
    check(topic, r#"{"latitude":[],"longitude":0,"datetime":7}"#, Err(Malformed::Position));
    check(topic, r#"{"gps":"off","datetime":9223372036854775807}"#, Err(Malformed::Payload));
    check(topic, "[]", Err(Malformed::Json));
}

#[test]
fn task_statuses_in_both_forms() {
    let status =
        |task, status| Change::TaskStatus { agent: AgentId(1), task: TaskId(task), status, at: Timestamp(1000) };
    check("Status/Task/12", r#"{"status":"done"}"#, Ok(&[status(12, "done"), SEEN]));
    check("Status/Task/12", r#"{"status":"overridden"}"#, Ok(&[SEEN]));
    check("Status/Task/12", r#"{}"#, Err(Malformed::Json));
    check("Status/Task/0", r#"{"status":"done"}"#, Err(Malformed::Tail));
    check("Status/Task/+1", r#"{"status":"done"}"#, Err(Malformed::Tail));
    check("Status/Task/99999999999999999999", r#"{"status":"done"}"#, Err(Malformed::Tail));
    let old = r#"{"updateStatus":[{"taskId":"3","status":"done"},{"taskId":4,"status":"?"}]}"#;
    check("Status/Task", old, Ok(&[status(3, "done"), SEEN]));
    let many = vec![r#"{"taskId":1,"status":"done"}"#; UPDATES_MAX + 1].join(",");
    check("Status/Task", &format!(r#"{{"updateStatus":[{many}]}}"#), Err(Malformed::Large));
}

#[test]
fn versions_bare_and_in_json() {
    let version = |it: &str| Change::AgentVersion { agent: AgentId(1), version: it.into() };
    let topic = "FlyvemdmManifest/Status/Version";
    check(topic, "1.1.1", Ok(&[version("1.1.1"), SEEN]));
    check(topic, r#"{"version":"2.0.0-rc.7"}"#, Ok(&[version("2.0.0-rc.7"), SEEN]));
    check(topic, "", Err(Malformed::Json));
    check(topic, r#"{"version":""}"#, Err(Malformed::Payload));
}

#[test]
fn answers_are_looked_for_only_when_something_waits() {
    let heard = Heard { has_open_commands: true, ..HEARD };
    let answered = Change::Answered { agent: AgentId(1), command: "ping", at: Timestamp(1000) };
    assert_eq!(hear("Status/Ping", b"!", &heard), Ok(vec![SEEN, answered]));
    assert_eq!(
        hear("Status/Unenroll", b"", &heard),
        Ok(vec![Change::Unenrolled { agent: AgentId(1), at: Timestamp(1000) }])
    );
}
