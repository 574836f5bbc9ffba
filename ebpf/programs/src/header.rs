//! Protocol headers as they stand in a packet: fields wider than a byte are in network byte order.
//!
//! Aligned types keep the kernel side from moving headers byte by byte.

use sluice_abi::Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// IPv4 without options: RFC 791 section 3.1.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Ipv4 {
    /// Version in the upper half, header length in words in the lower.
    pub version: u8,
    /// Type of service.
    pub service: u8,
    /// Bytes of the packet.
    pub total: u16,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Time to live.
    pub hops: u8,
    /// Transport protocol number.
    pub protocol: u8,
    /// Header checksum.
    pub check: u16,
    /// Source address.
    pub src: u32,
    /// Destination address.
    pub dst: u32,
}

/// The fixed header of IPv6: RFC 8200 section 3.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Ipv6 {
    /// Version in the upper half.
    pub version: u8,
    /// The rest of the traffic class and the flow label.
    pub flow: [u8; 3],
    /// Bytes behind this header.
    pub payload: u16,
    /// Number of the next header.
    pub next: u8,
    /// Hop limit.
    pub hops: u8,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
}

/// What IPv6 extension headers have in common, and the fields of the fragment header: RFC 8200
/// sections 4.2 and 4.5.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Extension {
    /// Number of the next header.
    pub next: u8,
    /// Length, in units that depend on the header.
    pub length: u8,
    /// Of a fragment header: offset and flags. Its second byte is a routing header's segments
    /// left.
    pub control: u16,
    /// Of a fragment header: identification.
    pub id: u32,
}

/// The first 16 bytes of TCP: RFC 9293 section 3.1.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Header length in words, in the upper half.
    pub offset: u8,
    /// Control bits.
    pub flags: u8,
    /// Window.
    pub window: u16,
}

/// UDP: RFC 768.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Bytes of header and data.
    pub length: u16,
    /// Checksum.
    pub check: u16,
}

/// ICMP of either family, with the fields of an echo: RFC 792, RFC 4443 section 4.1.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum.
    pub check: u16,
    /// Identifier of an echo.
    pub id: u16,
    /// Sequence number of an echo.
    pub seq: u16,
}
