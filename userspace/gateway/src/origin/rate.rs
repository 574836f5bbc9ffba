//! How often something may be done.

use std::time::Duration;

use tokio::time::Instant;

/// So many at once, and then one more at each interval.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// How many may be done at once; at least one always may.
    pub burst: u32,
    /// How long until one more may be done.
    pub interval: Duration,
}

/// What is left of a rate.
///
/// Only the time is kept at which the whole burst would be there again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(super) const fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether one more may be done now.
    pub(super) fn has_one(&self, rate: Rate, now: Instant) -> bool {
        let missing = self.full_at.saturating_duration_since(now);
        missing <= rate.interval * rate.burst.saturating_sub(1)
    }

    /// Does one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) {
        self.full_at = self.full_at.max(now) + rate.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let rate = Rate {
            burst: 3,
            interval: Duration::from_secs(10),
        };
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let mut done = |at: u64| {
            let now = start + Duration::from_secs(at);
            let may = bucket.has_one(rate, now);
            if may {
                bucket.take(rate, now);
            }
            may
        };
        assert_eq!([0, 0, 0, 0].map(&mut done), [true, true, true, false]);
        assert_eq!([9, 10, 10].map(&mut done), [false, true, false]);
        assert_eq!([100, 100, 100, 100].map(done), [true, true, true, false]);
    }
}
