//! What the egress and steer sections mean, said plainly.

use std::net::IpAddr;

use sluice_abi::{Entry, Reason, Verdict, table::Direction};

use super::{Egress, EgressAction, EgressRule, QUIC_PORT, Steer, refused::refuses};
use crate::{Policy, lookup::Scratch, net::Net, port::PortRange};

/// Protocol numbers as IANA assigns them.
pub(super) const ICMP: u8 = 1;
pub(super) const IGMP: u8 = 2;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;

/// Judges a packet that begins a flow: the reference that the kernel's tables are tested against.
///
/// `port` is the port of the side that did not begin the flow, and means nothing where the protocol
/// has none. ICMP, ICMPv6 and IGMP are judged by the kernel programs themselves. Without a policy no
/// steered flow is refused.
#[must_use]
#[expect(
    clippy::too_many_arguments,
    reason = "everything that a judgement rests on"
)]
pub fn judge(
    egress: &Egress,
    steer: &Steer,
    policy: Option<&Policy>,
    direction: Direction,
    client: IpAddr,
    remote: IpAddr,
    protocol: u8,
    port: u16,
) -> Entry {
    if matches!(protocol, ICMP | IGMP | ICMPV6) {
        return Entry::new(Verdict::Pass, Reason::Icmp);
    }
    let within = |nets: &Option<Vec<Net>>, address| {
        nets.as_ref()
            .is_none_or(|nets| nets.iter().any(|net| net.contains(address)))
    };
    let decisive = egress.rules.iter().find(|rule| {
        rule.direction == direction
            && within(&rule.from, client)
            && within(&rule.to, remote)
            && names(rule, protocol, port)
    });
    if let Some(rule) = decisive {
        return Entry::new(rule.action.verdict(), Reason::EgressRule);
    }
    match (direction, protocol) {
        (Direction::In, TCP) => Entry::new(Verdict::Drop, Reason::InboundTcp),
        (Direction::In, UDP) => Entry::new(Verdict::Drop, Reason::InboundUdp),
        (Direction::In, _) => Entry::new(Verdict::Drop, Reason::InboundOther),
        (Direction::Out, TCP)
            if steer.contains(port)
                && policy.is_some_and(|policy| {
                    refuses(policy, client, remote, port, &mut Scratch::default())
                }) =>
        {
            Entry::new(Verdict::Reject, Reason::PolicyRule)
        }
        (Direction::Out, TCP) => tcp(egress, steer, port),
        (Direction::Out, UDP) => udp(egress, port),
        (Direction::Out, _) if egress.other_protocols.contains(&protocol) => {
            Entry::new(Verdict::Pass, Reason::Listed)
        }
        (Direction::Out, _) => Entry::new(egress.default.verdict(), Reason::Protocol),
    }
}

fn names(rule: &EgressRule, protocol: u8, port: u16) -> bool {
    let traffic = &rule.traffic;
    traffic.is_any()
        || match protocol {
            TCP => listed(&traffic.tcp, port),
            UDP => listed(&traffic.udp, port),
            other => traffic.protocols.contains(&other),
        }
}

fn listed(ranges: &[PortRange], port: u16) -> bool {
    ranges.iter().any(|range| range.contains(port))
}

fn tcp(egress: &Egress, steer: &Steer, port: u16) -> Entry {
    if steer.contains(port) {
        Entry::new(Verdict::Steer, Reason::Steered)
    } else if listed(&egress.pass_tcp, port) {
        Entry::new(Verdict::Pass, Reason::Listed)
    } else if listed(&egress.block_tcp, port) {
        Entry::new(closed(egress), Reason::NativeTcp)
    } else {
        Entry::new(egress.default.verdict(), Reason::EgressDefault)
    }
}

fn udp(egress: &Egress, port: u16) -> Entry {
    if port == QUIC_PORT {
        Entry::new(egress.quic.verdict(), Reason::Quic)
    } else if listed(&egress.pass_udp, port) {
        Entry::new(Verdict::Pass, Reason::Listed)
    } else if listed(&egress.block_udp, port) {
        Entry::new(closed(egress), Reason::NativeUdp)
    } else {
        Entry::new(egress.default.verdict(), Reason::EgressDefault)
    }
}

/// How a closed port is closed: silently where the default is silent.
pub(super) const fn closed(egress: &Egress) -> Verdict {
    match egress.default {
        EgressAction::Drop => Verdict::Drop,
        EgressAction::Pass | EgressAction::Reject => Verdict::Reject,
    }
}
