//! Devices of a Flyve database and how they log in. Pure: rows in, values and complaints out.

use std::collections::{HashMap, HashSet};

use super::{report::Report, source::Line, tables::Tables};
use crate::ids::Serial;

/// An inventory record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computer {
    pub id: i64,
    pub entity: i64,
    pub serial: String,
    pub uuid: String,
    pub name: String,
    pub manufacturer: String,
    pub model: String,
    /// Number of a person there; 0: nobody.
    pub owner: i64,
    pub created_at: Option<i64>,
}

/// An enrollment, with what the device logs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub id: i64,
    pub entity: i64,
    pub serial: String,
    pub computer: i64,
    /// 0: none.
    pub fleet: i64,
    /// Number of a person there; 0: nobody.
    pub owner: i64,
    pub name: String,
    pub version: String,
    pub mdm_type: &'static str,
    pub has_system_permission: bool,
    pub is_unenrolling: bool,
    pub is_locked: bool,
    pub wipe: bool,
    pub last_contact: Option<i64>,
    pub notification_type: &'static str,
    pub notification_token: String,
    pub certificate: String,
    pub created_at: Option<i64>,
    /// What is stored of its MQTT password.
    pub secret: Option<String>,
    /// Opens its HTTP sessions.
    pub api_token: String,
}

/// The computers that agents run on. Others are none of a device manager's business.
pub fn computers(tables: &Tables) -> Vec<Computer> {
    let wanted: HashSet<i64> = tables.agents.iter().map(|it| it.int("computers_id")).collect();
    let named =
        |lines: &[Line]| -> HashMap<i64, String> { lines.iter().map(|it| (it.int("id"), it.text("name"))).collect() };
    let (models, manufacturers) = (named(&tables.models), named(&tables.manufacturers));
    let computer = |line: &Line| Computer {
        id: line.int("id"),
        entity: line.int("entities_id"),
        serial: line.text("serial"),
        uuid: line.text("uuid"),
        name: line.text("name"),
        manufacturer: manufacturers.get(&line.int("manufacturers_id")).cloned().unwrap_or_default(),
        model: models.get(&line.int("computermodels_id")).cloned().unwrap_or_default(),
        owner: line.int("users_id"),
        created_at: line.millis("date_creation"),
    };
    tables.computers.iter().filter(|it| wanted.contains(&it.int("id"))).map(computer).collect()
}

