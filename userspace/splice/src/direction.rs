//! One half of a relayed flow: from one socket to the other.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::pool::{Lent, PipePool, Size, retry};

/// Bytes that are copied at a time.
const COPY: usize = 64 << 10;

/// Bytes after which a direction lets the other flows of its thread have a turn.
const TURN: u64 = 2 << 20;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; COPY].into_boxed_slice());
}

/// Which socket failed, and how.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The socket that is read from.
    Source(io::Error),
    /// The socket that is written to.
    Sink(io::Error),
}

/// The state of one direction.
#[derive(Debug)]
pub(crate) struct Direction<'p> {
    pool: &'p PipePool,
    splice_after: u64,
    bulk_after: u64,
    /// Copied bytes that the sink has not taken. Empty, and without memory, for most flows.
    held: Bytes,
    /// Lent while bytes move.
    pipe: Option<Lent<'p>>,
    /// The source has ended.
    ended: bool,
    /// splice(2) does not work on these sockets.
    copy_only: bool,
    /// Bytes that the sink has taken through a pipe.
    pub(crate) spliced: u64,
    /// Bytes that the sink has taken from memory.
    pub(crate) copied: u64,
}

/// What a direction does when its source has ended and the sink has all the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OnEnd {
    /// Tells the sink, by a half-close.
    HalfClose,
    /// Leaves it to the caller to break the connection off: the source failed before, and what
    /// looks like its end is not the end of its stream.
    KeepStill,
}

/// What reading the source gave.
enum Taken {
    /// Bytes, which are in `held`, in the pipe, or with the sink.
    Some,
    /// There was nothing to read.
    Nothing,
    /// The source ended.
    End,
}

impl<'p> Direction<'p> {
    pub(crate) fn new(pool: &'p PipePool, splice_after: u64, bulk_after: u64) -> Self {
        Self {
            pool,
            splice_after,
            bulk_after,
            held: Bytes::new(),
            pipe: None,
            ended: false,
            copy_only: false,
            spliced: 0,
            copied: 0,
        }
    }

    /// Bytes that the sink has taken.
    pub(crate) fn moved(&self) -> u64 {
        self.spliced + self.copied
    }

    /// Sends bytes that were read before the relay began; what the sink does not take is held.
    pub(crate) fn begin(&mut self, mut prefix: Bytes, to: &TcpStream) -> Result<(), Fault> {
        let sent = self.send(&prefix, to)?;
        if sent < prefix.len() {
            prefix.advance(sent);
            self.held = prefix;
        }
        Ok(())
    }

    /// Sends what the sink takes at once.
    fn send(&mut self, bytes: &[u8], to: &TcpStream) -> Result<usize, Fault> {
        let sent = match send_some(to, bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(Fault::Sink(error)),
        };
        self.count_copied(sent);
        Ok(sent)
    }

