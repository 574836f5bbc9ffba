//! TLS of the gateway's own listeners, by files that the configuration names.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::ListenerTls;

/// The settings of a listener that speaks HTTP/1.1. Where it asks clients for certificates, those that
/// show none are let in only if `may_show_none`.
///
/// # Errors
///
/// A file cannot be read, holds nothing of use, or the key is not that of the certificate.
pub(crate) fn server(
    files: &ListenerTls,
    provider: CryptoProvider,
    may_show_none: bool,
) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(provider);
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("{} holds no private key in PEM", files.key.display()))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(file)? {
                roots
                    .add(root)
                    .with_context(|| format!("{} holds what is no root", file.display()))?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            if may_show_none {
                verifier = verifier.allow_unauthenticated();
            }
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).with_context(|| {
        format!(
            "{} and {} do not fit together",
            files.certificate.display(),
            files.key.display()
        )
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} cannot be read as PEM", file.display()))?;
    anyhow::ensure!(
        !found.is_empty(),
        "{} holds no certificate in PEM",
        file.display()
    );
    Ok(found)
}
