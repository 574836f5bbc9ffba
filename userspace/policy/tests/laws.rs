//! The laws of deciding at the least depth, against a plain reading of the rules.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod common;

use std::collections::BTreeSet;

use common::{domain, full, reading, rule_sets, value};
use proptest::prelude::*;
use sluice_policy::{Decision, Fact, Facts, Policy, Stage};

/// The same flow as it is known at each stage.
fn stages<'a>(facts: &Facts<'a>) -> [Facts<'a>; 3] {
    let hello = *facts;
    let open = Facts {
        first_bytes: None,
        ..hello
    };
    let packet = Facts { open: None, ..open };
    [packet, open, hello]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// What may come out is exactly what comes out when every unknown rule is let fire or not,
    /// each freely; so that it is decided when, and only when, all those ways agree.
    #[test]
    fn possible_outcomes_are_those_of_every_way(set in rule_sets(), pick in 0usize..10_000) {
        let policy = Policy::compile(&set).unwrap();
        let facts = full(pick);
        for known in stages(&facts) {
            // Every unknown rule doubles the ways that are walked.
            prop_assume!(reading::unknown(&set, &known).len() <= 8);
            let expected = reading::outcomes(&set, &known);
            let possible: BTreeSet<_> = match policy.decide(&known) {
                Decision::Decided(decided) => BTreeSet::from([decided.outcome.name()]),
                Decision::Undecided(undecided) => {
                    prop_assert!(undecided.next > known.stage());
                    prop_assert!(undecided.next <= reading::next_stage(&set, &known));
                    undecided.possible.iter().map(|outcome| outcome.name()).collect()
                }
            };
            prop_assert_eq!(possible, expected);
        }
    }

    #[test]
    fn what_is_decided_holds_whatever_becomes_known(set in rule_sets(), pick in 0usize..10_000) {
        let policy = Policy::compile(&set).unwrap();
        let facts = full(pick);
        let mut decided = None;
        for known in stages(&facts) {
            match (decided, policy.decide(&known)) {
                (None, Decision::Decided(now)) => decided = Some(now.outcome),
                (None, Decision::Undecided(_)) => prop_assert!(known.stage() < Stage::Hello),
                (Some(before), Decision::Decided(now)) => prop_assert_eq!(before, now.outcome),
                (Some(_), Decision::Undecided(_)) => prop_assert!(false, "undecided again"),
            }
        }
        let outcome = decided.map(|outcome| outcome.name()).into_iter().collect::<BTreeSet<_>>();
        prop_assert_eq!(outcome, reading::outcomes(&set, &facts));
    }

    #[test]
    fn facts_outside_the_support_do_not_matter(set in rule_sets(), pick in 0usize..10_000) {
        let policy = Policy::compile(&set).unwrap();
        let facts = full(pick);
        for known in stages(&facts) {
            let Decision::Decided(decided) = policy.decide(&known) else { continue };
            for other in domain() {
                let agree = |fact: Fact| {
                    fact.stage() > known.stage()
                        || value(fact, &set, &other) == value(fact, &set, &known)
                };
                if decided.support.iter().all(agree) {
                    let Decision::Decided(there) = policy.decide(&other) else {
                        return Err(TestCaseError::fail("every fact is known"));
                    };
                    prop_assert_eq!(there.outcome, decided.outcome);
                }
            }
        }
    }

    #[test]
    fn the_cause_is_a_rule_that_says_so(set in rule_sets(), pick in 0usize..10_000) {
        let policy = Policy::compile(&set).unwrap();
        let Decision::Decided(decided) = policy.decide(&full(pick)) else {
            return Err(TestCaseError::fail("every fact is known"));
        };
        match decided.cause.rule() {
            Some(id) => prop_assert_eq!(
                common::outcome_of(policy.rule(id).unwrap().action),
                Some(decided.outcome)
            ),
            None => prop_assert!(
                [set.defaults.identified, set.defaults.unidentified]
                    .iter()
                    .any(|&action| common::outcome_of(action) == Some(decided.outcome))
            ),
        }
    }
}
