//! Online means online, whatever the database did meanwhile: who came or left while nothing could be written is remembered, and
//! written again by the sweep. Only when too many are remembered are all agents looked at, once.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use tracing::info;

use super::Flows;
use crate::{
    ids::{AgentId, ConnectionNumber},
    mdm::change::Change,
    store::{StoreError, agent::PresenceRow},
};

#[cfg(test)]
mod tests;

/// Agents that are remembered; where there are more, all are looked at.
pub const DOUBTS_MAX: usize = 10_000;
/// Agents that are looked at and written at once.
const AT_ONCE: usize = 1_000;

/// Agents whose rows may say something else than their connections.
#[derive(Default)]
pub struct Doubts(Mutex<Doubtful>);

#[derive(Default)]
struct Doubtful {
    /// With the newest connection that was not written.
    agents: HashMap<AgentId, ConnectionNumber>,
    /// There were more than are remembered.
    is_everybody: bool,
}

impl Doubts {
    /// That this connection came or left could not be written.
    pub fn add(&self, agent: AgentId, connection: ConnectionNumber) {
        let mut doubtful = self.lock();
        if doubtful.agents.len() >= DOUBTS_MAX && !doubtful.agents.contains_key(&agent) {
            doubtful.is_everybody = true;
            return;
        }
        let newest = doubtful.agents.entry(agent).or_insert(connection);
        *newest = connection.max(*newest);
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.lock().agents.len()
    }

    /// Whether all rows say what connections say, as far as is known.
    pub fn is_empty(&self) -> bool {
        let doubtful = self.lock();
        doubtful.agents.is_empty() && !doubtful.is_everybody
    }

    fn lock(&self) -> MutexGuard<'_, Doubtful> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a row should say of a connection.
#[derive(Clone, Copy)]
struct Presence {
    agent: AgentId,
    connection: ConnectionNumber,
    is_online: bool,
}

impl Flows {
    /// Writes down that the connection of an agent opened or ended, and what else is to be noted with it. Nobody waits for that.
    pub(super) fn note_presence(
        &self,
        agent: AgentId,
        connection: ConnectionNumber,
        is_online: bool,
        others: impl Iterator<Item = Change>,
    ) {
        let mut changes = vec![Change::Presence { agent, is_online, connection, at: self.clock.now() }];
        changes.extend(others);
        let doubts = self.doubts.clone();
        self.store.note(changes, move |written| {
            if written.is_err() {
                doubts.add(agent, connection);
            }
        });
    }

    /// Writes again what could not be written.
    ///
    /// # Errors
    /// The database failed; what is in doubt stays so.
    pub(super) async fn settle_presence(&self) -> Result<(), StoreError> {
        if self.doubts.is_empty() {
            return Ok(());
        }
        let Doubtful { agents, is_everybody } = mem::take(&mut *self.doubts.lock());
        let settled = if is_everybody { self.settle_everybody().await } else { self.settle(&agents).await };
        match &settled {
            Ok(0) => {}
            Ok(count) => info!("the presence of {count} agents is written, which could not be written before"),
            Err(_) => {
                agents.iter().for_each(|(agent, connection)| self.doubts.add(*agent, *connection));
                self.doubts.lock().is_everybody |= is_everybody;
            }
        }
        settled.map(drop)
    }

    async fn settle(&self, agents: &HashMap<AgentId, ConnectionNumber>) -> Result<usize, StoreError> {
        let presence = |(agent, connection): (&AgentId, &ConnectionNumber)| match self.hub.connection_of(*agent) {
            // A newer connection was written, or is in doubt itself.
            Some(now) if now != *connection => None,
            now => Some(Presence { agent: *agent, connection: *connection, is_online: now.is_some() }),
        };
        let all: Vec<Presence> = agents.iter().filter_map(presence).collect();
        for some in all.chunks(AT_ONCE) {
            self.write_presence(some).await?;
        }
        Ok(all.len())
    }

    /// Compares every row with the connections, some rows at a time.
    async fn settle_everybody(&self) -> Result<usize, StoreError> {
        let (mut after, mut count) = (None, 0);
        loop {
            let rows = self.store.presence_after(after, AT_ONCE).await?;
            let Some(last) = rows.last() else { return Ok(count) };
            after = Some(last.agent);
            let presence = |&PresenceRow { agent, connection, is_online }: &PresenceRow| {
                match self.hub.connection_of(agent) {
                    // With the same number the device itself may have said that it is offline.
                    Some(now) => (connection < now).then_some(Presence { agent, connection: now, is_online: true }),
                    None => is_online.then_some(Presence { agent, connection, is_online: false }),
                }
            };
            let wrong: Vec<Presence> = rows.iter().filter_map(presence).collect();
            self.write_presence(&wrong).await?;
            count += wrong.len();
        }
    }

    async fn write_presence(&self, wanted: &[Presence]) -> Result<(), StoreError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let written = self.submit_presence(wanted.iter().copied());
        // Whoever left since the look may have said so before what we said.
        let is_gone = |it: &&Presence| it.is_online && self.hub.connection_of(it.agent) != Some(it.connection);
        let gone: Vec<Presence> = wanted.iter().filter(is_gone).copied().collect();
        if !gone.is_empty() {
            answer(self.submit_presence(gone.into_iter().map(|it| Presence { is_online: false, ..it }))).await?;
        }
        answer(written).await
    }

    fn submit_presence(&self, wanted: impl Iterator<Item = Presence>) -> oneshot::Receiver<Result<(), StoreError>> {
        let at = self.clock.now();
        let change = |Presence { agent, connection, is_online }| Change::Presence { agent, is_online, connection, at };
        let (tell, told) = oneshot::channel();
        self.store.submit(wanted.map(change).collect(), move |written| drop(tell.send(written)));
        told
    }
}

async fn answer(told: oneshot::Receiver<Result<(), StoreError>>) -> Result<(), StoreError> {
    told.await.unwrap_or_else(|_| Err(StoreError::Database("the writer ended".into())))
}
