//! A flow in both directions, in one task.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::direction::{Direction, Fault, OnEnd};
use crate::listen::keep_alive;
use crate::pool::PipePool;

/// Idle time is measured in this many ticks: a flow that moved nothing during all of them is idle.
const IDLE_TICKS: u32 = 8;

/// The longest time between two looks at a flow.
const TICK: Duration = Duration::from_secs(60);

/// How long a flow may last, and when it counts as bulk.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The flow ends when no byte moved either way for this long (and up to an eighth longer, a
    /// minute at most).
    /// Zero: never.
    pub idle_timeout: Duration,
    /// The flow ends when it has lasted this long. Zero: never.
    pub total_timeout: Duration,
    /// Bytes in one direction that are copied before splice(2) takes over: a short flow is over by
    /// then and never pays for a pipe.
    pub splice_after: u64,
    /// Bytes in one direction from which that direction borrows the pool's large pipes.
    pub bulk_after: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(3600),
            total_timeout: Duration::ZERO,
            splice_after: 64 << 10,
            bulk_after: 256 << 10,
        }
    }
}

/// Why a relayed flow ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum End {
    /// The client's socket failed in another way than by a reset: no answer for too long, or no
    /// route any more.
    ClientLost(io::ErrorKind),
    /// The client reset the connection.
    ClientReset,
    /// Both sides finished, and each was told so.
    Finished,
    /// No byte moved for the idle time.
    IdleTimeout,
    /// The origin's socket failed in another way than by a reset.
    OriginLost(io::ErrorKind),
    /// The origin reset the connection.
    OriginReset,
    /// The flow lasted longer than a flow may last.
    TotalTimeout,
}

impl End {
    /// Whether the connections have to be aborted: one of the sides does not know that its stream
    /// is not whole, and an orderly close would tell it otherwise.
    #[must_use]
    pub const fn is_abrupt(self) -> bool {
        !matches!(self, Self::Finished)
    }
}

/// What a relayed flow did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// Bytes that the origin's socket took, the prefix among them.
    pub to_origin: u64,
    /// Bytes that the client's socket took.
    pub to_client: u64,
    /// Of both, the bytes that never left the kernel.
    pub spliced: u64,
    /// Of both, the bytes that were copied.
    pub copied: u64,
    /// Why it ended.
    pub end: End,
}

/// How far a flow has come, for whoever has to know before it ends or after it was cut off.
#[derive(Debug, Default)]
pub struct Progress {
    to_origin: AtomicU64,
    to_client: AtomicU64,
    spliced_to_origin: AtomicU64,
    spliced_to_client: AtomicU64,
}

impl Progress {
    /// Bytes that the origin's socket took.
    pub fn to_origin(&self) -> u64 {
        self.to_origin.load(Ordering::Relaxed)
    }

    /// Bytes that the client's socket took.
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }

    /// Of both, the bytes that never left the kernel.
    pub fn spliced(&self) -> u64 {
        let (to_origin, to_client) = self.spliced_each_way();
        to_origin + to_client
    }

    /// The bytes that never left the kernel: those to the origin, and those to the client.
    pub fn spliced_each_way(&self) -> (u64, u64) {
        (
            self.spliced_to_origin.load(Ordering::Relaxed),
            self.spliced_to_client.load(Ordering::Relaxed),
        )
    }
}

/// Relays `prefix` and then all bytes between `client` and `origin`, until both have finished or
/// one fails.
///
/// `prefix` is what was read from the client already. A side that finishes sending is passed on as
/// a half-close once all its bytes are delivered, and may go on receiving. A side that stops
/// receiving stops the other: no more than a pipe's worth is held for it, and no pipe while nothing
/// is read. Where pipes or descriptors run out, bytes are copied.
///
/// The future may be dropped at any time; pipes go back to the pool then. Both sockets stay open:
/// closing, or [`abort`](crate::abort)ing after an [abrupt](End::is_abrupt) end, is the caller's.
pub async fn relay(
    client: &TcpStream,
    origin: &TcpStream,
    prefix: impl Into<Bytes>,
    pool: &PipePool,
    options: &Options,
    progress: &Progress,
) -> Outcome {
    let read = Read {
        from_client: prefix.into(),
        from_origin: Bytes::new(),
    };
    relay_on(client, origin, read, pool, options, progress).await
}

