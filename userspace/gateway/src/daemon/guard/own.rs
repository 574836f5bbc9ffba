//! The addresses and networks of the machine itself.

use std::collections::HashSet;
use std::net::IpAddr;

use sluice_policy::Net;

/// A prefix that is shorter says nothing of who is near: a device of a tunnel may have all of IPv4.
const LEAST_BITS: u8 = 8;

/// Which addresses the machine has, and in which networks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Own {
    /// The addresses.
    pub addresses: HashSet<IpAddr>,
    /// The networks that its devices are in, each once.
    pub networks: Vec<Net>,
}

impl Own {
    /// Addresses without networks.
    #[must_use]
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            addresses: addresses.into_iter().collect(),
            networks: Vec::new(),
        }
    }

    /// What the machine has now; nothing where that cannot be read, which leaves it to the kernel
    /// programs not to steer what is addressed to the gateway.
    #[must_use]
    pub fn of_machine() -> Self {
        let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
            return Self::default();
        };
        let mut own = Self::default();
        for interface in interfaces {
            let ip = |address: &nix::sys::socket::SockaddrStorage| {
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            };
            let Some(address) = interface.address.as_ref().and_then(ip) else {
                continue;
            };
            own.addresses.insert(address);
            let mask = interface.netmask.as_ref().and_then(ip);
            if let Some(network) = mask.and_then(|mask| network(address, mask))
                && !own.networks.contains(&network)
            {
                own.networks.push(network);
            }
        }
        own
    }
}

/// The network that a mask cuts out; `None` where that is the address alone, or next to everything.
fn network(address: IpAddr, mask: IpAddr) -> Option<Net> {
    let (masked, bits, width) = match (address, mask) {
        (IpAddr::V4(address), IpAddr::V4(mask)) => {
            let bits = mask.to_bits().leading_ones();
            (IpAddr::V4(address & mask), bits, 32)
        }
        (IpAddr::V6(address), IpAddr::V6(mask)) => {
            let bits = mask.to_bits().leading_ones();
            (IpAddr::V6(address & mask), bits, 128)
        }
        _ => return None,
    };
    let bits = u8::try_from(bits).ok()?;
    if bits < LEAST_BITS || bits >= width {
        return None;
    }
    Net::new(masked, bits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_makes_a_network() {
        for (address, mask, expected) in [
            ("10.1.2.3", "255.255.0.0", Some("10.1.0.0/16")),
            ("10.1.2.3", "255.255.255.255", None),
            ("10.1.2.3", "0.0.0.0", None),
            (
                "2001:db8::7",
                "ffff:ffff:ffff:ffff::",
                Some("2001:db8::/64"),
            ),
            (
                "2001:db8::7",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                None,
            ),
            ("10.1.2.3", "ffff::", None),
        ] {
            let found = network(address.parse().unwrap(), mask.parse().unwrap());
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(found, expected, "{address} {mask}");
        }
    }

    #[test]
    fn the_machine_has_loopback() {
        let own = Own::of_machine();
        assert!(own.addresses.iter().any(IpAddr::is_loopback), "{own:?}");
        assert!(
            own.networks.contains(&"127.0.0.0/8".parse().unwrap()),
            "{own:?}"
        );
    }
}
