//! Whether a datagram can be the first one of a QUIC connection.
//!
//! The rule is the one that the kernel programs apply to UDP port 443: what passes may still be no
//! QUIC, but what fails is certainly none. Nothing is decrypted.

/// QUIC version 1 (RFC 9000 section 15).
pub const VERSION_1: u32 = 0x0000_0001;
/// QUIC version 2 (RFC 9369 section 3.1).
pub const VERSION_2: u32 = 0x6b33_43cf;
/// The least payload of a client's first datagram, in bytes (RFC 9000 section 14.1).
pub const DATAGRAM_LEAST: usize = 1200;
/// The longest connection ID, in bytes (RFC 9000 section 17.2).
pub const CONNECTION_ID_MAX: u8 = 20;

/// The bit that tells a long header (RFC 8999 section 5.1).
const LONG_HEADER: u8 = 0x80;
/// The bit that is always set (RFC 9000 section 17.2).
const FIXED_BIT: u8 = 0x40;
/// The type of a packet with a long header (RFC 9000 section 17.2; RFC 9369 section 3.2).
const TYPE: u8 = 0x30;
const INITIAL_1: u8 = 0x00;
const INITIAL_2: u8 = 0x10;

/// Whether a version is reserved to force version negotiation (RFC 9000 section 15): a client
/// sends one to keep servers tolerant, and no server speaks it.
#[must_use]
pub const fn is_greased(version: u32) -> bool {
    version & 0x0f0f_0f0f == 0x0a0a_0a0a
}

/// Whether the payload of a UDP datagram looks like a client's Initial packet: a long header with
/// the fixed bit, the type Initial of version 1 or 2 (a reserved version has types of its own), a
/// destination connection ID of a legal length, and the least size.
#[must_use]
pub fn looks_like_initial(datagram: &[u8]) -> bool {
    let [first, v0, v1, v2, v3, connection_id_len, ..] = *datagram else {
        return false;
    };
    let version = u32::from_be_bytes([v0, v1, v2, v3]);
    let is_initial = match version {
        VERSION_1 => first & TYPE == INITIAL_1,
        VERSION_2 => first & TYPE == INITIAL_2,
        other => is_greased(other),
    };
    first & LONG_HEADER != 0
        && first & FIXED_BIT != 0
        && is_initial
        && connection_id_len <= CONNECTION_ID_MAX
        && datagram.len() >= DATAGRAM_LEAST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(first: u8, version: u32, connection_id_len: u8, len: usize) -> [u8; 1500] {
        assert!(len <= 1500);
        let mut bytes = [0; 1500];
        bytes[0] = first;
        bytes[1..5].copy_from_slice(&version.to_be_bytes());
        bytes[5] = connection_id_len;
        bytes
    }

    fn looks(first: u8, version: u32, connection_id_len: u8, len: usize) -> bool {
        looks_like_initial(&datagram(first, version, connection_id_len, len)[..len])
    }

    #[test]
    fn initials_of_known_and_reserved_versions() {
        assert!(looks(0xc0, VERSION_1, 8, 1200));
        assert!(looks(0xcf, VERSION_1, 20, 1350));
        assert!(looks(0xd3, VERSION_2, 8, 1200));
        assert!(looks(0xf0, 0x1a2a_3a4a, 0, 1200));
    }

    #[test]
    fn everything_else_is_not() {
        assert!(!looks(0x40, VERSION_1, 8, 1200), "short header");
        assert!(!looks(0x80, VERSION_1, 8, 1200), "no fixed bit");
        assert!(!looks(0xe0, VERSION_1, 8, 1200), "Handshake of version 1");
        assert!(!looks(0xc0, VERSION_2, 8, 1200), "Retry of version 2");
        assert!(!looks(0xc0, 0, 8, 1200), "version negotiation");
        assert!(!looks(0xc0, 0xff00_001d, 8, 1200), "a draft");
        assert!(!looks(0xc0, VERSION_1, 21, 1200), "connection ID too long");
        assert!(!looks(0xc0, VERSION_1, 8, 1199), "too small");
        for len in 0..6 {
            assert!(!looks(0xc0, VERSION_1, 8, len));
        }
    }
}
