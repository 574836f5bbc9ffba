//! A connection whose first bytes were read already.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::through::writes_through;
use crate::daemon::leg::Leg;

/// How far a leg is read ahead that brings more than is asked for. TLS asks for 4 KiB at a time, a
/// quarter of a record.
const AHEAD: usize = 64 << 10;

/// Bytes that went through a connection.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    read: AtomicU64,
    written: AtomicU64,
}

impl Traffic {
    /// Both together: a number that grows while anything moves.
    pub(crate) fn sum(&self) -> u64 {
        self.read.load(Ordering::Relaxed) + self.written()
    }

    /// Bytes that the peer was sent.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// A leg that is read from its first byte again, and whose shutdown is an orderly end.
#[derive(Debug)]
pub struct Rewind {
    /// Bytes that are out of the socket and were not asked for yet.
    ahead: BytesMut,
    /// Whether the socket has brought all that had room, and was not found empty since.
    filled: bool,
    leg: Leg,
    traffic: Arc<Traffic>,
}

impl Rewind {
    /// A leg whose `first` bytes were taken out of its socket.
    pub(crate) fn new(first: Bytes, leg: Leg) -> Self {
        Self {
            ahead: first.into(),
            filled: false,
            leg,
            traffic: Arc::default(),
        }
    }

    /// The leg, and what was read of it and not asked for yet.
    pub(crate) fn into_parts(self) -> (Leg, BytesMut) {
        (self.leg, self.ahead)
    }

    /// What goes through it.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Reads ahead, nothing at the end of the stream.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead.reserve(AHEAD);
        let read = loop {
            if self.leg.poll_read_ready(cx)?.is_pending() {
                break Poll::Pending;
            }
            match self.leg.try_read_buf(&mut self.ahead) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => break Poll::Ready(read),
            }
        };
        match read {
            Poll::Ready(Ok(count)) => {
                self.note_read(count);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.filled = false;
                self.ahead = BytesMut::new();
                Poll::Pending
            }
        }
    }

    fn note_read(&self, count: usize) {
        self.traffic.read.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = written {
            let count = *count as u64;
            self.traffic.written.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Rewind {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() && !self.filled {
            let before = buffer.filled().len();
            let read = Pin::new(self.leg.stream_mut()).poll_read(cx, buffer);
            self.filled = read.is_ready() && buffer.remaining() == 0;
            self.note_read(buffer.filled().len() - before);
            return read;
        }
        if self.ahead.is_empty() {
            ready!(self.poll_ahead(cx))?;
        }
        let taken = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(self.ahead.get(..taken).unwrap_or_default());
        self.ahead.advance(taken);
        if self.ahead.is_empty() && !self.filled {
            // An idle connection holds no buffer.
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewind {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.leg.stream_mut()).poll_write(cx, bytes);
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(self.leg.stream_mut()).poll_write_vectored(cx, slices);
        self.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.leg.stream_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(self.leg.stream_mut()).poll_shutdown(cx);
        if matches!(shut, Poll::Ready(Ok(()))) {
            self.leg.set_orderly();
        }
        shut
    }
}

/// A stream of which some bytes were read already.
#[derive(Debug)]
pub(crate) struct Prefixed<S> {
    first: Bytes,
    stream: S,
}

impl<S> Prefixed<S> {
    /// A stream that begins with `first`.
    pub(crate) const fn new(first: Bytes, stream: S) -> Self {
        Self { first, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        take(&mut self.first, buffer);
        Poll::Ready(Ok(()))
    }
}

writes_through!(Prefixed);

/// Moves what fits of bytes that were read already.
fn take(first: &mut Bytes, buffer: &mut ReadBuf<'_>) {
    let taken = first.len().min(buffer.remaining());
    buffer.put_slice(first.get(..taken).unwrap_or_default());
    first.advance(taken);
    if first.is_empty() {
        // An idle connection holds no buffer.
        *first = Bytes::new();
    }
}
