//! Which networks an address is in: one walk down a trie, however many there are.
//!
//! Every address has one set of marks, those of all networks that cover it. The trie has a fan-out
//! of 64; a node says in two bit maps which children are nodes and where a run of equal sets
//! begins, so that it needs memory only where sets change (Asai and Ohara, Poptrie, SIGCOMM 2015).

use std::net::IpAddr;

use crate::{
    domains::{Sets, SetsBuilder},
    net::Net,
};

/// Bits that one node looks at.
const STRIDE: u32 = 6;

/// Bits that the root of a large trie looks at.
const ROOT_BITS: u32 = 16;

/// From so many changes of sets on a trie is large.
const LARGE: usize = 1024;

/// In the root: the rest is a set and not a node.
const LEAF: u32 = 1 << 31;

/// The sets of marks of all addresses.
#[derive(Clone, Debug)]
pub(crate) struct AddressTable {
    v4: Trie,
    v6: Trie,
    sets: Sets,
}

impl AddressTable {
    /// Builds the table from networks and the mark of each.
    pub(crate) fn new(mut marked: Vec<(Net, u32)>) -> Self {
        // In this order a network comes after every network that covers it.
        marked.sort_unstable();
        let mut sets = SetsBuilder::default();
        let middle = marked.partition_point(|(net, _)| net.address().is_ipv4());
        let (v4, v6) = marked.split_at_checked(middle).unwrap_or_default();
        Self {
            v4: Trie::new(&changes(v4, &mut sets)),
            v6: Trie::new(&changes(v6, &mut sets)),
            sets: sets.finish(),
        }
    }

    /// The set of an address; an IPv4 address in IPv6 form counts as IPv4.
    #[inline]
    pub(crate) fn set(&self, address: IpAddr) -> u32 {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.get(u128::from(v4.to_bits()) << 96),
            IpAddr::V6(v6) => self.v6.get(v6.to_bits()),
        }
    }

    /// The marks of a set.
    #[inline]
    pub(crate) fn marks(&self, set: u32) -> &[u32] {
        self.sets.get(set)
    }

    /// How many sets there are.
    pub(crate) fn sets(&self) -> usize {
        self.sets.len()
    }
}

/// From each address on, left aligned, the set that holds.
type Changes = Vec<(u128, u32)>;

fn changes(marked: &[(Net, u32)], sets: &mut SetsBuilder) -> Changes {
    let mut changes = vec![(0, Sets::EMPTY)];
    let mut set_from = |start: u128, set: u32| match changes.last_mut() {
        Some(last) if last.0 == start => last.1 = set,
        Some(last) if last.1 == set => {}
        _ => changes.push((start, set)),
    };
    // The networks that cover the place that was reached, with the set of each.
    let mut covering = Vec::<(Net, u32)>::new();
    for &(net, mark) in marked {
        while covering.last().is_some_and(|(outer, _)| !outer.covers(net)) {
            leave(&mut covering, &mut set_from);
        }
        let outer = covering.last().map_or(Sets::EMPTY, |&(_, set)| set);
        let set = sets.with(outer, mark);
        set_from(bounds(net).0, set);
        covering.push((net, set));
    }
    while !covering.is_empty() {
        leave(&mut covering, &mut set_from);
    }
    changes
}

fn leave(covering: &mut Vec<(Net, u32)>, set_from: &mut impl FnMut(u128, u32)) {
    let Some((inner, _)) = covering.pop() else {
        return;
    };
    if let Some(after) = bounds(inner).1.checked_add(1) {
        set_from(after, covering.last().map_or(Sets::EMPTY, |&(_, set)| set));
    }
}

/// The first and the last address of a network, left aligned.
fn bounds(net: Net) -> (u128, u128) {
    let first = match net.address() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let rest = u128::MAX.checked_shr(net.bits().into()).unwrap_or(0);
    (first, first | rest)
}

#[derive(Clone, Debug)]
struct Trie {
    root_bits: u32,
    root: Box<[u32]>,
    nodes: Box<[Node]>,
    leaves: Box<[u32]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Which children are nodes.
    inner: u64,
    /// Which children that are none begin a run of equal sets.
    runs: u64,
    first_node: u32,
    first_leaf: u32,
}

impl Trie {
    fn new(changes: &[(u128, u32)]) -> Self {
        let root_bits = if changes.len() > LARGE { ROOT_BITS } else { 0 };
        let mut builder = TrieBuilder {
            changes,
            nodes: Vec::new(),
            leaves: Vec::new(),
        };
        let mut root = Vec::with_capacity(1 << root_bits);
        let mut waiting = Vec::new();
        for index in 0..1u128 << root_bits {
            let start = index.checked_shl(128 - root_bits).unwrap_or(0);
            root.push(match builder.single(start, root_bits) {
                Some(set) => set | LEAF,
                None => {
                    let node = builder.nodes.len();
                    builder.nodes.push(Node::default());
                    waiting.push((node, start, root_bits));
                    u32::try_from(node).unwrap_or(0)
                }
            });
        }
        while let Some((node, start, depth)) = waiting.pop() {
            builder.fill(node, start, depth, &mut waiting);
        }
        Self {
            root_bits,
            root: root.into_boxed_slice(),
            nodes: builder.nodes.into_boxed_slice(),
            leaves: builder.leaves.into_boxed_slice(),
        }
    }

