//! Who may say and hear what. Default deny.

use crate::{
    ids::EntityId,
    mdm::{agent::Agent, catalog},
    mqtt::topic,
};

/// What one entry of an access list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Hear.
    Read,
    /// Say.
    Write,
    /// Both.
    ReadWrite,
    /// Neither, whatever else is granted.
    Deny,
}

/// The access list of a service account: `filter:r|w|rw|deny` entries and an entity scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessList {
    /// Entries in the order given.
    pub entries: Vec<(String, Access)>,
    /// Entities whose agent and fleet topics it may touch; `None` is all. Holds the sub-tree, resolved.
    pub entities: Option<Vec<EntityId>>,
}

impl AccessList {
    /// Whether the account may say this, topic in either spelling. Nobody says `$…` topics.
    pub fn may_write(&self, topic: &str) -> bool {
        !topic.starts_with('$') && self.allows(topic, |it| matches!(it, Access::Write | Access::ReadWrite))
    }

    /// Whether the account may hear this, topic in either spelling.
    pub fn may_read(&self, topic: &str) -> bool {
        self.allows(topic, |it| matches!(it, Access::Read | Access::ReadWrite))
    }

    fn allows(&self, topic: &str, grants: impl Fn(Access) -> bool) -> bool {
        let topic = canonical(topic);
        let mut is_granted = false;
        for (filter, access) in &self.entries {
            if matches_either(filter, topic) {
                if *access == Access::Deny {
                    return false;
                }
                is_granted |= grants(*access);
            }
        }
        is_granted && self.is_in_scope(topic)
    }

    fn is_in_scope(&self, topic: &str) -> bool {
        match (&self.entities, entity(topic)) {
            (Some(entities), Some(number)) => number.parse().is_ok_and(|number| entities.contains(&EntityId(number))),
            _ => true,
        }
    }
}

impl Access {
    /// Reads the word of an entry: `r`, `w`, `rw` or `deny`.
    pub fn parse(word: &str) -> Option<Access> {
        match word {
            "r" => Some(Access::Read),
            "w" => Some(Access::Write),
            "rw" => Some(Access::ReadWrite),
            "deny" => Some(Access::Deny),
            _ => None,
        }
    }
}

impl AccessList {
    /// Entries in the order given, and the entities that it is limited to.
    pub fn new(entries: Vec<(String, Access)>, entities: Option<Vec<EntityId>>) -> Self {
        Self { entries, entities }
    }

    /// Whether to grant a filter: some of it must be readable. Every delivery is still checked.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        let overlaps = |it: &&(String, Access)| topic::filters_overlap(&it.0, filter);
        let grants = |it: &&(String, Access)| matches!(it.1, Access::Read | Access::ReadWrite);
        let denies = |it: &(String, Access)| it.1 == Access::Deny && topic::filter_covers(&it.0, filter);
        self.entries.iter().filter(grants).any(|it| overlaps(&it)) && !self.entries.iter().any(denies)
    }
}

/// Whether an agent may say this (spec/mqtt.md §6.2), topic in either spelling; its will too.
pub fn device_may_publish(agent: &Agent, topic: &str) -> bool {
    let topic = canonical(topic);
    let is_own = |it: &str| it.starts_with("Status/") || it.starts_with("FlyvemdmManifest/");
    catalog::strip_agent(agent, topic).is_some_and(is_own) || catalog::recognize(agent, topic).is_some()
}

/// Whether an agent may hear this now; never what it said itself, never another fleet than its current one.
pub fn device_may_read(agent: &Agent, topic: &str) -> bool {
    let topic = canonical(topic);
    let is_for_it = |it: &str| it.starts_with("Command/") || it.starts_with("Policy/");
    topic.starts_with("FlyvemdmManifest/")
        || catalog::strip_agent(agent, topic).is_some_and(is_for_it)
        || catalog::strip_fleet(agent, topic).is_some_and(|it| !it.starts_with("Status/") && !it.contains("/Status/"))
}

/// Whether to grant a filter to an agent; every delivery is still checked. Agents keep filters of former fleets, and rc.6
/// asks for `null/#`: granted, and nothing comes of it.
pub fn device_may_subscribe(agent: &Agent, filter: &str) -> bool {
    let own = agent.address().to_string();
    let fleets = format!("{}/fleet/", agent.entity);
    let filter = canonical(filter);
    let is_own = filter.strip_prefix(&*own).is_some_and(|it| it.is_empty() || it.starts_with('/'));
    is_own || filter.starts_with(&*fleets) || filter.starts_with("FlyvemdmManifest/") || filter == "null/#"
}

