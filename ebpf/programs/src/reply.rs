//! The answers to rejected packets: TCP RST and ICMP administratively prohibited.
//!
//! Both are built in the rejected packet's own buffer. A packet that a local or virtual device
//! sent may still wait for its transport checksum (`CHECKSUM_PARTIAL`): the field then holds the
//! sum of the pseudo header, and whichever device lacks the offload completes it over everything
//! from the transport header on. No helper tells a program so, but the field does, and both
//! builders account for it.

use sluice_abi::Addr;

use crate::{
    bytes::Bytes,
    header,
    parse::{Packet, protocol, tcp},
};

/// Transport bytes that an ICMP error quotes: RFC 792 asks for eight.
const QUOTED: u32 = 8;
/// For TCP the checksum field must stay inside, for a device that has yet to complete it.
const QUOTED_TCP: u32 = 20;
/// Longest quote, in bytes; longer header chains get no answer.
pub const LONGEST_QUOTE: u32 = 128;

/// An internet checksum under way: RFC 1071.
#[derive(Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds four bytes that begin at an even offset, as they stand in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds two bytes, as they stand in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn half(self, half: u16) -> Self {
        Self(self.0 + half as u64)
    }

    /// Adds an address.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, addr: &Addr) -> Self {
        let [a, b, c, d] = addr.0;
        if addr.is_v4() {
            return self.word(d);
        }
        self.word(a).word(b).word(c).word(d)
    }

    /// Adds the pseudo header: RFC 9293 section 3.1, RFC 8200 section 8.1.
    #[inline(always)]
    #[must_use]
    pub const fn pseudo(self, src: &Addr, dst: &Addr, number: u8, length: u32) -> Self {
        self.address(src)
            .address(dst)
            .word(length.to_be())
            .half((number as u16).to_be())
    }

    /// The sum, folded to 16 bits, as it stands in a packet and not complemented.
    #[inline(always)]
    #[must_use]
    pub const fn folded(self) -> u16 {
        let mut sum = self.0;
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// The checksum field, as it stands in a packet.
    #[inline(always)]
    #[must_use]
    pub const fn complement(self) -> u16 {
        !self.folded()
    }

    /// Adds a part of a header whose length is a multiple of four.
    #[inline(always)]
    #[must_use]
    fn bytes<const N: usize>(self, bytes: &[u8; N]) -> Self {
        let mut sum = self;
        let (words, _) = bytes.as_chunks::<4>();
        for word in words {
            sum = sum.word(u32::from_ne_bytes(*word));
        }
        sum
    }
}

/// Whether the packet's transport checksum is still to be completed, given its field.
#[inline(always)]
#[must_use]
pub const fn is_partial(packet: &Packet, field: u16) -> bool {
    let length = packet.end - packet.transport;
    let pseudo = Sum(0).pseudo(&packet.src, &packet.dst, packet.protocol, length);
    field != 0 && pseudo.folded() == field
}

/// Whether a RST can stand where the packet's headers are: nothing between IP and TCP.
#[inline(always)]
#[must_use]
pub const fn has_plain_headers(packet: &Packet) -> bool {
    let plain = if packet.is_v6 { 40 } else { 20 };
    packet.transport - packet.network == plain
}

/// The TCP header of the RST that refuses `packet`: RFC 9293 section 3.10.7.1.
///
/// `None` for a RST, which is never answered, and where the header cannot be read.
#[inline(always)]
pub fn reset<B: Bytes + ?Sized>(frame: &B, packet: &Packet) -> Option<[u8; 20]> {
    if packet.tcp_flags & tcp::RST != 0 {
        return None;
    }
    let old: [u8; 20] = frame.load(packet.transport)?;
    let field = u16::from_ne_bytes([old[16], old[17]]);
    let mut new = [0; 20];
    new[0] = old[2];
    new[1] = old[3];
    new[2] = old[0];
    new[3] = old[1];
    new[12] = 5 << 4;
    if packet.tcp_flags & tcp::ACK != 0 {
        new[4] = old[8];
        new[5] = old[9];
        new[6] = old[10];
        new[7] = old[11];
        new[13] = tcp::RST;
    } else {
        let header = u32::from(old[12] >> 4) * 4;
        let data = (packet.end - packet.transport).saturating_sub(header);
        let controls = u32::from(packet.tcp_flags & tcp::SYN != 0)
            + u32::from(packet.tcp_flags & tcp::FIN != 0);
        let seq = u32::from_be_bytes([old[4], old[5], old[6], old[7]]);
        let [a, b, c, d] = seq.wrapping_add(data).wrapping_add(controls).to_be_bytes();
        new[8] = a;
        new[9] = b;
        new[10] = c;
        new[11] = d;
        new[13] = tcp::RST | tcp::ACK;
    }
    let pseudo = Sum::default().pseudo(&packet.dst, &packet.src, protocol::TCP, 20);
    let check = if is_partial(packet, field) {
        pseudo.folded()
    } else {
        pseudo.bytes(&new).complement()
    };
    let [high, low] = check.to_ne_bytes();
    new[16] = high;
    new[17] = low;
    Some(new)
}

