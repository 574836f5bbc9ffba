//! What is known of a flow's negotiation of TLS.

use sluice_abi::Reason;

use crate::stage::Stage;

/// What is known of the negotiation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Tls {
    /// The client sent a genuine ClientHello; the origin has not been asked.
    Hello,
    /// The origin answered with a ServerHello that fits.
    Negotiated,
    /// There is no TLS, and why not.
    Not(NotNegotiated),
}

impl Tls {
    /// The word used in explanations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Negotiated => "negotiated",
            Self::Not(reason) => reason.name(),
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "hello" => Some(Self::Hello),
            "negotiated" => Some(Self::Negotiated),
            _ => NotNegotiated::from_name(name).map(Self::Not),
        }
    }
}

/// Why TLS was not negotiated.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum NotNegotiated {
    /// The origin asks for a certificate of the client's, which sluice does not have.
    ClientCertificateRequired,
    /// The client refused a leaf of ours before.
    ClientRejectedCa,
    /// What the origin answers is allowed by no version of TLS.
    InconsistentServerHello,
    /// The ClientHello cannot be decoded.
    MalformedHello,
    /// The origin supports no cipher suite that the client offers.
    NoCommonCipher,
    /// The origin supports no version that the client offers.
    NoCommonVersion,
    /// The first bytes are not TLS.
    NotTls,
    /// The origin ended before it had answered.
    OriginClosed,
    /// A handshake of our own with the origin failed.
    OriginHandshakeFailed,
    /// The ClientHello is larger than the limit.
    Oversize,
    /// The origin speaks first.
    ServerFirst,
    /// The client sends nothing.
    Silent,
    /// A ClientHello in SSLv2 format.
    Sslv2Hello,
    /// The ClientHello was not whole within its time.
    Timeout,
    /// The client ended before its ClientHello was whole.
    Truncated,
    /// The client begins with a TLS record of no length.
    ZeroLengthRecord,
}

impl NotNegotiated {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::ClientCertificateRequired,
        Self::ClientRejectedCa,
        Self::InconsistentServerHello,
        Self::MalformedHello,
        Self::NoCommonCipher,
        Self::NoCommonVersion,
        Self::NotTls,
        Self::OriginClosed,
        Self::OriginHandshakeFailed,
        Self::Oversize,
        Self::ServerFirst,
        Self::Silent,
        Self::Sslv2Hello,
        Self::Timeout,
        Self::Truncated,
        Self::ZeroLengthRecord,
    ];

    /// The stage at which it is known.
    #[must_use]
    pub const fn stage(self) -> Stage {
        match self {
            Self::InconsistentServerHello
            | Self::NoCommonCipher
            | Self::NoCommonVersion
            | Self::OriginClosed => Stage::ServerHello,
            Self::ClientCertificateRequired | Self::OriginHandshakeFailed => Stage::Certificate,
            Self::ClientRejectedCa
            | Self::MalformedHello
            | Self::NotTls
            | Self::Oversize
            | Self::ServerFirst
            | Self::Silent
            | Self::Sslv2Hello
            | Self::Timeout
            | Self::Truncated
            | Self::ZeroLengthRecord => Stage::Hello,
        }
    }

    /// Whether the client sent a genuine ClientHello nevertheless.
    #[must_use]
    pub const fn follows_hello(self) -> bool {
        matches!(self, Self::ClientRejectedCa) || !matches!(self.stage(), Stage::Hello)
    }

    /// The word used in configuration, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.reason().name()
    }

    /// The reason of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The same as one of the reasons that every part of sluice shares.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::ClientCertificateRequired => Reason::ClientCertificateRequired,
            Self::ClientRejectedCa => Reason::ClientRejectedCa,
            Self::InconsistentServerHello => Reason::InconsistentServerHello,
            Self::MalformedHello => Reason::HelloMalformed,
            Self::NoCommonCipher => Reason::NoCommonCipher,
            Self::NoCommonVersion => Reason::NoCommonVersion,
            Self::NotTls => Reason::NotTls,
            Self::OriginClosed => Reason::OriginClosed,
            Self::OriginHandshakeFailed => Reason::OriginHandshakeFailed,
            Self::Oversize => Reason::HelloOversize,
            Self::ServerFirst => Reason::ServerFirst,
            Self::Silent => Reason::Silent,
            Self::Sslv2Hello => Reason::Sslv2Hello,
            Self::Timeout => Reason::HelloTimeout,
            Self::Truncated => Reason::HelloTruncated,
            Self::ZeroLengthRecord => Reason::ZeroLengthRecord,
        }
    }

    pub(crate) const fn bit(self) -> u16 {
        1 << self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_one_name_everywhere() {
        for reason in NotNegotiated::ALL {
            assert_eq!(NotNegotiated::from_name(reason.name()), Some(reason));
        }
    }
}
