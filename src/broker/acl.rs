//! Who may say and hear what. Default deny; every topic is judged under its canonical spelling, so no rule is escaped by a slash.

use crate::{
    ids::EntityId,
    mdm::{
        agent::{Agent, EnrollStatus},
        catalog,
    },
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

impl Access {
    const ALL: [Access; 4] = [Access::Read, Access::Write, Access::ReadWrite, Access::Deny];

    /// The word at the command line and in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Access::Read => "r",
            Access::Write => "w",
            Access::ReadWrite => "rw",
            Access::Deny => "deny",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// Why a text is no entry of an access list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// No colon, or another word after it.
    #[error("an access entry ends with :r, :w, :rw or :deny")]
    Access,
    /// Wildcards where they cannot stand, or nothing at all.
    #[error("an access entry begins with a topic filter, such as 76/agent/+/#")]
    Filter,
}

/// Reads `FILTER:r`. Filters may hold colons; the last one counts.
///
/// # Errors
/// A sentence for whoever wrote the entry.
pub fn parse_entry(text: &str) -> Result<(String, Access), BadEntry> {
    let (filter, word) = text.rsplit_once(':').ok_or(BadEntry::Access)?;
    let access = Access::parse(word).ok_or(BadEntry::Access)?;
    if topic::is_filter(filter) { Ok((filter.to_owned(), access)) } else { Err(BadEntry::Filter) }
}

/// The access list of a service account: `filter:r|w|rw|deny` entries and an entity scope, prepared for many questions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessList {
    reads: Vec<Pattern>,
    writes: Vec<Pattern>,
    denials: Vec<Pattern>,
    /// Sorted; `None` is all.
    entities: Option<Vec<EntityId>>,
}

impl AccessList {
    /// A deny wins over any grant, so the order of entries does not matter. `entities` are those whose agents and fleets the
    /// account may touch, sub-tree resolved; `None` is all.
    pub fn new(entries: Vec<(String, Access)>, entities: Option<Vec<EntityId>>) -> Self {
        let mut list = AccessList { entities, ..AccessList::default() };
        list.entities.iter_mut().for_each(|it| it.sort_unstable());
        for (filter, access) in entries {
            let pattern = Pattern::new(&filter);
            match access {
                Access::Read => list.reads.push(pattern),
                Access::Write => list.writes.push(pattern),
                Access::ReadWrite => {
                    list.reads.push(pattern.clone());
                    list.writes.push(pattern);
                }
                Access::Deny => list.denials.push(pattern),
            }
        }
        list
    }

    /// Whether the account may say this, topic in either spelling. Nobody says `$…` topics. `home`: where the device is that the topic
    /// names, if that is another entity than the one in the topic.
    pub fn may_write(&self, topic: &str, home: Option<EntityId>) -> bool {
        !topic.starts_with('$') && self.allows(&self.writes, topic, home)
    }

    /// Whether the account may hear this, topic in either spelling; `home` as for saying.
    pub fn may_read(&self, topic: &str, home: Option<EntityId>) -> bool {
        self.allows(&self.reads, topic, home)
    }

    /// Whether the account may touch the agents and fleets of this entity.
    pub fn covers(&self, entity: EntityId) -> bool {
        self.entities.as_ref().is_none_or(|it| it.binary_search(&entity).is_ok())
    }

    /// Whether the account could hear anything by this filter; every delivery is still checked.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        let wanted = Pattern::new(filter);
        self.is_in_scope(&wanted.plain, None)
            && self.reads.iter().any(|it| it.overlaps(&wanted))
            && !self.denials.iter().any(|it| it.covers(&wanted))
    }

    fn allows(&self, grants: &[Pattern], topic: &str, home: Option<EntityId>) -> bool {
        let (topic, _) = topic::canonical(topic);
        grants.iter().any(|it| it.selects(topic))
            && !self.denials.iter().any(|it| it.selects(topic))
            && self.is_in_scope(topic, home)
    }

    /// Topics and filters that name no entity are in every scope.
    fn is_in_scope(&self, topic: &str, home: Option<EntityId>) -> bool {
        match (home, entity(topic)) {
            (Some(home), _) => self.covers(home),
            (None, Some(number)) => {
                self.entities.is_none() || number.parse().is_ok_and(|number| self.covers(EntityId(number)))
            }
            (None, None) => true,
        }
    }
}

/// A filter that means both spellings of what it selects.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// The canonical filter.
    plain: String,
    /// What remains of a filter that selects slashed spellings by a wildcard (`+/76/#`, `/+/agent/#`), to be held against
    /// canonical names of agents, fleets and the manifest.
    below_slash: Option<String>,
}

