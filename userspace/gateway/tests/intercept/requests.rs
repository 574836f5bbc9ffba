//! Requests of HTTP/1.1 that could be read in two ways, inside TLS and in the clear.

use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;

use crate::lab::{INSPECT, Lab, Origin};
use crate::raw::{answer, connect, site, statuses, talk, until};

/// Everything that is HTTP is read and allowed.
pub(crate) const READ: &str = r#"
[[rule]]
name = "never"
when = { path = "/never" }
action = "block"
[[rule]]
name = "rest"
action = "allow"
"#;

/// Both kinds of connection, with an origin that speaks HTTP/1.1.
fn labs() -> [(Lab, bool); 2] {
    [
        (
            Lab::before(&Origin::default().speaking(b"http/1.1"), INSPECT),
            true,
        ),
        (Lab::before(&Origin::plain(), READ), false),
    ]
}

/// Sends bytes before which `{h}` stands for a Host field: what comes must be this status and the
/// end, and the origin must have seen nothing.
fn refused(cases: &[(&str, &str)], status: u16) {
    for (lab, tls) in labs() {
        let host = format!("Host: {}\r\n", site(&lab));
        for (what, bytes) in cases {
            let bytes = bytes.replace("{h}", &host).replace("{s}", &site(&lab));
            let read = lab.run(talk(&lab, tls, bytes.as_bytes()));
            assert_eq!(statuses(&read), [status], "{what}, TLS {tls}: {read}");
            let closes = read.to_lowercase().contains("connection: close");
            assert!(closes, "{what}, TLS {tls}: {read}");
            assert_eq!(lab.requests.load(Ordering::SeqCst), 0, "{what}, TLS {tls}");
        }
        lab.over(cases.len() as u64);
        let (flows, requests) = lab.end();
        assert_eq!(flows.len(), cases.len());
        assert_eq!(requests.len(), cases.len(), "TLS {tls}");
        for request in requests {
            assert_eq!(request["reason"], "bad-request", "{request}");
            assert_eq!(request["status"], status, "{request}");
            assert!(request["reference"].is_string(), "{request}");
        }
    }
}

#[test]
fn f1_lengths_and_codings_that_contradict_each_other_are_refused() {
    let smuggled = "GET /smuggled HTTP/1.1\r\n{h}\r\n";
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\n{{h}}{fields}\r\n{body}");
    let with = |body: &str| format!("{body}{smuggled}");
    let cases = [
        (
            "CL.TE",
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                &with("0\r\n\r\n"),
            ),
        ),
        (
            "TE.CL",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                &with("0\r\n\r\n"),
            ),
        ),
        (
            "two codings",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                "0\r\n\r\n",
            ),
        ),
        (
            "twice chunked",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
        ),
        (
            "gzip, chunked",
            post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ),
        (
            "chunked, identity",
            post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ),
        (
            "xchunked",
            post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ),
        (
            "quoted",
            post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        ),
        (
            "vertical tab",
            post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
        ),
        ("empty coding", post("Transfer-Encoding:\r\n", "0\r\n\r\n")),
        (
            "coding in HTTP/1.0",
            "POST / HTTP/1.0\r\n{h}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
        (
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 0\r\n", "12345"),
        ),
        (
            "the same twice",
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "12345"),
        ),
        ("comma", post("Content-Length: 5, 5\r\n", "12345")),
        ("plus", post("Content-Length: +5\r\n", "12345")),
        ("minus", post("Content-Length: -5\r\n", "12345")),
        ("hexadecimal", post("Content-Length: 0x5\r\n", "12345")),
        ("blank inside", post("Content-Length: 5 5\r\n", "12345")),
        ("no number", post("Content-Length: \r\n", "12345")),
        (
            "beyond 64 bits",
            post("Content-Length: 18446744073709551621\r\n", "12345"),
        ),
    ];
    let cases: Vec<_> = cases
        .iter()
        .map(|(what, bytes)| (*what, bytes.as_str()))
        .collect();
    refused(&cases, 400);
}

