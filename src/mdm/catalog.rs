//! Every kind of message, one row each. Access rules and lists of commands derive from these rows.

use crate::{
    mdm::{
        agent::Agent,
        change::Change,
        inbound::{self, Heard, Malformed, Message},
    },
    mqtt::packet::QoS::{self, AtLeastOnce},
};

/// What a report changes.
pub type Effect = fn(&Agent, &Message<'_>, &Heard) -> Result<Vec<Change>, Malformed>;

/// Device → server.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Topic below the agent's prefix; a final `+` is the tail.
    pub topic: &'static str,
    /// Quality of service that devices use.
    pub qos: QoS,
    /// A body that is understood.
    pub example: &'static str,
    /// What it changes.
    pub effect: Effect,
}

/// How long a command matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// A question; nobody cares about the answer after a while.
    Query,
    /// A state of the agent, true until it changes.
    State,
}

/// Server → device.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// Name at the command line and in rows.
    pub name: &'static str,
    /// Topic below the agent's prefix.
    pub topic: &'static str,
    /// Published with this; the subscription may lower it.
    pub qos: QoS,
    /// Whether a device that subscribes later finds it.
    pub retain: bool,
    /// The exact body (spec/mqtt.md §3.1).
    pub body: &'static str,
    /// The report that answers it.
    pub answer: Option<&'static str>,
    /// How long it matters.
    pub life: Life,
}

/// Everything a device may say.
pub const REPORTS: &[Report] = &[
    Report { topic: "Status/Ping", qos: AtLeastOnce, example: "!", effect: inbound::ping },
    Report { topic: "Status/Online", qos: AtLeastOnce, example: r#"{"online":true}"#, effect: inbound::online },
    Report {
        topic: "Status/Geolocation",
        qos: AtLeastOnce,
        example: r#"{"datetime":1499364642,"gps":"off"}"#,
        effect: inbound::geolocation,
    },
    Report {
        topic: "Status/Inventory",
        qos: AtLeastOnce,
        example: "<REQUEST><CONTENT/></REQUEST>",
        effect: inbound::inventory,
    },
    Report {
        topic: "Status/Unenroll",
        qos: AtLeastOnce,
        example: r#"{"unenroll": "unenrolled"}"#,
        effect: inbound::unenroll,
    },
    Report {
        topic: "Status/Task/+",
        qos: AtLeastOnce,
        example: r#"{ "status": "done" }"#,
        effect: inbound::task_status,
    },
    Report {
        topic: "Status/Task",
        qos: AtLeastOnce,
        example: r#"{"updateStatus":[{"taskId":12,"status":"done"}]}"#,
        effect: inbound::task_statuses,
    },
    Report {
        topic: "FlyvemdmManifest/Status/Version",
        qos: AtLeastOnce,
        example: r#"{"version":"2.0.0"}"#,
        effect: inbound::version,
    },
    Report { topic: "Status/Install", qos: AtLeastOnce, example: r#"{"ack":"org.example"}"#, effect: inbound::contact },
];

/// Everything a device may be told on request. `Command/Subscribe` is computed in `owed.rs`.
pub const COMMANDS: &[Command] = &[
    query("ping", "Command/Ping", r#"{"query":"Ping"}"#, "Status/Ping"),
    query("geolocate", "Command/Geolocate", r#"{"query":"Geolocate"}"#, "Status/Geolocation"),
    query("inventory", "Command/Inventory", r#"{"query":"Inventory"}"#, "Status/Inventory"),
    state("lock", "Command/Lock", r#"{"lock":"now"}"#, None),
    state("unlock", "Command/Lock", r#"{"lock":"unlock"}"#, None),
    state("wipe", "Command/Wipe", r#"{"wipe":"now"}"#, None),
    state("unenroll", "Command/Unenroll", r#"{"unenroll":"now"}"#, Some("Status/Unenroll")),
];

/// The command with this name.
pub fn command(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// A report that was found for a topic.
#[derive(Debug, Clone, Copy)]
pub struct Recognized<'t> {
    /// Its row.
    pub report: &'static Report,
    /// What stood for the `+`, else empty.
    pub tail: &'t str,
}

/// The report that this agent makes by publishing to this canonical topic.
pub fn recognize<'t>(agent: &Agent, topic: &'t str) -> Option<Recognized<'t>> {
    let own = strip_agent(agent, topic);
    own.and_then(row).or_else(|| {
        // rc.1 to rc.6 answer simple policies below the topic they arrived on (spec/mqtt.md §4.6).
        let below = own.or_else(|| strip_fleet(agent, topic))?;
        let (rest, task) = below.rsplit_once('/')?;
        let is_status = rest == "Status/Task" || rest.ends_with("/Status/Task");
        (is_status && !task.is_empty() && task.bytes().all(|b| b.is_ascii_digit()))
            .then(|| row_of("Status/Task/+", task))
            .flatten()
    })
}

/// What follows the agent's own prefix and a slash. Compares without writing the prefix down.
pub fn strip_agent<'t>(agent: &Agent, topic: &'t str) -> Option<&'t str> {
    let rest = strip_number(topic, agent.entity.0)?.strip_prefix("/agent/")?;
    rest.strip_prefix(agent.serial.as_str())?.strip_prefix('/')
}

/// What follows the prefix of the agent's current fleet, unless that is the default fleet.
pub fn strip_fleet<'t>(agent: &Agent, topic: &'t str) -> Option<&'t str> {
    let rest = strip_number(topic, agent.fleet_entity.0)?.strip_prefix("/fleet/")?;
    strip_number(rest, agent.managed_fleet()?.0)?.strip_prefix('/')
}

/// Takes a number off the front if it is written in the one way we write it.
fn strip_number(text: &str, number: i64) -> Option<&str> {
    let end = text.find('/').unwrap_or(text.len());
    let digits = &text[..end];
    let is_plain = digits == "0" || (!digits.starts_with(['0', '+', '-']) && !digits.is_empty());
    (is_plain && digits.parse() == Ok(number)).then(|| &text[end..])
}

fn row(below: &str) -> Option<Recognized<'_>> {
    if let Some(task) = below.strip_prefix("Status/Task/") {
        return if task.contains('/') { None } else { row_of("Status/Task/+", task) };
    }
    row_of(below, "")
}

fn row_of<'t>(topic: &str, tail: &'t str) -> Option<Recognized<'t>> {
    let report = REPORTS.iter().find(|report| report.topic == topic)?;
    Some(Recognized { report, tail })
}

