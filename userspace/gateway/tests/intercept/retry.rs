//! A second ClientHello, which an origin asks for by a HelloRetryRequest, and what it may say.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::d::World;
use crate::lab::{INSPECT, Lab, NAME, Origin};
use crate::pki::private;

/// A warning that ends nothing (RFC 8446 section 6.1), and a change of ciphers.
const WARNING: &[u8] = &[21, 3, 3, 0, 2, 1, 90];
const CIPHERS: &[u8] = &[20, 3, 3, 0, 1, 1];

const STRICT: &str = r#"
[steer]
strict_hrr = true
hello_timeout = "2s"
[policy]
default = "allow"
default_unidentified = "allow"
[[rule]]
name = "names are read"
when = { host = "blocked.example" }
action = "block"
"#;

/// The same where the origin's answer is asked about by a rule.
const STRICT_ASKING: &str = r#"
[steer]
strict_hrr = true
[policy]
default = "allow"
default_unidentified = "allow"
[[rule]]
name = "no TLS"
when = { tls = "not-negotiated" }
action = "block"
"#;

/// An origin that speaks a group alone of which no client sends a share unasked.
fn picky(world: &World) -> Origin {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![kx_group::SECP384R1];
    let chain = vec![world.leaf(), world.issuer.certificate.clone()];
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, private(&world.key))
        .unwrap();
    Origin {
        served: Some(Arc::new(config)),
        ..Origin::default()
    }
}

/// What a client would say to a server, and what it says when it is answered.
struct Hand {
    connection: ClientConnection,
}

impl Hand {
    fn asking(client: &Client, name: &'static str) -> Self {
        let name = ServerName::try_from(name).unwrap();
        let connection = ClientConnection::new(Arc::new(client.config.clone()), name);
        Self {
            connection: connection.unwrap(),
        }
    }

    fn says(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut said).unwrap();
        }
        said
    }

    fn hears(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).unwrap();
        }
        self.connection.process_new_packets().unwrap();
    }
}

/// One record of a stream.
async fn record(stream: &mut TcpStream) -> Vec<u8> {
    let mut record = vec![0; 5];
    stream.read_exact(&mut record).await.unwrap();
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    stream.read_exact(&mut record[5..]).await.unwrap();
    record
}

/// What comes until the end.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    heard
}

/// Sends a first hello, and after the request for another one these bytes; returns what then comes
/// and the record of the flow.
fn retried(rules: &str, first: &[u8], then: &[u8]) -> (Vec<u8>, Value) {
    let lab = Lab::without_ca(&picky(&World::new()), rules);
    let heard = lab.run(async {
        let mut stream = lab.tcp([127, 0, 0, 1]).await.unwrap();
        stream.write_all(first).await.unwrap();
        let request = record(&mut stream).await;
        // SHA-256 of "HelloRetryRequest" (RFC 8446 section 4.1.3).
        assert_eq!((request[0], request[5]), (22, 2));
        assert_eq!(request[11..15], [0xcf, 0x21, 0xad, 0x74]);
        stream.write_all(then).await.unwrap();
        stream.shutdown().await.unwrap();
        rest(&mut stream).await
    });
    lab.over(1);
    (heard, lab.end().0.remove(0))
}

#[test]
fn b14_a_second_hello_that_says_the_same_goes_on() {
    let world = World::new();
    for rules in [STRICT, STRICT_ASKING] {
        let lab = Lab::without_ca(&picky(&world), rules);
        for alpn in [&[][..], &[b"http/1.1".as_slice()]] {
            let client = Client::trusting(&world.root.certificate).offering(alpn);
            let answer = lab.run(client.get(&lab, "/page")).unwrap();
            assert_eq!(answer.status(), 200);
            assert!(answer.body.contains("/page"), "{}", answer.body);
        }
        lab.over(2);
        let (flows, _) = lab.end();
        for flow in flows {
            assert_eq!(
                (&flow["verdict"], &flow["end"]),
                (&"splice".into(), &"finished".into())
            );
            assert_eq!(flow["sni"], NAME);
        }
    }
}

