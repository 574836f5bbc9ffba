//! How a stream is cut into records and segments changes nothing.

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_peek::{HELLO_LIMIT, HelloReader, Peek};

use crate::hello::{Builder, hello, peek, record};

fn builders() -> impl Strategy<Value = Builder> {
    let name = proptest::option::of("[a-zA-Z0-9_-]{1,20}(\\.[a-z]{1,20}){1,3}\\.?");
    let alpn = vec(vec(any::<u8>(), 1..20), 0..6);
    let versions = vec(any::<u16>(), 0..6);
    let ciphers = vec(any::<u16>(), 1..200);
    let others = proptest::collection::btree_set(100..60_000_u16, 0..150);
    (name, alpn, versions, ciphers, others).prop_map(|(name, alpn, versions, ciphers, others)| {
        let mut hello = Builder::new().ciphers(&ciphers);
        if let Some(name) = name {
            hello = hello.sni(name.as_bytes());
        }
        if !alpn.is_empty() {
            let names: Vec<&[u8]> = alpn.iter().map(Vec::as_slice).collect();
            hello = hello.alpn(&names);
        }
        if !versions.is_empty() {
            hello = hello.versions(&versions);
        }
        for kind in others {
            hello = hello.extension(kind, &[0; 3]);
        }
        hello
    })
}

/// Cuts bytes into pieces whose lengths are taken from the list, over and over.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(*length));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn in_segments(bytes: &[u8], lengths: &[usize]) -> Peek {
    let mut reader = HelloReader::new(HELLO_LIMIT);
    let mut seen = 0;
    for piece in pieces(bytes, lengths) {
        seen += piece.len();
        match reader.advance(&bytes[..seen]) {
            Peek::NeedMore => {}
            decided => return decided,
        }
    }
    Peek::NeedMore
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn records_and_segments_change_nothing(
        builder in builders(),
        records in vec(1..400_usize, 1..8),
        segments in vec(1..400_usize, 1..8),
    ) {
        let message = builder.message();
        let mut bytes: Vec<u8> = pieces(&message, &records)
            .into_iter()
            .flat_map(record)
            .collect();
        let hello_end = bytes.len();
        bytes.extend(b"\x17\x03\x03\x00\x04tail");

        let mut whole = hello(&record(&message));
        whole.consumed = hello_end;
        prop_assert_eq!(in_segments(&bytes, &segments), Peek::Hello(whole));
    }

    #[test]
    fn segments_change_nothing_of_arbitrary_bytes(
        start in prop_oneof![
            Just(&b""[..]),
            Just(&b"\x16\x03\x01"[..]),
            Just(&b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03"[..]),
            Just(&b"\x80\x2e\x01"[..]),
        ],
        rest in vec(any::<u8>(), 0..100),
        segments in vec(1..20_usize, 1..8),
    ) {
        let bytes = [start, &rest].concat();
        prop_assert_eq!(in_segments(&bytes, &segments), peek(&bytes));
    }
}
