//! What the record of a flow says of its being decrypted: by whose word, and how.

use rustls::CommonState;
use serde::Serialize;
use sluice_policy::{RuleId, TlsVersion};

use crate::origin::Negotiated;

/// Why TLS was ended at the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Inspected {
    /// The rule by whose word.
    pub(crate) by: Option<RuleId>,
    /// What it says.
    pub(crate) because: Because,
}

/// What a rule says that has a flow decrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Because {
    /// Its action is to decrypt.
    Action,
    /// It asks about requests, and what becomes of the flow hangs on it.
    Requests,
    /// A page of the gateway's is shown in place of the origin.
    Page,
}

impl Because {
    /// The word in records.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Requests => "requests",
            Self::Page => "page",
        }
    }
}

/// What one handshake agreed on.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Handshake {
    /// The version of TLS, as rules have it.
    pub version: Option<&'static str>,
    /// The cipher suite, by its name in the registry of IANA.
    pub suite: Option<String>,
    /// The group of the key exchange, likewise; absent in a resumed session without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The application protocol; absent where none was agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
}

impl Handshake {
    /// That with a client.
    pub(crate) fn of_client(connection: &CommonState) -> Self {
        let version = connection.protocol_version();
        let suite = connection.negotiated_cipher_suite();
        let group = connection.negotiated_key_exchange_group();
        Self {
            version: version.and_then(|version| named(TlsVersion::from_code(version.into()))),
            suite: suite.map(|suite| suite_name(suite.suite())),
            group: group.map(|group| group_name(group.name())),
            alpn: connection.alpn_protocol().map(printable),
        }
    }

    /// That with an origin.
    pub(crate) fn of_origin(negotiated: &Negotiated) -> Self {
        Self {
            version: named(negotiated.tls_version()),
            suite: Some(suite_name(negotiated.cipher)),
            group: negotiated.group.map(group_name),
            alpn: negotiated.alpn.as_deref().map(printable),
        }
    }
}

fn named(version: Option<TlsVersion>) -> Option<&'static str> {
    version.map(TlsVersion::name)
}

/// The TLS library says which version a suite of TLS 1.3 belongs to, IANA does not.
fn suite_name(suite: rustls::CipherSuite) -> String {
    let name = format!("{suite:?}");
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name,
    }
}

/// The registry writes the two curves of RFC 7748 in small letters.
fn group_name(group: rustls::NamedGroup) -> String {
    match group {
        rustls::NamedGroup::X25519 => "x25519".to_owned(),
        rustls::NamedGroup::X448 => "x448".to_owned(),
        group => format!("{group:?}"),
    }
}

fn printable(protocol: &[u8]) -> String {
    protocol.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use rustls::{CipherSuite, NamedGroup};

    use super::*;

    #[test]
    fn names_are_those_of_the_registries() {
        for (suite, name) in [
            (
                CipherSuite::TLS13_AES_128_GCM_SHA256,
                "TLS_AES_128_GCM_SHA256",
            ),
            (
                CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
        ] {
            assert_eq!(suite_name(suite), name);
        }
        for (group, name) in [
            (NamedGroup::X25519, "x25519"),
            (NamedGroup::secp256r1, "secp256r1"),
            (NamedGroup::X25519MLKEM768, "X25519MLKEM768"),
        ] {
            assert_eq!(group_name(group), name);
        }
    }
}
