//! One client's conversation, as a value. No sockets, no channels, no clock of its own: bytes and times are arguments.

mod incoming;
mod outgoing;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};

use super::{
    codec::{self, ProtocolError},
    packet::{Connect, ConnectCode, Message, Packet, PacketId, Publish, QoS, Version},
};

use incoming::{Answer, Incoming};
use outgoing::Outgoing;

/// Bytes that may be sent ahead while we wait for an answer from above, on top of one packet of the largest size.
pub const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// Bounds of one session.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest packet that the client may send, in bytes.
    pub packet_bytes_max: u32,
    /// Largest CONNECT, in bytes; nothing else may come before it was judged.
    pub connect_bytes_max: u32,
    /// Our unacknowledged QoS 1 and 2 messages on the way to the client.
    pub inflight_max: u16,
    /// QoS 2 publishes of the client that it has not released yet, plus publishes not yet `accepted`.
    pub receive_max: u16,
    /// Time from the start to CONNECT.
    pub connect_timeout: std::time::Duration,
}

/// What the session wants done, in order.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Authenticate, then call `admit` or `refuse`. Nothing else is polled out before that.
    Connect(Box<Connect>),
    /// A publish of the client, QoS 2 duplicates already removed. Unless its quality of service is 0, call `accepted` with its packet id
    /// once it is durable (or dropped for good); acknowledgements leave in the order of `accepted` calls.
    Publish(Publish),
    /// Decide, then call `granted` with one answer per filter.
    Subscribe {
        /// Ties the answer to it.
        packet_id: PacketId,
        /// What it is about.
        filters: Vec<(String, QoS)>,
    },
    /// Forget the filters, then call `unsubscribed`.
    Unsubscribe {
        /// Ties the answer to it.
        packet_id: PacketId,
        /// What it is about.
        filters: Vec<String>,
    },
    /// The client acknowledged a delivery that carried this tag.
    Delivered(u64),
    /// The conversation is over; close the socket after what `transmit` holds was written (best effort).
    Close(Close),
}

/// Why a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// DISCONNECT: the will is discarded.
    Goodbye,
    /// The peer closed the socket.
    Eof,
    /// One and a half keep-alives without a byte.
    KeepAlive,
    /// No CONNECT in time.
    NoConnect,
    /// We refused the CONNECT.
    Refused(ConnectCode),
    /// The peer broke the protocol.
    Protocol(super::codec::ProtocolError),
}

/// A message to send to the client.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// What.
    pub message: Arc<Message>,
    /// The quality of service granted to the subscription, already lowered to that of the message.
    pub qos: QoS,
    /// Retain flag on the wire: set only when sent because of a new subscription.
    pub retain: bool,
    /// Write the topic with a leading slash in front: the subscriber asked for that spelling.
    pub slashed: bool,
    /// Reported back as `Output::Delivered` when the client acknowledges (never at QoS 0).
    pub tag: Option<u64>,
    /// The entity of the device that says or hears it, where the topic names another one: not on the wire, for whoever judges it.
    pub home: Option<i64>,
}

/// What a session without clean-session flag leaves behind for the next connection [MQTT-3.1.2-5].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Saved {
    outgoing: Outgoing,
    incoming: Vec<PacketId>,
}

/// One client's conversation with us.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    state: State,
    version: Version,
    keep_alive_s: u16,
    /// Start of the session until CONNECT, then the arrival of the last bytes: a large packet on a slow line is no silence.
    last_bytes: Instant,
    /// Bytes that could not be decoded yet: an incomplete packet, or packets that wait for an answer from above.
    held: BytesMut,
    transmit: Vec<u8>,
    outputs: VecDeque<Output>,
    incoming: Incoming,
    outgoing: Outgoing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing said yet.
    Silent,
    /// CONNECT is being judged.
    Judged,
    /// Let in.
    Online,
    /// Over.
    Closed,
}

