//! What the kernel programs report: counters and sampled events.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Addr;

/// Where a packet was judged.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Hook {
    /// From the LAN into the gateway.
    LanIngress = 0,
    /// From the gateway to the LAN.
    LanEgress = 1,
}

impl Hook {
    /// Both hooks.
    pub const ALL: [Self; 2] = [Self::LanIngress, Self::LanEgress];

    /// The word used in logs and metrics, and the name of the program.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LanIngress => "lan_ingress",
            Self::LanEgress => "lan_egress",
        }
    }
}

/// One per-CPU counter, by `{hook, reason, verdict}`.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct CounterCell {
    /// Packets; a segment that the device or GRO joined counts once.
    pub packets: u64,
    /// Bytes from the network header on.
    pub bytes: u64,
}

/// Index of a counter: four verdicts for each of 64 reasons for each of two hooks.
#[inline(always)]
#[must_use]
pub const fn counter_index(hook: u8, verdict: u8, reason: u8) -> u32 {
    ((hook & 1) as u32) << 8 | ((verdict & 3) as u32) << 6 | (reason & 63) as u32
}

/// How many counters there are.
pub const COUNTERS: u32 = 512;

/// A sampled verdict.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct Event {
    /// Monotonic nanoseconds.
    pub time: u64,
    /// Bytes of the packet from the network header on.
    pub length: u32,
    /// Index of the LAN device.
    pub ifindex: u32,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port in network byte order.
    pub sport: u16,
    /// Destination port in network byte order.
    pub dport: u16,
    /// Transport protocol number.
    pub protocol: u8,
    /// A [`Hook`].
    pub hook: u8,
    /// A [`Verdict`](crate::Verdict).
    pub verdict: u8,
    /// A [`Reason`](crate::Reason).
    pub reason: u8,
}

const _: () = assert!(size_of::<Event>() == 56);

/// Rows of the per-CPU event statistics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum EventStat {
    /// Events put into the ring.
    Sent = 0,
    /// Events that sampling left out.
    Sampled = 1,
    /// Events that found the ring full.
    Lost = 2,
}

impl EventStat {
    /// How many rows there are.
    pub const COUNT: u32 = 3;
}

/// What a program leaves in `skb->cb[0]` under REPLAY: a magic byte, the verdict, the reason.
#[inline(always)]
#[must_use]
pub const fn replay_word(verdict: u8, reason: u8) -> u32 {
    0x5100_0000 | (verdict as u32) << 8 | reason as u32
}
