//! What a policy says of one flow, as data.

use std::io::{self, Write};

use serde::{
    Serialize, Serializer,
    ser::{SerializeSeq, SerializeStruct},
};
use sluice_policy::{
    Cause, Decided, Decision, Explained, Facts, Outcomes, Policy, Scratch, Stage, Undecided,
};

/// What a policy says of one flow.
#[derive(Debug)]
pub struct Answer<'p> {
    policy: &'p Policy,
    /// The earliest stage at which the facts decide, or that of the facts where they do not.
    pub stage: Stage,
    /// The decision.
    pub decision: Decision,
    /// What every rule says, with all of the facts.
    pub rules: Vec<Explained>,
}

impl<'p> Answer<'p> {
    /// Asks a policy.
    #[must_use]
    pub fn of(policy: &'p Policy, facts: &Facts<'_>, scratch: &mut Scratch) -> Self {
        let (stage, decision) = decide(policy, facts, scratch);
        Self {
            policy,
            stage,
            decision,
            rules: policy.explain(facts, scratch),
        }
    }

    /// The outcome, where it is decided.
    #[must_use]
    pub const fn decided(&self) -> Option<&Decided> {
        match &self.decision {
            Decision::Decided(decided) => Some(decided),
            Decision::Undecided(_) => None,
        }
    }

    /// The rule that decided, where one did.
    #[must_use]
    pub fn rule(&self) -> Option<&'p str> {
        rule_of(self.policy, &self.decision)
    }

    /// Writes it as one line of JSON.
    ///
    /// # Errors
    ///
    /// What keeps it from being written.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self).map_err(io::Error::from)?;
        out.write_all(b"\n")
    }
}

/// Decides facts stage by stage: the first stage that decides, or the last with everything that is
/// possible.
pub fn decide(policy: &Policy, facts: &Facts<'_>, scratch: &mut Scratch) -> (Stage, Decision) {
    for stage in Stage::ALL
        .into_iter()
        .take_while(|&stage| stage < facts.stage)
    {
        let early = Facts { stage, ..*facts };
        let decision = policy.decide(&early, scratch);
        if matches!(decision, Decision::Decided(_)) {
            return (stage, decision);
        }
    }
    (facts.stage, policy.weigh(facts, scratch))
}

/// The rule that a decision is due to: of what is shown or decrypted without one that disposes, the
/// rule that says so.
#[must_use]
pub fn rule_of<'p>(policy: &'p Policy, decision: &Decision) -> Option<&'p str> {
    let Decision::Decided(decided) = decision else {
        return None;
    };
    let id = decided
        .cause
        .rule()
        .or(decided.warned_by)
        .or(decided.inspected_by)?;
    policy.rule(id).map(|rule| rule.name.as_str())
}

/// Why a decision is what it is.
#[must_use]
pub const fn reason_of(decision: &Decision) -> Option<&'static str> {
    match decision {
        Decision::Decided(Decided {
            cause: Cause::Default | Cause::DefaultUnidentified,
            warned_by,
            inspected_by,
            ..
        }) if warned_by.is_some() || inspected_by.is_some() => Some("rule"),
        Decision::Decided(decided) => Some(decided.cause.reason().name()),
        Decision::Undecided(Undecided { next: None, .. }) => Some("stage-unavailable"),
        Decision::Undecided(_) => None,
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (outcome, possible, next, support) = match &self.decision {
            Decision::Decided(Decided {
                outcome, support, ..
            }) => (Some(outcome.name()), Outcomes::of(*outcome), None, *support),
            Decision::Undecided(Undecided { possible, next }) => {
                (None, *possible, *next, Default::default())
            }
        };
        let mut object = serializer.serialize_struct("Answer", 9)?;
        object.serialize_field("decided", &outcome.is_some())?;
        object.serialize_field("stage", self.stage.name())?;
        object.serialize_field("outcome", &outcome)?;
        object.serialize_field("possible", &Names(|| possible.iter().map(|one| one.name())))?;
        object.serialize_field("next", &next.map(Stage::name))?;
        object.serialize_field("support", &Names(|| support.iter().map(|fact| fact.name())))?;
        object.serialize_field("rules", &Rules(self))?;
        object.serialize_field("rule", &self.rule())?;
        object.serialize_field("reason", &reason_of(&self.decision))?;
        object.end()
    }
}

/// Words that are made while they are written.
struct Names<F>(F);

impl<I: Iterator<Item = &'static str>, F: Fn() -> I> Serialize for Names<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

struct Rules<'a>(&'a Answer<'a>);

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    value: &'static str,
}

impl Serialize for Rules<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rules = &self.0.rules;
        let mut rows = serializer.serialize_seq(Some(rules.len()))?;
        for explained in rules {
            let name = self
                .0
                .policy
                .rule(explained.rule)
                .map(|rule| rule.name.as_str());
            rows.serialize_element(&Row {
                name: name.unwrap_or_default(),
                value: explained.truth.name(),
            })?;
        }
        rows.end()
    }
}
