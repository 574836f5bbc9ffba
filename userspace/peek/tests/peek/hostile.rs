//! Hostile and merely unusual first bytes, by the names of the project's list of them.

use sluice_peek::{End, HELLO_LIMIT, HelloReader, NotTls, Peek, Version};

use crate::hello::{Builder, MALFORMED, hello, peek, peek_segments, record, records, vec8, vec16};

const NAME: &str = "www.example.com";

fn ordinary() -> Builder {
    Builder::new()
        .sni(NAME.as_bytes())
        .versions(&[0x0304, 0x0303])
        .signature_algorithms(&[0x0403, 0x0804])
        .alpn(&[b"h2", b"http/1.1"])
}

/// The size of a browser's, with the key share of X25519MLKEM768.
fn post_quantum() -> Builder {
    let share = [&[0x11, 0xec], &vec16(&[7; 1216])[..]].concat();
    ordinary()
        .extension(51, &vec16(&share))
        .extension(21, &[0; 400])
}

#[track_caller]
fn assert_not_tls(bytes: &[u8], why: NotTls) {
    assert_eq!(peek(bytes), Peek::NotTls(why), "{bytes:02x?}");
    let (in_segments, _) = peek_segments(bytes, 1);
    assert_eq!(in_segments, Peek::NotTls(why), "{bytes:02x?}");
}

#[test]
fn b1_one_byte_segments() {
    let bytes = ordinary().bytes();
    let (decided, seen) = peek_segments(&bytes, 1);
    assert_eq!(decided, Peek::Hello(hello(&bytes)));
    assert_eq!(seen, bytes.len());
}

#[test]
fn b2_any_number_of_records() {
    let message = ordinary().message();
    let whole = hello(&records(&message, message.len()));
    for size in (1..message.len()).rev() {
        let bytes = records(&message, size);
        let mut cut = hello(&bytes);
        assert_eq!(cut.consumed, bytes.len());
        cut.consumed = whole.consumed;
        assert_eq!(cut, whole, "records of {size}");
    }
}

#[test]
fn b2_a_record_ends_inside_the_name() {
    let message = ordinary().message();
    let at = message
        .windows(NAME.len())
        .position(|window| window == NAME.as_bytes());
    let (head, tail) = message.split_at(at.unwrap() + 5);
    let bytes = [record(head), record(tail)].concat();
    assert_eq!(hello(&bytes).sni.unwrap().as_str(), NAME);
}

#[test]
fn b3_one_byte_records_in_one_byte_segments_with_pauses() {
    let bytes = records(&ordinary().message(), 1);
    let mut reader = HelloReader::new(HELLO_LIMIT);
    for seen in 0..bytes.len() {
        assert_eq!(reader.advance(&bytes[..seen]), Peek::NeedMore);
        // Woken without news.
        assert_eq!(reader.advance(&bytes[..seen]), Peek::NeedMore);
    }
    assert_eq!(reader.advance(&bytes), Peek::Hello(hello(&bytes)));
}

#[test]
fn b4_post_quantum_hello_over_several_segments() {
    let bytes = post_quantum().bytes();
    assert!((1400..2100).contains(&bytes.len()), "{}", bytes.len());
    for size in [536, 1000, 1200, 1448] {
        let (decided, seen) = peek_segments(&bytes, size);
        assert_eq!(decided, Peek::Hello(hello(&bytes)));
        assert_eq!(seen, bytes.len());
    }
}

/// A hello whose message has exactly this length.
fn of_length(len: usize) -> Vec<u8> {
    let empty = ordinary().extension(21, &[]).message().len();
    let message = ordinary().extension(21, &vec![0; len - empty]).message();
    assert_eq!(message.len(), len);
    message
}

#[test]
fn b5_large_hellos() {
    for len in [16_383, 16_384, 16_385, 60_000] {
        let bytes = records(&of_length(len), 1 << 14);
        assert_eq!(hello(&bytes).sni.unwrap().as_str(), NAME, "{len}");
    }
    assert_not_tls(&records(&of_length(65_535), 1 << 14), NotTls::Oversize);
}

#[test]
fn b5_announced_lengths_decide_at_once() {
    assert_not_tls(b"\x16\x03\x01\x02\x00\x01\xff\xff\xff", NotTls::Oversize);
    assert_not_tls(b"\x16\x03\x01\x40\x01", NotTls::Oversize);
    assert_eq!(peek(b"\x16\x03\x01\x40\x00"), Peek::NeedMore);
}

#[test]
fn b5_the_limit_counts_record_headers() {
    let message = ordinary().message();
    for bytes in [records(&message, 1 << 14), records(&message, 3)] {
        let enough = HelloReader::new(bytes.len()).advance(&bytes);
        assert_eq!(enough, Peek::Hello(hello(&bytes)));
        let mut short = HelloReader::new(bytes.len() - 1);
        assert_eq!(short.advance(&bytes), Peek::NotTls(NotTls::Oversize));
    }
}

