//! The client's side of an intercepted flow.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ServerConfig};
use sluice_policy::TlsVersion;

use super::tickets::{Binding, BoundTickets, TicketKeys};

/// What clients are met with: TLS 1.2 and 1.3 with the cipher suites and groups that rustls offers
/// by default (all AEAD with forward secrecy, X25519MLKEM768 among the groups), no early data, no
/// renegotiation, no compression, and tickets that open for nobody else.
#[derive(Debug)]
pub struct Downstream {
    both: ServerConfig,
    /// For origins that speak TLS 1.2: a client never sees a better connection than the origin's.
    only_12: ServerConfig,
}

impl Downstream {
    /// Sets up both kinds.
    ///
    /// # Errors
    ///
    /// The TLS library refuses its own defaults: a fault of the build.
    pub fn new(provider: &Arc<CryptoProvider>) -> Result<Self, rustls::Error> {
        let config = |versions| -> Result<ServerConfig, rustls::Error> {
            let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
                .with_protocol_versions(versions)?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(NoLeaf));
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.max_early_data_size = 0;
            config.send_tls13_tickets = 2;
            Ok(config)
        };
        Ok(Self {
            both: config(&[&TLS13, &TLS12])?,
            only_12: config(&[&TLS12])?,
        })
    }

    /// What one client is met with.
    #[must_use]
    pub fn config(
        &self,
        leaf: Arc<CertifiedKey>,
        origin_speaks: Option<TlsVersion>,
        alpn: Option<&[u8]>,
        (keys, binding): (&Arc<TicketKeys>, Binding),
    ) -> Arc<ServerConfig> {
        let base = match origin_speaks {
            Some(TlsVersion::Tls13) | None => &self.both,
            Some(_) => &self.only_12,
        };
        let mut config = base.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(leaf));
        config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
        config.ticketer = Arc::new(BoundTickets::new(Arc::clone(keys), binding));
        Arc::new(config)
    }
}

/// Stands where the leaf of a connection goes.
#[derive(Debug)]
struct NoLeaf;

impl rustls::server::ResolvesServerCert for NoLeaf {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// How a client ended a handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It does not accept the leaf, and says so by an alert, or goes away without a word as soon as
    /// it has seen it.
    Leaf(Option<AlertDescription>),
    /// Something else.
    Other,
}

impl Refusal {
    /// Reads the error of a handshake in which the leaf was sent.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) if speaks_of_certificate(*alert) => {
                Self::Leaf(Some(*alert))
            }
            Some(_) => Self::Other,
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => Self::Leaf(None),
                _ => Self::Other,
            },
        }
    }
}

/// Alerts about the certificate (RFC 8446 section 6.2); `access_denied` and `decrypt_error` are what
/// some pinned clients say.
const fn speaks_of_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}

/// The word of RFC 8446 for an alert.
#[must_use]
pub fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    let camel = format!("{alert:?}");
    let mut before = 'A';
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !before.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
        before = letter;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_called_as_the_standard_calls_them() {
        for (alert, name) in [
            (AlertDescription::UnknownCA, "unknown_ca"),
            (AlertDescription::BadCertificate, "bad_certificate"),
            (AlertDescription::CertificateUnknown, "certificate_unknown"),
            (AlertDescription::AccessDenied, "access_denied"),
        ] {
            assert_eq!(alert_name(alert), name);
        }
    }

    #[test]
    fn a_leaf_is_refused_by_word_or_by_silence() {
        let tls = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let alert = |alert| tls(rustls::Error::AlertReceived(alert));
        let unknown = AlertDescription::UnknownCA;
        assert_eq!(Refusal::of(&alert(unknown)), Refusal::Leaf(Some(unknown)));
        let silent = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(Refusal::of(&silent), Refusal::Leaf(None));
        let version = AlertDescription::ProtocolVersion;
        assert_eq!(Refusal::of(&alert(version)), Refusal::Other);
        let late = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(Refusal::of(&late), Refusal::Other);
    }
}
