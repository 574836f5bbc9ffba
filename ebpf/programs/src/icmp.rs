//! ICMP of both families: errors and echo.

use sluice_abi::{Addr, FlowKey};

use crate::{
    bytes::Bytes,
    env::Env,
    flows, header,
    ip::has_ports,
    parse::{Packet, protocol},
};

/// Echo request or reply: RFC 792, RFC 4443 section 4.
#[inline(always)]
#[must_use]
pub const fn is_echo(packet: &Packet) -> bool {
    if packet.is_v6 {
        matches!(packet.icmp_type, 128 | 129)
    } else {
        matches!(packet.icmp_type, 0 | 8)
    }
}

/// Echo request.
#[inline(always)]
#[must_use]
pub const fn is_echo_request(packet: &Packet) -> bool {
    packet.icmp_type == if packet.is_v6 { 128 } else { 8 }
}

/// Destination unreachable, packet too big, time exceeded, parameter problem.
#[inline(always)]
#[must_use]
pub const fn is_error(packet: &Packet) -> bool {
    if packet.is_v6 {
        matches!(packet.icmp_type, 1..=4)
    } else {
        matches!(packet.icmp_type, 3 | 11 | 12)
    }
}

/// Whether an ICMP error speaks of a packet of a known flow.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn speaks_of_known<E: Env, B: Bytes + ?Sized>(env: &E, frame: &B, packet: &Packet) -> bool {
    match quoted(frame, packet) {
        Some(key) => flows::is_known(env, &key),
        None => false,
    }
}

/// The flow of the packet that an ICMP error quotes.
#[inline(always)]
fn quoted<B: Bytes + ?Sized>(frame: &B, packet: &Packet) -> Option<FlowKey> {
    let inner = packet.transport + 8;
    let (src, dst, number, transport) = if packet.is_v6 {
        let header::Ipv6 { src, dst, next, .. } = frame.load(inner)?;
        (src, dst, next, inner + 40)
    } else {
        let header: header::Ipv4 = frame.load(inner)?;
        let options = u32::from(header.version & 15) * 4;
        let (src, dst) = (
            Addr::from_v4_word(header.src),
            Addr::from_v4_word(header.dst),
        );
        (src, dst, header.protocol, inner + options)
    };
    let (sport, dport) = if has_ports(number) {
        // The ports of UDP and TCP are alike, and eight bytes are all that RFC 792 grants.
        let header: header::Udp = frame.load(transport)?;
        (header.sport, header.dport)
    } else if matches!(number, protocol::ICMP | protocol::ICMPV6) {
        let header: header::Icmp = frame.load(transport)?;
        (header.id, header.id)
    } else {
        (0, 0)
    };
    Some(FlowKey::new(src, dst, sport, dport, number).0)
}
