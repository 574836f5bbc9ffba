//! Port tables: one entry for every TCP port, UDP port and protocol.

use std::collections::{BTreeSet, HashMap};

use sluice_abi::{
    Entry, Reason, Verdict,
    table::{Direction, MAX_TABLES},
};

use super::{
    Egress, EgressRule, MatrixCell, QUIC_PORT, Steer,
    classes::{Classes, Parts},
    judge::{self, closed},
    refused::Refusals,
};
use crate::port::PortRange;

/// The verdicts of one direction for one pair of classes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Table {
    /// By TCP port: 65536 entries.
    pub tcp: Box<[Entry]>,
    /// By UDP port: 65536 entries.
    pub udp: Box<[Entry]>,
    /// By protocol number: 256 entries. Those of TCP, UDP, ICMP, ICMPv6 and IGMP are not read.
    pub protocol: Box<[Entry]>,
}

const PORTS: usize = 1 << 16;

/// Fills a table for every direction and pair of classes; equal ones are stored once. `None` where
/// there are more than the kernel holds.
pub(super) fn fill(
    egress: &Egress,
    steer: &Steer,
    refusals: &Refusals,
    clients: (&Parts, &Classes),
    remotes: (&Parts, &Classes),
) -> Option<(Vec<MatrixCell>, Vec<Table>)> {
    let mut matrix = Vec::new();
    let mut tables = Vec::new();
    let mut by_rules = HashMap::<(u8, Vec<usize>, u32), u32>::new();
    let mut by_content = HashMap::<Table, u32>::new();
    for direction in [Direction::Out, Direction::In] {
        let base = base(egress, steer, direction);
        for (client, from_part, from) in of_classes(clients) {
            for (remote, to_part, to) in of_classes(remotes) {
                let matching = matching(egress, direction, from, to);
                let way = match direction {
                    Direction::Out => refusals.way(from_part, to_part),
                    Direction::In => 0,
                };
                let key = (direction as u8, matching, way);
                let table = match by_rules.get(&key) {
                    Some(&table) => table,
                    None => {
                        let refused = refusals.ways.get(way as usize);
                        let refused = refused.map(Vec::as_slice).unwrap_or_default();
                        let table = painted(&base, refused, egress, &key.1);
                        let next = u32::try_from(tables.len()).unwrap_or(u32::MAX);
                        let number = *by_content.entry(table).or_insert_with_key(|table| {
                            tables.push(table.clone());
                            next
                        });
                        if tables.len() > MAX_TABLES as usize {
                            return None;
                        }
                        by_rules.insert(key, number);
                        number
                    }
                };
                matrix.push(MatrixCell {
                    direction,
                    client,
                    remote,
                    table,
                });
            }
        }
    }
    Some((matrix, tables))
}

/// The classes of one side: each with the number of one of its parts, and with the lists of that.
fn of_classes<'c>(
    (parts, classes): (&'c Parts, &'c Classes),
) -> impl Iterator<Item = (u32, usize, &'c BTreeSet<usize>)> {
    let classes = (0u32..).zip(&classes.parts);
    classes.filter_map(|(class, &part)| Some((class, part, &parts.parts.get(part)?.lists)))
}

/// The rules that match a pair of classes, in their order.
fn matching(
    egress: &Egress,
    direction: Direction,
    from: &BTreeSet<usize>,
    to: &BTreeSet<usize>,
) -> Vec<usize> {
    let matches = |(index, rule): (usize, &EgressRule)| {
        let holds = rule.direction == direction
            && (rule.from.is_none() || from.contains(&index))
            && (rule.to.is_none() || to.contains(&index));
        holds.then_some(index)
    };
    egress
        .rules
        .iter()
        .enumerate()
        .filter_map(matches)
        .collect()
}

/// The table where no rule matches: painted from what decides last to what decides first.
fn base(egress: &Egress, steer: &Steer, direction: Direction) -> Table {
    let fallback = |out, inbound| match direction {
        Direction::Out => Entry::new(egress.default.verdict(), out),
        Direction::In => Entry::new(Verdict::Drop, inbound),
    };
    let mut table = Table {
        tcp: vec![fallback(Reason::EgressDefault, Reason::InboundTcp); PORTS].into(),
        udp: vec![fallback(Reason::EgressDefault, Reason::InboundUdp); PORTS].into(),
        protocol: vec![fallback(Reason::Protocol, Reason::InboundOther); 256].into(),
    };
    if direction == Direction::Out {
        paint(
            &mut table.tcp,
            &egress.block_tcp,
            Entry::new(closed(egress), Reason::NativeTcp),
        );
        paint(
            &mut table.udp,
            &egress.block_udp,
            Entry::new(closed(egress), Reason::NativeUdp),
        );
        let listed = Entry::new(Verdict::Pass, Reason::Listed);
        paint(&mut table.tcp, &egress.pass_tcp, listed);
        paint(&mut table.udp, &egress.pass_udp, listed);
        let quic = Entry::new(egress.quic.verdict(), Reason::Quic);
        paint(&mut table.udp, &[PortRange::single(QUIC_PORT)], quic);
        let steered = Entry::new(Verdict::Steer, Reason::Steered);
        paint(&mut table.tcp, &steer.tls, steered);
        paint(&mut table.tcp, &steer.http, steered);
        paint_protocols(&mut table.protocol, &egress.other_protocols, listed);
    }
    reserve_protocols(&mut table.protocol);
    table
}

/// The base with refused ports and the egress rules of some classes on it, the first of the rules
/// on top.
fn painted(base: &Table, refused: &[PortRange], egress: &Egress, rules: &[usize]) -> Table {
    let mut table = base.clone();
    let refusal = Entry::new(Verdict::Reject, Reason::PolicyRule);
    paint(&mut table.tcp, refused, refusal);
    for rule in rules
        .iter()
        .rev()
        .filter_map(|&index| egress.rules.get(index))
    {
        let entry = Entry::new(rule.action.verdict(), Reason::EgressRule);
        if rule.traffic.is_any() {
            table.tcp.fill(entry);
            table.udp.fill(entry);
            table.protocol.fill(entry);
        } else {
            paint(&mut table.tcp, &rule.traffic.tcp, entry);
            paint(&mut table.udp, &rule.traffic.udp, entry);
            paint_protocols(&mut table.protocol, &rule.traffic.protocols, entry);
        }
    }
    reserve_protocols(&mut table.protocol);
    table
}

fn paint(entries: &mut [Entry], ranges: &[PortRange], entry: Entry) {
    for range in ranges {
        let ports = usize::from(range.first())..=usize::from(range.last());
        if let Some(ports) = entries.get_mut(ports) {
            ports.fill(entry);
        }
    }
}

fn paint_protocols(entries: &mut [Entry], numbers: &[u8], entry: Entry) {
    for &number in numbers {
        if let Some(slot) = entries.get_mut(usize::from(number)) {
            *slot = entry;
        }
    }
}

/// Protocols that the programs judge elsewhere have one entry whatever the rules say, so that
/// tables that mean the same are equal.
fn reserve_protocols(entries: &mut [Entry]) {
    let reserved = [
        judge::TCP,
        judge::UDP,
        judge::ICMP,
        judge::ICMPV6,
        judge::IGMP,
    ];
    paint_protocols(entries, &reserved, Entry::new(Verdict::Pass, Reason::Icmp));
}
