//! The metrics as Prometheus reads them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::proto::{Quantile, Summary};
use prometheus::{Encoder, TextEncoder};
use sluice_splice::Counters as Pipes;
use sluice_steer::{Counters, Steering};

use super::metrics::{FlowKind, Latency, Shadow, WorkerMetrics};
use super::worker::Shared;

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// What metrics are made of.
#[derive(Clone)]
pub struct Sources {
    /// What the workers share.
    pub shared: Arc<Shared>,
    /// What each worker counts.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// The kernel side; `None` where the daemon runs without one.
    pub steering: Option<Steering>,
    /// Reloads that took effect, and reloads that were refused.
    pub reloads: Arc<[AtomicU64; 2]>,
}

impl Sources {
    /// Whether every worker has closed its listeners.
    #[must_use]
    pub fn accepts_no_more(&self) -> bool {
        self.workers
            .iter()
            .all(|worker| worker.closed.load(Ordering::Relaxed))
    }
}

/// Every metric in the Prometheus text format.
///
/// # Errors
///
/// The kernel refused to read its counters.
pub fn text(sources: &Sources) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut page = Page::default();
    page.daemon(&sources.shared, &sources.reloads);
    page.flows(&sources.workers);
    page.pipes(&sources.workers);
    if let Some(steering) = &sources.steering {
        page.kernel(&steering.counters()?);
    }
    let mut out = Vec::with_capacity(16 << 10);
    TextEncoder::new().encode(&page.0, &mut out)?;
    Ok(out)
}

#[derive(Default)]
struct Page(Vec<MetricFamily>);

impl Page {
    fn daemon(&mut self, shared: &Shared, reloads: &[AtomicU64; 2]) {
        let [taken, refused] = reloads;
        self.gauge(
            "sluice_build_info",
            "Always 1; the label tells the version.",
            [([("version", env!("CARGO_PKG_VERSION"))].as_slice(), 1.0)],
        );
        let number = shared.current.number() as f64;
        self.gauge(
            "sluice_generation",
            "Number of the policy in force.",
            [(NONE, number)],
        );
        let active = shared.limits.active() as f64;
        self.gauge(
            "sluice_active_flows",
            "Flows that are being served.",
            [(NONE, active)],
        );
        self.counter(
            "sluice_reloads_total",
            "Reloads of the configuration, by what became of them.",
            [
                (
                    [("result", "taken")].as_slice(),
                    taken.load(Ordering::Relaxed),
                ),
                (
                    [("result", "refused")].as_slice(),
                    refused.load(Ordering::Relaxed),
                ),
            ],
        );
        let rejected = shared.memory.rejected.count(Instant::now());
        self.gauge(
            "sluice_rejected_ca_remembered",
            "Clients and places of which it is remembered that the CA was refused.",
            [(NONE, rejected as f64)],
        );
        self.counter(
            "sluice_access_records_lost_total",
            "Access records that could not be written.",
            [(NONE, shared.access.lost())],
        );
    }

