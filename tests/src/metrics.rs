//! Reads metrics in Prometheus' text format.

use std::collections::BTreeMap;

/// All samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads the text of a scrape; lines that are no samples are skipped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                Some((series.to_owned(), value.parse().ok()?))
            })
            .collect();
        Self { samples }
    }

    /// The sum of all series of this name that carry at least these labels; 0 where there are none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        self.samples
            .iter()
            .filter(|(series, _)| {
                let (own, inside) = series.split_once('{').unwrap_or((series.as_str(), ""));
                own == name
                    && wanted.iter().all(|label| {
                        inside
                            .trim_end_matches('}')
                            .split(',')
                            .any(|present| present == label)
                    })
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// Every series whose value is another than before, with what it changed by.
    #[must_use]
    pub fn moved_since(&self, before: &Self) -> Vec<(String, f64)> {
        self.samples
            .iter()
            .filter_map(|(series, value)| {
                let change = value - before.samples.get(series).copied().unwrap_or(0.0);
                (change != 0.0).then(|| (series.clone(), change))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total Things.\n# TYPE a_total counter\n\
        a_total{hook=\"in\",reason=\"x\"} 3\na_total{hook=\"out\",reason=\"x\"} 4\nb 0.5\n";

    #[test]
    fn sums_go_over_the_labels_not_named() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.sum("a_total", &[("reason", "x")]), 7.0);
        assert_eq!(
            metrics.sum("a_total", &[("reason", "x"), ("hook", "out")]),
            4.0
        );
        assert_eq!(metrics.sum("a_total", &[("reason", "y")]), 0.0);
        assert_eq!(metrics.sum("b", &[]), 0.5);
    }

    #[test]
    fn only_what_moved_is_told() {
        let before = Metrics::parse("b 0.5\n");
        let moved = Metrics::parse(TEXT).moved_since(&before);
        assert_eq!(moved.len(), 2);
        assert_eq!(
            moved[0],
            ("a_total{hook=\"in\",reason=\"x\"}".to_owned(), 3.0)
        );
    }
}
