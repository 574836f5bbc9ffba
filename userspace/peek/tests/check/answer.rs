//! What must hold of any bytes of an origin's whatever; shared like its sibling.

use sluice_peek::{Answer, End, NoAgreement, Offer, ServerHelloReader};

/// Small, so that inputs of the usual size reach it.
const LIMIT: usize = 4096;

/// A hello that offers TLS 1.2, TLS 1.3 and an unknown version, with an empty session, two suites
/// and GREASE.
const HELLO: &[u8] = b"\x16\x03\x01\0\x42\x01\0\0\x3e\x03\x03\
    0123456789abcdef0123456789abcdef\0\
    \0\x08\x0a\x0a\x13\x01\xc0\x2f\x00\x2f\x01\0\
    \0\x0d\0\x2b\0\x09\x08\x1a\x1a\x7f\x1c\x03\x04\x03\x03";

/// Panics if the bytes break a promise of the reader.
pub(crate) fn check(bytes: &[u8]) {
    let offer = Offer::of(HELLO).unwrap();
    let reader = || ServerHelloReader::new(offer.clone(), LIMIT);
    let whole = reader().advance(bytes);
    for size in [1, 2, 3, 7, 100] {
        let mut reader = reader();
        let mut seen = 0;
        let mut answer = Answer::Incomplete;
        while seen < bytes.len() && answer == Answer::Incomplete {
            seen = (seen + size).min(bytes.len());
            answer = reader.advance(&bytes[..seen]);
        }
        assert_eq!(answer, whole);
        assert_eq!(reader.advance(bytes), whole);
    }
    let not = |why| Answer::Not { why, alert: None };
    let expected = match whole {
        Answer::Incomplete => [NoAgreement::OriginClosed, NoAgreement::Timeout].map(not),
        decided => [decided; 2],
    };
    let ends = [End::Eof, End::Deadline].map(|end| reader().finish(bytes, end));
    assert_eq!(ends, expected);
    if let Answer::Negotiated(chosen) = whole {
        assert!(
            [0x0300, 0x0301, 0x0302, 0x0303, 0x0304, 0x7f1c].contains(&chosen.version),
            "{chosen:?}"
        );
        assert!(
            [0x1301, 0xc02f, 0x002f].contains(&chosen.cipher) || chosen.version == 0x7f1c,
            "{chosen:?}"
        );
    }
    // A client's hello is no answer to itself.
    if let Some(offer) = Offer::of(bytes) {
        let answer = ServerHelloReader::new(offer, LIMIT).advance(bytes);
        assert_eq!(answer, not(NoAgreement::Inconsistent));
    }
}
