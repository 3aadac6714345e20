//! What waits for one client: messages to send and news for its connection. Bounded; only ever tries, never waits.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::mqtt::{packet::QoS, session::Delivery};

/// Bounds of an outbox.
#[derive(Debug, Clone, Copy)]
pub struct OutboxBounds {
    /// Messages.
    pub messages_max: usize,
    /// Sum of their topics and payloads.
    pub bytes_max: usize,
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// The same account connected again.
    Takeover,
    /// The account or its credentials are gone.
    Revoked,
    /// The server stops.
    Shutdown,
}

/// News for the connection that holds the outbox.
#[derive(Debug, Default)]
pub struct Mail {
    /// Messages to send, oldest first.
    pub deliveries: VecDeque<Delivery>,
    /// The last of our writes that the store committed.
    pub committed: Option<u64>,
    /// A write of ours failed.
    pub write_failed: bool,
    /// The agent's rows changed.
    pub agent_changed: bool,
    /// The policies of the agent's fleet changed.
    pub fleet_changed: bool,
    /// Close now.
    pub eviction: Option<Eviction>,
}

/// What became of a message for this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It will be sent.
    Waits,
    /// Dropped: too many messages or bytes wait already.
    Full,
    /// Dropped: QoS 0, and nobody is connected.
    Offline,
}

#[derive(Default)]
struct Inside {
    mail: Mail,
    bytes: usize,
    is_attached: bool,
    waker: Option<Waker>,
}

/// The outbox of one client. Outlives the connection where the session does.
pub struct Outbox {
    /// Nothing is inside but the waker of the task that asked last: it need not look again. Changed under the lock.
    is_quiet: AtomicBool,
    inside: Mutex<Inside>,
    bounds: OutboxBounds,
}

impl Outbox {
    /// Empty, with a connection attached.
    pub fn new(bounds: OutboxBounds) -> Self {
        let inside = Mutex::new(Inside { is_attached: true, ..Inside::default() });
        Self { is_quiet: AtomicBool::new(false), inside, bounds }
    }

    /// Adds a message.
    pub fn post(&self, delivery: Delivery) -> Posted {
        let mut inside = self.lock();
        if !inside.is_attached && delivery.qos == QoS::AtMostOnce {
            return Posted::Offline;
        }
        let bytes = delivery.message.payload.len() + delivery.message.topic.len();
        if inside.mail.deliveries.len() >= self.bounds.messages_max || inside.bytes + bytes > self.bounds.bytes_max {
            return Posted::Full;
        }
        inside.bytes += bytes;
        inside.mail.deliveries.push_back(delivery);
        self.wake(inside);
        Posted::Waits
    }

    /// The store committed the write with this number.
    pub fn committed(&self, ticket: u64) {
        let mut inside = self.lock();
        inside.mail.committed = Some(ticket);
        self.wake(inside);
    }

    /// The store could not write what the client said.
    pub fn write_failed(&self) {
        let mut inside = self.lock();
        inside.mail.write_failed = true;
        self.wake(inside);
    }

    /// The agent's rows changed, or what the account came in with; its connection should look again.
    pub fn agent_changed(&self) {
        let mut inside = self.lock();
        inside.mail.agent_changed = true;
        self.wake(inside);
    }

    /// The policies of the agent's fleet changed; its connection should look at them again.
    pub fn fleet_changed(&self) {
        let mut inside = self.lock();
        inside.mail.fleet_changed = true;
        self.wake(inside);
    }

    /// Ends the connection. The first reason stays, unless the account is gone: then its session must not wait for it either.
    pub fn evict(&self, why: Eviction) {
        let mut inside = self.lock();
        if why == Eviction::Revoked || inside.mail.eviction.is_none() {
            inside.mail.eviction = Some(why);
        }
        self.wake(inside);
    }

    /// Whether the account is gone and the connection has not heard of it.
    pub fn is_revoked(&self) -> bool {
        self.lock().mail.eviction == Some(Eviction::Revoked)
    }

