//! Dividing addresses: addresses that the same lists hold are of one part, and parts that nothing
//! tells apart are one class of the kernel's.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use sluice_abi::{
    Addr,
    table::{MAX_PREFIXES, SLOTS},
};

use crate::net::Net;

/// A prefix and the class of the addresses under it, as the kernel's tries hold them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClassPrefix {
    /// The lowest address.
    pub addr: Addr,
    /// Bits of the prefix; those of an IPv4 prefix count 96 more.
    pub bits: u32,
    /// The class, always below [`MAX_CLASSES`](sluice_abi::table::MAX_CLASSES).
    pub class: u32,
}

/// Addresses that the same lists hold.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The lists, by number.
    pub(super) lists: BTreeSet<usize>,
    /// One of the addresses; `None` where the part's networks are covered by smaller ones.
    pub(super) sample: Option<IpAddr>,
}

/// How the addresses of one side are divided.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    /// Every network that a list names, and both whole families, with the part of the addresses for
    /// which it is the smallest. A network comes after every network that covers it.
    nets: Vec<(Net, usize)>,
    /// The parts; the first is held by no list.
    pub(super) parts: Vec<Part>,
}

/// Networks for which there is room in the kernel's tries.
pub(super) const MOST_NETS: usize = (MAX_PREFIXES / SLOTS) as usize;

impl Parts {
    /// Divides the addresses by the lists that hold them; fails with the number of networks where
    /// the kernel has no room for them.
    pub(super) fn new(lists: impl IntoIterator<Item = (Net, usize)>) -> Result<Self, usize> {
        let mut named = BTreeMap::<Net, BTreeSet<usize>>::new();
        for (net, list) in lists {
            named.entry(net).or_default().insert(list);
        }
        if named.len() >= MOST_NETS {
            return Err(named.len());
        }
        let (ipv4, ipv6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
        for family in [ipv4, ipv6] {
            if let Ok(whole) = Net::new(family, 0) {
                named.entry(whole).or_default();
            }
        }
        let unheld = Part {
            lists: BTreeSet::new(),
            sample: None,
        };
        let mut division = Division {
            numbers: HashMap::from([(BTreeSet::new(), 0)]),
            parts: vec![unheld],
            covering: Vec::new(),
        };
        let nets = named
            .into_iter()
            .map(|(net, lists)| (net, division.enter(net, lists)))
            .collect();
        division.leave_all();
        Ok(Self {
            nets,
            parts: division.parts,
        })
    }

    /// Makes one class of all parts for which `key` gives the same; the class of the first is 0.
    pub(super) fn classes<K: Eq + Hash>(&self, key: impl Fn(usize, &Part) -> K) -> Classes {
        let mut numbers = HashMap::new();
        let mut parts = Vec::new();
        let mut classes = Vec::with_capacity(self.parts.len());
        for (at, part) in self.parts.iter().enumerate() {
            let next = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            let class = *numbers.entry(key(at, part)).or_insert(next);
            if class == next {
                parts.push(at);
            }
            classes.push(class);
        }
        Classes {
            prefixes: self.prefixes(&classes),
            parts,
        }
    }

    /// The prefixes by whose length alone every address has its class.
    fn prefixes(&self, classes: &[u32]) -> Vec<ClassPrefix> {
        let class_of = |part: usize| classes.get(part).copied().unwrap_or_default();
        // The tries hold IPv4 under ::ffff:0:0/96, which IPv6 networks may not reach.
        let reaches = |&(net, part): &(Net, usize)| {
            net.address().is_ipv6() && net.bits() < 96 && class_of(part) != 0
        };
        let mut shielded = self.nets.iter().any(reaches);
        let mut prefixes = Vec::new();
        let mut covering = Vec::<(Net, u32)>::new();
        for &(net, part) in &self.nets {
            while covering.last().is_some_and(|(outer, _)| !outer.covers(net)) {
                covering.pop();
            }
            let class = class_of(part);
            let around = covering.last().map_or(0, |&(_, class)| class);
            covering.push((net, class));
            // The first network is the whole of IPv4.
            if class != around || std::mem::take(&mut shielded) {
                let (addr, bits) = net.kernel();
                prefixes.push(ClassPrefix { addr, bits, class });
            }
        }
        prefixes
    }
}

/// How one side's addresses are classed in the kernel.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    pub(super) prefixes: Vec<ClassPrefix>,
    /// For every class one of its parts.
    pub(super) parts: Vec<usize>,
}

/// A walk over networks in their order.
struct Division {
    numbers: HashMap<BTreeSet<usize>, usize>,
    parts: Vec<Part>,
    covering: Vec<Covering>,
}

/// A network that the walk is inside of.
struct Covering {
    net: Net,
    lists: BTreeSet<usize>,
    part: usize,
    /// The lowest address that no smaller network has covered so far; `None`: there is none left.
    free: Option<u128>,
}

impl Division {
    /// Goes on to a network, and tells its part.
    fn enter(&mut self, net: Net, mut lists: BTreeSet<usize>) -> usize {
        while self
            .covering
            .last()
            .is_some_and(|outer| !outer.net.covers(net))
        {
            self.leave();
        }
        let (first, last) = bounds(net);
        if let Some(outer) = self.covering.last_mut() {
            lists.extend(&outer.lists);
            if outer.free == Some(first) {
                outer.free = last.checked_add(1).map(past_ipv4);
            }
        }
        let next = self.parts.len();
        let part = *self.numbers.entry(lists.clone()).or_insert(next);
        if part == next {
            self.parts.push(Part {
                lists: lists.clone(),
                sample: None,
            });
        }
        self.covering.push(Covering {
            net,
            lists,
            part,
            free: Some(first),
        });
        part
    }

    fn leave(&mut self) {
        let Some(left) = self.covering.pop() else {
            return;
        };
        let (_, last) = bounds(left.net);
        if let Some(free) = left.free.filter(|&free| free <= last)
            && let Some(part) = self.parts.get_mut(left.part)
        {
            let address = Ipv6Addr::from(free).to_canonical();
            part.sample.get_or_insert(address);
        }
    }

    fn leave_all(&mut self) {
        while !self.covering.is_empty() {
            self.leave();
        }
    }
}

/// The address itself, or the first behind the IPv4 addresses in IPv6 form where they begin there:
/// those are of the other family.
const fn past_ipv4(address: u128) -> u128 {
    const FIRST: u128 = 0xffff << 32;
    if address == FIRST {
        FIRST + (1 << 32)
    } else {
        address
    }
}

/// The lowest and the highest address, IPv4 in IPv6 form.
fn bounds(net: Net) -> (u128, u128) {
    let (_, bits) = net.kernel();
    let first = match net.address() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let first = u128::from(first);
    (first, first | u128::MAX.checked_shr(bits).unwrap_or(0))
}
