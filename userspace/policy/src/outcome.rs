//! What can become of a flow.

use std::fmt;

/// How a block looks to the client.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BlockKind {
    /// A TLS alert that says that access is denied; a reset where the client does not speak TLS.
    Alert,
    /// A page that says who blocked what and why. Without a CA it is shown as an alert.
    Page,
    /// A TCP reset.
    Reset,
}

impl BlockKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Page, Self::Reset];

    /// The word used in configuration and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Page => "page",
            Self::Reset => "reset",
        }
    }
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// Let it through at the least depth, undecrypted.
    Allow,
    /// Decrypt it, and let its requests through as far as the rules for requests do.
    AllowDecrypted,
    /// Refuse it.
    Block(BlockKind),
    /// Let it through and never decrypt it.
    Splice,
    /// Show a warning once per period, then let it through undecrypted.
    Warn,
    /// Show a warning once per period, then go on as [`Outcome::AllowDecrypted`].
    WarnDecrypted,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 8] = [
        Self::Allow,
        Self::AllowDecrypted,
        Self::Block(BlockKind::Alert),
        Self::Block(BlockKind::Page),
        Self::Block(BlockKind::Reset),
        Self::Splice,
        Self::Warn,
        Self::WarnDecrypted,
    ];

    /// The word used in explanations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::AllowDecrypted => "allow-decrypted",
            Self::Block(BlockKind::Alert) => "block-alert",
            Self::Block(BlockKind::Page) => "block-page",
            Self::Block(BlockKind::Reset) => "block-reset",
            Self::Splice => "splice",
            Self::Warn => "warn",
            Self::WarnDecrypted => "warn-decrypted",
        }
    }

    /// Whether the flow is refused.
    #[must_use]
    pub const fn is_block(self) -> bool {
        matches!(self, Self::Block(_))
    }

    /// Whether the flow is decrypted.
    #[must_use]
    pub const fn is_decrypted(self) -> bool {
        matches!(self, Self::AllowDecrypted | Self::WarnDecrypted)
    }

    /// Place in [`Outcome::ALL`].
    pub(crate) const fn index(self) -> u8 {
        match self {
            Self::Allow => 0,
            Self::AllowDecrypted => 1,
            Self::Block(BlockKind::Alert) => 2,
            Self::Block(BlockKind::Page) => 3,
            Self::Block(BlockKind::Reset) => 4,
            Self::Splice => 5,
            Self::Warn => 6,
            Self::WarnDecrypted => 7,
        }
    }

    const fn bit(self) -> u8 {
        1 << self.index()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of outcomes.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Outcomes(u8);

impl Outcomes {
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// The set of one outcome.
    #[must_use]
    pub const fn of(outcome: Outcome) -> Self {
        Self(outcome.bit())
    }

    /// The members of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members that are not in the other set.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the outcome is a member.
    #[must_use]
    pub const fn contains(self, outcome: Outcome) -> bool {
        self.0 & outcome.bit() != 0
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The member of a set that has exactly one.
    #[must_use]
    pub fn single(self) -> Option<Outcome> {
        if self.0.is_power_of_two() {
            self.iter().next()
        } else {
            None
        }
    }

    /// The members, in the order of [`Outcome::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Outcome> {
        Outcome::ALL
            .into_iter()
            .filter(move |&outcome| self.contains(outcome))
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(Outcome::name))
            .finish()
    }
}
