//! Wakes those who wait for the commands of an agent to be answered.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::Notify;

use super::Flows;
use crate::ids::AgentId;

/// Who waits for which agent. Bounded by the requests that wait.
#[derive(Default)]
pub struct Settled(DashMap<AgentId, Arc<Notify>>);

impl Settled {
    /// To be called before the state is read, so that no news is missed.
    pub fn watch(&self, agent: AgentId) -> Arc<Notify> {
        self.0.entry(agent).or_default().clone()
    }

    /// The watcher is done; the last one cleans up.
    pub fn unwatch(&self, agent: AgentId, notify: Arc<Notify>) {
        drop(notify);
        self.0.remove_if(&agent, |_, it| Arc::strong_count(it) == 1);
    }

    fn wake(&self, agent: AgentId) {
        if let Some(notify) = self.0.get(&agent) {
            notify.notify_waiters();
        }
    }
}

impl Flows {
    /// Commands of this agent were answered, delivered, cancelled or expired.
    pub fn commands_settled(&self, agent: AgentId) {
        self.settled.wake(agent);
    }
}
