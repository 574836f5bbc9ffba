//! Reads a packet back, checksums and all: what a test looks at in an answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{checksum, protocol};

/// A packet as its receiver would see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct View {
    /// VLAN identifiers, outermost first.
    pub vlans: Vec<u16>,
    /// Sender.
    pub src: IpAddr,
    /// Receiver.
    pub dst: IpAddr,
    /// Time to live or hop limit.
    pub hops: u8,
    /// The transport protocol, behind all extension headers.
    pub protocol: u8,
    /// Source and destination port, where the protocol has them.
    pub ports: Option<(u16, u16)>,
    /// TCP flags; 0 for other protocols.
    pub flags: u8,
    /// TCP sequence and acknowledgement number.
    pub sequence: Option<(u32, u32)>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// What follows the transport header.
    pub payload: Vec<u8>,
    /// Whether the IPv4 header checksum (where there is one) is right.
    pub header_checksum: bool,
    /// Whether the transport checksum is right; true for protocols that are not known here.
    pub transport_checksum: bool,
}

impl View {
    /// Reads an Ethernet frame; `None` where it is not a whole IP packet.
    #[must_use]
    pub fn frame(bytes: &[u8]) -> Option<Self> {
        let mut at = 12;
        let mut vlans = Vec::new();
        loop {
            let ethertype = be16(bytes, at)?;
            if !matches!(ethertype, 0x8100 | 0x88a8) {
                break;
            }
            vlans.push(be16(bytes, at + 2)? & 0x0fff);
            at += 4;
        }
        Some(Self {
            vlans,
            ..Self::datagram(bytes.get(at + 2..)?)?
        })
    }

