//! The hooks: packet in, verdict out.

mod answer;
mod env;
mod log;
mod maps;
mod report;
mod skb;
mod sock;

use aya_ebpf::programs::TcContext;
use sluice_abi::{Hook, Reason, Verdict};
use sluice_programs::{Env, Judgement, Link, Packet, Policy, egress, ingress, parse};

use env::Kernel;
use skb::Skb;

/// `enum tcx_action_base`: go on with the next program, or the stack.
/// <https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/bpf.h#L6294>
const TCX_NEXT: i32 = -1;
/// `enum tcx_action_base`: discard.
const TCX_DROP: i32 = 2;

/// Set by the loader: 0 for Ethernet devices, 1 for devices that carry bare IP.
#[expect(unsafe_code, reason = "the loader finds the constant by its name")]
#[unsafe(no_mangle)]
static LINK_TYPE: u8 = 0;

/// Set by the loader for replays and tests: leave the judgement in `skb->cb` and touch nothing.
#[expect(unsafe_code, reason = "the loader finds the constant by its name")]
#[unsafe(no_mangle)]
static REPLAY: u8 = 0;

#[inline(always)]
fn constant(value: &'static u8) -> u8 {
    skb::volatile(value)
}

#[inline(always)]
fn replaying() -> bool {
    constant(&REPLAY) != 0
}

#[inline(always)]
fn parsed(skb: &Skb, hook: Hook) -> Result<&'static Packet, Reason> {
    let packet = skb::scratch(hook).ok_or(Reason::PacketTruncated)?;
    let ethernet = constant(&LINK_TYPE) == 0;
    // On its way in the stack has read the link header: a frame that it takes for IP has no tag
    // in the way. On its way out, or where there is a tag left, the bytes are asked.
    if ethernet && matches!(hook, Hook::LanIngress) {
        let ethertype = skb.ethertype();
        if matches!(ethertype, parse::IPV4 | parse::IPV6) {
            parse::from_network(skb, ethertype, parse::ETHERNET, packet)?;
            return Ok(packet);
        }
    }
    let link = if ethernet {
        Link::Ethernet
    } else {
        Link::Layer3
    };
    parse::parse(skb, link, packet)?;
    Ok(packet)
}

/// Judges a packet from the LAN and carries the judgement out.
#[inline(always)]
pub(crate) fn lan_ingress(ctx: &TcContext) -> i32 {
    let skb = Skb::new(ctx);
    let kernel = Kernel::new(replaying());
    let packet = match parsed(&skb, Hook::LanIngress) {
        Ok(packet) => packet,
        Err(reason) => return unparsed(&skb, Hook::LanIngress, reason),
    };
    let Some(policy) = kernel.policy() else {
        return finish(
            &skb,
            Hook::LanIngress,
            packet,
            Judgement::discard(Reason::NoPolicy),
        );
    };
    let mut judgement = ingress::judge(&kernel, policy, &skb, packet);
    if matches!(judgement.verdict(), Verdict::Steer) && !replaying() {
        judgement = steer(&skb, &kernel, policy, packet);
    }
    if matches!(judgement.verdict(), Verdict::Reject) && !replaying() {
        return refuse(&skb, &kernel, policy, packet, judgement);
    }
    finish(&skb, Hook::LanIngress, packet, judgement)
}

/// Judges a packet to the LAN and carries the judgement out.
#[inline(always)]
pub(crate) fn lan_egress(ctx: &TcContext) -> i32 {
    let skb = Skb::new(ctx);
    let kernel = Kernel::new(replaying());
    let policy = kernel.policy();
    if let Some(policy) = policy
        && (skb.has_socket() || skb.mark() & policy.cell.mark_mask == policy.cell.mark_own)
        && !replaying()
    {
        report::count(
            Hook::LanEgress,
            Judgement::pass(Reason::OwnSocket),
            skb.frame_length(),
        );
        return TCX_NEXT;
    }
    let packet = match parsed(&skb, Hook::LanEgress) {
        Ok(packet) => packet,
        Err(reason) => return unparsed(&skb, Hook::LanEgress, reason),
    };
    let mut judgement = match policy {
        Some(policy) => egress::judge(&kernel, policy, &skb, packet),
        None => Judgement::discard(Reason::NoPolicy),
    };
    if skb.was_received() && !replaying() && egress::is_borrowed(packet, judgement) {
        judgement = Judgement::discard(Reason::BadSource);
    }
    finish(&skb, Hook::LanEgress, packet, judgement)
}

/// Gives the packet to its socket or to the listener.
#[inline(never)]
fn steer(skb: &Skb, kernel: &Kernel, policy: Policy<'_>, packet: &Packet) -> Judgement {
    match sock::assign(skb, kernel, policy, packet) {
        sock::Assigned::Yes => {
            let cell = policy.cell;
            skb.set_mark(skb.mark() & !cell.mark_mask | cell.mark_steer);
            Judgement::new(Verdict::Steer, Reason::Steered.code())
        }
        sock::Assigned::Refused => Judgement::discard(Reason::AssignFailed),
        sock::Assigned::NoListener => ingress::without_daemon(kernel, policy, packet),
    }
}

/// Answers a rejected packet where the client has not had its share of answers.
#[inline(never)]
fn refuse(
    skb: &Skb,
    kernel: &Kernel,
    policy: Policy<'_>,
    packet: &Packet,
    judgement: Judgement,
) -> i32 {
    if !kernel.take_reject(&packet.src) {
        report::count(
            Hook::LanIngress,
            Judgement::discard(Reason::RejectRate),
            packet.length(),
        );
        return finish(skb, Hook::LanIngress, packet, judgement);
    }
    report::verdict(skb, Hook::LanIngress, packet, judgement);
    match answer::send(skb, policy, packet) {
        Some(code) => code,
        None => {
            report::count(
                Hook::LanIngress,
                Judgement::discard(Reason::RejectFailed),
                packet.length(),
            );
            TCX_DROP
        }
    }
}

/// A frame without a packet: everything but IP passes, broken IP does not.
#[inline(always)]
fn unparsed(skb: &Skb, hook: Hook, reason: Reason) -> i32 {
    let judgement = if matches!(reason, Reason::NotIp) {
        Judgement::pass(reason)
    } else {
        Judgement::discard(reason)
    };
    report::count(hook, judgement, skb.frame_length());
    conclude(skb, judgement)
}

#[inline(always)]
fn finish(skb: &Skb, hook: Hook, packet: &Packet, judgement: Judgement) -> i32 {
    report::verdict(skb, hook, packet, judgement);
    conclude(skb, judgement)
}

#[inline(always)]
fn conclude(skb: &Skb, judgement: Judgement) -> i32 {
    if replaying() {
        skb.leave(judgement);
        return TCX_NEXT;
    }
    match judgement.verdict() {
        Verdict::Pass | Verdict::Steer => TCX_NEXT,
        Verdict::Drop | Verdict::Reject => TCX_DROP,
    }
}
