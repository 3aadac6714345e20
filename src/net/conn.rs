//! One connection: wait for bytes, mail or the deadline; tell the session; do what it asks; write everything that waits at once.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time::{Sleep, sleep_until};
use tracing::{debug, info, warn};

use super::stream::Stream;
use crate::{
    broker::outbox::{Eviction, Mail, Outbox, OutboxBounds},
    flows::{
        Flows,
        admit::Caller,
        guard::Refusal,
        ingest::Batch,
        seat::{Farewell, Seat, Seated, Subscribed},
    },
    metrics::Reason,
    mqtt::{
        packet::{Connect, PacketId, Publish, QoS},
        session::{Close, Delivery, Limits, Output, Session},
    },
};

/// Bytes that may wait for a slow socket before no more messages are queued for its client, and bytes of answers before nothing
/// more is read from it.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// Time that a closing connection gets to take its last bytes.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Reads that a closing connection is granted.
const LAST_READS_MAX: usize = 64;
/// A deadline so far away that it never comes.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closed(Close),
    Evicted(Eviction),
    /// The store could not write what the client said: it will say it again.
    Store,
    /// The socket failed.
    Socket,
}

enum Event {
    Read,
    /// The client takes more of what it found retained.
    Room,
    Mail,
    Deadline,
    Eof,
    Broken,
}

/// A publish of the client that is not acknowledged yet.
struct Awaiting {
    packet_id: Option<PacketId>,
    /// The write that it waits for.
    ticket: Option<u64>,
}

struct Conn {
    flows: Arc<Flows>,
    session: Session,
    outbox: Arc<Outbox>,
    stream: Stream,
    seat: Seat,
    caller: Caller,
    batch: Batch,
    awaiting: VecDeque<Awaiting>,
    ticket: u64,
    /// Bytes of messages among those that wait for the socket; the others are answers.
    told: usize,
    implicit_subscription_at: Option<Instant>,
}

/// Serves a client until it leaves.
pub async fn serve(flows: Arc<Flows>, stream: Stream, caller: Caller) {
    let mut conn = Conn::new(flows, stream, caller);
    let ending = match conn.hear().await {
        Ok(connect) => conn.welcome(connect).await,
        Err(ending) => ending,
    };
    conn.end(ending).await;
}

/// A client that has said CONNECT; whether it may is open.
pub struct Guest {
    conn: Conn,
    connect: Box<Connect>,
}

/// Hears a stranger until it has said CONNECT. `None`: it said something else, or nothing in time, and is gone.
pub async fn greet(flows: Arc<Flows>, stream: Stream, caller: Caller) -> Option<Guest> {
    let mut conn = Conn::new(flows, stream, caller);
    match conn.hear().await {
        Ok(connect) => Some(Guest { conn, connect }),
        Err(ending) => {
            conn.end(ending).await;
            None
        }
    }
}

impl Guest {
    /// To be served by other threads than those that heard it. `None`: its socket failed.
    pub fn moved(mut self) -> Option<Self> {
        self.conn.stream.loosen().is_ok().then_some(self)
    }

    /// Serves it until it leaves.
    pub async fn serve(self) {
        let Guest { mut conn, connect } = self;
        let ending = conn.welcome(connect).await;
        conn.end(ending).await;
    }
}

impl Conn {
    fn new(flows: Arc<Flows>, stream: Stream, caller: Caller) -> Self {
        let config = &flows.config.mqtt;
        let limits = Limits {
            packet_bytes_max: config.packet_bytes_max,
            connect_bytes_max: config.connect_bytes_max,
            inflight_max: config.inflight_max,
            receive_max: config.inflight_max,
            connect_timeout: Duration::from_secs(config.connect_timeout_s.into()),
        };
        let bounds = OutboxBounds {
            messages_max: config.queue_messages_max as usize,
            bytes_max: config.queue_bytes_max as usize,
        };
        let session = Session::new(limits, flows.clock.instant());
        Self {
            session,
            outbox: Arc::new(Outbox::new(bounds)),
            stream,
            seat: Seat::Nobody,
            caller,
            batch: Batch::default(),
            awaiting: VecDeque::new(),
            ticket: 0,
            told: 0,
            implicit_subscription_at: None,
            flows,
        }
    }

