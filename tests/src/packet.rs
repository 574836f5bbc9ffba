//! Builds packets, good and bad, and reads the answers.
//!
//! A transport header makes a [`Packet`], and a packet makes bytes: [`Packet::frame`] for Ethernet,
//! [`Packet::datagram`] for devices without a link header. Whatever a hostile sender could set can
//! be set here; what is not set is right, checksums too.
//!
//! ```
//! use sluice_tests::packet::{Tcp, Udp};
//!
//! let client = "10.77.0.10:40000".parse().unwrap();
//! let origin = "203.0.113.5:443".parse().unwrap();
//! let syn = Tcp::syn(client, origin).packet().vlan(7).frame();
//! assert_eq!(syn[12..14], [0x81, 0x00]);
//! let fragments = Udp::new(client, origin, &[0; 100]).packet().fragments(&[16]);
//! assert_eq!(fragments.len(), 2);
//! ```

pub mod checksum;
mod extension;
mod transport;
mod view;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use extension::Extension;
pub use transport::{Icmp, Tcp, Udp, flag, protocol};
pub use view::View;

use transport::Checksum;

/// Address from which built frames come unless told otherwise.
pub const SRC_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// Address to which built frames go unless told otherwise.
pub const DST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// Tag protocol of a customer VLAN (IEEE 802.1Q).
pub const TPID_CUSTOMER: u16 = 0x8100;
/// Tag protocol of a service VLAN (IEEE 802.1ad).
pub const TPID_SERVICE: u16 = 0x88a8;

/// An IP packet with the link header that a frame of it would have.
#[derive(Clone, Debug)]
pub struct Packet {
    src_mac: [u8; 6],
    dst_mac: [u8; 6],
    tags: Vec<(u16, u16)>,
    ethertype: Option<u16>,
    src: IpAddr,
    dst: IpAddr,
    version: Option<u8>,
    hops: u8,
    identification: u16,
    fragment: (u16, bool),
    options: Vec<u8>,
    header_words: Option<u8>,
    length: Option<u16>,
    header_checksum: Checksum,
    extensions: Vec<Extension>,
    protocol: u8,
    payload: Vec<u8>,
}

impl Packet {
    /// A packet of any transport protocol; `payload` holds its header too.
    #[must_use]
    pub fn raw(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Self {
        Self {
            src_mac: SRC_MAC,
            dst_mac: DST_MAC,
            tags: Vec::new(),
            ethertype: None,
            src,
            dst,
            version: None,
            hops: 64,
            identification: 0x1234,
            fragment: (0, false),
            options: Vec::new(),
            header_words: None,
            length: None,
            header_checksum: Checksum::Good,
            extensions: Vec::new(),
            protocol,
            payload: payload.to_vec(),
        }
    }

    /// Sets both link addresses.
    #[must_use]
    pub fn macs(mut self, src: [u8; 6], dst: [u8; 6]) -> Self {
        (self.src_mac, self.dst_mac) = (src, dst);
        self
    }

    /// Adds a customer VLAN tag inside those that are there.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(TPID_CUSTOMER, id)
    }

    /// Adds a tag of any protocol, with its whole control word, inside those that are there.
    #[must_use]
    pub fn tag(mut self, tpid: u16, control: u16) -> Self {
        self.tags.push((tpid, control));
        self
    }

    /// Lies about what the frame carries.
    #[must_use]
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// Lies about the IP version, 0 to 15.
    #[must_use]
    pub fn version(mut self, version: u8) -> Self {
        self.version = Some(version);
        self
    }

    /// Sets the time to live or hop limit.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// Sets the IPv4 identification.
    #[must_use]
    pub fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// Sets IPv4 options, padded with zeros to a multiple of four bytes; at most 40 bytes.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Lies about the length of the IPv4 header: `words` of four bytes, 0 to 15.
    #[must_use]
    pub fn header_words(mut self, words: u8) -> Self {
        self.header_words = Some(words);
        self
    }

    /// Lies about the length: IPv4 counts its header in, IPv6 does not.
    #[must_use]
    pub fn length(mut self, length: u16) -> Self {
        self.length = Some(length);
        self
    }

    /// Makes the IPv4 header checksum wrong.
    #[must_use]
    pub fn bad_header_checksum(mut self) -> Self {
        self.header_checksum = Checksum::Bad;
        self
    }