/// What was read from both sides before they are relayed, and not sent on yet.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// The client's bytes.
    pub from_client: Bytes,
    /// The origin's bytes.
    pub from_origin: Bytes,
}

/// Relays like [`relay`], where the origin's first bytes have been read as well.
pub async fn relay_on(
    client: &TcpStream,
    origin: &TcpStream,
    read: Read,
    pool: &PipePool,
    options: &Options,
    progress: &Progress,
) -> Outcome {
    let mut relay = Relay {
        client,
        origin,
        outward: Direction::new(pool, options.splice_after, options.bulk_after),
        inward: Direction::new(pool, options.splice_after, options.bulk_after),
        outward_done: false,
        inward_done: false,
        failed: None,
        kept_alive: false,
    };
    if !read.from_client.is_empty()
        && let Err(fault) = relay.outward.begin(read.from_client, origin)
    {
        relay.outward_failed(fault);
    }
    if !read.from_origin.is_empty()
        && let Err(fault) = relay.inward.begin(read.from_origin, client)
    {
        relay.inward_failed(fault);
    }
    let mut clock = IdleClock::new(options);
    let mut timer = pin!(sleep_until(clock.next));
    let end = poll_fn(|cx| {
        let ended = relay.poll(cx);
        relay.report(progress);
        if let Poll::Ready(end) = ended {
            return Poll::Ready(end);
        }
        while timer.as_mut().poll(cx).is_ready() {
            match clock.tick(relay.moved()) {
                Ok(()) => timer.as_mut().reset(clock.next),
                Err(end) => return Poll::Ready(end),
            }
            relay.outlives_a_tick();
        }
        Poll::Pending
    })
    .await;
    let Relay {
        outward, inward, ..
    } = relay;
    Outcome {
        to_origin: outward.moved(),
        to_client: inward.moved(),
        spliced: outward.spliced + inward.spliced,
        copied: outward.copied + inward.copied,
        end,
    }
}

struct Relay<'a> {
    client: &'a TcpStream,
    origin: &'a TcpStream,
    /// Client to origin.
    outward: Direction<'a>,
    /// Origin to client.
    inward: Direction<'a>,
    outward_done: bool,
    inward_done: bool,
    /// A socket that refused bytes: the end of the flow, as soon as what it had sent is delivered.
    failed: Option<End>,
    kept_alive: bool,
}

impl Relay<'_> {
    fn moved(&self) -> u64 {
        self.outward.moved() + self.inward.moved()
    }

    fn report(&self, progress: &Progress) {
        progress
            .to_origin
            .store(self.outward.moved(), Ordering::Relaxed);
        progress
            .to_client
            .store(self.inward.moved(), Ordering::Relaxed);
        progress
            .spliced_to_origin
            .store(self.outward.spliced, Ordering::Relaxed);
        progress
            .spliced_to_client
            .store(self.inward.spliced, Ordering::Relaxed);
    }

    fn outlives_a_tick(&mut self) {
        if !self.kept_alive {
            self.kept_alive = true;
            for stream in [self.client, self.origin] {
                // A socket that refuses has failed, which the next byte will tell.
                let _ = keep_alive(stream);
            }
        }
    }

    /// A socket reports its failure once, to whichever direction comes first; the other one then
    /// sees what looks like an orderly end.
    fn on_end(&self) -> OnEnd {
        if self.failed.is_some() {
            OnEnd::KeepStill
        } else {
            OnEnd::HalfClose
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let on_end = self.on_end();
        if !self.outward_done
            && let Poll::Ready(result) = self.outward.poll(cx, self.client, self.origin, on_end)
        {
            match result {
                Ok(()) => self.outward_done = true,
                Err(fault) => self.outward_failed(fault),
            }
        }
        let on_end = self.on_end();
        if !self.inward_done
            && let Poll::Ready(result) = self.inward.poll(cx, self.origin, self.client, on_end)
        {
            match result {
                Ok(()) => self.inward_done = true,
                Err(fault) => self.inward_failed(fault),
            }
        }
        if self.outward_done && self.inward_done {
            return Poll::Ready(self.failed.unwrap_or(End::Finished));
        }
        Poll::Pending
    }

    fn outward_failed(&mut self, fault: Fault) {
        match fault {
            // What the client asked for can no longer be delivered to it.
            Fault::Source(error) => self.give_up(client_end(&error)),
            // The origin may have answered before it went away.
            Fault::Sink(error) => self.outward_refused(origin_end(&error)),
        }
    }

    fn inward_failed(&mut self, fault: Fault) {
        match fault {
            Fault::Source(error) => self.give_up(origin_end(&error)),
            Fault::Sink(error) => self.inward_refused(client_end(&error)),
        }
    }

    fn give_up(&mut self, end: End) {
        self.failed.get_or_insert(end);
        self.outward_done = true;
        self.inward_done = true;
    }

    fn outward_refused(&mut self, end: End) {
        self.failed.get_or_insert(end);
        self.outward_done = true;
    }

    fn inward_refused(&mut self, end: End) {
        self.failed.get_or_insert(end);
        self.inward_done = true;
    }
}

