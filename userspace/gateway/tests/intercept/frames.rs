//! Requests of HTTP/2 that HTTP/2 does not have, and floods of its frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;

use crate::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, H2, HEADERS, Outcome, PING,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, field, fields, frame,
};
use crate::lab::{INSPECT, Lab, Origin, Pipe};
use crate::raw::{rest, until};

/// No table of earlier fields, so that answers can be read one by one.
const NO_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];

const WHOLE: u8 = END_STREAM | END_HEADERS;

/// A GET, alone on a new connection.
fn lone(lab: &Lab, block: &[u8]) -> Outcome {
    lab.run(async {
        let mut h2 = H2::connect(lab, &NO_TABLE).await;
        h2.send(&frame(HEADERS, WHOLE, 1, block)).await;
        h2.outcome(1).await
    })
}

#[test]
fn f2_an_ordinary_request_by_hand_passes() {
    let lab = Lab::new(INSPECT);
    assert_eq!(
        lone(&lab, &fields(&lab, "GET", "/", &[])),
        Outcome::Answer(200)
    );
}

#[test]
fn f2_requests_that_http_2_does_not_have_reach_no_origin() {
    let lab = Lab::new(INSPECT);
    let with = |name: &str, value: &str| fields(&lab, "GET", "/", &[(name, value)]);
    let site = crate::raw::site(&lab);
    let pseudo = |given: &[(&str, &str)]| -> Vec<u8> {
        given
            .iter()
            .flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes()))
            .collect()
    };
    let (method, scheme) = ((":method", "GET"), (":scheme", "https"));
    let (authority, path) = ((":authority", site.as_str()), (":path", "/"));
    let cases = [
        ("LF in a value", with("x", "a\nb: c")),
        ("CR in a value", with("x", "a\rb")),
        ("CR LF in a value", with("x", "a\r\n\r\nGET /in HTTP/1.1")),
        ("NUL in a value", with("x", "a\0b")),
        ("LF in a name", with("x\ny", "a")),
        ("colon in a name", with("x:y", "a")),
        ("blank in a name", with("x y", "a")),
        ("upper case", with("X-Y", "a")),
        ("an empty name", with("", "a")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("connection", with("connection", "close")),
        ("keep-alive", with("keep-alive", "timeout=5")),
        ("proxy-connection", with("proxy-connection", "close")),
        ("upgrade", with("upgrade", "h2c")),
        ("te", with("te", "gzip")),
        (
            "two lengths",
            fields(
                &lab,
                "GET",
                "/",
                &[("content-length", "0"), ("content-length", "5")],
            ),
        ),
        ("a signed length", with("content-length", "+0")),
        ("another host", with("host", "other.example")),
        ("another method behind the fields", with(":method", "POST")),
        (
            "another path",
            pseudo(&[method, scheme, authority, path, (":path", "/b")]),
        ),
        (
            "a late path",
            pseudo(&[method, scheme, authority, ("x", "y"), path]),
        ),
        ("no method", pseudo(&[scheme, authority, path])),
        ("no scheme", pseudo(&[method, authority, path])),
        ("no path", pseudo(&[method, scheme, authority])),
        (
            "an unknown one",
            pseudo(&[method, scheme, authority, path, (":x", "y")]),
        ),
        (
            "an answer's",
            pseudo(&[method, scheme, authority, path, (":status", "200")]),
        ),
        (
            "extended CONNECT",
            pseudo(&[
                (":method", "CONNECT"),
                scheme,
                authority,
                path,
                (":protocol", "websocket"),
            ]),
        ),
        ("CONNECT", pseudo(&[(":method", "CONNECT"), authority])),
        (
            "an empty path",
            pseudo(&[method, scheme, authority, (":path", "")]),
        ),
        (
            "a path without a slash",
            pseudo(&[method, scheme, authority, (":path", "a")]),
        ),
        (
            "a blank in the path",
            pseudo(&[method, scheme, authority, (":path", "/a b")]),
        ),
        (
            "a request line in the path",
            pseudo(&[method, scheme, authority, (":path", "/ HTTP/1.1\r\nX: y")]),
        ),
        (
            "a user in the server",
            pseudo(&[method, scheme, (":authority", &format!("a@{site}")), path]),
        ),
        ("no server", pseudo(&[method, scheme, path])),
        (
            "a blank in the method",
            pseudo(&[(":method", "GET /in"), scheme, authority, path]),
        ),
    ];
    for (what, block) in cases {
        match lone(&lab, &block) {
            Outcome::Answer(status) => assert!([400, 501].contains(&status), "{what}: {status}"),
            Outcome::Reset(code) | Outcome::Over(code) => assert_ne!(code, 0, "{what}"),
            Outcome::Closed => {}
        }
        assert_eq!(lab.requests.load(Ordering::SeqCst), 0, "{what}");
    }
}