    /// For the connection: whether there is mail; otherwise it is woken by the next. While the client takes no messages, only news
    /// count. Always the same task asks, unless [`Outbox::hand_over`] is called in between.
    pub fn poll_mail(&self, context: &mut Context<'_>, takes_messages: bool) -> Poll<()> {
        if self.is_quiet.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let mut inside = self.lock();
        if inside.mail.has_news() || takes_messages && !inside.mail.deliveries.is_empty() {
            return Poll::Ready(());
        }
        match &inside.waker {
            Some(known) if known.will_wake(context.waker()) => {}
            _ => inside.waker = Some(context.waker().clone()),
        }
        self.is_quiet.store(inside.mail.deliveries.is_empty(), Ordering::Release);
        Poll::Pending
    }

    /// Another task asks from now on.
    pub fn hand_over(&self) {
        let _inside = self.lock();
        self.is_quiet.store(false, Ordering::Release);
    }

    /// For the connection: everything that arrived. Memory is handed over, so an idle outbox holds none.
    pub fn take(&self) -> Mail {
        let mut inside = self.lock();
        inside.bytes = 0;
        mem::take(&mut inside.mail)
    }

    /// For the connection: news but no messages, while the client does not take any.
    pub fn take_news(&self) -> Mail {
        let mut inside = self.lock();
        let deliveries = mem::take(&mut inside.mail.deliveries);
        let mail = mem::take(&mut inside.mail);
        inside.mail.deliveries = deliveries;
        mail
    }

    /// Puts messages that could not be sent back in front.
    pub fn put_back(&self, mut unsent: VecDeque<Delivery>) {
        if unsent.is_empty() {
            return;
        }
        let mut inside = self.lock();
        self.is_quiet.store(false, Ordering::Release);
        inside.bytes += unsent.iter().map(|it| it.message.payload.len() + it.message.topic.len()).sum::<usize>();
        unsent.append(&mut inside.mail.deliveries);
        inside.mail.deliveries = unsent;
    }

    /// A connection took the session over: old news are forgotten, messages stay.
    pub fn attach(&self) {
        let mut inside = self.lock();
        let deliveries = mem::take(&mut inside.mail.deliveries);
        inside.mail = Mail { deliveries, ..Mail::default() };
        inside.is_attached = true;
        self.is_quiet.store(false, Ordering::Release);
    }

    /// The connection is gone; messages of QoS 0 are dropped from now on.
    pub fn detach(&self) {
        let mut inside = self.lock();
        inside.is_attached = false;
        inside.waker = None;
        self.is_quiet.store(false, Ordering::Release);
        inside.mail.deliveries.retain(|it| it.qos != QoS::AtMostOnce);
        inside.bytes = inside.mail.deliveries.iter().map(|it| it.message.payload.len() + it.message.topic.len()).sum();
    }

    /// Whether more waits than is taken: only what was put back can make it so.
    pub fn is_overfull(&self) -> bool {
        let inside = self.lock();
        inside.mail.deliveries.len() > self.bounds.messages_max || inside.bytes > self.bounds.bytes_max
    }

    /// Messages that wait.
    pub fn depth(&self) -> usize {
        self.lock().mail.deliveries.len()
    }

