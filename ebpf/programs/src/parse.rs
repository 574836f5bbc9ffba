//! Frame to [`Packet`]: link layer, IP, and the transport header.
//!
//! Nothing is skipped: what does not parse is an error with the reason that its drop is counted
//! under, because a header that the gateway does not understand is one that the origin might.

use sluice_abi::{Addr, FlowKey, Reason};

use crate::{bytes::Bytes, header, ip};

/// Transport protocol numbers that are treated apart.
pub mod protocol {
    /// RFC 792.
    pub const ICMP: u8 = 1;
    /// RFC 1112.
    pub const IGMP: u8 = 2;
    /// RFC 9293.
    pub const TCP: u8 = 6;
    /// RFC 768.
    pub const UDP: u8 = 17;
    /// RFC 4443.
    pub const ICMPV6: u8 = 58;
}

/// TCP flag bits of RFC 9293 section 3.1.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 0x10;
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// An Ethernet header, possibly with VLAN tags.
    Ethernet,
    /// The IP header itself (wireguard, tun, ppp).
    Layer3,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Fragment {
    /// All of it; an IPv6 atomic fragment (RFC 6946) too.
    Whole,
    /// The part with the transport header.
    First,
    /// A part without it.
    Later,
}

/// Who speaks to whom: the key of a packet's flow, and which of its ends sent the packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// Both ends, ordered.
    pub key: FlowKey,
    /// Whether the sender is the key's high end.
    pub sender_is_high: bool,
}

/// The headers of one packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port in network byte order; the identifier of an ICMP echo; 0 without ports.
    pub sport: u16,
    /// Destination port in network byte order; the identifier of an ICMP echo; 0 without ports.
    pub dport: u16,
    /// Offset of the IP header in the frame.
    pub network: u32,
    /// Offset of the transport header in the frame.
    pub transport: u32,
    /// Offset of the first byte behind the IP packet; link padding follows.
    pub end: u32,
    /// Identification of a fragment.
    pub fragment_id: u32,
    /// Transport protocol number.
    pub protocol: u8,
    /// TCP flags, 0 for others.
    pub tcp_flags: u8,
    /// ICMP type, 0 for others.
    pub icmp_type: u8,
    /// Whole, first or later part.
    pub fragment: Fragment,
    /// Whether the packet is IPv6.
    pub is_v6: bool,
    /// The ends; of a later fragment, which has no ports, they mean nothing.
    pub ends: Ends,
}

impl Packet {
    /// Room for [`parse`] to fill.
    pub const EMPTY: Self = Self {
        src: Addr([0; 4]),
        dst: Addr([0; 4]),
        sport: 0,
        dport: 0,
        network: 0,
        transport: 0,
        end: 0,
        fragment_id: 0,
        protocol: 0,
        tcp_flags: 0,
        icmp_type: 0,
        fragment: Fragment::Whole,
        is_v6: false,
        ends: Ends {
            key: FlowKey {
                low: Addr([0; 4]),
                high: Addr([0; 4]),
                low_port: 0,
                high_port: 0,
                protocol: 0,
                pad: [0; 3],
            },
            sender_is_high: false,
        },
    };

    /// Whether this is a TCP segment that asks for a new connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// Whether this is ICMP of the packet's own family.
    #[inline(always)]
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        self.protocol
            == if self.is_v6 {
                protocol::ICMPV6
            } else {
                protocol::ICMP
            }
    }

    /// Bytes from the IP header to the end of the packet.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.end - self.network
    }
}

/// EtherTypes of VLAN tags: IEEE 802.1Q, 802.1ad, and the older QinQ.
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
}

/// Reads the headers of `frame` into `packet`, which has no meaning after an error.
///
/// # Errors
///
/// [`Reason::NotIp`] for a frame that carries no IP, and otherwise the reason to drop it.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(frame: &B, link: Link, packet: &mut Packet) -> Result<(), Reason> {
    let (ethertype, network) = match link {
        Link::Ethernet => ethernet(frame)?,
        Link::Layer3 => {
            let first: u8 = frame.load(0).ok_or(Reason::PacketTruncated)?;
            match first >> 4 {
                4 => (IPV4, 0),
                6 => (IPV6, 0),
                _ => return Err(Reason::BadHeader),
            }
        }
    };
    from_network(frame, ethertype, network, packet)
}

