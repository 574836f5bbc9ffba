//! The three-valued walk: what comes out, or what may, and which stage tells more.

use sluice_abi::Reason;

use crate::{
    compile::{EndOutcomes, Node, NodeBody, Policy, RuleId},
    facts::Facts,
    matcher::{Answer, Truth},
    outcome::{Outcome, Outcomes},
    stage::{Fact, FactSet, Stage},
};

/// What a policy says of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a decision that is not carried out lets the flow through"]
pub enum Decision {
    /// One outcome, whatever else may become known.
    Decided(Decided),
    /// Several outcomes are possible.
    Undecided(Undecided),
}

/// An outcome that no later knowledge changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decided {
    /// What becomes of the flow.
    pub outcome: Outcome,
    /// What decided. Where rules that are still unknown agree with it, it is what decides when
    /// none of them holds.
    pub cause: Cause,
    /// The facts that the decision rests on: another value of any other fact leaves it as it is.
    pub support: FactSet,
}

/// What may become of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Undecided {
    /// The outcomes that are still possible, two or more.
    pub possible: Outcomes,
    /// The earliest stage that makes known what the outcome hangs on.
    pub next: Stage,
}

/// What decided a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// No rule, and the flow is TLS that names a server.
    Default,
    /// No rule, and the flow is not TLS or names no server.
    DefaultUnidentified,
    /// A rule.
    Rule(RuleId),
}

impl Cause {
    /// The same as one of the reasons that every part of sluice shares.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Default => Reason::Default,
            Self::DefaultUnidentified => Reason::DefaultUnidentified,
            Self::Rule(_) => Reason::Rule,
        }
    }

    /// The rule, where one decided.
    #[must_use]
    pub const fn rule(self) -> Option<RuleId> {
        match self {
            Self::Rule(id) => Some(id),
            Self::Default | Self::DefaultUnidentified => None,
        }
    }
}

impl Policy {
    /// Decides a flow at the least depth: does not allocate, and looks no further than it must.
    ///
    /// In this version every fact is known at [`Stage::Hello`], so that a flow whose first bytes
    /// are known is always decided.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        let mut walk = Walk {
            facts,
            running: Runnings::of(Running::Undisposed),
            skipped: Runnings::EMPTY,
            outcomes: Outcomes::EMPTY,
            seen: Runnings::of(Running::Undisposed),
            support: FactSet::EMPTY,
            disposed_by: None,
            ended_by: None,
        };
        walk.nodes(&self.nodes, Truth::True, FactSet::EMPTY);
        let cause = walk.finish(&self.defaults);
        if let Some(outcome) = walk.outcomes.single() {
            return Decision::Decided(Decided {
                outcome,
                cause,
                support: walk.support,
            });
        }
        let next = self.next_stage(facts, walk.seen);
        Decision::Undecided(Undecided {
            possible: walk.outcomes,
            next,
        })
    }

    fn next_stage(&self, facts: &Facts<'_>, seen: Runnings) -> Stage {
        let end = Futures::at_end(&self.defaults, facts.is_identified());
        let mut back = Back {
            facts,
            seen,
            earliest: None,
        };
        if facts.is_identified().is_none() && end.hangs(seen) {
            back.note(Some(Fact::Tls.stage()));
        }
        back.nodes(&self.nodes, Truth::True, None, end);
        back.earliest.unwrap_or_else(|| facts.stage().next())
    }
}

/// The result of the walk so far, where no rule has ended it.
#[derive(Clone, Copy)]
enum Running {
    Undisposed,
    Disposed(Outcome),
}

/// A set of running results: every way in which the unknown rules may have turned out.
#[derive(Clone, Copy)]
struct Runnings {
    undisposed: bool,
    disposed: Outcomes,
}

impl Runnings {
    const EMPTY: Self = Self {
        undisposed: false,
        disposed: Outcomes::EMPTY,
    };

