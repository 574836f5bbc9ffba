//! Rules about certificates, for which nothing is decrypted: the gateway has no CA.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;

use crate::d::{DENIED, World};
use crate::handshakes::{record, server_hello};
use crate::lab::{Client, Lab, Origin, shown};
use crate::part::Part;
use crate::pki::*;

const EXPIRED: &str = r#"
[policy]
default = "allow"
[[rule]]
name = "past"
when = { certificate = "expired" }
action = "block"
"#;

/// Shows a certificate, and counts how often.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn ResolvesServerCert>,
    count: Arc<AtomicUsize>,
}

impl ResolvesServerCert for Counting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.inner.resolve(hello)
    }
}

/// The same origin, and how many handshakes it has made.
fn counted(mut origin: Origin) -> (Origin, Arc<AtomicUsize>) {
    let mut config = ServerConfig::clone(origin.served.as_ref().unwrap());
    let count = Arc::default();
    config.cert_resolver = Arc::new(Counting {
        inner: Arc::clone(&config.cert_resolver),
        count: Arc::clone(&count),
    });
    origin.served = Some(Arc::new(config));
    (origin, count)
}

fn expired(world: &World) -> Origin {
    let now = jiff::Timestamp::now().as_second();
    world.with(|draft| draft.valid(now - 20 * DAY, now - DAY))
}

/// The error of a client that trusts the origin's authority.
#[track_caller]
fn denied(lab: &Lab, client: &Client) {
    let error = lab.run(client.connect(lab)).unwrap_err().to_string();
    assert!(error.to_lowercase().contains(DENIED), "{error}");
}

fn flows(lab: Lab, count: u64) -> Vec<Value> {
    lab.over(count);
    let (flows, requests) = lab.end();
    assert!(requests.is_empty());
    assert!(flows.iter().all(|flow| flow["decrypted"] == false));
    flows
}

#[test]
fn an_expired_certificate_is_blocked_and_one_probe_tells_for_all() {
    let world = World::new();
    let (origin, handshakes) = counted(expired(&world));
    let lab = Lab::without_ca(&origin, EXPIRED);
    let client = Client::trusting(&world.root.certificate);
    lab.run(async {
        // At once, and one after another.
        let first = client.connect(&lab);
        let second = client.connect(&lab);
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_err() && second.is_err());
    });
    for _ in 0..3 {
        denied(&lab, &client);
    }
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
    for flow in flows(lab, 5) {
        assert_eq!(flow["verdict"], "block", "{flow}");
        assert_eq!(flow["rule"], "past");
        assert_eq!(flow["stage"], "certificate");
        assert_eq!(flow["tls"], "negotiated");
    }
    // Each hello of a client's was answered as well.
    assert_eq!(handshakes.load(Ordering::SeqCst), 5 + 1);
}

#[test]
fn a_valid_certificate_passes_and_is_the_one_that_clients_see() {
    let world = World::new();
    let (origin, handshakes) = counted(world.with(|draft| draft));
    let lab = Lab::without_ca(&origin, EXPIRED);
    for version in [&TLS12, &TLS13] {
        let client = Client::speaking(&world.root.certificate, &[version]);
        let stream = lab.run(client.connect(&lab)).unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap().len(), 2);
        let (leaf, ours) = (shown(&stream), lab.ca.clone());
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        let (_, ours) = x509_parser::parse_x509_certificate(&ours).unwrap();
        assert_ne!(leaf.issuer(), ours.subject());
        drop(stream);
        for _ in 0..3 {
            assert_eq!(lab.run(client.get(&lab, "/")).unwrap().status(), 200);
        }
    }
    for flow in flows(lab, 8) {
        assert_eq!(flow["verdict"], "splice", "{flow}");
        assert_eq!(flow["stage"], "certificate");
    }
    // One probe for each kind of hello.
    assert_eq!(handshakes.load(Ordering::SeqCst), 8 + 2);
}

#[test]
fn tls_may_have_to_be_proved() {
    let rules = r#"
        [policy]
        default = "allow"
        [[rule]]
        name = "proof"
        when = { tls = { reason = ["not-negotiated"], proof = "probe" } }
        action = "block"
    "#;
    let world = World::new();
    let lab = Lab::without_ca(&world.with(|draft| draft), rules);
    let client = Client::trusting(&world.root.certificate);
    assert_eq!(lab.run(client.get(&lab, "/")).unwrap().status(), 200);
    assert_eq!(flows(lab, 1)[0]["verdict"], "splice");

    // It begins as TLS does, and there is nothing behind.
    let bytes = [server_hello(0x0303, 0xc02f, 0), record(21, &[2, 80])].concat();
    let origin = Origin {
        part: Some(Part::of_bytes(bytes, Duration::ZERO)),
        ..Origin::default()
    };
    let lab = Lab::without_ca(&origin, rules);
    denied(&lab, &client);
    let flow = flows(lab, 1).remove(0);
    assert_eq!(flow["rule"], "proof", "{flow}");
    assert_eq!(flow["tls"], "origin-handshake-failed");
}

#[test]
fn where_no_certificate_is_to_be_had_a_rule_may_say_what_then() {
    let soon = "answer_timeout = \"300ms\"\nhandshake_timeout = \"600ms\"";
    let unavailable = EXPIRED.replace("\"expired\"", "\"unavailable\"");
    for (rules, reason, rule) in [
        (unavailable.as_str(), "rule", Value::from("past")),
        (EXPIRED, "stage-unavailable", Value::Null),
    ] {
        let origin = Origin {
            part: Some(Part::of_handshake(150)),
            upstream: soon.to_owned(),
            ..Origin::default()
        };
        let lab = Lab::without_ca(&origin, rules);
        let client = lab.trusting_origins();
        denied(&lab, &client);
        let flow = flows(lab, 1).remove(0);
        assert_eq!(flow["verdict"], "block", "{flow}");
        assert_eq!(flow["reason"], reason, "{flow}");
        assert_eq!(flow["rule"], rule);
    }
}

#[test]
fn issuers_and_wishes_for_client_certificates_are_known() {
    let rules = r#"
        [policy]
        default = "block"
        [[rule]]
        name = "ours"
        when = { certificate = "valid", issuer = "CN=issuer", client-certificate = false }
        action = "splice"
    "#;
    let world = World::new();
    let client = Client::trusting(&world.root.certificate);
    let lab = Lab::without_ca(&world.with(|draft| draft), rules);
    assert_eq!(lab.run(client.get(&lab, "/")).unwrap().status(), 200);
    assert_eq!(flows(lab, 1)[0]["rule"], "ours");

    let stranger = Authority::root("stranger");
    let leaf = crate::lab::lasting(stranger.leaf(&world.key)).sign(&stranger.key);
    let lab = Lab::without_ca(&world.serving(&[&leaf]), rules);
    denied(&lab, &client);
    assert_eq!(flows(lab, 1)[0]["reason"], "default");
}