/// One leading slash less, for topics of agents, fleets and the manifest.
fn canonical(topic: &str) -> &str {
    match topic.strip_prefix('/') {
        Some(rest) if entity(rest).is_some() || rest.starts_with("FlyvemdmManifest/") => rest,
        _ => topic,
    }
}

/// The entity in `<digits>/agent/…` and `<digits>/fleet/…`.
fn entity(topic: &str) -> Option<&str> {
    let (number, rest) = topic.split_once('/')?;
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (is_number && (rest.starts_with("agent/") || rest.starts_with("fleet/"))).then_some(number)
}

/// Whether the filter means this canonical topic in either spelling, so that no deny is escaped by a slash.
fn matches_either(filter: &str, topic: &str) -> bool {
    let has_two = entity(topic).is_some() || topic.starts_with("FlyvemdmManifest/");
    matches(filter, topic) || (has_two && levels_match(filter, std::iter::once("").chain(topic.split('/'))))
}

/// [MQTT-4.7.1] and [MQTT-4.7.2-1], on valid filters and names.
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    levels_match(filter, topic.split('/'))
}

fn levels_match<'t>(filter: &str, mut names: impl Iterator<Item = &'t str>) -> bool {
    for level in filter.split('/') {
        match (level, names.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdm::agent::tests::agent;

    #[test]
    fn devices_say_and_hear_only_their_own() {
        fn check(topic: &str, may_publish: bool, may_read: bool) {
            let may = (device_may_publish(&agent(), topic), device_may_read(&agent(), topic));
            assert_eq!(may, (may_publish, may_read), "{topic}");
        }
        check("3/agent/S1/Status/Ping", true, false);
        check("/3/agent/S1/Status/Ping", true, false);
        check("3/agent/S1/Command/Lock", false, true);
        check("/3/agent/S1/Policy/x/Task/1", false, true);
        check("3/agent/S2/Command/Lock", false, false);
        check("3/agent/S2/Status/Ping", false, false);
        check("3/fleet/7/Policy/x/Task/1", false, true);
        check("3/fleet/8/Policy/x/Task/1", false, false);
        check("3/fleet/7/Policy/x/Task/1/Status/Task/1", true, false);
        check("FlyvemdmManifest/Status/Version", false, true);
        check("$SYS/x", false, false);
    }

    #[test]
    fn devices_subscribe_within_their_own() {
        fn check(filter: &str, expected: bool) {
            assert_eq!(device_may_subscribe(&agent(), filter), expected, "{filter}");
        }
        check("3/agent/S1/#", true);
        check("/3/agent/S1", true);
        check("3/fleet/8/#", true);
        check("/FlyvemdmManifest/Status/Version", true);
        check("null/#", true);
        check("3/agent/S12/#", false);
        check("#", false);
        check("3/agent/+/#", false);
        check("4/fleet/7/#", false);
    }

    #[test]
    fn services_need_a_grant_and_no_denial() {
        let list = AccessList {
            entries: vec![("#".into(), Access::ReadWrite), ("3/agent/+/Command/Wipe".into(), Access::Deny)],
            entities: Some(vec![EntityId(3)]),
        };
        assert!(list.may_read("3/agent/S1/Status/Ping"));
        assert!(!list.may_write("/3/agent/S1/Command/Wipe"));
        assert!(!list.may_read("4/agent/S1/Status/Ping"));
        for deny in ["/+/agent/S1/#", "+/3/agent/S1/#", "+/agent/S1/#", "/3/agent/S1/#"] {
            let entries = vec![("#".into(), Access::ReadWrite), (deny.into(), Access::Deny)];
            let list = AccessList { entries, entities: None };
            assert!(!list.may_read("3/agent/S1/Status/Ping") && !list.may_read("/3/agent/S1/Status/Ping"), "{deny}");
        }
        assert!(list.may_write("other/topic"));
        assert!(!list.may_write("$SYS/x"));
        assert!(!AccessList::default().may_read("a"));
    }
}
