//! Bodies that are larger than what may be kept of them.
//!
//! `SLUICE_BULK_MIB` says how many MiB go up and come down, by each version of HTTP; 256 without it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{INSPECT, Lab, Origin, Pipe, request};
use crate::many_names::resident;
use crate::raw::{connect, rest, site, until};
use crate::streams::Made;

/// After how many bytes the content repeats: a prime, so that no buffer that is lost, doubled or
/// moved leaves it as it was.
const PERIOD: usize = 1_048_573;
/// Bytes that are sent or compared at once.
const PART: usize = 65_536;
/// What may be kept of a body by the three together that are in this process: client, gateway and
/// origin.
const KEPT: usize = 48 << 20;

fn length() -> usize {
    let set = std::env::var("SLUICE_BULK_MIB").ok();
    set.map_or(256, |mib| mib.parse().unwrap()) << 20
}

/// Far more than it takes, on any machine.
fn patience() -> Duration {
    Duration::from_secs(100).max(Duration::from_millis((length() >> 20) as u64 * 200))
}

/// The content, and what memory was held while it moved.
struct Content {
    period: Bytes,
    before: usize,
    most: usize,
}

impl Content {
    fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let byte = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        Self {
            period: (0..PERIOD).map(byte).collect(),
            before: 0,
            most: 0,
        }
    }

    /// The part that begins at a byte of the body, at most so long.
    fn part(&self, at: usize, most: usize) -> Bytes {
        let from = at % PERIOD;
        let to = PERIOD.min(from + most.min(length() - at));
        self.period.slice(from..to)
    }

    /// Compares what came, from a byte of the body on.
    fn check(&mut self, mut at: usize, mut came: &[u8]) {
        while !came.is_empty() {
            let wanted = self.part(at, came.len());
            assert!(!wanted.is_empty(), "more came than was sent");
            let (part, rest) = came.split_at(wanted.len());
            assert!(part == wanted, "other bytes at {at}");
            (at, came) = (at + part.len(), rest);
        }
        let held = resident();
        if self.before == 0 {
            // From the first bytes on, all that does not hang on the length is there.
            self.before = held;
        }
        self.most = self.most.max(held);
    }

    #[track_caller]
    fn assert_little_kept(&self, version: &str, began: Instant) {
        let grown = self.most.saturating_sub(self.before);
        println!(
            "{version}: {} MiB up and down in {:?}, {} KiB more held at most",
            length() >> 20,
            began.elapsed(),
            grown >> 10
        );
        assert!(grown < KEPT, "{grown} bytes more are held");
    }
}

/// Sends back what comes.
async fn mirror(mut pipe: Pipe, _: Arc<AtomicUsize>) {
    let _ = until(&mut pipe, "\r\n\r\n").await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", length());
    pipe.write_all(head.as_bytes()).await.unwrap();
    let (mut bytes, mut left) = (vec![0; PART], length());
    while left > 0 {
        let read = pipe.read(&mut bytes).await.unwrap();
        assert!(read > 0, "the body ends early");
        pipe.write_all(&bytes[..read]).await.unwrap();
        left -= read;
    }
    pipe.flush().await.unwrap();
    let _ = rest(&mut pipe).await;
}

#[test]
fn f6_a_body_of_any_length_passes_up_and_down_in_little_memory() {
    let origin = Origin::default().speaking(b"http/1.1").scripted(mirror);
    let lab = Lab::before(&origin, INSPECT);
    let (sent, mut came) = (Content::new(), Content::new());
    let began = Instant::now();
    lab.run_within(patience(), async {
        let mut pipe = connect(&lab, true).await;
        let head = format!(
            "PUT / HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            site(&lab),
            length()
        );
        pipe.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = tokio::io::split(pipe);
        let up = async {
            let mut at = 0;
            while at < length() {
                let part = sent.part(at, PART);
                write.write_all(&part).await.unwrap();
                at += part.len();
            }
            write.flush().await.unwrap();
        };
        let down = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(read.read_u8().await.unwrap());
            }
            let (mut part, mut at) = (vec![0; PART], 0);
            while at < length() {
                let count = read.read(&mut part).await.unwrap();
                assert!(count > 0, "the body ends early");
                came.check(at, &part[..count]);
                at += count;
            }
        };
        tokio::join!(up, down);
    });
    came.assert_little_kept("HTTP/1.1", began);
    lab.over(1);
    let flow = lab.end().0.remove(0);
    for side in ["to_origin", "to_client"] {
        assert!(flow[side].as_u64().unwrap() > length() as u64, "{flow}");
    }
}

#[test]
fn f6_a_body_of_any_length_passes_up_and_down_http_2_in_little_memory() {
    let back = |pipe: Pipe, _: Arc<AtomicUsize>| async move {
        let service = service_fn(|asked: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(asked.into_body()))
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(pipe), service).await;
    };
    let lab = Lab::before(&Origin::default().speaking(b"h2").scripted(back), INSPECT);
    let client = lab.trusting_gateway().offering(&[b"h2"]);
    let (sent, mut came) = (Content::new(), Content::new());
    let began = Instant::now();
    lab.run_within(patience(), async {
        let stream = client.connect(&lab).await.unwrap();
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut at = 0;
        let body = Made(move || {
            let part = (at < length()).then(|| sent.part(at, PART))?;
            at += part.len();
            Some(Frame::data(part))
        });
        let mut asked = request(&lab, client.name, "/").map(|_| body);
        *asked.method_mut() = hyper::Method::POST;
        let mut body = sender.send_request(asked).await.unwrap().into_body();
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            came.check(read, &data);
            read += data.len();
        }
        assert_eq!(read, length());
    });
    came.assert_little_kept("HTTP/2", began);
}