#[test]
fn b6_no_name() {
    let nameless = Builder::new().versions(&[0x0304]).hello();
    assert_eq!(nameless.sni, None);
    assert!(nameless.alpn.is_empty());
    assert!(nameless.ja4.starts_with("t13i"));
    assert_eq!(Builder::new().hello().sni, None);
}

#[test]
fn b7_one_name_in_one_form() {
    let longest = [&b"a.".repeat(126)[..], b"b"].concat();
    for (spelling, form) in [
        (&b"WwW.ExAmPlE.cOm"[..], "www.example.com"),
        (b"www.example.com.", "www.example.com"),
        (b"my_host.example", "my_host.example"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (&longest, std::str::from_utf8(&longest).unwrap()),
    ] {
        let sni = Builder::new().sni(spelling).hello().sni;
        assert_eq!(sni.unwrap().as_str(), form);
    }
}

#[test]
fn b7_names_without_canonical_form() {
    let long_label = [&[b'a'; 64][..], b".example"].concat();
    let names: [&[u8]; 18] = [
        b"",
        b".",
        b"a..example",
        b".example",
        b"www.example.com\0.evil.example",
        b"www.example.com\0",
        b"www example.com",
        b" www.example.com",
        b"*",
        b"*.example.com",
        b"www.example.com:443",
        b"192.0.2.1",
        b"0x7f.1",
        b"2001:db8::1",
        "b\u{fc}cher.example".as_bytes(),
        b"\xff\xfe",
        &long_label,
        &[b'a'; 300],
    ];
    for name in names {
        assert_eq!(Builder::new().sni(name).peek(), MALFORMED, "{name:?}");
    }
}

#[test]
fn b7_names_told_twice() {
    let twice = Builder::new().sni(b"a.example").sni(b"b.example");
    assert_eq!(twice.peek(), MALFORMED);
    let entry = [&[0], &vec16(b"a.example")[..]].concat();
    let two_in_list = vec16(&entry.repeat(2));
    assert_eq!(Builder::new().extension(0, &two_in_list).peek(), MALFORMED);
    let trailing = [vec16(&entry), vec![0]].concat();
    assert_eq!(Builder::new().extension(0, &trailing).peek(), MALFORMED);
    assert_eq!(Builder::new().extension(0, &[]).peek(), MALFORMED);
}

#[test]
fn b7_a_second_message_in_the_record_of_the_hello() {
    let first = ordinary().message();
    let second = Builder::new().sni(b"evil.example").message();
    assert_not_tls(&record(&[first, second].concat()), NotTls::Malformed);
}

#[test]
fn b8_grease_and_unknown_values() {
    let greased = Builder::new()
        .ciphers(&[0x0a0a, 0x1301, 0xffff])
        .extension(0x1a1a, &[])
        .sni(NAME.as_bytes())
        .alpn(&[b"\x2a\x2a", b"h2"])
        .versions(&[0x3a3a, 0x0304, 0x03ff])
        .signature_algorithms(&[0x4a4a, 0x0403])
        .extension(0x5555, &[1, 2, 3])
        .extension(0x5a5a, &[0]);
    let greased = greased.hello();
    assert_eq!(greased.sni.unwrap().as_str(), NAME);
    assert!(greased.alpn.iter().eq([&b"\x2a\x2a"[..], b"h2"]));
    assert!(greased.versions.iter().eq([Version::Tls13]));
    // The count of ciphers and extensions, GREASE left out.
    assert_eq!(&greased.ja4[4..8], "0205");
}

#[test]
fn b8_tls13_only_and_unknown_versions_only() {
    let only = Builder::new().versions(&[0x0304]).hello();
    assert!(only.versions.iter().eq([Version::Tls13]));
    let unknown = Builder::new().versions(&[0x0a0a, 0x7f1c]).hello();
    assert_eq!(unknown.versions.max(), None);
    assert_eq!(Builder::new().versions(&[]).peek(), MALFORMED);
}

#[test]
fn b8_the_order_of_extensions_does_not_matter() {
    let shuffled = Builder::new()
        .alpn(&[b"h2", b"http/1.1"])
        .signature_algorithms(&[0x0403, 0x0804])
        .sni(NAME.as_bytes())
        .versions(&[0x0304, 0x0303]);
    assert_eq!(shuffled.hello(), ordinary().hello());
}

#[test]
fn b9_ech_is_told_and_the_name_is_the_outer_one() {
    let outer = [&[0, 0, 1, 0, 1, 7], &vec16(&[9; 32])[..], &vec16(&[8; 144])].concat();
    let hello = ordinary().extension(0xfe0d, &outer).hello();
    assert!(hello.ech);
    assert_eq!(hello.sni.unwrap().as_str(), NAME);
    assert!(!ordinary().hello().ech);
}

#[test]
fn b10_sslv2_format() {
    for start in [
        &b"\x80\x46\x01\x03\x01\x00\x2d\x00\x00\x00\x10"[..],
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
        b"\x00\x2e\x07\x01\x03\x00\x00\x15\x00\x00\x00\x10",
    ] {
        assert_not_tls(start, NotTls::Sslv2Hello);
    }
}

#[test]
fn b10_old_versions_are_told() {
    for (code, version) in [
        (0x0300, Version::Ssl30),
        (0x0301, Version::Tls10),
        (0x0302, Version::Tls11),
    ] {
        let old = Builder::new().legacy_version(code).hello();
        assert_eq!(old.versions.max(), Some(version));
    }
    // The list counts, not the field that middleboxes see.
    let listed = Builder::new().versions(&[0x0302, 0x0301]).hello();
    assert_eq!(listed.versions.max(), Some(Version::Tls11));
}

#[test]
fn b11_ends_of_unfinished_streams() {
    let bytes = ordinary().bytes();
    for cut in 1..bytes.len() {
        let part = &bytes[..cut];
        for (end, why) in [
            (End::Eof, NotTls::Truncated),
            (End::Deadline, NotTls::Timeout),
            (End::SilentDeadline, NotTls::Timeout),
        ] {
            assert_eq!(HelloReader::new(HELLO_LIMIT).finish(part, end), why);
        }
    }
    for end in [End::Eof, End::Deadline, End::SilentDeadline] {
        let silent = HelloReader::new(HELLO_LIMIT).finish(&[], end);
        assert_eq!(silent, NotTls::Silent);
    }
    let told = HelloReader::new(HELLO_LIMIT).finish(b"GET", End::Deadline);
    assert_eq!(told, NotTls::NotTls);
}

#[test]
fn b12_not_a_handshake_first() {
    for (start, why) in [
        (&b"\x15\x03\x01\x00\x02\x02\x28"[..], NotTls::NotTls),
        (b"\x14\x03\x03\x00\x01\x01", NotTls::NotTls),
        (b"\x18\x03\x02\x00\x03\x01\x40\x00", NotTls::NotTls),
        (b"\x17\x03\x03\x00\x05hello", NotTls::NotTls),
        (b"\x16\x02\x00\x00\x05", NotTls::NotTls),
        (b"\x16\xfe\xfd\x00\x05", NotTls::NotTls),
        (b"\x16\x03\x01\x00\x2a\x02\x00\x00\x26", NotTls::NotTls),
        (b"\x16\x03\x01\x00\x00", NotTls::ZeroLengthRecord),
        (b"\x17\x03\x01\x00\x00", NotTls::ZeroLengthRecord),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NotTls::NotTls),
        (b"GET / HTTP/1.1\r\n", NotTls::NotTls),
        (b"\x13BitTorrent protocol", NotTls::NotTls),
        (b"\x05\x01\x00", NotTls::NotTls),
    ] {
        assert_not_tls(start, why);
    }
}

