//! What a leaf is asked for.

use std::net::IpAddr;

use crate::{Fingerprint, LeafName, PresentedName};

/// A wish for a leaf. There is nothing in it to be signed: names and dates are read, and the leaf
/// is made up from them.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// The client that will see the leaf, by which the rate of new leaves is limited.
    pub client: IpAddr,
    /// The server that the client asked for.
    pub name: LeafName,
    /// What answers for it.
    pub origin: Origin,
}

/// What answers for a name.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The gateway itself, with a page that says why a flow is blocked; no origin was asked.
    Gateway,
    /// An origin whose certificate is in order, as far as was looked into.
    Accepted(OriginCertificate),
    /// An origin whose certificate is not in order, and that the policy lets through. Clients must
    /// refuse the leaf as well.
    Invalid {
        /// The certificate.
        certificate: OriginCertificate,
        /// What is wrong with it.
        faults: Faults,
        /// The names that it bears; entries that are no names are left out.
        names: Vec<PresentedName>,
    },
}

/// What a leaf takes from the certificate of an origin.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct OriginCertificate {
    /// SHA-256 of the certificate, by which a leaf is found again and its record refers to it.
    pub fingerprint: Fingerprint,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: i64,
}

/// What is wrong with a certificate: a set.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Faults(u8);

impl Faults {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Its end is past.
    pub const EXPIRED: Self = Self(1);
    /// Its beginning is to come.
    pub const NOT_YET_VALID: Self = Self(2);
    /// It bears other names than the one asked for.
    pub const NAME_MISMATCH: Self = Self(4);
    /// Nobody who is trusted signed it: self-signed, an unknown issuer, a broken chain; and every
    /// fault that a leaf cannot repeat, such as revocation, a weak key or an extension that is not
    /// understood.
    pub const UNTRUSTED: Self = Self(8);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of these are among them.
    #[must_use]
    pub const fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The same as a number, for keys of maps.
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }
}

impl Origin {
    /// The certificate, where an origin was asked.
    #[must_use]
    pub fn certificate(&self) -> Option<&OriginCertificate> {
        match self {
            Self::Gateway => None,
            Self::Accepted(certificate) | Self::Invalid { certificate, .. } => Some(certificate),
        }
    }
}
