//! One connection: wait for bytes, mail or the deadline; tell the session; do what it asks; write everything that waits at once.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
use tracing::{debug, info, warn};

use self::wait::Event;
use super::stream::Stream;
use crate::{
    broker::outbox::{Eviction, Outbox, OutboxBounds},
    flows::{
        Flows,
        admit::Caller,
        guard::{Place, Refusal, Share, Who},
        ingest::Batch,
        seat::{Farewell, Seat, Seated, Subscribed},
        secrets,
    },
    metrics::Reason,
    mqtt::{
        packet::{Connect, PacketId, Publish, QoS},
        session::{Close, Limits, Output, Session},
    },
};

mod mail;
mod wait;

/// Bytes that may wait for a slow socket before no more messages are queued for its client, and bytes of answers before nothing
/// more is read from it.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;
/// Bytes that a stranger may have begun to say before it counts against what all strangers share.
const STRANGERS_BYTES: usize = 4096;
/// Those of a client that was let in.
const CLIENTS_BYTES: usize = 16 * 1024;
/// Time that a closing connection gets to take its last bytes.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Reads that a closing connection is granted.
const LAST_READS_MAX: usize = 64;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closed(Close),
    Evicted(Eviction),
    /// The store could not write what the client said: it will say it again.
    Store,
    /// The socket failed.
    Socket,
    /// There is no memory left for its large packets.
    Crowded,
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
    /// The client strained our patience: until then it is not heard.
    deaf_until: Option<Instant>,
    /// When the alarm rings.
    alarm_at: Instant,
    /// Bytes that were read since other connections had their turn.
    turn_bytes: usize,
    /// Mail that was read since the socket was.
    mail_in_a_row: u8,
    /// What it takes for packets that are not complete.
    share: Option<Share>,
}

/// Where whoever was let in is served.
#[derive(Clone)]
pub struct Homes {
    /// Devices. `None`: where they are heard and judged.
    pub devices: Option<Handle>,
    /// Service accounts.
    pub services: Handle,
}

/// Serves a client until it leaves. It is heard and judged where this is called; whoever is let in moves home.
pub async fn serve(flows: Arc<Flows>, stream: Stream, caller: Caller, place: Place, homes: Homes) {
    let mut conn = Conn::new(flows, stream, caller);
    let heard = tokio::select! {
        heard = conn.hear() => heard,
        () = place.displaced() => return,
    };
    let ending = match heard {
        // Its place was given away in this moment.
        Ok(_) if !place.settle() => return,
        Ok(connect) => {
            Box::pin(conn.judge(*connect)).await;
            match conn.home(homes) {
                // A socket that cannot be let go of fails at once.
                Some(home) if conn.stream.loosen().is_ok() => return drop(home.spawn(stay(conn, place))),
                Some(_) => Ending::Socket,
                None => conn.run().await,
            }
        }
        Err(ending) => ending,
    };
    conn.end(ending).await;
}