fn client_end(error: &io::Error) -> End {
    if is_reset(error) {
        End::ClientReset
    } else {
        End::ClientLost(error.kind())
    }
}

fn origin_end(error: &io::Error) -> End {
    if is_reset(error) {
        End::OriginReset
    } else {
        End::OriginLost(error.kind())
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Idle and total time by one timer that is not touched while bytes move.
struct IdleClock {
    idle: Option<Duration>,
    tick: Duration,
    deadline: Option<Instant>,
    next: Instant,
    moved: u64,
    quiet: Duration,
}

impl IdleClock {
    fn new(options: &Options) -> Self {
        let idle = Some(options.idle_timeout).filter(|idle| !idle.is_zero());
        let total = Some(options.total_timeout).filter(|total| !total.is_zero());
        let now = Instant::now();
        let mut clock = Self {
            idle,
            tick: idle.map_or(TICK, |idle| TICK.min(idle / IDLE_TICKS)),
            deadline: total.and_then(|total| now.checked_add(total)),
            next: now,
            moved: 0,
            quiet: Duration::ZERO,
        };
        clock.schedule(now);
        clock
    }

    fn schedule(&mut self, now: Instant) {
        let tick = now + self.tick;
        self.next = self.deadline.map_or(tick, |deadline| tick.min(deadline));
    }

    /// The timer rang: when it rings next is in `next`, or the flow is over.
    fn tick(&mut self, moved: u64) -> Result<(), End> {
        if self.deadline.is_some_and(|deadline| self.next >= deadline) {
            return Err(End::TotalTimeout);
        }
        if moved == self.moved {
            self.quiet += self.tick;
            if self.idle.is_some_and(|idle| self.quiet >= idle) {
                return Err(End::IdleTimeout);
            }
        } else {
            self.moved = moved;
            self.quiet = Duration::ZERO;
        }
        self.schedule(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(idle: u64, total: u64) -> IdleClock {
        IdleClock::new(&Options {
            idle_timeout: Duration::from_secs(idle),
            total_timeout: Duration::from_secs(total),
            ..Options::default()
        })
    }

    #[test]
    fn a_flow_is_idle_after_as_many_quiet_ticks_as_make_the_idle_time() {
        let mut clock = clock(8, 0);
        assert!(clock.tick(1).is_ok());
        for _ in 1..IDLE_TICKS {
            assert!(clock.tick(1).is_ok());
        }
        assert_eq!(clock.tick(1), Err(End::IdleTimeout));
    }

    #[test]
    fn a_byte_begins_the_idle_time_anew() {
        let mut clock = clock(8, 0);
        for moved in 0..100 {
            assert!(clock.tick(moved / 2).is_ok());
        }
    }

    #[test]
    fn the_total_time_ends_a_busy_flow() {
        let mut clock = clock(3600, 1);
        assert_eq!(clock.tick(1), Err(End::TotalTimeout));
    }

    #[test]
    fn without_timeouts_a_quiet_flow_goes_on() {
        let mut clock = clock(0, 0);
        assert!((0..10_000).all(|_| clock.tick(0).is_ok()));
    }
}
