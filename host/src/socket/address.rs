//! The client address of a request: that of its TCP connection, or the one that trusted proxies report.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::HeaderMap;
use engineioxide::PeerAddress;
use ipnet::IpNet;

/// Each proxy appends to this header the address that its own request came from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client that sent a request. The client listener adds it to each request as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// Wraps an address. An IPv4-mapped IPv6 address becomes the IPv4 address.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// Returns the address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The network that limits per address count under; the Engine.IO layer uses the same [`PeerAddress::network`].
    #[must_use]
    pub fn network(self) -> IpAddr {
        PeerAddress(self.0).network()
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The proxies whose `X-Forwarded-For` is trusted; `server.trusted_proxies`.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// Trusts all proxies in these networks.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    /// Whether `address` belongs to a trusted proxy.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client of a request that came over a TCP connection from `peer`.
    ///
    /// Proxies append to `X-Forwarded-For`, so this reads the header from its end, up to the first address that is not
    /// a trusted proxy's. The client may have written everything before that.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer;
        if !self.contain(client) {
            return ClientAddress::new(client);
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for hop in hops {
            let Some(address) = address_of(hop) else {
                break;
            };
            client = address;
            if !self.contain(client) {
                break;
            }
        }
        ClientAddress::new(client)
    }
}

/// Parses an address with or without a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(hop);
    let with_port = || hop.parse().map(|address: SocketAddr| address.ip());
    bare.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn seen(proxies: &[&str], peer: &str, lines: &[&str]) -> String {
        let networks: Vec<IpNet> = proxies.iter().map(|network| network.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let peer = peer.parse().unwrap();
        TrustedProxies::new(&networks).client(peer, &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_may_name_the_client() {
        assert_eq!(seen(&[], "10.0.0.1", &["203.0.113.9"]), "10.0.0.1");
        assert_eq!(seen(&["10.1.0.0/16"], "10.0.0.1", &["203.0.113.9"]), "10.0.0.1");
        assert_eq!(seen(&["10.0.0.0/8"], "10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(seen(&["10.0.0.0/8"], "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn addresses_that_the_client_wrote_itself_are_not_trusted() {
        let proxies = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(seen(&proxies, "10.0.0.1", &["1.1.1.1, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(
            seen(&proxies, "10.0.0.1", &["1.1.1.1, 203.0.113.9, fd00::7, 10.0.0.2"]),
            "203.0.113.9"
        );
        assert_eq!(
            seen(&proxies, "10.0.0.1", &["1.1.1.1", "203.0.113.9, 10.0.0.2"]),
            "203.0.113.9"
        );
        assert_eq!(seen(&proxies, "10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn addresses_may_have_ports_and_ipv4_may_come_as_ipv6() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(seen(&proxies, "::ffff:10.0.0.1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(seen(&proxies, "10.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(seen(&proxies, "10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_their_limits() {
        let network = |text: &str| ClientAddress::new(text.parse().unwrap()).network().to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("203.0.113.9"), "203.0.113.9");
        assert_eq!(network("::ffff:203.0.113.9"), "203.0.113.9");
    }
}
