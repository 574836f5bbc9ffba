//! `/api/summary`: how the daemon fares, and what became of flows in the last minutes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::is_alive;
use crate::daemon::export::{self, Sources};
use crate::daemon::flow::unix_seconds;
use crate::daemon::metrics::{Verdict, Way, WorkerMetrics};
use crate::daemon::record::rfc3339;
use crate::daemon::records::{Fill, HostCount, SinkStatus};

/// Where it is told how the daemon fares.
pub const SUMMARY: &str = "/api/summary";

/// The version of what [`SUMMARY`], [`super::api::RECORDS`] and [`super::events::EVENTS`] answer. It
/// changes where a field loses its meaning; a field that is new does not change it.
pub const VERSION: u32 = 1;

/// Time between two samples.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// Samples that are kept: a quarter of an hour.
const SAMPLES: usize = 15 * 60 / 5 + 1;
/// Rules that are told, those that decided most first.
const RULES: usize = 100;
/// Reasons that are told.
const REASONS: usize = 20;
/// Shares of a latency's curve.
const SHARES: [f64; 9] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];

/// What GET of [`SUMMARY`] answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    /// [`VERSION`].
    pub v: u32,
    /// The version of the daemon.
    pub version: String,
    /// When this was made, in RFC 3339 form.
    pub time: String,
    /// Seconds since the daemon began.
    pub uptime_seconds: u64,
    /// The generation in force.
    pub generation: u64,
    /// Whether flows are accepted and judged.
    pub ready: bool,
    /// Whether every worker has had a turn lately.
    pub alive: bool,
    /// The worker threads, by number.
    pub workers: Vec<WorkerState>,
    /// Flows that there are.
    pub active_flows: u64,
    /// What became of flows, in steps of the last quarter of an hour, the oldest first.
    pub intervals: Vec<Interval>,
    /// What most flows of that time came to, and why.
    pub reasons: Vec<ReasonCount>,
    /// The hosts of most records that are kept and tell of a block.
    pub blocked_hosts: Vec<HostCount>,
    /// The hosts of most records that are kept and tell of something decrypted.
    pub decrypted_hosts: Vec<HostCount>,
    /// Rules that decided something since they are in force, those that decided most first.
    pub rules: Vec<RuleCount>,
    /// Rules that are counted, those without a hit among them.
    pub rule_count: usize,
    /// How long things take, since the daemon began.
    pub latencies: Vec<Curve>,
    /// The kernel programs; `None` where the daemon runs without.
    pub kernel: Option<Kernel>,
    /// Records that are kept for the page.
    pub records: Fill,
    /// Pages that were left behind because they read too slowly.
    pub slow_pages: u64,
    /// Records that sinks have lost.
    pub records_lost: u64,
    /// Whether new flows are refused because records cannot be written.
    pub refuses: bool,
    /// The sinks of access records.
    pub sinks: Vec<SinkStatus>,
    /// Who is asked about credentials.
    pub providers: Vec<Provider>,
    /// Addresses that stand for somebody for a time.
    pub addresses: Addresses,
    /// The CA; `None` where there is none.
    pub ca: Option<Ca>,
}

/// A worker thread.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkerState {
    /// Its number.
    pub number: usize,
    /// Seconds since it last had a turn.
    pub idle_seconds: u64,
}

/// What happened between two samples.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Interval {
    /// Its end, in seconds since 1970.
    pub at: i64,
    /// Its length in seconds.
    pub seconds: f64,
    /// Flows that ended, by verdict.
    pub flows: BTreeMap<String, u64>,
    /// Requests that were judged, by verdict.
    pub requests: BTreeMap<String, u64>,
    /// Bytes: of "splice" as they moved, of "intercept" as its flows ended.
    pub bytes: BTreeMap<String, u64>,
    /// Flows that there were at its end.
    pub active: u64,
}

/// How many flows came to the same.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReasonCount {
    /// What became of them.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub flows: u64,
}

/// What a rule decided.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RuleCount {
    /// Its name.
    pub name: String,
    /// Flows.
    pub flows: u64,
    /// Requests.
    pub requests: u64,
}

/// How long something takes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Curve {
    /// What: "peek", "connect" and so on; decisions by stage as "decision:hello".
    pub of: String,
    /// How often it happened.
    pub count: u64,
    /// Shares, and the seconds that such a share did not exceed.
    pub quantiles: Vec<Quantile>,
}

/// A point of a [`Curve`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Quantile {
    /// The share, between 0 and 1.
    pub at: f64,
    /// Seconds.
    pub seconds: f64,
}