    fn flows(&mut self, workers: &[Arc<WorkerMetrics>]) {
        let mut kinds = BTreeMap::<FlowKind, u64>::new();
        let mut ends = BTreeMap::new();
        for worker in workers {
            for (kind, count) in worker.kinds() {
                *kinds.entry(kind).or_default() += count;
            }
            for (end, count) in worker.ends() {
                *ends.entry(end.name()).or_default() += count;
            }
        }
        let kinds: Vec<_> = kinds
            .iter()
            .map(|((verdict, reason, tls), count)| {
                (
                    [
                        ("verdict", verdict.name()),
                        ("reason", reason.name()),
                        ("tls", *tls),
                    ],
                    *count,
                )
            })
            .collect();
        self.counter(
            "sluice_flows_total",
            "Flows that are over, by verdict, why, and what is known of the negotiation.",
            kinds
                .iter()
                .map(|(labels, count)| (labels.as_slice(), *count)),
        );
        let ends: Vec<_> = ends
            .iter()
            .map(|(end, count)| ([("reason", *end)], *count))
            .collect();
        self.counter(
            "sluice_flow_ends_total",
            "Flows that are over, by what ended them.",
            ends.iter()
                .map(|(labels, count)| (labels.as_slice(), *count)),
        );
        let shadows = Shadow::ALL.map(|shadow| {
            let all = workers.iter().flat_map(|worker| worker.shadows());
            let count = all.filter(|(found, _)| *found == shadow);
            (
                [("result", shadow.name())],
                count.map(|(_, count)| count).sum(),
            )
        });
        self.counter(
            "sluice_shadow_flows_total",
            "Flows that are over, by whether the shadow policy would have done the same.",
            shadows
                .iter()
                .map(|(labels, count)| (labels.as_slice(), *count)),
        );
        let sum = |field: fn(&WorkerMetrics) -> &AtomicU64| {
            workers
                .iter()
                .map(|worker| field(worker).load(Ordering::Relaxed))
                .sum::<u64>()
        };
        self.counter(
            "sluice_flow_bytes_total",
            "Bytes that the peer took, of flows that are over.",
            [
                (
                    [("to", "origin")].as_slice(),
                    sum(|worker| &worker.to_origin),
                ),
                (
                    [("to", "client")].as_slice(),
                    sum(|worker| &worker.to_client),
                ),
            ],
        );
        self.counter(
            "sluice_flow_panics_total",
            "Flows that a fault of sluice itself ended.",
            [(NONE, sum(|worker| &worker.panics))],
        );
        self.counter(
            "sluice_accept_pauses_total",
            "Times that accepting paused for want of descriptors or memory.",
            [(NONE, sum(|worker| &worker.accept_pauses))],
        );
        self.counter(
            "sluice_proxy_credentials_asked_total",
            "Requests to proxy listeners that were answered by asking who makes them.",
            [(NONE, sum(|worker| &worker.asked_for_credentials))],
        );
        self.counter(
            "sluice_rejected_leaves_total",
            "Leaves that clients refused though they were in order.",
            [(NONE, sum(|worker| &worker.rejected_leaves))],
        );
        let mut requests = BTreeMap::new();
        for (kind, count) in workers.iter().flat_map(|worker| worker.requests()) {
            *requests.entry(kind).or_insert(0) += count;
        }
        let requests: Vec<_> = requests
            .iter()
            .map(|((verdict, reason), count)| {
                ([("verdict", *verdict), ("reason", reason.name())], *count)
            })
            .collect();
        self.counter(
            "sluice_requests_total",
            "Requests of decrypted and cleartext flows, by what became of them and why.",
            requests
                .iter()
                .map(|(labels, count)| (labels.as_slice(), *count)),
        );
        for (name, help, field) in LATENCIES {
            self.summary(name, help, workers.iter().map(field));
        }
    }

    fn pipes(&mut self, workers: &[Arc<WorkerMetrics>]) {
        let mut all = Pipes::default();
        for pipes in workers.iter().map(|worker| worker.pool.counters()) {
            all.lent += pipes.lent;
            all.kept += pipes.kept;
            all.created += pipes.created;
            all.refused += pipes.refused;
            all.spliced += pipes.spliced;
            all.copied += pipes.copied;
        }
        self.counter(
            "sluice_relayed_bytes_total",
            "Bytes relayed so far, by whether they left the kernel.",
            [
                ([("path", "splice")].as_slice(), all.spliced),
                ([("path", "copy")].as_slice(), all.copied),
            ],
        );
        self.gauge(
            "sluice_pipes",
            "Open pipes, by whether a flow has them.",
            [
                ([("state", "lent")].as_slice(), all.lent as f64),
                ([("state", "kept")].as_slice(), all.kept as f64),
            ],
        );
        self.counter(
            "sluice_pipes_created_total",
            "Pipes made.",
            [(NONE, all.created)],
        );
        self.counter(
            "sluice_pipe_refusals_total",
            "Times that bytes were copied because there was no pipe to be had.",
            [(NONE, all.refused)],
        );
    }