    #[inline]
    fn get(&self, key: u128) -> u32 {
        let first = key.checked_shr(128 - self.root_bits).unwrap_or(0) as usize;
        let mut at = self.root.get(first).copied().unwrap_or(LEAF);
        if at & LEAF != 0 {
            return at & !LEAF;
        }
        let mut depth = self.root_bits;
        loop {
            let Some(node) = self.nodes.get(at as usize) else {
                return Sets::EMPTY;
            };
            let child = child_of(key, depth);
            let upto = (2u64 << child).wrapping_sub(1);
            if node.inner >> child & 1 != 0 {
                at = node.first_node + (node.inner & upto).count_ones() - 1;
                depth += STRIDE;
            } else {
                let run = (node.runs & upto).count_ones();
                let leaf = (node.first_leaf + run).wrapping_sub(1);
                return self
                    .leaves
                    .get(leaf as usize)
                    .copied()
                    .unwrap_or(Sets::EMPTY);
            }
        }
    }
}

/// The child that a key goes to; beyond the key's end its bits count as 0.
#[inline]
const fn child_of(key: u128, depth: u32) -> u32 {
    (key << depth >> (128 - STRIDE)) as u32
}

struct TrieBuilder<'c> {
    changes: &'c [(u128, u32)],
    nodes: Vec<Node>,
    leaves: Vec<u32>,
}

impl TrieBuilder<'_> {
    /// The set of all addresses that agree with `start` in so many bits, where they have only one.
    fn single(&self, start: u128, bits: u32) -> Option<u32> {
        let last = start | u128::MAX.checked_shr(bits).unwrap_or(0);
        let after = self.changes.partition_point(|&(from, _)| from <= start);
        let (_, set) = *self.changes.get(after.checked_sub(1)?)?;
        let next = self.changes.get(after);
        next.is_none_or(|&(from, _)| from > last).then_some(set)
    }

    fn fill(
        &mut self,
        node: usize,
        start: u128,
        depth: u32,
        waiting: &mut Vec<(usize, u128, u32)>,
    ) {
        let mut filled = Node {
            first_node: u32::try_from(self.nodes.len()).unwrap_or(u32::MAX),
            first_leaf: u32::try_from(self.leaves.len()).unwrap_or(u32::MAX),
            ..Node::default()
        };
        let below = depth + STRIDE;
        let mut running = None;
        for child in 0..1u128 << STRIDE {
            // In the last node of a path the children are more than addresses are left.
            let offset = if below <= 128 {
                child << (128 - below)
            } else {
                child >> (below - 128)
            };
            match self.single(start | offset, below.min(128)) {
                Some(set) => {
                    if running != Some(set) {
                        filled.runs |= 1 << child;
                        self.leaves.push(set);
                        running = Some(set);
                    }
                }
                None => {
                    filled.inner |= 1 << child;
                    waiting.push((self.nodes.len(), start | offset, below));
                    self.nodes.push(Node::default());
                }
            }
        }
        if let Some(slot) = self.nodes.get_mut(node) {
            *slot = filled;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(marked: &[(Net, u32)], address: IpAddr) -> Vec<u32> {
        let mut marks: Vec<u32> = marked
            .iter()
            .filter_map(|&(net, mark)| net.contains(address).then_some(mark))
            .collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    fn net() -> impl Strategy<Value = Net> {
        let v4 = (any::<u32>(), 0u8..=32).prop_map(|(bits, length)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Net::new(IpAddr::V4((bits & 0xc000_03ff & mask).into()), length).unwrap()
        });
        let v6 = (any::<u128>(), 0u8..=128).prop_map(|(bits, length)| {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            let bits = bits & (0xff << 120 | 0xff) & mask;
            Net::new(IpAddr::V6(bits.into()), length).unwrap()
        });
        prop_oneof![v4, v6]
    }

    fn check(marked: &[(Net, u32)], table: &AddressTable, address: IpAddr) {
        assert_eq!(
            table.marks(table.set(address)),
            plain(marked, address),
            "{address}"
        );
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_its_networks(
            nets in proptest::collection::vec((net(), 0u32..5), 0..60),
            more in proptest::collection::vec(net(), 20),
        ) {
            let table = AddressTable::new(nets.clone());
            for net in nets.iter().map(|&(net, _)| net).chain(more) {
                let (first, last) = bounds(net);
                for bits in [first, last, last.wrapping_add(1), first.wrapping_sub(1)] {
                    let address = match net.address() {
                        IpAddr::V4(_) => IpAddr::V4(((bits >> 96) as u32).into()),
                        IpAddr::V6(_) => IpAddr::V6(bits.into()),
                    };
                    check(&nets, &table, address);
                }
            }
        }
    }

    #[test]
    fn a_large_trie_has_a_root_that_looks_at_more() {
        let nets: Vec<(Net, u32)> = (0..4000u32)
            .map(|at| {
                let bits = at.wrapping_mul(0x9e37_79b9) & 0xffff_ff00;
                (Net::new(IpAddr::V4(bits.into()), 24).unwrap(), at % 3)
            })
            .collect();
        let table = AddressTable::new(nets.clone());
        assert_eq!(table.v4.root.len(), 1 << ROOT_BITS);
        for &(net, _) in nets.iter().step_by(37) {
            let after = (bounds(net).1 >> 96) as u32;
            check(&nets, &table, net.address());
            check(&nets, &table, IpAddr::V4(after.wrapping_add(1).into()));
        }
    }
}
