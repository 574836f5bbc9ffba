//! What the daemon counts and measures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use sluice_abi::Reason;
use sluice_policy::NotNegotiated;
use sluice_splice::PipePool;

/// What became of a flow.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// It was refused.
    Block,
    /// TLS was ended on both sides, or cleartext HTTP read, and its requests judged.
    Intercept,
    /// It was, or was to be, relayed unread.
    Splice,
}

impl Verdict {
    /// The word used in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Intercept => "intercept",
            Self::Splice => "splice",
        }
    }
}

/// What is known of a flow's negotiation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tls {
    /// The client's first bytes were not needed to judge the flow.
    Unread,
    /// They are a ClientHello, and the origin's answer was not needed.
    Hello,
    /// The origin answered the ClientHello with a ServerHello that fits.
    Negotiated,
    /// No TLS, and why not.
    Not(NotNegotiated),
}

impl Tls {
    /// The word used in logs; `None` where nothing was read.
    #[must_use]
    pub const fn read_name(self) -> Option<&'static str> {
        match self {
            Self::Unread => None,
            Self::Hello => Some("hello"),
            Self::Negotiated => Some("negotiated"),
            Self::Not(why) => Some(why.name()),
        }
    }

    /// The word used in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.read_name().unwrap_or("unread")
    }
}

/// What another policy would have made of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shadow {
    /// The same.
    Same,
    /// Something else.
    Differs,
    /// It would have had to look deeper than the policy in force did.
    Undecided,
}

impl Shadow {
    /// Every result, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Same, Self::Differs, Self::Undecided];

    /// The word used in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Undecided => "undecided",
        }
    }
}

/// What requests are counted by: the word for what became of it, and why.
pub type RequestKind = (&'static str, Reason);

/// What flows are counted by: verdict, its reason, and what is known of the negotiation.
pub type FlowKind = (Verdict, Reason, &'static str);

/// Durations, to within one percent, up to an hour.
#[derive(Debug)]
pub struct Latency(Mutex<State>);

#[derive(Debug)]
struct State {
    // `None` where there was no memory for it; then only the sum is right.
    histogram: Option<Histogram<u64>>,
    sum: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self(Mutex::new(State {
            histogram: Self::histogram(),
            sum: Duration::ZERO,
        }))
    }
}

impl Latency {
    /// An empty histogram of nanoseconds with the bounds of all of them; `None` without memory.
    #[must_use]
    pub fn histogram() -> Option<Histogram<u64>> {
        Histogram::new_with_bounds(1, 3_600_000_000_000, 2).ok()
    }

    /// Notes one duration.
    pub fn note(&self, duration: Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.sum += duration;
        if let Some(histogram) = &mut state.histogram {
            let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            histogram.saturating_record(nanoseconds);
        }
    }

    /// Adds what was noted here to `all`, and returns its sum.
    pub fn merge_into(&self, all: &mut Histogram<u64>) -> Duration {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = &state.histogram {
            // Both have the same bounds.
            let _ = all.add(histogram);
        }
        state.sum
    }
}

#[derive(Clone, Debug, Default)]
struct Over {
    kinds: BTreeMap<FlowKind, u64>,
    ends: BTreeMap<Reason, u64>,
    shadows: [u64; Shadow::ALL.len()],
}

/// What one worker counts; written by its thread, read by whoever is asked for metrics.
#[derive(Debug)]
pub struct WorkerMetrics {
    /// Flows that are over, by kind and by the reason of their end.
    over: Mutex<Over>,
    /// Bytes that origins took, of flows that are over.
    pub to_origin: AtomicU64,
    /// Bytes that clients took, of flows that are over.
    pub to_client: AtomicU64,
    /// From the first look at a flow until its first bytes are known.
    pub peek: Latency,
    /// Time that the policy took.
    pub decision: Latency,
    /// Time until the origin accepted.
    pub connect: Latency,
    /// From the ClientHello being sent to the origin until its answer is known.
    pub server_hello: Latency,
    /// A handshake of our own with an origin.
    pub origin_handshake: Latency,
    /// A handshake of a client's with the gateway.
    pub client_handshake: Latency,
    /// Until a leaf was there.
    pub mint: Latency,
    /// From a request's head until that of its answer.
    pub request: Latency,
    /// Requests that were judged.
    requests: Mutex<BTreeMap<RequestKind, u64>>,
    /// Leaves that a client refused though they were in order.
    pub rejected_leaves: AtomicU64,
    /// Requests to proxy listeners that were answered by asking who makes them.
    pub asked_for_credentials: AtomicU64,
    /// Times that accepting paused for want of descriptors or memory.
    pub accept_pauses: AtomicU64,
    /// Flows whose task panicked.
    pub panics: AtomicU64,
    /// The pipes, and the bytes moved so far.
    pub pool: PipePool,
    /// Seconds since the daemon began, when the worker last had a turn.
    pub alive: AtomicU64,
    /// Whether the worker has closed its listeners.
    pub closed: AtomicBool,
}

impl WorkerMetrics {
    /// Counters of a worker that has done nothing.
    #[must_use]
    pub fn new(pool: PipePool) -> Self {
        Self {
            over: Mutex::default(),
            to_origin: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            peek: Latency::default(),
            decision: Latency::default(),
            connect: Latency::default(),
            server_hello: Latency::default(),
            origin_handshake: Latency::default(),
            client_handshake: Latency::default(),
            mint: Latency::default(),
            request: Latency::default(),
            requests: Mutex::default(),
            rejected_leaves: AtomicU64::new(0),
            asked_for_credentials: AtomicU64::new(0),
            accept_pauses: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            pool,
            alive: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Counts a flow that is over.
    pub fn note_flow(&self, verdict: Verdict, reason: Reason, tls: Tls) {
        *self
            .over()
            .kinds
            .entry((verdict, reason, tls.name()))
            .or_default() += 1;
    }

    /// Counts a request that was judged.
    pub fn note_request(&self, kind: RequestKind) {
        *self.requests_lock().entry(kind).or_default() += 1;
    }

    /// Requests that were judged, by kind.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<RequestKind, u64> {
        self.requests_lock().clone()
    }

    fn requests_lock(&self) -> MutexGuard<'_, BTreeMap<RequestKind, u64>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts why a flow ended, and its bytes.
    pub fn note_end(&self, end: Reason, to_origin: u64, to_client: u64) {
        *self.over().ends.entry(end).or_default() += 1;
        self.to_origin.fetch_add(to_origin, Ordering::Relaxed);
        self.to_client.fetch_add(to_client, Ordering::Relaxed);
    }

    /// Counts what another policy would have made of a flow.
    pub fn note_shadow(&self, shadow: Shadow) {
        if let Some(count) = self.over().shadows.get_mut(shadow as usize) {
            *count += 1;
        }
    }

    /// Flows that are over, by kind.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<FlowKind, u64> {
        self.over().kinds.clone()
    }

    /// Flows that are over, by the reason of their end.
    #[must_use]
    pub fn ends(&self) -> BTreeMap<Reason, u64> {
        self.over().ends.clone()
    }

    /// Flows that are over, by what another policy would have made of them.
    #[must_use]
    pub fn shadows(&self) -> [(Shadow, u64); Shadow::ALL.len()] {
        let counts = self.over().shadows;
        let mut counts = counts.into_iter();
        Shadow::ALL.map(|shadow| (shadow, counts.next().unwrap_or_default()))
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
