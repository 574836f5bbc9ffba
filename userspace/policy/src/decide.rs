//! The three-valued walk: what comes out, or what may, and which stage tells more.

use arrayvec::ArrayVec;
use sluice_abi::Reason;

use crate::{
    compile::{Compiled, MAX_DEPTH, Policy, RuleId},
    facts::Facts,
    hang::{Hangs, Step, hangs},
    lookup::{Found, Scratch},
    matcher::{Answer, Truth, View},
    outcome::{Outcome, Outcomes},
    running::{Disposition, Effect, State, States},
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
    /// The rule whose warning is shown, where one is.
    pub warned_by: Option<RuleId>,
    /// The rule that has the flow decrypted, where it is.
    pub inspected_by: Option<RuleId>,
    /// The facts that the decision rests on: another value of any other fact leaves it as it is.
    pub support: FactSet,
}

/// What may become of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Undecided {
    /// Outcomes that are still possible, two or more: all of them where [`Policy::weigh`] was
    /// asked, some where it was [`Policy::decide`].
    pub possible: Outcomes,
    /// The earliest stage that makes known what the outcome hangs on; `None` where no stage does,
    /// so that the flow cannot be let through.
    pub next: Option<Stage>,
}

/// What decided a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// No rule, and the flow is TLS or HTTP that names a server.
    Default,
    /// No rule, and the flow is neither TLS nor HTTP, or names no server.
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

/// How far a flow has been decided: what its next stage goes on from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    settled: Settled,
    found: Found,
}

/// The walk up to the first rule that is Unknown: it goes the same way at every later stage.
#[derive(Clone, Copy, Debug)]
struct Settled {
    /// The rule to go on with.
    at: usize,
    state: State,
    /// Behind a container that was left.
    from: usize,
    support: FactSet,
    disposed_by: Option<RuleId>,
    inspected_by: Option<RuleId>,
    warned_by: Option<RuleId>,
}

impl Default for Settled {
    fn default() -> Self {
        Self {
            at: 0,
            state: State::START,
            from: 0,
            support: FactSet::EMPTY,
            disposed_by: None,
            inspected_by: None,
            warned_by: None,
        }
    }
}

