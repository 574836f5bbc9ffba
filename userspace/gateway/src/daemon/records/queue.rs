//! What waits for one sink, and what is counted of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

/// What a record costs besides its bytes.
const OVERHEAD: usize = 96;

/// Bytes that are delivered together.
const BATCH: usize = 256 << 10;

/// How long records are gathered before they are delivered together.
const GATHER: Duration = Duration::from_millis(50);

/// How long what waits may still be delivered after the end was told.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);

/// What a record is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Flow,
    Request,
    Packets,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Request => "request",
            Self::Packets => "packets",
        }
    }
}

/// One record, in the form in which it is written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// One line of JSON, with its end.
    pub(super) line: Bytes,
    pub(super) kind: Kind,
    /// Whether it tells of something that was refused.
    pub(super) refused: bool,
    pub(super) time: SystemTime,
}

impl Entry {
    /// The line without its end.
    pub(super) fn json(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    const fn cost(&self) -> usize {
        self.line.len() + OVERHEAD
    }
}

/// Entries that are being delivered. What is not taken away is delivered again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: VecDeque<Entry>,
    done: Done,
}

/// What became of entries.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    written: u64,
    bytes: u64,
    dropped: u64,
    freed: usize,
}

impl Batch {
    pub(super) fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the first one away: it was delivered.
    pub(super) fn delivered(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.done.written += 1;
            self.done.bytes += entry.line.len() as u64;
            self.done.freed += entry.cost();
        }
    }

    /// Takes the first one away: it can never be delivered.
    pub(super) fn refused(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.done.dropped += 1;
            self.done.freed += entry.cost();
        }
    }

    /// A batch for tests of sinks.
    #[cfg(test)]
    pub(super) fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self {
            entries: entries.into_iter().collect(),
            done: Done::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// How a sink fares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It takes what it is given.
    Ok,
    /// It takes nothing for the moment: its reader is slow, or has stopped.
    Stalled,
    /// The last attempt failed, and is repeated.
    Failing,
}

impl State {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Stalled, Self::Failing];

    /// The word used in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stalled => "stalled",
            Self::Failing => "failing",
        }
    }
}

/// The entries that wait for one sink, bounded in bytes.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Bytes that wait or are being delivered.
    bytes: AtomicUsize,
    limit: AtomicUsize,
    state: AtomicUsize,
    pub(super) written: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) errors: AtomicU64,
    /// What all sinks of the log have lost together.
    lost: Arc<AtomicU64>,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Until when what waits may be delivered, once the end was told.
    until: Option<Instant>,
    reopen: bool,
}

/// What the writer is to do.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) reopen: bool,
    pub(super) until: Option<Instant>,
}

impl Queue {
    pub(super) fn new(limit: usize, lost: Arc<AtomicU64>) -> Self {
        Self {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            bytes: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            state: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            lost,
            ended: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Adds an entry, or counts it as dropped. What is not `needed` leaves half of the room to what
    /// is.
    pub(super) fn push(&self, entry: &Entry, needed: bool) {
        let limit = self.limit.load(Ordering::Relaxed);
        let limit = if needed { limit } else { limit / 2 };
        let mut waiting = self.lock();
        if waiting.until.is_some() {
            return;
        }
        if self.bytes.load(Ordering::Relaxed) + entry.cost() > limit {
            drop(waiting);
            self.lose(1);
            return;
        }
        let before = self.bytes.fetch_add(entry.cost(), Ordering::Relaxed);
        let much = self.much();
        let wakes = waiting.entries.is_empty() || (before < much && before + entry.cost() >= much);
        waiting.entries.push_back(entry.clone());
        drop(waiting);
        if wakes {
            self.wake.notify_all();
        }
    }

    /// Counts entries that are lost.
    pub(super) fn lose(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.lost.fetch_add(count, Ordering::Relaxed);
    }

    /// Waits for something to do, and fills the batch.
    pub(super) fn take(&self, batch: &mut Batch) -> Order {
        let mut waiting = self.lock();
        if batch.is_empty() {
            while waiting.entries.is_empty() && waiting.until.is_none() && !waiting.reopen {
                waiting = self
                    .wake
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            waiting = self.wait(waiting, GATHER, self.much());
        }
        let mut size: usize = batch.iter().map(|entry| entry.line.len()).sum();
        while size < BATCH
            && let Some(entry) = waiting.entries.pop_front()
        {
            size += entry.line.len();
            batch.entries.push_back(entry);
        }
        Order {
            reopen: std::mem::take(&mut waiting.reopen),
            until: waiting.until,
        }
    }

    /// Waits before the next attempt.
    pub(super) fn pause(&self, time: Duration) {
        drop(self.wait(self.lock(), time, usize::MAX));
    }

    /// Bytes for which gathering ends early.
    fn much(&self) -> usize {
        self.limit.load(Ordering::Relaxed) / 8
    }

    /// Waits for so long, or until there are orders or so many bytes.
    fn wait<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting>,
        time: Duration,
        bytes: usize,
    ) -> MutexGuard<'a, Waiting> {
        let until = Instant::now() + time;
        while waiting.until.is_none()
            && !waiting.reopen
            && self.bytes() < bytes
            && let Some(left) = until.checked_duration_since(Instant::now())
            && !left.is_zero()
        {
            waiting = self
                .wake
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        waiting
    }

    /// Counts what became of a batch.
    pub(super) fn settle(&self, batch: &mut Batch) {
        let done = std::mem::take(&mut batch.done);
        self.written.fetch_add(done.written, Ordering::Relaxed);
        self.written_bytes.fetch_add(done.bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(done.freed, Ordering::Relaxed);
        if done.dropped > 0 {
            self.lose(done.dropped);
        }
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as usize, Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> State {
        let state = self.state.load(Ordering::Relaxed);
        State::ALL.get(state).copied().unwrap_or(State::Failing)
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether there may be no room for the record of another flow: the sink fails, or half of the
    /// room is taken. The other half is for the flows that there are.
    pub(super) fn is_unavailable(&self) -> bool {
        self.state() == State::Failing || self.bytes() >= self.limit.load(Ordering::Relaxed) / 2
    }

    /// Has the sink opened anew.
    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.wake.notify_all();
    }

    /// Takes no more; what waits is delivered within [`FAREWELL`].
    pub(super) fn close(&self) {
        self.lock()
            .until
            .get_or_insert_with(|| Instant::now() + FAREWELL);
        self.wake.notify_all();
    }

    /// Tells that nothing is delivered any more; what is left is lost.
    pub(super) fn end(&self, batch: &Batch) {
        let mut waiting = self.lock();
        let left = waiting.entries.len() + batch.entries.len();
        waiting.entries.clear();
        drop(waiting);
        self.lose(left as u64);
        self.ended.store(true, Ordering::Release);
        self.wake.notify_all();
    }

    /// Waits until everything was delivered, but no longer than a little beyond [`FAREWELL`]: a
    /// thread that the system does not let go is left behind.
    pub(super) fn wait_ended(&self) {
        let until = Instant::now() + FAREWELL + Duration::from_secs(1);
        let mut waiting = self.lock();
        while !self.ended.load(Ordering::Acquire)
            && let Some(left) = until.checked_duration_since(Instant::now())
        {
            waiting = self
                .wake
                .wait_timeout(waiting, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
