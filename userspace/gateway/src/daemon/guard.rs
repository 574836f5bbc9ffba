//! Where the daemon never connects to, whatever a client asked for.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use sluice_abi::Reason;

/// The metadata address of some clouds for IPv6; theirs for IPv4 is link-local.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Keeps flows from being led to the gateway itself, or to what only the gateway could reach.
///
/// The kernel programs do not steer such flows; this holds where a flow came some other way.
#[derive(Debug)]
pub struct Guard {
    listener_port: u16,
    own: RwLock<HashSet<IpAddr>>,
    loopback_allowed: bool,
}

impl Guard {
    /// A guard of a gateway whose transparent listener has this port.
    #[must_use]
    pub fn new(listener_port: u16) -> Self {
        Self {
            listener_port,
            own: RwLock::default(),
            loopback_allowed: false,
        }
    }

    /// A guard that lets flows go to loopback, for a gateway whose origins live there.
    #[must_use]
    pub fn allowing_loopback(listener_port: u16) -> Self {
        Self {
            loopback_allowed: true,
            ..Self::new(listener_port)
        }
    }

    /// Tells which addresses the machine has.
    pub fn set_own(&self, addresses: HashSet<IpAddr>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Why a destination is not connected to, or `None` where it may be.
    #[must_use]
    pub fn refuses(&self, destination: SocketAddr) -> Option<Reason> {
        let ip = destination.ip().to_canonical();
        if destination.port() == self.listener_port {
            return Some(Reason::SelfConnect);
        }
        if ip.is_loopback() && self.loopback_allowed {
            return None;
        }
        if self
            .own
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&ip)
        {
            return Some(Reason::SelfConnect);
        }
        let never = match ip {
            IpAddr::V4(v4) => never_v4(v4),
            IpAddr::V6(v6) => never_v6(v6),
        };
        (never || destination.port() == 0).then_some(Reason::NeverConnect)
    }
}

fn never_v4(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
}

fn never_v6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || address == METADATA
        // Addresses that carry an IPv4 one reach what that one reaches: the translation prefix
        // (RFC 6052 section 2.1), 6to4 (RFC 3056 section 2), and the compatible form.
        || embedded_v4(address).is_some_and(never_v4)
}

fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let quad = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => Some(quad(g, h)),
        (0x2002, _) => Some(quad(b, c)),
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0) => Some(quad(g, h)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a16_the_gateway_is_no_origin() {
        let guard = Guard::new(5143);
        guard.set_own(HashSet::from(["192.0.2.1".parse().unwrap()]));
        for (destination, reason) in [
            ("198.51.100.7:5143", Some(Reason::SelfConnect)),
            ("192.0.2.1:443", Some(Reason::SelfConnect)),
            ("[::ffff:192.0.2.1]:443", Some(Reason::SelfConnect)),
            ("127.0.0.1:443", Some(Reason::NeverConnect)),
            ("[::ffff:127.0.0.1]:443", Some(Reason::NeverConnect)),
            ("[::127.0.0.1]:443", Some(Reason::NeverConnect)),
            ("[64:ff9b::a9fe:a9fe]:443", Some(Reason::NeverConnect)),
            ("[2002:7f00:1::]:443", Some(Reason::NeverConnect)),
            ("169.254.169.254:443", Some(Reason::NeverConnect)),
            ("[fd00:ec2::254]:443", Some(Reason::NeverConnect)),
            ("[fe80::1]:443", Some(Reason::NeverConnect)),
            ("[::1]:443", Some(Reason::NeverConnect)),
            ("[::]:443", Some(Reason::NeverConnect)),
            ("0.0.0.0:443", Some(Reason::NeverConnect)),
            ("224.0.0.1:443", Some(Reason::NeverConnect)),
            ("[ff02::1]:443", Some(Reason::NeverConnect)),
            ("255.255.255.255:443", Some(Reason::NeverConnect)),
            ("198.51.100.7:0", Some(Reason::NeverConnect)),
            ("198.51.100.7:443", None),
            ("10.1.2.3:443", None),
            ("[2001:db8::7]:443", None),
            ("[64:ff9b::c633:6407]:443", None),
        ] {
            assert_eq!(
                guard.refuses(destination.parse().unwrap()),
                reason,
                "{destination}"
            );
        }
    }
}
