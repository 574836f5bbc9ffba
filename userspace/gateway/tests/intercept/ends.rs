//! How intercepted flows end that nobody ends: idle, slow, drained, cut off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;

use crate::h2::{END_HEADERS, END_STREAM, GOAWAY, H2, HEADERS, Outcome, fields, frame};
use crate::lab::{INSPECT, Lab, Origin, Pipe};
use crate::raw::{answer, connect, rest, site, statuses, until};

fn get(lab: &Lab) -> String {
    format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", site(lab))
}

/// An origin that answers when it is told to.
async fn waiting(mut pipe: Pipe, told: Arc<AtomicUsize>) {
    let _ = until(&mut pipe, "\r\n\r\n").await;
    told.store(1, Ordering::SeqCst);
    while told.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let _ = pipe
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        .await;
    let _ = pipe.flush().await;
    let _ = rest(&mut pipe).await;
}

/// Waits until the origin has a request.
async fn asked(lab: &Lab) {
    while lab.requests.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[test]
fn an_intercepted_flow_on_which_nothing_moves_is_ended() {
    let silent = |mut pipe: Pipe, _: Arc<AtomicUsize>| async move {
        let _ = rest(&mut pipe).await;
    };
    for (tls, origin) in [
        (true, Origin::default().speaking(b"http/1.1")),
        (
            true,
            Origin::default().speaking(b"http/1.1").scripted(silent),
        ),
        (false, Origin::plain()),
    ] {
        let answers = origin.script.is_none();
        let rules = if tls { INSPECT } else { crate::requests::READ };
        let lab = Lab::before(
            &origin,
            &format!("[splice]\nidle_timeout = \"1s\"\n{rules}"),
        );
        lab.run(async {
            let mut pipe = connect(&lab, tls).await;
            pipe.write_all(get(&lab).as_bytes()).await.unwrap();
            if answers {
                assert_eq!(statuses(&answer(&mut pipe).await.0), [200]);
            }
            assert_eq!(rest(&mut pipe).await, "");
        });
        lab.over(1);
        let (flows, _) = lab.end();
        assert_eq!(flows[0]["end"], "idle-timeout", "{}", flows[0]);
    }
}

#[test]
fn an_intercepted_flow_lasts_no_longer_than_a_flow_may() {
    let endless = |mut pipe: Pipe, _: Arc<AtomicUsize>| async move {
        let _ = until(&mut pipe, "\r\n\r\n").await;
        let _ = pipe.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while pipe.write_all(&[7; 100]).await.is_ok() && pipe.flush().await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let lab = Lab::before(
        &Origin::default().speaking(b"http/1.1").scripted(endless),
        &format!("[splice]\ntotal_timeout = \"1s\"\n{INSPECT}"),
    );
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        pipe.write_all(get(&lab).as_bytes()).await.unwrap();
        assert_eq!(statuses(&rest(&mut pipe).await), [200]);
    });
    lab.over(1);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["end"], "total-timeout", "{}", flows[0]);
}

#[test]
fn a_head_that_takes_too_long_ends_the_connection_however_it_trickles() {
    let lab = Lab::before(
        &Origin::default().speaking(b"http/1.1"),
        &format!("[intercept]\nhead_timeout = \"1s\"\n{INSPECT}"),
    );
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        pipe.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        // A byte now and then buys nothing.
        loop {
            let more = pipe.write_all(b"X: y\r\n").await.is_ok() && pipe.flush().await.is_ok();
            if !more {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    lab.over(1);
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["end"], "idle-timeout", "{}", flows[0]);
}

#[test]
fn a_drain_lets_requests_end_and_begins_no_others() {
    let origin = Origin::default().speaking(b"http/1.1").scripted(waiting);
    let lab = Lab::before(&origin, INSPECT);
    lab.run(async {
        let mut busy = connect(&lab, true).await;
        busy.write_all(get(&lab).as_bytes()).await.unwrap();
        asked(&lab).await;
        lab.drain();
        lab.requests.store(2, Ordering::SeqCst);
        let (head, body) = answer(&mut busy).await;
        assert_eq!((statuses(&head), body.as_str()), (vec![200], "late"));
        // Nobody asked for that but the drain.
        assert_eq!(rest(&mut busy).await, "");
    });
    lab.over(1);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["end"], "finished", "{}", flows[0]);
}