    fn kernel(&mut self, counters: &Counters) {
        let labels: Vec<_> = counters
            .packets
            .iter()
            .map(|counter| {
                [
                    ("hook", counter.hook.name()),
                    ("verdict", counter.verdict.name()),
                    ("reason", counter.reason.name()),
                ]
            })
            .collect();
        let labelled = || labels.iter().map(<[_; 3]>::as_slice).zip(&counters.packets);
        self.counter(
            "sluice_packets_total",
            "Packets that the kernel programs judged.",
            labelled().map(|(labels, counter)| (labels, counter.packets)),
        );
        self.counter(
            "sluice_packet_bytes_total",
            "Bytes of the packets that the kernel programs judged, from the network header on.",
            labelled().map(|(labels, counter)| (labels, counter.bytes)),
        );
        self.counter(
            "sluice_events_total",
            "Verdicts that were to be told, by what became of the event.",
            [
                ([("result", "sent")].as_slice(), counters.events.sent),
                ([("result", "sampled")].as_slice(), counters.events.sampled),
                ([("result", "lost")].as_slice(), counters.events.lost),
            ],
        );
    }

    fn counter<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], u64)>,
    ) {
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            let mut metric = labelled(labels);
            metric.set_counter(counter);
            metric
        });
        self.family(name, help, MetricType::COUNTER, metrics.collect());
    }

    fn gauge<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], f64)>,
    ) {
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = labelled(labels);
            metric.set_gauge(gauge);
            metric
        });
        self.family(name, help, MetricType::GAUGE, metrics.collect());
    }

    fn summary<'a>(
        &mut self,
        name: &str,
        help: &str,
        latencies: impl Iterator<Item = &'a Latency>,
    ) {
        let Some(mut all) = Latency::histogram() else {
            return;
        };
        let sum: Duration = latencies.map(|latency| latency.merge_into(&mut all)).sum();
        let mut summary = Summary::default();
        summary.set_sample_count(all.len());
        summary.set_sample_sum(sum.as_secs_f64());
        summary.set_quantile(QUANTILES.map(|at| quantile(&all, at)).to_vec());
        let mut metric = Metric::default();
        metric.set_summary(summary);
        self.family(name, help, MetricType::SUMMARY, vec![metric]);
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        // The encoder takes no family without a metric.
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

type Labels<'a> = &'a [(&'a str, &'a str)];

const NONE: Labels<'static> = &[];

type LatencyOf = fn(&Arc<WorkerMetrics>) -> &Latency;

const LATENCIES: [(&str, &str, LatencyOf); 8] = [
    (
        "sluice_peek_seconds",
        "From the first look at a flow until the client's first bytes are known.",
        |worker| &worker.peek,
    ),
    (
        "sluice_decision_seconds",
        "Time that the policy takes.",
        |worker| &worker.decision,
    ),
    (
        "sluice_connect_seconds",
        "Time until the origin accepts.",
        |worker| &worker.connect,
    ),
    (
        "sluice_server_hello_seconds",
        "From the ClientHello being sent to the origin until its answer is known.",
        |worker| &worker.server_hello,
    ),
    (
        "sluice_origin_handshake_seconds",
        "Handshakes of the gateway's own with origins, for interception.",
        |worker| &worker.origin_handshake,
    ),
    (
        "sluice_client_handshake_seconds",
        "Handshakes of clients with the gateway.",
        |worker| &worker.client_handshake,
    ),
    (
        "sluice_mint_seconds",
        "Time until a leaf is there, be it minted or cached.",
        |worker| &worker.mint,
    ),
    (
        "sluice_request_seconds",
        "From a request's head until that of its answer.",
        |worker| &worker.request,
    ),
];

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = Metric::default();
    metric.set_label(pairs.collect());
    metric
}

fn quantile(all: &Histogram<u64>, at: f64) -> Quantile {
    let mut quantile = Quantile::default();
    quantile.set_quantile(at);
    let nanoseconds = if all.is_empty() {
        f64::NAN
    } else {
        all.value_at_quantile(at) as f64
    };
    quantile.set_value(nanoseconds / 1e9);
    quantile
}
