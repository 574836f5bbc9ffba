//! Origins that speak something else, too much, or ask for too much.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use sluice_gateway::origin::{Cause, ClientCertificate, HandshakeFailure, Origins};
use sluice_policy::NotNegotiated;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::pki::*;
use crate::served::{Served, client, connect, faults_at, meet_as, settings, trusting};

/// A ServerHello record (RFC 5246 section 7.4.1.3) with these values and an end-of-hello sentinel of
/// none.
pub(crate) fn server_hello(version: u16, suite: u16, compression: u8) -> Vec<u8> {
    hello_with([8; 32], version, suite, compression, &[])
}

fn hello_with(random: [u8; 32], version: u16, suite: u16, compression: u8, more: &[u8]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend(random);
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.push(compression);
    body.extend(more);
    let mut message = vec![2, 0, 0, body.len() as u8];
    message.extend(body);
    record(22, &message)
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn alert(description: u8) -> Vec<u8> {
    record(21, &[2, description])
}

/// Meets an origin that answers every hello with the same bytes.
async fn answered(bytes: Vec<u8>) -> HandshakeFailure {
    let origins = trusting(&Authority::root("root"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origin = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut chunk = [0; 16_384];
        let _hello = socket.read(&mut chunk).await.unwrap();
        // Where the other side has had enough, it does not read on.
        let _ = socket.write_all(&bytes).await;
        while matches!(socket.read(&mut chunk).await, Ok(1..)) {}
    });
    let met = connect(&origins, address, Some(NAME), Some(&client()), &[], now()).await;
    let failure = met.unwrap_err();
    origin.await.unwrap();
    failure
}

#[tokio::test]
async fn d10_what_an_origin_must_not_choose() {
    use NotNegotiated::{InconsistentServerHello, NoCommonVersion, OriginHandshakeFailed};
    let downgraded = |last: u8| {
        let mut random = [8; 32];
        random[24..].copy_from_slice(b"DOWNGRD\0");
        random[31] = last;
        hello_with(random, 0x0303, 0xc02f, 0, &[])
    };
    let extension = |number: u8| [0, 4, 0, number, 0, 0];
    for (what, bytes, reason) in [
        ("SSL 3.0", server_hello(0x0300, 0xc02f, 0), NoCommonVersion),
        ("TLS 1.0", server_hello(0x0301, 0xc02f, 0), NoCommonVersion),
        ("TLS 1.1", server_hello(0x0302, 0xc02f, 0), NoCommonVersion),
        (
            "RC4",
            server_hello(0x0303, 0x0005, 0),
            InconsistentServerHello,
        ),
        (
            "3DES",
            server_hello(0x0303, 0x000a, 0),
            InconsistentServerHello,
        ),
        (
            "NULL",
            server_hello(0x0303, 0x0000, 0),
            InconsistentServerHello,
        ),
        (
            "anonymous DH",
            server_hello(0x0303, 0x0034, 0),
            InconsistentServerHello,
        ),
        (
            "export",
            server_hello(0x0303, 0x0003, 0),
            InconsistentServerHello,
        ),
        (
            "finite-field DH",
            server_hello(0x0303, 0x009e, 0),
            InconsistentServerHello,
        ),
        (
            "static RSA",
            server_hello(0x0303, 0x009c, 0),
            InconsistentServerHello,
        ),
        (
            "CBC",
            server_hello(0x0303, 0xc013, 0),
            InconsistentServerHello,
        ),
        (
            "a suite of 1.3 in 1.2",
            server_hello(0x0303, 0x1301, 0),
            InconsistentServerHello,
        ),
        (
            "compression",
            server_hello(0x0303, 0xc02f, 1),
            InconsistentServerHello,
        ),
        (
            "an extension that was not asked for",
            hello_with([8; 32], 0x0303, 0xc02f, 0, &extension(22)),
            InconsistentServerHello,
        ),
        ("downgraded from 1.3", downgraded(1), OriginHandshakeFailed),
        ("downgraded from 1.2", downgraded(0), OriginHandshakeFailed),
        (
            "HTTP",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            InconsistentServerHello,
        ),
        (
            "SSH",
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            InconsistentServerHello,
        ),
        (
            "application data",
            record(23, &[0; 32]),
            OriginHandshakeFailed,
        ),
        (
            "a hello without a body",
            record(22, &[2, 0, 0, 0]),
            OriginHandshakeFailed,
        ),
        (
            "a hello of a client's",
            record(22, &[1, 0, 0, 0]),
            OriginHandshakeFailed,
        ),
    ] {
        let failure = answered(bytes).await;
        assert_eq!(
            failure.not_negotiated(),
            Some(reason),
            "{what}: {:?}",
            failure.cause
        );
        assert!(failure.certificate.is_none(), "{what}");
    }
}

#[tokio::test]
async fn d10_renegotiation_and_alerts() {
    for (description, cause) in [
        (40, Cause::NoCommonCipher),
        (71, Cause::NoCommonCipher),
        (70, Cause::NoCommonVersion),
        (86, Cause::NoCommonVersion),
        (116, Cause::ClientCertificateRequired),
        (112, Cause::Alert(112)),
        (80, Cause::Alert(80)),
    ] {
        assert_eq!(answered(alert(description)).await.cause, cause);
    }
    // A wrong verification of an earlier handshake (RFC 5746 section 3.4).
    let more = [0, 6, 0xff, 1, 0, 2, 1, 7];
    let renegotiated = hello_with([8; 32], 0x0303, 0xc02f, 0, &more);
    // rustls knows nothing of renegotiation, and goes on to a handshake that has none.
    let failure = answered([renegotiated, alert(80)].concat()).await;
    assert_eq!(failure.cause, Cause::Alert(80));
}

#[tokio::test]
async fn d11_a_hundred_certificates() {
    let (root, key) = (Authority::root("root"), key());
    let leaf = root.leaf(&key).sign(&root.key);
    let others: Vec<_> = (0..99)
        .map(|n| Authority::root(&format!("other {n}")).certificate)
        .collect();
    let mut chain = vec![&leaf];
    chain.extend(&others);
    let failure = meet_as(
        &trusting(&root),
        Served::new(&chain, &key),
        Some(NAME),
        now(),
    )
    .await
    .unwrap_err();
    assert_eq!(failure.cause, Cause::TooManyCertificates(100));
    assert!(failure.certificate.is_none());
    // As many as are allowed do not matter.
    let few = &chain[..16];
    let found = faults_at(&trusting(&root), few, &key, now()).await;
    assert_eq!(found, [""; 0]);
}

#[tokio::test]
async fn d11_a_certificate_message_of_a_megabyte() {
    let mut bytes = server_hello(0x0303, 0xc02f, 0);
    let mut message = vec![11, 0x10, 0, 0];
    message.resize(4 + 0x10_0000, 0);
    for part in message.chunks(16_384) {
        bytes.extend(record(22, part));
    }
    assert_eq!(answered(bytes).await.cause, Cause::TooLarge);
}

#[tokio::test]
async fn d11_ways_to_a_root_are_not_searched_for_ever() {
    let root = Authority::root("root");
    let key = key();
    let origins = trusting(&root);
    let name = common_name("again");
    // Fifteen authorities of one name that could all have issued each other.
    let same: Vec<CertificateDer<'static>> = (0..15)
        .map(|_| {
            let key = rcgen::KeyPair::generate().unwrap();
            Authority::draft(&name, &name, &key).sign(&key)
        })
        .collect();
    let leaf = Draft::leaf(&name, &key).sign(&key);
    let mut chain = vec![&leaf];
    chain.extend(&same);
    let start = Instant::now();
    assert_eq!(
        faults_at(&origins, &chain, &key, now()).await,
        ["too-costly"]
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    // The same under the name of a root, each of them a signature to verify.
    let same: Vec<CertificateDer<'static>> = (0..15)
        .map(|_| {
            let key = rcgen::KeyPair::generate().unwrap();
            Authority::draft(&root.name, &root.name, &key).sign(&key)
        })
        .collect();
    let leaf = root.leaf(&key).sign(&key);
    let mut chain = vec![&leaf];
    chain.extend(&same);
    let start = Instant::now();
    assert_eq!(
        faults_at(&origins, &chain, &key, now()).await,
        ["too-costly"]
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn d11_many_crossings_are_no_attack() {
    let root = Authority::root("root");
    let key = key();
    let issuer = root.below("issuer", |_| {});
    let strangers: Vec<Authority> = (0..6).map(|n| Authority::root(&format!("s{n}"))).collect();
    let crossed: Vec<_> = strangers
        .iter()
        .map(|s| Authority::draft(&s.name, &issuer.name, &issuer.key).sign(&s.key))
        .collect();
    let leaf = issuer.leaf(&key).sign(&issuer.key);
    let mut chain = vec![&leaf];
    chain.extend(&crossed);
    chain.extend(strangers.iter().map(|s| &s.certificate));
    chain.push(&issuer.certificate);
    let found = faults_at(&trusting(&root), &chain, &key, now()).await;
    assert_eq!(found, [""; 0]);
}

#[tokio::test]
async fn d12_a_client_certificate_is_asked_for() {
    let (root, key) = (Authority::root("root"), key());
    let leaf = root.leaf(&key).sign(&root.key);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.certificate.clone()).unwrap();
    let roots = Arc::new(roots);
    let asking = |optional: bool| {
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        match optional {
            true => builder.allow_unauthenticated().build().unwrap(),
            false => builder.build().unwrap(),
        }
    };
    let (mut settings, _folder) = settings(&[&root.certificate]);
    for version in [&TLS12, &TLS13] {
        for optional in [true, false] {
            let served = || {
                let mut served = Served::new(&[&leaf], &key).only(version);
                served.clients = Some(asking(optional));
                served
            };
            settings.client_certificate = ClientCertificate::Refuse;
            let origins = Origins::new(&settings).unwrap();
            let failure = meet_as(&origins, served(), Some(NAME), now())
                .await
                .unwrap_err();
            assert_eq!(failure.cause, Cause::ClientCertificateRequired);
            assert!(failure.client_certificate_requested);
            assert_eq!(
                failure.not_negotiated(),
                Some(NotNegotiated::ClientCertificateRequired)
            );
            // Its own certificate is known all the same.
            assert!(failure.certificate.unwrap().faults.is_empty());

            settings.client_certificate = ClientCertificate::Empty;
            let origins = Origins::new(&settings).unwrap();
            match meet_as(&origins, served(), Some(NAME), now()).await {
                // In TLS 1.3 the origin's part is over before it hears that there is none.
                Ok(report) => {
                    assert!(optional || version.version == TLS13.version);
                    assert!(report.is_valid());
                    assert!(report.negotiated.client_certificate_requested);
                }
                Err(failure) => {
                    assert!(!optional && version.version == TLS12.version);
                    assert_eq!(failure.cause, Cause::ClientCertificateRequired);
                }
            }
        }
    }
}

#[tokio::test]
async fn an_origin_may_choose_among_the_protocols_that_are_offered() {
    let (root, key) = (Authority::root("root"), key());
    let leaf = root.leaf(&key).sign(&root.key);
    let origins = trusting(&root);
    for (speaks, offered, chosen) in [
        (
            &[&b"h2"[..], b"http/1.1"][..],
            &[&b"http/1.1"[..]][..],
            Some(&b"http/1.1"[..]),
        ),
        (&[b"h2", b"http/1.1"], &[b"http/1.1", b"h2"], Some(b"h2")),
        (&[], &[b"h2"], None),
    ] {
        let mut served = Served::new(&[&leaf], &key);
        served.alpn = speaks.iter().map(|name| name.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = served.config();
        let origin = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            tokio_rustls::TlsAcceptor::from(config).accept(socket).await
        });
        let met = connect(&origins, address, Some(NAME), None, offered, now()).await;
        assert_eq!(met.unwrap().report.negotiated.alpn.as_deref(), chosen);
        origin.await.unwrap().unwrap();
    }
}
