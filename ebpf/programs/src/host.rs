//! The environment in plain memory, for tests and for frames that the kernel cannot be given.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use sluice_abi::{
    Addr, Entry, FlowEntry, FlowKey, PolicyCell,
    flow::{Bucket, FragmentEntry, FragmentKey},
    table::CHUNK,
};

use crate::env::{Env, FlowCell, Policy};

/// Maps and clock in plain memory; fields are public so that a test can set the stage.
#[derive(Default)]
pub struct Host {
    /// Monotonic nanoseconds.
    pub clock: Cell<u64>,
    /// The current generation, slot 0.
    pub cell: Option<PolicyCell>,
    /// Own addresses of the gateway.
    pub gateway: HashMap<Addr, u32>,
    /// Client addresses with their class.
    pub clients: HashMap<Addr, u32>,
    /// Remote addresses with their class.
    pub remotes: HashMap<Addr, u32>,
    /// Matrix cells that are not zero.
    pub matrix: HashMap<u32, u32>,
    /// Table chunks; a missing one drops.
    pub chunks: HashMap<u32, [Entry; CHUNK]>,
    /// Steered TCP ports.
    pub steered: Vec<u16>,
    /// How many established flows there is room for.
    pub room: usize,
    /// Established flows.
    pub flows: RefCell<HashMap<FlowKey, Rc<Cell<FlowEntry>>>>,
    /// Flows that nobody has answered.
    pub embryonic: RefCell<HashMap<FlowKey, Rc<Cell<FlowEntry>>>>,
    /// The clock of keys.
    pub clock_keys: RefCell<VecDeque<FlowKey>>,
    /// Established flows per client.
    pub counts: RefCell<HashMap<Addr, u32>>,
    /// First fragments.
    pub fragments: RefCell<HashMap<FragmentKey, FragmentEntry>>,
    /// ICMP buckets.
    pub icmp: RefCell<HashMap<Addr, Bucket>>,
}

/// A flow of [`Host`].
pub struct HostFlow(Rc<Cell<FlowEntry>>);

impl FlowCell for HostFlow {
    fn get(&self) -> FlowEntry {
        self.0.get()
    }

    fn set(&self, entry: FlowEntry) {
        self.0.set(entry);
    }
}

impl Env for Host {
    type Flow<'a> = HostFlow;

    fn now(&self) -> u64 {
        self.clock.get()
    }

    fn policy(&self) -> Option<Policy<'_>> {
        self.cell.as_ref().map(|cell| Policy { slot: 0, cell })
    }

    fn gateway(&self, addr: &Addr) -> u32 {
        self.gateway.get(addr).copied().unwrap_or(0)
    }

    fn client_class(&self, _slot: u32, addr: &Addr) -> u32 {
        self.clients.get(addr).copied().unwrap_or(0)
    }

    fn remote_class(&self, _slot: u32, addr: &Addr) -> u32 {
        self.remotes.get(addr).copied().unwrap_or(0)
    }

    fn table(&self, index: u32) -> u32 {
        self.matrix.get(&index).copied().unwrap_or(0)
    }

    fn entry(&self, chunk: u32, low: u8) -> Entry {
        let entry = self
            .chunks
            .get(&chunk)
            .and_then(|chunk| chunk.get(usize::from(low)));
        entry.copied().unwrap_or(Entry(1 << 6))
    }

    fn steers(&self, _slot: u32, port: u16) -> bool {
        self.steered.contains(&port)
    }

    fn established(&self, key: &FlowKey) -> Option<HostFlow> {
        self.flows.borrow().get(key).cloned().map(HostFlow)
    }

    fn embryonic(&self, key: &FlowKey) -> Option<HostFlow> {
        self.embryonic.borrow().get(key).cloned().map(HostFlow)
    }

    fn begin(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        self.embryonic
            .borrow_mut()
            .insert(*key, Rc::new(Cell::new(*entry)));
        true
    }

    fn establish(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        let mut flows = self.flows.borrow_mut();
        if flows.len() >= self.room && !flows.contains_key(key) {
            return false;
        }
        flows.insert(*key, Rc::new(Cell::new(*entry)));
        true
    }

    fn forget_embryonic(&self, key: &FlowKey) {
        self.embryonic.borrow_mut().remove(key);
    }

    fn forget_established(&self, key: &FlowKey) -> bool {
        self.flows.borrow_mut().remove(key).is_some()
    }

    fn count_client(&self, addr: &Addr, up: bool) -> u32 {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry(*addr).or_default();
        *count = if up {
            count.saturating_add(1)
        } else {
            count.saturating_sub(1)
        };
        *count
    }

    fn clock_pop(&self) -> Option<FlowKey> {
        self.clock_keys.borrow_mut().pop_front()
    }

    fn clock_push(&self, key: &FlowKey) -> bool {
        self.clock_keys.borrow_mut().push_back(*key);
        true
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, entry: &FragmentEntry) {
        self.fragments.borrow_mut().insert(*key, *entry);
    }

    fn take_icmp(&self, addr: &Addr, interval: u64) -> bool {
        let burst = interval.saturating_mul(u64::from(ICMP_BURST));
        self.icmp
            .borrow_mut()
            .entry(*addr)
            .or_default()
            .take(self.now(), interval, burst)
    }
}

/// Packets that a full ICMP bucket holds.
pub const ICMP_BURST: u32 = 50;
