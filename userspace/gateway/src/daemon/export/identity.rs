//! Metrics of who asks clients who they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto::{Bucket, Histogram, MetricType};

use super::{Page, labelled};
use crate::identity::providers::{Counters, LATENCY_BOUNDS, Providers, State};

impl Page {
    pub(super) fn identity(&mut self, providers: &Providers) {
        let mut outcomes = Vec::new();
        let mut times = Vec::new();
        for (name, counters) in providers.counters() {
            for (outcome, count) in [
                ("ok", &counters.ok),
                ("cached", &counters.cached),
                ("refused", &counters.refused),
                ("unavailable", &counters.unavailable),
            ] {
                let labels = [("provider", name), ("outcome", outcome)];
                outcomes.push((labels, read(count)));
            }
            let mut metric = labelled(&[("provider", name)]);
            metric.set_histogram(histogram(counters));
            times.push(metric);
        }
        if outcomes.is_empty() {
            return;
        }
        self.counter(
            "sluice_authentications_total",
            "Credentials, by the provider that was asked about them and what it said.",
            outcomes
                .iter()
                .map(|(labels, count)| (labels.as_slice(), *count)),
        );
        let totals = providers.totals();
        self.counter(
            "sluice_credentials_unread_total",
            "Credentials that no provider was asked about.",
            [
                ([("why", "slowed")].as_slice(), read(&totals.slowed)),
                ([("why", "malformed")].as_slice(), read(&totals.malformed)),
            ],
        );
        let health = providers.status();
        let labels: Vec<_> = health
            .iter()
            .map(|one| [("provider", one.name.as_str())])
            .collect();
        self.gauge(
            "sluice_provider_down",
            "1 where a provider does not answer.",
            labels.iter().zip(&health).map(|(labels, one)| {
                let down = u8::from(one.state == State::Down);
                (labels.as_slice(), f64::from(down))
            }),
        );
        self.family(
            "sluice_provider_seconds",
            "Time that a provider took to answer.",
            MetricType::HISTOGRAM,
            times,
        );
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn histogram(counters: &Counters) -> Histogram {
    let mut histogram = Histogram::default();
    let mut below = 0;
    let mut buckets = Vec::new();
    for (bound, class) in LATENCY_BOUNDS.iter().zip(&counters.latency) {
        below += read(class);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(Duration::from_millis(*bound).as_secs_f64());
        bucket.set_cumulative_count(below);
        buckets.push(bucket);
    }
    let all: u64 = counters.latency.iter().map(read).sum();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(all);
    let sum = Duration::from_micros(read(&counters.latency_sum));
    histogram.set_sample_sum(sum.as_secs_f64());
    histogram
}
