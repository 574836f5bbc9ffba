//! What must hold of any bytes whatever; shared by the fuzz target and its stand-in on stable Rust.

use sluice_peek::{
    End, FirstReader, HelloReader, HostName, NotTls, Peek, SecondHelloReader, foreign, http, quic,
};

/// Small, so that inputs of the usual size reach it.
const LIMIT: usize = 4096;

/// Panics if the bytes break a promise of the crate.
pub(crate) fn check(bytes: &[u8]) {
    let whole = HelloReader::new(LIMIT).advance(bytes);
    // Any cut will do, as long as the same bytes are cut in the same way again.
    let mut cut = bytes.iter().fold(bytes.len(), |cut, byte| {
        cut.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    check_segments(bytes, &whole, || {
        cut = cut.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        match cut >> 60 {
            0..8 => 1 + (cut >> 32) % 4,
            _ => 1 + (cut >> 32) % 400,
        }
    });
    check_first(bytes, &whole);
    check_ends(bytes, &whole);
    check_second(bytes);
    if let Peek::Hello(hello) = &whole {
        assert!(hello.consumed <= LIMIT.min(bytes.len()));
        assert!(hello.ja4.len() == 36 && hello.ja4.is_ascii());
        assert!(hello.alpn.iter().all(|name| !name.is_empty()));
        if let Some(name) = &hello.sni {
            assert_eq!(HostName::parse(name.as_bytes()).as_ref(), Ok(name));
        }
        check_records(bytes, &whole, hello.consumed);
    }
    if let http::Head::Request(request) = http::head(bytes, LIMIT) {
        assert!(request.consumed <= LIMIT.min(bytes.len()));
        assert_eq!(foreign::application(bytes), Some("http"));
    }
    if quic::looks_like_initial(bytes) {
        assert!(bytes.len() >= quic::DATAGRAM_LEAST);
    }
}

/// Segments change nothing, and an answer stays.
fn check_segments(bytes: &[u8], whole: &Peek, mut next: impl FnMut() -> usize) {
    let mut reader = HelloReader::new(LIMIT);
    let mut seen = 0;
    let mut answer = Peek::NeedMore;
    while seen < bytes.len() && answer == Peek::NeedMore {
        seen = (seen + next()).min(bytes.len());
        answer = reader.advance(&bytes[..seen]);
    }
    assert_eq!(answer, *whole);
    assert_eq!(reader.advance(bytes), *whole);
}

/// Byte by byte the same, and the application too.
fn check_first(bytes: &[u8], whole: &Peek) {
    let mut reader = FirstReader::new(LIMIT);
    let told = (1..=bytes.len()).find_map(|end| match reader.advance(&bytes[..end]) {
        Peek::NeedMore => None,
        told => Some((told, foreign::application(&bytes[..end]))),
    });
    match told {
        Some((told, application)) => {
            assert_eq!(told, *whole);
            assert_eq!(application, foreign::application(bytes));
            assert_eq!(FirstReader::new(LIMIT).advance(bytes), told);
        }
        None => {
            let waits = bytes.is_empty() || foreign::may_show_more(bytes);
            assert!(waits || *whole == Peek::NeedMore);
        }
    }
}

fn check_ends(bytes: &[u8], whole: &Peek) {
    let finish = |end| HelloReader::new(LIMIT).finish(bytes, end);
    let expected = match whole {
        Peek::NotTls(why) => [*why; 2],
        _ if bytes.is_empty() => [NotTls::Silent; 2],
        _ => [NotTls::Truncated, NotTls::Timeout],
    };
    assert_eq!([finish(End::Eof), finish(End::Deadline)], expected);
}

/// As a second hello: byte by byte the same, and where it begins with a handshake, what a first one
/// is, also behind a change of ciphers.
fn check_second(bytes: &[u8]) {
    let whole = SecondHelloReader::new(LIMIT).advance(bytes);
    let mut reader = SecondHelloReader::new(LIMIT);
    let mut told = (1..=bytes.len()).map(|end| reader.advance(&bytes[..end]));
    let told = told.find(|told| *told != Peek::NeedMore);
    assert_eq!(told.unwrap_or(Peek::NeedMore), whole);
    if bytes.first() == Some(&22) {
        assert_eq!(HelloReader::new(LIMIT).advance(bytes), whole);
    }
    const CIPHERS: [u8; 6] = [20, 3, 3, 0, 1, 1];
    let behind = [&CIPHERS[..], bytes].concat();
    let mut expected = whole;
    if let Peek::Hello(hello) = &mut expected {
        hello.consumed += CIPHERS.len();
    }
    let mut reader = SecondHelloReader::new(LIMIT + CIPHERS.len());
    assert_eq!(reader.advance(&behind), expected);
}

/// The message in other records is the same hello.
fn check_records(bytes: &[u8], whole: &Peek, consumed: usize) {
    let mut message = Vec::new();
    let mut rest = &bytes[..consumed];
    while let [_, _, _, high, low, content @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        message.extend(&content[..len]);
        rest = &content[len..];
    }
    let size = 1 + message.len() / 3;
    let mut cut = Vec::new();
    for content in message.chunks(size) {
        let len = u16::try_from(content.len()).unwrap();
        cut.extend([22, 3, 3]);
        cut.extend(len.to_be_bytes());
        cut.extend(content);
    }
    let mut expected = whole.clone();
    if let Peek::Hello(hello) = &mut expected {
        hello.consumed = cut.len();
    }
    assert_eq!(HelloReader::new(cut.len()).advance(&cut), expected);
}
