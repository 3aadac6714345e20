//! Many changes → as few rows as say the same. Knows which facts make earlier ones superfluous; no SQL here.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::clipped;
use crate::{
    clock::Timestamp,
    ids::{AgentId, CommandId, ComputerId, ConnectionNumber, CredentialId, TaskId},
    mdm::{
        change::{Change, LogLine},
        inventory::Inventory,
        policy::WAITING,
    },
};

/// Longest latitude or longitude that is stored, in characters.
const COORDINATE_CHARS_MAX: usize = 64;
/// Longest version that is stored, in characters.
const VERSION_CHARS_MAX: usize = 100;

/// What is known of the presence of one agent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Touch {
    /// Whether it is online according to the connection with this number; counts if no newer connection is stored.
    pub(super) numbered: Option<(bool, ConnectionNumber)>,
    /// What it said by HTTP; counts always.
    pub(super) says: Option<bool>,
    /// When it was last heard.
    pub(super) seen: Option<Timestamp>,
}

impl Touch {
    fn by_connection(&mut self, is_online: bool, connection: ConnectionNumber) {
        if self.numbered.is_none_or(|(_, known)| known <= connection) {
            self.numbered = Some((is_online, connection));
        }
    }

    /// Overrides what was said before over a connection, and is overridden by what is said later.
    fn by_http(&mut self, is_online: bool) {
        self.says = Some(is_online);
        if let Some((numbered, _)) = &mut self.numbered {
            *numbered = is_online;
        }
    }
}

/// A position of a computer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) computer: ComputerId,
    pub(super) at: Timestamp,
    pub(super) latitude: String,
    pub(super) longitude: String,
}

