//! What the daemon counts and measures.

mod counts;
pub mod latency;
pub mod rules;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sluice_abi::Reason;
use sluice_policy::NotNegotiated;
use sluice_splice::{PipePool, PoolOptions};

use counts::ByReason;
use latency::{ByStage, Latency};
use rules::Lane;

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
    /// How many states there are.
    pub(crate) const KINDS: usize = 3 + NotNegotiated::ALL.len();

    /// Its place among all states.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Unread => 0,
            Self::Hello => 1,
            Self::Negotiated => 2,
            Self::Not(why) => 3 + why as usize,
        }
    }

    /// The state of a place.
    pub(crate) fn at(index: usize) -> Option<Self> {
        match index {
            0 => Some(Self::Unread),
            1 => Some(Self::Hello),
            2 => Some(Self::Negotiated),
            _ => NotNegotiated::ALL.get(index - 3).copied().map(Self::Not),
        }
    }

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

/// How the bytes of a flow went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Read by the gateway: decrypted, or cleartext requests.
    Intercept,
    /// Copied through the daemon's memory, unread.
    Relay,
    /// Moved by the kernel.
    Splice,
}

impl Way {
    /// Every way, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Intercept, Self::Relay, Self::Splice];

    /// The word used in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intercept => "intercept",
            Self::Relay => "relay",
            Self::Splice => "splice",
        }
    }
}

/// Bytes of one way, by who took them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moved {
    /// Those that the origin took.
    pub to_origin: u64,
    /// Those that the client took.
    pub to_client: u64,
}

const VERDICTS: [Verdict; 3] = [Verdict::Block, Verdict::Intercept, Verdict::Splice];

/// What became of a request, in the order of its counters.
const REQUEST_VERDICTS: [&str; 3] = ["allow", "block", "warn"];

/// What one worker counts; written by its thread, read by whoever is asked for metrics.
#[derive(Debug)]
pub struct WorkerMetrics {
    /// Where this worker counts what rules decide.
    pub lane: Lane,
    /// Flows that are over, by verdict and what is known of the negotiation.
    kinds: ByReason,
    /// Flows that are over, by the reason of their end.
    ends: ByReason,
    shadows: [AtomicU64; Shadow::ALL.len()],
    /// Bytes of flows that are over: to the origin, then to the client.
    moved: [[AtomicU64; 2]; Way::ALL.len()],
    /// From the first look at a flow until its first bytes are known.
    pub peek: Latency,
    /// Time that the policy took, by the stage that it was asked at.
    pub decision: ByStage,
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
    requests: ByReason,
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

impl Default for WorkerMetrics {
    /// Counters of a worker that has done nothing, and has no pipes yet.
    fn default() -> Self {
        Self {
            lane: Lane::next(),
            kinds: ByReason::new(VERDICTS.len() * Tls::KINDS),
            ends: ByReason::new(1),
            shadows: Default::default(),
            moved: Default::default(),
            peek: Latency::network(),
            decision: ByStage::default(),
            connect: Latency::network(),
            server_hello: Latency::network(),
            origin_handshake: Latency::network(),
            client_handshake: Latency::network(),
            mint: Latency::own(),
            request: Latency::network(),
            requests: ByReason::new(REQUEST_VERDICTS.len()),
            rejected_leaves: AtomicU64::new(0),
            asked_for_credentials: AtomicU64::new(0),
            accept_pauses: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            pool: PipePool::new(PoolOptions::default()),
            alive: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }
}

impl WorkerMetrics {
    /// Counts a flow that is over.
    pub fn note_flow(&self, verdict: Verdict, reason: Reason, tls: Tls) {
        let kind = verdict as usize * Tls::KINDS + tls.index();
        self.kinds.note(reason, kind);
    }

    /// Counts a request that was judged.
    pub fn note_request(&self, (verdict, reason): RequestKind) {
        let known = REQUEST_VERDICTS.iter().position(|name| *name == verdict);
        debug_assert!(known.is_some(), "{verdict}");
        if let Some(kind) = known {
            self.requests.note(reason, kind);
        }
    }

    /// Requests that were judged, by kind.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<RequestKind, u64> {
        let name = |kind: usize| REQUEST_VERDICTS.get(kind).copied();
        self.requests
            .read(|reason, kind| Some((name(kind)?, reason)))
    }

    /// Counts why a flow ended.
    pub fn note_end(&self, end: Reason) {
        self.ends.note(end, 0);
    }

    /// Counts bytes of a flow that is over.
    pub fn note_moved(&self, way: Way, moved: Moved) {
        if let Some([to_origin, to_client]) = self.moved.get(way as usize) {
            to_origin.fetch_add(moved.to_origin, Ordering::Relaxed);
            to_client.fetch_add(moved.to_client, Ordering::Relaxed);
        }
    }

    /// Bytes of flows that are over, by their way.
    #[must_use]
    pub fn moved(&self) -> [(Way, Moved); Way::ALL.len()] {
        Way::ALL.map(|way| {
            let moved = self.moved.get(way as usize);
            let moved = moved.map_or_else(Moved::default, |[to_origin, to_client]| Moved {
                to_origin: to_origin.load(Ordering::Relaxed),
                to_client: to_client.load(Ordering::Relaxed),
            });
            (way, moved)
        })
    }

    /// Counts what another policy would have made of a flow.
    pub fn note_shadow(&self, shadow: Shadow) {
        if let Some(count) = self.shadows.get(shadow as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Flows that are over, by kind.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<FlowKind, u64> {
        self.kinds.read(|reason, kind| {
            let verdict = VERDICTS.get(kind / Tls::KINDS)?;
            Some((*verdict, reason, Tls::at(kind % Tls::KINDS)?.name()))
        })
    }

    /// Flows that are over, by the reason of their end.
    #[must_use]
    pub fn ends(&self) -> BTreeMap<Reason, u64> {
        self.ends.read(|reason, _| Some(reason))
    }

    /// Flows that are over, by what another policy would have made of them.
    #[must_use]
    pub fn shadows(&self) -> [(Shadow, u64); Shadow::ALL.len()] {
        Shadow::ALL.map(|shadow| {
            let count = self.shadows.get(shadow as usize);
            let count = count.map_or(0, |count| count.load(Ordering::Relaxed));
            (shadow, count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_read_by_the_same_words() {
        let metrics = WorkerMetrics::default();
        let states: Vec<_> = (0..Tls::KINDS).map(|at| Tls::at(at).unwrap()).collect();
        for (at, tls) in states.iter().enumerate() {
            assert_eq!(tls.index(), at);
            for verdict in VERDICTS {
                metrics.note_flow(verdict, Reason::Rule, *tls);
            }
        }
        let kinds = metrics.kinds();
        assert_eq!(kinds.len(), Tls::KINDS * VERDICTS.len());
        assert!(kinds.values().all(|count| *count == 1));
        for verdict in REQUEST_VERDICTS {
            metrics.note_request((verdict, Reason::Default));
        }
        assert_eq!(metrics.requests().len(), REQUEST_VERDICTS.len());
        metrics.note_end(Reason::Finished);
        assert_eq!(metrics.ends(), BTreeMap::from([(Reason::Finished, 1)]));
        let moved = Moved {
            to_origin: 3,
            to_client: 4,
        };
        metrics.note_moved(Way::Splice, moved);
        assert_eq!(metrics.moved()[2], (Way::Splice, moved));
    }
}
