//! The PROXY protocol, versions 1 and 2: by its header a load balancer tells on whose behalf it
//! connects (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
//!
//! Whoever sends a header can name any client. So it is read from balancers that are configured, where
//! it has to be there, and from nobody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// What a header of version 1 begins with.
const V1: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included (section 2.1).
const V1_MOST: usize = 107;
/// What a header of version 2 begins with (section 2.2).
const V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const V2_HEAD: usize = 16;
/// Bytes that may stand behind the head of version 2: the protocol allows four times as many, for
/// which no balancer has a use.
const V2_MOST: usize = 16 << 10;
/// The type of the value that holds a checksum of the header (section 2.2.3).
const CRC32C: u8 = 0x03;

/// What bytes on a new connection are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parsed {
    /// The beginning of a header, as far as can be seen.
    Partial,
    /// A whole header.
    Whole {
        /// How many of the bytes it takes.
        length: usize,
        /// The client that it names; `None` where it names none: the balancer connects on its own
        /// behalf, or does not know.
        client: Option<SocketAddr>,
    },
    /// No header.
    Bad(Bad),
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Bad {
    /// The connection begins with something else.
    #[error("no header of the PROXY protocol: does the balancer send one?")]
    Absent,
    /// A header breaks the rules of the protocol.
    #[error("a header of the PROXY protocol is malformed")]
    Malformed,
    /// A header is longer than a header may be.
    #[error("a header of the PROXY protocol is too long")]
    TooLong,
    /// The checksum of a header is wrong.
    #[error("a header of the PROXY protocol has a wrong checksum")]
    Checksum,
    /// The connection ended within the header.
    #[error("the connection ended before the header of the PROXY protocol")]
    Ended,
    /// The header was not whole in its time.
    #[error("the header of the PROXY protocol did not come in time")]
    TimedOut,
}

/// Reads the header with which a connection from a balancer begins, and leaves in `buf` what follows
/// it. The client's address is in canonical form; `None` where the header names none, and the
/// connection is the balancer's own.
///
/// # Errors
///
/// [`Bad`]; the connection is to be closed then.
pub async fn read(
    stream: &TcpStream,
    buf: &mut BytesMut,
    deadline: Instant,
) -> Result<Option<SocketAddr>, Bad> {
    loop {
        match parse(buf) {
            Parsed::Whole { length, client } => {
                buf.advance(length);
                return Ok(client);
            }
            Parsed::Bad(bad) => return Err(bad),
            Parsed::Partial => {}
        }
        let readable = timeout_at(deadline, stream.readable()).await;
        readable
            .map_err(|_| Bad::TimedOut)?
            .map_err(|_| Bad::Ended)?;
        buf.reserve(V2_HEAD + V2_MOST - buf.len().min(V2_MOST));
        match stream.try_read_buf(buf) {
            Ok(0) => return Err(Bad::Ended),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Bad::Ended),
        }
    }
}

/// Says what the first bytes of a connection are.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parsed {
    if begins(bytes, V1) {
        return v1(bytes);
    }
    if begins(bytes, V2) {
        return v2(bytes).unwrap_or_else(Parsed::Bad);
    }
    Parsed::Bad(Bad::Absent)
}

/// Whether the bytes begin as a signature does, as far as there are any.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(one, other)| one == other)
}

fn v1(bytes: &[u8]) -> Parsed {
    let bound = bytes.get(..V1_MOST).unwrap_or(bytes);
    let is_end = |pair: &[u8]| pair == b"\r\n";
    let Some(end) = bound.windows(2).position(is_end) else {
        return if bytes.len() >= V1_MOST {
            Parsed::Bad(Bad::TooLong)
        } else {
            Parsed::Partial
        };
    };
    let line = bound.get(V1.len()..end).unwrap_or_default();
    match v1_client(line) {
        Some(client) => Parsed::Whole {
            length: end + 2,
            client,
        },
        None => Parsed::Bad(Bad::Malformed),
    }
}

