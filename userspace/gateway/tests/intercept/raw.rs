//! Connections of HTTP/1 whose bytes are written by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{Lab, NAME, Pipe};

/// A connection on which the gateway speaks HTTP/1.1: inside TLS, or in the clear.
pub(crate) async fn connect(lab: &Lab, tls: bool) -> Pipe {
    if tls {
        let client = lab.trusting_gateway().offering(&[b"http/1.1"]);
        Box::new(client.connect(lab).await.unwrap())
    } else {
        Box::new(lab.tcp([127, 0, 0, 1]).await.unwrap())
    }
}

/// Sends bytes and reads everything until the connection ends.
pub(crate) async fn talk(lab: &Lab, tls: bool, bytes: &[u8]) -> String {
    let mut pipe = connect(lab, tls).await;
    // What is refused early may be closed before everything was sent.
    let _ = pipe.write_all(bytes).await;
    let _ = pipe.flush().await;
    rest(&mut pipe).await
}

/// Reads until the connection ends, in whatever way.
pub(crate) async fn rest(pipe: &mut Pipe) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = pipe.read(&mut part).await {
        bytes.extend_from_slice(&part[..read]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until what was read contains a text; empty where the connection ends before.
pub(crate) async fn until(pipe: &mut Pipe, text: &str) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0; 1];
    loop {
        match pipe.read(&mut byte).await {
            Ok(1) => bytes.push(byte[0]),
            _ => return String::new(),
        }
        if bytes.ends_with(text.as_bytes()) {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}

/// One answer with a length: its head and its body.
pub(crate) async fn answer(pipe: &mut Pipe) -> (String, String) {
    let head = until(pipe, "\r\n\r\n").await;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    pipe.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8_lossy(&body).into_owned())
}

/// The server that requests name.
pub(crate) fn site(lab: &Lab) -> String {
    format!("{NAME}:{}", lab.origin.port())
}

/// Statuses of the answers in what was read.
pub(crate) fn statuses(read: &str) -> Vec<u16> {
    read.split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3)?.parse().ok())
        .collect()
}

/// An origin that answers each request with bytes of a list, and keeps the connection.
pub(crate) async fn answering(mut pipe: Pipe, requests: Arc<AtomicUsize>, answers: Vec<Vec<u8>>) {
    for answer in answers {
        if until(&mut pipe, "\r\n\r\n").await.is_empty() {
            return;
        }
        requests.fetch_add(1, Ordering::SeqCst);
        let _ = pipe.write_all(&answer).await;
        let _ = pipe.flush().await;
    }
    // Until the gateway has had enough of it.
    let _ = rest(&mut pipe).await;
}
