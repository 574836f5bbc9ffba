//! What an origin's certificate can be.

/// What an origin's certificate is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum CertificateState {
    /// Its time is over.
    Expired,
    /// It is for another name.
    NameMismatch,
    /// Its time has not come.
    NotYetValid,
    /// Whether it was revoked could not be found out.
    RevocationUnknown,
    /// Its issuer has revoked it.
    Revoked,
    /// It was issued by itself.
    SelfSigned,
    /// The handshake that would have shown it could not be made.
    Unavailable,
    /// It has a critical extension that nobody knows.
    UnknownCriticalExtension,
    /// It leads to no root that is trusted.
    Untrusted,
    /// Nothing is wrong with it.
    Valid,
    /// Its key is too weak.
    WeakKey,
    /// It is signed in a way that is too weak.
    WeakSignature,
}

impl CertificateState {
    /// Every state.
    pub const ALL: [Self; 12] = [
        Self::Expired,
        Self::NameMismatch,
        Self::NotYetValid,
        Self::RevocationUnknown,
        Self::Revoked,
        Self::SelfSigned,
        Self::Unavailable,
        Self::UnknownCriticalExtension,
        Self::Untrusted,
        Self::Valid,
        Self::WeakKey,
        Self::WeakSignature,
    ];

    /// The states that a certificate is refused for.
    pub const INVALID: [Self; 10] = [
        Self::Expired,
        Self::NameMismatch,
        Self::NotYetValid,
        Self::RevocationUnknown,
        Self::Revoked,
        Self::SelfSigned,
        Self::UnknownCriticalExtension,
        Self::Untrusted,
        Self::WeakKey,
        Self::WeakSignature,
    ];

    /// The word used in configuration and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NameMismatch => "name-mismatch",
            Self::NotYetValid => "not-yet-valid",
            Self::RevocationUnknown => "revocation-unknown",
            Self::Revoked => "revoked",
            Self::SelfSigned => "self-signed",
            Self::Unavailable => "unavailable",
            Self::UnknownCriticalExtension => "unknown-critical-extension",
            Self::Untrusted => "untrusted",
            Self::Valid => "valid",
            Self::WeakKey => "weak-key",
            Self::WeakSignature => "weak-signature",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A set of states: a certificate can be refused for more than one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CertificateStates(u16);

impl CertificateStates {
    /// No state: there is no certificate.
    pub const NONE: Self = Self(0);

    /// The set of some states.
    #[must_use]
    pub fn of(states: impl IntoIterator<Item = CertificateState>) -> Self {
        Self(states.into_iter().fold(0, |bits, s| bits | 1 << s as u8))
    }

    /// Whether the state is a member.
    #[must_use]
    pub const fn contains(self, state: CertificateState) -> bool {
        self.0 & (1 << state as u8) != 0
    }

    /// Whether both sets have a member in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order of [`CertificateState::ALL`].
    pub fn iter(self) -> impl Iterator<Item = CertificateState> {
        CertificateState::ALL
            .into_iter()
            .filter(move |&state| self.contains(state))
    }
}
