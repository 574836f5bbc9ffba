//! Names, pins and sizes of the maps; the loader checks pinned ones against this list.

/// A map that the programs share with the daemon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MapSpec {
    /// Name in the object and under the pin directory.
    pub name: &'static str,
    /// The kernel's `bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries; for the ring buffer its bytes.
    pub max_entries: u32,
}

use crate::{event, flow, table};

macro_rules! specs {
    ($($(#[doc = $doc:literal])+ $constant:ident, $kind:literal, $key:expr, $value:expr, $max:expr;)+) => {
        $($(#[doc = $doc])+ pub const $constant: MapSpec = MapSpec {
            name: stringify!($constant),
            map_type: $kind,
            key_size: $key as u32,
            value_size: $value as u32,
            max_entries: $max as u32,
        };)+

        /// Every pinned map.
        pub const ALL: &[MapSpec] = &[$($constant,)+];
    };
}

specs! {
    /// Cell 0: [`ABI_VERSION`](crate::ABI_VERSION); cell 1: the slot of the current generation.
    ACTIVE, 2, 4, 4, 2;
    /// The [`PolicyCell`](crate::PolicyCell) of each slot.
    POLICY, 2, 4, size_of::<table::PolicyCell>(), table::SLOTS;
    /// Client prefixes to client classes.
    CLIENTS, 11, 4 + size_of::<table::PrefixKey>(), 4, table::MAX_PREFIXES;
    /// Remote prefixes to remote classes.
    REMOTES, 11, 4 + size_of::<table::PrefixKey>(), 4, table::MAX_PREFIXES;
    /// Direction and two classes to a table.
    MATRIX, 2, 4, 4, table::SLOTS * 2 * table::MAX_CLASSES * table::MAX_CLASSES;
    /// The tables' [`Entry`](crate::Entry) bytes.
    TABLES, 2, 4, table::CHUNK, table::SLOTS * table::MAX_TABLES * table::CHUNKS;
    /// One bit for each TCP port that any table of the slot steers, 64 a value.
    STEERED, 2, 4, 8, table::SLOTS * 1024;
    /// The gateway's own addresses; value 1: unicast, 2: broadcast.
    GATEWAY, 1, size_of::<flow::Addr>(), 4, 4096;
    /// The transparent listeners: 0 for IPv4, 1 for IPv6.
    LISTENERS, 15, 4, 4, 2;
    /// Cell 0: monotonic nanoseconds of the daemon's latest sign of life; 0: none.
    HEARTBEAT, 2, 4, 8, 1;
    /// Flows that nobody has answered.
    EMBRYONIC, 9, size_of::<flow::FlowKey>(), size_of::<flow::FlowEntry>(), 65_536;
    /// Established flows.
    FLOWS, 1, size_of::<flow::FlowKey>(), size_of::<flow::FlowEntry>(), 262_144;
    /// The hand of the clock that finds expired flows: keys in the order of their last visit.
    FLOW_CLOCK, 22, 0, size_of::<flow::FlowKey>(), 524_288;
    /// How many established flows each client has.
    CLIENT_FLOWS, 9, size_of::<flow::Addr>(), 4, 65_536;
    /// Verdicts of first fragments.
    FRAGMENTS, 9, size_of::<flow::FragmentKey>(), size_of::<flow::FragmentEntry>(), 16_384;
    /// Token buckets of ICMP per client.
    ICMP_BUCKETS, 9, size_of::<flow::Addr>(), size_of::<flow::Bucket>(), 65_536;
    /// Token buckets of answers to rejected packets per client.
    REJECT_BUCKETS, 9, size_of::<flow::Addr>(), size_of::<flow::Bucket>(), 65_536;
    /// Counters by [`counter_index`](event::counter_index).
    COUNTERS, 6, 4, size_of::<event::CounterCell>(), event::COUNTERS;
    /// Sampled [`Event`](crate::Event)s.
    EVENTS, 27, 0, 0, 1 << 20;
    /// Rows of [`EventStat`](event::EventStat).
    EVENT_STATS, 6, 4, 8, event::EventStat::COUNT;
    /// Token bucket of events, one per CPU.
    EVENT_BUCKET, 6, 4, size_of::<flow::Bucket>(), 1;
}
