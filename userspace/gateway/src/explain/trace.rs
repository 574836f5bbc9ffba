//! The same, as data for the page: what every rule says at every stage, and why.

use serde::Serialize;
use sluice_policy::{
    Decision, Facts, Policy, RuleSet, Scratch, Stage, Undecided, compile::FlatRule,
};

use super::answer::{reason_of, rule_of};
use crate::config::show;

/// Rules of one stage that are told one by one; what holds, or may, comes before the rest.
const RULES: usize = 200;
/// Conditions of one rule that are told.
const CONDITIONS: usize = 50;
/// Characters of a condition that are told.
const TEXT: usize = 400;

/// What a policy says of one flow, from the first stage to the one that decides.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// Every stage that was asked.
    pub stages: Vec<StageTrace>,
    /// What is decided; `None` where the facts do not decide.
    pub decided: Option<DecidedTrace>,
}

/// What is decided, and by what.
#[derive(Clone, Debug, Serialize)]
pub struct DecidedTrace {
    /// The stage that decides.
    pub stage: &'static str,
    /// What becomes of the flow.
    pub outcome: &'static str,
    /// The rule that decides; `None`: a default does.
    pub rule: Option<String>,
    /// Why it is so.
    pub reason: Option<&'static str>,
    /// The facts that it rests on.
    pub support: Vec<&'static str>,
}

/// What the rules say at one stage.
#[derive(Clone, Debug, Serialize)]
pub struct StageTrace {
    /// Its name.
    pub stage: &'static str,
    /// The outcome, where this stage decides.
    pub outcome: Option<&'static str>,
    /// What is possible still.
    pub possible: Vec<&'static str>,
    /// The stage that tells more, where one does.
    pub next: Option<&'static str>,
    /// The rules, in the order of the file.
    pub rules: Vec<RuleTrace>,
    /// Rules that are not told, none of which holds unless there are very many.
    pub left_out: usize,
}

/// What one rule says.
#[derive(Clone, Debug, Serialize)]
pub struct RuleTrace {
    /// Its place in the file, from 1.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// "true", "false" or "unknown".
    pub value: &'static str,
    /// What it does.
    pub action: &'static str,
    /// Its conditions and those of its containers.
    pub conditions: Vec<ConditionTrace>,
}

/// What one condition says.
#[derive(Clone, Debug, Serialize)]
pub struct ConditionTrace {
    /// "when" or "unless".
    pub word: &'static str,
    /// The condition, as the configuration has it.
    pub text: String,
    /// "true", "false" or "unknown".
    pub value: &'static str,
}

impl Trace {
    /// Asks a policy, which was compiled from this set of rules.
    #[must_use]
    pub fn of(policy: &Policy, set: &RuleSet, facts: &Facts<'_>, scratch: &mut Scratch) -> Self {
        let flat = set.flat().unwrap_or_default();
        let mut stages = Vec::new();
        let mut decided = None;
        for stage in Stage::ALL
            .into_iter()
            .take_while(|&stage| stage <= facts.stage)
        {
            let at = Facts { stage, ..*facts };
            let decision = policy.weigh(&at, scratch);
            let (outcome, possible, next) = match &decision {
                Decision::Decided(found) => (Some(found.outcome.name()), Vec::new(), None),
                Decision::Undecided(Undecided { possible, next }) => (
                    None,
                    possible.iter().map(|one| one.name()).collect(),
                    next.map(Stage::name),
                ),
            };
            let (rules, left_out) = rules(policy, set, &flat, &at, scratch);
            stages.push(StageTrace {
                stage: stage.name(),
                outcome,
                possible,
                next,
                rules,
                left_out,
            });
            if let Decision::Decided(found) = &decision {
                decided = Some(DecidedTrace {
                    stage: stage.name(),
                    outcome: found.outcome.name(),
                    rule: rule_of(policy, &decision).map(str::to_owned),
                    reason: reason_of(&decision),
                    support: found.support.iter().map(|fact| fact.name()).collect(),
                });
                break;
            }
        }
        Self { stages, decided }
    }
}

fn rules(
    policy: &Policy,
    set: &RuleSet,
    flat: &[FlatRule<'_>],
    facts: &Facts<'_>,
    scratch: &mut Scratch,
) -> (Vec<RuleTrace>, usize) {
    let explained = policy.explain(facts, scratch);
    let is_false = |at: usize| {
        let found = explained.get(at);
        found.is_none_or(|found| found.truth.name() == "false")
    };
    let mut chosen: Vec<usize> = (0..flat.len()).filter(|&at| !is_false(at)).collect();
    let room = RULES.saturating_sub(chosen.len());
    chosen.extend((0..flat.len()).filter(|&at| is_false(at)).take(room));
    chosen.truncate(RULES);
    chosen.sort_unstable();
    let told: Vec<RuleTrace> = chosen
        .iter()
        .filter_map(|&at| {
            let (rule, found) = (flat.get(at)?, explained.get(at)?);
            let conditions = rule.when().chain(rule.unless()).zip(&found.clauses);
            let conditions = conditions.take(CONDITIONS).map(|(condition, clause)| {
                let mut text = show::condition(set, condition);
                if let Some((end, _)) = text.char_indices().nth(TEXT) {
                    text.truncate(end);
                    text.push('…');
                }
                ConditionTrace {
                    word: if clause.unless { "unless" } else { "when" },
                    text,
                    value: clause.truth.name(),
                }
            });
            Some(RuleTrace {
                number: at + 1,
                name: rule.rule.name.clone(),
                value: found.truth.name(),
                action: rule.action.name(),
                conditions: conditions.collect(),
            })
        })
        .collect();
    let left_out = flat.len() - told.len();
    (told, left_out)
}
