//! What a stream is by its first bytes.

use crate::not_tls::NotTls;

/// The header of a TLS record: type, version, length (RFC 8446 section 5.1).
pub(crate) const RECORD_HEADER: usize = 5;
/// The content type of records that carry the handshake.
pub(crate) const HANDSHAKE: u8 = 22;
/// The first byte of every version's code since SSL 3.0.
pub(crate) const MAJOR: u8 = 3;

/// Type, version and three lengths: a hello of SSL 2.0 is never shorter.
const SSLV2_LEAST: usize = 9;
const SSLV2_CLIENT_HELLO: u8 = 1;

/// The content length of the record that a stream begins with; `None` while that is not known.
///
/// # Errors
/// [`NotTls`] as soon as the bytes cannot become a handshake record any more.
pub(crate) fn first_record(bytes: &[u8]) -> Result<Option<usize>, NotTls> {
    match bytes.first() {
        None => Ok(None),
        // Change cipher spec, alert, handshake, application data, heartbeat.
        Some(20..=24) => record(bytes, NotTls::NotTls),
        Some(0x80..) => sslv2(bytes, 2),
        // A hello of SSL 2.0 with padding, of less than 1 KiB: a longer one was never seen, and
        // would keep other protocols that begin with control characters waiting.
        Some(0..=3) => sslv2(bytes, 3),
        Some(_) => Err(NotTls::NotTls),
    }
}

/// The content length of a record that follows within a hello; `None` while that is not known.
///
/// # Errors
/// [`NotTls::Malformed`] for what is no handshake record: records of other types do not come
/// between the parts of a message (RFC 8446 section 5.1). [`NotTls::ZeroLengthRecord`].
pub(crate) fn next_record(bytes: &[u8]) -> Result<Option<usize>, NotTls> {
    match bytes.first() {
        None => Ok(None),
        Some(&HANDSHAKE) => record(bytes, NotTls::Malformed),
        Some(_) => Err(NotTls::Malformed),
    }
}

fn record(bytes: &[u8], foreign: NotTls) -> Result<Option<usize>, NotTls> {
    if bytes.get(1).is_some_and(|major| *major != MAJOR) {
        return Err(foreign);
    }
    let Some([kind, _, _, high, low]) = bytes.first_chunk::<RECORD_HEADER>() else {
        return Ok(None);
    };
    match (u16::from_be_bytes([*high, *low]), *kind) {
        (0, _) => Err(NotTls::ZeroLengthRecord),
        (len, HANDSHAKE) => Ok(Some(len.into())),
        _ => Err(foreign),
    }
}

/// A record of SSL 2.0 with a header of two bytes, or of three where it has padding.
fn sslv2(bytes: &[u8], header: usize) -> Result<Option<usize>, NotTls> {
    let mask = if header == 2 { 0x7fff } else { 0x3fff };
    let Some(length) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*length) & mask);
    let (header, content) = bytes.split_at_checked(header).unwrap_or((bytes, &[]));
    let padding = header.get(2).copied().map_or(0, usize::from);
    if length < SSLV2_LEAST + padding {
        return Err(NotTls::NotTls);
    }
    match content {
        [] | [SSLV2_CLIENT_HELLO] | [SSLV2_CLIENT_HELLO, 0 | MAJOR] => Ok(None),
        [SSLV2_CLIENT_HELLO, 0, 2, ..] | [SSLV2_CLIENT_HELLO, MAJOR, _, ..] => {
            Err(NotTls::Sslv2Hello)
        }
        _ => Err(NotTls::NotTls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(bytes: &[u8]) -> Result<Option<usize>, NotTls> {
        let whole = first_record(bytes);
        // The shortest prefix that decides, decides alike.
        for cut in 0..bytes.len() {
            let part = first_record(&bytes[..cut]);
            assert!(part == Ok(None) || part == whole, "{bytes:?} cut at {cut}");
        }
        whole
    }

    #[test]
    fn records() {
        assert_eq!(outcome(b"\x16\x03\x01\x02\x00"), Ok(Some(512)));
        assert_eq!(outcome(b"\x16\x03\xff\x00\x01"), Ok(Some(1)));
        assert_eq!(outcome(b"\x16\x03\x01\x02"), Ok(None));
        assert_eq!(outcome(b"\x16\x02\x01\x02\x00"), Err(NotTls::NotTls));
        for kind in 20..=24 {
            let empty = [kind, 3, 1, 0, 0];
            assert_eq!(outcome(&empty), Err(NotTls::ZeroLengthRecord));
            if kind != HANDSHAKE {
                assert_eq!(outcome(&[kind, 3, 1, 0, 2]), Err(NotTls::NotTls));
            }
        }
    }

    #[test]
    fn sslv2_hellos() {
        for hello in [
            &b"\x80\x46\x01\x03\x01\x00\x2d"[..],
            b"\x80\x2e\x01\x00\x02",
            b"\x80\x09\x01\x03\x00",
            b"\x00\x20\x03\x01\x03\x01",
            b"\x00\x20\x00\x01\x00\x02",
        ] {
            assert_eq!(outcome(hello), Err(NotTls::Sslv2Hello), "{hello:?}");
        }
        for other in [
            &b"\x80\x08\x01\x03\x01"[..],
            b"\x80\x46\x02\x03\x01",
            b"\x80\x46\x01\x02\x00",
            b"\x80\x46\x01\x00\x03",
            b"\x80\x46\x01\x04\x01",
            b"\x00\x20\x18\x01\x03\x01",
            b"\x04\x01\x00\x50",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        ] {
            assert_eq!(outcome(other), Err(NotTls::NotTls), "{other:?}");
        }
    }

    #[test]
    fn other_protocols_are_told_by_their_first_byte() {
        for start in [b"G", b"S", b"\x13", b"\x05", b"\x04", b"<"] {
            assert_eq!(outcome(start), Err(NotTls::NotTls), "{start:?}");
        }
    }

    #[test]
    fn records_within_a_hello() {
        assert_eq!(next_record(b"\x16\x03\x01\x00\x01"), Ok(Some(1)));
        assert_eq!(next_record(b"\x16\x03\x01\x00"), Ok(None));
        assert_eq!(next_record(b"\x14"), Err(NotTls::Malformed));
        assert_eq!(next_record(b"\x16\x04"), Err(NotTls::Malformed));
        let empty = next_record(b"\x16\x03\x01\x00\x00");
        assert_eq!(empty, Err(NotTls::ZeroLengthRecord));
    }
}