/// EtherTypes of the two families.
pub const IPV4: u16 = 0x0800;
/// See [`IPV4`].
pub const IPV6: u16 = 0x86dd;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: u32 = 14;

/// Reads the headers from the network header on, where the caller knows what that is.
///
/// # Errors
///
/// Those of [`parse`].
#[inline(always)]
pub fn from_network<B: Bytes + ?Sized>(
    frame: &B,
    ethertype: u16,
    network: u32,
    packet: &mut Packet,
) -> Result<(), Reason> {
    match ethertype {
        IPV4 => ip::v4(frame, network, packet)?,
        IPV6 => ip::v6(frame, network, packet)?,
        _ => return Err(Reason::NotIp),
    }
    if packet.fragment as u8 == Fragment::Later as u8 {
        return Ok(());
    }
    transport(frame, packet)?;
    let (src, dst) = (packet.src, packet.dst);
    let (key, sender_is_high) = FlowKey::new(src, dst, packet.sport, packet.dport, packet.protocol);
    packet.ends = Ends {
        key,
        sender_is_high,
    };
    Ok(())
}

/// EtherType of the payload and where it begins.
#[inline(always)]
fn ethernet<B: Bytes + ?Sized>(frame: &B) -> Result<(u16, u32), Reason> {
    let mut ethertype = u16::from_be(frame.load(12).ok_or(Reason::PacketTruncated)?);
    let mut offset = ETHERNET;
    if is_vlan(ethertype) {
        ethertype = u16::from_be(frame.load(offset + 2).ok_or(Reason::PacketTruncated)?);
        offset += 4;
        if is_vlan(ethertype) {
            ethertype = u16::from_be(frame.load(offset + 2).ok_or(Reason::PacketTruncated)?);
            offset += 4;
            if is_vlan(ethertype) {
                return Err(Reason::VlanDepth);
            }
        }
    }
    Ok((ethertype, offset))
}

/// Reads ports and flags, and checks that the transport header lies inside the packet.
#[inline(always)]
fn transport<B: Bytes + ?Sized>(frame: &B, packet: &mut Packet) -> Result<(), Reason> {
    let short = if packet.fragment as u8 == Fragment::First as u8 {
        Reason::FragmentShort
    } else {
        Reason::PacketTruncated
    };
    let room = packet.end - packet.transport;
    match packet.protocol {
        protocol::TCP => {
            if room < 20 {
                return Err(short);
            }
            let header: header::Tcp = frame.load(packet.transport).ok_or(short)?;
            let header_length = u32::from(header.offset >> 4) * 4;
            if header_length < 20 {
                return Err(Reason::BadHeader);
            }
            if header_length > room {
                return Err(short);
            }
            packet.sport = header.sport;
            packet.dport = header.dport;
            packet.tcp_flags = header.flags & 0x3f;
            if !plausible(packet.tcp_flags) {
                return Err(Reason::TcpFlags);
            }
        }
        protocol::UDP => {
            if room < 8 {
                return Err(short);
            }
            let header: header::Udp = frame.load(packet.transport).ok_or(short)?;
            packet.sport = header.sport;
            packet.dport = header.dport;
            if u16::from_be(header.length) < 8 {
                return Err(Reason::BadHeader);
            }
        }
        _ if packet.is_icmp() => {
            if room < 8 {
                return Err(short);
            }
            let header: header::Icmp = frame.load(packet.transport).ok_or(short)?;
            packet.icmp_type = header.kind;
            if crate::icmp::is_echo(packet) {
                packet.sport = header.id;
                packet.dport = packet.sport;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether a stack may send these flags together: one of SYN, RST, ACK, and SYN, FIN and RST
/// never in pairs.
#[inline(always)]
const fn plausible(flags: u8) -> bool {
    let control = flags & (tcp::SYN | tcp::FIN | tcp::RST);
    let single = control & control.wrapping_sub(1) == 0;
    single && flags & (tcp::SYN | tcp::RST | tcp::ACK) != 0
}
