//! What a connection knows of the policies of its agent. Read when the device first subscribes; afterwards only what is different is
//! told. Removals come before policies, so that a policy which takes the place of another one stays.

use std::{mem, sync::Arc};

use bytes::Bytes;

use crate::{
    flows::{
        Flows,
        policies::{FleetPolicies, message},
    },
    ids::TaskId,
    mdm::{
        agent::Agent,
        applied::{self, Applied, Removal},
        policy::wire,
    },
    mqtt::packet::{Message, QoS},
    store::StoreError,
};

/// Removals that a connection remembers having told; the rows of older ones are long gone.
const TOLD_MAX: usize = 1000;

/// A message for the device.
pub(super) struct Telling {
    pub(super) message: Arc<Message>,
    /// The removal that is told by it.
    pub(super) removal: Option<TaskId>,
}

/// What a connection knows.
#[derive(Default)]
pub(super) struct Known {
    is_read: bool,
    own: Vec<Applied>,
    fleet: Option<Arc<FleetPolicies>>,
    /// Whether there may be removals that were not read.
    has_removals: bool,
    /// Read and not told yet.
    removals: Vec<Removal>,
    told: Vec<TaskId>,
}

impl Known {
    pub(super) fn new(has_removals: bool) -> Self {
        Self { has_removals, ..Self::default() }
    }

    /// Reads what was not read. Costs nothing for an agent without tasks, and one question per fleet, not per agent.
    pub(super) async fn read(&mut self, flows: &Flows, agent: &Agent) -> Result<(), StoreError> {
        if !self.is_read {
            if agent.policy_version > 0 {
                self.own = flows.store.tasks_of_agent(agent.id).await?;
            }
            self.fleet = fleet_now(flows, agent, None).await?;
            self.is_read = true;
        }
        if mem::take(&mut self.has_removals) {
            self.read_removals(flows, agent).await?;
        }
        Ok(())
    }

    async fn read_removals(&mut self, flows: &Flows, agent: &Agent) -> Result<(), StoreError> {
        for removal in flows.store.removals_of(agent.id).await? {
            self.add_removal(removal);
        }
        Ok(())
    }

    fn add_removal(&mut self, removal: Removal) {
        if !self.told.contains(&removal.task) && self.removals.iter().all(|it| it.task != removal.task) {
            self.removals.push(removal);
        }
    }

    /// Everything that the device would find retained, in the order of spec/mqtt.md §10.4.
    pub(super) fn owed(&self, agent: &Agent, prefix: &str) -> Vec<Telling> {
        let mut owed = self.removals(agent, prefix);
        owed.extend(self.own.iter().filter_map(|it| message(prefix, it)).map(plain));
        if let Some(fleet) = &self.fleet {
            let all = fleet.applied.iter().zip(&fleet.messages);
            let carried_out = all.filter(|(it, _)| !it.is_overridden_by(&self.own));
            owed.extend(carried_out.filter_map(|(_, message)| message.clone()).map(plain));
            owed.extend(group(agent, fleet, &self.own).filter(|it| !it.is_empty).map(|it| plain(it.message)));
        }
        owed
    }

    fn removals(&self, agent: &Agent, prefix: &str) -> Vec<Telling> {
        let telling = |removal: &Removal| {
            // Where the agent left the fleet, or the fleet is gone, it hears of it under its own topic.
            let is_here = removal.fleet.is_some() && removal.fleet == agent.managed_fleet();
            let prefix = self.fleet.as_ref().filter(|_| is_here).map_or(prefix, |it| &it.prefix);
            let topic = format!("{prefix}/{}", wire::tail(&removal.symbol, removal.task)).into();
            let payload = wire::removal(&removal.symbol, removal.task);
            let message = Message { topic, payload, qos: QoS::AtLeastOnce, retain: true };
            Telling { message: Arc::new(message), removal: Some(removal.task) }
        };
        self.removals.iter().map(telling).collect()
    }

    /// The removal was handed to the device.
    pub(super) fn hand_over(&mut self, task: TaskId) {
        self.removals.retain(|it| it.task != task);
        if self.told.len() >= TOLD_MAX {
            self.told.remove(0);
        }
        self.told.push(task);
    }

    /// The row of the agent was read again: what to tell now.
    pub(super) async fn agent_changed(
        &mut self,
        flows: &Flows,
        old: &Agent,
        new: &Agent,
        has_removals: bool,
        prefix: &str,
    ) -> Result<Vec<Telling>, StoreError> {
        if !self.is_read {
            self.has_removals |= has_removals;
            return Ok(Vec::new());
        }
        let own = if old.policy_version == new.policy_version {
            None
        } else {
            Some(flows.store.tasks_of_agent(new.id).await?)
        };
        let fleet = fleet_now(flows, new, self.fleet.as_ref()).await?;
        if has_removals {
            self.read_removals(flows, new).await?;
        }
        Ok(self.replace(new, prefix, own, fleet))
    }

