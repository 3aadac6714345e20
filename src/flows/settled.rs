//! Wakes those who wait for the commands of an agent to be answered.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dashmap::DashMap;
use tokio::sync::{Notify, futures::Notified};

use super::Flows;
use crate::ids::AgentId;

/// Requests that wait at once. Those beyond are answered with what is known.
pub const WAITS_MAX: usize = 1000;

/// Who waits for which agent.
#[derive(Default)]
pub struct Settled {
    watched: DashMap<AgentId, Arc<Notify>>,
    waiting: AtomicUsize,
}

/// Somebody who waits for an agent. Whoever gives up leaves nothing behind.
pub struct Watch<'a> {
    settled: &'a Settled,
    agent: AgentId,
    notify: Option<Arc<Notify>>,
}

impl Watch<'_> {
    /// The next news, once it is enabled or awaited.
    pub fn notified(&self) -> Option<Notified<'_>> {
        self.notify.as_ref().map(|it| it.notified())
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.settled.waiting.fetch_sub(1, Ordering::Relaxed);
        self.notify = None;
        self.settled.watched.remove_if(&self.agent, |_, it| Arc::strong_count(it) == 1);
    }
}

impl Settled {
    /// To be called before the state is read, so that no news is missed. `None`: too many wait already.
    pub fn watch(&self, agent: AgentId) -> Option<Watch<'_>> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITS_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let notify = Some(self.watched.entry(agent).or_default().clone());
        Some(Watch { settled: self, agent, notify })
    }

    fn wake(&self, agent: AgentId) {
        if let Some(notify) = self.watched.get(&agent) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gives_up_leaves_nothing_behind() {
        let settled = Settled::default();
        let both = (settled.watch(AgentId(1)).unwrap(), settled.watch(AgentId(1)).unwrap());
        assert_eq!(settled.watched.len(), 1);
        drop(both);
        assert_eq!((settled.watched.len(), settled.waiting.load(Ordering::Relaxed)), (0, 0));
        let all: Vec<Watch<'_>> = (0..).map_while(|it| settled.watch(AgentId(it))).collect();
        assert_eq!(all.len(), WAITS_MAX);
    }
}