#[test]
fn b14_a_flow_without_a_second_hello_goes_on() {
    let lab = Lab::without_ca(&Origin::default(), STRICT);
    let client = lab.trusting_origins();
    assert_eq!(lab.run(client.get(&lab, "/")).unwrap().status(), 200);
    let old = Client::speaking(&lab.pki.root, &[&rustls::version::TLS12]);
    assert_eq!(lab.run(old.get(&lab, "/")).unwrap().status(), 200);
}

#[test]
fn b14_every_byte_of_a_held_flow_arrives_once() {
    let world = World::new();
    let lab = Lab::without_ca(&picky(&world), STRICT);
    let client = Client::trusting(&world.root.certificate).offering(&[b"http/1.1"]);
    let mut hand = Hand::asking(&client, NAME);
    let (to_origin, to_client) = lab.run(async {
        let mut stream = lab.tcp([127, 0, 0, 1]).await.unwrap();
        let first = hand.says();
        // In two pieces, so that the gateway reads more than once.
        stream.write_all(&first[..30]).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&first[30..]).await.unwrap();
        let mut heard = record(&mut stream).await;
        hand.hears(&heard);
        let second = hand.says();
        let mut sent = first.len() + second.len();
        stream.write_all(&second).await.unwrap();
        while hand.connection.is_handshaking() {
            let part = record(&mut stream).await;
            hand.hears(&part);
            heard.extend(part);
        }
        let finished = hand.says();
        sent += finished.len();
        stream.write_all(&finished).await.unwrap();
        stream.shutdown().await.unwrap();
        heard.extend(rest(&mut stream).await);
        (sent, heard.len())
    });
    lab.over(1);
    let flow = lab.end().0.remove(0);
    assert_eq!(flow["verdict"], "splice");
    assert_eq!(flow["to_origin"], to_origin);
    assert_eq!(flow["to_client"], to_client);
}

#[test]
fn b14_a_second_hello_that_says_something_else_is_blocked() {
    let client = Client::trusting(&World::new().root.certificate).offering(&[b"http/1.1"]);
    let hello = |name| Hand::asking(&client, name).says();
    let nameless = || hello("192.0.2.1");
    let other_alpn = Hand::asking(&client.clone().offering(&[b"h2"]), NAME).says();
    let mut older = client.clone();
    older.config = Client::speaking(&World::new().root.certificate, &[&rustls::version::TLS12])
        .offering(&[b"http/1.1"])
        .config;
    let older = Hand::asking(&older, NAME).says();
    let mismatch = "hello-retry-mismatch";
    for (what, first, then, reason) in [
        (
            "another name",
            hello(NAME),
            hello("other.example"),
            mismatch,
        ),
        ("no name", hello(NAME), nameless(), mismatch),
        ("a name", nameless(), hello(NAME), mismatch),
        ("another protocol", hello(NAME), other_alpn, mismatch),
        ("another version", hello(NAME), older, mismatch),
        (
            "another name behind what is skipped",
            hello(NAME),
            [CIPHERS, WARNING, &hello("other.example")].concat(),
            mismatch,
        ),
        (
            "no hello",
            hello(NAME),
            vec![22, 3, 3, 0, 4, 2, 0, 0, 0],
            "not-tls",
        ),
        (
            "no TLS",
            hello(NAME),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            "not-tls",
        ),
        (
            "a hello that cannot be read",
            hello(NAME),
            vec![22, 3, 3, 0, 6, 1, 0, 0, 2, 3, 3],
            "malformed-hello",
        ),
    ] {
        for rules in [STRICT, STRICT_ASKING] {
            let (heard, flow) = retried(rules, &first, &then);
            assert_eq!(flow["reason"], reason, "{what}: {flow}");
            assert_eq!(
                (&flow["verdict"], &flow["end"]),
                (&"block".into(), &flow["reason"])
            );
            // The origin has the first hello, and nothing of what follows.
            assert_eq!(flow["to_origin"], first.len(), "{what}");
            let alert = match reason {
                "not-tls" => None,
                "malformed-hello" => Some(50),
                _ => Some(49),
            };
            let alert = alert.map_or_else(Vec::new, |code| vec![21, 3, 3, 0, 2, 2, code]);
            // A change of ciphers may come from the origin before.
            assert!(heard.ends_with(&alert), "{what}: {heard:02x?}");
        }
    }
    // Sent before the origin was heard, it is held to the same.
    let both = [hello(NAME), hello("other.example")].concat();
    let (_, flow) = retried(STRICT, &both, b"");
    assert_eq!(
        (&flow["reason"], &flow["to_origin"]),
        (&mismatch.into(), &hello(NAME).len().into())
    );
    // Without being strict, it goes on.
    let lax = STRICT.replace("strict_hrr = true", "strict_hrr = false");
    let (_, flow) = retried(&lax, &hello(NAME), &hello("other.example"));
    assert_eq!(flow["verdict"], "splice");
}