/// Bytes of the packet that an ICMP error quotes; `None` where that is more than
/// [`LONGEST_QUOTE`], or the packet has no transport bytes to quote.
#[inline(always)]
#[must_use]
pub const fn quote(packet: &Packet) -> Option<u32> {
    let transport = if packet.protocol == protocol::TCP {
        QUOTED_TCP
    } else {
        QUOTED
    };
    if packet.end - packet.transport < transport {
        return None;
    }
    let quote = packet.transport - packet.network + transport;
    if quote > LONGEST_QUOTE {
        None
    } else {
        Some(quote)
    }
}

/// Sum of the quoted bytes as they will be once a waiting checksum has been completed.
#[inline(always)]
pub fn quoted_sum<B: Bytes + ?Sized>(frame: &B, packet: &Packet, quote: u32) -> Option<Sum> {
    let mut header = Sum::default();
    let mut transport = Sum::default();
    let boundary = packet.transport - packet.network;
    let mut at = 0;
    while at < LONGEST_QUOTE {
        if at >= quote {
            break;
        }
        let word = frame.load(packet.network + at)?;
        if at < boundary {
            header = header.word(word);
        } else {
            transport = transport.word(word);
        }
        at += 4;
    }
    let field: Option<u16> = match packet.protocol {
        protocol::UDP => frame.load(packet.transport + 6),
        protocol::TCP => frame.load(packet.transport + 16),
        _ => None,
    };
    if let Some(field) = field
        && is_partial(packet, field)
    {
        // Completing makes the field the complement of the sum over the range, old field
        // included: what remains of the range's sum is the complement of the old field.
        return Some(header.half(!field));
    }
    Some(Sum(header.0 + transport.0))
}

/// IPv4 and ICMP header of the error: type 3 code 13, RFC 1812 section 5.2.7.1.
///
/// It comes from the address that the client called, since that is the only one at hand.
#[inline(always)]
#[must_use]
pub fn unreachable_v4(packet: &Packet, quote: u32, quoted: Sum) -> [u8; 28] {
    let mut new = [0; 28];
    let ip = ipv4_header(packet, protocol::ICMP, 8 + quote);
    let (front, back) = new.split_at_mut(20);
    front.copy_from_slice(&ip);
    if let [kind, code, high, low, ..] = back {
        *kind = 3;
        *code = 13;
        [*high, *low] = Sum(quoted.0)
            .half(u16::from_ne_bytes([3, 13]))
            .complement()
            .to_ne_bytes();
    }
    new
}

/// IPv6 and ICMPv6 header of the error: type 1 code 1, RFC 4443 section 3.1.
#[inline(always)]
#[must_use]
pub fn unreachable_v6(packet: &Packet, quote: u32, quoted: Sum) -> [u8; 48] {
    let mut new = [0; 48];
    let length = 8 + quote;
    let ip = ipv6_header(packet, protocol::ICMPV6, length);
    let (front, back) = new.split_at_mut(40);
    front.copy_from_slice(&ip);
    if let [kind, code, high, low, ..] = back {
        *kind = 1;
        *code = 1;
        [*high, *low] = Sum(quoted.0)
            .pseudo(&packet.dst, &packet.src, protocol::ICMPV6, length)
            .half(u16::from_ne_bytes([1, 1]))
            .complement()
            .to_ne_bytes();
    }
    new
}

/// The IPv4 header of an answer with `length` bytes behind it.
#[inline(always)]
#[must_use]
pub fn ipv4_header(packet: &Packet, number: u8, length: u32) -> [u8; 20] {
    let mut new = [0; 20];
    let [high, low] = ((20 + length) as u16).to_be_bytes();
    let [s0, s1, s2, s3] = packet.dst.0[3].to_ne_bytes();
    let [d0, d1, d2, d3] = packet.src.0[3].to_ne_bytes();
    new[0] = 0x45;
    new[2] = high;
    new[3] = low;
    new[6] = 0x40;
    new[8] = 64;
    new[9] = number;
    new[12] = s0;
    new[13] = s1;
    new[14] = s2;
    new[15] = s3;
    new[16] = d0;
    new[17] = d1;
    new[18] = d2;
    new[19] = d3;
    let [high, low] = Sum::default().bytes(&new).complement().to_ne_bytes();
    new[10] = high;
    new[11] = low;
    new
}

/// The IPv6 header of an answer with `length` bytes behind it.
#[inline(always)]
#[must_use]
pub fn ipv6_header(packet: &Packet, number: u8, length: u32) -> [u8; 40] {
    zerocopy::transmute!(header::Ipv6 {
        version: 0x60,
        flow: [0; 3],
        payload: (length as u16).to_be(),
        next: number,
        hops: 64,
        src: packet.dst,
        dst: packet.src,
    })
}
