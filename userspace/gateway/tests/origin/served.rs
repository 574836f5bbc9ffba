//! Origins on loopback, and meeting them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::KeyPair;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use sluice_gateway::origin::{
    Client, Connected, HandshakeFailure, Offer, Origins, Report, Settings, Target,
};
use sluice_policy::{TlsVersion, TlsVersions};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::pki::{Authority, Draft, NAME, key, now, private};

/// Settings that trust these roots and nobody else.
pub(crate) fn settings(roots: &[&CertificateDer<'_>]) -> (Settings, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings {
        system_roots: false,
        answer_timeout: Duration::from_secs(10),
        handshake_timeout: Duration::from_secs(20),
        ..Settings::default()
    };
    for (index, root) in roots.iter().enumerate() {
        let path = folder.path().join(format!("root{index}.der"));
        std::fs::write(&path, root).unwrap();
        settings.roots.push(path);
    }
    (settings, folder)
}

/// Origins are met by trust in one root.
pub(crate) fn trusting(root: &Authority) -> Origins {
    trusting_der(&root.certificate)
}

pub(crate) fn trusting_der(root: &CertificateDer<'_>) -> Origins {
    let (settings, _folder) = settings(&[root]);
    Origins::new(&settings).unwrap()
}

/// How an origin is.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) staple: Option<Vec<u8>>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Served {
    pub(crate) fn new(chain: &[&CertificateDer<'static>], key: &KeyPair) -> Self {
        Self {
            chain: chain.iter().map(|&der| der.clone()).collect(),
            key: private(key),
            staple: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: Vec::new(),
            clients: None,
        }
    }

    /// The same, which speaks one version only.
    pub(crate) fn only(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    pub(crate) fn config(self) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = provider.key_provider.load_private_key(self.key).unwrap();
        let mut certified = CertifiedKey::new(self.chain, key);
        certified.ocsp = self.staple;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap();
        let builder = match self.clients {
            Some(clients) => builder.with_client_cert_verifier(clients),
            None => builder.with_no_client_auth(),
        };
        // Serves whatever it is given, a certificate that is not of the key too.
        let mut config = builder.with_cert_resolver(Arc::new(Always(Arc::new(certified))));
        config.alpn_protocols = self.alpn;
        Arc::new(config)
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Who most handshakes are made for.
pub(crate) fn client() -> Client {
    Client::Address(IpAddr::from([10, 0, 0, 1]))
}

/// Makes one handshake with an origin as `name`, and sees that nothing of an application was sent.
pub(crate) async fn meet_as(
    origins: &Origins,
    served: Served,
    name: Option<&str>,
    now: UnixTime,
) -> Result<Report, HandshakeFailure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = served.config();
    let origin = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        if let Ok(mut stream) = TlsAcceptor::from(config).accept(socket).await {
            // The client goes away without a word, which is an error here.
            let _ = stream.read_to_end(&mut bytes).await;
        }
        bytes
    });
    let outcome = connect(origins, address, name, Some(&client()), &[], now).await;
    let report = outcome.map(|connected| connected.report);
    assert!(origin.await.unwrap().is_empty());
    report
}

/// An offer of both versions and of these protocols.
pub(crate) fn offering<'a>(alpn: &'a [&'a [u8]]) -> Offer<'a> {
    Offer {
        versions: TlsVersions::of([TlsVersion::Tls12, TlsVersion::Tls13]),
        alpn,
    }
}

pub(crate) async fn connect(
    origins: &Origins,
    address: SocketAddr,
    name: Option<&str>,
    client: Option<&Client>,
    alpn: &[&[u8]],
    now: UnixTime,
) -> Result<Connected<TcpStream>, HandshakeFailure> {
    let target = Target::new(name, address).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    origins
        .connect(stream, &target, client, offering(alpn), now)
        .await
}

/// The names of what is wrong with a chain, by a handshake over loopback.
pub(crate) async fn faults_at(
    origins: &Origins,
    chain: &[&CertificateDer<'static>],
    key: &KeyPair,
    now: UnixTime,
) -> Vec<&'static str> {
    faults_as(origins, chain, key, Some(NAME), now).await
}

pub(crate) async fn faults_as(
    origins: &Origins,
    chain: &[&CertificateDer<'static>],
    key: &KeyPair,
    name: Option<&str>,
    now: UnixTime,
) -> Vec<&'static str> {
    let report = meet_as(origins, Served::new(chain, key), name, now)
        .await
        .unwrap();
    words(&report.certificate)
}

pub(crate) fn words(certificate: &sluice_gateway::origin::Certificate) -> Vec<&'static str> {
    certificate.faults.iter().map(|f| f.name()).collect()
}

/// A root that is trusted, an issuer below it, and a key for leaves.
pub(crate) struct World {
    pub(crate) root: Authority,
    pub(crate) issuer: Authority,
    pub(crate) key: KeyPair,
    pub(crate) origins: Origins,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = Authority::root("root");
        let issuer = root.below("issuer", |_| {});
        Self {
            origins: trusting(&root),
            root,
            issuer,
            key: key(),
        }
    }

    /// What is wrong with a leaf of the issuer.
    pub(crate) async fn faults(&self, change: impl FnOnce(Draft) -> Draft) -> Vec<&'static str> {
        let leaf = change(self.issuer.leaf(&self.key)).sign(&self.issuer.key);
        self.faults_of(&[&leaf, &self.issuer.certificate]).await
    }

    pub(crate) async fn faults_of(&self, chain: &[&CertificateDer<'static>]) -> Vec<&'static str> {
        faults_at(&self.origins, chain, &self.key, now()).await
    }
}
