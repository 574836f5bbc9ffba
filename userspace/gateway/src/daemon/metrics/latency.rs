//! How long something takes, noted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use sluice_policy::Stage;

/// Cells for each power of two: two significant digits need a hundred, as of HdrHistogram.
const CELLS: u64 = 128;
const CELL_BITS: u32 = CELLS.trailing_zeros();
/// The longest that is told apart, in nanoseconds: an hour. What is longer counts as this.
const LONGEST: u64 = 3_600_000_000_000;

/// Bounds of buckets in nanoseconds, for what the gateway does by itself.
const OWN: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// Bounds of buckets in nanoseconds, for what clients and origins take part in.
const NETWORK: &[u64] = &[
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Durations, to within one percent, up to an hour.
///
/// Written by one thread and read by another, and neither waits for the other: every cell is an
/// atomic of its own. What is read while something is being noted may lack it in one place and have
/// it in another, as [`Noted`] puts right.
#[derive(Debug)]
pub struct Latency {
    bounds: &'static [u64],
    /// One for each bound, for what is not above it and above the one before; the last for the rest.
    buckets: Box<[AtomicU64]>,
    cells: Box<[AtomicU64]>,
    /// In nanoseconds; 64 bits hold five hundred years.
    sum: AtomicU64,
}

impl Latency {
    /// For what the gateway does by itself: buckets from a microsecond to a second.
    #[must_use]
    pub fn own() -> Self {
        Self::new(OWN)
    }

    /// For what clients and origins take part in: buckets from half a millisecond to half a minute.
    #[must_use]
    pub fn network() -> Self {
        Self::new(NETWORK)
    }

    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: zeros(bounds.len() + 1),
            cells: zeros(cell(LONGEST) + 1),
            sum: AtomicU64::new(0),
        }
    }

    /// Notes one duration.
    pub fn note(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < nanoseconds);
        for (counters, at) in [
            (&self.cells, cell(nanoseconds.min(LONGEST))),
            (&self.buckets, bucket),
        ] {
            if let Some(counter) = counters.get(at) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Adds what was noted here to what was noted elsewhere.
    pub fn add_to(&self, noted: &mut Noted) {
        noted.bounds = self.bounds;
        noted.buckets.resize(self.buckets.len(), 0);
        for (sum, counter) in noted.buckets.iter_mut().zip(&self.buckets) {
            *sum += counter.load(Ordering::Relaxed);
        }
        noted.sum += Duration::from_nanos(self.sum.load(Ordering::Relaxed));
        let Some(histogram) = &mut noted.histogram else {
            return;
        };
        for (at, counter) in self.cells.iter().enumerate() {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                // Every value of a cell is one to the histogram as well, which is wide enough.
                let _ = histogram.record_n(lowest(at), count);
            }
        }
    }
}

/// What was noted by several, added up.
#[derive(Debug)]
pub struct Noted {
    bounds: &'static [u64],
    buckets: Vec<u64>,
    sum: Duration,
    /// `None` where there was no memory for it; then there are no quantiles.
    histogram: Option<Histogram<u64>>,
}

impl Default for Noted {
    fn default() -> Self {
        Self {
            bounds: &[],
            buckets: Vec::new(),
            sum: Duration::ZERO,
            histogram: Histogram::new_with_bounds(1, LONGEST, 2).ok(),
        }
    }
}

impl Noted {
    /// How many durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }

    /// How many are not above each bound, in seconds, and above the one before; the last bound is
    /// infinity.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / 1e9);
        bounds
            .chain([f64::INFINITY])
            .zip(self.buckets.iter().copied())
            .collect()
    }

    /// The duration, in seconds, that a share of them does not exceed, to two digits; `None` where
    /// nothing was noted.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let histogram = self.histogram.as_ref()?;
        (!histogram.is_empty()).then(|| histogram.value_at_quantile(share) as f64 / 1e9)
    }
}

/// Durations of decisions, by the stage that decides.
#[derive(Debug)]
pub struct ByStage([Latency; Stage::ALL.len()]);

impl Default for ByStage {
    fn default() -> Self {
        Self(Stage::ALL.map(|_| Latency::own()))
    }
}

impl ByStage {
    /// Those of one stage.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &Latency {
        let [first, ..] = &self.0;
        self.0.get(stage as usize).unwrap_or(first)
    }
}

pub(super) fn zeros(length: usize) -> Box<[AtomicU64]> {
    std::iter::repeat_with(AtomicU64::default)
        .take(length)
        .collect()
}

/// Where a value is counted: by itself where it is small, and else with those that have the same
/// first eight bits.
const fn cell(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(CELL_BITS + 1);
    (shift as u64 * CELLS + (value >> shift)) as usize
}

/// The lowest value of a cell.
const fn lowest(cell: usize) -> u64 {
    let cell = cell as u64;
    if cell < 2 * CELLS {
        return cell;
    }
    let shift = cell / CELLS - 1;
    (cell - shift * CELLS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_cell_that_begins_at_most_a_percent_below_it() {
        let mut value = 0_u64;
        let mut before = 0;
        while value < LONGEST {
            let (at, low) = (cell(value), lowest(cell(value)));
            assert!(low <= value && (value - low) * 100 <= value, "{value}");
            assert_eq!(cell(low), at, "{value}");
            assert!(at >= before, "{value}");
            before = at;
            value += 1 + value / 1000;
        }
        assert!(cell(LONGEST) < 8192);
    }

    #[test]
    fn quantiles_are_right_to_two_digits_and_buckets_exact() {
        let (one, other) = (Latency::network(), Latency::network());
        for millisecond in 1..=1000_u64 {
            let latency = if millisecond % 2 == 0 { &one } else { &other };
            latency.note(Duration::from_millis(millisecond));
        }
        let mut noted = Noted::default();
        one.add_to(&mut noted);
        other.add_to(&mut noted);
        assert_eq!(noted.count(), 1000);
        assert_eq!(noted.sum(), Duration::from_millis(500_500));
        for (share, wanted) in [(0.5, 0.5), (0.9, 0.9), (0.99, 0.99), (0.999, 0.999)] {
            let found = noted.quantile(share).unwrap();
            assert!((found - wanted).abs() <= wanted * 0.01, "{share}: {found}");
        }
        let buckets = noted.buckets();
        let upto = |most: f64| -> u64 {
            let below = buckets.iter().filter(|(bound, _)| *bound <= most);
            below.map(|(_, count)| count).sum()
        };
        // A bound is part of what is below it.
        assert_eq!((upto(0.001), upto(0.25), upto(1.0)), (1, 250, 1000));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 0)));
    }

    #[test]
    fn what_no_bound_holds_is_counted_all_the_same() {
        let latency = Latency::own();
        latency.note(Duration::MAX);
        latency.note(Duration::ZERO);
        let mut noted = Noted::default();
        assert_eq!(noted.quantile(0.5), None);
        latency.add_to(&mut noted);
        assert_eq!(noted.count(), 2);
        assert!(noted.quantile(1.0).unwrap() >= 3580.0);
    }

    #[test]
    fn noting_and_reading_do_not_wait_for_each_other() {
        let latency = Latency::own();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    latency.note(Duration::from_micros(3));
                }
            });
            let mut before = 0;
            for _ in 0..50 {
                let mut noted = Noted::default();
                latency.add_to(&mut noted);
                assert!(noted.count() >= before);
                before = noted.count();
            }
        });
        let mut noted = Noted::default();
        latency.add_to(&mut noted);
        assert_eq!(noted.count(), 20_000);
    }
}
