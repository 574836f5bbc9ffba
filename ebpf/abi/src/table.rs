//! The packet-stage policy as the kernel reads it.
//!
//! A packet is judged by two classes and one byte: its client's address gives a client class, the
//! other address a remote class (both by longest prefix), the pair of classes and the direction
//! give a table, and the table has one [`Entry`] for every TCP port, UDP port and protocol.
//! Everything exists twice, in two slots: a generation is written into the idle slot and becomes
//! current by one store.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Addr, Reason, Verdict};

/// Slots that generations alternate between.
pub const SLOTS: u32 = 2;
/// Classes of clients, and of remotes; class 0 is whatever no prefix names.
pub const MAX_CLASSES: u32 = 64;
/// Tables of a generation; equal tables are stored once.
pub const MAX_TABLES: u32 = 64;
/// Entries of one map value.
pub const CHUNK: usize = 256;
/// Chunks of a table: 256 for TCP ports, 256 for UDP ports, one for protocols.
pub const CHUNKS: u32 = 513;
/// Prefixes of clients or of remotes in both slots together.
pub const MAX_PREFIXES: u32 = 262_144;

/// Which side begins the flow that is judged.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Direction {
    /// A client behind the LAN device.
    Out = 0,
    /// Somebody outside.
    In = 1,
}

/// A verdict and its reason in one byte: the verdict in the two top bits.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(transparent)]
pub struct Entry(pub u8);

impl Entry {
    /// Packs a verdict with a reason of the kernel range.
    #[must_use]
    pub const fn new(verdict: Verdict, reason: Reason) -> Self {
        assert!(reason.is_kernel(), "only the kernel's reasons fit an entry");
        Self((verdict as u8) << 6 | reason.code())
    }

    /// The verdict.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        Verdict::from_bits(self.0 >> 6)
    }

    /// The code of the reason.
    #[inline(always)]
    #[must_use]
    pub const fn reason_code(self) -> u8 {
        self.0 & 63
    }
}

/// One map value of a table.
pub type Chunk = [u8; CHUNK];

/// Index of the chunk that holds a TCP port of `table` in `slot`.
#[inline(always)]
#[must_use]
pub const fn tcp_chunk(slot: u32, table: u32, port: u16) -> u32 {
    table_base(slot, table) + (port >> 8) as u32
}

/// Index of the chunk that holds a UDP port of `table` in `slot`.
#[inline(always)]
#[must_use]
pub const fn udp_chunk(slot: u32, table: u32, port: u16) -> u32 {
    table_base(slot, table) + 256 + (port >> 8) as u32
}

/// Index of the chunk that holds the protocols of `table` in `slot`.
#[inline(always)]
#[must_use]
pub const fn protocol_chunk(slot: u32, table: u32) -> u32 {
    table_base(slot, table) + 512
}

#[inline(always)]
const fn table_base(slot: u32, table: u32) -> u32 {
    (slot * MAX_TABLES + table) * CHUNKS
}

/// Index of the matrix cell that names the table of two classes.
#[inline(always)]
#[must_use]
pub const fn matrix_index(slot: u32, direction: u8, client: u32, remote: u32) -> u32 {
    ((slot * 2 + direction as u32) * MAX_CLASSES + client) * MAX_CLASSES + remote
}

/// Key of the two prefix tries, behind the trie's own prefix length.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct PrefixKey {
    /// The slot; always part of the prefix.
    pub slot: u32,
    /// The address.
    pub addr: Addr,
}

impl PrefixKey {
    /// Bits of the slot, to be added to the prefix length of the address; an IPv4 prefix counts
    /// 96 bits more.
    pub const SLOT_BITS: u32 = 32;
    /// The prefix length that a lookup uses.
    pub const FULL_BITS: u32 = 160;
}

/// Everything of a generation that is not per port or per address.
#[derive(
    Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq,
)]
#[repr(C)]
pub struct PolicyCell {
    /// Number of the policy; 0: no policy, everything is dropped.
    pub generation: u32,
    /// The `FLAG_` bits below.
    pub flags: u32,
    /// Bits of the mark that sluice owns.
    pub mark_mask: u32,
    /// Mark of a steered packet.
    pub mark_steer: u32,
    /// Mark of sluice's own packets.
    pub mark_own: u32,
    /// Established flows that one client may have.
    pub flow_limit_per_client: u32,
    /// Established flows in all.
    pub flow_limit: u32,
    /// Zero.
    pub pad0: u32,
    /// Nanoseconds between two ICMP tokens of a client.
    pub icmp_interval: u64,
    /// Nanoseconds after which a heartbeat is stale.
    pub heartbeat_ns: u64,
    /// Port of the transparent listener, in network byte order.
    pub listener_port: u16,
    /// Verdict of a datagram on UDP 443 that is not QUIC.
    pub native_udp: Entry,
    /// Zero.
    pub pad1: u8,
    /// Zero.
    pub pad2: u32,
}

const _: () = assert!(size_of::<PolicyCell>() == 56);

impl PolicyCell {
    /// There are client prefixes; without it every client is of class 0.
    pub const FLAG_CLIENT_CLASSES: u32 = 1;
    /// There are remote prefixes; without it every remote is of class 0.
    pub const FLAG_REMOTE_CLASSES: u32 = 1 << 1;
    /// TCP packets of no known flow are judged like a SYN.
    pub const FLAG_MIDSTREAM_PASS: u32 = 1 << 2;
    /// Without a daemon steered flows are forwarded.
    pub const FLAG_FAIL_OPEN: u32 = 1 << 3;
}
