//! The same evaluation, told to people.

use crate::{
    compile::{Policy, RuleId},
    decide::Decision,
    facts::Facts,
    lookup::Scratch,
    matcher::{Truth, View},
    rule::Action,
    running::Effect,
    stage::{FactSet, Stage},
};

/// What a rule answers for a flow, and why.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The rule.
    pub rule: RuleId,
    /// What the whole rule answers.
    pub truth: Truth,
    /// What its conditions answer, those of its containers first: `when`, then `unless`, in the
    /// order of [`crate::compile::FlatRule`].
    pub clauses: Vec<Clause>,
}

/// What one condition answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clause {
    /// Whether it is an exception.
    pub unless: bool,
    /// What the condition itself answers.
    pub truth: Truth,
}

/// What is written into a flow's record besides the decision.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Annotations<'p> {
    /// The tags, in the order of the rules.
    pub tags: Vec<&'p str>,
    /// Whether a rule keeps the flow out of the records.
    pub no_log: bool,
}

impl Policy {
    /// What every rule answers, whether or not the walk comes to it.
    #[must_use]
    pub fn explain(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> Vec<Explained> {
        scratch.looked.begin(Default::default());
        let mut view = View::new(facts, &self.tables, &mut scratch.looked);
        (0..)
            .zip(&self.compiled)
            .map(|(id, rule)| {
                let mut clauses: Vec<(u32, Clause)> = rule
                    .guard
                    .0
                    .iter()
                    .map(|literal| {
                        let clause = Clause {
                            unless: literal.negative,
                            truth: literal.check.ask(&mut view).truth,
                        };
                        (literal.place, clause)
                    })
                    .collect();
                clauses.sort_unstable_by_key(|&(place, _)| place);
                Explained {
                    rule: RuleId(id),
                    truth: rule.guard.ask(&mut view).truth,
                    clauses: clauses.into_iter().map(|(_, clause)| clause).collect(),
                }
            })
            .collect()
    }

    /// Whether a rule may hold or not, by what is known, since one of some facts is not known. A flow
    /// that is undecided hangs on none of them otherwise. Where what is known answers the condition
    /// already, as the address of a member does that of a group, the rule hangs on other facts.
    #[must_use]
    pub fn may_hang_on(&self, about: FactSet, facts: &Facts<'_>, scratch: &mut Scratch) -> bool {
        scratch.looked.begin(Default::default());
        let mut view = View::new(facts, &self.tables, &mut scratch.looked);
        self.compiled.iter().any(|rule| {
            rule.guard.ask(&mut view).truth == Truth::Unknown
                && rule.guard.hangs_on(about, &mut view)
        })
    }

    /// What is written into a flow's record, with what is known when it is written: rules that are
    /// Unknown then do not hold.
    #[must_use]
    pub fn annotations(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> Annotations<'_> {
        let mut found = Annotations::default();
        let annotates = |action: &Action| matches!(action, Action::Tag(_) | Action::NoLog);
        if !self
            .rules()
            .iter()
            .any(|rule| annotates(&rule.action) || !rule.tags.is_empty())
        {
            return found;
        }
        scratch.looked.begin(Default::default());
        let mut view = View::new(facts, &self.tables, &mut scratch.looked);
        let mut from = 0;
        for (at, (rule, info)) in self.compiled.iter().zip(self.rules()).enumerate() {
            if at < from || rule.guard.ask(&mut view).truth != Truth::True {
                continue;
            }
            found.tags.extend(info.tags.iter().map(String::as_str));
            match &info.action {
                Action::Tag(tag) => found.tags.push(tag),
                Action::NoLog => found.no_log = true,
                _ => {}
            }
            match rule.effect {
                Effect::Skip => from = rule.to as usize,
                effect if effect.is_end() => break,
                _ => {}
            }
        }
        found
    }

    /// The rules that could have a flow decrypted of which only `given` is known: those that say so,
    /// and those that ask about requests. Empty where none can.
    ///
    /// A rule is left out only where it is certain that no flow with these facts is decrypted by it.
    #[must_use]
    pub fn could_decrypt(
        &self,
        facts: &Facts<'_>,
        given: FactSet,
        scratch: &mut Scratch,
    ) -> Vec<RuleId> {
        let facts = Facts {
            stage: Stage::Certificate,
            unknown: FactSet::known_at(Stage::Certificate).without(given),
            ..*facts
        };
        if let Decision::Decided(decided) = self.weigh(&facts, scratch)
            && !decided.outcome.is_decrypted()
        {
            return Vec::new();
        }
        scratch.looked.begin(Default::default());
        let mut view = View::new(&facts, &self.tables, &mut scratch.looked);
        let mut could = Vec::new();
        let mut from = 0;
        for (id, rule) in (0..).zip(&self.compiled) {
            if (id as usize) < from {
                continue;
            }
            let truth = rule.guard.ask(&mut view).truth;
            if truth == Truth::False || rule.effect == Effect::None {
                continue;
            }
            let asks = rule.guard.0.iter().any(|literal| {
                literal
                    .check
                    .support
                    .iter()
                    .any(|fact| fact.stage() == Stage::Request)
            });
            if rule.effect == Effect::Inspect || (asks && truth == Truth::Unknown) {
                could.push(RuleId(id));
            }
            if truth == Truth::True {
                match rule.effect {
                    Effect::Skip => from = rule.to as usize,
                    effect if effect.is_end() => break,
                    _ => {}
                }
            }
        }
        could
    }
}