#[test]
fn a_drain_ends_connections_that_only_wait() {
    let lab = Lab::before(&Origin::default().speaking(b"http/1.1"), INSPECT);
    lab.run(async {
        let mut idle = connect(&lab, true).await;
        idle.write_all(get(&lab).as_bytes()).await.unwrap();
        assert_eq!(statuses(&answer(&mut idle).await.0), [200]);
        lab.drain();
        assert_eq!(rest(&mut idle).await, "");
    });
    lab.over(1);
}

#[test]
fn a_drain_tells_clients_of_http_2() {
    let lab = Lab::new(INSPECT);
    lab.run(async {
        let mut h2 = H2::connect(&lab, &[0, 1, 0, 0, 0, 0]).await;
        let block = fields(&lab, "GET", "/", &[]);
        h2.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block))
            .await;
        assert_eq!(h2.outcome(1).await, Outcome::Answer(200));
        lab.drain();
        while h2.next().await.unwrap().kind != GOAWAY {}
    });
}

#[test]
fn what_outlives_the_drain_is_cut_off_and_recorded() {
    let origin = Origin::default().speaking(b"http/1.1").scripted(waiting);
    let mut lab = Lab::before(&origin, INSPECT);
    let mut busy = lab.run(async {
        let mut busy = connect(&lab, true).await;
        busy.write_all(get(&lab).as_bytes()).await.unwrap();
        asked(&lab).await;
        lab.drain();
        busy
    });
    lab.requests.store(1, Ordering::SeqCst);
    lab.cut_off();
    assert_eq!(lab.run(rest(&mut busy)), "");
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["end"], "drained", "{}", flows[0]);
    assert_eq!(flows[0]["decrypted"], true);
}

/// A log that cannot be written where it speaks of one URL.
struct Faulty;

impl io::Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(
            !bytes.windows(6).any(|text| text == b"/panic"),
            "as it should"
        );
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_ends_its_own_flow_or_request_alone() {
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(|| Faulty);
    log.try_init().unwrap();
    let odd = |mut pipe: Pipe, _: Arc<AtomicUsize>| async move {
        loop {
            let head = until(&mut pipe, "\r\n\r\n").await;
            // Of what is not passed on the gateway's log tells with its URL.
            let answer = match head.contains("/panic") {
                true => "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n",
                false => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            };
            if head.is_empty() || pipe.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            let _ = pipe.flush().await;
        }
    };
    let origin = Origin::default().speaking(b"http/1.1").scripted(odd);
    let lab = Lab::before(&origin, INSPECT);
    lab.run(async {
        let mut other = connect(&lab, true).await;
        let mut struck = connect(&lab, true).await;
        struck.write_all(get(&lab).as_bytes()).await.unwrap();
        assert_eq!(statuses(&answer(&mut struck).await.0), [200]);
        let panics = get(&lab).replace("GET /", "GET /panic");
        struck.write_all(panics.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut struck).await, "");
        other.write_all(get(&lab).as_bytes()).await.unwrap();
        assert_eq!(statuses(&answer(&mut other).await.0), [200]);
    });
    lab.over(2);
    assert_eq!(lab.metrics.panics.load(Ordering::SeqCst), 1);
    let (flows, _) = lab.end();
    let ends: Vec<_> = flows
        .iter()
        .map(|flow| flow["end"].as_str().unwrap())
        .collect();
    assert_eq!(ends, ["internal", "finished"]);
}
