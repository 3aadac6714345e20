//! Bounds on strangers.

use serde::{Deserialize, Serialize};

/// What strangers may cost, before and while they say who they are. Of MQTT and HTTP each; an address is an IPv4 address or an IPv6 /64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// New connections per second, over all.
    pub connects_per_s: u32,
    /// New connections that may come at once beyond that.
    pub connects_burst: u32,
    /// New connections per second of one address.
    pub address_connects_per_s: u32,
    /// New connections of one address that may come at once beyond that.
    pub address_connects_burst: u32,
    /// Open connections of one address.
    pub address_connections_max: u32,
    /// Clients that shake hands or, over MQTT, have not said CONNECT yet.
    pub handshakes_max: u32,
    /// Those of one address.
    pub address_handshakes_max: u32,
    /// Failed logins of one address per minute; more ban the address.
    pub failed_logins_per_min: u32,
    /// Failed logins of one address that may come at once beyond that.
    pub failed_logins_burst: u32,
    /// Seconds of a ban. Ten logins with machine secrets a second are looked at all the same, so that a device that is new there gets in
    /// and enrolls; people with passwords wait until the ban ends.
    pub ban_s: u32,
    /// Longest delay of the answer to a failed login, in seconds.
    pub failed_login_delay_max_s: u32,
    /// Connects of one device per minute; the next ones wait a little.
    pub reconnects_per_min: u32,
    /// Connects of one device that may come at once beyond that.
    pub reconnects_burst: u32,
    /// Sessions and enrollments over HTTP per second of one address.
    pub address_sessions_per_s: u32,
    /// Sessions and enrollments of one address that may come at once beyond that.
    pub address_sessions_burst: u32,
    /// Addresses and accounts that are remembered in each table of these limits.
    pub remembered_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connects_per_s: 10_000,
            connects_burst: 100_000,
            address_connects_per_s: 2_000,
            address_connects_burst: 50_000,
            address_connections_max: 50_000,
            handshakes_max: 10_000,
            address_handshakes_max: 5_000,
            failed_logins_per_min: 60,
            failed_logins_burst: 300,
            ban_s: 300,
            failed_login_delay_max_s: 8,
            reconnects_per_min: 20,
            reconnects_burst: 60,
            address_sessions_per_s: 200,
            address_sessions_burst: 50_000,
            remembered_max: 65_536,
        }
    }
}
