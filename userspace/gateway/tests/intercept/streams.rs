//! What passes through without being changed: upgrades, streams, trailers, large bodies.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{INSPECT, Lab, Origin, Pipe, request};
use crate::raw::{answer, answering, connect, rest, site, statuses, talk, until};

/// A body whose every part is made when it is asked for.
pub(crate) struct Made<F>(pub(crate) F);

impl<F: FnMut() -> Option<Frame<Bytes>> + Unpin> hyper::body::Body for Made<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready((self.0)().map(Ok))
    }
}

/// An origin of HTTP/2 that answers without an end, and counts the bytes that were asked for.
pub(crate) async fn endless(pipe: Pipe, sent: Arc<AtomicUsize>) {
    let service = service_fn(move |_: Request<Incoming>| {
        let sent = Arc::clone(&sent);
        let part = Bytes::from(vec![7; 4096]);
        let body = Made(move || {
            sent.fetch_add(4096, Ordering::SeqCst);
            Some(Frame::data(part.clone()))
        });
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(pipe), service).await;
}

/// An origin that ends bodies with trailers.
async fn with_trailers(pipe: Pipe, requests: Arc<AtomicUsize>) {
    let service = service_fn(move |request: Request<Incoming>| {
        requests.fetch_add(1, Ordering::SeqCst);
        async move {
            let came = request.into_body().collect().await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            trailers.insert("set-cookie", HeaderValue::from_static("a=b"));
            let seen = came
                .trailers()
                .and_then(|found| found.get("x-sum"))
                .cloned();
            let stolen = came
                .trailers()
                .is_some_and(|found| found.contains_key("host"));
            let text = format!("{seen:?} {stolen} {}", came.to_bytes().len());
            let parts = [Frame::data(Bytes::from(text)), Frame::trailers(trailers)];
            let mut parts = parts.into_iter();
            Ok::<_, Infallible>(Response::new(Made(move || parts.next())))
        }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(pipe), service).await;
}

#[test]
fn f6_trailers_pass_in_both_directions_without_what_does_not_belong_there() {
    let origin = Origin::default().speaking(b"h2").scripted(with_trailers);
    let lab = Lab::before(&origin, INSPECT);
    let client = lab.trusting_gateway().offering(&[b"h2"]);
    lab.run(async {
        let stream = client.connect(&lab).await.unwrap();
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        trailers.insert("host", HeaderValue::from_static("other.example"));
        let parts = [
            Frame::data(Bytes::from_static(b"call")),
            Frame::trailers(trailers),
        ];
        let mut parts = parts.into_iter();
        let (head, _) = request(&lab, client.name, "/svc/Call").into_parts();
        let mut asked = Request::from_parts(head, Made(move || parts.next()));
        *asked.method_mut() = hyper::Method::POST;
        asked
            .headers_mut()
            .insert("te", HeaderValue::from_static("trailers"));
        let came = sender.send_request(asked).await.unwrap().into_body();
        let came = came.collect().await.unwrap();
        let trailers = came.trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert!(!trailers.contains_key("set-cookie"));
        assert_eq!(came.to_bytes(), "Some(\"42\") false 4".as_bytes());
    });
}

/// An origin that agrees to any WebSocket and sends back what comes.
async fn echo(mut pipe: Pipe, requests: Arc<AtomicUsize>) {
    let head = until(&mut pipe, "\r\n\r\n").await;
    requests.fetch_add(1, Ordering::SeqCst);
    let agrees = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello";
    assert!(head.to_lowercase().contains("upgrade: websocket"), "{head}");
    let _ = pipe.write_all(agrees).await;
    let mut bytes = [0; 1000];
    while let Ok(read @ 1..) = pipe.read(&mut bytes).await {
        let _ = pipe.write_all(&bytes[..read]).await;
        let _ = pipe.flush().await;
    }
}

#[test]
fn f6_websockets_pass_unread() {
    for tls in [true, false] {
        let origin = if tls {
            Origin::default().speaking(b"http/1.1")
        } else {
            Origin::plain()
        };
        let rules = if tls { INSPECT } else { crate::requests::READ };
        let lab = Lab::before(&origin.scripted(echo), rules);
        lab.run(async {
            let mut pipe = connect(&lab, tls).await;
            let asks = format!(
                "GET /chat HTTP/1.1\r\nHost: {}\r\nConnection: keep-alive, Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                site(&lab)
            );
            // What a hasty client sends before the answer is kept for the other protocol.
            pipe.write_all((asks + "hasty\n").as_bytes()).await.unwrap();
            let head = until(&mut pipe, "\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 101"), "{head}");
            assert!(
                head.to_lowercase().contains("sec-websocket-accept"),
                "{head}"
            );
            assert_eq!(until(&mut pipe, "hello").await, "hello");
            assert_eq!(until(&mut pipe, "hasty\n").await, "hasty\n");
            // Not what HTTP would have.
            for message in ["\u{81}\u{1}\0\n", "GET / HTTP/1.1\n\n", "\r\n\r\n\0\n"] {
                pipe.write_all(message.as_bytes()).await.unwrap();
                pipe.flush().await.unwrap();
                let mut back = vec![0; message.len()];
                pipe.read_exact(&mut back).await.unwrap();
                assert_eq!(back, message.as_bytes());
            }
            pipe.shutdown().await.unwrap();
            assert_eq!(rest(&mut pipe).await, "");
        });
        lab.over(1);
        let (flows, requests) = lab.end();
        assert_eq!(flows[0]["end"], "finished");
        assert_eq!(requests[0]["status"], 101);
    }
}

#[test]
fn f6_a_refused_websocket_leaves_the_connection_as_it_was() {
    let no = b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\nno".to_vec();
    let yes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes".to_vec();
    let script = move |pipe, requests| answering(pipe, requests, vec![no.clone(), yes.clone()]);
    let origin = Origin::default().speaking(b"http/1.1").scripted(script);
    let lab = Lab::before(&origin, INSPECT);
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        let site = site(&lab);
        // The next request comes before the first is answered, and is still read as one.
        let both = format!(
            "GET /chat HTTP/1.1\r\nHost: {site}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
             GET /next HTTP/1.1\r\nHost: {site}\r\n\r\n"
        );
        pipe.write_all(both.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut pipe).await;
        assert_eq!((statuses(&head), body.as_str()), (vec![400], "no"));
        let (head, body) = answer(&mut pipe).await;
        assert_eq!((statuses(&head), body.as_str()), (vec![200], "yes"));
    });
}

