//! What kind of place an address is, and which other addresses it leads to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_policy::Net;

/// What kind of place an address is. The later one is the more closed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Class {
    /// On the internet.
    Open,
    /// In a network of somebody's own, or set aside for one.
    Private,
    /// The machine, its links, and what a cloud shows to the machine alone.
    Local,
    /// Nobody can be connected to there.
    Nowhere,
}

/// Addresses at which clouds tell a machine who it is, keys included, and that no range below covers.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

/// The class of an address by itself, whatever it leads to.
pub(super) fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

/// The ranges are those of the IANA special-purpose registry (RFC 6890) that are not global.
fn class_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) => Class::Nowhere,
        _ if address.is_multicast() || address.is_broadcast() => Class::Nowhere,
        _ if address.is_loopback() || address.is_link_local() => Class::Local,
        _ if METADATA_V4.contains(&address) => Class::Local,
        _ if address.is_private() => Class::Private,
        // Shared (RFC 6598), protocol assignments (RFC 6890), benchmarking (RFC 2544), reserved.
        (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) | (240.., ..) => Class::Private,
        _ => Class::Open,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    let [a, b, c, d, ..] = address.segments();
    match (a, b, c) {
        _ if address.is_unspecified() || address.is_multicast() => Class::Nowhere,
        _ if address.is_loopback() || address.is_unicast_link_local() => Class::Local,
        _ if METADATA_V6.contains(&address) => Class::Local,
        // Unique local (RFC 4193), site-local (RFC 3879).
        (0xfc00..=0xfdff | 0xfec0..=0xfeff, ..) => Class::Private,
        // Translation in a network of one's own (RFC 8215), benchmarking (RFC 5180), segment
        // identifiers (RFC 9602).
        (0x64, 0xff9b, 1) | (0x2001, 2, 0) | (0x5f00, ..) => Class::Private,
        // To be discarded (RFC 6666).
        (0x100, 0, 0) if d == 0 => Class::Private,
        _ => Class::Open,
    }
}

/// The IPv4 addresses that an IPv6 one carries, at which its packets may come out.
///
/// `nat64` are the prefixes under which the network translates, besides the well-known one; their
/// length says where the IPv4 address stands. IPv4-mapped addresses are IPv4 ones before they come
/// here.
pub(super) fn embedded(address: Ipv6Addr, nat64: &[Net]) -> impl Iterator<Item = Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let quad = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let last = quad(g, h);
    let mut found = [None; 6];
    match (a, b, c, d, e, f) {
        // The well-known prefix (RFC 6052 section 2.1), the compatible form (RFC 4291 section
        // 2.5.5.1) and the translated one (RFC 2765 section 2.1).
        (0x64, 0xff9b, 0, 0, 0, 0) | (0, 0, 0, 0, 0, 0) | (0, 0, 0, 0, 0xffff, 0) => {
            found[0] = Some(last);
        }
        // 6to4 (RFC 3056 section 2).
        (0x2002, ..) => found[0] = Some(quad(b, c)),
        // Teredo (RFC 4380 section 4): the server, and the client, inverted.
        (0x2001, 0, ..) => {
            found[0] = Some(quad(c, d));
            found[1] = Some(quad(!g, !h));
        }
        // How long the prefix is within the local one is not known here (RFC 8215 section 3).
        // Where nothing carries an address the bits are zero, which no address begins with.
        (0x64, 0xff9b, 1, ..) => {
            for (place, length) in found.iter_mut().zip([48, 56, 64, 96]) {
                *place = translated(address, length).filter(|v4| v4.octets()[0] != 0);
            }
        }
        _ => {}
    }
    // ISATAP (RFC 5214 section 6.1), under any prefix.
    if matches!((e, f), (0 | 0x200, 0x5efe)) {
        found[4] = Some(last);
    }
    let within = |net: &&Net| net.contains(IpAddr::V6(address));
    if let Some(net) = nat64.iter().filter(within).max_by_key(|net| net.bits()) {
        found = [None; 6];
        found[5] = translated(address, net.bits());
    }
    found.into_iter().flatten()
}

/// The IPv4 address behind a translation prefix of a length: it stands behind the prefix, but for
/// bits 64 to 71, which are skipped (RFC 6052 section 2.2).
pub(super) fn translated(address: Ipv6Addr, length: u8) -> Option<Ipv4Addr> {
    if !is_translation_length(length) {
        return None;
    }
    let bits = address.to_bits();
    let behind = if length == 96 {
        bits
    } else {
        // Closes the gap: what is above it moves down by its eight bits.
        let above = bits >> 64 << 56;
        let below = bits & ((1 << 56) - 1);
        (above | below) >> (88 - u32::from(length))
    };
    u32::try_from(behind & u128::from(u32::MAX))
        .ok()
        .map(Ipv4Addr::from)
}

/// Whether a translation prefix may be that long (RFC 6052 section 2.2).
pub(crate) const fn is_translation_length(length: u8) -> bool {
    matches!(length, 32 | 40 | 48 | 56 | 64 | 96)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translated_addresses_are_found_at_every_length() {
        // RFC 6052 section 2.4.
        for (length, text) in [
            (32, "2001:db8:c000:221::"),
            (40, "2001:db8:1c0:2:21::"),
            (48, "2001:db8:122:c000:2:2100::"),
            (56, "2001:db8:122:3c0:0:221::"),
            (64, "2001:db8:122:344:c0:2:2100::"),
            (96, "2001:db8:122:344::192.0.2.33"),
        ] {
            let found = translated(text.parse().unwrap(), length);
            assert_eq!(found, Some(Ipv4Addr::new(192, 0, 2, 33)), "/{length}");
        }
        assert_eq!(translated(Ipv6Addr::LOCALHOST, 95), None);
    }
}
