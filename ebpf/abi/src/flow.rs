//! Addresses, flow keys and the state of a flow.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An address of either family: IPv6 as it is, IPv4 as `::ffff:a.b.c.d`.
///
/// The words are the address in network byte order, as loaded from a packet. A packet whose IPv6
/// header carries an IPv4-mapped address is dropped before it becomes a key, so the families never
/// meet.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Addr(pub [u32; 4]);

impl Addr {
    /// The address of an IPv4 address word in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, 0x0000_ffff_u32.to_be(), word])
    }

    /// Whether this stands for an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let [a, b, c, _] = self.0;
        a == 0 && b == 0 && c == 0x0000_ffff_u32.to_be()
    }

    /// The address as the standard library has it; an IPv4-mapped one as IPv4.
    #[must_use]
    pub fn to_ip(self) -> IpAddr {
        let [a, b, c, d] = self.0.map(u32::from_be);
        if self.is_v4() {
            return IpAddr::V4(Ipv4Addr::from(d));
        }
        let bits = (a as u128) << 96 | (b as u128) << 64 | (c as u128) << 32 | d as u128;
        IpAddr::V6(Ipv6Addr::from(bits))
    }

    #[inline(always)]
    const fn halves(&self) -> (u64, u64) {
        let [a, b, c, d] = self.0;
        ((a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64)
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        let bits = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Self([96, 64, 32, 0].map(|shift| ((bits >> shift) as u32).to_be()))
    }
}

/// Both ends of a flow, ordered, so that the packets of either direction have the same key.
///
/// Ports are in network byte order; for ICMP echo both are the identifier, for protocols without
/// ports both are zero.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct FlowKey {
    /// The end that orders first.
    pub low: Addr,
    /// The end that orders last.
    pub high: Addr,
    /// Port of `low`.
    pub low_port: u16,
    /// Port of `high`.
    pub high_port: u16,
    /// Transport protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<FlowKey>() == 40);

impl FlowKey {
    /// The key of a packet, and whether its source is the [`high`](Self::high) end.
    ///
    /// The order is by memory words and means nothing beyond being the same for both directions.
    #[inline(always)]
    #[must_use]
    pub const fn new(src: Addr, dst: Addr, sport: u16, dport: u16, protocol: u8) -> (Self, bool) {
        let (s0, s1) = src.halves();
        let (d0, d1) = dst.halves();
        let source_is_high = if s0 != d0 {
            s0 > d0
        } else if s1 != d1 {
            s1 > d1
        } else {
            sport > dport
        };
        let pad = [0; 3];
        let key = if source_is_high {
            Self {
                low: dst,
                high: src,
                low_port: dport,
                high_port: sport,
                protocol,
                pad,
            }
        } else {
            Self {
                low: src,
                high: dst,
                low_port: sport,
                high_port: dport,
                protocol,
                pad,
            }
        };
        (key, source_is_high)
    }
}

/// What the kernel remembers of a flow.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct FlowEntry {
    /// Monotonic nanoseconds of the latest packet, up to [`FlowEntry::TOUCH_NS`] late.
    pub seen: u64,
    /// Generation of the policy that let the flow begin.
    pub generation: u32,
    /// The `FLAG_` bits below.
    pub flags: u32,
}

const _: () = assert!(size_of::<FlowEntry>() == 16);

impl FlowEntry {
    /// The flow was begun by the key's `high` end.
    pub const FLAG_HIGH_BEGAN: u32 = 1;
    /// The flow was begun from outside.
    pub const FLAG_INBOUND: u32 = 1 << 1;
    /// The other side has answered.
    pub const FLAG_REPLIED: u32 = 1 << 2;
    /// The initiator sent FIN.
    pub const FLAG_FIN_INITIATOR: u32 = 1 << 3;
    /// The responder sent FIN.
    pub const FLAG_FIN_RESPONDER: u32 = 1 << 4;
    /// Either side sent RST.
    pub const FLAG_RST: u32 = 1 << 5;
    /// The flow was let through because the daemon is gone.
    pub const FLAG_FAIL_OPEN: u32 = 1 << 6;
    /// The flow leads to the gateway itself, whose host decides about it.
    pub const FLAG_TO_GATEWAY: u32 = 1 << 7;

    /// A flow's `seen` is renewed at most this often, to keep its cache line shared: 1 s.
    pub const TOUCH_NS: u64 = 1_000_000_000;

