//! What reports change, one short function each. Knows nothing of connections or rows.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    clock::Timestamp,
    ids::{ConnectionNumber, TaskId},
    mdm::{agent::Agent, change::Change, inventory, policy, weight},
};

/// Entries that we read in one report of the old `updateStatus` form.
pub const UPDATES_MAX: usize = 256;

/// Longest version of an agent, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;

/// Longest report of being online, in bytes; the longest spelling has about 20.
const ONLINE_BYTES_MAX: usize = 1024;
/// Memory that a report may become when it is read, in bytes.
const TREE_BYTES_MAX: usize = 1024 * 1024;

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What stood for the `+` of the catalog's topic.
    pub tail: &'a str,
    /// Body.
    pub payload: &'a [u8],
}

/// The circumstances of its arrival.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// When.
    pub now: Timestamp,
    /// Over which connection.
    pub connection: ConnectionNumber,
    /// Whether the agent has commands that this may answer; if not, none is looked for.
    pub has_open_commands: bool,
}

/// Why a report has no effect. It is acknowledged anyway, so that it cannot come back for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Not the body that this report has.
    #[error("the body is not what this report carries")]
    Payload,
    /// Not JSON.
    #[error("the body is not the JSON of this report")]
    Json,
    /// The topic ends in something that is not a task.
    #[error("the topic does not end in the number of a task")]
    Tail,
    /// No place on earth.
    #[error("the position is not on earth")]
    Position,
    /// More than we read.
    #[error("the report is too large")]
    Large,
    /// Not XML, or hostile XML.
    #[error("the inventory is not well-formed XML")]
    Xml,
}

impl Malformed {
    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Malformed::Payload => "payload",
            Malformed::Json => "json",
            Malformed::Tail => "tail",
            Malformed::Position => "position",
            Malformed::Large => "large",
            Malformed::Xml => "xml",
        }
    }
}

type Changes = Result<Vec<Change>, Malformed>;

/// `Status/Ping`: exactly `!`.
pub fn ping(agent: &Agent, message: &Message<'_>, heard: &Heard) -> Changes {
    if message.payload != b"!" {
        return Err(Malformed::Payload);
    }
    Ok(answer(agent, heard, "ping", vec![seen(agent, heard)]))
}

/// `Status/Online`, in all spellings of spec/mqtt.md §4.4. An object that does not say it is contact only.
pub fn online(agent: &Agent, message: &Message<'_>, heard: &Heard) -> Changes {
    let says = match message.payload {
        br#"{"online":true}"# | br#"{"online": true}"# | br#"{"online": "true"}"# => Some(true),
        br#"{"online":false}"# | br#"{ "online": false }"# | b"{ online: false }" => Some(false),
        other => spelled_online(other)?,
    };
    let connection = Some(heard.connection);
    let said = says.map(|is_online| Change::SaysOnline { agent: agent.id, is_online, connection });
    Ok(said.into_iter().chain([seen(agent, heard)]).collect())
}

/// `Status/Geolocation`. A single `?` is no report at all; without `datetime` it is contact only (spec/mqtt.md §4.2).
pub fn geolocation(agent: &Agent, message: &Message<'_>, heard: &Heard) -> Changes {
    if message.payload == b"?" {
        return Ok(Vec::new());
    }
    let Value::Object(report) = json::<Value>(message.payload)? else { return Err(Malformed::Json) };
    let mut changes = Vec::with_capacity(3);
    if let Some(seconds) = report.get("datetime").and_then(integer) {
        let gps_off = report.get("gps").and_then(Value::as_str).is_some_and(|it| it.eq_ignore_ascii_case("off"));
        let position = match (report.get("latitude"), report.get("longitude")) {
            (Some(latitude), Some(longitude)) => Some((coordinate(latitude)?, coordinate(longitude)?)),
            _ if gps_off => Some(("na".to_owned(), "na".to_owned())),
            _ => None,
        };
        if let Some((latitude, longitude)) = position {
            // iOS divides its clock by 1000 by mistake; its 1970 is kept as it says.
            let at = Timestamp(seconds.checked_mul(1000).ok_or(Malformed::Payload)?);
            changes.push(Change::Position { agent: agent.id, computer: agent.computer, at, latitude, longitude });
        }
    }
    changes.push(seen(agent, heard));
    Ok(answer(agent, heard, "geolocate", changes))
}

/// `Status/Inventory`: raw XML.
pub fn inventory(agent: &Agent, message: &Message<'_>, heard: &Heard) -> Changes {
    let inventory = Box::new(inventory::parse(message.payload)?);
    let stored = Change::Inventory { agent: agent.id, computer: agent.computer, at: heard.now, inventory };
    Ok(answer(agent, heard, "inventory", vec![stored, seen(agent, heard)]))
}

/// `Status/Unenroll`: any body. Believed from an agent that was not asked to leave too, as Flyve does: the device has
/// erased its credentials when it says this, so a row that stayed would never be heard of again.
pub fn unenroll(agent: &Agent, _message: &Message<'_>, heard: &Heard) -> Changes {
    Ok(vec![Change::Unenrolled { agent: agent.id, at: heard.now }])
}

