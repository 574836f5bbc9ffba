//! Why there is no handshake with an origin.

use std::fmt;
use std::io;

use rustls::{AlertDescription, InvalidMessage, PeerIncompatible, PeerMisbehaved};
use sluice_policy::NotNegotiated;

use super::report::Certificate;

/// A handshake that came to nothing.
#[derive(Clone, Debug)]
pub struct HandshakeFailure {
    /// Why.
    pub cause: Cause,
    /// The certificate that the origin had shown by then. The origin has proved to have its key
    /// only where the cause is [`Cause::ClientCertificateRequired`].
    pub certificate: Option<Box<Certificate>>,
    /// Whether the origin had asked for a client certificate by then.
    pub client_certificate_requested: bool,
}

impl HandshakeFailure {
    pub(super) const fn bare(cause: Cause) -> Self {
        Self {
            cause,
            certificate: None,
            client_certificate_requested: false,
        }
    }

    /// Why TLS was not negotiated, as rules have it; `None` where nothing is known of that: the
    /// connection failed or took too long.
    #[must_use]
    pub const fn not_negotiated(&self) -> Option<NotNegotiated> {
        Some(match self.cause {
            Cause::NoCommonVersion => NotNegotiated::NoCommonVersion,
            Cause::NoCommonCipher => NotNegotiated::NoCommonCipher,
            Cause::InconsistentServerHello => NotNegotiated::InconsistentServerHello,
            Cause::ClientCertificateRequired => NotNegotiated::ClientCertificateRequired,
            Cause::Closed { heard: false } => NotNegotiated::OriginClosed,
            Cause::Alert(_)
            | Cause::BadProof
            | Cause::Closed { heard: true }
            | Cause::Misbehaved
            | Cause::SelfTrust
            | Cause::TooLarge
            | Cause::TooManyCertificates(_) => NotNegotiated::OriginHandshakeFailed,
            Cause::Io(_) | Cause::Local | Cause::Timeout(_) => return None,
        })
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for HandshakeFailure {}

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The origin sent a fatal alert with this description (RFC 8446 section 6.2), for which there
    /// is no cause of its own.
    #[error("the origin ended the handshake with alert {0}")]
    Alert(u8),
    /// The origin did not prove to have the key of its certificate, or that key is of a kind or a
    /// size that nothing is proved with.
    #[error("the origin did not prove that the certificate is its own")]
    BadProof,
    /// The origin asks for a client certificate, and does without none, or is not to be answered.
    #[error("the origin asks for a client certificate; let rules splice it")]
    ClientCertificateRequired,
    /// The origin ended the connection.
    #[error("the origin closed the connection within the handshake")]
    Closed {
        /// Whether it had said anything before.
        heard: bool,
    },
    /// What the origin began with is allowed by no version of TLS.
    #[error("the origin does not answer with TLS")]
    InconsistentServerHello,
    /// The connection failed.
    #[error("the connection to the origin failed: {0}")]
    Io(io::ErrorKind),
    /// The gateway itself could not go on: no randomness, no usable name.
    #[error("the gateway could not make a handshake")]
    Local,
    /// The origin broke the protocol.
    #[error("the origin broke the protocol of TLS")]
    Misbehaved,
    /// The origin supports no cipher suite or group that sluice offers.
    #[error("the origin supports no cipher suite that sluice offers")]
    NoCommonCipher,
    /// The origin supports neither TLS 1.2 nor TLS 1.3.
    #[error("the origin supports neither TLS 1.2 nor TLS 1.3")]
    NoCommonVersion,
    /// The origin shows a certificate of sluice's own authority: a loop, or a stolen leaf.
    #[error(
        "the origin shows a certificate of sluice's own authority: it is sluice, or holds a leaf of its"
    )]
    SelfTrust,
    /// The origin took too long.
    #[error("the origin took too long: {0}")]
    Timeout(Phase),
    /// A message of the handshake is larger than 64 KiB.
    #[error("the origin sent a message of more than 64 KiB")]
    TooLarge,
    /// The origin sent more certificates than any chain needs.
    #[error("the origin sent {0} certificates")]
    TooManyCertificates(usize),
}

/// What an origin is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Its first byte.
    Answer,
    /// The end of the handshake.
    Handshake,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer => "it said nothing",
            Self::Handshake => "the handshake did not end",
        })
    }
}

impl Cause {
    /// The cause of an error of the handshake's; `heard` where the origin had said anything.
    pub(super) fn of(error: &io::Error, heard: bool) -> Self {
        let inner = error.get_ref().and_then(|e| e.downcast_ref());
        match inner {
            Some(error) => Self::of_tls(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof => Self::Closed { heard },
                // Answering with a reset is a way to close.
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    Self::Closed { heard }
                }
                io::ErrorKind::InvalidData => Self::Misbehaved,
                kind => Self::Io(kind),
            },
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::Error;
        match error {
            Error::AlertReceived(alert) => match alert {
                AlertDescription::ProtocolVersion | AlertDescription::InappropriateFallback => {
                    Self::NoCommonVersion
                }
                AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                    Self::NoCommonCipher
                }
                AlertDescription::CertificateRequired => Self::ClientCertificateRequired,
                other => Self::Alert((*other).into()),
            },
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::NoCommonVersion,
            Error::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoSignatureSchemesInCommon,
            ) => Self::NoCommonCipher,
            Error::PeerMisbehaved(
                PeerMisbehaved::SelectedUnofferedCipherSuite
                | PeerMisbehaved::SelectedUnofferedCompression
                | PeerMisbehaved::SelectedUnofferedKxGroup
                | PeerMisbehaved::SelectedUnusableCipherSuiteForVersion
                | PeerMisbehaved::SelectedTls12UsingTls13VersionExtension
                | PeerMisbehaved::UnsolicitedServerHelloExtension
                | PeerMisbehaved::DuplicateServerHelloExtensions,
            ) => Self::InconsistentServerHello,
            Error::InvalidMessage(
                InvalidMessage::HandshakePayloadTooLarge
                | InvalidMessage::CertificatePayloadTooLarge
                | InvalidMessage::MessageTooLarge,
            )
            | Error::PeerSentOversizedRecord => Self::TooLarge,
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::InconsistentServerHello,
            Error::InvalidCertificate(_) => Self::BadProof,
            Error::FailedToGetCurrentTime
            | Error::FailedToGetRandomBytes
            | Error::UnsupportedNameType => Self::Local,
            _ => Self::Misbehaved,
        }
    }
}
