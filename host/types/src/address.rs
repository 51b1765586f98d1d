//! Decides which IP addresses belong to the public internet.
//!
//! The server sends requests to addresses that handlers and tenants choose. Such a request must not reach this machine,
//! its network, or a cloud's metadata service. IANA lists special-purpose addresses in two registries, one for
//! [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry/) and one for
//! [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry/) (RFC 6890, RFC 8190), which the tables below
//! follow. All special purposes count as not public, also those that the registries call globally reachable: a
//! protocol's anycast address leads to the nearest server, which may be in this network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// IPv4 ranges that are not public, in the order of the registry. Entries within another are left out.
const SPECIAL_V4: [Ipv4Net; 18] = [
    v4([0, 0, 0, 0], 8),       // "this network": RFC 791, section 3.2
    v4([10, 0, 0, 0], 8),      // private use: RFC 1918
    v4([100, 64, 0, 0], 10),   // shared address space of providers: RFC 6598
    v4([127, 0, 0, 0], 8),     // loopback: RFC 1122, section 3.2.1.3
    v4([169, 254, 0, 0], 16),  // link-local: RFC 3927
    v4([172, 16, 0, 0], 12),   // private use: RFC 1918
    v4([192, 0, 0, 0], 24),    // IETF protocol assignments: RFC 6890, section 2.1
    v4([192, 0, 2, 0], 24),    // documentation, TEST-NET-1: RFC 5737
    v4([192, 31, 196, 0], 24), // AS112-v4, anycast: RFC 7535
    v4([192, 52, 193, 0], 24), // automatic multicast tunnelling, anycast: RFC 7450
    v4([192, 88, 99, 0], 24),  // 6to4 relays, anycast, deprecated: RFC 7526
    v4([192, 168, 0, 0], 16),  // private use: RFC 1918
    v4([192, 175, 48, 0], 24), // direct delegation to AS112, anycast: RFC 7534
    v4([198, 18, 0, 0], 15),   // benchmarking: RFC 2544
    v4([198, 51, 100, 0], 24), // documentation, TEST-NET-2: RFC 5737
    v4([203, 0, 113, 0], 24),  // documentation, TEST-NET-3: RFC 5737
    v4([224, 0, 0, 0], 4),     // multicast: RFC 5771, a registry of its own
    v4([240, 0, 0, 0], 4),     // reserved: RFC 1112, section 4; limited broadcast: RFC 919
];

/// All of IPv6 that is routed publicly (RFC 4291, section 2.4, and IANA's registry of the address space). Outside of it
/// are, among others, loopback, discard-only (RFC 6666), dummy (RFC 9780), segment routing (RFC 9602), unique local
/// (RFC 4193), link-local, site-local (RFC 3879) and multicast addresses, and NAT64 of local use (RFC 8215).
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Ranges within [`GLOBAL_UNICAST`] that are not public, in the order of the registry.
const SPECIAL_V6: [Ipv6Net; 4] = [
    // IETF protocol assignments (RFC 2928): anycast of protocols (RFC 7723, RFC 8155, RFC 9665), benchmarking (RFC
    // 5180), multicast tunnelling (RFC 7450), AS112 (RFC 7535), ORCHID (RFC 4843, RFC 7343), drones (RFC 9374). Teredo
    // is within it too, but is checked earlier.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),     // documentation: RFC 3849
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), // direct delegation to AS112, anycast: RFC 7534
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),         // documentation: RFC 9637
];

/// IPv4-mapped addresses, which the kernel sends as IPv4: RFC 4291, section 2.5.5.2.
const MAPPED: Ipv6Net = v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96);
/// NAT64: RFC 6052. In a network with IPv6 only, all IPv4 addresses are written in this way.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
/// 6to4: RFC 3056.
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
/// Teredo: RFC 4380.
const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

const fn v4(octets: [u8; 4], bits: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(segments: [u16; 8], bits: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), bits)
}

