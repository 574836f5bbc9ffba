//! Captured bytes to frames that the kernel programs can be given.

use std::net::IpAddr;

use pcap_file::DataLink;
use sluice_abi::Reason;
use sluice_programs::{
    Link, Packet,
    parse::{self, Fragment, protocol},
};

use super::capture::Captured;

/// Addresses of a synthetic Ethernet header, locally administered.
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
/// Longest frame that BPF_PROG_TEST_RUN takes, with room to spare.
pub(super) const LONGEST: usize = 3000;
/// Payload of the pieces that a longer one is cut into.
const PIECE: usize = 1400;

/// Whether packets of a link type can be read.
pub(super) fn is_supported(link: DataLink) -> bool {
    matches!(
        link,
        DataLink::ETHERNET
            | DataLink::RAW
            | DataLink::IPV4
            | DataLink::IPV6
            | DataLink::NULL
            | DataLink::LOOP
            | DataLink::LINUX_SLL
            | DataLink::LINUX_SLL2
    )
}

/// A captured packet as Ethernet.
pub(super) struct Frame {
    /// Its bytes, filled with zeros up to its length on the wire.
    pub bytes: Vec<u8>,
    /// How many of them were captured.
    pub kept: usize,
}

/// The frame as Ethernet. `None` where it ends inside its link header.
pub(super) fn ethernet(captured: &Captured) -> Option<Frame> {
    let bytes = &captured.bytes;
    let (header, skip) = match captured.link {
        DataLink::ETHERNET => (Vec::new(), 0),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => (synthetic(version(bytes)?), 0),
        DataLink::NULL | DataLink::LOOP => (synthetic(version(bytes.get(4..)?)?), 4),
        DataLink::LINUX_SLL => (tagged(bytes.get(14..16)?), 16),
        DataLink::LINUX_SLL2 => (tagged(bytes.get(..2)?), 20),
        _ => return None,
    };
    let length = header.len() + captured.length.saturating_sub(skip);
    let mut frame = header;
    frame.extend_from_slice(bytes.get(skip..).unwrap_or_default());
    let kept = frame.len();
    // What the capture cut off still counts for the lengths in the headers.
    if kept < length && length <= 1 << 18 {
        frame.resize(length, 0);
    }
    Some(Frame { bytes: frame, kept })
}

impl Frame {
    /// The bytes that were captured.
    pub(super) fn captured(&self) -> &[u8] {
        self.bytes.get(..self.kept).unwrap_or_default()
    }

    /// Whether the capture cut the packet off before the end of the headers that are judged.
    pub(super) fn is_blind(&self, outline: &Outline) -> bool {
        let header = match outline.protocol {
            _ if outline
                .fragment
                .as_ref()
                .is_some_and(|part| part.offset != 0) =>
            {
                0
            }
            protocol::TCP => 20,
            protocol::UDP | protocol::ICMP | protocol::ICMPV6 => 8,
            _ => 0,
        };
        self.kept < self.bytes.len() && self.kept < outline.transport + header
    }
}

fn version(bytes: &[u8]) -> Option<[u8; 2]> {
    match bytes.first().map(|first| first >> 4) {
        Some(6) => Some([0x86, 0xdd]),
        Some(_) => Some([0x08, 0x00]),
        None => None,
    }
}

fn synthetic(ethertype: [u8; 2]) -> Vec<u8> {
    [MACS.as_slice(), &ethertype].concat()
}

fn tagged(ethertype: &[u8]) -> Vec<u8> {
    [MACS.as_slice(), ethertype].concat()
}

/// Reads the headers of a frame as the kernel programs do.
///
/// # Errors
///
/// The reason that the programs give for it.
pub(super) fn parse(frame: &[u8]) -> Result<Packet, Reason> {
    let mut packet = Packet::EMPTY;
    parse::parse(frame, Link::Ethernet, &mut packet)?;
    Ok(packet)
}

/// The bytes behind the transport header, as far as `frame` goes.
pub(super) fn payload<'a>(frame: &'a [u8], packet: &Packet) -> &'a [u8] {
    let end = frame.len().min(packet.end as usize);
    frame.get(body(frame, packet)..end).unwrap_or_default()
}

/// Offset of the first byte behind the transport header.
pub(super) fn body(frame: &[u8], packet: &Packet) -> usize {
    let header = match packet.protocol {
        protocol::TCP => tcp_header(frame, packet),
        protocol::UDP => 8,
        _ => 0,
    };
    packet.transport as usize + header
}

