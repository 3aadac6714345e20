//! One client's conversation, as a value. No sockets, no channels, no clock of its own: bytes and times are arguments.

use std::{sync::Arc, time::Instant};

use bytes::BytesMut;

use super::packet::{Connect, ConnectCode, Message, PacketId, Publish, QoS};

/// Bounds of one session.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest packet that the client may send, in bytes.
    pub packet_bytes_max: u32,
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
    Subscribe { packet_id: PacketId, filters: Vec<(String, QoS)> },
    /// Forget the filters; the session has already queued UNSUBACK.
    Unsubscribe { filters: Vec<String> },
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
    /// One and a half keep-alives without a packet.
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
}
