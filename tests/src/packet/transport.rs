//! Transport headers: TCP, UDP, ICMP, and bytes of any other protocol.

use std::net::{IpAddr, SocketAddr};

use super::{Packet, checksum};

/// Protocol numbers of IANA that the lab sends.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IPv4 within IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 within IP.
    pub const IPV6: u8 = 41;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
    /// Encapsulating security payload.
    pub const ESP: u8 = 50;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDPLITE: u8 = 136;
}

/// Bits of the TCP flags byte.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Begins a connection.
    pub const SYN: u8 = 0x02;
    /// Ends a connection at once.
    pub const RST: u8 = 0x04;
    /// Asks for delivery without delay.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// What happens to a checksum when the packet is built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Checksum {
    Good,
    /// Off by one from the good one.
    Bad,
    /// Zero: "none" for UDP over IPv4.
    Zero,
}

impl Checksum {
    pub(super) fn of(self, good: u16) -> u16 {
        match self {
            Self::Good => good,
            Self::Bad => good.wrapping_add(1),
            Self::Zero => 0,
        }
    }
}

/// A TCP segment.
#[derive(Clone, Debug)]
pub struct Tcp {
    src: SocketAddr,
    dst: SocketAddr,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    data_offset: Option<u8>,
    options: Vec<u8>,
    payload: Vec<u8>,
    checksum: Checksum,
}

impl Tcp {
    /// A segment with these flags (bits of [`flag`]), without options or payload.
    #[must_use]
    pub fn new(src: SocketAddr, dst: SocketAddr, flags: u8) -> Self {
        Self {
            src,
            dst,
            seq: 1000,
            ack: if flags & flag::ACK == 0 { 0 } else { 5000 },
            flags,
            window: 64_240,
            data_offset: None,
            options: Vec::new(),
            payload: Vec::new(),
            checksum: Checksum::Good,
        }
    }

    /// The segment that begins a connection, with a maximum segment size.
    #[must_use]
    pub fn syn(src: SocketAddr, dst: SocketAddr) -> Self {
        Self::new(src, dst, flag::SYN).options(&[2, 4, 0x05, 0xb4])
    }

    /// The answer of `src` to a SYN of `dst`.
    #[must_use]
    pub fn syn_ack(src: SocketAddr, dst: SocketAddr) -> Self {
        Self::new(src, dst, flag::SYN | flag::ACK).options(&[2, 4, 0x05, 0xb4])
    }

    /// A segment of an established connection.
    #[must_use]
    pub fn ack(src: SocketAddr, dst: SocketAddr) -> Self {
        Self::new(src, dst, flag::ACK)
    }

    /// Sets the sequence number.
    #[must_use]
    pub fn seq(mut self, seq: u32) -> Self {
        self.seq = seq;
        self
    }

    /// Sets the acknowledgement number, whatever the flags say.
    #[must_use]
    pub fn ack_number(mut self, ack: u32) -> Self {
        self.ack = ack;
        self
    }

    /// Sets the window, in the units that the header carries.
    #[must_use]
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// Sets the options, padded with zeros to a multiple of four bytes.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Lies about the length of the header: `words` of four bytes, 0 to 15.
    #[must_use]
    pub fn data_offset(mut self, words: u8) -> Self {
        self.data_offset = Some(words);
        self
    }

    /// Sets the payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Makes the checksum wrong.
    #[must_use]
    pub fn bad_checksum(mut self) -> Self {
        self.checksum = Checksum::Bad;
        self
    }

    /// The IP packet that carries the segment.
    #[must_use]
    pub fn packet(&self) -> Packet {
        let words = u8::try_from(5 + self.options.len() / 4).unwrap_or(u8::MAX);
        let mut bytes = Vec::with_capacity(20 + self.options.len() + self.payload.len());
        bytes.extend(self.src.port().to_be_bytes());
        bytes.extend(self.dst.port().to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.push(self.data_offset.unwrap_or(words) << 4);
        bytes.push(self.flags);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.options);
        bytes.extend(&self.payload);
        let good = checksum::transport(self.src.ip(), self.dst.ip(), protocol::TCP, &bytes);
        bytes[16..18].copy_from_slice(&self.checksum.of(good).to_be_bytes());
        Packet::raw(self.src.ip(), self.dst.ip(), protocol::TCP, &bytes)
    }
}