impl Policy {
    /// Decides a flow at the least depth: looks no further than it must, and allocates nothing once
    /// `scratch` has been used for the policy.
    pub fn decide(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> Decision {
        self.advance(&mut Progress::default(), facts, scratch)
    }

    /// Decides as [`Policy::decide`] does, going on from where an earlier stage of the same flow
    /// came to; a flow begins with the default progress.
    pub fn advance(
        &self,
        progress: &mut Progress,
        facts: &Facts<'_>,
        scratch: &mut Scratch,
    ) -> Decision {
        self.walk(progress, facts, scratch, false)
    }

    /// Decides as [`Policy::decide`] does, and finds every outcome that is possible where several
    /// are.
    pub fn weigh(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> Decision {
        self.walk(&mut Progress::default(), facts, scratch, true)
    }

    /// The first rule that what is undecided hangs on, of those that the earliest stage tells more
    /// about which tells anything; `None` where nothing is undecided, no stage tells, or it is the
    /// defaults alone that hang on it. The stage is the one that [`Undecided::next`] gives.
    #[must_use]
    pub fn hangs_on(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> Option<RuleId> {
        scratch.looked.begin(Found::default());
        let mut view = View::new(facts, &self.tables, &mut scratch.looked);
        let (words, steps) = (&mut scratch.words, &mut scratch.steps);
        self.index.candidates(&mut view, words);
        let hangs = self.hanging(&mut view, words, &Settled::default(), steps);
        let first = hangs.first.filter(|_| !view.unavailable)?;
        let is_rule = usize::try_from(first).is_ok_and(|at| at < self.compiled.len());
        is_rule.then_some(RuleId(first))
    }

    fn walk(
        &self,
        progress: &mut Progress,
        facts: &Facts<'_>,
        scratch: &mut Scratch,
        whole: bool,
    ) -> Decision {
        let Scratch {
            looked,
            words,
            steps,
        } = scratch;
        looked.begin(progress.found);
        let mut view = View::new(facts, &self.tables, looked);
        self.index.candidates(&mut view, words);
        let mut walk = Walk::new(self, progress.settled, whole);
        walk.rules(&mut view, words);
        let end = walk.end(&view);
        progress.settled = walk.settled;
        progress.found = view.looked.found();
        match end {
            End::Decided(mut decided) => {
                let upto = walk.reached;
                decided.support = decided.support.union(self.index.support(&view, upto));
                Decision::Decided(decided)
            }
            End::Undecided(next) => Decision::Undecided(Undecided {
                possible: walk.outcomes,
                next,
            }),
            End::Open => {
                let settled = &progress.settled;
                let next = self.hanging(&mut view, words, settled, steps).stage;
                Decision::Undecided(Undecided {
                    possible: walk.outcomes,
                    next,
                })
            }
        }
    }

    /// What the outcome hangs on, exactly.
    fn hanging(
        &self,
        view: &mut View<'_, '_>,
        words: &[u64],
        settled: &Settled,
        steps: &mut Vec<Step>,
    ) -> Hangs {
        steps.clear();
        let mut paths = Paths::new(settled);
        for (at, rule) in candidates(&self.compiled, words, settled.at) {
            if !paths.reach(at) {
                continue;
            }
            let answer = rule.guard.ask(view);
            if answer.truth == Truth::False || rule.effect == Effect::None {
                continue;
            }
            let unknown = answer.truth == Truth::Unknown;
            steps.push(Step {
                effect: rule.effect,
                unknown,
                stage: if unknown {
                    rule.guard.unknown_stage(view)
                } else {
                    None
                },
                at: u32::try_from(at).unwrap_or(u32::MAX),
                to: rule.to,
                only_undisposed: false,
                before: paths.running,
            });
            paths.take(rule, !unknown);
        }
        paths.reach(usize::MAX);
        let identified = view.facts.is_identified();
        if identified.is_none() {
            steps.push(Step {
                effect: Effect::End(self.defaults.unidentified),
                unknown: true,
                stage: later(view, Stage::Hello),
                at: u32::MAX,
                to: u32::MAX,
                only_undisposed: true,
                before: paths.running,
            });
        }
        let default = self.default(identified.unwrap_or(true));
        hangs(steps, |state| state.outcome_with(default))
    }

    const fn default(&self, identified: bool) -> Disposition {
        if identified {
            self.defaults.identified
        } else {
            self.defaults.unidentified
        }
    }
}

fn later(view: &View<'_, '_>, stage: Stage) -> Option<Stage> {
    (stage > view.facts.stage).then_some(stage)
}

/// The rules whose bits are set, from one on.
fn candidates<'p>(
    rules: &'p [Compiled],
    words: &[u64],
    from: usize,
) -> impl Iterator<Item = (usize, &'p Compiled)> {
    let first = from / 64;
    let mut word = first;
    let mut rest = words.get(first).copied().unwrap_or_default() & (u64::MAX << (from % 64));
    std::iter::from_fn(move || {
        while rest == 0 {
            word += 1;
            rest = *words.get(word)?;
        }
        let at = word * 64 + rest.trailing_zeros() as usize;
        rest &= rest - 1;
        Some((at, rules.get(at)?))
    })
}

/// Every way that a walk may have gone up to some rule.
struct Paths {
    running: States,
    /// Ways that wait for the end of their container, the innermost last.
    waiting: ArrayVec<(usize, States), { MAX_DEPTH + 1 }>,
}

impl Paths {
    fn new(settled: &Settled) -> Self {
        let mut paths = Self {
            running: States::of(settled.state),
            waiting: ArrayVec::new(),
        };
        if settled.from > settled.at {
            paths.wait(settled.from, paths.running);
            paths.running = States::EMPTY;
        }
        paths
    }

    fn wait(&mut self, to: usize, states: States) {
        match self.waiting.last_mut() {
            Some(last) if last.0 == to => last.1 = last.1.union(states),
            // There is a place for every depth that a policy may have.
            _ => drop(self.waiting.try_push((to, states))),
        }
    }

    /// Goes on to a rule; false where no way leads there.
    #[inline]
    fn reach(&mut self, at: usize) -> bool {
        while let Some(&(to, states)) = self.waiting.last()
            && to <= at
        {
            self.running = self.running.union(states);
            self.waiting.pop();
        }
        !self.running.is_empty()
    }

    /// Whether every way has ended.
    fn is_over(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Goes the ways on which a rule holds, and where it is not certain also the others.
    fn take(&mut self, rule: &Compiled, certain: bool) {
        let taken = self.running;
        let others = if certain { States::EMPTY } else { taken };
        self.running = match rule.effect {
            effect if effect.is_end() => others,
            Effect::Skip => {
                self.wait(rule.to as usize, taken);
                others
            }
            effect => others.union(taken.after(effect)),
        };
    }
}

/// How a walk ended.
enum End {
    Decided(Decided),
    /// Several outcomes are possible, and it is known which stage tells more.
    Undecided(Option<Stage>),
    /// Several outcomes are possible.
    Open,
}

/// From the first rule that is not settled to the one that ends every way.
struct Walk<'p> {
    policy: &'p Policy,
    /// Whether every possible outcome is wanted.
    whole: bool,
    paths: Paths,
    outcomes: Outcomes,
    support: FactSet,
    /// Where the walk was when the first rule was Unknown.
    settled: Settled,
    has_unknown: bool,
    /// On the way where no Unknown rule holds.
    certain: Settled,
    ended: Option<RuleId>,
    /// Rules up to here were looked at.
    reached: usize,
    /// Of rules that are Unknown and end the walk, for each outcome the earliest stage that tells.
    stages: [Option<Stage>; Outcome::ALL.len()],
    /// The earliest stage that tells of a rule that is known to matter.
    matters: Option<Stage>,
    /// The earliest stage that tells of any rule that is Unknown.
    earliest: Option<Stage>,
    /// No stage that matters can be earlier than this one.
    floor: Stage,
}

impl<'p> Walk<'p> {
    fn new(policy: &'p Policy, settled: Settled, whole: bool) -> Self {
        Self {
            policy,
            whole,
            paths: Paths::new(&settled),
            outcomes: Outcomes::EMPTY,
            support: settled.support,
            settled,
            has_unknown: false,
            certain: settled,
            ended: None,
            reached: settled.at,
            stages: [None; Outcome::ALL.len()],
            matters: None,
            earliest: None,
            floor: Stage::Request,
        }
    }

    fn rules(&mut self, view: &mut View<'_, '_>, words: &[u64]) {
        self.floor = view.facts.stage.next();
        // Before the first bytes are read, a rule that asks only about what they and later stages
        // tell is Unknown, and need not be asked.
        let early = view.facts.stage < Stage::Hello && view.facts.unknown.is_empty();
        for (at, rule) in candidates(&self.policy.compiled, words, self.settled.at) {
            if !self.paths.reach(at) {
                if self.paths.is_over() {
                    return;
                }
                continue;
            }
            self.reached = at + 1;
            let late = early && rule.waits && rule.first_stage > view.facts.stage;
            let answer = if late {
                Answer {
                    truth: Truth::Unknown,
                    support: FactSet::EMPTY,
                }
            } else {
                rule.guard.ask(view)
            };
            match answer.truth {
                Truth::False => self.support = self.support.union(answer.support),
                Truth::True => {
                    self.hold(at, rule, answer.support);
                    if self.paths.is_over() {
                        return;
                    }
                }
                Truth::Unknown => {
                    let stage = if late {
                        Some(rule.first_stage)
                    } else {
                        rule.guard.unknown_stage(view)
                    };
                    self.may_hold(at, rule, stage);
                }
            }
            if !self.whole && self.matters.is_some_and(|stage| stage <= self.floor) {
                return;
            }
        }
        self.reached = self.policy.compiled.len();
        self.paths.reach(usize::MAX);
    }

    /// A rule that is True.
    fn hold(&mut self, at: usize, rule: &Compiled, support: FactSet) {
        let id = RuleId(u32::try_from(at).unwrap_or(u32::MAX));
        if rule.effect == Effect::None {
            return;
        }
        self.support = self.support.union(support);
        if rule.effect.is_end() {
            self.note(self.paths.running.outcomes_after(rule.effect));
        }
        if self.ended.is_none() && at >= self.certain.from {
            let certain = &mut self.certain;
            match rule.effect {
                Effect::End(_) | Effect::Splice => self.ended = Some(id),
                Effect::Skip => certain.from = rule.to as usize,
                Effect::Set(_) => certain.disposed_by = Some(id),
                Effect::Inspect => certain.inspected_by = Some(id),
                Effect::Warn => certain.warned_by = Some(id),
                Effect::None => {}
            }
            certain.state = rule.effect.state_after(certain.state);
        }
        self.paths.take(rule, true);
    }

    /// A rule that is Unknown: both ways are followed, so that nothing rests on what is known of it.
    fn may_hold(&mut self, at: usize, rule: &Compiled, stage: Option<Stage>) {
        if rule.effect == Effect::None {
            return;
        }
        self.settle(at);
        self.earliest = least(self.earliest, stage);
        if rule.effect.is_end() {
            let outcomes = self.paths.running.outcomes_after(rule.effect);
            self.note(outcomes);
            if self.paths.running.single().is_some()
                && self.paths.waiting.is_empty()
                && let Some(outcome) = outcomes.single()
                && let Some(known) = self.stages.get_mut(usize::from(outcome.index()))
            {
                *known = least(*known, stage);
            }
        }
        self.paths.take(rule, false);
    }

    /// Remembers what is settled, before the first rule that is not.
    fn settle(&mut self, at: usize) {
        if !self.has_unknown {
            self.has_unknown = true;
            self.settled = self.certain;
            self.settled.at = at;
            self.settled.support = self.support;
        }
    }

    /// Adds outcomes that the ways up to here lead to. A rule that would have ended them otherwise,
    /// and may hold or not, matters.
    fn note(&mut self, outcomes: Outcomes) {
        if outcomes.without(self.outcomes).is_empty() {
            return;
        }
        self.outcomes = self.outcomes.union(outcomes);
        for outcome in Outcome::ALL {
            if !outcomes.without(Outcomes::of(outcome)).is_empty()
                && let Some(stage) = self.stages.get(usize::from(outcome.index()))
            {
                self.matters = least(self.matters, *stage);
            }
        }
    }

    /// Adds what comes out of the ways that no rule ended.
    fn end(&mut self, view: &View<'_, '_>) -> End {
        let stopped = !self.whole && self.matters.is_some_and(|stage| stage <= self.floor);
        if !stopped {
            self.defaults(view);
        }
        if let Some(outcome) = self.outcomes.single()
            && !stopped
        {
            return End::Decided(self.decided(outcome, view.facts.is_identified()));
        }
        if view.unavailable {
            return End::Undecided(None);
        }
        if self.matters.is_some() && (stopped || self.matters == self.earliest) {
            return End::Undecided(self.matters);
        }
        End::Open
    }

    fn defaults(&mut self, view: &View<'_, '_>) {
        let defaults = self.policy.defaults;
        let identified = view.facts.is_identified();
        let undisposed = self.paths.running.iter().any(State::is_undisposed);
        let ends = |default: Disposition| {
            self.paths
                .running
                .iter()
                .fold(Outcomes::EMPTY, |all, state| {
                    all.union(Outcomes::of(state.outcome_with(default)))
                })
        };
        let (named, unnamed) = (ends(defaults.identified), ends(defaults.unidentified));
        if identified != Some(false) {
            self.note(named);
        }
        if identified != Some(true) {
            self.note(unnamed);
        }
        if undisposed && defaults.identified != defaults.unidentified {
            self.support =
                self.support
                    .union(FactSet::of_all(&[Fact::Tls, Fact::Host, Fact::Application]));
            if identified.is_none() {
                let stage = later(view, Stage::Hello);
                self.earliest = least(self.earliest, stage);
                if self.paths.running.iter().any(|state| {
                    state.outcome_with(defaults.identified)
                        != state.outcome_with(defaults.unidentified)
                }) {
                    self.matters = least(self.matters, stage);
                }
            }
        }
    }

    fn decided(&self, outcome: Outcome, identified: Option<bool>) -> Decided {
        let certain = &self.certain;
        let cause = match self.ended.or(certain.disposed_by) {
            Some(id) => Cause::Rule(id),
            None if identified == Some(false) => Cause::DefaultUnidentified,
            None => Cause::Default,
        };
        let is_warned = matches!(outcome, Outcome::Warn | Outcome::WarnDecrypted);
        Decided {
            outcome,
            cause,
            warned_by: certain.warned_by.filter(|_| is_warned),
            inspected_by: certain.inspected_by.filter(|_| outcome.is_decrypted()),
            support: self.support,
        }
    }
}

fn least(one: Option<Stage>, two: Option<Stage>) -> Option<Stage> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}
