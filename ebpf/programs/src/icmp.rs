//! ICMP of both families: errors and echo.

use sluice_abi::{Addr, FlowKey};

use crate::{
    bytes::{Bytes, net16, net32},
    env::Env,
    flows,
    ip::{Ipv6Header, has_ports},
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
        let header: [u8; 40] = frame.load(inner)?;
        let Ipv6Header { src, dst, .. } = zerocopy::transmute!(header);
        (src, dst, header[6], inner + 40)
    } else {
        let header: [u8; 20] = frame.load(inner)?;
        let src = Addr::from_v4_word(net32([header[12], header[13], header[14], header[15]]));
        let dst = Addr::from_v4_word(net32([header[16], header[17], header[18], header[19]]));
        (src, dst, header[9], inner + u32::from(header[0] & 15) * 4)
    };
    let ports: [u8; 8] = frame.load(transport)?;
    let (sport, dport) = if has_ports(number) {
        (net16(ports[0], ports[1]), net16(ports[2], ports[3]))
    } else if matches!(number, protocol::ICMP | protocol::ICMPV6) {
        (net16(ports[4], ports[5]), net16(ports[4], ports[5]))
    } else {
        (0, 0)
    };
    Some(FlowKey::new(src, dst, sport, dport, number).0)
}
