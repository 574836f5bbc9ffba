//! Real answers of a rustls server to real hellos of a rustls client: what is read of them is what
//! the server itself says that it chose.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig, ServerConnection,
    SignatureAlgorithm, SignatureScheme, SupportedProtocolVersion, version,
};
use sluice_peek::{Answer, Chosen, HELLO_LIMIT, NoAgreement, Offer, ServerHelloReader};

/// A key without a key: nobody checks what it signs, since no client reads the answer.
#[derive(Debug)]
struct NoKey;

impl SigningKey for NoKey {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(Self))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for NoKey {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(vec![0; 70])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

impl ResolvesServerCert for NoKey {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificate = CertificateDer::from(vec![0; 600]);
        Some(Arc::new(CertifiedKey::new(
            vec![certificate],
            Arc::new(Self),
        )))
    }
}

type Protocols<'a> = &'a [&'static SupportedProtocolVersion];

const BOTH: Protocols<'_> = &[&version::TLS13, &version::TLS12];
const TLS13: Protocols<'_> = &[&version::TLS13];
const TLS12: Protocols<'_> = &[&version::TLS12];

fn hello(provider: CryptoProvider, versions: Protocols<'_>) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("www.example.com").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut sent = Vec::new();
    client.write_tls(&mut sent).unwrap();
    sent
}

/// What a server sends after this hello, and what it says of version and cipher suite.
fn serve(
    provider: CryptoProvider,
    versions: Protocols<'_>,
    hello: &[u8],
) -> (Vec<u8>, Option<(u16, u16)>) {
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoKey));
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    server.read_tls(&mut &hello[..]).unwrap();
    // An error is answered with an alert.
    let _ = server.process_new_packets();
    let mut answered = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut answered).unwrap();
    }
    let version = server.protocol_version().map(u16::from);
    let cipher = server.negotiated_cipher_suite().map(|s| s.suite().into());
    (answered, version.zip(cipher))
}

fn read(hello: &[u8], answered: &[u8]) -> Answer {
    let offer = Offer::of(hello).unwrap();
    let whole = ServerHelloReader::new(offer.clone(), HELLO_LIMIT).advance(answered);
    let mut reader = ServerHelloReader::new(offer, HELLO_LIMIT);
    let in_segments = (1..=answered.len())
        .map(|seen| reader.advance(&answered[..seen]))
        .find(|answer| *answer != Answer::Incomplete);
    assert_eq!(in_segments, Some(whole));
    whole
}

#[test]
fn every_suite_and_version_of_rustls() {
    let all = aws_lc_rs::default_provider();
    let mut compared = 0;
    for suite in &all.cipher_suites {
        let only = CryptoProvider {
            cipher_suites: vec![*suite],
            ..all.clone()
        };
        let tls13 = suite.tls13().is_some();
        for offered in [BOTH, if tls13 { TLS13 } else { TLS12 }] {
            let hello = hello(all.clone(), offered);
            let served = if tls13 { TLS13 } else { TLS12 };
            let (answered, reported) = serve(only.clone(), served, &hello);
            let Some((version, cipher)) = reported else {
                // No RSA key, so none of the suites that need one.
                assert!(format!("{:?}", suite.suite()).contains("RSA"));
                continue;
            };
            assert_eq!(cipher, u16::from(suite.suite()));
            let chosen = Chosen {
                version,
                cipher,
                hello_retry: false,
            };
            assert_eq!(read(&hello, &answered), Answer::Negotiated(chosen));
            compared += 1;
        }
    }
    // Three suites of each version, to two offers.
    assert_eq!(compared, 12);
}

#[test]
fn a_retry_request_of_rustls() {
    let all = aws_lc_rs::default_provider();
    let hello = hello(all.clone(), TLS13);
    // A group that the client offers and sends no share of.
    let one_group = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::SECP384R1],
        ..all
    };
    let (answered, _) = serve(one_group, TLS13, &hello);
    let answer = read(&hello, &answered);
    assert!(matches!(
        answer,
        Answer::Negotiated(Chosen {
            version: 0x0304,
            hello_retry: true,
            ..
        })
    ));
}

#[test]
fn alerts_of_rustls() {
    let all = aws_lc_rs::default_provider();
    let no_version = hello(all.clone(), TLS12);
    let (answered, _) = serve(all.clone(), TLS13, &no_version);
    let by_alert = |why, code| Answer::Not {
        why,
        alert: Some(code),
    };
    assert_eq!(
        read(&no_version, &answered),
        by_alert(NoAgreement::NoCommonVersion, 70)
    );

    let one_suite = |suite| CryptoProvider {
        cipher_suites: vec![suite],
        ..all.clone()
    };
    let aes_128 = one_suite(aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256);
    let aes_256 = one_suite(aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384);
    let no_cipher = hello(aes_128, TLS13);
    let (answered, _) = serve(aes_256, TLS13, &no_cipher);
    assert_eq!(
        read(&no_cipher, &answered),
        by_alert(NoAgreement::NoCommonCipher, 40)
    );
}
