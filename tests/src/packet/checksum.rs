//! The Internet checksum of RFC 1071.

use std::net::IpAddr;

/// The Internet checksum over bytes, as the header carries it.
#[must_use]
pub fn internet(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let mut words = part.chunks_exact(2);
        for word in &mut words {
            sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            sum += u64::from(u16::from_be_bytes([*last, 0]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The checksum of a transport header with its payload, under the pseudo header of the family
/// (RFC 9293 section 3.1, RFC 8200 section 8.1).
///
/// The checksum field within `bytes` must be zero; over a whole valid packet the result is zero.
#[must_use]
pub fn transport(src: IpAddr, dst: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => internet(&[
            &src.octets(),
            &dst.octets(),
            &[0, protocol, length[2], length[3]],
            bytes,
        ]),
        (IpAddr::V6(src), IpAddr::V6(dst)) => internet(&[
            &src.octets(),
            &dst.octets(),
            &length,
            &[0, 0, 0, protocol],
            bytes,
        ]),
        _ => panic!("{src} and {dst} are of different families"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(internet(&[&bytes]), !0xddf2);
    }

    #[test]
    fn an_odd_byte_is_padded_with_zero() {
        assert_eq!(
            internet(&[&[0x12, 0x34, 0x56]]),
            internet(&[&[0x12, 0x34, 0x56, 0x00]])
        );
    }
}
