//! The guard on allocations: a decision makes none once its scratch space has been used, and what is
//! read of a hello makes as many as are committed here. What a planted allocation did stands with the
//! guard on instructions, in `benches/icount.rs`.

use std::hint::black_box;

use allocation_counter::{AllocationInfo, measure};
use sluice_guard::{
    hello,
    rules::{self, Mix},
    work::{NAME, REQUEST, SEGMENT, read},
};
use sluice_policy::{Decision, Facts, Policy, Progress, Scratch, Stage};

/// Flows asked of every policy.
const FLOWS: usize = 4096;

/// Names, and networks, in the lists of the larger policies.
const LISTED: usize = 1000;

fn nothing() -> AllocationInfo {
    AllocationInfo::default()
}

/// Decides flows of all kinds by these rules, for which nothing may be allocated.
fn allocates_nothing(policy: &Policy) {
    let mix = Mix::new(FLOWS, LISTED, LISTED);
    let flows = mix.facts();
    let mut scratch = Scratch::default();
    // Each kind of flow makes room in `scratch` the first time that it is met.
    let warm = measure(|| {
        ask(policy, &flows, &mut scratch);
    });
    assert_ne!(warm, nothing(), "the counter counts nothing");
    let mut decided = [0; Stage::ALL.len()];
    let allocated = measure(|| decided = ask(policy, &flows, &mut scratch));
    assert_eq!(allocated, nothing());
    // Both kinds of decision were among them.
    let [.., hello, _, _, request] = decided;
    assert!((1..FLOWS).contains(&hello), "{hello}");
    assert_eq!(request, FLOWS);
}

/// Decides every flow at every stage: afresh, and going on from the stage before.
fn ask(policy: &Policy, flows: &[Facts<'_>], scratch: &mut Scratch) -> [usize; Stage::ALL.len()] {
    let mut decided = [0; Stage::ALL.len()];
    for flow in flows {
        let mut progress = Progress::default();
        for (stage, count) in Stage::ALL.into_iter().zip(&mut decided) {
            let facts = Facts { stage, ..*flow };
            let afresh = policy.decide(&facts, scratch);
            assert_eq!(afresh, policy.advance(&mut progress, &facts, scratch));
            *count += usize::from(matches!(afresh, Decision::Decided(_)));
        }
    }
    decided
}

#[test]
fn deciding_by_the_recipe_allocates_nothing() {
    allocates_nothing(&Policy::compile_keyed(&rules::recipe().unwrap(), 1).unwrap());
}

#[test]
fn deciding_by_a_thousand_rules_allocates_nothing() {
    allocates_nothing(
        &Policy::compile_keyed(&rules::large(1000, LISTED, LISTED).unwrap(), 1).unwrap(),
    );
}

#[test]
fn deciding_by_ten_thousand_rules_allocates_nothing() {
    allocates_nothing(
        &Policy::compile_keyed(&rules::large(10_000, LISTED, LISTED).unwrap(), 1).unwrap(),
    );
}

#[test]
fn reading_what_comes_in_one_piece_allocates_nothing() {
    for (bytes, cuts) in [
        (hello::small(NAME), vec![]),
        (hello::small(NAME), (1..200).collect()),
        (hello::post_quantum(NAME), vec![SEGMENT]),
        (REQUEST.to_vec(), vec![]),
    ] {
        assert_eq!(measure(|| drop(black_box(read(&bytes, &cuts)))), nothing());
    }
}

#[test]
fn a_hello_in_many_records_is_gathered() {
    // The buffer doubles from the first record on.
    for (size, allocations, bytes) in [(50, 4, 750), (1, 8, 1017)] {
        let hello = hello::fragmented(NAME, size);
        let found = measure(|| drop(black_box(read(&hello, &[]))));
        assert_eq!(
            (found.count_total, found.bytes_total, found.bytes_current),
            (allocations, bytes, 0),
            "records of {size} bytes"
        );
    }
}
