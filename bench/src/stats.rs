//! What a series of figures amounts to.

use std::fmt;

use serde::Serialize;

/// Median and spread of a series. The mean is left out: one disturbed round would move it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle figure; of an even count, the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many figures there were.
    pub count: usize,
}

impl Summary {
    /// Of a series; none of an empty one.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let low = *sorted.get(count.saturating_sub(1) / 2)?;
        let high = *sorted.get(count / 2)?;
        Some(Self {
            median: f64::midpoint(low, high),
            min: *sorted.first()?,
            max: *sorted.last()?,
            count,
        })
    }

    /// The same figures in another unit.
    #[must_use]
    pub fn scaled(self, by: f64) -> Self {
        Self {
            median: self.median * by,
            min: self.min * by,
            max: self.max * by,
            count: self.count,
        }
    }
}

impl fmt::Display for Summary {
    /// `median (min..max)`, with the decimals that the format asks for, or two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(2);
        write!(
            f,
            "{:.decimals$} ({:.decimals$}..{:.decimals$})",
            self.median, self.min, self.max
        )
    }
}

/// The value that `share` (0 to 1) of an ascending series does not exceed; none of an empty one.
#[must_use]
pub fn quantile(sorted: &[u64], share: f64) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a series held in memory"
    )]
    let at = (last as f64 * share.clamp(0.0, 1.0)).ceil() as usize;
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let odd = Summary::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(
            Summary::of([4.0, 1.0, 2.0, 3.0]).unwrap().median.to_bits(),
            2.5f64.to_bits()
        );
        assert_eq!(Summary::of([]), None);
        assert_eq!(odd.to_string(), "2.00 (1.00..3.00)");
    }

    #[test]
    fn a_quantile_is_one_of_the_figures() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&sorted, 0.5), Some(51));
        assert_eq!(quantile(&sorted, 0.99), Some(100));
        assert_eq!(quantile(&[7], 0.99), Some(7));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
