//! Origins that choose wrongly, say too much or ask for too much, as clients of the gateway meet
//! them. Named d10 to d14 after the kinds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};

use crate::d::{ALL, DENIED, INVALID, UNTRUSTED, World, refused};
use crate::lab::{Client, INSPECT, Lab, Origin, lasting};
use crate::part::Part;
use crate::pki::*;
use crate::served::Served;

/// A ServerHello record (RFC 5246 section 7.4.1.3).
pub(crate) fn server_hello(version: u16, suite: u16, compression: u8) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([8; 32]);
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.push(compression);
    let mut message = vec![2, 0, 0, body.len() as u8];
    message.extend(body);
    record(22, &message)
}

pub(crate) fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn d10_what_an_origin_must_not_choose() {
    let mut downgraded = server_hello(0x0303, 0xc02f, 0);
    downgraded[11 + 24..11 + 32].copy_from_slice(b"DOWNGRD\x01");
    let (inconsistent, version) = ("inconsistent-server-hello", "no-common-version");
    let failed = "origin-handshake-failed";
    for (what, bytes, end) in [
        ("SSL 3.0", server_hello(0x0300, 0xc02f, 0), version),
        ("TLS 1.0", server_hello(0x0301, 0xc02f, 0), version),
        ("TLS 1.1", server_hello(0x0302, 0xc02f, 0), version),
        ("RC4", server_hello(0x0303, 0x0005, 0), inconsistent),
        ("3DES", server_hello(0x0303, 0x000a, 0), inconsistent),
        ("NULL", server_hello(0x0303, 0x0000, 0), inconsistent),
        ("anonymous", server_hello(0x0303, 0x0034, 0), inconsistent),
        ("export", server_hello(0x0303, 0x0003, 0), inconsistent),
        (
            "finite-field DH",
            server_hello(0x0303, 0x009e, 0),
            inconsistent,
        ),
        ("static RSA", server_hello(0x0303, 0x009c, 0), inconsistent),
        ("compression", server_hello(0x0303, 0xc02f, 1), inconsistent),
        ("not TLS", b"SSH-2.0-x\r\n".to_vec(), inconsistent),
        ("a downgrade", downgraded, failed),
        ("no version", record(21, &[2, 70]), version),
        ("an alert", record(21, &[2, 80]), failed),
    ] {
        let said = Part::of_bytes(bytes, Duration::ZERO);
        let origin = Origin {
            part: Some(said),
            ..Origin::default()
        };
        let lab = Lab::before(&origin, ALL);
        // A client that speaks both, to which a downgrade could be done.
        let error = lab.run(lab.trusting_gateway().connect(&lab)).unwrap_err();
        let error = error.to_string().to_lowercase();
        assert!(error.contains(DENIED), "{what}: {error}");
        lab.over(1);
        let (flows, _) = lab.end();
        assert_eq!(flows[0]["end"], end, "{what}");
        assert_eq!(flows[0]["tls"], end, "{what}");
    }
}

#[test]
fn d11_too_much_to_look_at() {
    let world = World::new();
    let leaf = world.leaf();
    let others: Vec<_> = (0..99)
        .map(|n| Authority::root(&format!("other {n}")).certificate)
        .collect();
    let mut chain = vec![&leaf];
    chain.extend(&others);
    let failed = "origin-handshake-failed";
    let begin = Instant::now();
    refused("a hundred", &world.serving(&chain), DENIED, failed, &[]);
    let (name, signer) = (common_name("again"), &world.key);
    let same: Vec<CertificateDer<'static>> = (0..15)
        .map(|_| {
            let key = KeyPair::generate().unwrap();
            Authority::draft(&name, &name, &key).sign(&key)
        })
        .collect();
    let leaf = lasting(Draft::leaf(&name, signer)).sign(signer);
    let mut chain = vec![&leaf];
    chain.extend(&same);
    refused(
        "many ways",
        &world.serving(&chain),
        UNTRUSTED,
        INVALID,
        &["too-costly"],
    );
    let mut bytes = server_hello(0x0303, 0xc02f, 0);
    let mut message = vec![11, 0x10, 0, 0];
    message.resize(4 + 0x10_0000, 0);
    for part in message.chunks(16_384) {
        bytes.extend(record(22, part));
    }
    let origin = Origin {
        part: Some(Part::of_bytes(bytes, Duration::ZERO)),
        ..Origin::default()
    };
    let lab = Lab::before(&origin, ALL);
    let error = lab.run(lab.trusting_gateway().connect(&lab)).unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn d12_a_client_certificate_is_asked_for() {
    use rustls::server::WebPkiClientVerifier;
    let world = World::new();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.root.certificate.clone()).unwrap();
    let roots = Arc::new(roots);
    for version in [&TLS12, &TLS13] {
        for optional in [true, false] {
            let asking = || {
                let (roots, provider) = (Arc::clone(&roots), Arc::clone(&provider));
                let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let asking = match optional {
                    true => builder.allow_unauthenticated().build(),
                    false => builder.build(),
                };
                let chain = [&world.leaf(), &world.issuer.certificate];
                let mut served = Served::new(&chain, &world.key).only(version);
                served.clients = Some(asking.unwrap());
                world.served(served)
            };
            let required = "client-certificate-required";
            if version.version == TLS12.version {
                let error = lab_error(&asking());
                assert!(error.0.contains("AccessDenied"), "{}", error.0);
                assert_eq!(error.1["end"], required);
                assert_eq!(error.1["tls"], required);
            } else {
                let lab_error = lab_error(&asking());
                assert_eq!(lab_error.1["end"], required);
            }
            let mut origin = asking();
            origin.upstream = "client_certificate = \"empty\"".to_owned();
            let lab = Lab::before(&origin, ALL);
            let client = lab.trusting_gateway().offering(&[b"http/1.1"]);
            match (lab.run(client.connect(&lab)), optional) {
                (Ok(stream), true) => drop(stream),
                // Of TLS 1.3 the handshake is over before the origin says that it wants one.
                (Ok(_), false) => assert_eq!(version.version, TLS13.version),
                (Err(error), optional) => {
                    assert!(!optional && version.version == TLS12.version, "{error}");
                    assert!(error.to_string().contains("AccessDenied"), "{error}");
                }
            }
            assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
            if optional {
                assert_eq!(lab.run(client.get(&lab, "/")).unwrap().status(), 200);
            }
        }
    }
}

