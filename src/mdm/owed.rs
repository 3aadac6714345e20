//! What an agent must be told: the state it would find retained, and the commands that wait for it. Computed from its
//! row, never stored message by message (spec/mqtt.md §5), so an earlier life of the serial leaves nothing behind.

use bytes::Bytes;

use crate::{
    ids::{CommandId, ConnectionNumber},
    mdm::{
        agent::{Agent, EnrollStatus, LockWish},
        catalog::{self, Life},
    },
};

/// Where agents read which server they talk to, canonical spelling.
pub const MANIFEST_TOPIC: &str = "FlyvemdmManifest/Status/Version";

/// What they read there (spec/mqtt.md §3.3); retained, on both spellings.
pub const MANIFEST_BODY: &[u8] = br#"{"version":"2.0.0"}"#;

/// A command that was not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCommand {
    /// Key.
    pub id: CommandId,
    /// Name in the catalog.
    pub name: String,
    /// The connection that it was handed to, if any.
    pub sent_to: Option<ConnectionNumber>,
}

/// One message of an agent's state, under the agent's own topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateMessage {
    /// Topic below the agent's prefix.
    pub tail: &'static str,
    /// Body, never empty.
    pub payload: Bytes,
    /// The command in the catalog that this message carries.
    pub command: Option<&'static str>,
}

/// One message to send now, under the agent's own topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Topic below the agent's prefix.
    pub tail: &'static str,
    /// Body, never empty.
    pub payload: Bytes,
    /// Whether to set the retain flag.
    pub retain: bool,
    /// The open commands that are sent by sending this.
    pub settles: Vec<CommandId>,
}

/// What the agent would find retained, in the order of spec/mqtt.md §10.4. A lock that was wished before a wipe stays
/// in the row and is sent as well, as Flyve does; after a wipe no new lock gets into the row (`agent::Agent::wish_lock`).
pub fn state(agent: &Agent, slashed_topics: bool) -> impl Iterator<Item = StateMessage> {
    let lock = match agent.lock {
        LockWish::Never => None,
        LockWish::Lock => carry("lock"),
        LockWish::Unlock => carry("unlock"),
    };
    let wipe = if agent.wipe { carry("wipe") } else { None };
    let unenroll = if agent.enroll_status == EnrollStatus::Enrolled { None } else { carry("unenroll") };
    let subscribe = (agent.enroll_status != EnrollStatus::Purged).then(|| subscribe(agent, slashed_topics));
    // Policies of the agent come after these.
    [subscribe, lock, wipe, unenroll].into_iter().flatten()
}

/// After a SUBSCRIBE: state with the retain flag, then queries not yet sent on this connection without it.
/// `wants` says whether the new filter matches a topic below the agent's prefix.
pub fn on_subscribe(
    agent: &Agent,
    commands: &[OpenCommand],
    connection: ConnectionNumber,
    slashed_topics: bool,
    wants: impl Fn(&str) -> bool,
) -> Vec<Due> {
    let mut due: Vec<Due> = state(agent, slashed_topics)
        .filter(|message| wants(message.tail))
        .map(|message| with_settled(message, true, commands, connection))
        .collect();
    due.extend(queries(commands, connection).filter(|query| wants(query.tail)));
    due
}

/// After the row or the commands changed: what differs from what this connection was told, live.
/// A wish that repeats the state (a second `lock`) is sent again, because its command waits.
pub fn on_wake(
    old: &Agent,
    new: &Agent,
    commands: &[OpenCommand],
    connection: ConnectionNumber,
    slashed_topics: bool,
) -> Vec<Due> {
    let known: Vec<StateMessage> = state(old, slashed_topics).collect();
    let mut due: Vec<Due> = state(new, slashed_topics)
        .map(|message| (known.contains(&message), with_settled(message, false, commands, connection)))
        .filter(|(is_known, due)| !is_known || !due.settles.is_empty())
        .map(|(_, due)| due)
        .collect();
    due.extend(queries(commands, connection));
    due
}

fn carry(name: &str) -> Option<StateMessage> {
    catalog::command(name).map(|command| StateMessage {
        tail: command.topic,
        payload: Bytes::from_static(command.body.as_bytes()),
        command: Some(command.name),
    })
}

