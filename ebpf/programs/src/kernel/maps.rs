//! The maps, and nothing else. Names and sizes are those of `sluice_abi::map`, which the loader
//! checks them against.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, Queue, RingBuf, SockMap},
};
use sluice_abi::{
    Addr, CounterCell, FlowEntry, FlowKey, PolicyCell,
    flow::{Bucket, FragmentEntry, FragmentKey},
    map as spec,
    table::{Chunk, PrefixKey},
};
use sluice_programs::Packet;

#[map]
pub(crate) static ACTIVE: Array<u32> = Array::with_max_entries(spec::ACTIVE.max_entries, 0);
#[map]
pub(crate) static POLICY: Array<PolicyCell> = Array::with_max_entries(spec::POLICY.max_entries, 0);
#[map]
pub(crate) static CLIENTS: LpmTrie<PrefixKey, u32> =
    LpmTrie::with_max_entries(spec::CLIENTS.max_entries, 0);
#[map]
pub(crate) static REMOTES: LpmTrie<PrefixKey, u32> =
    LpmTrie::with_max_entries(spec::REMOTES.max_entries, 0);
#[map]
pub(crate) static MATRIX: Array<u32> = Array::with_max_entries(spec::MATRIX.max_entries, 0);
#[map]
pub(crate) static TABLES: Array<Chunk> = Array::with_max_entries(spec::TABLES.max_entries, 0);
#[map]
pub(crate) static STEERED: Array<u64> = Array::with_max_entries(spec::STEERED.max_entries, 0);
#[map]
pub(crate) static GATEWAY: HashMap<Addr, u32> =
    HashMap::with_max_entries(spec::GATEWAY.max_entries, 0);
#[map]
pub(crate) static LISTENERS: SockMap = SockMap::with_max_entries(spec::LISTENERS.max_entries, 0);
#[map]
pub(crate) static HEARTBEAT: Array<u64> = Array::with_max_entries(spec::HEARTBEAT.max_entries, 0);
#[map]
pub(crate) static EMBRYONIC: LruHashMap<FlowKey, FlowEntry> =
    LruHashMap::with_max_entries(spec::EMBRYONIC.max_entries, 0);
#[map]
pub(crate) static FLOWS: HashMap<FlowKey, FlowEntry> =
    HashMap::with_max_entries(spec::FLOWS.max_entries, 0);
#[map]
pub(crate) static FLOW_CLOCK: Queue<FlowKey> =
    Queue::with_max_entries(spec::FLOW_CLOCK.max_entries, 0);
#[map]
pub(crate) static CLIENT_FLOWS: LruHashMap<Addr, u32> =
    LruHashMap::with_max_entries(spec::CLIENT_FLOWS.max_entries, 0);
#[map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry> =
    LruHashMap::with_max_entries(spec::FRAGMENTS.max_entries, 0);
#[map]
pub(crate) static ICMP_BUCKETS: LruHashMap<Addr, Bucket> =
    LruHashMap::with_max_entries(spec::ICMP_BUCKETS.max_entries, 0);
#[map]
pub(crate) static REJECT_BUCKETS: LruHashMap<Addr, Bucket> =
    LruHashMap::with_max_entries(spec::REJECT_BUCKETS.max_entries, 0);
#[map]
pub(crate) static COUNTERS: PerCpuArray<CounterCell> =
    PerCpuArray::with_max_entries(spec::COUNTERS.max_entries, 0);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(spec::EVENTS.max_entries, 0);
#[map]
pub(crate) static EVENT_STATS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(spec::EVENT_STATS.max_entries, 0);
#[map]
pub(crate) static EVENT_BUCKET: PerCpuArray<Bucket> =
    PerCpuArray::with_max_entries(spec::EVENT_BUCKET.max_entries, 0);
/// The time of a replayed packet; read under REPLAY alone.
#[map]
pub(crate) static REPLAY_CLOCK: Array<u64> = Array::with_max_entries(1, 0);
/// The parsed packet of each hook; a packet does not fit the stack beside what judges it.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Packet> = PerCpuArray::with_max_entries(2, 0);