    /// Silence after which a TCP flow that nobody answered is forgotten: 30 s.
    pub const TCP_EMBRYONIC_NS: u64 = 30_000_000_000;
    /// Silence after which an established TCP flow is forgotten: 2 h 4 min, the least that
    /// RFC 5382 section 5 allows.
    pub const TCP_ESTABLISHED_NS: u64 = 7_440_000_000_000;
    /// Silence after which a TCP flow is forgotten once both sides sent FIN: 10 s.
    ///
    /// Ended flows count towards their client's quota until then, so this is short.
    pub const TCP_CLOSING_NS: u64 = 10_000_000_000;
    /// Silence after which a TCP flow is forgotten once either side sent RST: 30 s, since the RST
    /// may be one that the other side has reason to ignore.
    pub const TCP_RESET_NS: u64 = 30_000_000_000;
    /// Silence after which a UDP flow that nobody answered is forgotten: 30 s.
    pub const UDP_EMBRYONIC_NS: u64 = 30_000_000_000;
    /// Silence after which an answered UDP flow is forgotten: 5 min, as RFC 4787 section 4.3
    /// recommends.
    pub const UDP_ESTABLISHED_NS: u64 = 300_000_000_000;
    /// Silence after which any other flow is forgotten: 60 s.
    pub const OTHER_NS: u64 = 60_000_000_000;

    /// Whether TCP has ended: FIN from both sides, or RST.
    #[inline(always)]
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.flags & Self::FLAG_RST != 0 || self.is_finished()
    }

    #[inline(always)]
    const fn is_finished(&self) -> bool {
        let fins = Self::FLAG_FIN_INITIATOR | Self::FLAG_FIN_RESPONDER;
        self.flags & fins == fins
    }

    /// How long the flow may be silent, in nanoseconds.
    #[inline(always)]
    #[must_use]
    pub const fn timeout(&self, protocol: u8) -> u64 {
        let replied = self.flags & Self::FLAG_REPLIED != 0;
        match protocol {
            6 if self.is_finished() => Self::TCP_CLOSING_NS,
            6 if self.is_closing() => Self::TCP_RESET_NS,
            6 if replied => Self::TCP_ESTABLISHED_NS,
            6 => Self::TCP_EMBRYONIC_NS,
            17 if replied => Self::UDP_ESTABLISHED_NS,
            17 => Self::UDP_EMBRYONIC_NS,
            _ => Self::OTHER_NS,
        }
    }

    /// Whether the flow has been silent for longer than it may.
    #[inline(always)]
    #[must_use]
    pub const fn is_expired(&self, protocol: u8, now: u64) -> bool {
        now > self.seen && now - self.seen > self.timeout(protocol)
    }
}

/// Which fragments belong together: RFC 791 section 3.2, RFC 8200 section 4.5.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct FragmentKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Identification, in network byte order; IPv4's 16 bits stand in the first two bytes.
    pub id: u32,
    /// Transport protocol for IPv4; zero for IPv6, where it is not part of the identity.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

/// The verdict that the first fragment got.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct FragmentEntry {
    /// Monotonic nanoseconds of the first fragment.
    pub seen: u64,
    /// Generation of the policy that judged it.
    pub generation: u32,
    /// 1: later fragments pass; 0: they are dropped.
    pub pass: u32,
}

impl FragmentEntry {
    /// How long later fragments are awaited: 30 s, Linux's `ipfrag_time`.
    pub const LIFETIME_NS: u64 = 30_000_000_000;
}

/// A token bucket.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Bucket {
    /// Monotonic nanoseconds up to which the bucket's tokens are spent.
    pub spent_until: u64,
}

impl Bucket {
    /// Takes one token at `now`, of a bucket that is refilled every `interval` nanoseconds and
    /// holds `burst` nanoseconds' worth; `false` when it is empty.
    #[inline(always)]
    #[must_use]
    pub const fn take(&mut self, now: u64, interval: u64, burst: u64) -> bool {
        let floor = now.saturating_sub(burst);
        let from = if self.spent_until > floor {
            self.spent_until
        } else {
            floor
        };
        let until = from.saturating_add(interval);
        if until > now {
            return false;
        }
        self.spent_until = until;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_have_one_key() {
        let a = Addr::from("192.0.2.1".parse::<IpAddr>().unwrap());
        let b = Addr::from("2001:db8::1".parse::<IpAddr>().unwrap());
        let (there, high_there) = FlowKey::new(a, b, 1, 2, 6);
        let (back, high_back) = FlowKey::new(b, a, 2, 1, 6);
        assert_eq!(there, back);
        assert_ne!(high_there, high_back);
    }

    #[test]
    fn an_address_survives_the_round_trip() {
        for text in ["203.0.113.9", "2001:db8:1:2:3:4:5:6", "::1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(Addr::from(ip).to_ip(), ip);
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let (interval, burst) = (10, 50);
        let mut bucket = Bucket::default();
        let given = (0..20)
            .filter(|_| bucket.take(1_000, interval, burst))
            .count();
        assert_eq!(given, 5);
        assert!(!bucket.take(1_009, interval, burst));
        assert!(bucket.take(1_010, interval, burst));
    }

    #[test]
    fn a_closing_flow_ages_faster() {
        let mut entry = FlowEntry {
            seen: 0,
            generation: 1,
            flags: FlowEntry::FLAG_REPLIED,
        };
        let minute = 60_000_000_000;
        assert!(!entry.is_expired(6, minute));
        entry.flags |= FlowEntry::FLAG_RST;
        assert!(entry.is_expired(6, minute));
    }
}
