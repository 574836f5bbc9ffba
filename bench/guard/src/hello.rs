//! ClientHellos of fixed bytes, so that instruction counts and load repeat exactly.

/// A browser's hello with X25519 alone, in one record of about 400 bytes.
#[must_use]
pub fn small(name: &str) -> Vec<u8> {
    record(&handshake(name, &[(X25519, 32)]))
}

/// A browser's hello with a post-quantum key share: about 1.6 KB, more than a segment carries.
#[must_use]
pub fn post_quantum(name: &str) -> Vec<u8> {
    record(&handshake(name, &[(X25519_MLKEM768, 1216), (X25519, 32)]))
}

/// The bytes of [`small`] in records of `size` bytes each.
#[must_use]
pub fn fragmented(name: &str, size: usize) -> Vec<u8> {
    let message = handshake(name, &[(X25519, 32)]);
    message.chunks(size.max(1)).flat_map(record).collect()
}

/// RFC 8446 section 4.2.7.
const X25519: u16 = 0x001d;
/// draft-ietf-tls-ecdhe-mlkem section 4.
const X25519_MLKEM768: u16 = 0x11ec;
/// RFC 8701 section 2.
const GREASE: u16 = 0x8a8a;

const SUITES: [u16; 16] = [
    GREASE, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
    0x009c, 0x009d, 0x002f, 0x0035,
];
const SIGNATURES: [u16; 8] = [
    0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
];

fn record(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x16, 0x03, 0x01];
    bytes.extend(with_length(message));
    bytes
}

fn handshake(name: &str, shares: &[(u16, usize)]) -> Vec<u8> {
    let mut body = vec![0x03, 0x03];
    body.extend(filler(32, 1));
    body.push(32);
    body.extend(filler(32, 2));
    body.extend(with_length(&codes(&SUITES)));
    body.extend([1, 0]);
    body.extend(with_length(&extensions(name, shares)));
    let mut message = vec![0x01, 0x00];
    message.extend(with_length(&body));
    message
}

fn extensions(name: &str, shares: &[(u16, usize)]) -> Vec<u8> {
    let mut host = vec![0];
    host.extend(with_length(name.as_bytes()));
    let mut groups = vec![GREASE];
    groups.extend(shares.iter().map(|share| share.0));
    groups.extend([0x0017, 0x0018]);
    let mut keys = codes(&[GREASE]);
    keys.extend(with_length(&[0]));
    for (group, length) in shares {
        keys.extend(group.to_be_bytes());
        keys.extend(with_length(&filler(*length, 3)));
    }
    let mut all = Vec::new();
    let mut add = |kind: u16, content: &[u8]| {
        all.extend(kind.to_be_bytes());
        all.extend(with_length(content));
    };
    add(GREASE, &[]);
    add(0x0000, &with_length(&host));
    add(0x0017, &[]);
    add(0xff01, &[0]);
    add(0x000a, &with_length(&codes(&groups)));
    add(0x000b, &[1, 0]);
    add(0x0023, &[]);
    add(0x0010, &with_length(b"\x02h2\x08http/1.1"));
    add(0x0005, &[1, 0, 0, 0, 0]);
    add(0x000d, &with_length(&codes(&SIGNATURES)));
    add(0x0012, &[]);
    add(0x0033, &with_length(&keys));
    add(0x002d, &[1, 1]);
    add(0x002b, &[6, 0x8a, 0x8a, 0x03, 0x04, 0x03, 0x03]);
    add(0x001b, &[2, 0, 2]);
    all
}

fn codes(codes: &[u16]) -> Vec<u8> {
    codes.iter().flat_map(|code| code.to_be_bytes()).collect()
}

/// `content` behind its length in two bytes; nothing here is longer than that can say.
fn with_length(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(content);
    bytes
}

fn filler(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9);
    let mut bytes = Vec::with_capacity(length);
    for _ in 0..length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.push(state.to_be_bytes()[0]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_long_as_it_says() {
        for hello in [small("a.example"), post_quantum("a.example")] {
            let length = u16::from_be_bytes([hello[3], hello[4]]);
            assert_eq!(hello.len(), usize::from(length) + 5);
        }
        assert!(post_quantum("a.example").len() > 1460);
    }

    #[test]
    fn fragments_hold_the_same_handshake() {
        let whole = small("a.example");
        let joined: Vec<u8> = fragmented("a.example", 50)
            .chunks(55)
            .flat_map(|part| part[5..].to_vec())
            .collect();
        assert_eq!(joined, whole[5..]);
    }
}