    /// Waits for CONNECT.
    async fn hear(&mut self) -> Result<Box<Connect>, Ending> {
        let mut alarm = pin!(sleep_until((self.flows.clock.instant() + FAR).into()));
        loop {
            while let Some(output) = self.session.poll_output() {
                match output {
                    Output::Connect(connect) => return Ok(connect),
                    Output::Close(close) => return Err(Ending::Closed(close)),
                    // Nothing else comes before CONNECT.
                    _ => {}
                }
            }
            match self.wait(alarm.as_mut()).await {
                Event::Deadline => self.session.handle_timeout(self.flows.clock.instant()),
                Event::Eof => self.session.handle_eof(),
                Event::Broken => return Err(Ending::Socket),
                // Its news is in the outputs; messages come after CONNECT.
                Event::Read | Event::Room | Event::Mail => {}
            }
        }
    }

    async fn welcome(&mut self, connect: Box<Connect>) -> Ending {
        Box::pin(self.judge(*connect)).await;
        self.run().await
    }

    async fn run(&mut self) -> Ending {
        let mut alarm = pin!(sleep_until((self.flows.clock.instant() + FAR).into()));
        loop {
            while let Some(output) = self.session.poll_output() {
                if let Some(ending) = self.act(output).await {
                    return ending;
                }
            }
            self.send_found();
            self.hand_in();
            match self.wait(alarm.as_mut()).await {
                Event::Read | Event::Room => {}
                Event::Mail => {
                    if let Some(ending) = self.read_mail().await {
                        return ending;
                    }
                }
                Event::Deadline => self.deadline().await,
                Event::Eof => self.session.handle_eof(),
                Event::Broken => return Ending::Socket,
            }
        }
    }

    async fn act(&mut self, output: Output) -> Option<Ending> {
        match output {
            Output::Publish(publish) => self.publish(publish),
            Output::Delivered(tag) => self.seat.delivered(tag, &self.flows, &mut self.batch),
            // It is said once, and was heard before this.
            Output::Connect(_) => {}
            Output::Subscribe { packet_id, filters } => {
                let is_served = Box::pin(self.subscribe(packet_id, filters)).await;
                return (!is_served).then_some(Ending::Store);
            }
            Output::Unsubscribe { filters } => self.seat.unsubscribe(&self.flows, &filters),
            Output::Close(close) => return Some(Ending::Closed(close)),
        }
        None
    }

    async fn judge(&mut self, mut connect: Connect) {
        let verdict = self.flows.let_in(&connect, &self.caller, &self.outbox).await;
        // What must be remembered of it has gone to the seat.
        self.caller.certificate = None;
        let seated = match verdict {
            Ok(admission) => self.flows.seat(*admission, &mut connect, &self.outbox).await,
            Err(Refusal { code, is_routine: true }) => {
                return self.session.refuse(code);
            }
            Err(Refusal { code, .. }) => Err(code),
        };
        match seated {
            Ok(Seated { seat, outbox, saved }) => {
                (self.seat, self.outbox) = (seat, outbox);
                let now = self.flows.clock.instant();
                self.session.admit(saved, now);
                self.told = self.session.transmit().len();
                let grace = self.flows.config.mqtt.implicit_subscription_after_s;
                if matches!(self.seat, Seat::Device(_)) && grace > 0 {
                    self.implicit_subscription_at = Some(now + Duration::from_secs(grace.into()));
                }
                debug!(peer.addr = %self.caller.address, client.id = connect.client_id, "connected as {}", self.seat.name());
            }
            Err(code) => {
                let username = connect.username.as_deref().unwrap_or("");
                info!(peer.addr = %self.caller.address, client.id = connect.client_id, username, "refused a connection: {code:?}");
                self.session.refuse(code);
            }
        }
    }

    fn publish(&mut self, publish: Publish) {
        let ticket = self.ticket + 1;
        let is_written = self.seat.publish(&self.flows, &publish, &mut self.batch);
        let Some(packet_id) = publish.packet_id else { return };
        if !is_written && self.awaiting.is_empty() {
            self.session.accepted(packet_id);
        } else {
            self.awaiting.push_back(Awaiting { packet_id: Some(packet_id), ticket: is_written.then_some(ticket) });
        }
    }

    /// Everything that this round brought becomes one write.
    fn hand_in(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.ticket += 1;
        let batch = std::mem::take(&mut self.batch);
        if let Some(agent) = self.seat.agent() {
            let ticket = (!self.awaiting.is_empty()).then_some(self.ticket);
            self.flows.record(agent, batch, &self.outbox, ticket);
        }
    }

    async fn subscribe(&mut self, packet_id: PacketId, filters: Vec<(String, QoS)>) -> bool {
        self.implicit_subscription_at = None;
        match self.seat.subscribe(&self.flows, &filters, &mut self.batch).await {
            Ok(Subscribed { granted, found }) => {
                self.session.granted(packet_id, granted);
                self.send(found);
                true
            }
            Err(problem) => {
                warn!("cannot serve a subscription: {problem}");
                false
            }
        }
    }

