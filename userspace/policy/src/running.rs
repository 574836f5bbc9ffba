//! The result of a walk so far, and every way in which it may have turned out.

use crate::{
    outcome::{BlockKind, Outcome, Outcomes},
    rule::{Action, DefaultAction},
};

/// How many different running results there are: five dispositions, inspected or not, warned or
/// not. A splice ends the walk, so that it is none of them.
pub(crate) const STATES: u32 = 20;

/// A running result: disposition times four, plus 2 where inspected, plus 1 where warned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct State(u8);

const INSPECT: u8 = 2;
const WARN: u8 = 1;

/// What a rule does with the running result where it holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    /// Nothing that anybody looks deeper for.
    None,
    /// Sets the disposition and ends the walk.
    End(Disposition),
    /// Sets the disposition and goes on.
    Set(Disposition),
    /// Ends the walk, never to be decrypted.
    Splice,
    Inspect,
    Warn,
    /// Goes on behind the container.
    Skip,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Disposition {
    Allow = 1,
    Alert = 2,
    Page = 3,
    Reset = 4,
}

impl From<DefaultAction> for Disposition {
    fn from(action: DefaultAction) -> Self {
        match action {
            DefaultAction::Allow => Self::Allow,
            DefaultAction::Block(kind) => kind.into(),
        }
    }
}

impl From<BlockKind> for Disposition {
    fn from(kind: BlockKind) -> Self {
        match kind {
            BlockKind::Alert => Self::Alert,
            BlockKind::Page => Self::Page,
            BlockKind::Reset => Self::Reset,
        }
    }
}

impl Effect {
    pub(crate) fn of(action: &Action, last: bool) -> Self {
        let dispose = |disposition| {
            if last {
                Self::End(disposition)
            } else {
                Self::Set(disposition)
            }
        };
        match *action {
            Action::Allow => dispose(Disposition::Allow),
            Action::Block(kind) => dispose(kind.into()),
            Action::Inspect => Self::Inspect,
            Action::NoLog | Action::Tag(_) => Self::None,
            Action::Skip => Self::Skip,
            Action::Splice => Self::Splice,
            Action::Warn(_) => Self::Warn,
        }
    }

    /// Whether the walk ends where the rule holds.
    pub(crate) const fn is_end(self) -> bool {
        matches!(self, Self::End(_) | Self::Splice)
    }

    /// The outcome where an ending rule holds after some running result.
    pub(crate) const fn outcome_after(self, state: State) -> Option<Outcome> {
        match self {
            Self::End(disposition) => Some(state.with(disposition).outcome()),
            Self::Splice if state.0 & WARN != 0 => Some(Outcome::Warn),
            Self::Splice => Some(Outcome::Splice),
            _ => None,
        }
    }

    /// The running result where a rule holds that goes on.
    pub(crate) const fn state_after(self, state: State) -> State {
        match self {
            Self::Set(disposition) => state.with(disposition),
            Self::Inspect => State(state.0 | INSPECT),
            Self::Warn => State(state.0 | WARN),
            _ => state,
        }
    }
}

impl State {
    pub(crate) const START: Self = Self(0);

    pub(crate) const fn from_index(index: u8) -> Self {
        Self(index)
    }

    pub(crate) const fn index(self) -> u8 {
        self.0
    }

    const fn with(self, disposition: Disposition) -> Self {
        Self((disposition as u8) << 2 | self.0 & 3)
    }

    pub(crate) const fn is_undisposed(self) -> bool {
        self.0 < 4
    }

    /// What comes out where the walk ends here; where nothing was disposed, as if it was allowed.
    const fn outcome(self) -> Outcome {
        match self.0 >> 2 {
            2 => Outcome::Block(BlockKind::Alert),
            3 => Outcome::Block(BlockKind::Page),
            4 => Outcome::Block(BlockKind::Reset),
            _ => match self.0 & 3 {
                0 => Outcome::Allow,
                WARN => Outcome::Warn,
                INSPECT => Outcome::AllowDecrypted,
                _ => Outcome::WarnDecrypted,
            },
        }
    }

    /// What comes out behind the last rule, with the default that stands for the flow.
    pub(crate) const fn outcome_with(self, default: Disposition) -> Outcome {
        if self.is_undisposed() {
            self.with(default).outcome()
        } else {
            self.outcome()
        }
    }
}

/// A set of running results.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct States(u32);

impl States {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) const fn of(state: State) -> Self {
        Self(1 << state.0)
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The member of a set that has exactly one.
    pub(crate) const fn single(self) -> Option<State> {
        if self.0.is_power_of_two() {
            Some(State(self.0.trailing_zeros() as u8))
        } else {
            None
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = State> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let index = u8::try_from(rest.trailing_zeros()).ok()?;
            (rest != 0).then(|| {
                rest &= rest - 1;
                State(index)
            })
        })
    }

    /// The running results where a rule that goes on holds after any of these.
    pub(crate) fn after(self, effect: Effect) -> Self {
        self.iter().fold(Self::EMPTY, |all, state| {
            all.union(Self::of(effect.state_after(state)))
        })
    }

    /// The outcomes where a rule that ends the walk holds after any of these.
    pub(crate) fn outcomes_after(self, effect: Effect) -> Outcomes {
        self.iter()
            .filter_map(|state| effect.outcome_after(state))
            .fold(Outcomes::EMPTY, |all, outcome| {
                all.union(Outcomes::of(outcome))
            })
    }
}
