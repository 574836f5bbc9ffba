//! The connection of a client whose requests are judged.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sluice_abi::Reason;
use sluice_splice::Options;
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::Exchange;
use super::forward::Here;
use super::gather::Gather;
use super::strict::Strict;

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
    let served = async {
        let service = service_fn(|request| Rc::clone(&exchange).answer(request));
        let over = async {
            tokio::select! {
                () = exchange.link.over.notified() => {}
                () = exchange.worker.drained() => {}
            }
        };
        let stream = Gather::new(stream);
        let ended = if is_h2 {
            let io = TokioIo::new(stream);
            let mut builder = http2::Builder::new(Here);
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(HEADER_BYTES)
                .max_pending_accept_reset_streams(RESETS)
                .max_send_buf_size(SEND_BUFFER)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW);
            let exchange = Rc::clone(&exchange);
            let service = service_fn(move |request| Rc::clone(&exchange).answer(request));
            let mut connection = pin!(builder.serve_connection(io, service));
            tokio::select! {
                ended = &mut connection => ended,
                () = over => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        } else {
            let limits = &exchange.generation.requests;
            let heads = limits.heads();
            let (stream, gate) = Strict::requests(stream, heads);
            exchange.link.set_gate(gate);
            let io = TokioIo::new(stream);
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(exchange.generation.head_timeout)
                .max_headers(heads.fields)
                .max_buf_size((heads.url + heads.fields_size).max(BUFFER))
                .preserve_header_case(true)
                .half_close(true);
            let connection = builder.serve_connection(io, service).with_upgrades();
            let mut connection = pin!(connection);
            tokio::select! {
                ended = &mut connection => ended,
                () = over => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        let relay = exchange.link.relay.take();
        if let Some(relay) = relay {
            // A relay that panicked is over as well.
            let _ = relay.await;
        }
        ended
    };
    tokio::select! {
        ended = served => match ended {
            Ok(()) => Reason::Finished,
            Err(error) => exchange.link.cut.get().unwrap_or_else(|| end_of(&error)),
        },
        why = exchange.time_up() => exchange.link.cut_off(why),
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
