//! Identifiers as types. Text from outside becomes one of these once, at the edge, and is never checked again.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

/// Longest serial that we accept, in bytes (spec/mqtt.md §2).
pub const SERIAL_BYTES_MAX: usize = 200;

macro_rules! numbered {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> { text.parse().map($name) }
        }
    )+};
}

numbered! {
    /// A tenant; the root entity is 0.
    EntityId,
    /// One enrollment of one device. A device that enrolls again gets a new one, so it is the generation too.
    AgentId,
    /// A group of agents inside an entity.
    FleetId,
    /// A policy applied to a fleet or an agent.
    TaskId,
    /// One message that an administrator wants a device to act on.
    CommandId,
    /// The inventory record of a device; outlives its agents.
    ComputerId,
    /// A human being who was invited or administers.
    PersonId,
    /// The right to enroll once.
    InvitationId,
    /// A file for devices.
    FileId,
    /// An application for devices.
    PackageId,
    /// A line of the message log.
    MessageId,
    /// An MQTT account of a back end or a monitoring system.
    AccountId,
    /// A stored MQTT password of an agent; a newer one has a higher number.
    CredentialId,
    /// The number of a connection: strictly increasing over the life of the database, restarts included.
    ConnectionNumber,
}

impl EntityId {
    /// The entity that always exists.
    pub const ROOT: EntityId = EntityId(0);
}

/// A device's serial: MQTT user name of its agent and third level of its topic, verbatim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Serial(Arc<str>);

/// Why a text cannot be a serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSerial {
    /// Nothing there.
    #[error("a serial must not be empty")]
    Empty,
    /// Longer than [`SERIAL_BYTES_MAX`].
    #[error("a serial has at most {SERIAL_BYTES_MAX} bytes")]
    Long,
    /// Holds a character that would break topics: `/`, `+`, `#` or a control character.
    #[error("a serial must not contain '/', '+', '#' or control characters")]
    Character,
}

impl Serial {
    /// Checks what topics can carry (spec/mqtt.md §2 [R]).
    pub fn parse(text: &str) -> Result<Self, BadSerial> {
        if text.is_empty() {
            Err(BadSerial::Empty)
        } else if text.len() > SERIAL_BYTES_MAX {
            Err(BadSerial::Long)
        } else if text.chars().any(|c| matches!(c, '/' | '+' | '#') || c.is_control()) {
            Err(BadSerial::Character)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The serial as it stands in topics.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether many devices share this serial because the operating system hides the real one (spec/http.md §4.5).
    pub fn is_placeholder(&self) -> bool {
        ["unknown", "0123456789abcdef"].iter().any(|known| self.0.eq_ignore_ascii_case(known))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Entity and serial: the `76/agent/AZERTY` part of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The entity that the device was told at enrollment.
    pub entity: EntityId,
    /// The serial of the device.
    pub serial: Serial,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/agent/{}", self.entity, self.serial)
    }
}

/// Where a connection comes from, as limits count: an IPv4 address, or the /64 of an IPv6 address, which one customer has to himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(IpAddr);

impl Origin {
    /// That of an address.
    pub fn of(address: IpAddr) -> Origin {
        match address.to_canonical() {
            IpAddr::V4(it) => Origin(IpAddr::V4(it)),
            IpAddr::V6(it) => Origin(IpAddr::V6(Ipv6Addr::from_bits(it.to_bits() >> 64 << 64))),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(it) => it.fmt(f),
            IpAddr::V6(it) => write!(f, "{it}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_that_would_break_topics_are_refused() {
        assert_eq!(Serial::parse(""), Err(BadSerial::Empty));
        assert_eq!(Serial::parse("a/b"), Err(BadSerial::Character));
        assert_eq!(Serial::parse("a+"), Err(BadSerial::Character));
        assert_eq!(Serial::parse("#"), Err(BadSerial::Character));
        assert_eq!(Serial::parse("a\0"), Err(BadSerial::Character));
        assert_eq!(Serial::parse(&"x".repeat(201)), Err(BadSerial::Long));
        assert!(Serial::parse("0123456ATDJ-045 with space").is_ok());
    }

    #[test]
    fn an_address_is_written_without_leading_slash() {
        let address = Address { entity: EntityId(76), serial: Serial::parse("AZERTY").unwrap() };
        assert_eq!(address.to_string(), "76/agent/AZERTY");
    }

    #[test]
    fn an_origin_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |text: &str| Origin::of(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7", "one host behind a dual-stack listener");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
