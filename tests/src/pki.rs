//! A certificate authority for the lab's origins.

use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// An authority that clients of the lab trust.
#[derive(Debug)]
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Pki {
    /// Makes an authority with a fresh key.
    ///
    /// # Panics
    ///
    /// When no key can be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "sluice lab authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key of the default kind");
        let own = params
            .self_signed(&key)
            .expect("a certificate for the authority");
        let (certificate, pem) = (own.der().clone(), own.pem());
        Self {
            issuer: Issuer::new(params, key),
            certificate,
            pem,
        }
    }

    /// The authority's certificate, for `curl --cacert`.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate as the only root that a rustls client trusts.
    ///
    /// # Panics
    ///
    /// Never: the certificate was made here.
    #[must_use]
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.clone())
            .expect("a certificate made here");
        Arc::new(roots)
    }

    /// The configuration of a server with these names (DNS names or addresses).
    ///
    /// # Panics
    ///
    /// When a name cannot be in a certificate.
    #[must_use]
    pub fn server(
        &self,
        names: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        self.server_like(names, versions, |_| {})
    }

    /// The same, with a certificate that `change` makes what it should be.
    ///
    /// # Panics
    ///
    /// When a name cannot be in a certificate.
    #[must_use]
    pub fn server_like(
        &self,
        names: &[&str],
        versions: &[&'static SupportedProtocolVersion],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Arc<ServerConfig> {
        let (leaf, key) = self.leaf(names, change);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(versions)
            .expect("versions that the provider speaks")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a certificate that fits its key");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// Certificate and key in PEM, for a server that is a program of its own.
    ///
    /// # Panics
    ///
    /// When a name cannot be in a certificate.
    #[must_use]
    pub fn leaf_pem(&self, names: &[&str]) -> (String, String) {
        let (leaf, key) = self.leaf(names, |_| {});
        (leaf.pem(), key.serialize_pem())
    }

    fn leaf(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key of the default kind");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names that a certificate can hold");
        change(&mut params);
        let leaf = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate for the server");
        (leaf, key)
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}
