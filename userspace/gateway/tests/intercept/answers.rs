//! Origins whose answers could be read in two ways, or never end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{INSPECT, Lab, Origin, Pipe};
use crate::raw::{answer, answering, connect, rest, site, statuses, talk, until};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

/// A gateway before an origin that answers every connection's requests with these bytes.
fn lab(tls: bool, answers: &[&str]) -> Lab {
    let answers: Vec<_> = answers
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    let origin = if tls {
        Origin::default().speaking(b"http/1.1")
    } else {
        Origin::plain()
    };
    let script =
        move |pipe: Pipe, requests: Arc<AtomicUsize>| answering(pipe, requests, answers.clone());
    let rules = if tls { INSPECT } else { crate::requests::READ };
    Lab::before(&origin.scripted(script), rules)
}

fn get(lab: &Lab, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", site(lab))
}

#[test]
fn f3_an_answer_that_could_be_read_in_two_ways_is_not_passed_on() {
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npoison!";
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}");
    let bad = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n{chunked}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n{chunked}"),
        format!("HTTP/1.0 200 OK\r\n{chunked}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{second}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 0\r\n\r\nabc{second}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc{second}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc{second}"),
        format!("HTTP/1.1 200 OK\r\nX: a\rContent-Length: 0\r\n\r\n{second}"),
        format!("HTTP/1.1 200 OK\r\nX: a\r\n Content-Length: 0\r\n\r\n{second}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n{second}"),
        format!("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n{second}"),
        format!("HTTP/1.1 204 None\r\nContent-Length: 7\r\n\r\n{second}"),
        format!("HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n{second}"),
        format!("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n{second}"),
        format!("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n{second}"),
        format!("HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n{second}"),
        "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
    ];
    for tls in [true, false] {
        for bad in &bad {
            let lab = lab(tls, &[bad]);
            let both = get(&lab, "/one") + &get(&lab, "/two");
            let read = lab.run(talk(&lab, tls, both.as_bytes()));
            assert_eq!(statuses(&read), [502], "TLS {tls}, {bad:?}: {read}");
            assert!(!read.contains("poison"), "TLS {tls}, {bad:?}: {read}");
            assert_eq!(lab.requests.load(Ordering::SeqCst), 1);
        }
    }
}

#[test]
fn f3_what_comes_behind_an_answer_is_the_answer_to_nothing() {
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npoison!";
    for (first, status) in [
        (format!("{GOOD}{second}"), 200),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\npoison!".to_owned(),
            304,
        ),
        ("HTTP/1.1 204 None\r\n\r\npoison!".to_owned(), 204),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabpoison!".to_owned(),
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\npoison!"
                .to_owned(),
            200,
        ),
    ] {
        for tls in [true, false] {
            let lab = lab(tls, &[&first, GOOD]);
            lab.run(async {
                let mut pipe = connect(&lab, tls).await;
                pipe.write_all(get(&lab, "/one").as_bytes()).await.unwrap();
                let head = until(&mut pipe, "\r\n\r\n").await;
                assert_eq!(statuses(&head), [status], "{first}");
                let _ = pipe.write_all(get(&lab, "/two").as_bytes()).await;
                let read = rest(&mut pipe).await;
                assert!(!read.contains("poison"), "TLS {tls}, {first}: {read}");
            });
        }
    }
}

#[test]
fn f3_interim_answers_are_bounded() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    for (count, status) in [(3, 200), (10_000, 502)] {
        let lab = lab(true, &[&(hint.repeat(count) + GOOD)]);
        let bytes = get(&lab, "/").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let read = lab.run(talk(&lab, true, bytes.as_bytes()));
        assert_eq!(statuses(&read), [status], "{count}: {read}");
    }
}

#[test]
fn f3_heads_of_answers_are_bounded() {
    let long = "y".repeat(80 << 10);
    let many = (0..300)
        .map(|n| format!("X-{n}: y\r\n"))
        .collect::<String>();
    for fields in [format!("X: {long}\r\n"), many] {
        let bad = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
        let lab = lab(true, &[&bad]);
        let read = lab.run(talk(&lab, true, get(&lab, "/").as_bytes()));
        assert_eq!(statuses(&read), [502], "{read}");
    }
}

#[test]
fn f3_an_answer_is_split_into_no_second_one() {
    // What a parser takes for the end of a line is none in the answer that goes on.
    let split = "HTTP/1.1 200 OK\nX: a\nContent-Length: 4\n\ngood";
    for tls in [true, false] {
        let lab = lab(tls, &[split]);
        lab.run(async {
            let mut pipe = connect(&lab, tls).await;
            pipe.write_all(get(&lab, "/").as_bytes()).await.unwrap();
            let (head, body) = answer(&mut pipe).await;
            assert!(head.lines().all(|line| !line.contains('\n')));
            assert_eq!(head.matches('\n').count(), head.matches("\r\n").count());
            assert_eq!(body, "good");
        });
    }
}

#[test]
fn f3_an_answer_before_the_body_was_read_moves_no_other() {
    let early = |mut pipe: Pipe, requests: Arc<AtomicUsize>| async move {
        let head = until(&mut pipe, "\r\n\r\n").await;
        requests.fetch_add(1, Ordering::SeqCst);
        if head.starts_with("POST") {
            let _ = pipe
                .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nearly")
                .await;
            let _ = pipe.flush().await;
        }
        let _ = rest(&mut pipe).await;
    };
    let origin = Origin::default().speaking(b"http/1.1").scripted(early);
    let lab = Lab::before(&origin, INSPECT);
    lab.run(async {
        let mut pipe = connect(&lab, true).await;
        let head = format!(
            "POST /up HTTP/1.1\r\nHost: {}\r\nContent-Length: 50\r\n\r\nhalf",
            site(&lab)
        );
        pipe.write_all(head.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut pipe).await;
        assert_eq!((statuses(&head), body.as_str()), (vec![413], "early"));
        // The rest of the body reads like a request, and is none.
        let inside = format!("GET /in HTTP/1.1\r\nHost: {}\r\n\r\n", site(&lab));
        let _ = pipe
            .write_all(&inside.as_bytes()[..46.min(inside.len())])
            .await;
        let _ = pipe.shutdown().await;
        let read = rest(&mut pipe).await;
        assert_eq!(statuses(&read), [0u16; 0], "{read}");
    });
    lab.over(1);
    assert_eq!(lab.requests.load(Ordering::SeqCst), 1);
    let (_, requests) = lab.end();
    assert_eq!(requests.len(), 1);
}

#[test]
fn f3_an_answer_that_breaks_off_is_broken_off_for_the_client() {
    for body in [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{body}");
        let breaking = move |mut pipe: Pipe, _: Arc<AtomicUsize>| {
            let text = text.clone();
            async move {
                let _ = until(&mut pipe, "\r\n\r\n").await;
                let _ = pipe.write_all(text.as_bytes()).await;
                let _ = pipe.shutdown().await;
            }
        };
        let origin = Origin::default().speaking(b"http/1.1").scripted(breaking);
        let lab = Lab::before(&origin, INSPECT);
        let read = lab.run(async {
            let mut pipe = connect(&lab, true).await;
            pipe.write_all(get(&lab, "/").as_bytes()).await.unwrap();
            let mut read = Vec::new();
            // Without TLS' own goodbye.
            let ended = pipe.read_to_end(&mut read).await.is_ok();
            (ended, String::from_utf8(read).unwrap())
        });
        assert!(!read.0, "{read:?}");
        assert!(!read.1.ends_with("0\r\n\r\n"), "{read:?}");
    }
}
