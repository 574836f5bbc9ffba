//! Networks, and sets of networks that are fast to ask.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use sluice_abi::Addr;

/// An address with a prefix length; a single address is a network of one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Net {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The address has bits beyond its prefix.
    #[error("the address has bits beyond its prefix: write \"{network}\" or a longer prefix")]
    HostBits {
        /// The network that the prefix names.
        network: Net,
    },
    /// An IPv4 address in IPv6 form.
    #[error("an IPv4 address in IPv6 form: write \"{plain}\"")]
    Mapped {
        /// The same network in IPv4 form.
        plain: Net,
    },
    /// Neither an address nor a CIDR.
    #[error("expected an address or a CIDR such as \"10.20.0.0/16\" or \"2001:db8::/32\"")]
    NotANet,
    /// The prefix is longer than the address.
    #[error("the prefix is longer than the address: at most /{most}")]
    TooLong {
        /// The longest prefix of the address's family.
        most: u8,
    },
}

impl Net {
    /// The network of `bits` leading bits of `address`.
    ///
    /// # Errors
    ///
    /// [`NetError::TooLong`], [`NetError::HostBits`] where `address` has bits beyond them, or
    /// [`NetError::Mapped`].
    pub fn new(address: IpAddr, bits: u8) -> Result<Self, NetError> {
        let most = width(address);
        if bits > most {
            return Err(NetError::TooLong { most });
        }
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
            && let Some(short) = bits.checked_sub(96)
        {
            return Err(NetError::Mapped {
                plain: Self::truncated(IpAddr::V4(v4), short),
            });
        }
        let network = Self::truncated(address, bits);
        if network.address != address {
            return Err(NetError::HostBits { network });
        }
        Ok(network)
    }

    /// The network of one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self {
            address,
            bits: width(address),
        }
    }

    fn truncated(address: IpAddr, bits: u8) -> Self {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Self { address, bits }
    }

    /// The lowest address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Bits of the prefix, 0 to 32 or 0 to 128.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// The address as the kernel has it, and the prefix length that belongs to it: an IPv4 prefix
    /// counts 96 bits more.
    #[must_use]
    pub fn kernel(self) -> (Addr, u32) {
        let extra = if self.address.is_ipv4() { 96 } else { 0 };
        (Addr::from(self.address), u32::from(self.bits) + extra)
    }

    /// Whether the address is in the network; an IPv4 address in IPv6 form counts as IPv4.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.address)
            && Self::truncated(address, self.bits).address == self.address
    }

    /// Whether every address of `other` is in the network.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }

    /// Whether the network is a single address.
    #[must_use]
    pub fn is_host(self) -> bool {
        self.bits == width(self.address)
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetError::NotANet)?;
        let Some(bits) = bits else {
            return Self::new(address, width(address));
        };
        let canonical = bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit());
        match bits.parse::<u16>() {
            Ok(bits) if canonical => Self::new(address, u8::try_from(bits).unwrap_or(u8::MAX)),
            _ => Err(NetError::NotANet),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> Net {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in [
            "10.0.0.0/8",
            "10.1.2.3",
            "2001:db8::/32",
            "::/0",
            "0.0.0.0/0",
            "::1",
        ] {
            assert_eq!(net(text).to_string(), text);
        }
        assert_eq!(net("10.1.2.3/32").to_string(), "10.1.2.3");
    }

    #[test]
    fn mistakes_come_with_their_cure() {
        let message = |text: &str| text.parse::<Net>().unwrap_err().to_string();
        assert_eq!(
            message("10.0.0.1/8"),
            "the address has bits beyond its prefix: write \"10.0.0.0/8\" or a longer prefix"
        );
        assert_eq!(
            message("::ffff:10.0.0.0/104"),
            "an IPv4 address in IPv6 form: write \"10.0.0.0/8\""
        );
        assert_eq!(
            message("10.0.0.0/33"),
            "the prefix is longer than the address: at most /32"
        );
        for text in [
            "",
            "10.0.0",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "alice",
            "10.0.0.0/8/9",
            "fe80::1%a",
        ] {
            assert_eq!(text.parse::<Net>(), Err(NetError::NotANet), "{text}");
        }
    }

    #[test]
    fn the_whole_of_ipv6_holds_no_ipv4() {
        assert!(!net("::/0").contains("10.0.0.1".parse().unwrap()));
        assert!(!net("::/0").contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(net("10.0.0.0/8").contains("::ffff:10.0.0.1".parse().unwrap()));
    }

    fn any_net() -> impl Strategy<Value = Net> {
        prop_oneof![
            (0u32..16, 0u8..=32).prop_map(|(low, bits)| {
                Net::truncated(IpAddr::V4(Ipv4Addr::from_bits(low | low << 28)), bits)
            }),
            (0u128..16, 0u8..=128).prop_map(|(low, bits)| {
                Net::truncated(IpAddr::V6(Ipv6Addr::from_bits(low | low << 124)), bits)
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(net in any_net()) {
            // A long IPv6 prefix under ::ffff:0:0/96 is IPv4 and refused.
            if !(net.address().is_ipv6() && net.address().to_canonical().is_ipv4() && net.bits() >= 96) {
                prop_assert_eq!(net.to_string().parse::<Net>(), Ok(net));
            }
        }
    }
}