/// The third choice beside refusing and answering with none: a rule that lets such origins speak with
/// their clients themselves.
#[test]
fn d12_a_rule_lets_through_undecrypted_who_asks_for_a_client_certificate() {
    use rustls::server::WebPkiClientVerifier;
    let rules = format!(
        "[[rule]]\nname = \"they know each other\"\nwhen = {{ client-certificate = true }}\n\
         action = \"splice\"\n{INSPECT}"
    );
    let world = World::new();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.root.certificate.clone()).unwrap();
    let roots = Arc::new(roots);
    for version in [&TLS12, &TLS13] {
        for answers in ["refuse", "empty"] {
            let (roots, provider) = (Arc::clone(&roots), Arc::clone(&provider));
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let asking = builder.allow_unauthenticated().build().unwrap();
            let chain = [&world.leaf(), &world.issuer.certificate];
            let mut served = Served::new(&chain, &world.key).only(version);
            served.clients = Some(asking);
            let mut origin = world.served(served);
            origin.upstream = format!("client_certificate = \"{answers}\"");
            let lab = Lab::before(&origin, &rules);
            let client = Client::trusting(&world.root.certificate);
            assert_eq!(lab.run(client.get(&lab, "/")).unwrap().status(), 200);
            lab.over(1);
            let flow = lab.end().0.remove(0);
            assert_eq!(flow["rule"], "they know each other", "{flow}");
            assert_eq!(flow["verdict"], "splice", "{flow}");
            assert_eq!(flow["decrypted"], false, "{flow}");
        }
    }
    // Who does not ask is looked into.
    let chain = [&world.leaf(), &world.issuer.certificate];
    let lab = Lab::before(&world.served(Served::new(&chain, &world.key)), &rules);
    let client = lab.trusting_gateway();
    assert_eq!(lab.run(client.get(&lab, "/")).unwrap().status(), 200);
    lab.over(1);
    assert_eq!(lab.end().0[0]["decrypted"], true);
}

/// How a client fails, and the record of it.
fn lab_error(origin: &Origin) -> (String, serde_json::Value) {
    let lab = Lab::before(origin, ALL);
    let error = lab.run(lab.trusting_gateway().connect(&lab)).unwrap_err();
    lab.over(1);
    (error.to_string(), lab.end().0.remove(0))
}

#[test]
fn d14_a_client_sees_nothing_stronger_than_the_origin_speaks() {
    let world = World::new();
    let chain = [&world.leaf(), &world.issuer.certificate];
    for (speaks, sees) in [
        (&TLS12, rustls::ProtocolVersion::TLSv1_2),
        (&TLS13, rustls::ProtocolVersion::TLSv1_3),
    ] {
        let origin = world.served(Served::new(&chain, &world.key).only(speaks));
        let lab = Lab::before(&origin, INSPECT);
        let stream = lab.run(lab.trusting_gateway().connect(&lab)).unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(sees));
    }
    // Who speaks no version that the origin speaks is not helped over it.
    let origin = world.served(Served::new(&chain, &world.key).only(&TLS12));
    let lab = Lab::before(&origin, INSPECT);
    let client = Client::speaking(&lab.ca, &[&TLS13]);
    let error = lab.run(client.connect(&lab)).unwrap_err().to_string();
    assert!(error.contains("AccessDenied"), "{error}");
    lab.over(1);
    assert_eq!(lab.end().0[0]["end"], "no-common-version");
}
