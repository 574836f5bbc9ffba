//! The same, for people to read.

use std::fmt::{self, Write as _};

use sluice_policy::{Decision, FactSet, Facts, Scratch, Stage, Undecided, compile::FlatRule};

use super::answer::{reason_of, rule_of};
use crate::config::{Config, show};

/// Tells what a policy says of a flow at every stage up to that of the facts; with `whole` false up
/// to the first that decides.
#[must_use]
pub fn tell(config: &Config, facts: &Facts<'_>, whole: bool) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = stages(config, facts, whole, &mut text);
    text
}

fn stages(config: &Config, facts: &Facts<'_>, whole: bool, out: &mut String) -> fmt::Result {
    let mut scratch = Scratch::default();
    let flat = config.rules.flat().unwrap_or_default();
    let mut first = None;
    let mut last = None;
    for stage in Stage::ALL
        .into_iter()
        .take_while(|&stage| stage <= facts.stage)
    {
        let at = Facts { stage, ..*facts };
        let decision = config.policy.weigh(&at, &mut scratch);
        writeln!(out, "{stage}:")?;
        rules(config, &flat, &at, &mut scratch, out)?;
        match &decision {
            Decision::Decided(decided) => {
                writeln!(out, "  => {}", decided.outcome)?;
                first = first.or(Some((stage, decision)));
            }
            Decision::Undecided(Undecided { possible, next }) => {
                let outcomes: Vec<_> = possible.iter().map(|outcome| outcome.name()).collect();
                let next = match next {
                    Some(next) => format!("{next} tells more"),
                    None => "no stage tells more: blocked, stage-unavailable".into(),
                };
                writeln!(out, "  => {} possible; {next}", outcomes.join(" or "))?;
            }
        }
        writeln!(out)?;
        last = Some((stage, decision));
        if first.is_some() && !whole {
            break;
        }
    }
    match (first, last) {
        (Some((stage, decision)), _) => decided(config, stage, &decision, out),
        (None, Some((stage, Decision::Undecided(Undecided { next: None, .. })))) => {
            writeln!(
                out,
                "blocked at {stage}: what the outcome hangs on cannot be known (stage-unavailable)"
            )
        }
        (None, Some((stage, _))) => writeln!(out, "undecided at {stage}"),
        (None, None) => Ok(()),
    }
}

fn decided(config: &Config, stage: Stage, decision: &Decision, out: &mut String) -> fmt::Result {
    let Decision::Decided(decided) = decision else {
        return Ok(());
    };
    let outcome = decided.outcome;
    match rule_of(&config.policy, decision) {
        Some(rule) => writeln!(out, "decided at {stage}: {outcome} by rule \"{rule}\"")?,
        None => {
            let reason = reason_of(decision).unwrap_or_default();
            writeln!(
                out,
                "decided at {stage}: {outcome} by {reason}, for no rule decides"
            )?;
        }
    }
    writeln!(out, "rests on: {}", names(decided.support))
}

fn names(facts: FactSet) -> String {
    if facts.is_empty() {
        return "nothing: every flow is decided so".into();
    }
    let names: Vec<_> = facts.iter().map(|fact| fact.name()).collect();
    names.join(", ")
}

fn rules(
    config: &Config,
    flat: &[FlatRule<'_>],
    facts: &Facts<'_>,
    scratch: &mut Scratch,
    out: &mut String,
) -> fmt::Result {
    for (number, (rule, explained)) in
        (1..).zip(flat.iter().zip(config.policy.explain(facts, scratch)))
    {
        let name = format!("{number}. \"{}\"", rule.rule.name);
        writeln!(
            out,
            "  {name:<36} {:<8} {}",
            explained.truth.name(),
            rule.action.name()
        )?;
        let conditions = rule.when().chain(rule.unless());
        for (condition, clause) in conditions.zip(&explained.clauses) {
            let word = if clause.unless { "unless" } else { "when" };
            let text = show::condition(&config.rules, condition);
            writeln!(out, "       {word:<6} {text} = {}", clause.truth.name())?;
        }
    }
    if flat.is_empty() {
        writeln!(out, "  no rules")?;
    }
    Ok(())
}