const fn query(name: &'static str, topic: &'static str, body: &'static str, answer: &'static str) -> Command {
    Command { name, topic, qos: AtLeastOnce, retain: false, body, answer: Some(answer), life: Life::Query }
}

const fn state(name: &'static str, topic: &'static str, body: &'static str, answer: Option<&'static str>) -> Command {
    Command { name, topic, qos: AtLeastOnce, retain: true, body, answer, life: Life::State }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdm::{agent::tests::agent, inbound::tests::HEARD};

    #[test]
    fn every_row_accepts_its_own_example() {
        for report in REPORTS {
            let message = Message { tail: "12", payload: report.example.as_bytes() };
            assert!((report.effect)(&agent(), &message, &HEARD).is_ok(), "{}", report.topic);
        }
    }

    #[test]
    fn every_answer_is_a_report() {
        for answer in COMMANDS.iter().filter_map(|command| command.answer) {
            assert!(REPORTS.iter().any(|report| report.topic == answer), "{answer}");
        }
    }

    #[test]
    fn topics_find_their_row() {
        fn check(topic: &str, expected: Option<(&str, &str)>) {
            let found = recognize(&agent(), topic).map(|it| (it.report.topic, it.tail));
            assert_eq!(found, expected, "{topic}");
        }
        check("3/agent/S1/Status/Ping", Some(("Status/Ping", "")));
        check("3/agent/S1/Status/Task/12", Some(("Status/Task/+", "12")));
        check("3/agent/S1/Status/Task", Some(("Status/Task", "")));
        check("3/fleet/7/Policy/disableWifi/Task/41/Status/Task/41", Some(("Status/Task/+", "41")));
        check("3/agent/S1/Policy/disableWifi/Task/41/Status/Task/41", Some(("Status/Task/+", "41")));
        check("3/fleet/8/Policy/disableWifi/Task/41/Status/Task/41", None);
        check("3/agent/S2/Status/Ping", None);
        check("3/agent/S12/Status/Ping", None);
        check("03/agent/S1/Status/Ping", None);
        check("4/agent/S1/Status/Ping", None);
        check("3/agent/S1/Status/Other", None);
        check("3/agent/S1/Status/Task/+", Some(("Status/Task/+", "+")));
    }
}
