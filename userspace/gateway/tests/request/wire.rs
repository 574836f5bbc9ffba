//! Where messages of HTTP/1 begin and end.

use proptest::prelude::*;
use sluice_gateway::request::Framing;
use sluice_gateway::request::wire::Bad;

use super::wire_check::{check, read};

/// A message as it is sent.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (
        prop::collection::vec(any::<u8>(), 1..40),
        "(;[a-z]{1,5}(=[a-z]{1,3})?)?",
    );
    let chunked = (
        prop::collection::vec(chunk, 0..5),
        prop::option::of("[a-z]{1,9}"),
    );
    let chunked = chunked.prop_map(|(chunks, trailer)| {
        let mut bytes =
            b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for (data, extension) in chunks {
            bytes.extend(format!("{:x}{extension}\r\n", data.len()).bytes());
            bytes.extend(data);
            bytes.extend(b"\r\n");
        }
        let trailer = trailer.map_or(String::new(), |name| format!("x-{name}: v\r\n"));
        bytes.extend(format!("0\r\n{trailer}\r\n").bytes());
        bytes
    });
    let sized = prop::collection::vec(any::<u8>(), 0..80).prop_map(|body| {
        let head = format!(
            "PUT /l HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    });
    let none = "(\r\n)?GET /[a-z]{0,9} HTTP/1\\.[01]\r\n(X-[a-z]{1,5}: ?[ -~]{0,20}\r\n){0,5}\r\n";
    prop_oneof![chunked, sized, none.prop_map(String::into_bytes)]
}

/// What a parser could be led astray by.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => message(),
        2 => "(\r\n|\n|\r|\0|: | |0\r\n\r\n|Content-Length: [0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n|Upgrade: websocket\r\nConnection: upgrade\r\n|HTTP/1\\.1 [12345][0-9]{2} X\r\n)".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ]
}

proptest! {
    #[test]
    fn f1_whole_messages_are_read_to_their_end(messages in prop::collection::vec(message(), 1..6), size in 1_usize..200) {
        let bytes = messages.concat();
        prop_assert_eq!(read(&bytes, false, size), (bytes.len(), None, messages.len() as u64));
    }

    #[test]
    fn f1_bytes_are_read_the_same_however_they_come(pieces in prop::collection::vec(piece(), 0..12)) {
        check(&pieces.concat());
    }

    #[test]
    fn f1_a_changed_byte_of_a_head_is_never_read_as_two(at in 0_usize..200, byte in any::<u8>()) {
        let mut bytes = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let (_, _, heads) = read(&bytes, false, 1000);
        prop_assert!(heads <= 1);
        check(&bytes);
    }
}

#[test]
fn f1_what_is_wrong_is_told() {
    let wrong = |bytes: &str| read(bytes.as_bytes(), false, 1000).1;
    for (bytes, bad) in [
        ("GET / HTTP/1.1\nHost: a\n\n", Bad::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Bad::Fold),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Bad::Name),
        ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", Bad::Value),
        ("GET / HTTP/3\r\n\r\n", Bad::StartLine),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Bad::LineEnd),
        (
            "P / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Bad::Framing(Framing::Both),
        ),
        (
            "P / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Bad::Framing(Framing::Coding),
        ),
        (
            "P / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            Bad::Framing(Framing::Length),
        ),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\n",
            Bad::Chunk,
        ),
        (
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n",
            Bad::Trailer,
        ),
    ] {
        assert_eq!(wrong(bytes), Some(bad), "{bytes:?}");
    }
    assert_eq!(
        wrong(&format!("GET /{}", "a".repeat(300))),
        Some(Bad::UrlTooLong)
    );
    assert_eq!(
        wrong(&format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(2000))),
        Some(Bad::TooLarge)
    );
    let many = "X: y\r\n".repeat(21);
    assert_eq!(
        wrong(&format!("GET / HTTP/1.1\r\n{many}\r\n")),
        Some(Bad::TooMany)
    );
}

#[test]
fn f3_interim_answers_and_bodies_of_answers_are_told_apart() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    let bytes = interim.repeat(16) + answer + answer;
    assert_eq!(read(bytes.as_bytes(), true, 1000), (bytes.len(), None, 2));
    let flood = interim.repeat(17) + answer;
    assert_eq!(read(flood.as_bytes(), true, 1000).1, Some(Bad::Interim));
    // Without a length the connection's end is the body's.
    let open = "HTTP/1.1 200 OK\n\nHTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(read(open.as_bytes(), true, 1000), (open.len(), None, 1));
    let none = format!("HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n{answer}");
    assert_eq!(read(none.as_bytes(), true, 1000), (none.len(), None, 2));
}
