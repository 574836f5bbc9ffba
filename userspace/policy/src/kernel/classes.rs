//! Dividing addresses into classes: addresses that the same rules match are of one class.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use sluice_abi::{
    Addr,
    table::{MAX_CLASSES, MAX_PREFIXES, SLOTS},
};

use super::{Egress, EgressRule, KernelError};
use crate::net::Net;

/// A prefix and the class of the addresses under it, as the kernel's tries hold them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClassPrefix {
    /// The lowest address.
    pub addr: Addr,
    /// Bits of the prefix; those of an IPv4 prefix count 96 more.
    pub bits: u32,
    /// The class, always below [`MAX_CLASSES`].
    pub class: u32,
}

/// How one side's addresses are divided.
pub(super) struct Classes {
    pub(super) prefixes: Vec<ClassPrefix>,
    /// For each class the rules whose list holds its addresses, by index.
    pub(super) rules: Vec<BTreeSet<usize>>,
}

/// Gives every network of the rules' lists the class of all the rules that cover it, so that the
/// longest prefix alone tells everything.
pub(super) fn divide<'e>(
    egress: &'e Egress,
    key: &'static str,
    list: impl Fn(&'e EgressRule) -> Option<&'e [Net]>,
) -> Result<Classes, KernelError> {
    let mut named = BTreeMap::<Net, BTreeSet<usize>>::new();
    let mut rules = Vec::new();
    for (index, rule) in egress.rules.iter().enumerate() {
        let Some(nets) = list(rule) else { continue };
        rules.push(rule.name.clone());
        for &net in nets {
            named.entry(net).or_default().insert(index);
        }
    }
    let most = (MAX_PREFIXES / SLOTS) as usize;
    if named.len() >= most {
        return Err(KernelError::Prefixes {
            key,
            rules,
            found: named.len(),
            most,
        });
    }
    shield_ipv4(&mut named);
    let mut numbers = BTreeMap::from([(BTreeSet::new(), 0u32)]);
    let mut prefixes = Vec::with_capacity(named.len());
    // In this order a network comes after every network that covers it.
    let mut covering = Vec::<(Net, BTreeSet<usize>)>::new();
    for (net, mut matching) in named {
        while covering.last().is_some_and(|(outer, _)| !outer.covers(net)) {
            covering.pop();
        }
        if let Some((_, outer)) = covering.last() {
            matching.extend(outer);
        }
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        let class = *numbers.entry(matching.clone()).or_insert(next);
        let (addr, bits) = net.kernel();
        prefixes.push(ClassPrefix { addr, bits, class });
        covering.push((net, matching));
    }
    if numbers.len() > MAX_CLASSES as usize {
        let (found, most) = (numbers.len(), MAX_CLASSES as usize);
        return Err(KernelError::Classes {
            key,
            rules,
            found,
            most,
        });
    }
    let mut by_number: Vec<_> = numbers.into_iter().collect();
    by_number.sort_by_key(|&(_, class)| class);
    let rules = by_number
        .into_iter()
        .map(|(matching, _)| matching)
        .collect();
    Ok(Classes { prefixes, rules })
}

/// Keeps IPv6 networks away from IPv4 addresses, which the tries hold under `::ffff:0:0/96`.
fn shield_ipv4(named: &mut BTreeMap<Net, BTreeSet<usize>>) {
    let reaches = |net: &Net| net.address().is_ipv6() && net.bits() < 96;
    if named.keys().any(reaches)
        && let Ok(ipv4) = Net::new(Ipv4Addr::UNSPECIFIED.into(), 0)
    {
        named.entry(ipv4).or_default();
    }
}
