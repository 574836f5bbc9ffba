//! Which unknown rules the outcome hangs on, exactly.
//!
//! A rule that may or may not hold matters where, for some way in which the other unknown rules
//! turn out, the outcome with it differs from the outcome without. Going from the last rule to the
//! first, a relation is kept between the places where a walk can be: two places are related where
//! some way of the rules behind leads from them to different outcomes. A place is a running result,
//! a running result that waits for the end of a container that was left, or an outcome.

use crate::{
    outcome::Outcome,
    running::{Effect, STATES, State, States},
    stage::Stage,
};

/// A rule that is not False, on the way from the first rule to the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) effect: Effect,
    /// Whether the rule is Unknown; True otherwise.
    pub(crate) unknown: bool,
    /// The earliest stage that makes known a fact that the rule hangs on; `None`: none does.
    pub(crate) stage: Option<Stage>,
    /// Index of the rule.
    pub(crate) at: u32,
    /// For a rule that leaves its container, the first rule behind it.
    pub(crate) to: u32,
    /// Only where nothing is disposed yet: stands for the default of unidentified flows.
    pub(crate) only_undisposed: bool,
    /// The running results with which the walk comes here.
    pub(crate) before: States,
}

const ENDED: usize = Outcome::ALL.len();
const RUNNING: usize = STATES as usize;

/// What the outcome hangs on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Hangs {
    /// The earliest stage that makes known what some rule that matters hangs on.
    pub(crate) stage: Option<Stage>,
    /// Index of the first rule that matters and hangs on what that stage tells.
    pub(crate) first: Option<u32>,
    /// Whether any rule matters.
    pub(crate) any: bool,
}

/// Finds what the outcome hangs on. `end` gives the outcome of a running result behind the last
/// step.
pub(crate) fn hangs(steps: &[Step], end: impl Fn(State) -> Outcome) -> Hangs {
    let mut targets: Vec<u32> = steps
        .iter()
        .filter(|step| step.effect == Effect::Skip)
        .map(|step| step.to)
        .collect();
    targets.sort_unstable();
    targets.dedup();
    let mut differ = Differ::new(targets.len(), end);
    let mut found = Hangs::default();
    let mut open = targets.len();
    for step in steps.iter().rev() {
        // Whoever waits for the end of a container that begins before this rule and ends behind it
        // goes on there: coming from behind, that end is passed first.
        while let Some(index) = open.checked_sub(1)
            && targets.get(index).is_some_and(|&to| to > step.at)
        {
            differ.wake(index);
            open = index;
        }
        let target = targets.binary_search(&step.to).unwrap_or_default();
        if step.unknown {
            let matters = step
                .before
                .iter()
                .any(|state| differ.get(place(state), differ.after(step, state, target)));
            if matters {
                found.any = true;
                // Going to the front, whoever comes later stands before.
                if let Some(stage) = step.stage
                    && found.stage.is_none_or(|known| stage <= known)
                {
                    found.stage = Some(stage);
                    found.first = Some(step.at);
                }
            }
        }
        differ.step(step, target);
    }
    found
}

const fn place(state: State) -> usize {
    ENDED + state.index() as usize
}

/// The relation.
struct Differ {
    places: usize,
    related: Vec<bool>,
}

impl Differ {
    /// The relation behind the last step, where whoever waits has long gone on.
    fn new(containers: usize, end: impl Fn(State) -> Outcome) -> Self {
        let places = ENDED + RUNNING * (1 + containers);
        let outcome = |place: usize| match place.checked_sub(ENDED) {
            None => place,
            Some(running) => {
                let state = u8::try_from(running % RUNNING).unwrap_or_default();
                usize::from(end(State::from_index(state)).index())
            }
        };
        let mut related = Vec::with_capacity(places * places);
        for one in 0..places {
            related.extend((0..places).map(|two| outcome(one) != outcome(two)));
        }
        Self { places, related }
    }

    fn get(&self, one: usize, two: usize) -> bool {
        self.related
            .get(one * self.places + two)
            .copied()
            .unwrap_or_default()
    }

    /// Where a walk is that waits for a container's end.
    const fn waiting(state: State, target: usize) -> usize {
        ENDED + RUNNING * (1 + target) + state.index() as usize
    }

    /// Where a walk is after a rule that holds.
    fn after(&self, step: &Step, state: State, target: usize) -> usize {
        if step.only_undisposed && !state.is_undisposed() {
            return place(state);
        }
        if step.effect == Effect::Skip {
            return Self::waiting(state, target);
        }
        match step.effect.outcome_after(state) {
            Some(outcome) => usize::from(outcome.index()),
            None => place(step.effect.state_after(state)),
        }
    }

    /// From here on to the front, whoever waits for this end is apart from whoever runs; behind it
    /// both are one.
    fn wake(&mut self, target: usize) {
        let map = |at: usize| {
            let first = ENDED + RUNNING * (1 + target);
            match at.checked_sub(first) {
                Some(state) if state < RUNNING => ENDED + state,
                _ => at,
            }
        };
        self.replace(|old, one, two| old.get(map(one), map(two)));
    }

    /// The relation before a rule from that behind it.
    fn step(&mut self, step: &Step, target: usize) {
        let map = |differ: &Self, at: usize| match at.checked_sub(ENDED) {
            Some(state) if state < RUNNING => {
                let state = u8::try_from(state).unwrap_or_default();
                differ.after(step, State::from_index(state), target)
            }
            _ => at,
        };
        let unknown = step.unknown;
        self.replace(|old, one, two| {
            old.get(map(old, one), map(old, two)) || (unknown && old.get(one, two))
        });
    }

    fn replace(&mut self, new: impl Fn(&Self, usize, usize) -> bool) {
        let places = self.places;
        let mut related = Vec::with_capacity(self.related.len());
        for one in 0..places {
            related.extend((0..places).map(|two| new(self, one, two)));
        }
        self.related = related;
    }
}