    const fn of(running: Running) -> Self {
        match running {
            Running::Undisposed => Self {
                undisposed: true,
                disposed: Outcomes::EMPTY,
            },
            Running::Disposed(outcome) => Self {
                undisposed: false,
                disposed: Outcomes::of(outcome),
            },
        }
    }

    const fn union(self, other: Self) -> Self {
        Self {
            undisposed: self.undisposed || other.undisposed,
            disposed: self.disposed.union(other.disposed),
        }
    }

    const fn is_empty(self) -> bool {
        !self.undisposed && self.disposed.is_empty()
    }
}

/// From the first rule to the one that ends every way.
struct Walk<'w, 'f> {
    facts: &'w Facts<'f>,
    running: Runnings,
    /// The ways that wait for the end of their container.
    skipped: Runnings,
    outcomes: Outcomes,
    /// Every running result that was met.
    seen: Runnings,
    support: FactSet,
    /// On the way where no unknown rule holds: the rule that disposed, and what ended it.
    disposed_by: Option<RuleId>,
    ended_by: Option<RuleId>,
}

impl Walk<'_, '_> {
    fn nodes(&mut self, nodes: &[Node], container: Truth, inherited: FactSet) {
        for node in nodes {
            if self.running.is_empty() {
                return;
            }
            let Answer { truth, support } = node.guard.ask(self.facts);
            match (container, truth) {
                (_, Truth::False) => self.support = self.support.union(support),
                (Truth::True, Truth::True) => {
                    self.enter(&node.body, Truth::True, inherited.union(support));
                }
                // Either is Unknown: both ways are followed, so that nothing rests on what is
                // known of this rule.
                _ => self.enter(&node.body, Truth::Unknown, FactSet::EMPTY),
            }
        }
    }

    fn enter(&mut self, body: &NodeBody, truth: Truth, support: FactSet) {
        let certain = truth == Truth::True;
        match *body {
            NodeBody::Contain(ref inner) => {
                let outer = std::mem::replace(&mut self.skipped, Runnings::EMPTY);
                self.nodes(inner, truth, support);
                self.running = self.running.union(self.skipped);
                self.skipped = outer;
                return;
            }
            NodeBody::Skip => {
                self.skipped = self.skipped.union(self.running);
                if certain {
                    self.running = Runnings::EMPTY;
                }
            }
            NodeBody::Decide {
                outcome,
                last: true,
                id,
            } => {
                self.outcomes = self.outcomes.union(Outcomes::of(outcome));
                if certain {
                    self.running = Runnings::EMPTY;
                    self.ended_by.get_or_insert(id);
                }
            }
            NodeBody::Decide {
                outcome,
                last: false,
                id,
            } => {
                let disposed = Runnings::of(Running::Disposed(outcome));
                self.seen = self.seen.union(disposed);
                self.running = if certain {
                    disposed
                } else {
                    self.running.union(disposed)
                };
                if certain {
                    self.disposed_by = Some(id);
                }
            }
        }
        self.support = self.support.union(support);
    }

    /// Adds what comes out of the ways that no rule ended.
    fn finish(&mut self, defaults: &EndOutcomes) -> Cause {
        self.outcomes = self.outcomes.union(self.running.disposed);
        let identified = self.facts.is_identified();
        if self.running.undisposed {
            let (named, unnamed) = (defaults.identified, defaults.unidentified);
            if identified != Some(false) {
                self.outcomes = self.outcomes.union(Outcomes::of(named));
            }
            if identified != Some(true) {
                self.outcomes = self.outcomes.union(Outcomes::of(unnamed));
            }
            if named != unnamed {
                let rests_on = FactSet::of(Fact::Tls).union(FactSet::of(Fact::Host));
                self.support = self.support.union(rests_on);
            }
        }
        match self.ended_by.or(self.disposed_by) {
            Some(id) => Cause::Rule(id),
            None if identified == Some(false) => Cause::DefaultUnidentified,
            None => Cause::Default,
        }
    }
}

