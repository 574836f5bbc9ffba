//! Turns a rejected packet into its answer and sends it back.

use sluice_programs::{
    Bytes, Packet, Policy,
    parse::{protocol, tcp},
    reply,
};

use super::skb::Skb;

/// Answers `packet` in its own buffer; `None` where no answer can be given.
#[inline(always)]
pub(crate) fn send(skb: &Skb, policy: Policy<'_>, packet: &Packet) -> Option<i32> {
    // RFC 1122 section 3.2.2: what the link brought to many is not answered, and what a device in
    // promiscuous mode overheard is between others. Without a link header there is no such thing.
    if packet.network != 0 && !skb.is_for_this_host() {
        return None;
    }
    if packet.protocol == protocol::TCP && reply::has_plain_headers(packet) {
        reset(skb, packet)?;
    } else {
        unreachable(skb, packet)?;
    }
    skb.set_mark(skb.mark() & !policy.cell.mark_mask | policy.cell.mark_own);
    Some(skb.send_back())
}

#[inline(never)]
fn reset(skb: &Skb, packet: &Packet) -> Option<()> {
    let header = reply::reset(skb, packet)?;
    skb.cut(packet.transport + 20)?;
    link(skb, packet.network, 0)?;
    if packet.is_v6 {
        skb.store(
            packet.network,
            &reply::ipv6_header(packet, protocol::TCP, 20),
        )?;
    } else {
        skb.store(
            packet.network,
            &reply::ipv4_header(packet, protocol::TCP, 20),
        )?;
    }
    skb.store(packet.transport, &header)
}

#[inline(never)]
fn unreachable(skb: &Skb, packet: &Packet) -> Option<()> {
    // RFC 1122 section 3.2.2: an error is never the answer to an error; of TCP, never to a RST.
    if packet.is_icmp() || packet.tcp_flags & tcp::RST != 0 {
        return None;
    }
    let quote = reply::quote(packet)?;
    let sum = reply::quoted_sum(skb, packet, quote)?;
    skb.cut(packet.network + quote)?;
    if packet.is_v6 {
        let header = reply::unreachable_v6(packet, quote, sum);
        front(skb, packet, 48)?;
        skb.store(packet.network, &header)
    } else {
        let header = reply::unreachable_v4(packet, quote, sum);
        front(skb, packet, 28)?;
        skb.store(packet.network, &header)
    }
}

/// Makes room for `bytes` between the link header of the answer and the packet that it quotes.
#[inline(always)]
fn front(skb: &Skb, packet: &Packet, bytes: u32) -> Option<()> {
    if packet.network == 0 {
        return skb.grow_network(bytes);
    }
    skb.grow_front(bytes)?;
    link(skb, packet.network, bytes)
}

/// Writes the link header at the front, with the addresses of the one at `from` swapped.
#[inline(never)]
fn link(skb: &Skb, length: u32, from: u32) -> Option<()> {
    if length == 0 {
        return Some(());
    }
    let dst: [u8; 6] = skb.load(from)?;
    let src: [u8; 6] = skb.load(from + 6)?;
    let ethertype: [u8; 2] = skb.load(from + 12)?;
    if length > 14 {
        let tag: [u8; 4] = skb.load(from + 14)?;
        if length > 18 {
            let tag: [u8; 4] = skb.load(from + 18)?;
            skb.store(18, &tag)?;
        }
        skb.store(14, &tag)?;
    }
    skb.store(0, &src)?;
    skb.store(6, &dst)?;
    skb.store(12, &ethertype)
}
