//! What records say of why a flow was decrypted, and how.

use rustls::version::TLS12;
use serde_json::Value;

use crate::client::Client;
use crate::lab::{INSPECT, Lab, NAME, Origin};

/// Asks once for a path, and returns the record of the flow.
fn flow_of(rules: &str, name: &'static str) -> Value {
    let lab = Lab::new(rules);
    let client = lab.trusting_gateway().asking_for(name);
    let answer = lab.run(client.get(&lab, "/"));
    // What is spliced is the origin's own, which this client does not trust.
    drop(answer);
    lab.over(1);
    lab.end().0.remove(0)
}

#[test]
fn a_record_says_which_rule_had_a_flow_decrypted_and_why() {
    let asks = r#"
[policy]
default = "allow"
block = "page"
[[rule]]
name = "never"
when = { host = "bank.origin.example" }
action = "splice"
[[rule]]
name = "tagged"
when = { method = "GET" }
action = { tag = "got" }
[[rule]]
name = "elsewhere"
when = { host = "a.origin.example", path = "/a" }
action = "block"
[[rule]]
name = "games"
when = { host = "games.origin.example" }
action = "block"
[[rule]]
name = "careful"
when = { host = "careful.origin.example" }
action = { warn = "1h" }
[[rule]]
name = "no secrets"
when = { path = "/secret" }
action = "block"
[[rule]]
name = "no uploads"
when = { method = "PUT" }
action = "block"
"#;
    for (rules, name, decrypted, by, because, stage) in [
        (
            INSPECT,
            NAME,
            true,
            Some("look into it"),
            Some("action"),
            "hello",
        ),
        // The first that what becomes of the flow hangs on, and not the first that asks.
        (
            asks,
            NAME,
            true,
            Some("no secrets"),
            Some("requests"),
            "certificate",
        ),
        (
            asks,
            "a.origin.example",
            true,
            Some("elsewhere"),
            Some("requests"),
            "certificate",
        ),
        (
            asks,
            "games.origin.example",
            true,
            Some("games"),
            Some("page"),
            "hello",
        ),
        (asks, "bank.origin.example", false, None, None, "hello"),
    ] {
        let flow = flow_of(rules, name);
        assert_eq!(flow["decrypted"], decrypted, "{flow}");
        assert_eq!(flow["inspected_by"].as_str(), by, "{flow}");
        assert_eq!(flow["inspected_because"].as_str(), because, "{flow}");
        assert_eq!(flow["stage"], stage, "{flow}");
    }
    let warned = flow_of(asks, "careful.origin.example");
    assert_eq!(
        warned["inspected_because"].as_str(),
        Some("requests"),
        "{warned}"
    );
}

#[test]
fn a_record_says_what_both_handshakes_agreed_on() {
    let keys = ["version", "suite", "group", "alpn"];
    let lab = Lab::before(&Origin::default().speaking(b"http/1.1"), INSPECT);
    let client = lab.trusting_gateway().offering(&[b"h2", b"http/1.1"]);
    lab.run(client.get(&lab, "/")).unwrap();
    let old = Client::speaking(&lab.ca, &[&TLS12]);
    let mut stream = lab.run(old.connect(&lab)).unwrap();
    let agreed = stream.get_mut().1;
    let suite = format!("{:?}", agreed.negotiated_cipher_suite().unwrap().suite());
    drop(stream);
    lab.over(2);
    let (flows, _) = lab.end();
    let leg = |flow: &Value, leg: &str| {
        let told = &flow["interception"][leg];
        keys.map(|key| told[key].as_str().unwrap_or_default().to_owned())
    };
    for side in ["client", "origin_tls"] {
        let [version, suite, group, alpn] = leg(&flows[0], side);
        assert_eq!((version.as_str(), alpn.as_str()), ("1.3", "http/1.1"));
        assert!(
            suite.starts_with("TLS_AES_") || suite.starts_with("TLS_CHACHA20_"),
            "{suite}"
        );
        assert!(!suite.contains("TLS13"), "{suite}");
        assert!(
            ["x25519", "X25519MLKEM768"].contains(&group.as_str()),
            "{group}"
        );
    }
    let [version, named, group, alpn] = leg(&flows[1], "client");
    assert_eq!((version.as_str(), alpn.as_str()), ("1.2", ""));
    assert_eq!(named, suite);
    assert!(!group.is_empty());
    assert_eq!(leg(&flows[1], "origin_tls")[0], "1.2");
    // What was not decrypted has agreed on nothing.
    let spliced = flow_of("[policy]\ndefault = \"allow\"\n", NAME);
    assert_eq!(spliced["interception"], Value::Null);
}
