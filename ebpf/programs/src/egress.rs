//! From the gateway to the LAN.

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

/// Judges a packet on its way to a client.
///
/// Nothing is answered here: a refusal would have to leave by another device, so what the policy
/// rejects is dropped.
#[inline(always)]
pub fn judge<E: Env, B: Bytes + ?Sized>(
    env: &E,
    policy: Policy<'_>,
    frame: &B,
    packet: &Packet,
) -> Judgement {
    let mut judgement = whole_or_first(env, policy, frame, packet);
    if matches!(judgement.verdict(), Verdict::Reject | Verdict::Steer) {
        judgement = Judgement::new(Verdict::Drop, judgement.reason());
    }
    if packet.fragment as u8 == Fragment::First as u8 {
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
    if !later && let Some(judgement) = flows::find(env, policy, packet) {
        return judgement;
    }
    if env.gateway(&packet.src) == 1 {
        return Judgement::pass(Reason::FromGateway);
    }
    if matches!(ip::scope(&packet.dst), Scope::Local) {
        return Judgement::pass(Reason::Unforwarded);
    }
    if later {
        return fragments::follow(env, policy, packet);
    }
    if !ip::is_plausible_source(&packet.src) {
        return Judgement::discard(Reason::BadSource);
    }
    if packet.is_icmp() {
        if icmp::is_error(packet) && icmp::speaks_of_known(env, frame, packet) {
            return Judgement::pass(Reason::Icmp);
        }
        return Judgement::discard(Reason::InboundOther);
    }
    if packet.protocol == protocol::TCP && !packet.is_syn() {
        return midstream(env, policy, packet);
    }
    let judgement = judge::lookup(
        env,
        policy,
        Direction::In,
        &packet.dst,
        &packet.src,
        packet.protocol,
        packet.dport,
    );
    if judgement.passes() && packet.is_syn() && multipath::joins(frame, packet) {
        return Judgement::discard(Reason::MptcpJoin);
    }
    if judgement.passes() && !flows::begin(env, policy, packet, FlowEntry::FLAG_INBOUND) {
        return Judgement::discard(Reason::FlowLimit);
    }
    judgement
}

/// Whether a packet that passes as the gateway's own would, if another host sent it, reach a client
/// that did not ask.
///
/// The stack forwards packets from its own IPv6 addresses. What belongs to a connection or a first
/// fragment may be the answer of a service that the host forwards to, and opens nothing.
#[inline(always)]
#[must_use]
pub fn is_borrowed(packet: &Packet, judgement: Judgement) -> bool {
    judgement.reason() == Reason::FromGateway.code()
        && packet.fragment as u8 != Fragment::Later as u8
        && (packet.protocol != protocol::TCP || packet.is_syn())
}

/// A segment that answers something which was not seen: adopted only on a first load, and only
/// where the policy would have let the client begin it.
#[inline(always)]
fn midstream<E: Env>(env: &E, policy: Policy<'_>, packet: &Packet) -> Judgement {
    if policy.cell.flags & PolicyCell::FLAG_MIDSTREAM_PASS == 0 {
        return Judgement::discard(Reason::Midstream);
    }
    let judgement = judge::lookup(
        env,
        policy,
        Direction::Out,
        &packet.dst,
        &packet.src,
        packet.protocol,
        packet.sport,
    );
    if !judgement.passes() {
        return Judgement::discard(Reason::Midstream);
    }
    if flows::begin(env, policy, packet, FlowEntry::FLAG_HIGH_BEGAN) {
        Judgement::pass(Reason::MidstreamAdopted)
    } else {
        Judgement::discard(Reason::FlowLimit)
    }
}
