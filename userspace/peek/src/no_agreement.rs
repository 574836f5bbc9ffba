//! The ways in which an origin does not take up a client's TLS.

use core::fmt;

/// Why an origin's answer to a genuine ClientHello is no ServerHello that can be believed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum NoAgreement {
    /// The origin says that it speaks no version that the client offers: the fatal alert
    /// protocol_version, or inappropriate_fallback (RFC 7507).
    NoCommonVersion,
    /// The origin says that it accepts no cipher suite, or no other parameter, that the client
    /// offers: the fatal alert handshake_failure or insufficient_security.
    NoCommonCipher,
    /// The origin answers what no version of TLS allows as an answer to this client.
    Inconsistent,
    /// The origin ended its stream, or sent another alert that ends it, before its ServerHello was
    /// whole.
    OriginClosed,
    /// The answer is longer than the limit.
    Oversize,
    /// The deadline passed before the ServerHello was whole.
    Timeout,
}

impl NoAgreement {
    /// Every way, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::NoCommonVersion,
        Self::NoCommonCipher,
        Self::Inconsistent,
        Self::OriginClosed,
        Self::Oversize,
        Self::Timeout,
    ];

    /// The word used in rules, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCommonVersion => "no-common-version",
            Self::NoCommonCipher => "no-common-cipher",
            Self::Inconsistent => "inconsistent-server-hello",
            Self::OriginClosed => "origin-closed",
            Self::Oversize => "oversize-server-hello",
            Self::Timeout => "origin-timeout",
        }
    }

    /// What an alert that ends the connection says (RFC 8446 section 6.2).
    pub(crate) const fn of_alert(code: u8) -> Self {
        const HANDSHAKE_FAILURE: u8 = 40;
        const PROTOCOL_VERSION: u8 = 70;
        const INSUFFICIENT_SECURITY: u8 = 71;
        const INAPPROPRIATE_FALLBACK: u8 = 86;
        match code {
            PROTOCOL_VERSION | INAPPROPRIATE_FALLBACK => Self::NoCommonVersion,
            HANDSHAKE_FAILURE | INSUFFICIENT_SECURITY => Self::NoCommonCipher,
            _ => Self::OriginClosed,
        }
    }
}

impl fmt::Display for NoAgreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NotTls;

    #[test]
    fn names_are_distinct() {
        let theirs = NoAgreement::ALL.iter().map(|why| why.name());
        let ours = NotTls::ALL.iter().map(|why| why.name());
        let mut names: alloc::vec::Vec<_> = theirs.chain(ours).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