#[test]
fn b12_foreign_records_within_a_hello() {
    let message = ordinary().message();
    let (head, tail) = message.split_at(40);
    for (between, why) in [
        (&b"\x15\x03\x01\x00\x02\x01\x00"[..], NotTls::Malformed),
        (b"\x14\x03\x03\x00\x01\x01", NotTls::Malformed),
        (b"\x16\x07\x03\x00\x01\x01", NotTls::Malformed),
        (b"\x16\x03\x01\x00\x00", NotTls::ZeroLengthRecord),
    ] {
        let bytes = [&record(head), between, &record(tail)].concat();
        assert_not_tls(&bytes, why);
    }
}

#[test]
fn b15_early_data_behind_the_hello_is_left_alone() {
    let hello = ordinary().extension(42, &[]).extension(41, &vec8(&[1; 40]));
    let bytes = hello.bytes();
    let early = [&bytes[..], b"\x17\x03\x03\x00\x05early"].concat();
    let Peek::Hello(told) = peek(&early) else {
        panic!("{:?}", peek(&early));
    };
    assert_eq!(told.consumed, bytes.len());
    assert!(told.early_data && told.session_offered);
    assert_eq!(told, hello.hello());
    assert!(!ordinary().hello().early_data);
}

#[test]
fn an_answer_stays() {
    let hello = ordinary().bytes();
    for (bytes, more) in [(&hello[..], &b"\x17\x03\x03\x00\x01x"[..]), (b"SSH", b"-")] {
        let mut reader = HelloReader::new(HELLO_LIMIT);
        let first = reader.advance(bytes);
        assert_eq!(reader.advance(&[bytes, more].concat()), first);
        assert_eq!(reader.advance(bytes), first);
    }
}
