//! From the LAN into the gateway.

use sluice_abi::{FlowEntry, PolicyCell, Reason, Verdict, table::Direction};

use crate::{
    bytes::Bytes,
    env::{Env, Policy},
    flows, fragments, icmp,
    ip::{self, Scope},
    judge::{self, Judgement},
    multipath,
    parse::{Fragment, Packet, protocol},
};

/// Judges a packet that a client sent.
///
/// [`Verdict::Steer`] leaves it to the caller to find a socket, and to ask [`without_daemon`] when
/// there is none.
#[inline(always)]
pub fn judge<E: Env, B: Bytes + ?Sized>(
    env: &E,
    policy: Policy<'_>,
    frame: &B,
    packet: &Packet,
) -> Judgement {
    let judgement = whole_or_first(env, policy, frame, packet);
    if packet.fragment as u8 == Fragment::First as u8 {
        if matches!(judgement.verdict(), Verdict::Steer) {
            let refused = Judgement::discard(Reason::FragmentSteered);
            fragments::remember(env, policy, packet, refused);
            return refused;
        }
        fragments::remember(env, policy, packet, judgement);
    }
    judgement
}

#[inline(always)]
fn whole_or_first<E: Env, B: Bytes + ?Sized>(
    env: &E,
    policy: Policy<'_>,
    frame: &B,
    packet: &Packet,
) -> Judgement {
    let later = packet.fragment as u8 == Fragment::Later as u8;
    let steerable = !later
        && packet.protocol == protocol::TCP
        && env.steers(policy.slot, u16::from_be(packet.dport));
    // A flow is only ever remembered after the checks below, so its packets need them no more. An
    // echo is not looked up here, or the flow of the first would exempt the others from the rate.
    if !later
        && !steerable
        && !packet.is_icmp()
        && let Some(judgement) = flows::find(env, policy, packet)
    {
        return judgement;
    }
    let destination = ip::scope(&packet.dst);
    if matches!(destination, Scope::Local) {
        return Judgement::pass(Reason::Unforwarded);
    }
    match env.gateway(&packet.dst) {
        0 => {}
        1 if !later
            && packet.protocol == protocol::TCP
            && packet.dport == policy.cell.listener_port =>
        {
            return Judgement::reject(Reason::ListenerPort);
        }
        1 => return to_gateway(env, policy, packet),
        _ => return Judgement::pass(Reason::Unforwarded),
    }
    if !matches!(destination, Scope::Unicast) {
        return Judgement::discard(Reason::BadDestination);
    }
    // A steered segment inside a connection is delivered here, where the stack refuses the
    // gateway's own addresses as a source itself; whatever may be forwarded is asked for.
    let delivered = steerable && !packet.is_syn();
    if !ip::is_plausible_source(&packet.src) || !delivered && env.gateway(&packet.src) == 1 {
        return Judgement::discard(Reason::BadSource);
    }
    if later {
        return fragments::follow(env, policy, packet);
    }
    if packet.is_icmp() {
        return icmp_out(env, policy, packet);
    }
    let judgement = judge::newcomer(env, policy, Direction::Out, frame, packet);
    match judgement.verdict() {
        Verdict::Pass => begin(env, policy, frame, packet, judgement),
        _ => judgement,
    }
}

/// Leaves a packet to the host's firewall.
///
/// The host may forward it to a service elsewhere, whose answer comes back under the gateway's
/// address: a datagram is remembered, so that this answer is told from a forged one.
#[inline(always)]
fn to_gateway<E: Env>(env: &E, policy: Policy<'_>, packet: &Packet) -> Judgement {
    if packet.protocol == protocol::UDP && packet.fragment as u8 != Fragment::Later as u8 {
        let _remembered = flows::begin(env, policy, packet, FlowEntry::FLAG_TO_GATEWAY);
    }
    Judgement::pass(Reason::ToGateway)
}

/// Remembers a flow that the policy lets begin.
#[inline(always)]
fn begin<E: Env, B: Bytes + ?Sized>(
    env: &E,
    policy: Policy<'_>,
    frame: &B,
    packet: &Packet,
    judgement: Judgement,
) -> Judgement {
    let mut judgement = judgement;
    if packet.is_syn() && multipath::joins(frame, packet) {
        return Judgement::reject(Reason::MptcpJoin);
    }
    if packet.protocol == protocol::TCP && !packet.is_syn() {
        if policy.cell.flags & PolicyCell::FLAG_MIDSTREAM_PASS == 0 {
            return Judgement::discard(Reason::Midstream);
        }
        judgement = Judgement::pass(Reason::MidstreamAdopted);
    }
    if flows::begin(env, policy, packet, 0) {
        judgement
    } else {
        Judgement::discard(Reason::FlowLimit)
    }
}

#[inline(always)]
fn icmp_out<E: Env>(env: &E, policy: Policy<'_>, packet: &Packet) -> Judgement {
    let error = icmp::is_error(packet);
    if !error && !icmp::is_echo(packet) {
        return Judgement::discard(Reason::IcmpType);
    }
    if !env.take_icmp(&packet.src, policy.cell.icmp_interval) {
        return Judgement::discard(Reason::IcmpRate);
    }
    if error {
        return Judgement::pass(Reason::Icmp);
    }
    if let Some(judgement) = flows::find(env, policy, packet) {
        return judgement;
    }
    if !icmp::is_echo_request(packet) {
        return Judgement::discard(Reason::IcmpType);
    }
    if !flows::begin(env, policy, packet, 0) {
        return Judgement::discard(Reason::FlowLimit);
    }
    Judgement::pass(Reason::Icmp)
}

/// What becomes of a steered packet that no socket takes.
#[inline(always)]
pub fn without_daemon<E: Env>(env: &E, policy: Policy<'_>, packet: &Packet) -> Judgement {
    if policy.cell.flags & PolicyCell::FLAG_FAIL_OPEN == 0 {
        return Judgement::reject(Reason::FailClosed);
    }
    if let Some(judgement) = flows::find(env, policy, packet) {
        if judgement.passes() {
            return Judgement::pass(Reason::FailOpen);
        }
        return judgement;
    }
    if !packet.is_syn() {
        return Judgement::reject(Reason::Midstream);
    }
    if flows::begin(env, policy, packet, FlowEntry::FLAG_FAIL_OPEN) {
        Judgement::pass(Reason::FailOpen)
    } else {
        Judgement::discard(Reason::FlowLimit)
    }
}