/// Per agent and task: the last status.
pub(super) type TaskStatuses = BTreeMap<(AgentId, TaskId), (&'static str, Timestamp)>;

/// Changes that were gathered. Ordered by key, so that two nodes lock rows in the same order.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) touches: BTreeMap<AgentId, Touch>,
    pub(super) positions: BTreeSet<Position>,
    pub(super) task_statuses: TaskStatuses,
    /// What waits for its user came after these; not every task may, and then the earlier status stays.
    pub(super) waiting: TaskStatuses,
    pub(super) removals_heard: BTreeSet<(AgentId, TaskId)>,
    pub(super) versions: BTreeMap<AgentId, String>,
    pub(super) inventories: BTreeMap<ComputerId, (Timestamp, Box<Inventory>)>,
    pub(super) sent: BTreeMap<CommandId, (ConnectionNumber, Timestamp)>,
    pub(super) delivered: BTreeMap<CommandId, Timestamp>,
    pub(super) answered: BTreeMap<(AgentId, &'static str), Timestamp>,
    pub(super) credentials: BTreeMap<AgentId, CredentialId>,
    pub(super) log: Vec<LogLine>,
}

impl Merged {
    /// Takes a change in. Gives back the one kind that must not be moved before or after others: the end of an agent.
    pub(super) fn add(&mut self, change: Change) -> Option<(AgentId, Timestamp)> {
        match change {
            Change::Presence { agent, is_online, connection, at } => {
                let touch = self.touches.entry(agent).or_default();
                touch.by_connection(is_online, connection);
                if is_online {
                    touch.seen = touch.seen.max(Some(at));
                }
            }
            Change::SaysOnline { agent, is_online, connection } => {
                let touch = self.touches.entry(agent).or_default();
                match connection {
                    Some(connection) => touch.by_connection(is_online, connection),
                    None => touch.by_http(is_online),
                }
            }
            Change::Seen { agent, at } => {
                let touch = self.touches.entry(agent).or_default();
                touch.seen = touch.seen.max(Some(at));
            }
            Change::Position { agent: _, computer, at, latitude, longitude } => {
                let latitude = clipped(latitude, COORDINATE_CHARS_MAX);
                let longitude = clipped(longitude, COORDINATE_CHARS_MAX);
                self.positions.insert(Position { computer, at, latitude, longitude });
            }
            Change::TaskStatus { agent, task, status: WAITING, at } => {
                self.waiting.insert((agent, task), (WAITING, at));
            }
            Change::TaskStatus { agent, task, status, at } => {
                self.task_statuses.insert((agent, task), (status, at));
                self.waiting.remove(&(agent, task));
            }
            Change::RemovalHeard { agent, task } => {
                self.removals_heard.insert((agent, task));
            }
            Change::AgentVersion { agent, version } => {
                self.versions.insert(agent, clipped(version, VERSION_CHARS_MAX));
            }
            Change::Inventory { agent: _, computer, at, inventory } => {
                if self.inventories.get(&computer).is_none_or(|(known, _)| *known <= at) {
                    self.inventories.insert(computer, (at, inventory));
                }
            }
            Change::Sent { command, connection, at } => {
                if self.sent.get(&command).is_none_or(|(known, _)| *known <= connection) {
                    self.sent.insert(command, (connection, at));
                }
            }
            Change::Delivered { command, at } => {
                self.delivered.entry(command).or_insert(at);
            }
            Change::Answered { agent, command, at } => {
                self.answered.entry((agent, command)).or_insert(at);
            }
            Change::Logged(line) => self.log.push(*line),
            Change::CredentialUsed { agent, credential } => {
                let newest = self.credentials.entry(agent).or_insert(credential);
                *newest = credential.max(*newest);
            }
            Change::Unenrolled { agent, at } => return Some((agent, at)),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: AgentId = AgentId(3);

    fn presence(is_online: bool, connection: i64, at: i64) -> Change {
        Change::Presence { agent: AGENT, is_online, connection: ConnectionNumber(connection), at: Timestamp(at) }
    }

    fn says(is_online: bool, connection: Option<i64>) -> Change {
        Change::SaysOnline { agent: AGENT, is_online, connection: connection.map(ConnectionNumber) }
    }

    #[test]
    fn of_many_touches_of_an_agent_one_row_remains() {
        let check = |changes: Vec<Change>, numbered: Option<(bool, i64)>, says, seen: Option<i64>| {
            let mut merged = Merged::default();
            for change in changes.clone() {
                assert_eq!(merged.add(change), None);
            }
            let numbered = numbered.map(|(is_online, number)| (is_online, ConnectionNumber(number)));
            let want = Touch { numbered, says, seen: seen.map(Timestamp) };
            assert_eq!(merged.touches[&AGENT], want, "{changes:?}");
        };
        let seen = |at| Change::Seen { agent: AGENT, at: Timestamp(at) };
        check(vec![seen(5), seen(9), seen(7)], None, None, Some(9));
        check(vec![presence(true, 7, 1), presence(false, 5, 2)], Some((true, 7)), None, Some(1));
        check(vec![presence(true, 7, 1), presence(false, 7, 2)], Some((false, 7)), None, Some(1));
        check(vec![presence(false, 7, 2)], Some((false, 7)), None, None);
        check(vec![presence(true, 7, 1), says(false, Some(7))], Some((false, 7)), None, Some(1));
        check(vec![presence(true, 7, 1), says(false, Some(6))], Some((true, 7)), None, Some(1));
        check(vec![presence(true, 7, 1), says(false, None)], Some((false, 7)), Some(false), Some(1));
        check(vec![says(false, None), presence(true, 7, 1)], Some((true, 7)), Some(false), Some(1));
    }

    #[test]
    fn waiting_for_the_user_does_not_make_an_earlier_status_superfluous() {
        let check = |statuses: &[&'static str], last: Option<&str>, waits: bool| {
            let mut merged = Merged::default();
            for status in statuses {
                merged.add(Change::TaskStatus { agent: AGENT, task: TaskId(1), status, at: Timestamp(1) });
            }
            assert_eq!(merged.task_statuses.values().next().map(|it| it.0), last, "{statuses:?}");
            assert_eq!(!merged.waiting.is_empty(), waits, "{statuses:?}");
        };
        check(&["received", "done"], Some("done"), false);
        check(&["done", "waiting"], Some("done"), true);
        check(&["waiting", "done"], Some("done"), false);
        check(&["waiting"], None, true);
    }

    #[test]
    fn the_end_of_an_agent_is_not_merged() {
        let end = Change::Unenrolled { agent: AGENT, at: Timestamp(4) };
        assert_eq!(Merged::default().add(end), Some((AGENT, Timestamp(4))));
    }
}
