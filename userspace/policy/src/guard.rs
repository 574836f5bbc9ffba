//! The guard of a rule: all of its conditions and exceptions.

use crate::{
    matcher::{Answer, Check, Truth, View},
    stage::{Fact, FactSet, Stage},
};

/// Conditions of a rule and its containers; all must hold, exceptions in the negative.
#[derive(Clone, Debug)]
pub(crate) struct Guard(pub(crate) Box<[Literal]>);

#[derive(Clone, Debug)]
pub(crate) struct Literal {
    pub(crate) check: Check,
    /// Whether it is an exception.
    pub(crate) negative: bool,
    /// Its place among all conditions of the rule as they are written.
    pub(crate) place: u32,
}

impl Guard {
    #[inline]
    pub(crate) fn ask(&self, view: &mut View<'_, '_>) -> Answer {
        let mut truth = Truth::True;
        let mut support = FactSet::EMPTY;
        for literal in &self.0 {
            let answer = literal.check.ask(view);
            match (answer.truth, literal.negative) {
                (Truth::True, false) | (Truth::False, true) => {
                    support = support.union(answer.support);
                }
                (Truth::Unknown, _) => truth = Truth::Unknown,
                (Truth::False, false) | (Truth::True, true) => {
                    return Answer {
                        truth: Truth::False,
                        support: answer.support,
                    };
                }
            }
        }
        Answer { truth, support }
    }

    /// Whether some condition asks about a fact, those inside negations included.
    pub(crate) fn asks(&self, fact: Fact) -> bool {
        self.0.iter().any(|literal| literal.check.asks(fact))
    }

    /// Whether a condition that asks about one of some facts is Unknown.
    pub(crate) fn hangs_on(&self, about: FactSet, view: &mut View<'_, '_>) -> bool {
        let mut literals = self.0.iter();
        literals.any(|literal| literal.check.hangs_on(about, view))
    }

    /// The earliest stage that makes known what an Unknown hangs on; `None` where none does.
    pub(crate) fn unknown_stage(&self, view: &mut View<'_, '_>) -> Option<Stage> {
        self.0
            .iter()
            .filter_map(|literal| literal.check.unknown_stage(view))
            .min()
    }
}
