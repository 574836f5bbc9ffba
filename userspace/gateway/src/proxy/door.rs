//! A listener's settings with what their files hold.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::{Demand, Proxy, ProxyTls};
use crate::origin::provider;

/// A proxy listener of a generation of the policy.
#[derive(Debug)]
pub struct Door {
    settings: Proxy,
    tls: Option<Arc<ServerConfig>>,
}

impl Door {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    ///
    /// A file cannot be read, holds nothing of use, or the key is not that of the certificate.
    pub fn new(settings: &Proxy) -> anyhow::Result<Self> {
        let tls = settings.tls.as_ref();
        let tls = tls.map(|tls| server(tls, settings)).transpose();
        Ok(Self {
            tls: tls.with_context(|| format!("`tls` of [[proxy]] \"{}\"", settings.name))?,
            settings: settings.clone(),
        })
    }

    /// What the configuration says.
    #[must_use]
    pub const fn settings(&self) -> &Proxy {
        &self.settings
    }

    /// How TLS is spoken with clients; `None`: it is not.
    pub(super) const fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }
}

fn server(tls: &ProxyTls, settings: &Proxy) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(provider());
    let chain = certificates(&tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .with_context(|| format!("{} holds no private key in PEM", tls.key.display()))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(file)? {
                roots
                    .add(root)
                    .with_context(|| format!("{} holds what is no root", file.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            // Whoever may say otherwise who they are need not show a certificate.
            let others = settings.providers().next().is_some() || settings.by_address().is_some();
            let only = !others && settings.identity == Demand::Required;
            let verifier: Arc<dyn ClientCertVerifier> = if only {
                verifier.build()?
            } else {
                verifier.allow_unauthenticated().build()?
            };
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).with_context(|| {
        format!(
            "{} and {} do not fit together",
            tls.certificate.display(),
            tls.key.display()
        )
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
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
