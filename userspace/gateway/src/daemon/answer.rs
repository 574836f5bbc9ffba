//! Sends a client's hello on as it came, and reads the origin's answer, to be judged and then
//! replayed.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use sluice_peek::{Answer, End, Offer, ServerHelloReader};
use sluice_policy::NotNegotiated;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::peek::read_some;
use crate::facts::Answered;

/// How an origin took a hello.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// What it answered.
    pub(crate) answered: Answered,
    /// It did not answer in its time.
    pub(crate) late: bool,
    /// It asks for a second hello.
    pub(crate) retry: bool,
    /// How many bytes of the hello it took.
    pub(crate) sent: usize,
    /// Its connection failed, so that its stream is not whole.
    pub(crate) broken: bool,
}

/// Sends `hello`, the client's bytes up to the end of its ClientHello, and reads into `held` until
/// the origin's answer is whole, or cannot become a ServerHello, or its time is over.
///
/// `None` where the client resets the connection meanwhile. What it sends waits in its socket.
pub(crate) async fn ask(
    client: &TcpStream,
    origin: &TcpStream,
    hello: &[u8],
    held: &mut BytesMut,
    limits: &Limits,
) -> Option<Heard> {
    tokio::select! {
        biased;
        heard = hear(origin, hello, held, limits) => Some(heard),
        _ = client.ready(Interest::ERROR) => None,
    }
}

/// What an answer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) timeout: Duration,
}

async fn hear(origin: &TcpStream, hello: &[u8], held: &mut BytesMut, limits: &Limits) -> Heard {
    let mut heard = Heard {
        answered: Answered::not(NotNegotiated::InconsistentServerHello),
        late: false,
        retry: false,
        sent: 0,
        broken: false,
    };
    // Where peek finds a hello, there is an offer.
    let Some(offer) = Offer::of(hello) else {
        return heard;
    };
    let mut reader = ServerHelloReader::new(offer, limits.bytes);
    let deadline = Instant::now() + limits.timeout;
    let mut refused = false;
    let answer = loop {
        let rest = hello.get(heard.sent..).unwrap_or_default();
        let step = async {
            tokio::select! {
                sent = write_some(origin, rest), if !rest.is_empty() && !refused => Step::Sent(sent),
                read = read_some(origin, held) => Step::Read(read),
            }
        };
        match timeout_at(deadline, step).await {
            Ok(Step::Sent(Ok(sent))) => heard.sent += sent,
            // The origin may have answered before it went away.
            Ok(Step::Sent(Err(_))) => refused = true,
            Ok(Step::Read(Ok(0))) => break reader.finish(held, End::Eof),
            Ok(Step::Read(Ok(_))) => match reader.advance(held) {
                Answer::Incomplete => {}
                answer => break answer,
            },
            Ok(Step::Read(Err(_))) => {
                heard.broken = true;
                break reader.finish(held, End::Eof);
            }
            Err(_) => {
                heard.late = true;
                break reader.finish(held, End::Deadline);
            }
        }
    };
    heard.broken |= refused;
    heard.retry = matches!(answer, Answer::Negotiated(chosen) if chosen.hello_retry);
    if let Some(answered) = Answered::of(answer) {
        heard.answered = answered;
    }
    heard
}

enum Step {
    Sent(io::Result<usize>),
    Read(io::Result<usize>),
}

/// Sends what the socket takes.
async fn write_some(to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        to.writable().await?;
        match to.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
    }
}
