//! The laws of deciding at the least depth, against a plain reading of the rules.
//!
//! `SLUICE_LAW_CASES` policies are tried by each test, each against one flow at every stage.
//!
//! These mistakes were put into the engine one at a time, and each was caught: an exception that is
//! Unknown taken for False; the support of `host-is-ip` without the host; the support of what does
//! not apply left out; `final = false` ending the walk; a reason of the certificate stage not counted
//! as negotiated; walks that left a container never going on behind it, when asking what matters.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod reference;

use proptest::{prelude::*, test_runner::TestCaseResult};
use reference::worlds::{flow, mixed, rule_set, stages};
use sluice_policy::{
    Decision, Fact, FactSet, Facts, Outcome, Outcomes, Policy, Progress, RuleSet, Scratch, Stage,
    Truth,
};

/// Rules of which at most so many act: every unknown one doubles the ways that are walked.
const MOST_RULES: usize = 7;

fn rule_sets() -> impl Strategy<Value = RuleSet> {
    let rule = prop::collection::vec(any::<u8>(), 28);
    let defaults = prop::collection::vec(any::<u8>(), 2);
    (defaults, prop::collection::vec(rule, 1..=MOST_RULES))
        .prop_map(|(defaults, rules)| rule_set(&defaults, &rules))
}

fn flows() -> impl Strategy<Value = Facts<'static>> {
    prop::collection::vec(any::<u8>(), 40).prop_map(|tape| flow(&tape))
}

