//! The environment in maps.
#![expect(
    unsafe_code,
    reason = "map values are shared with other CPUs and the daemon"
)]

use core::ptr;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::generated::bpf_ktime_get_coarse_ns,
    maps::{LpmTrie, LruHashMap, lpm_trie::Key},
};
use sluice_abi::{
    Addr, Entry, FlowEntry, FlowKey, PolicyCell,
    flow::{Bucket, FragmentEntry, FragmentKey},
    table::{MAX_CLASSES, MAX_TABLES, PrefixKey},
};
use sluice_programs::{Env, FlowCell, Policy};

use super::maps;

/// Packets that a full ICMP bucket holds.
const ICMP_BURST: u64 = 50;
/// Answers to rejected packets that one client gets: one each 10 ms, 100 at once.
const REJECT_INTERVAL: u64 = 10_000_000;
const REJECT_BURST: u64 = 1_000_000_000;

/// Maps and clock.
pub(crate) struct Kernel {
    replaying: bool,
}

/// A flow in a map value.
pub(crate) struct MapFlow(*mut FlowEntry);

impl FlowCell for MapFlow {
    #[inline(always)]
    fn get(&self) -> FlowEntry {
        // SAFETY: a map value lives until the program ends; a torn read mixes two valid states.
        unsafe { ptr::read(self.0) }
    }

    #[inline(always)]
    fn set(&self, entry: FlowEntry) {
        // SAFETY: as for `get`.
        unsafe { ptr::write(self.0, entry) };
    }
}

impl Kernel {
    /// The environment of one packet.
    #[inline(always)]
    pub(crate) const fn new(replaying: bool) -> Self {
        Self { replaying }
    }

    /// Monotonic nanoseconds, to a tick; asked for only where a judgement needs them.
    #[inline(always)]
    fn clock(&self) -> u64 {
        if self.replaying {
            maps::REPLAY_CLOCK.get(0).copied().unwrap_or(0)
        } else {
            // SAFETY: the helper has no arguments.
            unsafe { bpf_ktime_get_coarse_ns() }
        }
    }

    /// Whether the daemon gave a sign of life lately.
    #[inline(always)]
    pub(crate) fn daemon_lives(&self, policy: Policy<'_>) -> bool {
        let beat = maps::HEARTBEAT.get(0).copied().unwrap_or(0);
        beat != 0 && self.clock().saturating_sub(beat) < policy.cell.heartbeat_ns
    }

    /// Takes a token of a client's bucket of answers.
    #[inline(always)]
    pub(crate) fn take_reject(&self, addr: &Addr) -> bool {
        self.take(&maps::REJECT_BUCKETS, addr, REJECT_INTERVAL, REJECT_BURST)
    }

    #[inline(always)]
    fn take(&self, map: &LruHashMap<Addr, Bucket>, addr: &Addr, interval: u64, burst: u64) -> bool {
        if let Some(bucket) = map.get_ptr_mut(addr) {
            // SAFETY: as for `MapFlow::get`; two CPUs at once may spend one token.
            let mut state = unsafe { ptr::read(bucket) };
            let taken = state.take(self.clock(), interval, burst);
            // SAFETY: as above.
            unsafe { ptr::write(bucket, state) };
            return taken;
        }
        let mut fresh = Bucket::default();
        let taken = fresh.take(self.clock(), interval, burst);
        map.insert(addr, &fresh, u64::from(BPF_ANY)).is_ok() && taken
    }

    #[inline(always)]
    fn class(map: &LpmTrie<PrefixKey, u32>, slot: u32, addr: &Addr) -> u32 {
        let key = Key::new(PrefixKey::FULL_BITS, PrefixKey { slot, addr: *addr });
        let class = map.get(&key).copied().unwrap_or(0);
        if class < MAX_CLASSES { class } else { 0 }
    }
}

impl Env for Kernel {
    type Flow<'a> = MapFlow;

    #[inline(always)]
    fn now(&self) -> u64 {
        self.clock()
    }