    /// Moves bytes until neither socket lets it, the source has ended and the sink was told, or it
    /// is the other flows' turn.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        on_end: OnEnd,
    ) -> Poll<Result<(), Fault>> {
        let turn_ends = self.moved() + TURN;
        // splice(2) stops for ever before TCP urgent data, and takes it for the end once the source
        // has ended. A wake-up for which it finds nothing, and an end, are therefore answered by
        // one copy, which gets past.
        let mut stuck = true;
        loop {
            ready!(self.poll_deliver(cx, to))?;
            if self.ended {
                if on_end == OnEnd::KeepStill {
                    return Poll::Ready(Ok(()));
                }
                // The other direction may go on: the client has finished asking, not listening.
                return Poll::Ready(match SockRef::from(to).shutdown(Shutdown::Write) {
                    Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                        Err(Fault::Sink(error))
                    }
                    _ => Ok(()),
                });
            }
            if self.moved() >= turn_ends {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // Nothing is read while the sink is full, so that a stopped reader stops its writer
            // and holds no pipe.
            ready!(to.poll_write_ready(cx)).map_err(Fault::Sink)?;
            let Poll::Ready(readable) = from.poll_read_ready(cx) else {
                self.pipe = None;
                return Poll::Pending;
            };
            readable.map_err(Fault::Source)?;
            let copied = self.moved() < self.splice_after || self.copy_only;
            let taken = if copied || !self.borrow() {
                self.copy(from, to)?
            } else {
                match self.fill(from)? {
                    Taken::End => self.copy(from, to)?,
                    Taken::Nothing if stuck => self.copy(from, to)?,
                    Taken::Nothing => {
                        stuck = true;
                        continue;
                    }
                    taken => taken,
                }
            };
            match taken {
                Taken::Some => stuck = false,
                Taken::Nothing => {}
                Taken::End => {
                    self.pipe = None;
                    self.ended = true;
                }
            }
        }
    }

    /// Gives the sink what was taken from the source before.
    fn poll_deliver(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<Result<(), Fault>> {
        while !self.held.is_empty() {
            ready!(to.poll_write_ready(cx)).map_err(Fault::Sink)?;
            match send_some(to, &self.held) {
                Ok(sent) => {
                    self.held.advance(sent);
                    self.count_copied(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(Fault::Sink(error))),
            }
        }
        // What is empty may still keep its memory.
        self.held = Bytes::new();
        while self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0) {
            ready!(to.poll_write_ready(cx)).map_err(Fault::Sink)?;
            self.drain(to)?;
            if !self.held.is_empty() {
                return self.poll_deliver(cx, to);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sees to it that there is a pipe; false where there is none to be had.
    fn borrow(&mut self) -> bool {
        if self.pipe.is_none() {
            let bulk = self.moved() >= self.bulk_after;
            self.pipe = self
                .pool
                .lend(if bulk { Size::Bulk } else { Size::Ordinary });
        }
        self.pipe.is_some()
    }

    /// From the source into the pipe.
    fn fill(&mut self, from: &TcpStream) -> Result<Taken, Fault> {
        let Some(pipe) = self.pipe.as_mut() else {
            return Ok(Taken::Nothing);
        };
        let filled = from.try_io(Interest::READABLE, || Ok(pipe.fill(from.as_fd())?));
        match filled {
            Ok(0) => Ok(Taken::End),
            Ok(_) => Ok(Taken::Some),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Taken::Nothing),
            Err(error) if is_unsupported(&error) => {
                self.pipe = None;
                self.copy_only = true;
                Ok(Taken::Some)
            }
            Err(error) => Err(Fault::Source(error)),
        }
    }

    /// From the pipe into the sink.
    fn drain(&mut self, to: &TcpStream) -> Result<(), Fault> {
        let Some(pipe) = self.pipe.as_mut() else {
            return Ok(());
        };
        match to.try_io(Interest::WRITABLE, || Ok(pipe.drain(to.as_fd())?)) {
            // A pipe with bytes in it never drains by nothing, so that this would never end.
            Ok(0) => Err(Fault::Sink(io::ErrorKind::WriteZero.into())),
            Ok(bytes) => {
                self.spliced += bytes as u64;
                self.pool.count_spliced(bytes as u64);
                let bulk = self.moved() >= self.bulk_after;
                if bulk && self.pipe.as_ref().is_some_and(Lent::outgrown) {
                    self.pipe = None;
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if is_unsupported(&error) => {
                let held = pipe.take_out().map_err(|error| Fault::Sink(error.into()))?;
                self.held = held.into();
                self.pipe = None;
                self.copy_only = true;
                Ok(())
            }
            Err(error) => Err(Fault::Sink(error)),
        }
    }

    /// From the source through memory into the sink.
    fn copy(&mut self, from: &TcpStream, to: &TcpStream) -> Result<Taken, Fault> {
        SCRATCH.with_borrow_mut(|scratch| {
            let received = match try_receive(from, scratch) {
                Ok(0) => return Ok(Taken::End),
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Taken::Nothing);
                }
                Err(error) => return Err(Fault::Source(error)),
            };
            let received = scratch.get(..received).unwrap_or_default();
            let sent = self.send(received, to)?;
            if let Some(rest @ [_, ..]) = received.get(sent..) {
                self.held = Bytes::copy_from_slice(rest);
            }
            Ok(Taken::Some)
        })
    }

    fn count_copied(&mut self, bytes: usize) {
        self.copied += bytes as u64;
        self.pool.count_copied(bytes as u64);
    }
}

/// Whether splice(2) says that it cannot serve this socket, which a copy still can.
fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS))
}

/// Receives what is there into `buffer`; 0 is the end of the stream.
///
/// A buffer that is not filled has emptied the socket: its readiness is cleared, which saves the
/// call that would find nothing.
///
/// # Errors
///
/// `WouldBlock` while there is nothing; else what the connection failed with.
pub fn try_receive(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut short = None;
    let result = from.try_io(Interest::READABLE, || {
        let length = buffer.len();
        let (received, _) = retry(|| recv(from, &mut *buffer, RecvFlags::DONTWAIT))?;
        if 0 < received && received < length {
            short = Some(received);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(received)
    });
    short.map_or(result, Ok)
}

/// Sends what the socket takes, and clears its writability where that is not all.
fn send_some(to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut short = None;
    let result = to.try_io(Interest::WRITABLE, || {
        let sent = retry(|| send(to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))?;
        if 0 < sent && sent < bytes.len() {
            short = Some(sent);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(sent)
    });
    short.map_or(result, Ok)
}
