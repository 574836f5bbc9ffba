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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::{Encoder, TextEncoder};

    use super::*;
    use crate::identity::htpasswd::Users;
    use crate::identity::settings::{Htpasswd, Kind, Provider, Settings, Unavailable};

    /// The lines of a page that are no comments.
    fn lines(providers: &Providers) -> Vec<String> {
        let mut page = Page::default();
        page.identity(providers);
        let mut out = Vec::new();
        TextEncoder::new().encode(&page.0, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn what_providers_said_is_exported() {
        assert!(lines(&Providers::default()).is_empty());
        let hash = "alice:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC";
        let files = Htpasswd {
            file: "staff".into(),
            groups: None,
            users: Users::read(hash, &mut Vec::new(), 1),
        };
        let settings = Settings {
            providers: vec![Provider {
                name: "staff".into(),
                kind: Kind::Htpasswd(Arc::new(files)),
                cache: Duration::from_secs(60),
                unavailable: Unavailable::Block,
            }],
            ..Settings::default()
        };
        let providers = Providers::new(&settings).unwrap();
        let asks = providers.authenticator(&["staff"]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        // Of alice: right twice, wrong, and what is none.
        for shown in [
            "YWxpY2U6cmlnaHQ=",
            "YWxpY2U6cmlnaHQ=",
            "YWxpY2U6d3Jvbmc=",
            "!",
        ] {
            let value = format!("Basic {shown}").parse().unwrap();
            let from = "192.0.2.7".parse().unwrap();
            runtime.block_on(asks.authenticate(from, Some(&value)));
        }
        let lines = lines(&providers);
        for expected in [
            "sluice_authentications_total{provider=\"staff\",outcome=\"ok\"} 1",
            "sluice_authentications_total{provider=\"staff\",outcome=\"cached\"} 1",
            "sluice_authentications_total{provider=\"staff\",outcome=\"refused\"} 1",
            "sluice_authentications_total{provider=\"staff\",outcome=\"unavailable\"} 0",
            "sluice_credentials_unread_total{why=\"malformed\"} 1",
            "sluice_credentials_unread_total{why=\"slowed\"} 0",
            "sluice_provider_down{provider=\"staff\"} 0",
            "sluice_provider_seconds_bucket{provider=\"staff\",le=\"+Inf\"} 2",
            "sluice_provider_seconds_count{provider=\"staff\"} 2",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{lines:#?}");
        }
    }
}