/// How the kernel programs fare.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Kernel {
    /// Why nothing can be said of them; `None` where it can.
    pub error: Option<String>,
    /// Devices that have them.
    pub devices: Vec<String>,
    /// The number of their policy.
    pub generation: u64,
    /// Seconds since the daemon's last sign of life.
    pub heartbeat_age_seconds: Option<f64>,
    /// Seconds after which it counts as gone.
    pub heartbeat_limit_seconds: f64,
    /// Whether steered flows are forwarded while it is gone.
    pub fail_open: bool,
    /// Events that found no place in the ring.
    pub events_lost: u64,
    /// Packets that were dropped or rejected.
    pub refused_packets: u64,
}

/// Somebody who is asked about credentials.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Provider {
    /// The name.
    pub name: String,
    /// The kind, as in the configuration.
    pub kind: String,
    /// "up", "down" or "untried".
    pub state: String,
    /// Why it does not answer.
    pub why: Option<String>,
}

/// How many addresses stand for somebody.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Addresses {
    /// Those that somebody told.
    pub told: usize,
    /// Those that were learned from credentials.
    pub learned: usize,
}

/// The CA that signs leaves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ca {
    /// Its end, in seconds since 1970.
    pub not_after: i64,
    /// Seconds until then; negative once it is over.
    pub seconds_left: i64,
}

type Words = BTreeMap<&'static str, u64>;

/// Counters at one moment.
#[derive(Clone, Debug)]
struct Sample {
    taken: Instant,
    at: i64,
    kinds: BTreeMap<(&'static str, &'static str), u64>,
    requests: Words,
    bytes: Words,
    active: u64,
}

/// The samples of the last quarter of an hour.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<VecDeque<Sample>>);

impl Samples {
    /// Takes one.
    pub(super) fn take(&self, sources: &Sources) {
        let sample = Sample::now(sources);
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// What happened between them and until now, and what flows of all that time came to.
    fn told(&self, now: &Sample) -> (Vec<Interval>, Vec<ReasonCount>) {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<&Sample> = samples.iter().chain([now]).collect();
        let intervals = all
            .windows(2)
            .filter_map(|pair| match pair {
                [before, after] => Some(after.since(before)),
                _ => None,
            })
            .collect();
        let first = all.first().map(|first| &first.kinds);
        let mut reasons: Vec<ReasonCount> = now
            .kinds
            .iter()
            .map(|((verdict, reason), count)| {
                let before = first.and_then(|kinds| kinds.get(&(*verdict, *reason)));
                ReasonCount {
                    verdict: (*verdict).into(),
                    reason: (*reason).into(),
                    flows: count.saturating_sub(before.copied().unwrap_or_default()),
                }
            })
            .filter(|count| count.flows > 0)
            .collect();
        reasons.sort_by_key(|one| Reverse(one.flows));
        reasons.truncate(REASONS);
        (intervals, reasons)
    }
}

impl Sample {
    fn now(sources: &Sources) -> Self {
        let workers = &sources.workers;
        let mut kinds = BTreeMap::new();
        let mut requests = Words::new();
        let mut bytes = Words::new();
        for worker in workers {
            for ((verdict, reason, _), count) in worker.kinds() {
                *kinds.entry((verdict.name(), reason.name())).or_default() += count;
            }
            for ((verdict, _), count) in worker.requests() {
                *requests.entry(verdict).or_default() += count;
            }
            let pipes = worker.pool.counters();
            *bytes.entry(Verdict::Splice.name()).or_default() += pipes.spliced + pipes.copied;
            *bytes.entry(Verdict::Intercept.name()).or_default() += intercepted(worker);
        }
        Self {
            taken: Instant::now(),
            at: unix_seconds(SystemTime::now()),
            kinds,
            requests,
            bytes,
            active: sources.shared.limits.active() as u64,
        }
    }

    fn since(&self, before: &Self) -> Interval {
        let grown = |now: &Words, before: &Words| {
            let grown = now.iter().map(|(word, count)| {
                let before = before.get(word).copied().unwrap_or_default();
                ((*word).to_owned(), count.saturating_sub(before))
            });
            grown.collect()
        };
        Interval {
            at: self.at,
            seconds: self.taken.duration_since(before.taken).as_secs_f64(),
            flows: grown(&self.verdicts(), &before.verdicts()),
            requests: grown(&self.requests, &before.requests),
            bytes: grown(&self.bytes, &before.bytes),
            active: self.active,
        }
    }

