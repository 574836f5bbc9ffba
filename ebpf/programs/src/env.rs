//! What a judgement reads and remembers besides the packet.

use sluice_abi::{
    Addr, Entry, FlowEntry, FlowKey, PolicyCell,
    flow::{FragmentEntry, FragmentKey},
};

/// The current generation.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// The slot that everything of this packet is read from.
    pub slot: u32,
    /// Its settings.
    pub cell: &'a PolicyCell,
}

/// A remembered flow, in place.
pub trait FlowCell {
    /// Its state.
    fn get(&self) -> FlowEntry;
    /// Replaces its state; another CPU may do the same at the same time and one of them wins.
    fn set(&self, entry: FlowEntry);
}

/// Maps and clock: the kernel's, or plain memory on the host.
pub trait Env {
    /// A flow in place.
    type Flow<'a>: FlowCell
    where
        Self: 'a;

    /// Monotonic nanoseconds.
    fn now(&self) -> u64;
    /// The current generation; `None` before the first.
    fn policy(&self) -> Option<Policy<'_>>;
    /// 1: an own address of the gateway, 2: a broadcast address of its links, 0: neither.
    fn gateway(&self, addr: &Addr) -> u32;
    /// Class of a client.
    fn client_class(&self, slot: u32, addr: &Addr) -> u32;
    /// Class of a remote.
    fn remote_class(&self, slot: u32, addr: &Addr) -> u32;
    /// The number that stands in a cell of the matrix.
    fn table(&self, index: u32) -> u32;
    /// An entry of a table.
    fn entry(&self, chunk: u32, low: u8) -> Entry;
    /// Whether any table of the slot steers this TCP port (host order).
    fn steers(&self, slot: u32, port: u16) -> bool;
    /// An established flow.
    fn established(&self, key: &FlowKey) -> Option<Self::Flow<'_>>;
    /// A flow that nobody has answered.
    fn embryonic(&self, key: &FlowKey) -> Option<Self::Flow<'_>>;
    /// Remembers a flow that nobody has answered, at the cost of the oldest such flow.
    fn begin(&self, key: &FlowKey, entry: &FlowEntry) -> bool;
    /// Moves a flow among the established; `false` when there is no room.
    fn establish(&self, key: &FlowKey, entry: &FlowEntry) -> bool;
    /// Forgets a flow that nobody has answered.
    fn forget_embryonic(&self, key: &FlowKey);
    /// Forgets an established flow; `false` when it was not there.
    fn forget_established(&self, key: &FlowKey) -> bool;
    /// Counts a client's established flows; gives the number after the change.
    fn count_client(&self, addr: &Addr, up: bool) -> u32;
    /// The key that the clock's hand has waited for longest.
    fn clock_pop(&self) -> Option<FlowKey>;
    /// Puts a key behind the clock's hand.
    fn clock_push(&self, key: &FlowKey) -> bool;
    /// The verdict of a datagram's first fragment.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry>;
    /// Remembers the verdict of a datagram's first fragment.
    fn remember_fragment(&self, key: &FragmentKey, entry: &FragmentEntry);
    /// Takes a token of a client's ICMP bucket, refilled every `interval` nanoseconds.
    fn take_icmp(&self, addr: &Addr, interval: u64) -> bool;
}