    /// Adds a header between IP and the transport, after those that are there.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Makes this one packet say that it is a fragment, at `offset` bytes (a multiple of eight).
    ///
    /// With IPv6 and (0, false) that is an atomic fragment (RFC 6946).
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        if self.src.is_ipv4() {
            self.fragment = (offset, more);
            self
        } else {
            let id = u32::from(self.identification);
            self.extension(Extension::fragment(offset, more, id))
        }
    }

    /// Cuts the packet into fragments at these offsets (multiples of eight, ascending) of what may
    /// be cut: everything after the IPv4 header, or after the IPv6 headers that routers read.
    #[must_use]
    pub fn fragments(&self, cuts: &[usize]) -> Vec<Self> {
        let kept = self
            .extensions
            .iter()
            .rposition(Extension::is_per_fragment)
            .map_or(0, |i| i + 1);
        let kept = if self.src.is_ipv4() { 0 } else { kept };
        let (protocol, mut bytes) = extension::chain(&self.extensions[kept..], self.protocol);
        bytes.extend(&self.payload);
        let mut parts = Vec::new();
        let mut start = 0;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let mut part = self.clone();
            part.extensions.truncate(kept);
            part.protocol = protocol;
            part.payload = bytes[start..end].to_vec();
            let offset = u16::try_from(start).unwrap_or(u16::MAX);
            parts.push(part.fragment(offset, end < bytes.len()));
            start = end;
        }
        parts
    }

    /// The packet without a link header, as L3 devices carry it.
    #[must_use]
    pub fn datagram(&self) -> Vec<u8> {
        let (first, chain) = extension::chain(&self.extensions, self.protocol);
        let mut bytes = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                self.v4_header(src, dst, first, chain.len() + self.payload.len())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                self.v6_header(src, dst, first, chain.len() + self.payload.len())
            }
            (src, dst) => panic!("{src} and {dst} are of different families"),
        };
        bytes.extend(chain);
        bytes.extend(&self.payload);
        bytes
    }

    /// The packet in an Ethernet frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let natural = if self.src.is_ipv4() {
            0x0800u16
        } else {
            0x86dd
        };
        let mut bytes = Vec::new();
        bytes.extend(self.dst_mac);
        bytes.extend(self.src_mac);
        for (tpid, control) in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(control.to_be_bytes());
        }
        bytes.extend(self.ethertype.unwrap_or(natural).to_be_bytes());
        bytes.extend(self.datagram());
        bytes
    }

    fn v4_header(&self, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, behind: usize) -> Vec<u8> {
        let header = 20 + self.options.len();
        let words = u8::try_from(header / 4).unwrap_or(u8::MAX);
        let length = u16::try_from(header + behind).unwrap_or(u16::MAX);
        let (offset, more) = self.fragment;
        let mut bytes = vec![
            (self.version.unwrap_or(4) << 4) | (self.header_words.unwrap_or(words) & 0xf),
            0,
        ];
        bytes.extend(self.length.unwrap_or(length).to_be_bytes());
        bytes.extend(self.identification.to_be_bytes());
        bytes.extend(((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
        bytes.extend([self.hops, protocol, 0, 0]);
        bytes.extend(src.octets());
        bytes.extend(dst.octets());
        bytes.extend(&self.options);
        let sum = self.header_checksum.of(checksum::internet(&[&bytes]));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn v6_header(&self, src: Ipv6Addr, dst: Ipv6Addr, next: u8, behind: usize) -> Vec<u8> {
        let length = u16::try_from(behind).unwrap_or(u16::MAX);
        let mut bytes = vec![self.version.unwrap_or(6) << 4, 0, 0, 0];
        bytes.extend(self.length.unwrap_or(length).to_be_bytes());
        bytes.extend([next, self.hops]);
        bytes.extend(src.octets());
        bytes.extend(dst.octets());
        bytes
    }
}

/// An ARP request in an Ethernet frame: the commonest frame that is not IP.
#[must_use]
pub fn arp_request(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend(SRC_MAC);
    bytes.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    bytes.extend(SRC_MAC);
    bytes.extend(sender.octets());
    bytes.extend([0; 6]);
    bytes.extend(target.octets());
    bytes
}
