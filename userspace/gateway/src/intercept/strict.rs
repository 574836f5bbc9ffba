//! A connection of HTTP/1 of which a parser sees nothing that it could read in two ways.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::through::writes_through;

use crate::request::wire::{Asked, Bad, Limits, Rest, Take, Wire};

/// What the parser reads in place of a head that it must not see, so that the answer to it comes
/// behind those to the requests before it.
const SUBSTITUTE: &[u8] = b"REFUSED * HTTP/1.1\r\nconnection: close\r\n\r\n";

/// Bytes that are read at once while something is kept that is not whole.
const READ: usize = 4096;

/// What is known of a connection to those who answer on it, or ask.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    asked: Option<Asked>,
    bad: Option<Bad>,
    /// Requests that were answered, and whether the last answer switches protocols.
    answered: u64,
    switched: bool,
    waiting: Option<Waker>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the connection is not read on, where it is not.
    pub(crate) fn bad(&self) -> Option<Bad> {
        self.lock().bad
    }

    /// Says that a request goes out, so that one answer may come.
    pub(crate) fn ask(&self, asked: Asked) {
        self.lock().asked = Some(asked);
    }

    /// Says that a request was answered, and whether protocols are switched.
    pub(crate) fn answered(&self, switched: bool) {
        let mut known = self.lock();
        known.answered += 1;
        known.switched = switched;
        if let Some(waiting) = known.waiting.take() {
            waiting.wake();
        }
    }
}

/// A stream of which only those bytes are read that [`Wire`] finds nothing wrong with.
///
/// Bodies are not copied: what was read into the reader's buffer stays there. Kept and copied is only
/// what is not whole at the end of a read: a part of a head, or of a line between chunks.
#[derive(Debug)]
pub(crate) struct Strict<S> {
    stream: S,
    wire: Wire,
    gate: Arc<Gate>,
    /// What was read and may not be shown yet.
    kept: BytesMut,
    /// Of `kept`, the bytes that may be shown.
    good: usize,
    answers: bool,
    substitute: &'static [u8],
    ended: bool,
}

impl<S> Strict<S> {
    /// A client's connection.
    pub(crate) fn requests(stream: S, limits: Limits) -> (Self, Arc<Gate>) {
        Self::new(stream, Wire::requests(limits), false)
    }

    /// A connection to an origin.
    pub(crate) fn answers(stream: S, limits: Limits) -> (Self, Arc<Gate>) {
        Self::new(stream, Wire::answers(limits), true)
    }

    /// The stream, and what was read of it and not shown yet: bytes of another protocol, once the
    /// connection has switched to one.
    pub(crate) fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.kept)
    }

    fn new(stream: S, wire: Wire, answers: bool) -> (Self, Arc<Gate>) {
        let gate = Arc::<Gate>::default();
        let strict = Self {
            stream,
            wire,
            gate: Arc::clone(&gate),
            kept: BytesMut::new(),
            good: 0,
            answers,
            substitute: SUBSTITUTE,
            ended: false,
        };
        (strict, gate)
    }

    /// Looks at bytes that came, and returns how many of them may be shown.
    fn look(&mut self, bytes: &[u8]) -> (usize, Rest) {
        let gate = &self.gate;
        let mut asked = |take| match take {
            Take::Look => gate.lock().asked,
            Take::Away => gate.lock().asked.take(),
        };
        let (good, rest) = self.wire.advance(bytes, &mut asked);
        if let Rest::Bad(bad) = rest {
            tracing::debug!(%bad, "the connection is not read on");
            gate.lock().bad = Some(bad);
        }
        (good, rest)
    }

    fn look_at_kept(&mut self) -> Rest {
        let kept = std::mem::take(&mut self.kept);
        let (good, rest) = self.look(&kept);
        (self.kept, self.good) = (kept, good);
        rest
    }

    /// Passes on what may be shown of what was kept.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let taken = self.good.min(buffer.remaining());
        buffer.put_slice(self.kept.get(..taken).unwrap_or_default());
        self.kept.advance(taken);
        self.good -= taken;
        if self.kept.is_empty() {
            // An idle connection holds no buffer.
            self.kept = BytesMut::new();
        }
    }

    /// Reads what the parser is to see in place of what it must not.
    fn refuse(&mut self, bad: Bad, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Only where a head was expected can something else be read in its place.
        if self.answers || self.wire.is_in_body() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, bad)));
        }
        let taken = self.substitute.len().min(buffer.remaining());
        buffer.put_slice(self.substitute.get(..taken).unwrap_or_default());
        self.substitute = self.substitute.get(taken..).unwrap_or_default();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Strict<S> {
    /// Reads on behind what is kept.
    fn read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ];
        let mut more = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut more))?;
        self.ended = more.filled().is_empty();
        self.kept.extend_from_slice(more.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.good > 0 {
                this.give(buffer);
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            let bad = this.gate.lock().bad;
            if let Some(bad) = bad {
                return this.refuse(bad, buffer);
            }
            if this.wire.is_undecided() {
                let mut known = this.gate.lock();
                // All that were asked before are answered with this one.
                if known.answered < this.wire.heads() {
                    known.waiting = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                let switched = known.switched;
                drop(known);
                this.wire.decide(switched);
                this.look_at_kept();
                continue;
            }
            if !this.kept.is_empty() {
                ready!(this.read_more(cx))?;
                if !this.ended {
                    this.look_at_kept();
                }
                continue;
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let read = buffer.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let (good, rest) = this.look(read);
            if matches!(rest, Rest::Partial | Rest::Undecided) {
                this.kept
                    .extend_from_slice(read.get(good..).unwrap_or_default());
            }
            buffer.set_filled(before + good);
            if good > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

writes_through!(Strict);
