//! Which devices are the LAN, and what their frames begin with.

use std::fmt;

/// What a device's frames begin with; the programs are loaded once for each kind.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet = 0,
    /// The IP header itself: wireguard, tun, ppp and tunnels.
    L3 = 1,
}

/// ARPHRD_ETHER, RFC 826's hardware type as Linux numbers it.
const ARPHRD_ETHER: u16 = 1;
/// ARPHRD_LOOPBACK: loopback frames carry an Ethernet header of zeros.
const ARPHRD_LOOPBACK: u16 = 772;
/// Types whose frames begin with the IP header: ppp, tunnel (ipip), tunnel6, sit, GRE and GRE over
/// IPv6, rawip, none (tun, wireguard).
const L3_TYPES: [u16; 8] = [512, 768, 769, 776, 778, 823, 519, 0xfffe];

impl LinkType {
    /// The kind of a device's `ARPHRD_` number; `None` where frames of such a device cannot be
    /// read.
    #[must_use]
    pub fn from_arphrd(number: u16) -> Option<Self> {
        match number {
            ARPHRD_ETHER | ARPHRD_LOOPBACK => Some(Self::Ethernet),
            number if L3_TYPES.contains(&number) => Some(Self::L3),
            _ => None,
        }
    }
}

/// A network device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its index; a device that is made anew has another one.
    pub index: u32,
    /// Its `ARPHRD_` number.
    pub arphrd: u16,
}

impl Device {
    /// What the device's frames begin with; `None`: sluice cannot read them.
    #[must_use]
    pub fn link_type(&self) -> Option<LinkType> {
        LinkType::from_arphrd(self.arphrd)
    }
}

/// The devices behind which the clients are: names, or patterns with `*` for any letters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LanPatterns(Vec<String>);

impl LanPatterns {
    /// Patterns as the configuration has them.
    pub fn new(patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(patterns.into_iter().map(Into::into).collect())
    }

    /// Whether a device of this name is a LAN device.
    #[must_use]
    pub fn matches(&self, device: &str) -> bool {
        self.0
            .iter()
            .any(|pattern| matches(pattern.as_bytes(), device.as_bytes()))
    }

    /// The patterns.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for LanPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return name.is_empty();
    };
    if *first == b'*' {
        return (0..=name.len()).any(|taken| matches(rest, name.get(taken..).unwrap_or_default()));
    }
    name.split_first()
        .is_some_and(|(letter, tail)| letter == first && matches(rest, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_the_devices_it_describes() {
        let lan = LanPatterns::new(["lan0", "vlan*", "wg-*-in"]);
        for name in ["lan0", "vlan", "vlan10", "vlan10.2", "wg-a-in", "wg--in"] {
            assert!(lan.matches(name), "{name}");
        }
        for name in ["lan", "lan01", "xvlan1", "wg-in", "wg-a-out", ""] {
            assert!(!lan.matches(name), "{name}");
        }
        assert!(!LanPatterns::default().matches("lan0"));
    }

    #[test]
    fn the_hardware_type_tells_ethernet_from_l3() {
        assert_eq!(LinkType::from_arphrd(1), Some(LinkType::Ethernet));
        for number in [0xfffe, 512, 776, 519] {
            assert_eq!(LinkType::from_arphrd(number), Some(LinkType::L3));
        }
        // IEEE 802.11 in monitor mode, InfiniBand.
        for number in [803, 32] {
            assert_eq!(LinkType::from_arphrd(number), None);
        }
    }
}
