//! The addresses of the lab, by family, so that a test can be run for both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One of the two families of IP, with the lab's addresses in it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Family {
    /// IPv4: clients in 10.77.0.0/24, origins in 203.0.113.0/24 and 198.51.100.0/24.
    V4,
    /// IPv6: clients in fd77::/64, origins in 2001:db8:1::/64.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The client that tests put into the group that may do more.
    #[must_use]
    pub fn member(self) -> IpAddr {
        self.on_lan(0, 0x10)
    }

    /// The client that is in no group.
    #[must_use]
    pub fn other(self) -> IpAddr {
        self.on_lan(0, 0x20)
    }

    /// The gateway's address on the first LAN.
    #[must_use]
    pub fn gateway_lan(self) -> IpAddr {
        self.on_lan(0, 1)
    }

    /// The gateway's address on the side of the internet.
    #[must_use]
    pub fn gateway_wan(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    /// The router of the internet that is next to the gateway.
    #[must_use]
    pub fn internet(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(192, 0, 2, 2).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).into(),
        }
    }

    /// One of the origins; every number from 0 to 255 is an address of the internet namespace.
    #[must_use]
    pub fn origin(self, number: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(203, 0, 113, number).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into()).into(),
        }
    }

    /// An origin's address with a port.
    #[must_use]
    pub fn origin_at(self, number: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.origin(number), port)
    }

    /// An address on one of the LANs: 1 is the gateway's, the clients' are 0x10, 0x20, ... in IPv6
    /// and their decimal likes (10, 20, ...) in IPv4.
    #[must_use]
    pub fn on_lan(self, lan: u8, host: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 77 + lan, 0, (host >> 4) * 10 + (host & 0xf)).into(),
            Self::V6 => {
                Ipv6Addr::new(0xfd77 + u16::from(lan), 0, 0, 0, 0, 0, 0, host.into()).into()
            }
        }
    }

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_alike_in_both_families() {
        assert_eq!(Family::V4.member().to_string(), "10.77.0.10");
        assert_eq!(Family::V6.member().to_string(), "fd77::10");
        assert_eq!(Family::V4.on_lan(1, 0x20).to_string(), "10.78.0.20");
        assert_eq!(Family::V6.on_lan(1, 0x20).to_string(), "fd78::20");
        assert_eq!(
            Family::V6.origin_at(5, 443).to_string(),
            "[2001:db8:1::5]:443"
        );
        assert!(
            Family::ALL
                .iter()
                .all(|family| Family::of(family.origin(1)) == *family)
        );
    }
}