    async fn deadline(&mut self) {
        let now = self.flows.clock.instant();
        if self.implicit_subscription_at.is_some_and(|at| at <= now) {
            self.implicit_subscription_at = None;
            if let Ok(due) = Box::pin(self.seat.subscribe_implicitly(&self.flows, &mut self.batch)).await {
                self.send(due);
            }
        }
        self.session.handle_timeout(now);
    }

    async fn read_mail(&mut self) -> Option<Ending> {
        let Mail { deliveries, committed, write_failed, agent_changed, fleet_changed, eviction } =
            if self.takes_messages() { self.outbox.take() } else { self.outbox.take_news() };
        if let Some(committed) = committed {
            self.acknowledge(committed);
        }
        if let Some(eviction) = eviction {
            return Some(Ending::Evicted(eviction));
        }
        if write_failed {
            return Some(Ending::Store);
        }
        if agent_changed {
            match Box::pin(self.seat.agent_changed(&self.flows, &mut self.batch)).await {
                Ok(Some(due)) => self.send(due),
                Ok(None) => {
                    let last_words = Box::pin(self.seat.last_words(&self.flows)).await;
                    self.send(last_words);
                    return Some(Ending::Evicted(Eviction::Revoked));
                }
                Err(problem) => {
                    warn!("cannot read an agent again: {problem}");
                    return Some(Ending::Store);
                }
            }
        }
        if fleet_changed && !agent_changed {
            match Box::pin(self.seat.fleet_changed(&self.flows, &mut self.batch)).await {
                Ok(due) => self.send(due),
                Err(problem) => {
                    warn!("cannot read the policies of a fleet: {problem}");
                    return Some(Ending::Store);
                }
            }
        }
        self.send_filtered(deliveries);
        None
    }

    fn acknowledge(&mut self, committed: u64) {
        while self.awaiting.front().is_some_and(|it| it.ticket.is_none_or(|ticket| ticket <= committed)) {
            if let Some(Awaiting { packet_id: Some(packet_id), .. }) = self.awaiting.pop_front() {
                self.session.accepted(packet_id);
            }
        }
        if self.awaiting.is_empty() {
            self.awaiting = VecDeque::new();
        }
    }

    /// Messages from the outbox: each is checked against what the client may hear now and what it subscribed.
    fn send_filtered(&mut self, mut deliveries: VecDeque<Delivery>) {
        let now = self.flows.clock.instant();
        while let Some(mut delivery) = deliveries.pop_front() {
            if !self.takes_messages() {
                deliveries.push_front(delivery);
                break;
            }
            match self.seat.filter(&mut delivery) {
                Ok(()) => self.deliver(delivery, now),
                Err(reason) => drop(self.flows.metrics.not_delivered.get_or_create(&Reason { reason }).inc()),
            }
        }
        self.outbox.put_back(deliveries);
    }

    /// Messages that the seat computed; they were checked already.
    fn send(&mut self, deliveries: Vec<Delivery>) {
        let now = self.flows.clock.instant();
        for delivery in deliveries {
            self.deliver(delivery, now);
        }
    }

    /// What a service account found retained, as far as the client takes it.
    fn send_found(&mut self) {
        let now = self.flows.clock.instant();
        while self.takes_messages() {
            let Some(delivery) = self.seat.next_found() else { return };
            self.deliver(delivery, now);
        }
    }

    fn deliver(&mut self, delivery: Delivery, now: Instant) {
        let before = self.session.transmit().len();
        self.session.deliver(delivery, now);
        self.told += self.session.transmit().len() - before;
    }

    fn takes_messages(&mut self) -> bool {
        self.session.can_deliver() && self.session.transmit().len() < BACKLOG_BYTES_MAX
    }

