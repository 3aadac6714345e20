//! The HTTP API for agents.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The HTTP API for agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Enrollment and file API for agents; "" is off.
    pub listen: String,
    /// The same over TLS; "" is off.
    pub tls_listen: String,
    /// The base of the URLs that agents are told, without a slash at the end.
    pub public_url: String,
    /// Largest request body in bytes (an inventory travels as base64 inside JSON).
    pub body_bytes_max: u32,
    /// Seconds that a request may take; at least 1.
    pub request_timeout_s: u32,
    /// Seconds that the head of a request may take, and that a connection may be idle between two.
    pub header_timeout_s: u32,
    /// Largest head of a request in bytes.
    pub header_bytes_max: u32,
    /// Connections at once.
    pub connections_max: u32,
    /// Those of one address (an IPv4 address or an IPv6 /64).
    pub address_connections_max: u32,
    /// Addresses and networks of reverse proxies: what they write into `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// Bytes of request bodies in memory, over all requests.
    pub bodies_bytes_max: u32,
    /// Seconds after which an unused session ends.
    pub session_idle_s: u32,
    /// Seconds after which a session ends although it is in use.
    pub session_life_s: u32,
    /// Sessions of one account; the oldest ends when another is opened.
    pub sessions_per_account_max: u32,
    /// What `Range: bytes=-100` means: `flyve`, the first 101 bytes, as its documents say, or `rfc`, the last 100.
    pub range_suffix: RangeSuffix,
}

/// What a range without a beginning means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RangeSuffix {
    /// The beginning of the content, as Flyve does.
    Flyve,
    /// The end of the content, as RFC 7233 says.
    Rfc,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8080".into(),
            tls_listen: String::new(),
            public_url: "http://localhost:8080".into(),
            body_bytes_max: 8 << 20,
            request_timeout_s: 30,
            header_timeout_s: 15,
            header_bytes_max: 65_536,
            connections_max: 10_000,
            address_connections_max: 2_500,
            trusted_proxies: Vec::new(),
            bodies_bytes_max: 64 << 20,
            session_idle_s: 24 * 60,
            session_life_s: 86_400,
            sessions_per_account_max: 20,
            range_suffix: RangeSuffix::Flyve,
        }
    }
}

impl Http {
    /// # Errors
    /// The first setting that cannot work.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.public_url.ends_with('/') {
            return Err("http.public_url must not end with a slash: agents append /initSession to it".into());
        }
        if self.header_bytes_max < 8192 || self.header_timeout_s == 0 || self.session_life_s == 0 {
            let least =
                "http.header_bytes_max must be at least 8192, http.header_timeout_s and http.session_life_s at least 1";
            return Err(least.into());
        }
        if self.request_timeout_s == 0 {
            return Err("http.request_timeout_s must be at least 1: with 0 no request would be in time".into());
        }
        if self.bodies_bytes_max < self.body_bytes_max {
            return Err("http.bodies_bytes_max must be at least http.body_bytes_max".into());
        }
        self.proxies().map(drop)
    }

    /// The networks of [`Http::trusted_proxies`]; an address is a network of one.
    ///
    /// # Errors
    /// The first entry that is neither.
    pub fn proxies(&self) -> Result<Vec<IpNet>, String> {
        let network = |it: &String| it.parse().or_else(|_| it.parse::<IpAddr>().map(IpNet::from));
        let complain =
            |it| format!("http.trusted_proxies: {it:?} is neither an address nor a network such as 10.0.0.0/8");
        self.trusted_proxies.iter().map(|it| network(it).map_err(|_| complain(it))).collect()
    }

    /// Where nobody said what agents are told, they are told the port that was opened.
    pub fn take_port(&mut self, port: u16) {
        if self.public_url == Self::default().public_url {
            self.public_url = format!("http://localhost:{port}");
        }
    }
}
