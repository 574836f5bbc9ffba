//! The HTTP connection to an origin.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use hyper::body::Incoming;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper::{Method, Request, Response, rt};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::gather::Gather;
use super::serve::{BUFFER, HEADER_BYTES, HEADERS};
use super::strict::{Gate, Strict};
use crate::request::prepare_trailers;
use crate::request::wire::{Asked, Bad, Limits};

/// How large the heads of answers may be.
const HEADS: Limits = Limits {
    url: 8 << 10,
    fields: HEADERS,
    fields_size: HEADER_BYTES as usize,
};

/// A body on its way, whose trailers are prepared as its head was.
#[derive(Debug)]
pub(crate) struct Passing(pub(super) Incoming);

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            prepare_trailers(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Runs what HTTP/2 does beside its requests on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here;

impl<F: Future + 'static> rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        let _goes_on_alone = tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// A connection to an origin that requests are sent over.
#[derive(Debug)]
pub(crate) struct Upstream {
    sender: Sender,
}

#[derive(Debug)]
enum Sender {
    Http1(RefCell<http1::SendRequest<Passing>>, Arc<Gate>),
    Http2(http2::SendRequest<Passing>),
}

impl Upstream {
    /// Begins to speak HTTP over a connection: HTTP/2 where that was agreed on, else HTTP/1.1. Tells
    /// `over` when the connection ends.
    ///
    /// # Errors
    ///
    /// The connection ends, or the origin begins with what is no HTTP/2.
    pub(crate) async fn begin<S>(stream: S, is_h2: bool, over: Rc<Notify>) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = Gather::new(stream);
        let sender = if is_h2 {
            let io = TokioIo::new(stream);
            let (sender, connection) = http2::Builder::new(Here)
                .timer(TokioTimer::new())
                .max_header_list_size(HEADER_BYTES)
                .max_concurrent_reset_streams(64)
                .handshake(io)
                .await?;
            let _goes_on_alone = tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "the connection to the origin failed");
                }
                over.notify_one();
            });
            Sender::Http2(sender)
        } else {
            let (stream, gate) = Strict::answers(stream, HEADS);
            let io = TokioIo::new(stream);
            let (sender, connection) = http1::Builder::new()
                .preserve_header_case(true)
                .max_headers(HEADERS)
                .max_buf_size(BUFFER)
                .handshake(io)
                .await?;
            let _goes_on_alone = tokio::task::spawn_local(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "the connection to the origin failed");
                }
                over.notify_one();
            });
            Sender::Http1(RefCell::new(sender), gate)
        };
        Ok(Self { sender })
    }

    /// Sends a request, and returns the head of its answer with a body that is still to come.
    ///
    /// # Errors
    ///
    /// The connection is over, or the origin breaks HTTP.
    pub(crate) async fn send(
        &self,
        request: Request<Passing>,
    ) -> hyper::Result<Response<Incoming>> {
        match &self.sender {
            Sender::Http1(sender, gate) => {
                gate.ask(Asked {
                    head: request.method() == Method::HEAD,
                });
                // A connection of HTTP/1.1 has one request at a time, so that nobody else borrows.
                let answer = sender.borrow_mut().send_request(request);
                answer.await
            }
            Sender::Http2(sender) => sender.clone().send_request(request).await,
        }
    }

    /// Why the origin is not read on, where it is not.
    pub(crate) fn bad(&self) -> Option<Bad> {
        match &self.sender {
            Sender::Http1(_, gate) => gate.bad(),
            Sender::Http2(_) => None,
        }
    }

    /// Whether no more requests can be sent.
    pub(crate) fn is_over(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender, _) => sender.borrow().is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}