    async fn wait(&mut self, mut alarm: Pin<&mut Sleep>) -> Event {
        poll_fn(|context| self.poll_event(context, alarm.as_mut())).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>, alarm: Pin<&mut Sleep>) -> Poll<Event> {
        if !self.session.transmit().is_empty() {
            let waiting = self.session.transmit().len();
            match self.stream.poll_write_all(context, self.session.transmit()) {
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Broken),
                Poll::Ready(Ok(())) | Poll::Pending => {
                    let written = waiting - self.session.transmit().len();
                    self.told = self.told.saturating_sub(written);
                    self.flows.metrics.sent.inc_by(written as u64);
                }
            }
        }
        let takes_messages = self.takes_messages();
        if takes_messages && self.seat.has_found() {
            return Poll::Ready(Event::Room);
        }
        if self.outbox.poll_mail(context, takes_messages).is_ready() {
            return Poll::Ready(Event::Mail);
        }
        // Behind a large message a slow client is still heard, or its silence would be ours.
        let answers = self.session.transmit().len() - self.told;
        if self.session.wants_read() && answers < BACKLOG_BYTES_MAX {
            let now = self.flows.clock.instant();
            let session = &mut self.session;
            let read = self.stream.poll_read_with(context, |bytes| {
                session.handle_bytes(bytes, now);
                bytes.len()
            });
            match read {
                Poll::Ready(Ok(0)) => return Poll::Ready(Event::Eof),
                Poll::Ready(Ok(count)) => {
                    self.flows.metrics.received.inc_by(count as u64);
                    return Poll::Ready(Event::Read);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Broken),
                Poll::Pending => {}
            }
        }
        let event = self.poll_alarm(context, alarm);
        if event.is_pending() {
            self.session.release_idle();
        }
        event
    }

    /// The alarm is moved only when it rings or rings too late: packets cost it nothing.
    fn poll_alarm(&self, context: &mut Context<'_>, mut alarm: Pin<&mut Sleep>) -> Poll<Event> {
        let deadlines = [self.session.poll_timeout(), self.implicit_subscription_at];
        let Some(next) = deadlines.into_iter().flatten().min() else { return Poll::Pending };
        if alarm.deadline() > next.into() {
            alarm.as_mut().reset(next.into());
        }
        while alarm.as_mut().poll(context).is_ready() {
            if self.flows.clock.instant() >= next {
                return Poll::Ready(Event::Deadline);
            }
            alarm.as_mut().reset(next.into());
        }
        Poll::Pending
    }

    async fn end(mut self, ending: Ending) {
        let reason = ending.label();
        self.flows.metrics.disconnects.get_or_create(&Reason { reason }).inc();
        if let Ending::Closed(Close::Protocol(problem)) = ending {
            let kind = problem.label();
            self.flows.metrics.protocol_errors.get_or_create(&Reason { reason: kind }).inc();
            info!(peer.addr = %self.caller.address, "closed a connection: {problem}");
        }
        debug!(peer.addr = %self.caller.address, reason, "disconnected {}", self.seat.name());
        self.hand_in();
        let mut last_words = std::mem::take(self.session.transmit());
        let Conn { flows, session, seat, mut stream, .. } = self;
        seat.leave(&flows, ending.farewell(), || session.into_saved());
        if !last_words.is_empty() || matches!(stream, Stream::Tls(_)) {
            // The peer may be gone already; then there is nobody to tell.
            let _ = tokio::time::timeout(LAST_WORDS, say_goodbye(&mut stream, &mut last_words)).await;
        }
    }
}

/// Writes what is left, closes our half, and takes in what the peer still sends: closing over unread bytes would reset the connection and
/// could destroy the answer on its way.
async fn say_goodbye(stream: &mut Stream, last_words: &mut Vec<u8>) {
    let has_something_to_say = !last_words.is_empty();
    if poll_fn(|context| stream.poll_write_all(context, last_words)).await.is_err() {
        return;
    }
    stream.shut_down().await;
    for _ in 0..if has_something_to_say { LAST_READS_MAX } else { 0 } {
        if !matches!(poll_fn(|context| stream.poll_read_with(context, <[u8]>::len)).await, Ok(1..)) {
            return;
        }
    }
}

impl Ending {
    fn farewell(self) -> Farewell {
        match self {
            Ending::Closed(Close::Goodbye) => Farewell::Goodbye,
            Ending::Evicted(Eviction::Takeover) => Farewell::TakenOver,
            Ending::Evicted(Eviction::Revoked) => Farewell::Revoked,
            Ending::Evicted(Eviction::Shutdown) => Farewell::Shutdown,
            Ending::Closed(_) | Ending::Store | Ending::Socket => Farewell::Vanished,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Ending::Closed(Close::Goodbye) => "goodbye",
            Ending::Closed(Close::Eof) => "eof",
            Ending::Closed(Close::KeepAlive) => "keep_alive",
            Ending::Closed(Close::NoConnect) => "no_connect",
            Ending::Closed(Close::Refused(_)) => "refused",
            Ending::Closed(Close::Protocol(_)) => "protocol",
            Ending::Evicted(Eviction::Takeover) => "takeover",
            Ending::Evicted(Eviction::Revoked) => "revoked",
            Ending::Evicted(Eviction::Shutdown) => "shutdown",
            Ending::Store => "store",
            Ending::Socket => "socket",
        }
    }
}