fn tcp_header(frame: &[u8], packet: &Packet) -> usize {
    let words = frame
        .get(packet.transport as usize + 12)
        .map_or(5, |byte| byte >> 4);
    usize::from(words) * 4
}

/// A TCP segment's sequence number.
pub(super) fn sequence(frame: &[u8], packet: &Packet) -> u32 {
    be32(frame, packet.transport as usize + 4).unwrap_or(0)
}

/// A TCP segment's acknowledgement number.
pub(super) fn acknowledgement(frame: &[u8], packet: &Packet) -> u32 {
    be32(frame, packet.transport as usize + 8).unwrap_or(0)
}

/// The frame, or where it is too long for a test run the shorter ones that a network would carry
/// in its place.
///
/// Captures taken above segmentation offload hold segments of up to 64 KiB. TCP and UDP are cut
/// as the offload would; anything else is cut short, since no judgement reads beyond its headers.
pub(super) fn pieces(frame: &[u8], packet: &Packet) -> Vec<Vec<u8>> {
    if frame.len() <= LONGEST {
        return vec![frame.to_vec()];
    }
    let frame = frame.get(..packet.end as usize).unwrap_or(frame);
    if frame.len() <= LONGEST {
        return vec![frame.to_vec()];
    }
    let body = payload(frame, packet);
    let front = packet.end as usize - body.len();
    let header = frame.get(..front).unwrap_or_default();
    let cuttable = packet.fragment == Fragment::Whole
        && matches!(packet.protocol, protocol::TCP | protocol::UDP)
        && header.len() < LONGEST - PIECE;
    if !cuttable {
        let mut short = frame
            .get(..LONGEST.min(frame.len()))
            .unwrap_or_default()
            .to_vec();
        let length = short.len() - packet.network as usize;
        set_length(&mut short, packet, length);
        return vec![short];
    }
    let first = sequence(frame, packet);
    let mut pieces = Vec::new();
    for (index, piece) in body.chunks(PIECE).enumerate() {
        let mut cut = [header, piece].concat();
        let length = cut.len() - packet.network as usize;
        set_length(&mut cut, packet, length);
        let at = packet.transport as usize;
        if packet.protocol == protocol::TCP {
            let offset = u32::try_from(index * PIECE).unwrap_or(0);
            put(&mut cut, at + 4, &first.wrapping_add(offset).to_be_bytes());
        } else {
            let length = u16::try_from(piece.len() + 8).unwrap_or(u16::MAX);
            put(&mut cut, at + 4, &length.to_be_bytes());
        }
        pieces.push(cut);
    }
    pieces
}

/// Sets the length field of the IP header.
fn set_length(frame: &mut [u8], packet: &Packet, length: usize) {
    let at = packet.network as usize;
    let (field, value) = if packet.is_v6 {
        (4, length - 40)
    } else {
        (2, length)
    };
    put(
        frame,
        at + field,
        &u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes(),
    );
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = frame.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// What tells whose a packet is, read as far as it goes: of packets whose headers do not parse too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Outline {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Transport protocol number, or that of the last header that could be read.
    pub protocol: u8,
    /// Source and destination port, of the protocols that have ports.
    pub ports: Option<(u16, u16)>,
    /// Which part of a datagram it is; `None` for a whole one.
    pub fragment: Option<Part>,
    /// Offset of the transport header.
    pub transport: usize,
}

/// A fragment's place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Part {
    /// Identification of the datagram.
    pub id: u32,
    /// Where in the datagram's cut part it begins.
    pub offset: usize,
    /// Offset of its own piece of that part in the frame.
    pub start: usize,
}

/// The outline of a frame, or `None` where it does not carry both addresses.
pub(super) fn outline(frame: &[u8]) -> Option<Outline> {
    let mut at = 12;
    let mut ethertype = be16(frame, at)?;
    while matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
        at += 4;
        ethertype = be16(frame, at)?;
    }
    let mut outline = match ethertype {
        0x0800 => outline_v4(frame, at + 2)?,
        0x86dd => outline_v6(frame, at + 2)?,
        _ => return None,
    };
    let is_later = outline.fragment.is_some_and(|part| part.offset != 0);
    if has_ports(outline.protocol) && !is_later {
        let at = outline.transport;
        outline.ports = be16(frame, at).zip(be16(frame, at + 2));
    }
    Some(outline)
}