#[test]
fn f2_a_body_that_is_not_as_long_as_it_says_is_no_request() {
    let lab = Lab::new(INSPECT);
    for (said, sent) in [("5", "abc"), ("2", "abc"), ("0", "abc")] {
        let outcome = lab.run(async {
            let mut h2 = H2::connect(&lab, &NO_TABLE).await;
            let block = fields(&lab, "POST", "/", &[("content-length", said)]);
            h2.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
            h2.send(&frame(DATA, END_STREAM, 1, sent.as_bytes())).await;
            h2.outcome(1).await
        });
        assert_ne!(outcome, Outcome::Answer(200), "{said}");
    }
}

#[test]
fn f2_a_bad_request_harms_no_other_of_its_connection() {
    let lab = Lab::new(INSPECT);
    lab.run(async {
        let mut h2 = H2::connect(&lab, &NO_TABLE).await;
        let bad = fields(&lab, "GET", "/", &[("host", "other.example")]);
        h2.send(&frame(HEADERS, WHOLE, 1, &bad)).await;
        assert_eq!(h2.outcome(1).await, Outcome::Answer(400));
        let good = fields(&lab, "GET", "/", &[]);
        h2.send(&frame(HEADERS, WHOLE, 3, &good)).await;
        assert_eq!(h2.outcome(3).await, Outcome::Answer(200));
    });
}

