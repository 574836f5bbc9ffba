//! What may be set about origins, and what can be wrong with it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

/// How origins are met and judged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Whether the roots that the system trusts are trusted.
    pub system_roots: bool,
    /// Files of further roots, in PEM or DER.
    pub roots: Vec<PathBuf>,
    /// How revocation is found out.
    pub revocation: RevocationMode,
    /// What it means where that cannot be found out.
    pub unknown: Unknown,
    /// Files of certificate revocation lists, in PEM or DER. Like all files they are read once, when
    /// the generation is made.
    pub crls: Vec<PathBuf>,
    /// What an origin that asks for a client certificate is told.
    pub client_certificate: ClientCertificate,
    /// The certificates of sluice's own authority: no origin may show them, nor anything that they
    /// issued.
    pub own: Vec<CertificateDer<'static>>,
    /// How long an origin may take to say its first byte, from the moment it is connected.
    pub answer_timeout: Duration,
    /// How long the whole handshake may take, from the same moment.
    pub handshake_timeout: Duration,
    /// For how many combinations of client and origin sessions are kept, some 20 KiB each at most;
    /// 0: none are.
    pub sessions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            system_roots: true,
            roots: Vec::new(),
            revocation: RevocationMode::default(),
            unknown: Unknown::default(),
            crls: Vec::new(),
            client_certificate: ClientCertificate::default(),
            own: Vec::new(),
            answer_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(10),
            sessions: 2048,
        }
    }
}

/// How revocation is found out. sluice asks nobody: it would tell third parties who visits what.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RevocationMode {
    /// Not at all.
    Off,
    /// By the OCSP answers that origins staple.
    #[default]
    Staple,
    /// By those, and for everything else in the chain by revocation lists.
    Crl,
}

impl RevocationMode {
    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Staple => "staple",
            Self::Crl => "crl",
        }
    }
}

/// What an unknown revocation means. A leaf that demands a staple (RFC 7633) and comes without one
/// is at fault either way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unknown {
    /// Nothing: the certificate can still be valid.
    #[default]
    Accept,
    /// The certificate is `revocation-unknown`.
    Refuse,
}

impl Unknown {
    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Refuse => "refuse",
        }
    }
}

/// What an origin that asks for a client certificate is told; sluice has none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientCertificate {
    /// The handshake ends there.
    #[default]
    Refuse,
    /// An empty list, as RFC 8446 section 4.4.2 and RFC 5246 section 7.4.6 allow: the origin
    /// decides.
    Empty,
}

impl ClientCertificate {
    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Empty => "empty",
        }
    }
}

/// Why origins cannot be met as the settings say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file could not be read.
    #[error("{path}: {source}; name a file that sluice may read")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of roots holds none, or one that is no root.
    #[error("{path}: {what}; give roots in DER, or as PEM blocks named CERTIFICATE")]
    Roots {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file of revocation lists holds none, or one that cannot be used.
    #[error(
        "{path}: {what}; give a full list (RFC 5280 section 5) in DER, or as PEM blocks named X509 CRL"
    )]
    Crl {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Revocation lists are to be asked and none is named.
    #[error(
        "revocation = \"crl\" without a revocation list; name files in crls, or say \"staple\""
    )]
    NoCrls,
    /// The system has no roots to trust.
    #[error(
        "the system has no root certificates: {0}; install ca-certificates, or name roots and turn the system's off"
    )]
    SystemRoots(String),
    /// One of sluice's own certificates cannot be decoded.
    #[error("sluice's own CA certificate cannot be decoded; make it anew")]
    Own,
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {0}; this is a fault of the build")]
    Tls(#[from] rustls::Error),
}
