//! The HTTP connection to an origin.

use std::cell::RefCell;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, rt};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::gather::Gather;
use super::serve::{BUFFER, HEADER_BYTES, HEADERS};

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
    Http1(RefCell<http1::SendRequest<Incoming>>),
    Http2(http2::SendRequest<Incoming>),
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
        let io = TokioIo::new(Gather::new(stream));
        let sender = if is_h2 {
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
            Sender::Http1(RefCell::new(sender))
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
        request: Request<Incoming>,
    ) -> hyper::Result<Response<Incoming>> {
        match &self.sender {
            Sender::Http1(sender) => {
                // A connection of HTTP/1.1 has one request at a time, so that nobody else borrows.
                let answer = sender.borrow_mut().send_request(request);
                answer.await
            }
            Sender::Http2(sender) => sender.clone().send_request(request).await,
        }
    }

    /// Whether no more requests can be sent.
    pub(crate) fn is_over(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.borrow().is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }
}