    /// Wakes the connection after the lock was given back.
    fn wake(&self, mut inside: MutexGuard<'_, Inside>) {
        self.is_quiet.store(false, Ordering::Release);
        let waker = inside.waker.take();
        drop(inside);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mail {
    fn has_news(&self) -> bool {
        self.committed.is_some()
            || self.write_failed
            || self.agent_changed
            || self.fleet_changed
            || self.eviction.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::mqtt::packet::Message;

    fn delivery(payload: &'static [u8], qos: QoS) -> Delivery {
        let message = Message { topic: "t".into(), payload: Bytes::from_static(payload), qos, retain: false };
        Delivery { message: Arc::new(message), qos, retain: false, slashed: false, tag: None, home: None }
    }

    fn outbox() -> Outbox {
        Outbox::new(OutboxBounds { messages_max: 2, bytes_max: 10 })
    }

    #[test]
    fn messages_beyond_the_count_are_dropped() {
        let outbox = outbox();
        assert_eq!(outbox.post(delivery(b"1", QoS::AtMostOnce)), Posted::Waits);
        assert_eq!(outbox.post(delivery(b"2", QoS::AtMostOnce)), Posted::Waits);
        assert_eq!(outbox.post(delivery(b"3", QoS::AtMostOnce)), Posted::Full);
        assert_eq!(outbox.take().deliveries.len(), 2);
        assert_eq!(outbox.post(delivery(b"4", QoS::AtMostOnce)), Posted::Waits);
    }

    #[test]
    fn messages_beyond_the_bytes_are_dropped() {
        assert_eq!(outbox().post(delivery(b"0123456789", QoS::AtLeastOnce)), Posted::Full);
    }

    #[test]
    fn without_a_connection_only_acknowledged_qualities_wait() {
        let outbox = outbox();
        outbox.post(delivery(b"old", QoS::AtMostOnce));
        outbox.detach();
        assert_eq!(outbox.depth(), 0);
        assert_eq!(outbox.post(delivery(b"1", QoS::AtMostOnce)), Posted::Offline);
        assert_eq!(outbox.post(delivery(b"1", QoS::AtLeastOnce)), Posted::Waits);
        outbox.attach();
        assert_eq!(outbox.take().deliveries.len(), 1);
    }

    #[test]
    fn what_could_not_be_sent_stays_in_front() {
        let outbox = outbox();
        outbox.post(delivery(b"1", QoS::AtLeastOnce));
        let unsent = outbox.take().deliveries;
        outbox.post(delivery(b"2", QoS::AtLeastOnce));
        outbox.put_back(unsent);
        let payloads: Vec<_> = outbox.take().deliveries.iter().map(|it| it.message.payload.clone()).collect();
        assert_eq!(payloads, ["1", "2"]);
    }

    #[test]
    fn everything_that_comes_wakes_whoever_asked() {
        struct Rung(AtomicBool);
        impl std::task::Wake for Rung {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let check = |name: &str, come: &dyn Fn(&Outbox)| {
            let outbox = outbox();
            for round in 0..2 {
                let rung = Arc::new(Rung(AtomicBool::new(false)));
                let waker = Waker::from(rung.clone());
                let mut context = Context::from_waker(&waker);
                for _ in 0..2 {
                    assert!(outbox.poll_mail(&mut context, true).is_pending(), "{name} {round}");
                }
                come(&outbox);
                assert!(rung.0.load(Ordering::Relaxed), "{name} {round}");
                assert!(outbox.poll_mail(&mut context, true).is_ready(), "{name} {round}");
                outbox.take();
                // Another task asks in the second round.
                assert!(outbox.poll_mail(&mut context, true).is_pending());
                outbox.hand_over();
            }
        };
        check("message", &|it| assert_eq!(it.post(delivery(b"1", QoS::AtLeastOnce)), Posted::Waits));
        check("commit", &|it| it.committed(1));
        check("failure", &Outbox::write_failed);
        check("agent", &Outbox::agent_changed);
        check("fleet", &Outbox::fleet_changed);
        check("eviction", &|it| it.evict(Eviction::Shutdown));
    }

    #[test]
    fn messages_that_nobody_takes_yet_are_found_when_somebody_does() {
        let outbox = outbox();
        let mut context = Context::from_waker(Waker::noop());
        outbox.post(delivery(b"1", QoS::AtLeastOnce));
        assert!(outbox.poll_mail(&mut context, false).is_pending());
        assert!(outbox.poll_mail(&mut context, true).is_ready());
        let unsent = outbox.take().deliveries;
        assert!(outbox.poll_mail(&mut context, true).is_pending());
        outbox.put_back(unsent);
        assert!(outbox.poll_mail(&mut context, true).is_ready());
    }

    #[test]
    fn the_first_eviction_counts_unless_the_account_is_gone() {
        use Eviction::{Revoked, Shutdown, Takeover};
        for (first, second, counts) in [
            (Takeover, Shutdown, Takeover),
            (Takeover, Revoked, Revoked),
            (Shutdown, Revoked, Revoked),
            (Revoked, Takeover, Revoked),
        ] {
            let outbox = outbox();
            outbox.evict(first);
            outbox.evict(second);
            assert_eq!(outbox.take().eviction, Some(counts), "{first:?}, {second:?}");
        }
    }
}