/// A UDP datagram.
#[derive(Clone, Debug)]
pub struct Udp {
    src: SocketAddr,
    dst: SocketAddr,
    length: Option<u16>,
    payload: Vec<u8>,
    checksum: Checksum,
}

impl Udp {
    /// A datagram with this payload.
    #[must_use]
    pub fn new(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Self {
        Self {
            src,
            dst,
            length: None,
            payload: payload.to_vec(),
            checksum: Checksum::Good,
        }
    }

    /// Lies about the length of header and payload, in bytes.
    #[must_use]
    pub fn length(mut self, length: u16) -> Self {
        self.length = Some(length);
        self
    }

    /// Makes the checksum wrong.
    #[must_use]
    pub fn bad_checksum(mut self) -> Self {
        self.checksum = Checksum::Bad;
        self
    }

    /// Sends no checksum, which IPv4 allows and IPv6 does not.
    #[must_use]
    pub fn no_checksum(mut self) -> Self {
        self.checksum = Checksum::Zero;
        self
    }

    /// The IP packet that carries the datagram.
    #[must_use]
    pub fn packet(&self) -> Packet {
        let length = u16::try_from(8 + self.payload.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(8 + self.payload.len());
        bytes.extend(self.src.port().to_be_bytes());
        bytes.extend(self.dst.port().to_be_bytes());
        bytes.extend(self.length.unwrap_or(length).to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(&self.payload);
        let good = match checksum::transport(self.src.ip(), self.dst.ip(), protocol::UDP, &bytes) {
            // Zero would say "no checksum" (RFC 768).
            0 => 0xffff,
            sum => sum,
        };
        bytes[6..8].copy_from_slice(&self.checksum.of(good).to_be_bytes());
        Packet::raw(self.src.ip(), self.dst.ip(), protocol::UDP, &bytes)
    }
}

/// An ICMP or ICMPv6 message, by the family of its addresses.
#[derive(Clone, Debug)]
pub struct Icmp {
    src: IpAddr,
    dst: IpAddr,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    payload: Vec<u8>,
}

impl Icmp {
    /// A message of this type and code, with the second word of its header.
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        Self {
            src,
            dst,
            kind,
            code,
            rest,
            payload: Vec::new(),
        }
    }

    /// An echo request.
    #[must_use]
    pub fn echo_request(src: IpAddr, dst: IpAddr, id: u16, seq: u16) -> Self {
        Self::new(
            src,
            dst,
            if src.is_ipv4() { 8 } else { 128 },
            0,
            echo_rest(id, seq),
        )
        .payload(b"abcdefghijklmnop")
    }

    /// The answer to an echo request.
    #[must_use]
    pub fn echo_reply(src: IpAddr, dst: IpAddr, id: u16, seq: u16) -> Self {
        Self::new(
            src,
            dst,
            if src.is_ipv4() { 0 } else { 129 },
            0,
            echo_rest(id, seq),
        )
        .payload(b"abcdefghijklmnop")
    }

    /// "Port unreachable", quoting the packet that could not be delivered.
    #[must_use]
    pub fn port_unreachable(src: IpAddr, dst: IpAddr, quoted: &Packet) -> Self {
        let (kind, code) = if src.is_ipv4() { (3, 3) } else { (1, 4) };
        let mut datagram = quoted.datagram();
        datagram.truncate(if src.is_ipv4() { 548 } else { 1232 });
        Self::new(src, dst, kind, code, [0; 4]).payload(&datagram)
    }

    /// Sets what follows the header.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The IP packet that carries the message.
    #[must_use]
    pub fn packet(&self) -> Packet {
        let mut bytes = vec![self.kind, self.code, 0, 0];
        bytes.extend(self.rest);
        bytes.extend(&self.payload);
        let (number, sum) = if self.src.is_ipv4() {
            (protocol::ICMP, checksum::internet(&[&bytes]))
        } else {
            let sum = checksum::transport(self.src, self.dst, protocol::ICMPV6, &bytes);
            (protocol::ICMPV6, sum)
        };
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        Packet::raw(self.src, self.dst, number, &bytes)
    }
}

fn echo_rest(id: u16, seq: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (id.to_be_bytes(), seq.to_be_bytes());
    [a, b, c, d]
}