/// `Status/Task/<n>`. A status that we do not know is contact only (spec/mqtt.md §4.6).
pub fn task_status(agent: &Agent, message: &Message<'_>, heard: &Heard) -> Changes {
    #[derive(Deserialize)]
    struct Status {
        status: String,
    }
    let task = task(message.tail).ok_or(Malformed::Tail)?;
    let Status { status } = json(message.payload)?;
    Ok(task_change(agent, task, &status, heard).into_iter().chain([seen(agent, heard)]).collect())
}

/// `Status/Task`, the form of 2017.
pub fn task_statuses(agent: &Agent, message: &Message<'_>, heard: &Heard) -> Changes {
    #[derive(Deserialize)]
    struct Statuses {
        #[serde(rename = "updateStatus")]
        updates: Vec<Update>,
    }
    #[derive(Deserialize)]
    struct Update {
        #[serde(rename = "taskId")]
        task: Value,
        status: String,
    }
    let Statuses { updates } = json(message.payload)?;
    if updates.len() > UPDATES_MAX {
        return Err(Malformed::Large);
    }
    let known = updates.iter().filter_map(|it| {
        let task = integer(&it.task).filter(|number| *number > 0).map(TaskId)?;
        task_change(agent, task, &it.status, heard)
    });
    Ok(known.chain([seen(agent, heard)]).collect())
}

/// `FlyvemdmManifest/Status/Version` below the agent: bare digits and dots, or JSON (spec/mqtt.md §4.7).
pub fn version(agent: &Agent, message: &Message<'_>, heard: &Heard) -> Changes {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    if message.payload.len() > 2 * VERSION_BYTES_MAX {
        return Err(Malformed::Large);
    }
    let is_bare = !message.payload.is_empty() && message.payload.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    let version = if is_bare {
        String::from_utf8_lossy(message.payload).into_owned()
    } else {
        json::<Version>(message.payload)?.version
    };
    let is_sane = !version.is_empty() && version.len() <= VERSION_BYTES_MAX && !version.contains(char::is_control);
    if !is_sane {
        return Err(Malformed::Payload);
    }
    Ok(vec![Change::AgentVersion { agent: agent.id, version }, seen(agent, heard)])
}

/// A report that says nothing any more: contact only.
pub fn contact(agent: &Agent, _message: &Message<'_>, heard: &Heard) -> Changes {
    Ok(vec![seen(agent, heard)])
}

fn seen(agent: &Agent, heard: &Heard) -> Change {
    Change::Seen { agent: agent.id, at: heard.now }
}

fn answer(agent: &Agent, heard: &Heard, command: &'static str, mut changes: Vec<Change>) -> Vec<Change> {
    if heard.has_open_commands {
        changes.push(Change::Answered { agent: agent.id, command, at: heard.now });
    }
    changes
}

fn json<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Malformed> {
    if weight::of_tree(payload) > TREE_BYTES_MAX {
        return Err(Malformed::Large);
    }
    serde_json::from_slice(payload).map_err(|_| Malformed::Json)
}

fn spelled_online(payload: &[u8]) -> Result<Option<bool>, Malformed> {
    if payload.len() > ONLINE_BYTES_MAX {
        return Err(Malformed::Large);
    }
    if let Ok(value) = serde_json::from_slice::<Value>(payload) {
        let Value::Object(report) = value else { return Err(Malformed::Json) };
        return Ok(match report.get("online") {
            Some(Value::Bool(it)) => Some(*it),
            Some(Value::String(text)) => word(text),
            Some(Value::Number(number)) => match number.as_f64() {
                Some(0.0) => Some(false),
                Some(1.0) => Some(true),
                _ => None,
            },
            _ => None,
        });
    }
    // iOS and Android up to rc.5 forget the quotes.
    let text = std::str::from_utf8(payload).map_err(|_| Malformed::Json)?.trim();
    let inner = text.strip_prefix('{').and_then(|it| it.strip_suffix('}')).ok_or(Malformed::Json)?;
    let (key, value) = inner.split_once(':').ok_or(Malformed::Json)?;
    if key.trim().trim_matches('"') != "online" {
        return Err(Malformed::Json);
    }
    word(value.trim().trim_matches('"')).map(Some).ok_or(Malformed::Json)
}

fn word(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Flyve reads text that is no number as 0 and so puts the device into the Gulf of Guinea; we refuse it.
/// Both coordinates may reach 180, as Flyve accepted it.
/// A latitude or longitude as a number, text or `na`.
///
/// # Errors
/// It is none, or not on earth.
pub fn coordinate(value: &Value) -> Result<String, Malformed> {
    let text = match value {
        Value::String(text) if text.eq_ignore_ascii_case("na") => return Ok("na".to_owned()),
        Value::String(text) if text.len() <= 64 => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return Err(Malformed::Position),
    };
    match text.parse::<f64>() {
        Ok(degrees) if (-180.0..=180.0).contains(&degrees) => Ok(text),
        _ => Err(Malformed::Position),
    }
}

fn task(tail: &str) -> Option<TaskId> {
    let is_number = tail.bytes().all(|b| b.is_ascii_digit());
    tail.parse().ok().filter(|number: &i64| is_number && *number > 0).map(TaskId)
}

fn task_change(agent: &Agent, task: TaskId, status: &str, heard: &Heard) -> Option<Change> {
    let status = policy::STATUSES.into_iter().chain([policy::WAITING]).find(|known| *known == status)?;
    Some(Change::TaskStatus { agent: agent.id, task, status, at: heard.now })
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
pub(crate) mod tests;
