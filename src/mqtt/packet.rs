//! What can be said in MQTT 3.1 and 3.1.1.

use std::{num::NonZeroU16, sync::Arc};

use bytes::Bytes;

/// Quality of service of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// At most once.
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// Reads the two bits of the wire; 3 is not a quality of service.
    pub fn from_bits(bits: u8) -> Option<QoS> {
        match bits {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// Protocol level of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1, name `MQIsdp`, level 3.
    V3_1,
    /// MQTT 3.1.1, name `MQTT`, level 4.
    V3_1_1,
}

/// A packet identifier; zero does not exist [MQTT-2.3.1-1].
pub type PacketId = NonZeroU16;

/// A message on its way through the server: the unit that is shared between subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic name; canonical (no leading slash) where it names an agent, a fleet or the manifest.
    pub topic: Arc<str>,
    /// Application data.
    pub payload: Bytes,
    /// Quality of service at which it was published.
    pub qos: QoS,
    /// Whether the publisher asked to retain it.
    pub retain: bool,
}

/// CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// Protocol level.
    pub version: Version,
    /// May be empty only with `clean_session` in 3.1.1 [MQTT-3.1.3-7].
    pub client_id: String,
    /// Whether to forget everything at both ends.
    pub clean_session: bool,
    /// Seconds; 0 turns keep-alive off.
    pub keep_alive_s: u16,
    /// What to say when the client vanishes.
    pub will: Option<Message>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Bytes>,
}

/// Characters of a client id or a user name that a log line shows: strangers choose them.
const LOGGED_CHARS_MAX: usize = 64;

impl Connect {
    /// Client id and user name as far as a log line shows them.
    pub fn names_logged(&self) -> (&str, &str) {
        let beginning = |text: &'_ str| text.char_indices().nth(LOGGED_CHARS_MAX).map_or(text.len(), |(at, _)| at);
        let (id, name) = (&self.client_id, self.username.as_deref().unwrap_or(""));
        (&id[..beginning(id)], &name[..beginning(name)])
    }
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let it = &mut f.debug_struct("Connect");
        it.field("version", &self.version).field("client_id", &self.client_id).field("username", &self.username);
        it.field("password", &self.password.as_ref().map(|_| "***"));
        it.field("clean_session", &self.clean_session).field("keep_alive_s", &self.keep_alive_s);
        it.field("will", &self.will).finish()
    }
}

/// CONNACK return code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectCode {
    /// Welcome.
    Accepted = 0,
    /// Protocol level that we do not speak.
    UnacceptableVersion = 1,
    /// Client id that cannot be used.
    IdentifierRejected = 2,
    /// Try later.
    ServerUnavailable = 3,
    /// Unknown user or wrong password.
    BadCredentials = 4,
    /// Known, but not allowed in.
    NotAuthorized = 5,
}

/// PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic name.
    pub topic: Arc<str>,
    /// Present exactly when `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// Application data.
    pub payload: Bytes,
}

/// A control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Client asks to be let in.
    Connect(Box<Connect>),
    /// Server answers. `session_present` does not exist in 3.1 and is written as 0 there.
    Connack {
        /// Whether an earlier session goes on.
        session_present: bool,
        /// The answer.
        code: ConnectCode,
    },
    /// A message.
    Publish(Publish),
    /// QoS 1 acknowledgement.
    Puback(PacketId),
    /// QoS 2, first half.
    Pubrec(PacketId),
    /// QoS 2, release.
    Pubrel(PacketId),
    /// QoS 2, complete.
    Pubcomp(PacketId),
    /// Filters with the wished quality of service; never empty.
    Subscribe {
        /// Ties the answer to it.
        packet_id: PacketId,
        /// What it is about.
        filters: Vec<(String, QoS)>,
    },
    /// One answer per filter; `None` is the failure code 0x80.
    Suback {
        /// Ties the answer to it.
        packet_id: PacketId,
        /// In the order of the filters.
        granted: Vec<Option<QoS>>,
    },
    /// Filters to forget; never empty.
    Unsubscribe {
        /// Ties the answer to it.
        packet_id: PacketId,
        /// What it is about.
        filters: Vec<String>,
    },
    /// Done.
    Unsuback(PacketId),
    /// Are you there?
    Pingreq,
    /// Yes.
    Pingresp,
    /// Goodbye, without will.
    Disconnect,
}
