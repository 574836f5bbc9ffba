//! Reads the metrics of a daemon, as the commands show them.
//!
//! Only what [`Exporter`](crate::daemon::export::Exporter) writes is read: the text format of
//! Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats/>) without timestamps.

use std::collections::BTreeMap;

/// Samples of one scrape: more than a daemon of a thousand rules has.
const LIMIT: usize = 1 << 17;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name of the series, with `_bucket`, `_count` or `_sum` where it is of a histogram.
    pub name: String,
    /// Its labels, in the order in which they were written.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The value of a label; empty where there is none of that name, as Prometheus has it.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels
            .iter()
            .all(|(name, value)| self.label(name) == *value)
    }
}

/// What is no scrape.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} of the metrics is none: {what}")]
pub struct ScrapeError {
    line: usize,
    what: &'static str,
}

/// The values of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    // By name, so that nothing is walked that is not asked for.
    series: BTreeMap<String, Vec<Sample>>,
}

impl Scrape {
    /// Reads a scrape.
    ///
    /// # Errors
    ///
    /// [`ScrapeError`]: a line is no sample, or there are too many.
    pub fn parse(text: &str) -> Result<Self, ScrapeError> {
        let mut scrape = Self::default();
        let mut count = 0;
        for (number, line) in text.lines().enumerate() {
            let wrong = |what| ScrapeError {
                line: number + 1,
                what,
            };
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            count += 1;
            if count > LIMIT {
                return Err(wrong("there are too many"));
            }
            let sample = sample(line).map_err(wrong)?;
            let of_name = scrape.series.entry(sample.name.clone()).or_default();
            of_name.push(sample);
        }
        Ok(scrape)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The samples of a name that have all of these labels.
    pub fn of<'s>(
        &'s self,
        name: &str,
        labels: &'s [(&'s str, &'s str)],
    ) -> impl Iterator<Item = &'s Sample> {
        let all = self.series.get(name).map_or(&[][..], Vec::as_slice);
        all.iter().filter(move |sample| sample.has(labels))
    }

    /// The value of the only sample of a name that has these labels, or of the first.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.of(name, labels).next().map(|sample| sample.value)
    }

    /// The sum of the samples of a name that have these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }

    /// Sums of the samples of a name that have these labels, by the value of one more label.
    #[must_use]
    pub fn by(&self, name: &str, label: &str, labels: &[(&str, &str)]) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.of(name, labels) {
            let key = sample.label(label).to_owned();
            *sums.entry(key).or_insert(0.0) += sample.value;
        }
        sums
    }
}

/// What happened between two scrapes.
#[derive(Clone, Copy, Debug)]
pub struct Between<'s> {
    /// The earlier one; an empty one stands for the beginning of the daemon.
    pub before: &'s Scrape,
    /// The later one.
    pub after: &'s Scrape,
}

/// How far a counter has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grown {
    /// Its value.
    pub total: f64,
    /// How much more that is for each second.
    pub per_second: f64,
}

impl Between<'_> {
    /// Seconds between the two, by the daemon's own clock; since its beginning where it was
    /// restarted.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let uptime = |scrape: &Scrape| scrape.value("sluice_uptime_seconds", &[]).unwrap_or(0.0);
        match uptime(self.after) - uptime(self.before) {
            seconds if seconds > 0.0 => seconds,
            _ => uptime(self.after),
        }
    }

    /// How the counters of a name grew that have these labels, by the value of one more label.
    #[must_use]
    pub fn by(&self, name: &str, label: &str, labels: &[(&str, &str)]) -> BTreeMap<String, Grown> {
        let seconds = self.seconds();
        let before = self.before.by(name, label, labels);
        let after = self.after.by(name, label, labels);
        let grown = |(key, total): (String, f64)| {
            let before = before.get(&key).copied().unwrap_or(0.0);
            let grown = Grown {
                total,
                per_second: rate(increase(before, total), seconds),
            };
            (key, grown)
        };
        after.into_iter().map(grown).collect()
    }

    /// How the counters of a name grew that have these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Grown {
        let total = self.after.sum(name, labels);
        let before = self.before.sum(name, labels);
        Grown {
            total,
            per_second: rate(increase(before, total), self.seconds()),
        }
    }

    /// The value that a share of what a histogram took in between does not exceed, as
    /// `histogram_quantile` of Prometheus estimates it; `None` where it took in nothing.
    #[must_use]
    pub fn quantile(&self, name: &str, share: f64) -> Option<f64> {
        let buckets = format!("{name}_bucket");
        let bounds = |scrape: &Scrape| scrape.by(&buckets, "le", &[]);
        let before = bounds(self.before);
        let mut counts: Vec<(f64, f64)> = bounds(self.after)
            .into_iter()
            .filter_map(|(bound, count)| {
                let before = before.get(&bound).copied().unwrap_or(0.0);
                let bound = if bound == "+Inf" {
                    f64::INFINITY
                } else {
                    bound.parse().ok()?
                };
                Some((bound, increase(before, count)))
            })
            .collect();
        counts.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let all = counts
            .last()
            .map(|(_, count)| *count)
            .filter(|all| *all > 0.0)?;
        let rank = share * all;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in counts {
            if count >= rank {
                if bound.is_infinite() || count <= below {
                    return Some(low);
                }
                return Some(low + (bound - low) * (rank - below) / (count - below));
            }
            (low, below) = (bound, count);
        }
        Some(low)
    }
}