/// An origin that sends an event whenever it is told that the last one came through.
async fn events(mut pipe: Pipe, told: Arc<AtomicUsize>) {
    let _ = until(&mut pipe, "\r\n\r\n").await;
    let head =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let _ = pipe.write_all(head).await;
    for number in 0..20 {
        let _ = pipe
            .write_all(format!("9\r\ndata: {number:02}\n\r\n").as_bytes())
            .await;
        let _ = pipe.flush().await;
        while told.load(Ordering::SeqCst) <= number {
            tokio::task::yield_now().await;
        }
    }
    let _ = pipe.write_all(b"0\r\n\r\n").await;
    let _ = pipe.flush().await;
    let _ = rest(&mut pipe).await;
}

#[test]
fn f6_events_pass_one_by_one() {
    let lab = Lab::before(
        &Origin::default().speaking(b"http/1.1").scripted(events),
        INSPECT,
    );
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        let get = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", site(&lab));
        pipe.write_all(get.as_bytes()).await.unwrap();
        let head = until(&mut pipe, "\r\n\r\n").await.to_lowercase();
        assert!(head.contains("text/event-stream"), "{head}");
        for number in 0..20 {
            // The origin sends the next one only when this one came.
            let event = format!("data: {number:02}\n");
            assert!(until(&mut pipe, &event).await.ends_with(&event));
            lab.requests.fetch_add(1, Ordering::SeqCst);
        }
        assert!(until(&mut pipe, "0\r\n\r\n").await.ends_with("0\r\n\r\n"));
    });
}

#[test]
fn f6_a_client_that_waits_to_go_on_is_told_to() {
    let lab = Lab::before(&Origin::default().speaking(b"http/1.1"), INSPECT);
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        let head = format!(
            "POST /up HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
            site(&lab)
        );
        pipe.write_all(head.as_bytes()).await.unwrap();
        let go_on = until(&mut pipe, "\r\n\r\n").await;
        assert!(go_on.starts_with("HTTP/1.1 100"), "{go_on}");
        pipe.write_all(b"body").await.unwrap();
        let (_, body) = answer(&mut pipe).await;
        assert!(body.ends_with("body"), "{body}");
    });
}

#[test]
fn f6_requests_in_a_row_and_head_keep_their_order() {
    let lab = Lab::before(&Origin::default().speaking(b"http/1.1"), INSPECT);
    let site = site(&lab);
    let line =
        |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: {site}\r\n\r\n");
    let all = (0..20)
        .map(|number| line("GET", &format!("/{number}")))
        .collect::<String>();
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        pipe.write_all(all.as_bytes()).await.unwrap();
        for number in 0..20 {
            let (_, body) = answer(&mut pipe).await;
            assert!(body.contains(&format!("/{number} HTTP/1.1")), "{body}");
        }
        pipe.write_all(line("HEAD", "/head").as_bytes())
            .await
            .unwrap();
        let head = until(&mut pipe, "\r\n\r\n").await;
        assert!(head.to_lowercase().contains("content-length: "), "{head}");
        pipe.write_all(line("GET", "/after").as_bytes())
            .await
            .unwrap();
        let (_, body) = answer(&mut pipe).await;
        assert!(body.contains("/after"), "{body}");
    });
    assert_eq!(lab.requests.load(Ordering::SeqCst), 22);
    // All came over one connection to the origin.
    lab.over(1);
    let (flows, requests) = lab.end();
    assert_eq!(flows[0]["interception"]["requests"], 22);
    assert_eq!(requests.len(), 22);
}