/// Whether an address belongs to the public internet, and not to this machine, this network, a group or a special
/// purpose. An IPv6 address that leads to an IPv4 address is public if that one is.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|range| range.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // An IPv4 address can be in one of three places: bits 16 to 47, bits 32 to 63, and the last 32 bits.
    let [_, _, a, b, c, d, e, f, _, _, _, _, w, x, y, z] = address.octets();
    let last = Ipv4Addr::new(w, x, y, z);
    if MAPPED.contains(&address) || NAT64.contains(&address) {
        return is_public_v4(last);
    }
    if SIX_TO_FOUR.contains(&address) {
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    if TEREDO.contains(&address) {
        // The server, which gets the first packet, and the client, whose bits are inverted (RFC 4380, section 4).
        return is_public_v4(Ipv4Addr::new(c, d, e, f)) && is_public_v4(Ipv4Addr::new(!w, !x, !y, !z));
    }
    GLOBAL_UNICAST.contains(&address) && !SPECIAL_V6.iter().any(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(address: &str) -> bool {
        is_public(address.parse().unwrap())
    }

    /// Asserts that the first and last address of each range are not public, and its neighbours are, if they are given.
    fn check(ranges: &[(&str, &str, Option<&str>, Option<&str>)]) {
        for (first, last, before, after) in ranges {
            for inside in [first, last] {
                assert!(!public(inside), "{inside}");
            }
            for outside in [before, after].into_iter().flatten() {
                assert!(public(outside), "{outside}, beside {first} to {last}");
            }
        }
    }

    #[test]
    fn special_ranges_of_ipv4_end_where_the_registry_says() {
        check(&[
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            (
                "100.64.0.0",
                "100.127.255.255",
                Some("100.63.255.255"),
                Some("100.128.0.0"),
            ),
            (
                "127.0.0.0",
                "127.255.255.255",
                Some("126.255.255.255"),
                Some("128.0.0.0"),
            ),
            (
                "169.254.0.0",
                "169.254.255.255",
                Some("169.253.255.255"),
                Some("169.255.0.0"),
            ),
            (
                "172.16.0.0",
                "172.31.255.255",
                Some("172.15.255.255"),
                Some("172.32.0.0"),
            ),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
            (
                "192.31.196.0",
                "192.31.196.255",
                Some("192.31.195.255"),
                Some("192.31.197.0"),
            ),
            (
                "192.52.193.0",
                "192.52.193.255",
                Some("192.52.192.255"),
                Some("192.52.194.0"),
            ),
            (
                "192.88.99.0",
                "192.88.99.255",
                Some("192.88.98.255"),
                Some("192.88.100.0"),
            ),
            (
                "192.168.0.0",
                "192.168.255.255",
                Some("192.167.255.255"),
                Some("192.169.0.0"),
            ),
            (
                "192.175.48.0",
                "192.175.48.255",
                Some("192.175.47.255"),
                Some("192.175.49.0"),
            ),
            (
                "198.18.0.0",
                "198.19.255.255",
                Some("198.17.255.255"),
                Some("198.20.0.0"),
            ),
            (
                "198.51.100.0",
                "198.51.100.255",
                Some("198.51.99.255"),
                Some("198.51.101.0"),
            ),
            (
                "203.0.113.0",
                "203.0.113.255",
                Some("203.0.112.255"),
                Some("203.0.114.0"),
            ),
            ("224.0.0.0", "239.255.255.255", Some("223.255.255.255"), None),
            ("240.0.0.0", "255.255.255.255", None, None),
        ]);
    }

    #[test]
    fn special_ranges_of_ipv6_end_where_the_registry_says() {
        check(&[
            (
                "2001:1::",
                "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
                None,
                Some("2001:200::"),
            ),
            (
                "2001:db8::",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("2001:db9::"),
            ),
            (
                "2620:4f:8000::",
                "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
                Some("2620:4f:7fff:ffff:ffff:ffff:ffff:ffff"),
                Some("2620:4f:8001::"),
            ),
            (
                "3fff::",
                "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
                Some("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                Some("3fff:1000::"),
            ),
        ]);
    }

    #[test]
    fn only_global_unicast_of_ipv6_is_public() {
        assert!(public("2000::") && public("2606:4700:4700::1111") && public("3fff:ffff::"));
        let others = [
            "::",
            "::1",
            "::127.0.0.1",
            "::1.1.1.1",
            "64:ff9b:1::1",
            "64:ff9b:1::101:101",
            "64:ff9b:0:1::101:101",
            "100::",
            "100:0:0:1::",
            "1fff:ffff::",
            "4000::",
            "5f00::1",
            "fc00::",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "::ffff:0:1.1.1.1",
        ];
        for address in others {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn an_embedded_ipv4_address_decides() {
        let teredo = |server: [u8; 4], client: [u8; 4]| {
            let [a, b, c, d] = server;
            let [w, x, y, z] = client.map(|octet| !octet);
            IpAddr::from([0x20, 1, 0, 0, a, b, c, d, 0, 0, 0xf2, 0x27, w, x, y, z])
        };
        for embedded in [
            [1, 1, 1, 1],
            [127, 0, 0, 1],
            [10, 1, 2, 3],
            [169, 254, 169, 254],
            [224, 0, 0, 1],
        ] {
            let [a, b, c, d] = embedded;
            let expected = embedded == [1, 1, 1, 1];
            let written = [
                IpAddr::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]),
                IpAddr::from([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]),
                IpAddr::from([0x20, 2, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
                teredo(embedded, [1, 1, 1, 1]),
                teredo([1, 1, 1, 1], embedded),
            ];
            for address in written {
                assert_eq!(is_public(address), expected, "{address}");
            }
        }
    }
}