    /// Reads a packet without link header; `None` where it is not a whole IP packet.
    #[must_use]
    pub fn datagram(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => Self::v4(bytes),
            6 => Self::v6(bytes),
            _ => None,
        }
    }

    fn v4(bytes: &[u8]) -> Option<Self> {
        let header = usize::from(bytes.first()? & 0xf) * 4;
        let length = usize::from(be16(bytes, 2)?);
        let src = Ipv4Addr::from(*bytes.get(12..)?.first_chunk::<4>()?);
        let dst = Ipv4Addr::from(*bytes.get(16..)?.first_chunk::<4>()?);
        let mut view = Self::transport(
            src.into(),
            dst.into(),
            *bytes.get(9)?,
            bytes.get(header..length)?,
        )?;
        view.hops = *bytes.get(8)?;
        view.header_checksum = checksum::internet(&[bytes.get(..header)?]) == 0;
        Some(view)
    }

    fn v6(bytes: &[u8]) -> Option<Self> {
        let length = 40 + usize::from(be16(bytes, 4)?);
        let src = Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?);
        let dst = Ipv6Addr::from(*bytes.get(24..)?.first_chunk::<16>()?);
        let bytes = bytes.get(..length)?;
        let (mut next, mut at) = (*bytes.get(6)?, 40);
        while matches!(next, 0 | 43 | 60 | 135) {
            next = *bytes.get(at)?;
            at += 8 + usize::from(*bytes.get(at + 1)?) * 8;
        }
        let mut view = Self::transport(src.into(), dst.into(), next, bytes.get(at..)?)?;
        view.hops = *bytes.get(7)?;
        Some(view)
    }

    fn transport(src: IpAddr, dst: IpAddr, number: u8, bytes: &[u8]) -> Option<Self> {
        let mut view = Self {
            vlans: Vec::new(),
            src,
            dst,
            hops: 0,
            protocol: number,
            ports: None,
            flags: 0,
            sequence: None,
            icmp: None,
            payload: bytes.to_vec(),
            header_checksum: true,
            transport_checksum: true,
        };
        match number {
            protocol::TCP => {
                let header = usize::from(bytes.get(12)? >> 4) * 4;
                view.ports = Some((be16(bytes, 0)?, be16(bytes, 2)?));
                view.sequence = Some((be32(bytes, 4)?, be32(bytes, 8)?));
                view.flags = *bytes.get(13)?;
                view.payload = bytes.get(header..)?.to_vec();
                view.transport_checksum = checksum::transport(src, dst, number, bytes) == 0;
            }
            protocol::UDP => {
                view.ports = Some((be16(bytes, 0)?, be16(bytes, 2)?));
                view.payload = bytes.get(8..)?.to_vec();
                view.transport_checksum = (src.is_ipv4() && be16(bytes, 6)? == 0)
                    || checksum::transport(src, dst, number, bytes) == 0;
            }
            protocol::ICMP => {
                view.icmp = Some((*bytes.first()?, *bytes.get(1)?));
                view.payload = bytes.get(8..)?.to_vec();
                view.transport_checksum = checksum::internet(&[bytes]) == 0;
            }
            protocol::ICMPV6 => {
                view.icmp = Some((*bytes.first()?, *bytes.get(1)?));
                view.payload = bytes.get(8..)?.to_vec();
                view.transport_checksum = checksum::transport(src, dst, number, bytes) == 0;
            }
            _ => {}
        }
        Some(view)
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::packet::{Extension, Icmp, Packet, Tcp, Udp, flag};

    fn ends() -> [(SocketAddr, SocketAddr); 2] {
        [
            (
                "10.77.0.10:40000".parse().unwrap(),
                "203.0.113.5:443".parse().unwrap(),
            ),
            (
                "[fd77::10]:40000".parse().unwrap(),
                "[2001:db8:1::5]:443".parse().unwrap(),
            ),
        ]
    }

    #[test]
    fn a_built_segment_reads_back_in_both_families() {
        for (client, origin) in ends() {
            let packet = Tcp::syn(client, origin).seq(7).payload(b"early").packet();
            let view = View::frame(&packet.vlan(5).tag(0x88a8, 0x2009).frame()).unwrap();
            assert_eq!(view.vlans, [5, 9]);
            assert_eq!((view.src, view.dst), (client.ip(), origin.ip()));
            assert_eq!(view.ports, Some((40000, 443)));
            assert_eq!((view.flags, view.sequence), (flag::SYN, Some((7, 0))));
            assert_eq!(view.payload, b"early");
            assert!(view.header_checksum && view.transport_checksum);
        }
    }

    #[test]
    fn a_wrong_checksum_shows() {
        for (client, origin) in ends() {
            let tcp = Tcp::syn(client, origin).bad_checksum().packet().frame();
            assert!(!View::frame(&tcp).unwrap().transport_checksum);
            let udp = Udp::new(client, origin, b"odd")
                .bad_checksum()
                .packet()
                .frame();
            assert!(!View::frame(&udp).unwrap().transport_checksum);
        }
        let (client, origin) = ends()[0];
        let packet = Udp::new(client, origin, b"").packet().bad_header_checksum();
        assert!(!View::datagram(&packet.datagram()).unwrap().header_checksum);
    }

    #[test]
    fn extension_headers_are_linked_in_order() {
        let (client, origin) = ends()[1];
        let packet = Udp::new(client, origin, b"x")
            .packet()
            .extension(Extension::hop_by_hop(2))
            .extension(Extension::destination(40))
            .extension(Extension::routing(2, 0));
        let bytes = packet.datagram();
        assert_eq!((bytes[6], bytes[40], bytes[41]), (0, 60, 1));
        let view = View::datagram(&bytes).unwrap();
        assert_eq!(
            (view.protocol, view.ports),
            (protocol::UDP, Some((40000, 443)))
        );
        assert!(view.transport_checksum);
    }

    #[test]
    fn icmp_of_both_families_checks_out() {
        for (client, origin) in ends() {
            let lost = Udp::new(client, origin, &[1; 2000]).packet();
            for icmp in [
                Icmp::echo_request(client.ip(), origin.ip(), 1, 2),
                Icmp::echo_reply(origin.ip(), client.ip(), 1, 2),
                Icmp::port_unreachable(origin.ip(), client.ip(), &lost),
            ] {
                let view = View::frame(&icmp.packet().frame()).unwrap();
                assert!(view.transport_checksum, "{icmp:?}");
            }
        }
    }

    #[test]
    fn fragments_carry_every_byte_once() {
        for (client, origin) in ends() {
            let payload: Vec<u8> = (0..100).collect();
            let whole = Udp::new(client, origin, &payload).packet();
            let parts = whole.fragments(&[8, 64]);
            let header = if client.is_ipv4() { 20 } else { 48 };
            let joined: Vec<u8> = parts
                .iter()
                .flat_map(|part| part.datagram()[header..].to_vec())
                .collect();
            let plain = if client.is_ipv4() { 20 } else { 40 };
            assert_eq!(joined, whole.datagram()[plain..]);
            let flags: Vec<u16> = parts
                .iter()
                .map(|part| be16(&part.datagram(), if client.is_ipv4() { 6 } else { 42 }).unwrap())
                .collect();
            let expected = if client.is_ipv4() {
                [0x2000, 0x2001, 8]
            } else {
                [1, 9, 64]
            };
            assert_eq!(flags, expected);
        }
    }

    #[test]
    fn a_chain_cut_by_fragments_keeps_what_routers_read_in_front() {
        let (client, origin) = ends()[1];
        let parts = Tcp::syn(client, origin)
            .packet()
            .extension(Extension::hop_by_hop(1))
            .extension(Extension::destination(1))
            .fragments(&[8]);
        let first = parts[0].datagram();
        // IPv6, hop-by-hop, fragment, then the destination options alone.
        assert_eq!((first[6], first[40], first[48]), (0, 44, 60));
        assert_eq!(first.len(), 40 + 8 + 8 + 8);
        let second = parts[1].datagram();
        assert_eq!((second[6], second[40], second[48]), (0, 44, 60));
    }

    #[test]
    fn lies_are_told_as_asked() {
        let (client, origin) = ends()[0];
        let bytes = Tcp::syn(client, origin)
            .data_offset(2)
            .packet()
            .header_words(3)
            .length(10)
            .options(&[1, 1, 1])
            .datagram();
        assert_eq!((bytes[0], be16(&bytes, 2)), (0x43, Some(10)));
        assert_eq!(bytes[24 + 12] >> 4, 2);
        assert_eq!(
            Packet::raw(client.ip(), origin.ip(), 47, b"gre")
                .datagram()
                .len(),
            23
        );
    }
}
