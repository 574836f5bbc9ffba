//! A stream that knows what went through it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::verifier::EXCHANGE;

/// Where the random value of a ServerHello ends that begins the stream: record and message header,
/// version, random (RFC 8446 sections 5.1 and 4.1.3).
const RANDOM_END: usize = 5 + 4 + 2 + 32;
/// How the random value of a server ends that would speak TLS 1.2 and was made to think that the
/// client does not. rustls looks for its like of TLS 1.3 only.
const DOWNGRADED: &[u8; 8] = b"DOWNGRD\0";

/// A stream that counts its bytes.
#[derive(Debug)]
pub struct Counted<S> {
    inner: S,
    /// The first bytes that came.
    head: [u8; RANDOM_END],
    received: u64,
    sent: u64,
}

impl<S> Counted<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self {
            inner,
            head: [0; RANDOM_END],
            received: 0,
            sent: 0,
        }
    }

    /// Bytes that came.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that were sent.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// The stream itself.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The stream itself.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S> Counted<S> {
    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = usize::try_from(self.received).unwrap_or(usize::MAX);
        self.received += bytes.len() as u64;
        let Some(room) = self.head.get_mut(before..).filter(|room| !room.is_empty()) else {
            return Ok(());
        };
        if before == 0 && !bytes.is_empty() {
            // Outside of a handshake nobody asks.
            let _ = EXCHANGE.try_with(|exchange| exchange.noted().heard = true);
        }
        room.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        let is_hello = matches!(self.head, [22, _, _, _, _, 2, ..]);
        // RFC 8446 section 4.1.3.
        if is_hello && self.head.ends_with(DOWNGRADED) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the origin was made to speak less than TLS 1.2",
            ));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let bytes = buf.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.count(bytes))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.sent += sent as u64;
        Poll::Ready(Ok(sent))
    }

    // The last flight of a handshake is several records, which make one packet.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        self.sent += sent as u64;
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