impl Pattern {
    fn new(filter: &str) -> Self {
        let (plain, _) = topic::canonical(filter);
        let rest = plain.strip_prefix('/').or_else(|| plain.strip_prefix("+/"));
        let below_slash = rest.filter(|it| may_name_devices(it)).map(str::to_owned);
        Self { plain: plain.to_owned(), below_slash }
    }

    fn selects(&self, name: &str) -> bool {
        topic::matches(&self.plain, name)
            || self.below_slash.as_deref().is_some_and(|it| topic::has_two_spellings(name) && topic::matches(it, name))
    }

    fn overlaps(&self, other: &Pattern) -> bool {
        self.spellings().any(|one| other.spellings().any(|another| topic::filters_overlap(one, another)))
    }

    /// Whether everything that the other selects is selected by this.
    fn covers(&self, other: &Pattern) -> bool {
        let names_devices = topic::has_two_spellings(&other.plain);
        let mut for_plain = self.spellings().take(if names_devices { 2 } else { 1 });
        for_plain.any(|it| topic::filter_covers(it, &other.plain))
            && other.below_slash.iter().all(|below| self.spellings().any(|it| topic::filter_covers(it, below)))
    }

    fn spellings(&self) -> impl Iterator<Item = &str> {
        [Some(self.plain.as_str()), self.below_slash.as_deref()].into_iter().flatten()
    }
}

/// Whether a filter can select a topic of an agent, a fleet or the manifest.
fn may_name_devices(filter: &str) -> bool {
    let first = filter.split('/').next().unwrap_or_default();
    let is_number = !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit());
    let names_entity = is_number || first == "+" || first == "#";
    topic::filters_overlap(filter, "FlyvemdmManifest/#")
        || (names_entity && ["+/agent/#", "+/fleet/#"].iter().any(|it| topic::filters_overlap(filter, it)))
}

/// The entity in `<digits>/agent…` and `<digits>/fleet…`.
fn entity(topic: &str) -> Option<&str> {
    let mut levels = topic.split('/');
    let (number, noun) = (levels.next()?, levels.next()?);
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (is_number && matches!(noun, "agent" | "fleet")).then_some(number)
}

/// What an agent may say below its own topic (spec/mqtt.md §6.2).
const SAYS: [&str; 2] = ["Status/#", "FlyvemdmManifest/#"];
/// What it may hear there.
const HEARS: [&str; 2] = ["Command/#", "Policy/#"];
/// What every agent may hear.
const ALL_HEAR: &str = "FlyvemdmManifest/#";
/// What an agent may say and hear whose row is gone (spec/mqtt.md §7.6).
const PURGED_SAYS: [&str; 1] = ["Status/Unenroll"];
const PURGED_HEARS: [&str; 1] = ["Command/Unenroll"];
/// rc.6 asks for this when it is told that it has no fleet; granted, and nothing comes of it.
const FLEETLESS: &str = "null/#";

/// Whether an agent may say this, topic in either spelling; its will too. That includes answers below the topic that a policy
/// arrived on (spec/mqtt.md §4.6).
pub fn device_may_publish(agent: &Agent, topic: &str) -> bool {
    let (topic, _) = topic::canonical(topic);
    if agent.enroll_status == EnrollStatus::Purged {
        return selects_own(&PURGED_SAYS, agent, topic);
    }
    selects_own(&SAYS, agent, topic) || catalog::recognize(agent, topic).is_some()
}

/// Whether an agent may hear this now; never what it said itself, never another fleet than its current one.
pub fn device_may_read(agent: &Agent, topic: &str) -> bool {
    let (topic, _) = topic::canonical(topic);
    if agent.enroll_status == EnrollStatus::Purged {
        return selects_own(&PURGED_HEARS, agent, topic);
    }
    topic::matches(ALL_HEAR, topic)
        || selects_own(&HEARS, agent, topic)
        // What other agents of the fleet answer below the topic of a policy is not for it.
        || catalog::strip_fleet(agent, topic).is_some_and(|it| it.split('/').all(|level| level != "Status"))
}

/// Whether to grant a filter to an agent: within its own topics, any fleet of its entity, the manifest. Every delivery is still
/// checked; agents keep filters of former fleets.
pub fn device_may_subscribe(agent: &Agent, filter: &str) -> bool {
    let (filter, _) = topic::canonical(filter);
    let rest = |prefix: &str| filter.strip_prefix(prefix);
    let address = agent.address().to_string();
    rest(&address).is_some_and(|it| it.is_empty() || it.starts_with('/'))
        || [agent.entity, agent.fleet_entity].iter().any(|it| rest(&format!("{it}/fleet/")).is_some())
        || topic::filter_covers(ALL_HEAR, filter)
        || filter == FLEETLESS
}

fn selects_own(filters: &[&str], agent: &Agent, topic: &str) -> bool {
    catalog::strip_agent(agent, topic).is_some_and(|below| filters.iter().any(|it| topic::matches(it, below)))
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