#[test]
fn b14_a_second_hello_that_does_not_come() {
    let client = Client::trusting(&World::new().root.certificate);
    let first = Hand::asking(&client, NAME).says();
    // The client that goes may.
    for then in [&[][..], WARNING, CIPHERS] {
        let (_, flow) = retried(STRICT, &first, then);
        assert_eq!(flow["verdict"], "splice", "{flow}");
        assert_eq!(flow["to_origin"], first.len() + then.len());
    }
    // The one that stays without saying it may not.
    let lab = Lab::without_ca(&picky(&World::new()), STRICT);
    let heard = lab.run(async {
        let mut stream = lab.tcp([127, 0, 0, 1]).await.unwrap();
        stream.write_all(&first).await.unwrap();
        record(&mut stream).await;
        stream.write_all(CIPHERS).await.unwrap();
        rest(&mut stream).await
    });
    assert!(!heard.ends_with(&[21, 3, 3, 0, 2, 2, 49]), "{heard:02x?}");
    lab.over(1);
    let flow = lab.end().0.remove(0);
    assert_eq!(
        (&flow["verdict"], &flow["reason"]),
        (&"block".into(), &"timeout".into())
    );
}

#[test]
fn b14_an_origin_that_answers_too_late_is_not_waited_for() {
    let silent = crate::part::Part::of_bytes(Vec::new(), std::time::Duration::from_secs(20));
    let origin = Origin {
        part: Some(silent),
        ..Origin::default()
    };
    let lab = Lab::without_ca(&origin, STRICT);
    let client = lab.trusting_origins();
    lab.run(client.connect(&lab)).unwrap_err();
    lab.over(1);
    let flow = lab.end().0.remove(0);
    assert_eq!(
        (&flow["verdict"], &flow["reason"]),
        (&"block".into(), &"origin-timeout".into())
    );
}

/// A hello whose key share is of a group that the gateway does not have.
fn without_share(client: &Client) -> Vec<u8> {
    let mut client = client.clone();
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1];
    let roots = rustls::RootCertStore::empty();
    client.config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut hello = Hand::asking(&client, NAME).says();
    let share = [0, 0x33, 0, 0x26, 0, 0x24, 0, 0x1d];
    let at = hello.windows(8).position(|part| part == share).unwrap();
    // X448 (RFC 8446 section 4.2.7).
    hello[at + 7] = 0x1e;
    hello
}

#[test]
fn b14_a_decrypted_flow_is_held_to_the_name_of_its_first_hello() {
    for strict in [false, true] {
        let rules = format!("[steer]\nstrict_hrr = {strict}\n{INSPECT}");
        let lab = Lab::new(&rules);
        let client = lab.trusting_gateway();
        let first = without_share(&client);
        let second = Hand::asking(&client, "www.origin.example").says();
        let heard = lab.run(async {
            let mut stream = lab.tcp([127, 0, 0, 1]).await.unwrap();
            stream.write_all(&first).await.unwrap();
            let request = record(&mut stream).await;
            assert_eq!(request[11..15], [0xcf, 0x21, 0xad, 0x74]);
            stream.write_all(&second).await.unwrap();
            rest(&mut stream).await
        });
        // A change of ciphers may follow the request for another hello, and nothing else.
        assert!(CIPHERS.starts_with(&heard), "{heard:02x?}");
        assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
        lab.over(1);
        let flow = lab.end().0.remove(0);
        assert_eq!(flow["end"], "client-handshake-failed");
        assert_eq!(flow["decrypted"], false);
    }
}