fn subscribe(agent: &Agent, slashed_topics: bool) -> StateMessage {
    let payload = match agent.managed_fleet() {
        Some(fleet) => {
            let slash = if slashed_topics { "/" } else { "" };
            Bytes::from(format!(r#"{{"subscribe":[{{"topic":"{slash}{}/fleet/{fleet}"}}]}}"#, agent.fleet_entity))
        }
        None => Bytes::from_static(br#"{"subscribe":[{"topic":null}]}"#),
    };
    StateMessage { tail: "Command/Subscribe", payload, command: None }
}

fn with_settled(message: StateMessage, retain: bool, commands: &[OpenCommand], connection: ConnectionNumber) -> Due {
    let settles = message.command.map(|name| unsent(commands, name, connection)).unwrap_or_default();
    Due { tail: message.tail, payload: message.payload, retain, settles }
}

fn queries(commands: &[OpenCommand], connection: ConnectionNumber) -> impl Iterator<Item = Due> {
    catalog::COMMANDS.iter().filter(|command| command.life == Life::Query).filter_map(move |command| {
        let settles = unsent(commands, command.name, connection);
        let payload = Bytes::from_static(command.body.as_bytes());
        (!settles.is_empty()).then_some(Due { tail: command.topic, payload, retain: false, settles })
    })
}

/// Several open commands with one name travel in one message: one answer answers them all.
fn unsent(commands: &[OpenCommand], name: &str, connection: ConnectionNumber) -> Vec<CommandId> {
    commands.iter().filter(|it| it.name == name && it.sent_to != Some(connection)).map(|it| it.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{EntityId, FleetId},
        mdm::agent::tests::agent,
    };

    fn tails(agent: &Agent) -> Vec<&'static str> {
        state(agent, false).map(|message| message.tail).collect()
    }

    #[test]
    fn state_comes_in_the_order_of_the_specification() {
        let mut it = agent();
        assert_eq!(tails(&it), ["Command/Subscribe"]);
        (it.lock, it.wipe, it.enroll_status) = (LockWish::Unlock, true, EnrollStatus::Unenrolling);
        assert_eq!(tails(&it), ["Command/Subscribe", "Command/Lock", "Command/Wipe", "Command/Unenroll"]);
    }

    #[test]
    fn a_purged_agent_is_only_told_to_leave() {
        let it = Agent { enroll_status: EnrollStatus::Purged, ..agent() };
        assert_eq!(tails(&it), ["Command/Unenroll"]);
    }

    #[test]
    fn a_fleet_in_another_entity_than_the_topic_is_named_by_its_own() {
        let it = Agent { fleet_entity: EntityId(9), ..agent() };
        let payload = state(&it, false).next().unwrap().payload;
        assert_eq!(payload, r#"{"subscribe":[{"topic":"9/fleet/7"}]}"#);
    }

    #[test]
    fn subscribe_names_the_fleet_in_the_issued_spelling() {
        let mut it = agent();
        let body = |it: &Agent, slashed| state(it, slashed).next().unwrap().payload;
        assert_eq!(body(&it, false), r#"{"subscribe":[{"topic":"3/fleet/7"}]}"#);
        assert_eq!(body(&it, true), r#"{"subscribe":[{"topic":"/3/fleet/7"}]}"#);
        it.fleet_is_default = true;
        assert_eq!(body(&it, true), r#"{"subscribe":[{"topic":null}]}"#);
    }

    #[test]
    fn a_query_is_sent_once_per_connection() {
        let ping = |id, sent| OpenCommand { id: CommandId(id), name: "ping".into(), sent_to: sent };
        let commands = [ping(1, None), ping(2, Some(ConnectionNumber(5)))];
        let settled = |number| {
            let due = on_wake(&agent(), &agent(), &commands, ConnectionNumber(number), false);
            due.into_iter().flat_map(|it| it.settles).map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(settled(5), [1]);
        assert_eq!(settled(6), [1, 2]);
    }

    #[test]
    fn a_change_is_sent_live_and_settles_its_command() {
        let mut new = agent();
        new.lock = LockWish::Lock;
        new.fleet = FleetId(8);
        let lock = [OpenCommand { id: CommandId(9), name: "lock".into(), sent_to: None }];
        let due = on_wake(&agent(), &new, &lock, ConnectionNumber(1), false);
        assert_eq!(due.iter().map(|it| it.tail).collect::<Vec<_>>(), ["Command/Subscribe", "Command/Lock"]);
        assert_eq!((due[1].retain, &due[1].settles), (false, &vec![CommandId(9)]));
        assert_eq!(on_wake(&new, &new, &lock, ConnectionNumber(1), false).len(), 1);
        assert!(on_wake(&new, &new, &[], ConnectionNumber(1), false).is_empty());
    }

    #[test]
    fn a_subscription_gets_the_state_it_matches_as_retained() {
        let due = on_subscribe(&agent(), &[], ConnectionNumber(1), false, |tail| tail.starts_with("Command/"));
        assert_eq!(due.len(), 1);
        assert!(due[0].retain);
        assert!(on_subscribe(&agent(), &[], ConnectionNumber(1), false, |_| false).is_empty());
    }
}
