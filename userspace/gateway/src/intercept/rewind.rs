//! A connection whose first bytes were read already.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::daemon::leg::Leg;

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
    first: Bytes,
    leg: Leg,
    traffic: Arc<Traffic>,
}

impl Rewind {
    /// A leg whose `first` bytes were taken out of its socket.
    pub(crate) fn new(first: Bytes, leg: Leg) -> Self {
        Self {
            first,
            leg,
            traffic: Arc::default(),
        }
    }

    /// What goes through it.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
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
        let before = buffer.filled().len();
        if self.first.is_empty() {
            let read = Pin::new(self.leg.stream_mut()).poll_read(cx, buffer);
            let count = (buffer.filled().len() - before) as u64;
            self.traffic.read.fetch_add(count, Ordering::Relaxed);
            return read;
        }
        take(&mut self.first, buffer);
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

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