/// Transport protocols whose header begins with two ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP | 33 | 132 | 136)
}

fn outline_v4(frame: &[u8], network: usize) -> Option<Outline> {
    let header = frame.get(network..)?;
    let src: [u8; 4] = header.get(12..16)?.try_into().ok()?;
    let dst: [u8; 4] = header.get(16..20)?.try_into().ok()?;
    let transport = network + usize::from(*header.first()? & 15).max(5) * 4;
    let control = be16(header, 6)?;
    let offset = usize::from(control & 0x1fff) * 8;
    let id = be16(header, 4)?.into();
    let fragment = (control & 0x3fff != 0).then_some(Part {
        id,
        offset,
        start: transport,
    });
    let protocol = *header.get(9)?;
    Some(Outline {
        src: src.into(),
        dst: dst.into(),
        protocol,
        ports: None,
        fragment,
        transport,
    })
}

fn outline_v6(frame: &[u8], network: usize) -> Option<Outline> {
    let header = frame.get(network..)?;
    let src: [u8; 16] = header.get(8..24)?.try_into().ok()?;
    let dst: [u8; 16] = header.get(24..40)?.try_into().ok()?;
    let mut outline = Outline {
        src: src.into(),
        dst: dst.into(),
        protocol: *header.get(6)?,
        ports: None,
        fragment: None,
        transport: network + 40,
    };
    // Every round moves on by eight bytes at least, so the frame's end ends it.
    while let Some(size) = extension(frame, &outline) {
        let at = outline.transport;
        let (Some(next), Some(_)) = (frame.get(at), frame.get(at + 7)) else {
            break;
        };
        if outline.protocol == 44 {
            let control = be16(frame, at + 2)?;
            let id = be32(frame, at + 4)?;
            let offset = usize::from(control & 0xfff8);
            if control & 0xfff9 != 0 {
                outline.fragment = Some(Part {
                    id,
                    offset,
                    start: at + 8,
                });
            }
        }
        outline.protocol = *next;
        outline.transport += size;
        if outline.fragment.is_some_and(|part| part.offset != 0) {
            break;
        }
    }
    Some(outline)
}