    /// The policies of its fleet changed: what to tell now. Asks nothing about the agent.
    pub(super) async fn fleet_changed(
        &mut self,
        flows: &Flows,
        agent: &Agent,
        prefix: &str,
    ) -> Result<Vec<Telling>, StoreError> {
        if !self.is_read {
            self.has_removals = true;
            return Ok(Vec::new());
        }
        let fleet = fleet_now(flows, agent, self.fleet.as_ref()).await?;
        Ok(self.replace(agent, prefix, None, fleet))
    }

    /// Knows this from now on; what differs is to be told. `own` is `None` where its own tasks are what they were.
    fn replace(
        &mut self,
        agent: &Agent,
        prefix: &str,
        own: Option<Vec<Applied>>,
        fleet: Option<Arc<FleetPolicies>>,
    ) -> Vec<Telling> {
        let replaced = own.map(|own| mem::replace(&mut self.own, own));
        let old_fleet = mem::replace(&mut self.fleet, fleet);
        let Self { own, fleet, .. } = &*self;
        let old_own = replaced.as_ref().unwrap_or(own);
        let before = old_fleet.filter(|old| fleet.as_ref().is_some_and(|new| new.fleet == old.fleet));
        let mut news: Vec<Telling> =
            applied::news(old_own, own).filter_map(|it| message(prefix, it)).map(plain).collect();
        let mut gone = Vec::new();
        if let Some(fleet) = fleet {
            let known = before.as_ref().map_or(&[][..], |it| &it.applied);
            for (it, message) in fleet.applied.iter().zip(&fleet.messages) {
                let is_known = applied::contains(known, it) && !it.is_overridden_by(old_own);
                if !is_known && !it.is_overridden_by(own) {
                    news.extend(message.clone().map(plain));
                }
            }
            let taken_back = applied::gone(known, &fleet.applied).filter(|it| !it.is_overridden_by(own));
            gone.extend(taken_back.map(|it| Removal {
                task: it.task,
                symbol: it.symbol.to_owned(),
                fleet: Some(fleet.fleet),
            }));
            let group_before = before.as_ref().and_then(|it| group(agent, it, old_own).next());
            let is_told = |it: &Group| match &group_before {
                Some(before) => it.message.payload == before.message.payload,
                None => it.is_empty,
            };
            news.extend(group(agent, fleet, own).filter(|it| !is_told(it)).map(|it| plain(it.message)));
        }
        gone.into_iter().for_each(|it| self.add_removal(it));
        let mut tellings = self.removals(agent, prefix);
        tellings.extend(news);
        tellings
    }
}

/// The policies of the fleet that the agent is in; `known` is what the connection holds.
async fn fleet_now(
    flows: &Flows,
    agent: &Agent,
    known: Option<&Arc<FleetPolicies>>,
) -> Result<Option<Arc<FleetPolicies>>, StoreError> {
    let Some(fleet) = agent.managed_fleet() else { return Ok(None) };
    // Something may have changed between the reading of the row and the registration as a member of the fleet.
    let version = agent.fleet_policy_version.max(flows.policies.version(fleet));
    if version == 0 {
        return Ok(None);
    }
    match known.filter(|it| it.fleet == fleet && it.version >= version) {
        Some(known) => Ok(Some(known.clone())),
        None => flows.policies.of(&flows.store, fleet, version).await.map(Some),
    }
}

/// What iOS reads instead of single policies (spec/mqtt.md §3.2).
struct Group {
    message: Arc<Message>,
    is_empty: bool,
}

fn group(agent: &Agent, fleet: &FleetPolicies, own: &[Applied]) -> impl Iterator<Item = Group> {
    let group = agent.is_apple.then(|| {
        let elements: Vec<&str> = fleet
            .applied
            .iter()
            .filter(|it| !it.is_overridden_by(own))
            .filter_map(|it| it.element.as_deref())
            .collect();
        let payload: Bytes = wire::grouped(elements.iter().copied());
        let topic = format!("{}/file", fleet.prefix).into();
        let message = Arc::new(Message { topic, payload, qos: QoS::AtLeastOnce, retain: true });
        Group { message, is_empty: elements.is_empty() }
    });
    group.into_iter()
}

fn plain(message: Arc<Message>) -> Telling {
    Telling { message, removal: None }
}
