//! Refusals told one by one, for debugging.
//!
//! The loader sets the level to 0 unless it was asked for more, and the verifier then takes the
//! whole of this out of the programs.

use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use sluice_abi::Hook;
use sluice_programs::{Judgement, Packet};

use super::skb::Skb;

/// Tells of a refused packet.
#[inline(never)]
pub(crate) fn refused(skb: &Skb, hook: Hook, packet: &Packet, judgement: Judgement) {
    let ctx = TcContext::new(skb.raw());
    let src: [u8; 16] = zerocopy::transmute!(packet.src);
    let dst: [u8; 16] = zerocopy::transmute!(packet.dst);
    debug!(
        &ctx,
        "{} {} {}: protocol {} {:i} port {} to {:i} port {}, {} bytes",
        hook.name(),
        judgement.verdict().name(),
        judgement.reason(),
        packet.protocol,
        src,
        u16::from_be(packet.sport),
        dst,
        u16::from_be(packet.dport),
        packet.length()
    );
}
