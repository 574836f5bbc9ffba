//! The IP headers of both families, with IPv4 options and IPv6 extension headers.

use sluice_abi::{Addr, Reason};

use crate::{
    bytes::Bytes,
    header,
    parse::{Fragment, Packet, protocol},
};

/// A later IPv4 fragment that begins before this byte reaches into the TCP header (RFC 1858).
const V4_OVERLAP: u32 = 24;
/// The same for IPv6, where the least MTU leaves no honest fragment so near to the front.
const V6_OVERLAP: u32 = 48;
/// Extension headers that are walked; a longer chain is dropped.
const EXTENSIONS: usize = 8;
/// Bytes of IPv4 options: the header has at most 60 bytes.
const OPTIONS: u32 = 40;

/// Whether an address word in network order has the given leading byte.
#[inline(always)]
const fn leads(word: u32, byte: u8) -> bool {
    word.to_ne_bytes()[0] == byte
}

/// Where a packet may come from and go to, whatever the policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// An address of one host that may be forwarded to.
    Unicast,
    /// Multicast, broadcast, or IPv6 link-local: not forwarded.
    Local,
    /// All zeros.
    Unspecified,
    /// Loopback, reserved, or IPv4 link-local (which Linux does forward, to a cloud's metadata
    /// service for one).
    Forbidden,
}

/// The scope of an address: RFC 6890 and, for IPv6, RFC 4291.
#[inline(always)]
#[must_use]
pub const fn scope(addr: &Addr) -> Scope {
    let [a, b, c, d] = addr.0;
    if addr.is_v4() {
        let [first, second, ..] = d.to_ne_bytes();
        return match first {
            0 if d == 0 => Scope::Unspecified,
            0 | 127 => Scope::Forbidden,
            169 if second == 254 => Scope::Forbidden,
            224..=239 => Scope::Local,
            240..=255 if d == u32::MAX => Scope::Local,
            240..=255 => Scope::Forbidden,
            _ => Scope::Unicast,
        };
    }
    let [first, second, ..] = a.to_ne_bytes();
    if first == 0xff || first == 0xfe && second & 0xc0 == 0x80 {
        return Scope::Local;
    }
    if a == 0 && b == 0 && c == 0 {
        return match u32::from_be(d) {
            0 => Scope::Unspecified,
            _ => Scope::Forbidden,
        };
    }
    Scope::Unicast
}

/// Reads an IPv4 header at `network`: RFC 791 section 3.1.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub(crate) fn v4<B: Bytes + ?Sized>(
    frame: &B,
    network: u32,
    packet: &mut Packet,
) -> Result<(), Reason> {
    let header: header::Ipv4 = frame.load(network).ok_or(Reason::PacketTruncated)?;
    if header.version >> 4 != 4 || header.version & 15 < 5 {
        return Err(Reason::BadHeader);
    }
    let header_length = u32::from(header.version & 15) * 4;
    let available = frame.len() - network;
    let total = match u32::from(u16::from_be(header.total)) {
        // A segment that GRO joined beyond 64 KiB has no length that fits the field.
        0 if available > 0xffff => available,
        total => total,
    };
    if total < header_length || total > available {
        return Err(Reason::PacketTruncated);
    }
    if header_length > 20 {
        options(frame, network + 20, header_length - 20)?;
    }
    let control = u16::from_be(header.fragment);
    let offset = u32::from(control & 0x1fff) * 8;
    let fragment = match (offset, control & 0x2000) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    };
    if offset != 0 && offset < V4_OVERLAP {
        return Err(Reason::FragmentOverlap);
    }
    *packet = Packet {
        src: Addr::from_v4_word(header.src),
        dst: Addr::from_v4_word(header.dst),
        sport: 0,
        dport: 0,
        network,
        transport: network + header_length,
        end: network + total,
        fragment_id: u32::from(header.id),
        protocol: header.protocol,
        tcp_flags: 0,
        icmp_type: 0,
        fragment,
        is_v6: false,
        ends: packet.ends,
    };
    Ok(())
}

/// Refuses source routes, and options that cannot be walked: RFC 791 section 3.1.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn options<B: Bytes + ?Sized>(frame: &B, start: u32, length: u32) -> Result<(), Reason> {
    let mut at = 0;
    let mut rounds = 0;
    while rounds < OPTIONS {
        rounds += 1;
        if at >= length {
            return Ok(());
        }
        let kind: u8 = frame.load(start + at).ok_or(Reason::PacketTruncated)?;
        match kind {
            0 => return Ok(()),
            1 => at += 1,
            131 | 137 => return Err(Reason::SourceRoute),
            _ => {
                if at + 2 > length {
                    return Err(Reason::BadHeader);
                }
                let size: u8 = frame.load(start + at + 1).ok_or(Reason::PacketTruncated)?;
                if size < 2 || at + u32::from(size) > length {
                    return Err(Reason::BadHeader);
                }
                at += u32::from(size);
            }
        }
    }
    Ok(())
}

