//! What one simulated device does with what it hears, for each released agent (spec/agent-behaviour.md §2, §3, §4, §7).
//! Decides only: message in, actions out. No sockets, no HTTP, no clock.

use bytes::Bytes;
use serde_json::Value;

use crate::{
    clock::Timestamp,
    mdm::policy::{Kind, POLICIES, Policy},
    mqtt::packet::{Connect, Message, QoS, Version},
};

/// Which released agent a device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Android, last development state: MQTT down, HTTP up.
    A,
    /// Android rc.6: everything over MQTT.
    B,
    /// Android rc.1 to rc.5: as B with older spellings.
    C,
    /// iOS: MQTT 3.1.1 at QoS 1.
    F,
}

/// What a device wants done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Say something over MQTT.
    Publish {
        /// Topic name.
        topic: String,
        /// Body.
        payload: Bytes,
    },
    /// SUBSCRIBE, one packet.
    Subscribe(Vec<(String, QoS)>),
    /// UNSUBSCRIBE, one packet.
    Unsubscribe(Vec<String>),
    /// Say something over HTTP, in the background.
    Http(HttpReport),
    /// The screen is locked (true) or free again.
    Screen(bool),
    /// The retained Command/Subscribe was heard: the server's state arrived.
    Fleet,
    /// DISCONNECT and close.
    Disconnect,
    /// Local data are gone: unenrolled or wiped. Nothing comes after this.
    Forget,
}

/// What profile A says by HTTP (spec/http.md §5.3, §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpReport {
    /// PUT `is_online`.
    Online(bool),
    /// PUT `_pong`.
    Pong,
    /// POST geolocation.
    Position,
    /// PUT `_inventory`.
    Inventory,
    /// Search for the status of a task and PUT it, once for each of these.
    TaskStatus {
        /// Which task.
        task: i64,
        /// How far it got, in turn.
        statuses: &'static [&'static str],
    },
}

/// One device's memory.
#[derive(Debug, Clone)]
pub struct Device {
    /// Which agent it runs.
    pub profile: Profile,
    /// MQTT user name.
    pub serial: String,
    /// Topic prefix exactly as the server gave it.
    pub topic: String,
    /// Inventory XML that it reports.
    pub inventory: Bytes,
    /// Fleet topics it remembers.
    fleets: Vec<String>,
}

const MANIFEST: &str = "FlyvemdmManifest/Status/Version";
/// What every agent asks for.
pub const KEEP_ALIVE_S: u16 = 60;

impl Device {
    /// A device that has just been enrolled.
    pub fn new(profile: Profile, serial: &str, topic: &str, inventory: Bytes) -> Self {
        Self { profile, serial: serial.into(), topic: topic.into(), inventory, fleets: Vec::new() }
    }