fn config() -> ProptestConfig {
    let cases = std::env::var("SLUICE_LAW_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(9_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The part of a decision that the shallow and the full answer agree on.
fn settled(decision: &Decision) -> Result<Outcome, Option<Stage>> {
    match decision {
        Decision::Decided(decided) => Ok(decided.outcome),
        Decision::Undecided(undecided) => Err(undecided.next),
    }
}

fn possible(decision: &Decision) -> Outcomes {
    match decision {
        Decision::Decided(decided) => Outcomes::of(decided.outcome),
        Decision::Undecided(undecided) => undecided.possible,
    }
}

fn are_within(some: Outcomes, all: Outcomes) -> bool {
    some.iter().all(|outcome| all.contains(outcome))
}

/// Facts that a stage does not tell, with the values that another flow has for them.
fn completed(known: &Facts<'static>, other: &Facts<'static>) -> Facts<'static> {
    let known_facts = FactSet::known_at(known.stage);
    let beyond = FactSet::of_all(&Fact::ALL).without(known_facts);
    let mut whole = mixed(known, other, beyond);
    if !beyond.contains(Fact::Tls) {
        // More may become known of the negotiation, as long as it fits what is known of it.
        let theirs = Facts {
            tls: other.tls,
            ..*known
        };
        if theirs.negotiation() == known.negotiation() {
            whole.tls = other.tls;
        }
    }
    if known.stage >= Stage::Open {
        whole.connect = known.connect;
    }
    Facts {
        stage: Stage::Request,
        ..whole
    }
}

/// Least and exact: what may come out is what comes out when every unknown rule holds or not, each
/// freely, and the next stage is the first that tells what matters.
fn is_exact(set: &RuleSet, flow: &Facts<'_>) -> TestCaseResult {
    let policy = Policy::compile(set).unwrap();
    let mut scratch = Scratch::default();
    for facts in stages(flow) {
        let expected = reference::read(set, &facts);
        let decision = policy.weigh(&facts, &mut scratch);
        prop_assert_eq!(possible(&decision), expected.possible, "at {}", facts.stage);
        let next = expected.possible.single().ok_or(expected.next);
        prop_assert_eq!(settled(&decision), next, "at {}", facts.stage);
    }
    Ok(())
}

/// The fast answer differs from the full one only in that it need not name every outcome.
fn is_fast_and_exact(set: &RuleSet, flow: &Facts<'_>) -> TestCaseResult {
    let policy = Policy::compile(set).unwrap();
    let mut scratch = Scratch::default();
    for facts in stages(flow) {
        let expected = reference::read(set, &facts);
        let decision = policy.decide(&facts, &mut scratch);
        let next = expected.possible.single().ok_or(expected.next);
        prop_assert_eq!(settled(&decision), next, "at {}", facts.stage);
        prop_assert!(
            are_within(possible(&decision), expected.possible),
            "at {}",
            facts.stage
        );
    }
    Ok(())
}

/// The rule that is said to be hung on is the first that matters of those that the next stage tells
/// more about.
fn is_hung_on(set: &RuleSet, flow: &Facts<'_>) -> TestCaseResult {
    let policy = Policy::compile(set).unwrap();
    let mut scratch = Scratch::default();
    for facts in stages(flow) {
        let expected = reference::read(set, &facts).first;
        let found = policy.hangs_on(&facts, &mut scratch);
        let found = found.map(|rule| rule.0 as usize);
        prop_assert_eq!(found, expected, "at {}", facts.stage);
    }
    Ok(())
}

/// Sound and monotone: what is decided stays, whatever becomes known; one walk that is carried on
/// from stage to stage says what every walk from the start says.
fn is_sound(set: &RuleSet, flow: &Facts<'static>, other: &Facts<'static>) -> TestCaseResult {
    let policy = Policy::compile(set).unwrap();
    let mut scratch = Scratch::default();
    let mut progress = Progress::default();
    let mut decided: Option<Outcome> = None;
    for facts in stages(flow) {
        let decision = policy.decide(&facts, &mut scratch);
        if let Some(before) = decided {
            prop_assert_eq!(settled(&decision), Ok(before), "at {}", facts.stage);
        } else {
            let carried = policy.advance(&mut progress, &facts, &mut scratch);
            prop_assert_eq!(settled(&carried), settled(&decision), "at {}", facts.stage);
        }
        decided = settled(&decision).ok();
        let may = possible(&policy.weigh(&facts, &mut scratch));
        for whole in [
            completed(&facts, other),
            Facts {
                stage: Stage::Request,
                ..facts
            },
        ] {
            let becomes = policy.weigh(&whole, &mut scratch);
            prop_assert!(
                are_within(possible(&becomes), may),
                "{:?} at {}, then {:?} of {:?}",
                may,
                facts.stage,
                becomes,
                whole
            );
        }
    }
    let whole = Facts {
        stage: Stage::Request,
        ..*flow
    };
    prop_assert_eq!(decided, reference::read(set, &whole).possible.single());
    Ok(())
}

/// Support: another value of a fact that a decision does not rest on leaves the decision.
fn is_supported(set: &RuleSet, flow: &Facts<'static>, other: &Facts<'static>) -> TestCaseResult {
    let policy = Policy::compile(set).unwrap();
    let mut scratch = Scratch::default();
    for facts in stages(flow) {
        for decision in [
            policy.decide(&facts, &mut scratch),
            policy.weigh(&facts, &mut scratch),
        ] {
            let Decision::Decided(decided) = decision else {
                continue;
            };
            let outside = FactSet::of_all(&Fact::ALL).without(decided.support);
            let there = mixed(&facts, other, outside);
            let same = policy.decide(&there, &mut scratch);
            prop_assert_eq!(
                settled(&same),
                Ok(decided.outcome),
                "at {}, resting on {:?}, with {:?}",
                facts.stage,
                decided.support,
                there
            );
        }
    }
    Ok(())
}

/// An explanation says of every rule what the plain reading says.
fn is_explained(set: &RuleSet, flow: &Facts<'_>) -> TestCaseResult {
    let policy = Policy::compile(set).unwrap();
    let mut scratch = Scratch::default();
    for facts in stages(flow) {
        let explained = policy.explain(&facts, &mut scratch);
        let answers: Vec<reference::Truth> = explained
            .iter()
            .map(|rule| match rule.truth {
                Truth::True => Some(true),
                Truth::False => Some(false),
                Truth::Unknown => None,
            })
            .collect();
        prop_assert_eq!(
            answers,
            reference::truths(set, &facts),
            "at {}",
            facts.stage
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_stage_is_entered_that_need_not_be(set in rule_sets(), flow in flows()) {
        is_fast_and_exact(&set, &flow)?;
    }

    #[test]
    fn possible_outcomes_and_the_next_stage_are_exact(set in rule_sets(), flow in flows()) {
        is_exact(&set, &flow)?;
    }

    #[test]
    fn the_rule_that_is_hung_on_is_the_first(set in rule_sets(), flow in flows()) {
        is_hung_on(&set, &flow)?;
    }

    #[test]
    fn what_is_decided_holds_whatever_becomes_known(set in rule_sets(), flow in flows(), other in flows()) {
        is_sound(&set, &flow, &other)?;
    }

    #[test]
    fn facts_outside_the_support_do_not_matter(set in rule_sets(), flow in flows(), other in flows()) {
        is_supported(&set, &flow, &other)?;
    }

    #[test]
    fn a_support_holds_one_fact_at_a_time(set in rule_sets(), flow in flows(), other in flows()) {
        let policy = Policy::compile(&set).unwrap();
        let mut scratch = Scratch::default();
        for facts in stages(&flow) {
            let Decision::Decided(decided) = policy.decide(&facts, &mut scratch) else { continue };
            for fact in FactSet::of_all(&Fact::ALL).without(decided.support).iter() {
                let there = mixed(&facts, &other, FactSet::of(fact));
                let same = policy.decide(&there, &mut scratch);
                prop_assert_eq!(settled(&same), Ok(decided.outcome), "{:?} at {}", fact, facts.stage);
            }
        }
    }

    /// What a scratch holds of one policy and flow says nothing of the next.
    #[test]
    fn a_scratch_serves_every_policy(
        one in rule_sets(), two in rule_sets(), flow in flows(), other in flows()
    ) {
        let policies = [Policy::compile(&one).unwrap(), Policy::compile(&two).unwrap()];
        let mut shared = Scratch::default();
        for (facts, others) in stages(&flow).into_iter().zip(stages(&other)) {
            for (policy, facts) in policies.iter().zip([facts, others]) {
                let fresh = policy.weigh(&facts, &mut Scratch::default());
                prop_assert_eq!(policy.weigh(&facts, &mut shared), fresh, "at {}", facts.stage);
            }
        }
    }

    /// Who has an address is the first user that has it.
    #[test]
    fn an_address_is_its_first_user_s(set in rule_sets(), flow in flows()) {
        let client = flow.client.unwrap();
        let first = set.users.iter().find(|user| user.nets.iter().any(|net| net.contains(client)));
        let policy = Policy::compile(&set).unwrap();
        prop_assert_eq!(policy.user_at(client), first.map(|user| user.name.as_str()));
    }

    #[test]
    fn explanations_say_what_the_rules_say(set in rule_sets(), flow in flows()) {
        is_explained(&set, &flow)?;
    }
}
