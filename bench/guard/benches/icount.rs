//! The guard on instructions: each case is run once under callgrind, without what prepares it, and
//! fails where it takes more than 2 % above the count that is committed here. Counts repeat exactly
//! on one compiler, whatever else the machine does. A wanted rise changes the number and its reason
//! in the commit that brings it; after a fall the number is lowered, so that it stays so.
//!
//! `cargo xtask bench guard` runs it. That it can fail was tried: one needless allocation of 64 bytes
//! in `Policy::walk` brought all six decisions over their limits, by 133 to 137 instructions each, and
//! failed the tests of `allocations.rs` about decisions.
#![expect(
    clippy::expect_used,
    reason = "a case that cannot be prepared leaves nothing to count"
)]
#![expect(
    missing_docs,
    unused_qualifications,
    reason = "what the macros of gungraun write"
)]

use std::hint::black_box;

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use sluice_guard::{
    hello,
    rules::{self, answered, not_tls, opened},
    work::{Arriving, Asking, NAME, REQUEST, SEGMENT, name},
};
use sluice_peek::Peek;
use sluice_policy::{Decision, Facts, RuleSet};

/// A case that took so many instructions when they were last counted.
fn counted(instructions: u64) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions / 50;
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::with_args(["--cache-sim=no"]).hard_limits([(EventKind::Ir, limit)]));
    config
}

fn arriving(bytes: Vec<u8>, cuts: &[usize]) -> Arriving {
    Arriving::new(bytes, cuts).expect("first bytes that decide")
}

fn asking(set: anyhow::Result<RuleSet>, facts: Facts<'static>) -> Box<Asking> {
    Asking::new(&set.expect("rules"), facts).expect("rules that compile")
}

// Nearly all of it is the two SHA-256 of JA4: callgrind does not see the CPU's SHA instructions.
#[library_benchmark(setup = arriving)]
#[bench::small(args = (hello::small(NAME), &[]), config = counted(22_450))]
// As small, and the copies that gather a message of eight records.
#[bench::fragmented(args = (hello::fragmented(NAME, 50), &[]), config = counted(24_068))]
// As small: a larger key share is skipped, not read; two segments, so two looks.
#[bench::post_quantum(args = (hello::post_quantum(NAME), &[SEGMENT]), config = counted(22_641))]
// The first byte decides.
#[bench::not_tls(args = (REQUEST.to_vec(), &[]), config = counted(273))]
fn peek(arriving: Arriving) -> (Peek, Arriving) {
    (black_box(arriving.read()), arriving)
}

#[library_benchmark(setup = asking)]
// Nothing of the hello is known: the first two outcomes that differ end the walk.
#[bench::recipe_undecided(args = (rules::recipe(), opened()), config = counted(1_654))]
// The recipe hangs on the origin's answer: both ways of its first rule are followed.
#[bench::recipe_hello(args = (rules::recipe(), rules::hello(name())), config = counted(1_693))]
// The first rule decides; looking up the client's groups is most of it.
#[bench::recipe_not_tls(args = (rules::recipe(), not_tls()), config = counted(1_352))]
// The negotiation is settled: only the rule about names without a host is asked.
#[bench::recipe_answered(args = (rules::recipe(), answered(name())), config = counted(1_209))]
// A walk over the name's labels, one down the clients' trie, 16 words of bits, the rules they leave.
#[bench::rules_1000(args = (rules::large(1000, 1000, 1000), answered(name())), config = counted(2_201))]
// As with 1,000 rules, and 157 words of bits.
#[bench::rules_10000(args = (rules::large(10_000, 1000, 1000), answered(name())), config = counted(3_126))]
fn decide(mut asking: Box<Asking>) -> (Decision, Box<Asking>) {
    (black_box(asking.decide()), asking)
}

library_benchmark_group!(name = first_bytes, benchmarks = peek);
library_benchmark_group!(name = decisions, benchmarks = decide);
main!(library_benchmark_groups = first_bytes, decisions);