    /// Its CONNECT packet.
    pub fn connect(&self, client_id: &str, password: &str) -> Connect {
        let own = format!("{}/Status/Online", self.topic);
        let (version, will_topic, will, retain) = match self.profile {
            Profile::A | Profile::B => (Version::V3_1, own, r#"{ "online": false }"#, true),
            Profile::C => (Version::V3_1, "/Status/Online".to_owned(), "{ online: false }", false),
            Profile::F => (Version::V3_1_1, own, "{ online: false }", false),
        };
        let will = Message {
            topic: will_topic.into(),
            payload: Bytes::from_static(will.as_bytes()),
            qos: QoS::AtMostOnce,
            retain,
        };
        Connect {
            version,
            client_id: client_id.to_owned(),
            clean_session: true,
            keep_alive_s: KEEP_ALIVE_S,
            will: Some(will),
            username: Some(self.serial.clone()),
            password: Some(Bytes::copy_from_slice(password.as_bytes())),
        }
    }

    /// What it does after CONNACK 0.
    pub fn connected(&mut self) -> Vec<Action> {
        let own = format!("{}/#", self.topic);
        let at_most = |filters: &[&str]| {
            Action::Subscribe(filters.iter().map(|it| ((*it).to_owned(), QoS::AtMostOnce)).collect())
        };
        match self.profile {
            Profile::A => vec![Action::Http(HttpReport::Online(true)), at_most(&[&own]), at_most(&[MANIFEST])],
            Profile::B => {
                vec![self.says("Status/Online", r#"{"online": true}"#), at_most(&[&own]), at_most(&[&own, MANIFEST])]
            }
            Profile::C => vec![
                self.says("Status/Online", r#"{"online": "true"}"#),
                at_most(&[&own]),
                at_most(&[&own, &format!("/{MANIFEST}")]),
            ],
            Profile::F => vec![
                Action::Subscribe(vec![(own, QoS::AtLeastOnce)]),
                Action::Subscribe(vec![(format!("/{MANIFEST}"), QoS::AtLeastOnce)]),
            ],
        }
    }

    /// What it does with a message.
    pub fn heard(&mut self, topic: &str, payload: &[u8], now: Timestamp) -> Vec<Action> {
        let body = std::str::from_utf8(payload).unwrap_or_default();
        let json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        match self.profile {
            Profile::A => self.heard_by_topic(&topic.to_lowercase(), body, &json),
            Profile::B | Profile::C => self.heard_by_topic_and_body(topic, &json, now),
            Profile::F => self.heard_by_key(&json, now),
        }
    }

    /// Profile A: by substrings of the lower-cased topic, serial included; mostly without a look at the body (§2.3).
    fn heard_by_topic(&mut self, topic: &str, body: &str, json: &Value) -> Vec<Action> {
        // Takes any body with this word for the deletion of a policy.
        if topic.is_empty() || body.contains("default") {
            return Vec::new();
        }
        let mut actions: Vec<Action> = carried_out(topic, json).into_iter().map(Action::Http).collect();
        if topic.contains("ping") {
            actions.push(Action::Http(HttpReport::Pong));
        }
        if topic.contains("geolocate") {
            actions.push(Action::Http(HttpReport::Position));
        }
        if topic.contains("inventory") {
            actions.push(Action::Http(HttpReport::Inventory));
        }
        let wiped = topic.contains("wipe") && is(json, "wipe", "now");
        if wiped || topic.contains("unenroll") {
            actions.extend([Action::Http(HttpReport::Online(false)), Action::Forget]);
        }
        if topic.contains("lock") {
            actions.extend([Action::Screen(is(json, "lock", "now")), Action::Http(HttpReport::Pong)]);
        }
        if topic.contains("subscribe") {
            actions.push(Action::Fleet);
            for fleet in fleets(json) {
                match fleet {
                    Some(topic) => {
                        actions.push(Action::Subscribe(vec![(format!("{topic}/#"), QoS::AtMostOnce)]));
                        // Forgets the others without UNSUBSCRIBE.
                        self.fleets = vec![topic];
                    }
                    None if self.fleets.is_empty() => {}
                    None => {
                        let old = self.fleets.drain(..).map(|it| format!("{it}/#")).collect();
                        actions.push(Action::Unsubscribe(old));
                    }
                }
            }
        }
        actions
    }

    /// Profiles B and C: by topic, with the body checked (§3).
    fn heard_by_topic_and_body(&mut self, topic: &str, json: &Value, now: Timestamp) -> Vec<Action> {
        if let Some((_, rest)) = topic.split_once("/Policy/") {
            return self.policy(topic, rest, json);
        }
        let Some((_, command)) = topic.rsplit_once("Command/") else { return Vec::new() };
        match command {
            "Ping" | "Geolocate" | "Inventory" if is(json, "query", command) => vec![self.answers(command, now)],
            "Lock" => vec![Action::Screen(is(json, "lock", "now"))],
            "Wipe" if is(json, "wipe", "now") => vec![Action::Forget],
            "Unenroll" if is(json, "unenroll", "now") => vec![self.says("Status/Unenroll", UNENROLLED), Action::Forget],
            "Subscribe" => {
                let mut actions = vec![Action::Fleet];
                // A null topic becomes the text "null" and is subscribed.
                actions.extend(fleets(json).into_iter().map(|fleet| {
                    let topic = fleet.unwrap_or_else(|| "null".to_owned());
                    Action::Subscribe(vec![(format!("{topic}/#"), QoS::AtMostOnce)])
                }));
                actions
            }
            _ => Vec::new(),
        }
    }

    /// Profiles B and C report simple policies below the topic on which they came, which is the wrong place (spec/mqtt.md §4.6).
    fn policy(&self, topic: &str, rest: &str, json: &Value) -> Vec<Action> {
        let symbol = rest.split('/').next().unwrap_or_default();
        let Some(task) = json.get("taskId").filter(|_| json.get(symbol).is_some()) else { return Vec::new() };
        let task = task.as_str().map_or_else(|| task.to_string(), str::to_owned);
        let (prefix, status) = match symbol {
            "deployApp" => (self.topic.as_str(), r#"{ "status": "received" }"#),
            "deployFile" | "removeFile" | "removeApp" => (self.topic.as_str(), r#"{ "status": "done" }"#),
            _ => (topic, r#"{ "status": "done" }"#),
        };
        vec![Action::Publish {
            topic: format!("{prefix}/Status/Task/{task}"),
            payload: Bytes::from_static(status.as_bytes()),
        }]
    }

    /// Profile F: by JSON key, exact case, whatever the topic (§7).
    fn heard_by_key(&mut self, json: &Value, now: Timestamp) -> Vec<Action> {
        match json.get("query").and_then(Value::as_str) {
            Some(query @ ("Ping" | "Geolocate" | "Inventory")) => return vec![self.answers(query, now)],
            Some(_) => return Vec::new(),
            None => {}
        }
        if json.get("unenroll").and_then(Value::as_str) == Some("now") {
            return vec![self.says("Status/Unenroll", UNENROLLED), Action::Disconnect, Action::Forget];
        }
        if json.get("subscribe").is_none() {
            return Vec::new();
        }
        let mut actions = vec![Action::Fleet];
        // Only the first entry is read; null is ignored.
        if let Some(Some(topic)) = fleets(json).into_iter().next() {
            actions.push(Action::Subscribe(vec![(format!("{topic}/#"), QoS::AtLeastOnce)]));
        }
        actions
    }

    fn answers(&self, query: &str, now: Timestamp) -> Action {
        match query {
            "Ping" => self.says("Status/Ping", "!"),
            "Geolocate" => self.says("Status/Geolocation", &self.position(now)),
            _ => Action::Publish { topic: format!("{}/Status/Inventory", self.topic), payload: self.inventory.clone() },
        }
    }

    fn position(&self, now: Timestamp) -> String {
        let (latitude, longitude) = self.coordinates();
        let seconds = now.0 / 1000;
        match self.profile {
            // Divides by a thousand once too often: its dates lie in January 1970.
            Profile::F => {
                format!(r#"{{"latitude":{latitude:.7},"longitude":{longitude:.7},"datetime":{}}}"#, seconds / 1000)
            }
            _ => format!(r#"{{"latitude":"{latitude:.7}","longitude":"{longitude:.7}","datetime":{seconds}}}"#),
        }
    }

    /// Somewhere in western Europe, the same place for the same serial.
    pub fn coordinates(&self) -> (f64, f64) {
        let sum = self.serial.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        (43.0 + f64::from(sum % 5_000) / 1_000.0, f64::from(sum / 5_000 % 5_000) / 1_000.0)
    }

    fn says(&self, below: &str, body: &str) -> Action {
        Action::Publish { topic: format!("{}/{below}", self.topic), payload: Bytes::copy_from_slice(body.as_bytes()) }
    }
}

const UNENROLLED: &str = r#"{"unenroll": "unenrolled"}"#;

/// Policies that profile A does not know, or knows under another key (spec/admin.md §7.3).
const UNKNOWN_TO_A: [&str; 6] = [
    "disableUnknownAppSources",
    "periodicGeolocation",
    "disableNfc",
    "disableStreamDTMF",
    "disableStreamSystem",
    "defaultStreamType",
];

/// What profile A reports of a policy: the topic names it in any case, the body has exactly its key (§2.4).
fn carried_out(topic: &str, json: &Value) -> Option<HttpReport> {
    let is_known = |it: &Policy| !UNKNOWN_TO_A.contains(&it.symbol) && json.get(it.symbol).is_some();
    let policy = POLICIES.iter().find(|it| is_known(it) && topic.contains(&it.symbol.to_lowercase()))?;
    let task = json.get("taskId")?;
    let task = task.as_i64().or_else(|| task.as_str()?.parse().ok())?;
    let statuses: &[&str] = match policy.kind {
        Kind::DeployApp | Kind::RemoveApp => &["waiting", "done"], // the user agrees at once
        Kind::DeployFile | Kind::RemoveFile => &["done", "done"],
        _ => &["done"],
    };
    Some(HttpReport::TaskStatus { task, statuses })
}

fn is(json: &Value, key: &str, wanted: &str) -> bool {
    json.get(key).and_then(Value::as_str).is_some_and(|it| it.eq_ignore_ascii_case(wanted))
}

/// The topics of a Command/Subscribe; `None` is a null topic.
fn fleets(json: &Value) -> Vec<Option<String>> {
    let entries = json.get("subscribe").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    entries.iter().map(|it| it.get("topic").and_then(Value::as_str).map(str::to_owned)).collect()
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