const LARGE: usize = 64 << 20;

#[test]
fn f6_large_bodies_pass_up_and_down() {
    // Sends back what comes.
    let mirror = |mut pipe: Pipe, most: Arc<AtomicUsize>| async move {
        let _ = until(&mut pipe, "\r\n\r\n").await;
        let _ = most;
        let _ = pipe
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
            .await;
        let mut bytes = vec![0; 64 << 10];
        let mut left = LARGE;
        while left > 0 {
            let read = pipe.read(&mut bytes).await.unwrap();
            pipe.write_all(&bytes[..read]).await.unwrap();
            left -= read;
        }
        pipe.flush().await.unwrap();
        let _ = rest(&mut pipe).await;
    };
    let lab = Lab::before(
        &Origin::default().speaking(b"http/1.1").scripted(mirror),
        INSPECT,
    );
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        let head = format!(
            "PUT / HTTP/1.1\r\nHost: {}\r\nContent-Length: {LARGE}\r\n\r\n",
            site(&lab)
        );
        pipe.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = tokio::io::split(pipe);
        let up = async {
            for number in 0..LARGE / 65_536 {
                let part = vec![u8::try_from(number % 251).unwrap(); 65_536];
                write.write_all(&part).await.unwrap();
            }
            write.flush().await.unwrap();
        };
        let down = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(read.read_u8().await.unwrap());
            }
            let mut part = vec![0; 65_536];
            for number in 0..LARGE / 65_536 {
                read.read_exact(&mut part).await.unwrap();
                let byte = u8::try_from(number % 251).unwrap();
                assert!(part.iter().all(|found| *found == byte), "{number}");
            }
        };
        tokio::join!(up, down);
    });
    lab.over(1);
    let (flows, _) = lab.end();
    assert!(flows[0]["to_origin"].as_u64().unwrap() > LARGE as u64);
}

#[test]
fn f6_an_answer_that_the_connection_s_end_ends_passes() {
    let script = |mut pipe: Pipe, _: Arc<AtomicUsize>| async move {
        let _ = until(&mut pipe, "\r\n\r\n").await;
        let _ = pipe.write_all(b"HTTP/1.0 200 OK\r\n\r\nall of it").await;
        let _ = pipe.shutdown().await;
    };
    let lab = Lab::before(&Origin::plain().scripted(script), crate::requests::READ);
    let get = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        site(&lab)
    );
    let read = lab.run(talk(&lab, false, get.as_bytes()));
    assert_eq!(statuses(&read), [200]);
    assert!(read.contains("all of it"), "{read}");
}

#[test]
fn f6_large_bodies_pass_down_http_2() {
    let large = |pipe: Pipe, _: Arc<AtomicUsize>| async move {
        let service = service_fn(|_: Request<Incoming>| async {
            let (part, mut left) = (Bytes::from(vec![7; 65_536]), LARGE / 65_536);
            let body = Made(move || {
                left = left.checked_sub(1)?;
                Some(Frame::data(part.clone()))
            });
            Ok::<_, Infallible>(Response::new(body))
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(pipe), service).await;
    };
    let lab = Lab::before(&Origin::default().speaking(b"h2").scripted(large), INSPECT);
    let client = lab.trusting_gateway().offering(&[b"h2"]);
    lab.run(async {
        let stream = client.connect(&lab).await.unwrap();
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let answer = sender
            .send_request(request(&lab, client.name, "/"))
            .await
            .unwrap();
        let mut body = answer.into_body();
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.iter().all(|byte| *byte == 7));
            read += data.len();
        }
        assert_eq!(read, LARGE);
    });
}

#[test]
fn f3_an_origin_of_http_2_that_resets_one_answer_harms_no_other() {
    let resets = |pipe: Pipe, requests: Arc<AtomicUsize>| async move {
        let service = service_fn(move |request: Request<Incoming>| {
            requests.fetch_add(1, Ordering::SeqCst);
            let resets = request.uri().path() == "/reset";
            async move {
                if resets {
                    return Err("no answer");
                }
                let mut whole = Some(Frame::data(Bytes::from_static(b"good")));
                Ok(Response::new(Made(move || whole.take())))
            }
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(pipe), service).await;
    };
    let lab = Lab::before(&Origin::default().speaking(b"h2").scripted(resets), INSPECT);
    let client = lab.trusting_gateway().offering(&[b"h2"]);
    lab.run(async {
        let stream = client.connect(&lab).await.unwrap();
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for (path, status) in [
            ("/a", 200),
            ("/reset", 502),
            ("/b", 200),
            ("/reset", 502),
            ("/c", 200),
        ] {
            let answer = sender
                .send_request(request(&lab, client.name, path))
                .await
                .unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
    });
    assert_eq!(lab.requests.load(Ordering::SeqCst), 5);
}
