//! Which addresses a name may lead to: those of the public internet.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use ip_network::{Ipv4Network, Ipv6Network};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

/// Names that are looked up at once, in the whole server: each look-up holds a thread until the system's resolver
/// has answered.
const LOOKUPS: usize = 32;

/// A name with no public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name has no public address")]
pub(super) struct NoPublicAddress;

/// Looks names up and gives the public addresses alone. What connects, connects to one of these: nobody looks the
/// name up again.
#[derive(Debug)]
pub(super) struct PublicOnly {
    lookups: Arc<Semaphore>,
}

impl PublicOnly {
    pub(super) fn new() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = self.lookups.clone();
        Box::pin(async move {
            let place = lookups.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                // The thread is busy for as long as the system takes, also when nobody waits any more.
                let _place = place;
                (name.as_str(), 0).to_socket_addrs()
            });
            public(found.await??)
        })
    }
}

fn public(found: impl Iterator<Item = SocketAddr>) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
    let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
    if public.is_empty() {
        return Err(Box::new(NoPublicAddress));
    }
    Ok(Box::new(public.into_iter()))
}

/// Whether the address is of the public internet: not of this machine, this network, a group, or a special purpose
/// (the IANA registries of RFC 6890), and not another way of writing one of these.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let network = Ipv4Network::from(address);
    network.is_global() && !network.is_multicast() && !network.is_ietf_protocol_assignments()
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    // NAT64 (RFC 6052): where a network has IPv6 only, this is how all of IPv4 is written.
    let within = |network: [u16; 8], bits| {
        let [a, b, c, d, e, f, g, h] = network;
        Ipv6Network::new(Ipv6Addr::new(a, b, c, d, e, f, g, h), bits).is_ok_and(|network| network.contains(address))
    };
    if within([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96) {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Everything that is routed publicly is in 2000::/3. In there, the special purposes: protocols and tunnels
    // (2001::/23), documentation (2001:db8::/32, 3fff::/20), 6to4 (2002::/16), which may lead to any IPv4 address.
    within([0x2000, 0, 0, 0, 0, 0, 0, 0], 3)
        && !within([0x2001, 0, 0, 0, 0, 0, 0, 0], 23)
        && !within([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32)
        && !within([0x2002, 0, 0, 0, 0, 0, 0, 0], 16)
        && !within([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in [
            "1.1.1.1",
            "93.184.215.14",
            "2606:4700:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn all_others_are_not() {
        let others = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.9",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2001:10::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
        ];
        for address in others {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn of_what_a_name_leads_to_the_public_part_is_used() {
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let mixed = [address("127.0.0.1"), address("1.1.1.1"), address("::1")];
        let kept: Vec<_> = public(mixed.into_iter())
            .unwrap_or_else(|_| panic!("one is public"))
            .collect();
        assert_eq!(kept, [address("1.1.1.1")]);
        let Err(error) = public([address("127.0.0.1")].into_iter()) else {
            panic!("none is public")
        };
        assert!(error.is::<NoPublicAddress>());
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused() {
        let Err(error) = PublicOnly::new().resolve("localhost".parse().unwrap()).await else {
            panic!("localhost is no public name")
        };
        assert!(error.is::<NoPublicAddress>(), "{error}");
    }
}
