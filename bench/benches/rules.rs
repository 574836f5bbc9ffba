//! Time to decide a flow and to compile a policy; `peers` compares with what others need.
#![expect(
    clippy::expect_used,
    reason = "rules that do not compile leave nothing to measure"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluice_guard::rules::{self, Mix};
use sluice_policy::{Decision, Facts, Policy, RuleSet, Scratch};

/// Different names in a mix, half of them in no list.
const FLOWS: usize = 65_536;

fn policy(set: &RuleSet) -> Policy {
    Policy::compile(set).expect("rules that compile")
}

/// One number for a decision, so that a whole mix has a sum to be checked.
fn code(decision: &Decision) -> u64 {
    match decision {
        Decision::Decided(decided) => decided.outcome.name().len() as u64,
        Decision::Undecided(undecided) => 100 + undecided.next.map_or(0, |stage| stage as u64),
    }
}

/// What the slow way comes to: every rule asked by itself, every possible outcome found.
fn expected(policy: &Policy, flows: &[Facts<'_>]) -> u64 {
    let mut scratch = Scratch::default();
    flows
        .iter()
        .map(|facts| code(&policy.weigh(facts, &mut scratch)))
        .sum()
}

fn decide(criterion: &mut Criterion, title: &str, policy: &Policy, mix: &Mix) {
    let flows = mix.facts();
    let expected = expected(policy, &flows);
    let mut scratch = Scratch::default();
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(flows.len() as u64));
    group.bench_function(title, |bencher| {
        bencher.iter(|| {
            let sum: u64 = flows
                .iter()
                .map(|facts| code(&policy.decide(black_box(facts), &mut scratch)))
                .sum();
            assert_eq!(sum, expected, "a decision differs");
        });
    });
    group.finish();
}

fn decisions(criterion: &mut Criterion) {
    let recipe = policy(&rules::recipe().expect("the recipe"));
    decide(criterion, "recipe", &recipe, &Mix::new(FLOWS, 1000, 1000));
    for (count, names, nets) in [
        (10, 0, 0),
        (10, 1000, 1000),
        (1000, 1000, 1000),
        (10_000, 0, 0),
        (10_000, 1000, 100_000),
        (10_000, 100_000, 100_000),
        (10_000, 1_000_000, 100_000),
    ] {
        let set = rules::large(count, names, nets).expect("a large policy");
        let title = format!("{count} rules, {names} domains, {nets} CIDRs");
        let large = policy(&set);
        let (domains, bytes) = large.domains();
        if let Some(each) = bytes.checked_div(domains) {
            println!("{title}: {each} bytes a domain");
        }
        decide(criterion, &title, &large, &Mix::new(FLOWS, names, nets));
    }
}

fn compilation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for (count, names, nets) in [(3, 0, 0), (1000, 1000, 1000), (10_000, 1_000_000, 100_000)] {
        let set = rules::large(count, names, nets).expect("a large policy");
        group.bench_function(
            format!("{count} rules, {names} domains, {nets} CIDRs"),
            |bencher| bencher.iter_batched(|| &set, policy, BatchSize::PerIteration),
        );
    }
    group.bench_function("read a million domains", |bencher| {
        bencher.iter(|| rules::domains(0..1_000_000).expect("names"));
    });
    group.finish();
}

criterion_group!(benches, decisions, compilation);
criterion_main!(benches);