    fn verdicts(&self) -> Words {
        let mut sums = Words::new();
        for ((verdict, _), count) in &self.kinds {
            *sums.entry(*verdict).or_default() += count;
        }
        sums
    }
}

fn intercepted(worker: &WorkerMetrics) -> u64 {
    let moved = worker.moved();
    let of_intercept = moved.iter().filter(|(way, _)| *way == Way::Intercept);
    of_intercept
        .map(|(_, moved)| moved.to_origin + moved.to_client)
        .sum()
}

/// How the daemon fares now.
pub(super) fn summary(sources: &Sources, samples: &Samples, slow_pages: u64) -> Summary {
    let shared = &sources.shared;
    let generation = shared.current.get();
    let uptime = shared.uptime();
    let (intervals, reasons) = samples.told(&Sample::now(sources));
    let access = &shared.access;
    let [blocked_hosts, decrypted_hosts] = access.recent().hosts();
    let workers = sources.workers.iter().enumerate().map(|(number, worker)| {
        let last = worker.alive.load(Ordering::Relaxed);
        WorkerState {
            number,
            idle_seconds: uptime.saturating_sub(last),
        }
    });
    let mut rules: Vec<RuleCount> = generation
        .hits
        .counted()
        .map(|(name, hits)| RuleCount {
            name: name.to_string(),
            flows: hits.flows,
            requests: hits.requests,
        })
        .collect();
    let rule_count = rules.len();
    rules.retain(|rule| rule.flows + rule.requests > 0);
    rules.sort_by_key(|rule| Reverse(rule.flows + rule.requests));
    rules.truncate(RULES);
    let [learned, told] = shared.addresses.count(Instant::now());
    let wall = SystemTime::now();
    let ca = generation.means.leaves.as_ref().map(|leaves| {
        let now = unix_seconds(wall);
        let not_after = leaves.minter.authorities().signing(now).chain().not_after();
        Ca {
            not_after,
            seconds_left: not_after.saturating_sub(now),
        }
    });
    let providers = generation.providers.status().into_iter().map(|one| {
        let state = serde_json::to_value(one.state).unwrap_or_default();
        Provider {
            name: one.name,
            kind: one.kind,
            state: state.as_str().unwrap_or_default().to_ascii_lowercase(),
            why: one.why,
        }
    });
    Summary {
        v: VERSION,
        version: env!("CARGO_PKG_VERSION").into(),
        time: rfc3339(wall),
        uptime_seconds: uptime,
        generation: generation.number,
        ready: shared.ready.load(Ordering::Relaxed),
        alive: is_alive(sources),
        workers: workers.collect(),
        active_flows: shared.limits.active() as u64,
        intervals,
        reasons,
        blocked_hosts,
        decrypted_hosts,
        rules,
        rule_count,
        latencies: curves(&sources.workers),
        kernel: sources.steering.as_ref().map(kernel),
        records: access.recent().fill(),
        slow_pages,
        records_lost: access.lost(),
        refuses: access.refuses(),
        sinks: access.sinks(),
        providers: providers.collect(),
        addresses: Addresses { told, learned },
        ca,
    }
}

fn curves(workers: &[Arc<WorkerMetrics>]) -> Vec<Curve> {
    let noted = export::noted(workers).into_iter();
    let happened = noted.filter(|(_, noted)| noted.count() > 0);
    happened
        .map(|(of, noted)| Curve {
            of,
            count: noted.count(),
            quantiles: SHARES
                .into_iter()
                .filter_map(|at| {
                    let seconds = noted.quantile(at)?;
                    Some(Quantile { at, seconds })
                })
                .collect(),
        })
        .collect()
}

fn kernel(steering: &sluice_steer::Steering) -> Kernel {
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let devices = steering.attached().into_iter().map(|one| one.device);
    let mut told = Kernel {
        error: None,
        devices: devices.collect(),
        generation: 0,
        heartbeat_age_seconds: None,
        heartbeat_limit_seconds: 0.0,
        fail_open: false,
        events_lost: 0,
        refused_packets: 0,
    };
    let read = steering
        .vitals()
        .and_then(|vitals| Ok((vitals, steering.counters()?)));
    match read {
        Ok((vitals, counters)) => {
            told.generation = vitals.generation.into();
            told.heartbeat_age_seconds = vitals.heartbeat_age_ns.map(seconds);
            told.heartbeat_limit_seconds = seconds(vitals.heartbeat_limit_ns);
            told.fail_open = vitals.fail_open;
            told.events_lost = counters.events.lost;
            let refused = counters
                .packets
                .iter()
                .filter(|counter| matches!(counter.verdict.name(), "drop" | "reject"));
            told.refused_packets = refused.map(|counter| counter.packets).sum();
        }
        Err(error) => told.error = Some(error.to_string()),
    }
    told
}
