//! Time to decide a flow.
#![expect(
    clippy::expect_used,
    reason = "rules that do not compile leave nothing to measure"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_bench::rules;
use sluice_policy::{Policy, RuleSet};

fn policy(set: &RuleSet) -> Policy {
    Policy::compile(set).expect("rules that compile")
}

fn decisions(criterion: &mut Criterion) {
    let recipe = policy(&rules::recipe().expect("the recipe"));
    let mut group = criterion.benchmark_group("rules");
    for (title, facts) in [
        ("recipe, hello", rules::hello("www.site999.example")),
        ("recipe, not TLS", rules::not_tls()),
        ("recipe, undecided", rules::opened()),
    ] {
        group.bench_function(title, |bencher| {
            bencher.iter(|| recipe.decide(black_box(&facts)));
        });
    }
    for count in [10, 100, 1000] {
        let hosts = policy(&rules::hosts(count).expect("rules for hosts"));
        let facts = rules::hello("www.none.example");
        group.bench_function(format!("{count} rules for hosts, none holds"), |bencher| {
            bencher.iter(|| hosts.decide(black_box(&facts)));
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