/// Serves a client that moved here until it leaves.
async fn stay(mut conn: Conn, _place: Place) {
    conn.outbox.hand_over();
    let ending = conn.run().await;
    conn.end(ending).await;
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
        let now = flows.clock.instant();
        Self {
            session: Session::new(limits, now),
            alarm_at: now,
            outbox: Arc::new(Outbox::new(bounds)),
            stream,
            seat: Seat::Nobody,
            caller,
            batch: Batch::default(),
            awaiting: VecDeque::new(),
            ticket: 0,
            told: 0,
            implicit_subscription_at: None,
            deaf_until: None,
            turn_bytes: 0,
            mail_in_a_row: 0,
            share: None,
            flows,
        }
    }

    /// Waits for CONNECT.
    async fn hear(&mut self) -> Result<Box<Connect>, Ending> {
        let mut alarm = pin!(self.alarm());
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
                Event::Read if !self.fits() => return Err(Ending::Crowded),
                // Its news is in the outputs; messages come after CONNECT.
                Event::Read | Event::Room | Event::Mail => {}
            }
        }
    }

    /// Takes memory for what was begun and is not complete, of what all of its kind share. False: none is left.
    fn fits(&mut self) -> bool {
        let (who, free) = match self.seat {
            Seat::Nobody => (Who::Stranger, STRANGERS_BYTES),
            Seat::Device(_) => (Who::Device, CLIENTS_BYTES),
            Seat::Service(_) => (Who::Service, CLIENTS_BYTES),
        };
        let beyond = self.session.held_bytes().saturating_sub(free);
        match &mut self.share {
            _ if beyond == 0 => self.share = None,
            Some(share) if beyond > share.bytes() => return share.grow(beyond - share.bytes()),
            Some(_) => {}
            None => self.share = self.flows.guard.packets(who).take(beyond),
        }
        beyond == 0 || self.share.is_some()
    }

    /// Where it is served, unless that is here. Who was refused hears so where it was judged.
    fn home(&self, homes: Homes) -> Option<Handle> {
        match self.seat {
            Seat::Device(_) => homes.devices,
            Seat::Service(_) => Some(homes.services),
            Seat::Nobody => None,
        }
    }

    async fn run(&mut self) -> Ending {
        let mut alarm = pin!(self.alarm());
        loop {
            while let Some(output) = self.session.poll_output() {
                if let Some(ending) = self.act(output).await {
                    return ending;
                }
            }
            self.send_found();
            self.hand_in();
            match self.wait(alarm.as_mut()).await {
                Event::Read if !self.fits() => return Ending::Crowded,
                Event::Read | Event::Room => {}
                Event::Mail => {
                    if let Some(ending) = self.read_mail().await {
                        return ending;
                    }
                }
                Event::Deadline => {
                    if let Some(ending) = self.deadline().await {
                        return ending;
                    }
                }
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
            Output::Unsubscribe { packet_id, filters } => {
                self.seat.unsubscribe(&self.flows, &filters);
                self.session.unsubscribed(packet_id);
            }
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
                (self.seat, self.outbox, self.share) = (seat, outbox, None);
                let now = self.flows.clock.instant();
                self.session.admit(saved, now);
                self.told = self.session.transmit().len();
                let grace = self.flows.config.mqtt.implicit_subscription_after_s;
                if matches!(self.seat, Seat::Device(_)) && grace > 0 {
                    self.implicit_subscription_at = Some(now + Duration::from_secs(grace.into()));
                }
                debug!(peer.addr = %self.caller.address, client.id = connect.names_logged().0, "connected as {}", self.seat.name());
            }
            Err(code) => {
                let (client_id, username) = connect.names_logged();
                // Some clients say their password where the name belongs.
                let username = if secrets::may_be_ours(username) { "***" } else { username };
                info!(peer.addr = %self.caller.address, client.id = client_id, username, "refused a connection: {code:?}");
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
        let strain = std::mem::take(&mut self.batch.strain);
        if strain > 0 {
            self.deaf_until = self.seat.lose_patience(strain, self.flows.clock.instant());
            self.flows.metrics.pauses.inc_by(self.deaf_until.is_some().into());
        }
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
                // They count as answers: who asks again and again without reading is not heard meanwhile.
                found.into_iter().for_each(|it| self.session.deliver(it));
                true
            }
            Err(problem) => {
                warn!("cannot serve a subscription: {problem}");
                false
            }
        }
    }

    async fn deadline(&mut self) -> Option<Ending> {
        let now = self.flows.clock.instant();
        // After a pause what it said meanwhile is heard first: its silence was ours.
        let is_heard = self.deaf_until.is_none();
        self.deaf_until.take_if(|it| *it <= now);
        if self.implicit_subscription_at.is_some_and(|at| at <= now) {
            self.implicit_subscription_at = None;
            match Box::pin(self.seat.subscribe_implicitly(&self.flows, &mut self.batch)).await {
                Ok(due) => self.send(due),
                Err(problem) => {
                    warn!("cannot serve a device as if it had subscribed: {problem}");
                    return Some(Ending::Store);
                }
            }
        }
        if is_heard {
            self.session.handle_timeout(now);
        }
        None
    }

    async fn end(mut self, ending: Ending) {
        let reason = ending.label();
        self.flows.metrics.disconnects.get_or_create(&Reason { reason }).inc();
        if let Ending::Closed(Close::Protocol(problem)) = ending {
            let kind = problem.label();
            self.flows.metrics.protocol_errors.get_or_create(&Reason { reason: kind }).inc();
            if matches!(self.seat, Seat::Nobody) {
                // Strangers do not fill the log.
                debug!(peer.addr = %self.caller.address, "closed a connection before its CONNECT: {problem}");
            } else {
                info!(peer.addr = %self.caller.address, "closed a connection: {problem}");
            }
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
            Ending::Closed(_) | Ending::Store | Ending::Socket | Ending::Crowded => Farewell::Vanished,
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
            Ending::Crowded => "crowded",
        }
    }
}