/// A counter that is less than it was began anew.
fn increase(before: f64, after: f64) -> f64 {
    if after < before {
        after
    } else {
        after - before
    }
}

fn rate(increase: f64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        increase / seconds
    } else {
        0.0
    }
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let end = line
        .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':')
        .ok_or("it has no value")?;
    let (name, rest) = line.split_at_checked(end).ok_or("it has no value")?;
    if name.is_empty() {
        return Err("it has no name");
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = match rest.trim() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().map_err(|_| "its value is no number")?,
    };
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Names and values.
type Labels = Vec<(String, String)>;

/// The labels behind an opening brace, and what is behind the closing one.
fn labels(mut rest: &str) -> Result<(Labels, &str), &'static str> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, behind) = rest.split_once("=\"").ok_or("a label has no value")?;
        let mut value = String::new();
        let mut letters = behind.char_indices();
        let end = loop {
            match letters.next() {
                Some((at, '"')) => break at + 1,
                Some((_, '\\')) => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, letter @ ('"' | '\\'))) => value.push(letter),
                    _ => return Err("a label has an escape that there is not"),
                },
                Some((_, letter)) => value.push(letter),
                None => return Err("a label does not end"),
            }
        };
        labels.push((name.to_owned(), value));
        rest = behind.get(end..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_were_before_they_were_escaped() {
        let text = "# HELP a b\n# TYPE a counter\na_total{rule=\"no \\\"x\\\", } \\\\ y\\n\",of=\"flow\"} 7\n\
                    b 1.5e-3\nc{} +Inf\n";
        let scrape = Scrape::parse(text).unwrap();
        let only = scrape.of("a_total", &[("of", "flow")]).next().unwrap();
        assert_eq!(only.label("rule"), "no \"x\", } \\ y\n");
        assert_eq!(only.label("nothing"), "");
        assert_eq!(scrape.value("b", &[]), Some(0.0015));
        assert_eq!(scrape.value("c", &[]), Some(f64::INFINITY));
        assert_eq!(scrape.value("a_total", &[("of", "request")]), None);
    }

    #[test]
    fn what_is_no_scrape_is_refused_with_its_line() {
        for (text, what) in [
            ("a 1\n<html>", "line 2"),
            ("a", "has no value"),
            ("a{b} 1", "a label has no value"),
            ("a{b=\"c} 1", "does not end"),
            ("a{b=\"\\x\"} 1", "an escape"),
            ("a one", "no number"),
        ] {
            let error = Scrape::parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn rates_outlive_a_restart_of_the_daemon() {
        let at = |uptime: u32, flows: u32| {
            let text = format!(
                "sluice_uptime_seconds {uptime}\nf{{v=\"x\",w=\"1\"}} {flows}\nf{{v=\"x\",w=\"2\"}} 10\n"
            );
            Scrape::parse(&text).unwrap()
        };
        let (before, after) = (at(100, 50), at(110, 70));
        let grown = Between {
            before: &before,
            after: &after,
        }
        .by("f", "v", &[]);
        let wanted = Grown {
            total: 80.0,
            per_second: 2.0,
        };
        assert_eq!(grown["x"], wanted);
        let restarted = at(5, 0);
        let between = Between {
            before: &after,
            after: &restarted,
        };
        assert_eq!(between.sum("f", &[]).per_second, 2.0);
    }

    #[test]
    fn quantiles_are_of_what_came_in_between() {
        let histogram = |counts: [u32; 3]| {
            let [low, middle, all] = counts;
            let text = format!(
                "t_bucket{{le=\"0.1\"}} {low}\nt_bucket{{le=\"1.0\"}} {middle}\nt_bucket{{le=\"+Inf\"}} {all}\n"
            );
            Scrape::parse(&text).unwrap()
        };
        let (before, after) = (histogram([100, 100, 100]), histogram([100, 110, 110]));
        let between = Between {
            before: &before,
            after: &after,
        };
        assert_eq!(between.quantile("t", 0.5), Some(0.1 + 0.9 * 0.5));
        let nothing = Between {
            before: &after,
            after: &after,
        };
        assert_eq!(nothing.quantile("t", 0.5), None);
        let beyond = histogram([0, 0, 4]);
        let beyond = Between {
            before: &Scrape::default(),
            after: &beyond,
        };
        assert_eq!(beyond.quantile("t", 0.99), Some(1.0));
    }
}
