//! What probes come to, counted without a lock.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{Outcome, Unavailable};

/// What a wish to know of an origin came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Probing {
    /// A probe was given up: the gateway drains.
    Aborted,
    /// As many probes were under way as there may be.
    Busy,
    /// The client caused more probes than it may.
    ClientRate,
    /// A probe was not done within its time.
    Deadline,
    /// A probe's handshake came to nothing.
    Failed,
    /// Somebody else's probe was waited for.
    Joined,
    /// All clients together caused more probes than they may.
    Rate,
    /// It was remembered.
    Remembered,
    /// A probe told.
    Reported,
    /// A probe did not reach the origin.
    Unreachable,
}

impl Probing {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 10] = [
        Self::Aborted,
        Self::Busy,
        Self::ClientRate,
        Self::Deadline,
        Self::Failed,
        Self::Joined,
        Self::Rate,
        Self::Remembered,
        Self::Reported,
        Self::Unreachable,
    ];

    /// The word used in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Busy => "busy",
            Self::ClientRate => "client_rate",
            Self::Deadline => "deadline",
            Self::Failed => "failed",
            Self::Joined => "joined",
            Self::Rate => "rate",
            Self::Remembered => "remembered",
            Self::Reported => "reported",
            Self::Unreachable => "unreachable",
        }
    }

    pub(super) const fn refused(why: Unavailable) -> Self {
        match why {
            Unavailable::Aborted => Self::Aborted,
            Unavailable::Busy => Self::Busy,
            Unavailable::ClientRate => Self::ClientRate,
            Unavailable::Deadline => Self::Deadline,
            Unavailable::Rate => Self::Rate,
            Unavailable::Unreachable(_) => Self::Unreachable,
        }
    }

    pub(super) const fn made(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Report(_) => Self::Reported,
            Outcome::Failure(_) => Self::Failed,
            Outcome::Unavailable(why) => Self::refused(*why),
        }
    }
}

/// What was probed so far, and what is known of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ProbeCounts {
    /// How often it came to what, in the order of [`Probing::ALL`].
    pub results: [u64; Probing::ALL.len()],
    /// How many outcomes are remembered.
    pub entries: usize,
    /// How many probes are under way.
    pub flights: usize,
}

impl ProbeCounts {
    /// How often it came to that.
    #[must_use]
    pub fn of(&self, probing: Probing) -> u64 {
        self.results
            .get(probing as usize)
            .copied()
            .unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    results: [AtomicU64; Probing::ALL.len()],
    // Written by whoever holds what they are the lengths of.
    entries: AtomicUsize,
    flights: AtomicUsize,
}

impl Tally {
    pub(super) fn note(&self, probing: Probing) {
        if let Some(count) = self.results.get(probing as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn set_entries(&self, entries: usize) {
        self.entries.store(entries, Ordering::Relaxed);
    }

    pub(super) fn set_flights(&self, flights: usize) {
        self.flights.store(flights, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> ProbeCounts {
        ProbeCounts {
            results: Probing::ALL.map(|probing| {
                let count = self.results.get(probing as usize);
                count.map_or(0, |count| count.load(Ordering::Relaxed))
            }),
            entries: self.entries.load(Ordering::Relaxed),
            flights: self.flights.load(Ordering::Relaxed),
        }
    }
}