#[test]
fn f4_rapid_reset_ends_the_connection() {
    let lab = Lab::new(INSPECT);
    let ended = lab.run(async {
        let mut h2 = H2::connect(&lab, &NO_TABLE).await;
        let block = fields(&lab, "GET", "/", &[]);
        let mut bytes = Vec::new();
        for stream in (1..4000).step_by(2) {
            bytes.extend(frame(HEADERS, WHOLE, stream, &block));
            bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
        h2.is_ended_by(&bytes, 1).await
    });
    assert!(ended);
    assert!(lab.requests.load(Ordering::SeqCst) < 200);
    lab.over(1);
}

#[test]
fn f4_a_head_without_an_end_ends_the_connection() {
    let lab = Lab::new(INSPECT);
    let ended = lab.run(async {
        let mut h2 = H2::connect(&lab, &NO_TABLE).await;
        let block = fields(&lab, "GET", "/", &[]);
        h2.send(&frame(HEADERS, END_STREAM, 1, &block)).await;
        let more = field(b"x", &[b'y'; 1000]);
        h2.is_ended_by(&frame(CONTINUATION, 0, 1, &more), 5000)
            .await
    });
    assert!(ended);
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn f4_empty_continuations_end_the_connection() {
    let lab = Lab::new(INSPECT);
    let ended = lab.run(async {
        let mut h2 = H2::connect(&lab, &NO_TABLE).await;
        let block = fields(&lab, "GET", "/", &[]);
        h2.send(&frame(HEADERS, END_STREAM, 1, &block)).await;
        h2.is_ended_by(&frame(CONTINUATION, 0, 1, &[]), 5000).await
    });
    assert!(ended);
}

#[test]
fn f4_empty_data_ends_the_connection() {
    let lab = Lab::new(INSPECT);
    let ended = lab.run(async {
        let mut h2 = H2::connect(&lab, &NO_TABLE).await;
        let block = fields(&lab, "POST", "/", &[]);
        h2.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
        h2.is_ended_by(&frame(DATA, 0, 1, &[]).repeat(100), 200)
            .await
    });
    assert!(ended);
}

#[test]
fn f4_a_packed_head_is_not_unpacked_beyond_the_limit() {
    let lab = Lab::new(INSPECT);
    // One field of 4,000 bytes put into the table, and a thousand references to it.
    let mut block = fields(&lab, "GET", "/", &[]);
    let mut packed = field(b"x", &[b'y'; 4000]);
    packed[0] = 0x40;
    block.extend(packed);
    block.extend([0xbe; 1000]);
    let outcome = lab.run(async {
        let mut h2 = H2::connect(&lab, &NO_TABLE).await;
        h2.send(&frame(HEADERS, WHOLE, 1, &block)).await;
        h2.outcome(1).await
    });
    // ENHANCE_YOUR_CALM.
    assert_eq!(outcome, Outcome::Over(11));
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn f4_pings_and_settings_are_answered_one_by_one() {
    for (kind, payload) in [(PING, [7; 8].as_slice()), (SETTINGS, &[0, 4, 0, 0, 1, 0])] {
        let lab = Lab::new(INSPECT);
        lab.run(async {
            let mut h2 = H2::connect(&lab, &NO_TABLE).await;
            for _ in 0..2000 {
                h2.send(&frame(kind, 0, 0, payload)).await;
                loop {
                    let frame = h2.next().await.unwrap();
                    if frame.kind == kind && frame.flags & ACK != 0 {
                        break;
                    }
                }
            }
            h2.send(&frame(HEADERS, WHOLE, 1, &fields(&lab, "GET", "/", &[])))
                .await;
            assert_eq!(h2.outcome(1).await, Outcome::Answer(200));
        });
    }
}

#[test]
fn f4_more_streams_than_allowed_are_refused() {
    // An origin that never answers.
    let silent = |mut pipe: Pipe, _: Arc<AtomicUsize>| async move {
        let _ = rest(&mut pipe).await;
    };
    let lab = Lab::before(&Origin::default().scripted(silent), INSPECT);
    let refused = lab.run(async {
        let mut h2 = H2::connect(&lab, &NO_TABLE).await;
        let block = fields(&lab, "GET", "/", &[]);
        for stream in 0..200 {
            h2.send(&frame(HEADERS, WHOLE, 2 * stream + 1, &block))
                .await;
        }
        let mut refused = 0;
        while refused < 72 {
            match h2.next().await {
                // REFUSED_STREAM: the client may ask again.
                Some(frame) if frame.kind == RST_STREAM => {
                    assert_eq!(frame.payload, [0, 0, 0, 7]);
                    refused += 1;
                }
                Some(frame) => assert_ne!(frame.kind, GOAWAY),
                None => break,
            }
        }
        refused
    });
    assert_eq!(refused, 72);
}

#[test]
fn f4_numbers_of_streams_that_cannot_be_end_the_connection() {
    let lab = Lab::new(INSPECT);
    for streams in [[2, 4], [3, 1], [0, 0]] {
        let outcome = lab.run(async {
            let mut h2 = H2::connect(&lab, &NO_TABLE).await;
            let block = fields(&lab, "GET", "/", &[]);
            for stream in streams {
                h2.send(&frame(HEADERS, WHOLE, stream, &block)).await;
            }
            h2.outcome(streams[1]).await
        });
        let is_over = matches!(
            outcome,
            Outcome::Over(_) | Outcome::Closed | Outcome::Reset(_)
        );
        assert!(is_over, "{streams:?}: {outcome:?}");
    }
}

/// How much could be sent before nobody took more.
fn taken(lab: &Lab, sent: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = sent.load(Ordering::SeqCst);
        if now == before {
            return now;
        }
        before = now;
        lab.run(async { tokio::time::sleep(std::time::Duration::from_millis(300)).await });
    }
}

/// Sends something for ever on a task of its own, and counts the bytes that were taken.
fn send_for_ever(lab: &Lab, mut pipe: Pipe, bytes: Vec<u8>) -> Arc<AtomicUsize> {
    let sent = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&sent);
    lab.run(async {
        tokio::spawn(async move {
            while pipe.write_all(&bytes).await.is_ok() {
                counted.fetch_add(bytes.len(), Ordering::SeqCst);
            }
            // It is not over for the gateway before the test is.
            std::future::pending::<()>().await;
        });
    });
    sent
}

/// What the buffers of a few sockets, of TLS and of HTTP may take together.
const BUFFERS: usize = 32 << 20;

#[test]
fn f4_answers_to_pings_that_nobody_reads_stop_their_reading() {
    for (kind, payload) in [(PING, [7; 8].as_slice()), (SETTINGS, &[0, 4, 0, 0, 1, 0])] {
        let lab = Lab::new(INSPECT);
        let h2 = lab.run(H2::connect(&lab, &NO_TABLE));
        let sent = send_for_ever(
            &lab,
            h2.into_pipe(),
            frame(kind, 0, 0, payload).repeat(1000),
        );
        assert!(taken(&lab, &sent) < BUFFERS);
    }
}

#[test]
fn f4_an_origin_that_takes_nothing_stops_the_client() {
    let stuck = |mut pipe: Pipe, _: Arc<AtomicUsize>| async move {
        let _ = until(&mut pipe, "\r\n\r\n").await;
        std::future::pending::<()>().await;
    };
    for fields in ["Content-Length: 99999999999", "Transfer-Encoding: chunked"] {
        let lab = Lab::before(
            &Origin::default().speaking(b"http/1.1").scripted(stuck),
            INSPECT,
        );
        let pipe = lab.run(async {
            let mut pipe = crate::raw::connect(&lab, true).await;
            let head = format!(
                "POST / HTTP/1.1\r\nHost: {}\r\n{fields}\r\n\r\n",
                crate::raw::site(&lab)
            );
            pipe.write_all(head.as_bytes()).await.unwrap();
            pipe
        });
        let sent = send_for_ever(&lab, pipe, b"5\r\nabcde\r\n".repeat(1000));
        assert!(taken(&lab, &sent) < BUFFERS);
    }
}

#[test]
fn f4_a_client_that_takes_nothing_stops_the_origin() {
    let endless = |mut pipe: Pipe, sent: Arc<AtomicUsize>| async move {
        let _ = until(&mut pipe, "\r\n\r\n").await;
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        let _ = pipe.write_all(head).await;
        while pipe.write_all(&[7; 4096]).await.is_ok() {
            sent.fetch_add(4096, Ordering::SeqCst);
        }
    };
    let origin = Origin::default().speaking(b"http/1.1").scripted(endless);
    let lab = Lab::before(&origin, INSPECT);
    let _pipe = lab.run(async {
        let mut pipe = crate::raw::connect(&lab, true).await;
        let get = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", crate::raw::site(&lab));
        pipe.write_all(get.as_bytes()).await.unwrap();
        let _ = until(&mut pipe, "\r\n\r\n").await;
        pipe
    });
    assert!(taken(&lab, &lab.requests) < BUFFERS);
}

#[test]
fn f4_a_window_that_is_never_opened_stops_the_origin() {
    let big = |pipe: Pipe, sent: Arc<AtomicUsize>| crate::streams::endless(pipe, sent);
    let lab = Lab::before(&Origin::default().speaking(b"h2").scripted(big), INSPECT);
    let mut h2 = lab.run(async {
        let mut h2 = H2::connect(&lab, &[NO_TABLE, [0, 4, 0, 0, 0, 0]].concat()).await;
        for stream in 0..100 {
            let block = fields(&lab, "GET", "/", &[]);
            h2.send(&frame(HEADERS, WHOLE, 2 * stream + 1, &block))
                .await;
        }
        assert_eq!(h2.outcome(1).await, Outcome::Answer(200));
        h2
    });
    let before = taken(&lab, &lab.requests);
    assert!(before < 100 * (4 << 20), "{before}");
    // The connection lives: with a window there is something to read.
    lab.run(async {
        h2.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 16, 0])).await;
        loop {
            let frame = h2.next().await.unwrap();
            if frame.kind == DATA && !frame.payload.is_empty() {
                assert_eq!(frame.stream, 1);
                break;
            }
        }
    });
}
