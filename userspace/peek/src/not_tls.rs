//! The ways in which a flow is not TLS.

use core::fmt;

/// Why a flow's first bytes are not a ClientHello that can be judged.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum NotTls {
    /// The bytes belong to another protocol, or to TLS but not to the beginning of a connection.
    NotTls,
    /// A ClientHello in the format of SSL 2.0 (RFC 5246 appendix E.2), whatever version it offers.
    Sslv2Hello,
    /// A TLS record without content where a hello is due (forbidden by RFC 8446 section 5.1).
    ZeroLengthRecord,
    /// The client ended its stream before its first bytes could be told or its hello was whole.
    Truncated,
    /// The hello, or a record of it, is longer than the limit.
    Oversize,
    /// The deadline passed before the first bytes could be told or the hello was whole.
    Timeout,
    /// The client sent nothing.
    Silent,
    /// The origin spoke first. No bytes of a client say so; it is for callers that learn it.
    ServerFirst,
    /// A ClientHello that breaks the rules of its format, or a name in it without canonical form.
    Malformed,
}

impl NotTls {
    /// Every way, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::NotTls,
        Self::Sslv2Hello,
        Self::ZeroLengthRecord,
        Self::Truncated,
        Self::Oversize,
        Self::Timeout,
        Self::Silent,
        Self::ServerFirst,
        Self::Malformed,
    ];

    /// The word used in rules, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotTls => "not-tls",
            Self::Sslv2Hello => "sslv2-hello",
            Self::ZeroLengthRecord => "zero-length-record",
            Self::Truncated => "truncated",
            Self::Oversize => "oversize",
            Self::Timeout => "timeout",
            Self::Silent => "silent",
            Self::ServerFirst => "server-first",
            Self::Malformed => "malformed-hello",
        }
    }
}

impl fmt::Display for NotTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        for (i, a) in NotTls::ALL.iter().enumerate() {
            assert!(NotTls::ALL[i + 1..].iter().all(|b| a.name() != b.name()));
        }
    }
}