/// Length of the extension header at which an outline stands, if it stands at one.
fn extension(frame: &[u8], outline: &Outline) -> Option<usize> {
    let units = || frame.get(outline.transport + 1).copied().map(usize::from);
    match outline.protocol {
        44 => Some(8),
        51 => Some((units()? + 2) * 4),
        0 | 43 | 60 | 135 | 139 | 140 => Some((units()? + 1) * 8),
        _ => None,
    }
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    frame
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

fn be32(frame: &[u8], at: usize) -> Option<u32> {
    frame
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// TCP from 10.0.0.1:1000 to 192.0.2.1:443 with so many bytes of payload.
    fn tcp(payload: usize) -> Vec<u8> {
        let total = u16::try_from(40 + payload).unwrap().to_be_bytes();
        let mut bytes = synthetic([0x08, 0x00]);
        bytes.extend([0x45, 0, total[0], total[1], 0, 9, 0, 0, 64, 6, 0, 0]);
        bytes.extend([10, 0, 0, 1, 192, 0, 2, 1]);
        bytes.extend([
            3, 0xe8, 1, 0xbb, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 0, 0x50, 0x10, 0, 0,
        ]);
        bytes.extend([0; 4]);
        bytes.extend((0..payload).map(|at| at as u8));
        bytes
    }

    fn captured(link: DataLink, bytes: &[u8], length: usize) -> Captured {
        let bytes = bytes.to_vec();
        Captured {
            number: 1,
            time: Duration::ZERO,
            link,
            bytes,
            length,
        }
    }

    #[test]
    fn every_link_type_becomes_ethernet() {
        let wanted = outline(&tcp(10)).unwrap();
        assert_eq!((wanted.ports, wanted.transport), (Some((1000, 443)), 34));
        let ip = tcp(10).split_off(14);
        let cooked = [&[0; 14][..], &[8, 0], &ip].concat();
        let cooked2 = [&[8, 0][..], &[0; 18], &ip].concat();
        let null = [&[2, 0, 0, 0][..], &ip].concat();
        for (link, bytes) in [
            (DataLink::ETHERNET, tcp(10)),
            (DataLink::RAW, ip.clone()),
            (DataLink::IPV4, ip),
            (DataLink::NULL, null.clone()),
            (DataLink::LOOP, null),
            (DataLink::LINUX_SLL, cooked),
            (DataLink::LINUX_SLL2, cooked2),
        ] {
            assert!(is_supported(link));
            let frame = ethernet(&captured(link, &bytes, bytes.len() + 50)).unwrap();
            assert_eq!(outline(&frame.bytes), Some(wanted), "{link:?}");
            assert_eq!((frame.bytes.len(), frame.kept), (64 + 50, 64), "{link:?}");
            assert!(ethernet(&captured(link, &[], 0)).is_none_or(|frame| frame.bytes.is_empty()));
        }
        assert!(!is_supported(DataLink::IEEE802_11));
    }

    #[test]
    fn long_segments_are_cut_as_a_network_would() {
        let frame = tcp(10_000);
        let packet = parse(&frame).unwrap();
        let pieces = pieces(&frame, &packet);
        let mut whole = Vec::new();
        for piece in &pieces {
            let part = parse(piece).unwrap();
            assert!(piece.len() <= LONGEST);
            assert_eq!((part.sport, part.dport), (packet.sport, packet.dport));
            let offset = u32::try_from(whole.len()).unwrap();
            assert_eq!(sequence(piece, &part), 0xffff_fff0u32.wrapping_add(offset));
            whole.extend_from_slice(payload(piece, &part));
        }
        assert_eq!(whole, payload(&frame, &packet));
        assert_eq!(pieces.len(), 8);
    }

    #[test]
    fn padding_is_not_cut_but_left_out() {
        let mut frame = tcp(0);
        frame.resize(9000, 0xee);
        let packet = parse(&frame).unwrap();
        assert_eq!(pieces(&frame, &packet), [tcp(0)]);
    }

    #[test]
    fn what_was_not_captured_is_no_payload() {
        let bytes = tcp(100);
        let frame = ethernet(&captured(DataLink::ETHERNET, &bytes[..60], bytes.len())).unwrap();
        let packet = parse(&frame.bytes).unwrap();
        assert_eq!(payload(frame.captured(), &packet), [0, 1, 2, 3, 4, 5]);
        assert!(!frame.is_blind(&outline(frame.captured()).unwrap()));
        let frame = ethernet(&captured(DataLink::ETHERNET, &bytes[..40], bytes.len())).unwrap();
        let outline = outline(frame.captured()).unwrap();
        assert_eq!(outline.ports, Some((1000, 443)));
        assert!(frame.is_blind(&outline));
    }

    #[test]
    fn outlines_need_both_addresses_and_no_more() {
        let bytes = tcp(0);
        for cut in 0..bytes.len() {
            let found = outline(&bytes[..cut]);
            assert_eq!(found.is_some(), cut >= 34, "cut at {cut}");
            assert_eq!(
                found.and_then(|found| found.ports).is_some(),
                cut >= 38,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn ipv6_headers_are_walked_to_the_fragment() {
        let mut bytes = synthetic([0x86, 0xdd]);
        bytes.extend([0x60, 0, 0, 0, 0, 40, 0, 64]);
        bytes.extend([[0xfd; 16], [0x20; 16]].concat());
        // Hop-by-hop, then a later fragment of what begins with destination options.
        bytes.extend([44, 0, 1, 4, 0, 0, 0, 0]);
        bytes.extend([60, 0, 0, 0x48, 0, 0, 0, 7]);
        bytes.extend([0xff; 24]);
        let found = outline(&bytes).unwrap();
        assert_eq!(
            (found.protocol, found.ports, found.transport),
            (60, None, 70)
        );
        assert_eq!(
            found.fragment,
            Some(Part {
                id: 7,
                offset: 0x48,
                start: 70
            })
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_an_outline_or_none(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            six in proptest::prelude::any::<bool>(),
        ) {
            let ethertype = if six { [0x86, 0xdd] } else { [8, 0] };
            let frame = [synthetic(ethertype), bytes].concat();
            let found = outline(&frame);
            if let Ok(packet) = parse(&frame) {
                let found = found.unwrap();
                proptest::prop_assert_eq!(found.src, packet.src.to_ip());
                proptest::prop_assert_eq!(found.dst, packet.dst.to_ip());
                proptest::prop_assert_eq!(found.protocol, packet.protocol);
                proptest::prop_assert_eq!(found.transport, packet.transport as usize);
                for piece in pieces(&frame, &packet) {
                    proptest::prop_assert!(piece.len() <= LONGEST);
                }
            }
        }
    }
}
