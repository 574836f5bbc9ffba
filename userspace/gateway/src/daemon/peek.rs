//! Reads a client's first bytes, to be judged and then replayed.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use sluice_peek::http::{self, Head};
use sluice_peek::{End, FirstReader, Hello, NotTls, Peek};
use sluice_splice::try_receive;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::facts;

/// What one read asks for; most hellos fit.
const READ: usize = 4096;

/// What a client's first bytes are.
#[derive(Clone, Debug)]
pub(crate) enum First {
    Hello(Box<Hello>),
    NotTls(NotTls),
}

/// Reads until the ClientHello is whole, or the bytes cannot become one and tell an application or
/// none, or their time is over.
///
/// What `bytes` holds already was read before. The bytes are taken out of the socket into `bytes`, so that a hello larger than the socket's
/// buffer is no obstacle. Both deadlines are absolute: a byte now and then buys nothing. A client
/// that reset the connection is an error.
pub(crate) async fn read_first(
    client: &TcpStream,
    bytes: &mut BytesMut,
    limits: &Limits,
) -> io::Result<First> {
    let mut reader = FirstReader::new(limits.hello);
    let mut deadline = Instant::now() + limits.silent_timeout;
    if !bytes.is_empty() {
        deadline = Instant::now() + limits.hello_timeout;
        match reader.advance(bytes) {
            Peek::NeedMore => {}
            Peek::Hello(hello) => return Ok(First::Hello(Box::new(hello))),
            Peek::NotTls(why) => return Ok(First::NotTls(why)),
        }
    }
    loop {
        let read = match timeout_at(deadline, read_some(client, bytes)).await {
            Ok(read) => read?,
            Err(_) => {
                let end = if bytes.is_empty() {
                    End::SilentDeadline
                } else {
                    End::Deadline
                };
                return Ok(First::NotTls(reader.finish(bytes, end)));
            }
        };
        if read == 0 {
            return Ok(First::NotTls(reader.finish(bytes, End::Eof)));
        }
        if read == bytes.len() {
            deadline = Instant::now() + limits.hello_timeout;
        }
        match reader.advance(bytes) {
            Peek::NeedMore => {}
            Peek::Hello(hello) => return Ok(First::Hello(Box::new(hello))),
            Peek::NotTls(why) => return Ok(First::NotTls(why)),
        }
    }
}

/// Reads on until the head of a request in the clear is whole, and tells which host it names; `None`
/// where it names none, breaks a rule, or is not whole in its time.
pub(crate) async fn read_host(
    client: &TcpStream,
    bytes: &mut BytesMut,
    limit: usize,
    timeout: Duration,
) -> Option<Box<str>> {
    let deadline = Instant::now() + timeout;
    while matches!(http::head(bytes, limit), Head::Incomplete) {
        match timeout_at(deadline, read_some(client, bytes)).await {
            Ok(Ok(1..)) => {}
            // Whatever ended here ends again for whoever reads on.
            _ => return None,
        }
    }
    facts::http_host(bytes, limit)
}

/// What a hello may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) hello: usize,
    pub(crate) hello_timeout: Duration,
    pub(crate) silent_timeout: Duration,
}

/// Appends what is there; 0 at the end of the stream.
pub(crate) async fn read_some(client: &TcpStream, bytes: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        loop {
            ready!(client.poll_read_ready(cx))?;
            let before = bytes.len();
            bytes.resize(before + READ, 0);
            let read = try_receive(client, bytes.get_mut(before..).unwrap_or_default());
            bytes.truncate(before + read.as_ref().map_or(0, |read| *read));
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    })
    .await
}
