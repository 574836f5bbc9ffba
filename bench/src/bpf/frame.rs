//! Ethernet frames for the programs: right in every length, with no more than they look at.
//! Checksums of transport headers are left zero, since the programs do not read them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bits of the TCP header's flags.
pub mod flag {
    /// Begins a connection.
    pub const SYN: u8 = 0x02;
    /// Everything after the first segment.
    pub const ACK: u8 = 0x10;
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

/// Which part of a datagram a fragment is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// It begins with the transport header, and more follows.
    First,
    /// It begins 1400 bytes later.
    Second,
}

/// A TCP segment with 32 bytes behind its header, so that the shortest frame is not padded. Source and
/// destination are of one family; otherwise there is no frame.
#[must_use]
pub fn tcp(src: SocketAddr, dst: SocketAddr, flags: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(src.port().to_be_bytes());
    segment.extend(dst.port().to_be_bytes());
    segment.extend([0, 0, 3, 232, 0, 0, 19, 136]);
    segment.extend([0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    segment.extend([0; 32]);
    packet(src.ip(), dst.ip(), TCP, &segment, None)
}

/// A UDP datagram with this payload.
#[must_use]
pub fn udp(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Vec<u8> {
    packet(src.ip(), dst.ip(), UDP, &datagram(src, dst, payload), None)
}

/// A fragment of a UDP datagram of 2800 bytes; of the first, only as much as matters.
#[must_use]
pub fn fragment(src: SocketAddr, dst: SocketAddr, part: Part) -> Vec<u8> {
    let body = match part {
        Part::First => datagram(src, dst, &[0; 120]),
        Part::Second => vec![0; 128],
    };
    packet(src.ip(), dst.ip(), UDP, &body, Some(part))
}

/// An ARP request: what is not IP.
#[must_use]
pub fn arp() -> Vec<u8> {
    let mut frame = ethernet(0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([0; 38]);
    frame
}

fn datagram(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(src.port().to_be_bytes());
    bytes.extend(dst.port().to_be_bytes());
    bytes.extend(length(payload.len() + 8));
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

fn ethernet(ethertype: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(ethertype.to_be_bytes());
    frame
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

fn packet(src: IpAddr, dst: IpAddr, protocol: u8, body: &[u8], part: Option<Part>) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => v4(src, dst, protocol, body, part),
        (IpAddr::V6(src), IpAddr::V6(dst)) => v6(src, dst, protocol, body, part),
        _ => Vec::new(),
    }
}

fn v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, body: &[u8], part: Option<Part>) -> Vec<u8> {
    // More fragments, or an offset of 175 times eight bytes (RFC 791 section 3.1).
    let place: u16 = match part {
        None => 0x4000,
        Some(Part::First) => 0x2000,
        Some(Part::Second) => 175,
    };
    let mut header = vec![0x45, 0];
    header.extend(length(body.len() + 20));
    header.extend([0x12, 0x34]);
    header.extend(place.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    let checksum = checksum(&header).to_be_bytes();
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&checksum);
    }
    let mut frame = ethernet(0x0800);
    frame.extend(header);
    frame.extend(body);
    frame
}

fn v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, body: &[u8], part: Option<Part>) -> Vec<u8> {
    let mut extension = Vec::new();
    if let Some(part) = part {
        // RFC 8200 section 4.5.
        let place: u16 = match part {
            Part::First => 1,
            Part::Second => 175 << 3,
        };
        extension.extend([protocol, 0]);
        extension.extend(place.to_be_bytes());
        extension.extend([0, 0, 0x12, 0x34]);
    }
    let next = if part.is_some() { FRAGMENT } else { protocol };
    let mut frame = ethernet(0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length(extension.len() + body.len()));
    frame.extend([next, 64]);
    frame.extend(src.octets());
    frame.extend(dst.octets());
    frame.extend(extension);
    frame.extend(body);
    frame
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while let high @ 1.. = sum >> 16 {
        sum = (sum & 0xffff) + high;
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_sums_to_nothing() {
        let src = "10.0.0.2:4000".parse().unwrap();
        let dst = "203.0.113.5:443".parse().unwrap();
        let frame = tcp(src, dst, flag::SYN);
        assert_eq!(checksum(&frame[14..34]), 0);
        assert_eq!(frame.len(), 14 + 20 + 20 + 32);
    }

    #[test]
    fn lengths_are_those_of_the_frame() {
        let src = "[2001:db8::2]:4000".parse().unwrap();
        let dst = "[2001:db8:1::5]:3478".parse().unwrap();
        let frame = fragment(src, dst, Part::Second);
        let length = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
        assert_eq!(frame.len(), 14 + 40 + length);
        assert_eq!(frame[20], FRAGMENT);
    }
}
