//! What the workers count, added up, and the means that they have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_abi::Reason;
use sluice_policy::Stage;
use sluice_splice::Counters as Pipes;

use super::page::{Label, Page};
use super::process::now;
use super::table::Id;
use crate::daemon::generation::Generation;
use crate::daemon::metrics::latency::{Latency, Noted};
use crate::daemon::metrics::rules::Hits;
use crate::daemon::metrics::{Moved, Shadow, Way, WorkerMetrics};
use crate::daemon::worker::Shared;
use crate::origin::Probing;

const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"), (0.999, "0.999")];

type Workers = [Arc<WorkerMetrics>];

pub(super) fn collect(page: &mut Page, workers: &Workers, generation: &Generation) {
    judged(page, workers);
    moved(page, workers);
    rules(page, generation);
    latencies(page, workers);
    limits(page, workers, generation);
}

fn sum(workers: &Workers, field: fn(&WorkerMetrics) -> &AtomicU64) -> u64 {
    let counts = workers.iter().map(|worker| field(worker));
    counts.map(|count| count.load(Ordering::Relaxed)).sum()
}

fn added<K: Ord>(counts: impl Iterator<Item = BTreeMap<K, u64>>) -> BTreeMap<K, u64> {
    let mut all = BTreeMap::new();
    for (key, count) in counts.flatten() {
        *all.entry(key).or_default() += count;
    }
    all
}

fn judged(page: &mut Page, workers: &Workers) {
    for ((verdict, reason, tls), count) in added(workers.iter().map(|worker| worker.kinds())) {
        let labels = [verdict.name().into(), reason.name().into(), tls.into()];
        page.count(Id::Flows, labels, count);
    }
    for (end, count) in added(workers.iter().map(|worker| worker.ends())) {
        page.count(Id::FlowEnds, [end.name().into()], count);
    }
    for ((verdict, reason), count) in added(workers.iter().map(|worker| worker.requests())) {
        let labels = [verdict.into(), reason.name().into()];
        page.count(Id::Requests, labels, count);
    }
    for shadow in Shadow::ALL {
        let all = workers.iter().flat_map(|worker| worker.shadows());
        let count = all.filter(|(found, _)| *found == shadow);
        let count = count.map(|(_, count)| count).sum();
        page.count(Id::ShadowFlows, [shadow.name().into()], count);
    }
    page.count(Id::FlowPanics, [], sum(workers, |worker| &worker.panics));
    let rejected = sum(workers, |worker| &worker.rejected_leaves);
    page.count(Id::RejectedLeaves, [], rejected);
    let asked = sum(workers, |worker| &worker.asked_for_credentials);
    page.count(Id::CredentialsAsked, [], asked);
}

fn moved(page: &mut Page, workers: &Workers) {
    for way in Way::ALL {
        let all = workers.iter().flat_map(|worker| worker.moved());
        let all = all.filter(|(found, _)| *found == way);
        let all = all.fold(Moved::default(), |sum, (_, moved)| Moved {
            to_origin: sum.to_origin + moved.to_origin,
            to_client: sum.to_client + moved.to_client,
        });
        for (to, bytes) in [("origin", all.to_origin), ("client", all.to_client)] {
            page.count(Id::FlowBytes, [way.name().into(), to.into()], bytes);
        }
    }
    let mut all = Pipes::default();
    for pipes in workers.iter().map(|worker| worker.pool.counters()) {
        all.lent += pipes.lent;
        all.kept += pipes.kept;
        all.created += pipes.created;
        all.refused += pipes.refused;
        all.spliced += pipes.spliced;
        all.copied += pipes.copied;
    }
    for (way, bytes) in [(Way::Splice, all.spliced), (Way::Relay, all.copied)] {
        page.count(Id::RelayedBytes, [way.name().into()], bytes);
    }
    for (state, pipes) in [("lent", all.lent), ("kept", all.kept)] {
        page.count(Id::Pipes, [state.into()], pipes as u64);
    }
    page.count(Id::PipesCreated, [], all.created);
    page.count(Id::PipeRefusals, [], all.refused);
}

fn rules(page: &mut Page, generation: &Generation) {
    let mut add = |rule: &dyn Fn() -> Label, Hits { flows, requests }| {
        page.count(Id::RuleHits, [rule(), "flow".into()], flows);
        page.count(Id::RuleHits, [rule(), "request".into()], requests);
    };
    let mut others = generation.hits.rest();
    for (name, hits) in generation.hits.counted() {
        // Two series of one name would make the whole scrape worthless.
        if &**name == OTHER {
            others.flows += hits.flows;
            others.requests += hits.requests;
            continue;
        }
        add(&|| Label::Name(Arc::clone(name)), hits);
    }
    add(&|| OTHER.into(), others);
}

/// What rules are called that are counted together.
const OTHER: &str = "other";

