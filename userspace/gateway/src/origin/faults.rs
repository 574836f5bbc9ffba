//! What can be wrong with a chain of certificates.

use std::fmt;

use sluice_policy::{CertificateState, CertificateStates};

/// One thing that is wrong, finer than the states that rules speak of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Fault {
    /// The signature of a certificate does not fit its issuer's key.
    BadSignature,
    /// The leaf is a certificate authority's (RFC 5280 section 4.2.1.9).
    CaAsLeaf,
    /// Its key, or that of an issuer, is one that everybody is told to distrust.
    Distrusted,
    /// A certificate's time is over.
    Expired,
    /// It cannot be decoded, or is not of version 3 (RFC 5280 section 4.1).
    Malformed,
    /// It does not name the server that was asked for (RFC 9525 section 6).
    NameMismatch,
    /// An issuer is no certificate authority.
    NotACa,
    /// A certificate's time has not come.
    NotYetValid,
    /// An issuer may not issue for this name (RFC 5280 section 4.2.1.10).
    OutsideNameConstraints,
    /// More issuers follow than one of them allows, or than anybody needs.
    PathTooLong,
    /// Whether it was revoked could not be found out, and that counts.
    RevocationUnknown,
    /// Its issuer has revoked it.
    Revoked,
    /// The leaf was issued by itself.
    SelfSigned,
    /// It is of sluice's own certificate authority, or issued by it: a loop, or a stolen leaf.
    SelfTrust,
    /// To find a way to a root takes more work than any honest chain does.
    TooCostly,
    /// It has a critical extension that nobody knows (RFC 5280 section 4.2).
    UnknownCriticalExtension,
    /// No root that is trusted has issued it.
    UnknownIssuer,
    /// It is signed by an algorithm that is unknown here.
    UnsupportedSignature,
    /// The key of the leaf or of an issuer is too weak.
    WeakKey,
    /// The leaf or an issuer is signed in a way that is too weak.
    WeakSignature,
    /// It is not for servers (RFC 5280 section 4.2.1.12).
    WrongPurpose,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 21] = [
        Self::BadSignature,
        Self::CaAsLeaf,
        Self::Distrusted,
        Self::Expired,
        Self::Malformed,
        Self::NameMismatch,
        Self::NotACa,
        Self::NotYetValid,
        Self::OutsideNameConstraints,
        Self::PathTooLong,
        Self::RevocationUnknown,
        Self::Revoked,
        Self::SelfSigned,
        Self::SelfTrust,
        Self::TooCostly,
        Self::UnknownCriticalExtension,
        Self::UnknownIssuer,
        Self::UnsupportedSignature,
        Self::WeakKey,
        Self::WeakSignature,
        Self::WrongPurpose,
    ];

    /// The word used in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadSignature => "bad-signature",
            Self::CaAsLeaf => "ca-as-leaf",
            Self::Distrusted => "distrusted",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::NameMismatch => "name-mismatch",
            Self::NotACa => "not-a-ca",
            Self::NotYetValid => "not-yet-valid",
            Self::OutsideNameConstraints => "outside-name-constraints",
            Self::PathTooLong => "path-too-long",
            Self::RevocationUnknown => "revocation-unknown",
            Self::Revoked => "revoked",
            Self::SelfSigned => "self-signed",
            Self::SelfTrust => "self-trust",
            Self::TooCostly => "too-costly",
            Self::UnknownCriticalExtension => "unknown-critical-extension",
            Self::UnknownIssuer => "unknown-issuer",
            Self::UnsupportedSignature => "unsupported-signature",
            Self::WeakKey => "weak-key",
            Self::WeakSignature => "weak-signature",
            Self::WrongPurpose => "wrong-purpose",
        }
    }

    /// The state that rules know it by.
    ///
    /// Whatever keeps a chain from leading to a trusted root is `untrusted`.
    #[must_use]
    pub const fn state(self) -> CertificateState {
        match self {
            Self::Expired => CertificateState::Expired,
            Self::NameMismatch => CertificateState::NameMismatch,
            Self::NotYetValid => CertificateState::NotYetValid,
            Self::RevocationUnknown => CertificateState::RevocationUnknown,
            Self::Revoked => CertificateState::Revoked,
            Self::SelfSigned => CertificateState::SelfSigned,
            Self::UnknownCriticalExtension => CertificateState::UnknownCriticalExtension,
            Self::WeakKey => CertificateState::WeakKey,
            Self::WeakSignature => CertificateState::WeakSignature,
            Self::BadSignature
            | Self::CaAsLeaf
            | Self::Distrusted
            | Self::Malformed
            | Self::NotACa
            | Self::OutsideNameConstraints
            | Self::PathTooLong
            | Self::SelfTrust
            | Self::TooCostly
            | Self::UnknownIssuer
            | Self::UnsupportedSignature
            | Self::WrongPurpose => CertificateState::Untrusted,
        }
    }
}

/// A set of faults.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Faults(u32);

impl Faults {
    /// Nothing is wrong.
    pub const NONE: Self = Self(0);

    /// The set of some faults.
    #[must_use]
    pub fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        let mut set = Self::NONE;
        faults.into_iter().for_each(|fault| set.insert(fault));
        set
    }

    /// Adds one.
    pub const fn insert(&mut self, fault: Fault) {
        self.0 |= 1 << fault as u8;
    }

    /// Whether the fault is a member.
    #[must_use]
    pub const fn contains(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u8) != 0
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order of [`Fault::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |&f| self.contains(f))
    }

    /// The states that rules know them by: [`CertificateState::Valid`] alone where there is none.
    #[must_use]
    pub fn states(self) -> CertificateStates {
        if self.is_empty() {
            return CertificateStates::of([CertificateState::Valid]);
        }
        CertificateStates::of(self.iter().map(Fault::state))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Fault::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_a_state_that_certificates_are_refused_for() {
        for fault in Fault::ALL {
            let states = Faults::of([fault]).states();
            assert!(states.contains(fault.state()), "{fault:?}");
            assert!(CertificateState::INVALID.contains(&fault.state()));
            assert!(!states.contains(CertificateState::Valid));
        }
        assert_eq!(
            Faults::NONE.states(),
            CertificateStates::of([CertificateState::Valid])
        );
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::HashSet<_> = Fault::ALL.map(Fault::name).into();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
