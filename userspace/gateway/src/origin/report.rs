//! What a handshake told of an origin.

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use sluice_policy::{CertificateStates, TlsVersion};

use super::faults::Faults;
use super::view::KeyKind;

/// All that one handshake of sluice's own told of an origin.
#[derive(Clone, Debug)]
pub struct Report {
    /// The certificate that the origin proved to have, valid or not.
    pub certificate: Certificate,
    /// What both sides agreed on.
    pub negotiated: Negotiated,
}

impl Report {
    /// Whether nothing is wrong with the certificate.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.certificate.faults.is_empty()
    }
}

/// A chain of certificates, judged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// What is wrong with it; empty where it is valid.
    ///
    /// Expired, weak and the like stand alone only where everything else was verified and found
    /// right: what could not be verified is untrusted as well.
    pub faults: Faults,
    /// What is known of its revocation.
    pub revocation: Revocation,
    /// What the leaf says of itself; `None` where it cannot be decoded.
    pub leaf: Option<Leaf>,
    /// The certificates as they were sent, the leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The OCSP answer that was stapled; empty where there was none.
    pub staple: Vec<u8>,
    /// When it was judged, in seconds since 1970.
    pub judged_at: u64,
}

impl Certificate {
    /// The states by which rules know it.
    #[must_use]
    pub fn states(&self) -> CertificateStates {
        self.faults.states()
    }

    /// Who issued it, as rules have it; `None` where it cannot be decoded.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.leaf.as_ref().map(|leaf| leaf.issuer.as_str())
    }
}

/// What a leaf says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leaf {
    /// Its subject, as RFC 4514 writes names: `CN=www.example,O=Example,C=DE`.
    pub subject: String,
    /// Its issuer, written likewise.
    pub issuer: String,
    /// The DNS names and addresses that it is for; control bytes are escaped.
    pub names: Vec<String>,
    /// The first second of its time, since 1970.
    pub not_before: i64,
    /// The last second of its time, since 1970.
    pub not_after: i64,
    /// The SHA-256 digest of its DER.
    pub fingerprint: [u8; 32],
    /// The kind of its key.
    pub key: KeyKind,
}

/// What is known of a revocation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Revocation {
    /// Nobody asked, or no issuer is known to ask about.
    #[default]
    NotChecked,
    /// It is not revoked.
    Good,
    /// It is revoked.
    Revoked,
    /// It could not be found out.
    Unknown,
}

/// What both sides of a handshake agreed on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Negotiated {
    /// The version.
    pub version: ProtocolVersion,
    /// The cipher suite.
    pub cipher: CipherSuite,
    /// The group of the key exchange; `None` in a resumed session without one.
    pub group: Option<NamedGroup>,
    /// The application protocol; `None` where the origin chose none.
    pub alpn: Option<Vec<u8>>,
    /// Whether the origin asked for a client certificate; in a resumed session, whether it had.
    pub client_certificate_requested: bool,
    /// Whether an OCSP answer was stapled.
    pub stapled: bool,
    /// Whether an earlier session with the same client was resumed.
    pub resumed: bool,
}

impl Negotiated {
    /// The version, as rules know it.
    #[must_use]
    pub fn tls_version(&self) -> Option<TlsVersion> {
        TlsVersion::from_code(self.version.into())
    }
}
