//! Captured bytes to frames that the kernel programs can be given.

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
const LONGEST: usize = 3000;
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

/// The frame as Ethernet, filled with zeros up to its length on the wire.
///
/// `None` where it ends inside its link header.
pub(super) fn ethernet(captured: &Captured) -> Option<Vec<u8>> {
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
    // What the capture cut off still counts for the lengths in the headers.
    if frame.len() < length && length <= 1 << 18 {
        frame.resize(length, 0);
    }
    Some(frame)
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

/// The bytes behind the transport header.
pub(super) fn payload<'a>(frame: &'a [u8], packet: &Packet) -> &'a [u8] {
    let header = match packet.protocol {
        protocol::TCP => tcp_header(frame, packet),
        protocol::UDP => 8,
        _ => 0,
    };
    frame.get(packet.transport as usize + header..packet.end as usize).unwrap_or_default()
}

fn tcp_header(frame: &[u8], packet: &Packet) -> usize {
    let words = frame.get(packet.transport as usize + 12).map_or(5, |byte| byte >> 4);
    usize::from(words) * 4
}

/// A TCP segment's sequence number.
pub(super) fn sequence(frame: &[u8], packet: &Packet) -> Option<u32> {
    let at = packet.transport as usize + 4;
    frame.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
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
    let body = payload(frame, packet);
    let front = packet.end as usize - body.len();
    let header = frame.get(..front).unwrap_or_default();
    let cuttable = packet.fragment == Fragment::Whole
        && matches!(packet.protocol, protocol::TCP | protocol::UDP)
        && header.len() < LONGEST - PIECE;
    if !cuttable {
        let mut short = frame.get(..LONGEST.min(frame.len())).unwrap_or_default().to_vec();
        let length = short.len() - packet.network as usize;
        set_length(&mut short, packet, length);
        return vec![short];
    }
    let first = sequence(frame, packet).unwrap_or(0);
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
    let (field, value) = if packet.is_v6 { (4, length - 40) } else { (2, length) };
    put(frame, at + field, &u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = frame.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

/// The ends of a packet whose headers do not all parse, as far as the IP header tells them.
pub(super) fn addresses(frame: &[u8]) -> Option<(std::net::IpAddr, std::net::IpAddr, u8)> {
    let mut at = 12;
    let mut ethertype = be16(frame, at)?;
    while matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
        at += 4;
        ethertype = be16(frame, at)?;
    }
    let header = frame.get(at + 2..)?;
    match ethertype {
        0x0800 => {
            let src: [u8; 4] = header.get(12..16)?.try_into().ok()?;
            let dst: [u8; 4] = header.get(16..20)?.try_into().ok()?;
            Some((src.into(), dst.into(), *header.get(9)?))
        }
        0x86dd => {
            let src: [u8; 16] = header.get(8..24)?.try_into().ok()?;
            let dst: [u8; 16] = header.get(24..40)?.try_into().ok()?;
            Some((src.into(), dst.into(), *header.get(6)?))
        }
        _ => None,
    }
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}