/// What the line says behind `PROXY `; `None` where that is against the rules.
fn v1_client(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        // Whatever follows is to be ignored.
        "UNKNOWN" => return Some(None),
        _ => return None,
    };
    let address = |text: &str| -> Option<IpAddr> {
        if is_v4 {
            text.parse().ok().map(IpAddr::V4)
        } else {
            text.parse().ok().map(IpAddr::V6)
        }
    };
    let client = address(words.next()?)?;
    address(words.next()?)?;
    let client_port = port(words.next()?)?;
    port(words.next()?)?;
    if words.next().is_some() {
        return None;
    }
    Some(Some(SocketAddr::new(client.to_canonical(), client_port)))
}

/// Decimal, without a sign or zeros at the front.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain && is_short)
}

fn v2(bytes: &[u8]) -> Result<Parsed, Bad> {
    let Some(head) = bytes.first_chunk::<V2_HEAD>() else {
        return Ok(Parsed::Partial);
    };
    let [.., version, family, high, low] = *head;
    let is_local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(Bad::Malformed),
    };
    let behind = usize::from(u16::from_be_bytes([high, low]));
    if behind > V2_MOST {
        return Err(Bad::TooLong);
    }
    let length = V2_HEAD + behind;
    let Some(header) = bytes.get(..length) else {
        return Ok(Parsed::Partial);
    };
    let whole = |client| Ok(Parsed::Whole { length, client });
    let body = header.get(V2_HEAD..).unwrap_or_default();
    // Of what a balancer sends on its own behalf nothing counts but the length (section 2.2).
    if is_local {
        return whole(None);
    }
    let (client, values) = match family {
        // Not known; whatever follows is to be ignored.
        0x00 => return whole(None),
        // Stream over IPv4: addresses of both sides, then both ports.
        0x11 => {
            let (addresses, values) = body.split_first_chunk::<12>().ok_or(Bad::Malformed)?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            let ip = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
            (Some(SocketAddr::new(ip, port)), values)
        }
        // Stream over IPv6.
        0x21 => {
            let (addresses, values) = body.split_first_chunk::<36>().ok_or(Bad::Malformed)?;
            let (ip, rest) = addresses.split_first_chunk::<16>().ok_or(Bad::Malformed)?;
            let ports = rest.get(16..).and_then(|ports| ports.first_chunk::<2>());
            let port = u16::from_be_bytes(*ports.ok_or(Bad::Malformed)?);
            let ip = IpAddr::V6(Ipv6Addr::from(*ip)).to_canonical();
            (Some(SocketAddr::new(ip, port)), values)
        }
        // A Unix stream: two paths. Who is at its other end has no address.
        0x31 => {
            let (_, values) = body.split_first_chunk::<216>().ok_or(Bad::Malformed)?;
            (None, values)
        }
        // Datagrams, and what there is not.
        _ => return Err(Bad::Malformed),
    };
    check_values(header, values)?;
    whole(client)
}

/// Goes through the values behind the addresses; of them only the checksum is looked at.
fn check_values(header: &[u8], values: &[u8]) -> Result<(), Bad> {
    let mut rest = values;
    let mut is_checked = false;
    while let Some((&[kind, high, low], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, next) = behind.split_at_checked(length).ok_or(Bad::Malformed)?;
        if kind == CRC32C {
            let expected: &[u8; 4] = value.try_into().map_err(|_| Bad::Malformed)?;
            if std::mem::replace(&mut is_checked, true) {
                return Err(Bad::Malformed);
            }
            // The value itself counts as zeros.
            let (before, _) = header
                .split_at_checked(header.len() - behind.len())
                .ok_or(Bad::Malformed)?;
            let sum = [before, &[0; 4], next].into_iter().flatten();
            if crc32c(sum) != u32::from_be_bytes(*expected) {
                return Err(Bad::Checksum);
            }
        }
        rest = next;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Bad::Malformed)
    }
}

/// The checksum of Castagnoli (RFC 9260 appendix A).
fn crc32c<'b>(bytes: impl Iterator<Item = &'b u8>) -> u32 {
    !bytes.fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            sum >> 1 ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    })
}