#[test]
fn f1_heads_that_lines_do_not_divide_in_one_way_are_refused() {
    refused(
        &[
            ("bare LF", "GET / HTTP/1.1\n{h}\r\n"),
            (
                "bare LF behind a field",
                "GET / HTTP/1.1\r\n{h}X: y\nZ: w\r\n\r\n",
            ),
            ("bare LF at the end", "GET / HTTP/1.1\r\n{h}X: y\r\n\n"),
            ("all bare LF", "GET / HTTP/1.1\nHost: {s}\n\n"),
            (
                "bare CR in a value",
                "GET / HTTP/1.1\r\n{h}X: y\rZ: w\r\n\r\n",
            ),
            ("bare CR in the first line", "GET /\r HTTP/1.1\r\n{h}\r\n"),
            ("CR CR LF", "GET / HTTP/1.1\r\n{h}X: y\r\r\n\r\n"),
            ("a fold", "GET / HTTP/1.1\r\n{h}X: y\r\n z\r\n\r\n"),
            (
                "a fold by tab",
                "GET / HTTP/1.1\r\n{h}Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n",
            ),
            (
                "a blank before the first field",
                "GET / HTTP/1.1\r\n X: y\r\n{h}\r\n",
            ),
            ("NUL in a value", "GET / HTTP/1.1\r\n{h}X: a\0b\r\n\r\n"),
            ("NUL in a name", "GET / HTTP/1.1\r\n{h}X\0: b\r\n\r\n"),
            ("NUL in the path", "GET /\0 HTTP/1.1\r\n{h}\r\n"),
            (
                "a blank before the colon",
                "GET / HTTP/1.1\r\n{h}Content-Length : 0\r\n\r\n",
            ),
            (
                "a tab before the colon",
                "GET / HTTP/1.1\r\n{h}Content-Length\t: 0\r\n\r\n",
            ),
            ("no colon", "GET / HTTP/1.1\r\n{h}X\r\n\r\n"),
            ("no name", "GET / HTTP/1.1\r\n{h}: y\r\n\r\n"),
            ("two blanks", "GET  / HTTP/1.1\r\n{h}\r\n"),
            ("a tab in the first line", "GET /\tHTTP/1.1\r\n{h}\r\n"),
            ("four words", "GET / x HTTP/1.1\r\n{h}\r\n"),
            ("HTTP/0.9", "GET /\r\n\r\n"),
            ("HTTP/1.2", "GET / HTTP/1.2\r\n{h}\r\n"),
            ("HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            ("lower case", "GET / http/1.1\r\n{h}\r\n"),
        ],
        400,
    );
}

#[test]
fn f1_bodies_whose_chunks_are_not_whole_end_the_connection() {
    let cases = [
        ("a size that overflows", "10000000000000000\r\nx"),
        ("a size of a sign", "+1\r\nx\r\n0\r\n\r\n"),
        ("a size of 0x", "0x1\r\nx\r\n0\r\n\r\n"),
        ("a blank before the size", " 1\r\nx\r\n0\r\n\r\n"),
        ("no size", ";a\r\nx\r\n0\r\n\r\n"),
        ("a bare LF behind the size", "1\nx\r\n0\r\n\r\n"),
        ("a bare LF in an extension", "1;a\nb\r\nx\r\n0\r\n\r\n"),
        ("a bare CR in an extension", "1;a\rb\r\nx\r\n0\r\n\r\n"),
        ("more data than the size", "1\r\nxy\r\n0\r\n\r\n"),
        ("no end of the line", "1\r\nx0\r\n\r\n"),
        (
            "a length in the trailers",
            "1\r\nx\r\n0\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            "a coding in the trailers",
            "1\r\nx\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("a server in the trailers", "1\r\nx\r\n0\r\nHost: b\r\n\r\n"),
        (
            "a bare LF in the trailers",
            "1\r\nx\r\n0\r\nX: y\nZ: w\r\n\r\n",
        ),
        ("a blank in the trailers", "1\r\nx\r\n0\r\nX : y\r\n\r\n"),
    ];
    for (lab, tls) in labs() {
        for (what, body) in cases {
            let host = site(&lab);
            let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let bytes = format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n{body}{smuggled}"
            );
            let read = lab.run(talk(&lab, tls, bytes.as_bytes()));
            assert_eq!(statuses(&read), [400], "{what}, TLS {tls}: {read}");
        }
        lab.over(cases.len() as u64);
        let (_, requests) = lab.end();
        // Of each the origin may have seen a head, and nothing has seen what was smuggled.
        assert_eq!(requests.len(), cases.len());
        for request in requests {
            assert_eq!(request["method"], "POST", "{request}");
            assert_eq!(request["verdict"], "block", "{request}");
        }
    }
}

#[test]
fn f1_a_request_behind_good_ones_is_refused_in_its_turn() {
    for (lab, tls) in labs() {
        let host = site(&lab);
        let bytes = format!(
            "GET /one HTTP/1.1\r\nHost: {host}\r\n\r\n\
             POST /two HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc\
             POST /three HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n\
             3;x=y\r\ndef\r\n0\r\nX-Later: z\r\n\r\n\
             GET /four HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n\
             GET /five HTTP/1.1\r\nHost: {host}\r\n\r\n"
        );
        let read = lab.run(talk(&lab, tls, bytes.as_bytes()));
        assert_eq!(statuses(&read), [200, 200, 200, 400], "TLS {tls}: {read}");
        assert!(read.contains("/two HTTP/1.1 abc") && read.contains("/three HTTP/1.1 def"));
        assert_eq!(lab.requests.load(Ordering::SeqCst), 3);
    }
}

#[test]
fn f1_requests_pass_however_their_bytes_come() {
    for (lab, tls) in labs() {
        let host = site(&lab);
        let text = format!(
            "\r\nPOST /a HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n\
             1 ;x\r\na\r\n00A\r\n0123456789\r\n000\r\n\r\n\
             POST /b HTTP/1.1\r\nhost:{host}\r\ncontent-length:  003 \r\n\r\nabc"
        );
        for size in [1, 2, 7, 100] {
            lab.run(async {
                let mut pipe = connect(&lab, tls).await;
                for part in text.as_bytes().chunks(size) {
                    pipe.write_all(part).await.unwrap();
                    pipe.flush().await.unwrap();
                }
                let (_, first) = answer(&mut pipe).await;
                assert!(first.ends_with("/a HTTP/1.1 a0123456789"), "{first}");
                let (_, second) = answer(&mut pipe).await;
                assert!(second.ends_with("/b HTTP/1.1 abc"), "{second}");
            });
        }
        assert_eq!(lab.requests.load(Ordering::SeqCst), 8);
    }
}

#[test]
fn f1_empty_lines_before_a_request_hide_nothing_from_rules() {
    let lab = Lab::before(&Origin::plain(), READ);
    for (before, status) in [("", 403), ("\r\n", 403), ("\r\n\r\n", 400), ("\n", 400)] {
        let bytes = format!(
            "{before}GET /never HTTP/1.1\r\nHost: {}\r\n\r\n",
            site(&lab)
        );
        lab.run(async {
            let mut pipe = connect(&lab, false).await;
            pipe.write_all(bytes.as_bytes()).await.unwrap();
            assert_eq!(statuses(&answer(&mut pipe).await.0), [status], "{before:?}");
        });
    }
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn f1_a_head_that_ends_too_early_is_forwarded_to_nobody() {
    for (lab, tls) in labs() {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {}\r\nX: ", site(&lab));
        lab.run(async {
            let mut pipe = connect(&lab, tls).await;
            pipe.write_all(bytes.as_bytes()).await.unwrap();
            pipe.shutdown().await.unwrap();
            assert_eq!(until(&mut pipe, "\r\n").await, "");
        });
        lab.over(1);
        assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn f5_what_is_too_large_is_refused_by_its_status() {
    let long = "x".repeat(17 << 10);
    refused(
        &[("a URL", &format!("GET /{long} HTTP/1.1\r\n{{h}}\r\n"))],
        414,
    );
    refused(&[("a URL without an end", &format!("GET /{long}"))], 414);
    let fields = (0..101)
        .map(|n| format!("X-{n}: y\r\n"))
        .collect::<String>();
    let wide = format!("X: {}\r\n", "y".repeat(65 << 10));
    let endless = format!("X: {}", "y".repeat(90 << 10));
    refused(
        &[
            ("fields", &format!("GET / HTTP/1.1\r\n{{h}}{fields}\r\n")),
            ("a field", &format!("GET / HTTP/1.1\r\n{{h}}{wide}\r\n")),
            (
                "a field without an end",
                &format!("GET / HTTP/1.1\r\n{{h}}{endless}"),
            ),
        ],
        431,
    );
}

#[test]
fn f5_what_is_not_too_large_passes() {
    for (lab, tls) in labs() {
        let host = site(&lab);
        let (path, wide) = ("x".repeat(15 << 10), "y".repeat(60 << 10));
        let fields = (0..90).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
        let bytes = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nX: {wide}\r\n{fields}Connection: close\r\n\r\n"
        );
        let read = lab.run(talk(&lab, tls, bytes.as_bytes()));
        assert_eq!(statuses(&read), [200], "{read}");
    }
}
