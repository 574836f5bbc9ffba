//! The connection of a client whose requests are judged.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use sluice_abi::Reason;
use sluice_splice::Options;
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::{Cut, Exchange, Link, Reply};
use super::forward::Here;
use super::gather::Gather;
use super::strict::Strict;
use crate::daemon::generation::Generation;
use crate::daemon::worker::Worker;

/// Header fields of a request or an answer.
pub(super) const HEADERS: usize = 256;
/// Bytes of all header fields together.
pub(super) const HEADER_BYTES: u32 = 64 << 10;
/// Bytes of HTTP/1.1 that are read at once; more than the head of a request may take.
pub(crate) const BUFFER: usize = 2 * HEADER_BYTES as usize;
/// Requests of one HTTP/2 connection at a time.
const STREAMS: u32 = 128;
/// Streams that a client may reset before they were looked at (CVE-2023-44487).
const RESETS: usize = 32;
/// Bytes of one HTTP/2 stream that may wait for a client.
const SEND_BUFFER: usize = 256 << 10;
/// Window of an HTTP/2 stream and of a connection.
const WINDOW: u32 = 1 << 20;

/// Serves the requests of a connection until it ends; returns why it did.
pub(crate) async fn serve<S>(exchange: Rc<Exchange>, stream: S, is_h2: bool) -> Reason
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request| Rc::clone(&exchange).answer(request));
    let around = (&*exchange.worker, &*exchange.generation, &*exchange.link);
    if is_h2 {
        until_over(around, http2(around, stream, service)).await
    } else {
        until_over(around, serve_http1(around, stream, service)).await
    }
}

/// What a client's connection is served in.
pub(crate) type Around<'a> = (&'a Worker, &'a Generation, &'a Link);

/// Waits until a connection is served, for no longer than a relay may last; returns why it ended.
pub(crate) async fn until_over(
    (_, generation, link): Around<'_>,
    serving: impl Future<Output = hyper::Result<()>>,
) -> Reason {
    let served = async {
        let ended = serving.await;
        let relay = link.relay.take();
        if let Some(relay) = relay {
            // A relay that panicked is over as well.
            let _ = relay.await;
        }
        ended
    };
    tokio::select! {
        ended = served => match ended {
            Ok(()) => Reason::Finished,
            Err(error) => link.cut.get().unwrap_or_else(|| end_of(&error)),
        },
        why = time_up(&generation.relay, || link.moving()) => link.cut_off(why),
    }
}

/// Waits until no more requests are to begin on a connection.
async fn ending((worker, _, link): Around<'_>) {
    tokio::select! {
        () = link.over.notified() => {}
        () = worker.drained() => {}
    }
}

/// Serves HTTP/1, whose bytes are read strictly before the parser reads them.
pub(crate) async fn serve_http1<I, S>(
    around: Around<'_>,
    stream: I,
    service: S,
) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService<Incoming, ResBody = Reply, Error = Cut>,
{
    let (_, generation, link) = around;
    let heads = generation.requests.heads();
    let (stream, gate) = Strict::requests(Gather::new(stream), heads);
    link.set_gate(gate);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(generation.head_timeout)
        .max_headers(heads.fields)
        .max_buf_size((heads.url + heads.fields_size).max(BUFFER))
        .preserve_header_case(true)
        .half_close(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection.with_upgrades());
    tokio::select! {
        ended = &mut connection => ended,
        () = ending(around) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

async fn http2<I, S>(around: Around<'_>, stream: I, service: S) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: HttpService<Incoming, ResBody = Reply, Error = Cut>,
    S::Future: 'static,
{
    let mut builder = http2::Builder::new(Here);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .max_pending_accept_reset_streams(RESETS)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let io = TokioIo::new(Gather::new(stream));
    let mut connection = pin!(builder.serve_connection(io, service));
    tokio::select! {
        ended = &mut connection => ended,
        () = ending(around) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

pub(crate) fn end_of(error: &hyper::Error) -> Reason {
    tracing::debug!(%error, "a connection of requests ended");
    if error.is_timeout() {
        Reason::IdleTimeout
    } else if error.is_parse() || error.is_parse_too_large() {
        Reason::BadRequest
    } else {
        Reason::ClientReset
    }
}

/// Waits until a flow has been idle, or has lasted, for as long as a relay may; says which. `moving`
/// is a number that grows while anything moves.
pub(crate) async fn time_up(limits: &Options, moving: impl Fn() -> u64) -> Reason {
    let total = async {
        match limits.total_timeout {
            Duration::ZERO => std::future::pending().await,
            most => tokio::time::sleep(most).await,
        }
    };
    tokio::select! {
        () = idle(limits.idle_timeout, moving) => Reason::IdleTimeout,
        () = total => Reason::TotalTimeout,
    }
}

/// Waits until a number has not changed for a time; for ever where that is zero.
async fn idle(patience: Duration, moving: impl Fn() -> u64) {
    if patience.is_zero() {
        return std::future::pending().await;
    }
    let (mut last, mut since) = (moving(), Instant::now());
    loop {
        tokio::time::sleep((patience / 8).max(Duration::from_millis(100))).await;
        let now = moving();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() >= patience {
            return;
        }
    }
}