impl Session {
    /// A conversation in which nothing was said.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            state: State::Silent,
            version: Version::V3_1_1,
            keep_alive_s: 0,
            last_bytes: now,
            held: BytesMut::new(),
            transmit: Vec::new(),
            outputs: VecDeque::new(),
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
        }
    }

    /// Protocol level of the client; 3.1.1 until it said otherwise.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the client was let in and the conversation is not over.
    pub fn is_online(&self) -> bool {
        self.state == State::Online
    }

    /// Whether another delivery above QoS 0 fits into the window.
    pub fn can_deliver(&self) -> bool {
        self.is_online() && self.outgoing.len() < usize::from(self.limits.inflight_max)
    }

    /// Whether the socket should be read: not while CONNECT is judged, nor while too many publishes wait to be `accepted`.
    pub fn wants_read(&self) -> bool {
        !self.is_blocked() && self.state != State::Closed
    }

    /// Bytes of packets that are not complete, or wait for an answer from above.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    /// When to call `handle_timeout`. Moves with whatever arrives, so ask again when it fired instead of re-arming each time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Silent => Some(self.last_bytes + self.limits.connect_timeout),
            State::Online if self.keep_alive_s > 0 => {
                // One and a half times [MQTT-3.1.2-24].
                Some(self.last_bytes + Duration::from_millis(u64::from(self.keep_alive_s) * 1500))
            }
            _ => None,
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Bytes for the client; the caller writes and removes them.
    pub fn transmit(&mut self) -> &mut Vec<u8> {
        &mut self.transmit
    }

    /// Gives back what only a busy session needs. For callers that are about to wait.
    pub fn release_idle(&mut self) {
        if self.held.is_empty() && self.held.capacity() > 0 {
            self.held = BytesMut::new();
        }
        if self.outputs.is_empty() && self.outputs.capacity() > 0 {
            self.outputs = VecDeque::new();
        }
        self.outgoing.release_idle();
    }

    /// The client said something.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        match self.state {
            State::Closed => return,
            State::Online => self.last_bytes = now,
            State::Silent | State::Judged => {}
        }
        if self.held.is_empty() && !self.is_blocked() {
            let used = self.decode_all(bytes);
            if self.state != State::Closed {
                self.held.extend_from_slice(&bytes[used..]);
            }
            return;
        }
        if self.is_blocked() && self.held.len() + bytes.len() > self.limits.packet_bytes_max as usize + AHEAD_BYTES_MAX
        {
            return self.close(Close::Protocol(ProtocolError::TooMuchAhead));
        }
        self.held.extend_from_slice(bytes);
        self.decode_held();
    }

    /// The time that `poll_timeout` named has come, or any other time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(deadline) = self.poll_timeout() else { return };
        if now < deadline {
            return;
        }
        match self.state {
            State::Silent => self.close(Close::NoConnect),
            // We did not listen, so silence proves nothing.
            State::Online if self.is_blocked() => self.last_bytes = now,
            _ => self.close(Close::KeepAlive),
        }
    }

    /// The client closed the socket, or it broke.
    pub fn handle_eof(&mut self) {
        self.close(Close::Eof);
    }

    /// Lets the client in, with what an earlier connection left behind: unacknowledged deliveries are sent again in their order
    /// [MQTT-4.4.0-1], [MQTT-4.6.0-1].
    pub fn admit(&mut self, saved: Option<Saved>, now: Instant) {
        if self.state != State::Judged {
            return;
        }
        self.state = State::Online;
        self.last_bytes = now;
        let session_present = saved.is_some() && self.version == Version::V3_1_1;
        self.say(&Packet::Connack { session_present, code: ConnectCode::Accepted });
        if let Some(saved) = saved {
            self.incoming.restore(saved.incoming);
            self.outgoing = saved.outgoing;
            self.outgoing.repeat(&mut self.transmit);
        }
        self.decode_held();
    }

    /// Refuses the client.
    pub fn refuse(&mut self, code: ConnectCode) {
        if matches!(self.state, State::Silent | State::Judged) {
            self.say(&Packet::Connack { session_present: false, code });
            self.close(Close::Refused(code));
        }
    }

    /// A publish with this packet id is safe: acknowledges it, and goes on with what waited for that. One whose sender said goodbye right
    /// behind it gets no answer, but is known when it comes again ([MQTT-4.3.3-2]).
    pub fn accepted(&mut self, id: PacketId) {
        let mut answer = self.incoming.accepted(id).map(|it| (id, it));
        if self.state != State::Online {
            return;
        }
        while let Some((id, kind)) = answer {
            self.acknowledge(id, &kind);
            answer = self.incoming.next_known();
        }
        self.decode_held();
    }

    /// Answers a SUBSCRIBE. MQTT 3.1 cannot say no, so it hears QoS 0 (spec/mqtt.md §6.3).
    pub fn granted(&mut self, packet_id: PacketId, mut granted: Vec<Option<QoS>>) {
        if self.state != State::Online {
            return;
        }
        if self.version == Version::V3_1 {
            granted.iter_mut().for_each(|qos| *qos = Some(qos.unwrap_or(QoS::AtMostOnce)));
        }
        self.say(&Packet::Suback { packet_id, granted });
    }

    /// Answers an UNSUBSCRIBE.
    pub fn unsubscribed(&mut self, packet_id: PacketId) {
        if self.state == State::Online {
            self.say(&Packet::Unsuback(packet_id));
        }
    }

    /// Sends a message. Above QoS 0 ask `can_deliver` first.
    pub fn deliver(&mut self, delivery: Delivery) {
        if self.state == State::Online {
            self.outgoing.send(delivery, &mut self.transmit);
        }
    }

    /// What the next connection of a persistent session needs.
    pub fn into_saved(self) -> Saved {
        Saved { outgoing: self.outgoing, incoming: self.incoming.into_saved() }
    }

    fn is_blocked(&self) -> bool {
        self.state == State::Judged
            || (self.state == State::Online && self.incoming.pending() >= usize::from(self.limits.receive_max.max(1)))
    }

    fn decode_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        let used = self.decode_all(&held);
        if self.state != State::Closed && used < held.len() {
            // Moves no bytes: this happens once for each packet of a burst.
            held.advance(used);
            self.held = held;
        }
    }

    /// Takes packets until one is incomplete or we have to wait; says how many bytes that were.
    fn decode_all(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.state != State::Closed && !self.is_blocked() {
            // Refuse whoever does not speak MQTT before its packet is complete [MQTT-3.1.0-1].
            if self.state == State::Silent && bytes[used] >> 4 != 1 {
                self.close(Close::Protocol(ProtocolError::ConnectExpected));
                break;
            }
            match codec::decode(&bytes[used..], self.bytes_max(), self.version) {
                Ok(Some((packet, length))) => {
                    used += length;
                    self.handle_packet(packet);
                }
                Ok(None) => break,
                Err(error) => self.break_off(error),
            }
        }
        used
    }

    fn bytes_max(&self) -> usize {
        let Limits { packet_bytes_max, connect_bytes_max, .. } = self.limits;
        let is_stranger = self.state == State::Silent;
        (if is_stranger { packet_bytes_max.min(connect_bytes_max) } else { packet_bytes_max }) as usize
    }

    fn break_off(&mut self, error: ProtocolError) {
        match error {
            // [MQTT-3.1.2-2]
            ProtocolError::ProtocolLevel if self.state == State::Silent => {
                self.refuse(ConnectCode::UnacceptableVersion)
            }
            // [MQTT-3.1.3-8]
            ProtocolError::ClientIdMissing if self.state == State::Silent => {
                self.refuse(ConnectCode::IdentifierRejected)
            }
            _ if self.state == State::Online && error == ProtocolError::ProtocolLevel => {
                self.close(Close::Protocol(ProtocolError::SecondConnect));
            }
            _ => self.close(Close::Protocol(error)),
        }
    }

    fn handle_packet(&mut self, packet: Packet) {
        match packet {
            Packet::Connect(connect) if self.state == State::Silent => {
                self.state = State::Judged;
                self.version = connect.version;
                self.keep_alive_s = connect.keep_alive_s;
                self.outputs.push_back(Output::Connect(connect));
            }
            Packet::Connect(_) => self.close(Close::Protocol(ProtocolError::SecondConnect)), // [MQTT-3.1.0-2]
            Packet::Publish(publish) => self.handle_publish(publish),
            Packet::Puback(id) => self.report(|outgoing, _| outgoing.puback(id)),
            Packet::Pubrec(id) => self.report(|outgoing, transmit| outgoing.pubrec(id, transmit)),
            Packet::Pubcomp(id) => self.outgoing.pubcomp(id),
            Packet::Pubrel(id) => {
                if self.incoming.release(id) {
                    self.say(&Packet::Pubcomp(id));
                }
            }
            Packet::Subscribe { packet_id, filters } => {
                self.outputs.push_back(Output::Subscribe { packet_id, filters });
            }
            Packet::Unsubscribe { packet_id, filters } => {
                self.outputs.push_back(Output::Unsubscribe { packet_id, filters });
            }
            Packet::Pingreq => self.say(&Packet::Pingresp),
            Packet::Disconnect => self.close(Close::Goodbye),
            Packet::Connack { .. } | Packet::Suback { .. } | Packet::Unsuback(_) | Packet::Pingresp => {
                self.close(Close::Protocol(ProtocolError::UnexpectedPacket));
            }
        }
    }

    fn acknowledge(&mut self, id: PacketId, answer: &Answer) {
        match answer {
            Answer::Puback => self.say(&Packet::Puback(id)),
            Answer::Pubrec => self.say(&Packet::Pubrec(id)),
            Answer::PubrecPubcomp => {
                self.say(&Packet::Pubrec(id));
                self.say(&Packet::Pubcomp(id));
            }
        }
    }

    fn handle_publish(&mut self, publish: Publish) {
        match (self.incoming.arrived(publish.packet_id, publish.qos), publish.packet_id) {
            (incoming::Arrival::New, _) => self.outputs.push_back(Output::Publish(publish)),
            (incoming::Arrival::Known, Some(id)) => self.say(&Packet::Pubrec(id)),
            (incoming::Arrival::Waiting | incoming::Arrival::Known, _) => {}
            (incoming::Arrival::TooMany, _) => self.close(Close::Protocol(ProtocolError::TooManyUnreleased)),
        }
    }

    fn report(&mut self, acknowledge: impl FnOnce(&mut Outgoing, &mut Vec<u8>) -> Option<u64>) {
        if let Some(tag) = acknowledge(&mut self.outgoing, &mut self.transmit) {
            self.outputs.push_back(Output::Delivered(tag));
        }
    }

    fn say(&mut self, packet: &Packet) {
        codec::encode(packet, &mut self.transmit);
    }

    fn close(&mut self, why: Close) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.held = BytesMut::new();
            self.outputs.push_back(Output::Close(why));
        }
    }
}

#[cfg(test)]
mod tests;