    #[inline(always)]
    fn policy(&self) -> Option<Policy<'_>> {
        let slot = *maps::ACTIVE.get(1)? & 1;
        let cell: &PolicyCell = maps::POLICY.get(slot)?;
        (cell.generation != 0).then_some(Policy { slot, cell })
    }

    #[inline(always)]
    fn gateway(&self, addr: &Addr) -> u32 {
        // SAFETY: the value is copied at once, and is one aligned word.
        unsafe { maps::GATEWAY.get(addr) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn client_class(&self, slot: u32, addr: &Addr) -> u32 {
        Self::class(&maps::CLIENTS, slot, addr)
    }

    #[inline(always)]
    fn remote_class(&self, slot: u32, addr: &Addr) -> u32 {
        Self::class(&maps::REMOTES, slot, addr)
    }

    #[inline(always)]
    fn table(&self, index: u32) -> u32 {
        let table = maps::MATRIX.get(index).copied().unwrap_or(0);
        if table < MAX_TABLES { table } else { 0 }
    }

    #[inline(always)]
    fn entry(&self, chunk: u32, low: u8) -> Entry {
        let closed = Entry(1 << 6);
        let Some(chunk) = maps::TABLES.get(chunk) else {
            return closed;
        };
        chunk
            .get(usize::from(low))
            .map_or(closed, |byte| Entry(*byte))
    }

    #[inline(always)]
    fn steers(&self, slot: u32, port: u16) -> bool {
        let word = maps::STEERED
            .get(slot * 1024 + u32::from(port >> 6))
            .copied()
            .unwrap_or(0);
        word >> (port & 63) & 1 != 0
    }

    #[inline(always)]
    fn established(&self, key: &FlowKey) -> Option<MapFlow> {
        maps::FLOWS.get_ptr_mut(key).map(MapFlow)
    }

    #[inline(always)]
    fn embryonic(&self, key: &FlowKey) -> Option<MapFlow> {
        maps::EMBRYONIC.get_ptr_mut(key).map(MapFlow)
    }

    #[inline(always)]
    fn begin(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        maps::EMBRYONIC
            .insert(key, entry, u64::from(BPF_ANY))
            .is_ok()
    }

    #[inline(always)]
    fn establish(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        maps::FLOWS.insert(key, entry, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn forget_embryonic(&self, key: &FlowKey) {
        // An entry that is gone already is what is wanted.
        let _ = maps::EMBRYONIC.remove(key);
    }

    #[inline(always)]
    fn forget_established(&self, key: &FlowKey) -> bool {
        maps::FLOWS.remove(key).is_ok()
    }

    #[inline(always)]
    fn count_client(&self, addr: &Addr, up: bool) -> u32 {
        if let Some(count) = maps::CLIENT_FLOWS.get_ptr_mut(addr) {
            // SAFETY: as for `MapFlow::get`; a lost update is a quota that is one off.
            let before = unsafe { ptr::read_volatile(count) };
            let after = if up {
                before.saturating_add(1)
            } else {
                before.saturating_sub(1)
            };
            // SAFETY: as above.
            unsafe { ptr::write_volatile(count, after) };
            return after;
        }
        let first = u32::from(up);
        // Without room for the count the client is counted from its next flow on.
        let _ = maps::CLIENT_FLOWS.insert(addr, &first, u64::from(BPF_ANY));
        first
    }

    #[inline(always)]
    fn clock_pop(&self) -> Option<FlowKey> {
        maps::FLOW_CLOCK.pop().ok().flatten()
    }

    #[inline(always)]
    fn clock_push(&self, key: &FlowKey) -> bool {
        maps::FLOW_CLOCK.push(key, u64::from(BPF_ANY)).is_ok()
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        // SAFETY: the value is copied at once; a torn read mixes two first fragments' verdicts of
        // one identification, and either drops when they differ in generation.
        unsafe { maps::FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, entry: &FragmentEntry) {
        // A fragment that could not be remembered is not known, and its followers are dropped.
        let _ = maps::FRAGMENTS.insert(key, entry, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn take_icmp(&self, addr: &Addr, interval: u64) -> bool {
        self.take(
            &maps::ICMP_BUCKETS,
            addr,
            interval,
            interval.wrapping_mul(ICMP_BURST),
        )
    }
}