/// Reads an IPv6 header at `network` and walks its extensions: RFC 8200 section 4.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub(crate) fn v6<B: Bytes + ?Sized>(
    frame: &B,
    network: u32,
    packet: &mut Packet,
) -> Result<(), Reason> {
    let header: header::Ipv6 = frame.load(network).ok_or(Reason::PacketTruncated)?;
    if header.version >> 4 != 6 {
        return Err(Reason::BadHeader);
    }
    let available = frame.len() - network;
    let total = match u32::from(u16::from_be(header.payload)) {
        // A jumbogram, which GRO makes beyond 64 KiB, announces itself in a hop-by-hop header.
        0 if header.next == 0 || available > 0xffff => available,
        payload => payload + 40,
    };
    if total > available {
        return Err(Reason::PacketTruncated);
    }
    let header::Ipv6 { src, dst, .. } = header;
    // On the wire these are RFC 4038's spoofed IPv4 and would collide with real IPv4 here.
    if src.is_v4() {
        return Err(Reason::BadSource);
    }
    if dst.is_v4() {
        return Err(Reason::BadDestination);
    }
    *packet = Packet {
        src,
        dst,
        sport: 0,
        dport: 0,
        network,
        transport: network + 40,
        end: network + total,
        fragment_id: 0,
        protocol: header.next,
        tcp_flags: 0,
        icmp_type: 0,
        fragment: Fragment::Whole,
        is_v6: true,
        ends: packet.ends,
    };
    if is_extension(packet.protocol) {
        extensions(frame, packet)?;
    }
    Ok(())
}

/// Extension headers that are walked: hop-by-hop, routing, fragment, AH, destination, mobility,
/// HIP, Shim6. ESP and "no next header" are transport protocols here.
#[inline(always)]
const fn is_extension(next: u8) -> bool {
    matches!(next, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn extensions<B: Bytes + ?Sized>(frame: &B, packet: &mut Packet) -> Result<(), Reason> {
    let mut next = packet.protocol;
    let mut at = packet.transport;
    let mut rounds = 0;
    while rounds < EXTENSIONS {
        rounds += 1;
        // RFC 7112: a first fragment holds the whole chain.
        let short = match packet.fragment {
            Fragment::First => Reason::FragmentShort,
            _ => Reason::PacketTruncated,
        };
        if at + 8 > packet.end {
            return Err(short);
        }
        let header: header::Extension = frame.load(at).ok_or(short)?;
        let size = match next {
            44 => {
                if packet.fragment as u8 != Fragment::Whole as u8 {
                    return Err(Reason::ExtensionChain);
                }
                let control = u16::from_be(header.control);
                let offset = u32::from(control & 0xfff8);
                packet.fragment_id = header.id;
                if offset != 0 {
                    if offset < V6_OVERLAP {
                        return Err(Reason::FragmentOverlap);
                    }
                    packet.fragment = Fragment::Later;
                    packet.protocol = header.next;
                    packet.transport = at + 8;
                    return Ok(());
                }
                if control & 1 != 0 {
                    packet.fragment = Fragment::First;
                }
                8
            }
            // RFC 4302 section 2.2: in 4-byte units, less two.
            51 => (u32::from(header.length) + 2) * 4,
            43 => {
                if u16::from_be(header.control) & 0xff != 0 {
                    return Err(Reason::SourceRoute);
                }
                (u32::from(header.length) + 1) * 8
            }
            _ => (u32::from(header.length) + 1) * 8,
        };
        next = header.next;
        at += size;
        if at > packet.end {
            return Err(short);
        }
        if !is_extension(next) {
            packet.protocol = next;
            packet.transport = at;
            return Ok(());
        }
        // Hop-by-hop stands first or nowhere.
        if next == 0 {
            return Err(Reason::ExtensionChain);
        }
    }
    Err(Reason::ExtensionChain)
}

/// Whether a source address may be a client's or a remote's.
#[inline(always)]
#[must_use]
pub const fn is_plausible_source(addr: &Addr) -> bool {
    match scope(addr) {
        Scope::Unicast => true,
        Scope::Local => !addr.is_v4() && !leads(addr.0[0], 0xff),
        // A host without an address yet; it can only talk to its own link.
        Scope::Unspecified | Scope::Forbidden => false,
    }
}

/// The transport protocols that have ports.
#[inline(always)]
#[must_use]
pub const fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP)
}
