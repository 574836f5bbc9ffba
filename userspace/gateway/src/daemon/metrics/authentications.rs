//! What credentials come to, by the provider that judges them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::identity::authenticate::Authenticated;

/// What credentials came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthenticationOutcome {
    /// It is known who the client is.
    Accepted,
    /// They are wrong.
    Refused,
    /// Too many were wrong, so that these were not looked at.
    Slowed,
    /// Whoever could tell could not be reached in time.
    Unavailable,
}

impl AuthenticationOutcome {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 4] = [
        Self::Accepted,
        Self::Refused,
        Self::Slowed,
        Self::Unavailable,
    ];

    /// The word used in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Slowed => "slowed",
            Self::Unavailable => "unavailable",
        }
    }

    /// What is counted of an answer; `None` where nothing was decided yet.
    #[must_use]
    pub const fn of(answer: &Authenticated) -> Option<Self> {
        match answer {
            Authenticated::Absent | Authenticated::Continue(_) => None,
            Authenticated::Known(_) => Some(Self::Accepted),
            Authenticated::Refused => Some(Self::Refused),
            Authenticated::Slowed(_) => Some(Self::Slowed),
            Authenticated::Unavailable => Some(Self::Unavailable),
        }
    }
}

/// Counts of all providers, without a lock. Whoever asks providers has one, and gives it to
/// [`Sources`](crate::daemon::export::Sources) as a further source.
#[derive(Debug)]
pub struct Authentications(Vec<(Arc<str>, [AtomicU64; AuthenticationOutcome::ALL.len()])>);

impl Authentications {
    /// Counters for the providers of these names, which the configuration gives.
    #[must_use]
    pub fn new(providers: impl IntoIterator<Item = Arc<str>>) -> Self {
        let providers = providers.into_iter();
        Self(providers.map(|name| (name, Default::default())).collect())
    }

    /// Counts what credentials came to with a provider, by its place among all.
    pub fn note(&self, provider: usize, outcome: AuthenticationOutcome) {
        let counts = self.0.get(provider).map(|(_, counts)| counts);
        if let Some(count) = counts.and_then(|counts| counts.get(outcome as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it came to what with each provider.
    pub fn read(&self) -> impl Iterator<Item = (&Arc<str>, AuthenticationOutcome, u64)> {
        self.0.iter().flat_map(|(name, counts)| {
            let outcomes = AuthenticationOutcome::ALL.into_iter().zip(counts);
            outcomes.map(move |(outcome, count)| (name, outcome, count.load(Ordering::Relaxed)))
        })
    }
}