/// The enrollments that a device may still live in. `is_hash` says whether a stored password can be verified here.
pub fn agents(
    tables: &Tables,
    computers: &[Computer],
    is_hash: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Vec<Agent> {
    let computers: HashMap<i64, &Computer> = computers.iter().map(|it| (it.id, it)).collect();
    let tokens: HashMap<i64, String> = tables.users.iter().map(|it| (it.int("id"), it.raw("api_token"))).collect();
    let latest = latest_of_each_computer(tables);
    let mut agents = Vec::new();
    for line in &tables.agents {
        let (id, name) = (line.int("id"), line.text("name"));
        let mut skip = |why: String| report.skip("agents", id, &name, why);
        let Some(computer) = computers.get(&line.int("computers_id")) else {
            skip(format!("its computer {} is not there", line.int("computers_id")));
            continue;
        };
        if let Some(newest) = latest.get(&(computer.id, line.int("entities_id"))).filter(|newest| **newest != id) {
            skip(format!("its device enrolled again as agent {newest}"));
            continue;
        }
        if let Err(problem) = Serial::parse(&computer.serial) {
            skip(format!("computer {}: {problem}", computer.id));
            continue;
        }
        let status = line.text("enroll_status");
        if status == "unenrolled" {
            skip("is unenrolled".into());
            continue;
        }
        agents.push(Agent {
            id,
            entity: line.int("entities_id"),
            serial: computer.serial.clone(),
            computer: computer.id,
            fleet: line.int("plugin_flyvemdm_fleets_id"),
            owner: computer.owner,
            name,
            version: line.text("version"),
            mdm_type: if line.text("mdm_type") == "apple" { "apple" } else { "android" },
            has_system_permission: line.flag("has_system_permission"),
            is_unenrolling: status == "unenrolling",
            is_locked: line.flag("lock"),
            wipe: line.flag("wipe"),
            last_contact: line.millis("last_contact"),
            notification_type: if line.text("notification_type") == "fcm" { "fcm" } else { "mqtt" },
            notification_token: line.raw("notification_token"),
            certificate: line.raw("certificate"),
            created_at: computer.created_at,
            secret: None,
            api_token: tokens.get(&line.int("users_id")).cloned().unwrap_or_default(),
        });
    }
    give_passwords(tables, &mut agents, is_hash, report);
    agents
}

/// A device that enrolled again has several rows, of which only the last one is alive.
fn latest_of_each_computer(tables: &Tables) -> HashMap<(i64, i64), i64> {
    let mut latest = HashMap::new();
    for line in &tables.agents {
        let newest = latest.entry((line.int("computers_id"), line.int("entities_id"))).or_insert(0);
        *newest = line.int("id").max(*newest);
    }
    latest
}

/// There is one MQTT account per serial. Where several agents have this serial, its access list names the one it is for.
fn give_passwords(tables: &Tables, agents: &mut [Agent], is_hash: impl Fn(&str) -> bool, report: &mut Report) {
    let mut topics: HashMap<i64, Vec<String>> = HashMap::new();
    for line in &tables.mqtt_acls {
        topics.entry(line.int("plugin_flyvemdm_mqttusers_id")).or_default().push(line.raw("topic"));
    }
    let mut by_serial: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, agent) in agents.iter().enumerate() {
        by_serial.entry(agent.serial.clone()).or_default().push(at);
    }
    for line in &tables.mqtt_users {
        let (id, user, secret) = (line.int("id"), line.raw("user"), line.raw("password"));
        let Some(candidates) = by_serial.get(&user) else {
            report.skip("mqttusers", id, &user, "is no device's; give back ends an account with: mdmq account add");
            continue;
        };
        if !line.flag("enabled") {
            report.skip("mqttusers", id, &user, "is disabled");
        } else if !is_hash(&secret) {
            report.skip("mqttusers", id, &user, "has no PBKDF2 hash of Flyve's form; the device must enroll again");
        } else {
            let own = topics.get(&id).map(Vec::as_slice).unwrap_or_default();
            let is_named = |at: &&usize| {
                let start = format!("{}/agent/{user}/", agents[**at].entity);
                own.iter().any(|topic| topic.trim_start_matches('/').starts_with(&start))
            };
            let newest = || candidates.iter().max_by_key(|at| agents[**at].id);
            if let Some(at) = candidates.iter().rfind(is_named).or_else(newest) {
                agents[*at].secret = Some(secret);
            }
        }
    }
    for agent in agents.iter().filter(|it| it.secret.is_none()) {
        report.note(format!(
            "agent {} ({}) comes without a password: the device must enroll again",
            agent.id, agent.serial
        ));
    }
    let count = tables.mqtt_acls.len();
    if count > 0 {
        report.note(format!("{count} MQTT access rules are not taken over: here they follow from the enrollment"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &[&str] =
        &["id", "name", "computers_id", "entities_id", "users_id", "enroll_status", "lock", "mdm_type"];

    fn world(agents: &[[&str; 8]], users: &[[&str; 4]], acls: &[[&str; 3]]) -> Tables {
        let computer =
            |id, entity, serial| Line::of(&["id", "entities_id", "serial", "users_id"], &[id, entity, serial, "0"]);
        Tables {
            computers: vec![
                computer("1", "0", "AZERTY"),
                computer("2", "76", "AZERTY"),
                computer("3", "0", "bad/serial"),
                computer("4", "0", "QWERTY"),
            ],
            agents: agents.iter().map(|it| Line::of(AGENT, it)).collect(),
            mqtt_users: users.iter().map(|it| Line::of(&["id", "user", "password", "enabled"], it)).collect(),
            mqtt_acls: acls.iter().map(|it| Line::of(&["id", "plugin_flyvemdm_mqttusers_id", "topic"], it)).collect(),
            ..Tables::default()
        }
    }

    fn check(tables: &Tables, agents_expected: &[(i64, Option<&str>)], complaints: &[&str]) {
        let mut report = Report::default();
        let found = agents(tables, &computers(tables), |it| it.starts_with("PBKDF2$"), &mut report);
        let found: Vec<_> = found.iter().map(|it| (it.id, it.secret.as_deref())).collect();
        assert_eq!(found, agents_expected);
        let said: Vec<_> = report.skipped.iter().map(|it| format!("{} {}: {}", it.kind, it.id, it.why)).collect();
        assert_eq!(said.len(), complaints.len(), "{said:?}");
        for (said, expected) in said.iter().zip(complaints) {
            assert!(said.starts_with(expected), "{said} / {expected}");
        }
    }

    #[test]
    fn the_living_enrollment_gets_the_password() {
        let tables = world(
            &[
                ["10", "a", "1", "0", "0", "enrolled", "0", "android"],
                ["11", "a", "1", "0", "0", "enrolled", "1", "android"],
            ],
            &[["1", "AZERTY", "PBKDF2$x", "1"]],
            &[],
        );
        check(&tables, &[(11, Some("PBKDF2$x"))], &["agents 10: its device enrolled again as agent 11"]);
    }

    #[test]
    fn an_access_list_says_whose_password_it_is() {
        let agents = [
            ["10", "a", "1", "0", "0", "enrolled", "0", "android"],
            ["11", "a", "2", "76", "0", "enrolled", "0", "android"],
        ];
        let users = [["1", "AZERTY", "PBKDF2$x", "1"]];
        let of_root = world(&agents, &users, &[["1", "1", "/0/agent/AZERTY/Status/#"]]);
        check(&of_root, &[(10, Some("PBKDF2$x")), (11, None)], &[]);
        let of_nobody = world(&agents, &users, &[]);
        check(&of_nobody, &[(10, None), (11, Some("PBKDF2$x"))], &[]);
    }

    #[test]
    fn what_cannot_live_here_is_left_behind_with_a_reason() {
        let tables = world(
            &[
                ["10", "a", "3", "0", "0", "enrolled", "0", "android"],
                ["11", "a", "99", "0", "0", "enrolled", "0", "android"],
                ["12", "a", "4", "0", "0", "unenrolled", "0", "android"],
                ["13", "a", "1", "0", "0", "unenrolling", "0", "apple"],
            ],
            &[
                ["1", "flyvemdm-backend", "PBKDF2$x", "1"],
                ["2", "AZERTY", "PBKDF2$x", "0"],
                ["3", "AZERTY", "plain", "1"],
            ],
            &[],
        );
        let complaints = [
            "agents 10: computer 3: a serial must not",
            "agents 11: its computer 99",
            "agents 12: is unenrolled",
            "mqttusers 1: is no device's",
            "mqttusers 2: is disabled",
            "mqttusers 3: has no PBKDF2 hash",
        ];
        check(&tables, &[(13, None)], &complaints);
    }
}