fn latencies(page: &mut Page, workers: &Workers) {
    let mut all = Noted::default();
    for stage in Stage::ALL
        .into_iter()
        .filter(|stage| *stage > Stage::Packet)
    {
        let mut noted = Noted::default();
        for worker in workers {
            worker.decision.of(stage).add_to(&mut noted);
            worker.decision.of(stage).add_to(&mut all);
        }
        page.durations(Id::Decision, [stage.name().into()], noted);
    }
    quantiles(page, "decision", &all);
    for (id, of, field) in LATENCIES {
        let mut noted = Noted::default();
        for worker in workers {
            field(worker).add_to(&mut noted);
        }
        quantiles(page, of, &noted);
        page.durations(id, [], noted);
    }
}

/// Everything that is measured of flows, by name; decisions by their stage.
pub(in crate::daemon) fn noted(workers: &Workers) -> Vec<(String, Noted)> {
    let sum = |field: &dyn Fn(&WorkerMetrics) -> &Latency| {
        let mut noted = Noted::default();
        for worker in workers {
            field(worker).add_to(&mut noted);
        }
        noted
    };
    let decisions = Stage::ALL
        .into_iter()
        .filter(|stage| *stage > Stage::Packet)
        .map(|stage| {
            let noted = sum(&|worker| worker.decision.of(stage));
            (format!("decision:{}", stage.name()), noted)
        });
    let others = LATENCIES
        .iter()
        .map(|(_, of, field)| ((*of).to_owned(), sum(&|worker| field(worker))));
    others.chain(decisions).collect()
}

fn quantiles(page: &mut Page, of: &'static str, noted: &Noted) {
    for (share, at) in QUANTILES {
        if let Some(seconds) = noted.quantile(share) {
            page.measure(Id::Quantiles, [of.into(), at.into()], seconds);
        }
    }
}

type LatencyOf = fn(&WorkerMetrics) -> &Latency;

const LATENCIES: [(Id, &str, LatencyOf); 7] = [
    (Id::Peek, "peek", |worker| &worker.peek),
    (Id::Connect, "connect", |worker| &worker.connect),
    (Id::ServerHello, "server_hello", |worker| {
        &worker.server_hello
    }),
    (Id::OriginHandshake, "origin_handshake", |worker| {
        &worker.origin_handshake
    }),
    (Id::ClientHandshake, "client_handshake", |worker| {
        &worker.client_handshake
    }),
    (Id::Mint, "mint", |worker| &worker.mint),
    (Id::Request, "request", |worker| &worker.request),
];

/// Every limit has its series from the beginning, so that the first time it is reached shows.
fn limits(page: &mut Page, workers: &Workers, generation: &Generation) {
    let ended = |reason: Reason| -> u64 {
        let counts = workers.iter().map(|worker| worker.ends());
        counts.filter_map(|ends| ends.get(&reason).copied()).sum()
    };
    let leaves = generation.means.leaves.as_ref();
    let minter = leaves.map(|leaves| leaves.minter.counts());
    let probes = generation.means.probes.as_ref();
    let probes = probes.map(|probes| probes.counts()).unwrap_or_default();
    for (limit, count) in [
        ("flows", ended(Reason::GatewayFlowLimit)),
        ("client_flows", ended(Reason::GatewayClientLimit)),
        ("accept", sum(workers, |worker| &worker.accept_pauses)),
        ("mint_rate", minter.unwrap_or_default().limited),
        ("probe_rate", probes.of(Probing::Rate)),
        ("client_probe_rate", probes.of(Probing::ClientRate)),
        ("probes", probes.of(Probing::Busy)),
    ] {
        page.count(Id::LimitHits, [limit.into()], count);
    }
}

/// CA, leaves and probes. Their counters begin anew where a reload makes them anew.
pub(super) fn means(page: &mut Page, shared: &Shared, generation: &Generation) {
    let remembered = shared.memory.rejected.count();
    page.count(Id::RejectedRemembered, [], remembered as u64);
    if let Some(leaves) = &generation.means.leaves {
        let now = now();
        let authorities = leaves.minter.authorities();
        let signing = authorities.signing(now).chain().not_after();
        page.measure(Id::CaNotAfter, ["signing".into()], signing as f64);
        let next = authorities
            .chains()
            .find(|(from, _)| from.is_some_and(|from| from > now));
        if let Some((_, next)) = next {
            page.measure(Id::CaNotAfter, ["next".into()], next.not_after() as f64);
        }
        let counts = leaves.minter.counts();
        for (result, count) in [("minted", counts.minted), ("refused", counts.limited)] {
            page.count(Id::Leaves, [result.into()], count);
        }
        page.count(Id::LeafCacheEntries, [], counts.cached as u64);
        page.count(Id::LeafCacheLimit, [], counts.limit as u64);
        page.count(Id::LeafCacheHits, [], counts.hits);
        page.count(Id::LeafCacheMisses, [], counts.missed);
        page.count(Id::LeafCacheEvictions, [], counts.evicted);
    }
    if let Some(probes) = &generation.means.probes {
        let counts = probes.counts();
        for probing in Probing::ALL {
            page.count(Id::Probes, [probing.name().into()], counts.of(probing));
        }
        page.count(Id::ProbesActive, [], counts.flights as u64);
        page.count(Id::ProbesKnown, [], counts.entries as u64);
    }
}