/// What may come out from some place in the walk on, for every running result there.
#[derive(Clone, Copy)]
struct Futures {
    undisposed: Outcomes,
    disposed: [Outcomes; Outcome::ALL.len()],
}

impl Futures {
    fn at_end(defaults: &EndOutcomes, identified: Option<bool>) -> Self {
        let named = Outcomes::of(defaults.identified);
        let unnamed = Outcomes::of(defaults.unidentified);
        let undisposed = match identified {
            Some(true) => named,
            Some(false) => unnamed,
            None => named.union(unnamed),
        };
        Self {
            undisposed,
            disposed: Outcome::ALL.map(Outcomes::of),
        }
    }

    /// The same future for every running result.
    const fn constant(future: Outcomes) -> Self {
        Self {
            undisposed: future,
            disposed: [future; Outcome::ALL.len()],
        }
    }

    fn of(&self, running: Running) -> Outcomes {
        match running {
            Running::Undisposed => self.undisposed,
            Running::Disposed(outcome) => Outcome::ALL
                .into_iter()
                .zip(self.disposed)
                .find_map(|(candidate, future)| (candidate == outcome).then_some(future))
                .unwrap_or_default(),
        }
    }

    fn union(mut self, other: &Self) -> Self {
        self.undisposed = self.undisposed.union(other.undisposed);
        for (future, more) in self.disposed.iter_mut().zip(other.disposed) {
            *future = future.union(more);
        }
        self
    }

    /// Whether some running result that was met has more than one future.
    fn hangs(&self, seen: Runnings) -> bool {
        self.pairs(self, seen)
            .any(|(future, _)| future.single().is_none())
    }

    /// Whether turning from one future to the other can change the outcome.
    fn differs(&self, other: &Self, seen: Runnings) -> bool {
        self.pairs(other, seen)
            .any(|(one, two)| one.union(two).single().is_none())
    }

    fn pairs(&self, other: &Self, seen: Runnings) -> impl Iterator<Item = (Outcomes, Outcomes)> {
        let disposed = Outcome::ALL
            .into_iter()
            .zip(self.disposed)
            .zip(other.disposed)
            .filter_map(move |((o, one), two)| seen.disposed.contains(o).then_some((one, two)));
        let undisposed = seen
            .undisposed
            .then_some((self.undisposed, other.undisposed));
        undisposed.into_iter().chain(disposed)
    }
}

/// From the last rule to the first: finds the unknown rules that can still change the outcome.
struct Back<'w, 'f> {
    facts: &'w Facts<'f>,
    seen: Runnings,
    earliest: Option<Stage>,
}

impl Back<'_, '_> {
    fn note(&mut self, stage: Option<Stage>) {
        self.earliest = match (self.earliest, stage) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }

    fn nodes(
        &mut self,
        nodes: &[Node],
        container: Truth,
        container_stage: Option<Stage>,
        end: Futures,
    ) -> Futures {
        let mut after = end;
        for node in nodes.iter().rev() {
            let own = node.guard.ask(self.facts).truth;
            let truth = match (container, own) {
                (_, Truth::False) => continue,
                (Truth::True, Truth::True) => Truth::True,
                _ => Truth::Unknown,
            };
            let own_stage = node.guard.unknown_stage(self.facts);
            let stage = match (container_stage, own_stage) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            };
            let holds = match node.body {
                NodeBody::Contain(ref inner) => {
                    after = self.nodes(inner, truth, stage, after);
                    continue;
                }
                NodeBody::Skip => end,
                NodeBody::Decide {
                    outcome,
                    last: true,
                    ..
                } => Futures::constant(Outcomes::of(outcome)),
                NodeBody::Decide {
                    outcome,
                    last: false,
                    ..
                } => Futures::constant(after.of(Running::Disposed(outcome))),
            };
            if truth == Truth::True {
                after = holds;
            } else {
                if holds.differs(&after, self.seen) {
                    self.note(stage);
                }
                after = after.union(&holds);
            }
        }
        after
    }
}
