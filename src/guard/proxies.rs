//! Reverse proxies: whose word is believed about where a request comes from.

// Addresses as values; `core` knows no sockets.
use core::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The proxies that the operator trusts.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Those in these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether a trusted proxy has this address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who asks, by what came from `peer` in the lines of `X-Forwarded-For`. Every proxy appends whom it heard: read from the end, the
    /// first that is no trusted proxy is the one; what stands before it is anybody's word.
    pub fn client(&self, peer: IpAddr, forwarded: &[&str]) -> IpAddr {
        let mut client = peer;
        for entry in forwarded.iter().rev().flat_map(|line| line.rsplit(',')) {
            if !self.trusts(client) {
                break;
            }
            match address(entry.trim()) {
                Some(before) => client = before,
                None => break,
            }
        }
        client
    }
}

/// An entry, with or without a port, as the usual proxies write it.
fn address(entry: &str) -> Option<IpAddr> {
    let unbracketed = entry.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(entry);
    let address = unbracketed.parse().ok().or_else(|| entry.parse().ok().map(|it: SocketAddr| it.ip()));
    address.map(|it| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let networks = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"].map(|it| it.parse().unwrap());
        Proxies::new(networks.into()).client(peer.parse().unwrap(), forwarded).to_string()
    }

    #[test]
    fn the_last_that_no_trusted_proxy_is_asks() {
        for (peer, forwarded, expected) in [
            ("10.1.2.3", vec!["198.51.100.9"], "198.51.100.9"),
            ("10.1.2.3", vec!["198.51.100.9:4711"], "198.51.100.9"),
            ("10.1.2.3", vec!["2001:db9::5"], "2001:db9::5"),
            ("10.1.2.3", vec!["[2001:db9::5]"], "2001:db9::5"),
            ("10.1.2.3", vec!["[2001:db9::5]:443"], "2001:db9::5"),
            ("10.1.2.3", vec!["::ffff:198.51.100.9"], "198.51.100.9"),
            ("::ffff:10.1.2.3", vec!["198.51.100.9"], "198.51.100.9"),
            ("2001:db8::1", vec!["198.51.100.9, 192.0.2.7"], "198.51.100.9"),
            ("10.1.2.3", vec!["198.51.100.9", "192.0.2.7 ,10.9.9.9"], "198.51.100.9"),
        ] {
            assert_eq!(client(peer, &forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn what_a_stranger_writes_is_not_believed() {
        for (peer, forwarded, expected) in [
            ("198.51.100.1", vec!["203.0.113.5"], "198.51.100.1"),
            ("198.51.100.1", vec!["10.1.2.3"], "198.51.100.1"),
            ("10.1.2.3", vec!["203.0.113.5, 198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3", vec!["203.0.113.5", "198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3", vec![], "10.1.2.3"),
            ("10.1.2.3", vec![""], "10.1.2.3"),
            ("10.1.2.3", vec![", ,"], "10.1.2.3"),
            ("10.1.2.3", vec!["198.51.100.9, unknown"], "10.1.2.3"),
            ("10.1.2.3", vec!["198.51.100.9, 192.0.2.7, _hidden"], "10.1.2.3"),
            ("10.1.2.3", vec!["999.1.1.1"], "10.1.2.3"),
            ("10.1.2.3", vec!["[::1"], "10.1.2.3"),
        ] {
            assert_eq!(client(peer, &forwarded), expected, "{peer} {forwarded:?}");
        }
        assert_eq!(Proxies::default().client("10.1.2.3".parse().unwrap(), &["1.2.3.4"]).to_string(), "10.1.2.3");
    }
}
