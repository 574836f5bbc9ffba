//! Real traffic, from the folder that `SLUICE_CAPTURES` names.

use std::{collections::HashMap, env, fs, path::PathBuf};

use serde_json::Value;

use crate::program;

/// A file of the folder, or `None` after saying that the test has nothing to read.
fn file(name: &str) -> Option<PathBuf> {
    let Some(folder) = env::var_os("SLUICE_CAPTURES") else {
        eprintln!("skipped: SLUICE_CAPTURES is not set, so {name} is not there to be replayed");
        return None;
    };
    // Tests run in the folder of their package, people name folders from that of the workspace.
    let from_root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(&folder);
    let found = [PathBuf::from(&folder), from_root].map(|folder| folder.join(name));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: there is no {name} in {}", folder.display());
    }
    found
}

/// The flows of a capture.
fn flows(name: &str, args: &[&str]) -> Option<Vec<Value>> {
    Some(program::objects(&file(name)?, args))
}

/// What the client sent first, in the words of the table that comes with the Skype capture.
fn first(flow: &Value) -> String {
    if flow["proto"] == "udp" {
        return "udp".to_owned();
    }
    match (flow["tls"]["state"].as_str(), flow["tls"]["sni"].as_str()) {
        (Some("hello"), Some(name)) => format!("hello:{name}"),
        (Some("hello"), None) => "hello:no-sni".to_owned(),
        (Some("none"), _) => "no-payload".to_owned(),
        (Some(state), _) => state.to_owned(),
        (None, _) => "not in the capture".to_owned(),
    }
}

fn verdict(flow: &Value) -> &str {
    match flow["kernel"].as_str() {
        Some("drop" | "reject") => "block",
        Some(other) => other,
        None => "null",
    }
}

/// Protocol, addresses and ports.
type Tuple = [String; 5];

fn tuple(flow: &Value) -> Tuple {
    ["proto", "src", "sport", "dst", "dport"].map(|key| match &flow[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// Replays the Skype capture, holds each line of its table to the output, and returns the flows.
fn skype(args: &[&str]) -> Option<Vec<Value>> {
    let table = fs::read_to_string(file("skype.expected.tsv")?).unwrap();
    let flows = flows("skype.pcap", args)?;
    let mut by_tuple: HashMap<Tuple, Vec<&Value>> = HashMap::new();
    for flow in &flows {
        by_tuple.entry(tuple(flow)).or_default().push(flow);
    }
    let mut wrong = Vec::new();
    let mut lines = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<_> = line.split('\t').collect();
        let [proto, src, sport, dst, dport, bytes, wanted] = fields.try_into().unwrap();
        let key = [proto, src, sport, dst, dport].map(str::to_owned);
        let found = by_tuple.get(&key).map(Vec::as_slice).unwrap_or_default();
        lines += 1;
        match found {
            [flow] if first(flow) == bytes && verdict(flow) == wanted => {}
            _ => wrong.push(format!("expected {line}\n  got {found:?}")),
        }
    }
    assert_eq!(lines, 240, "public flows in the table");
    assert!(
        wrong.is_empty(),
        "{} lines differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Some(flows)
}

fn steered(flows: &[Value]) -> Vec<&Value> {
    flows
        .iter()
        .filter(|flow| flow["kernel"] == "steer")
        .collect()
}

fn count(flows: &[&Value], state: &str) -> usize {
    flows
        .iter()
        .filter(|flow| flow["tls"]["state"] == state)
        .count()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn skype_line_by_line() {
    let Some(flows) = skype(&["--lan", "192.168.1.0/24", "--gateway", "192.168.1.1"]) else {
        return;
    };
    let steered = steered(&flows);
    assert_eq!(steered.len(), 34);
    assert_eq!(count(&steered, "sslv2-hello"), 26);
    assert_eq!(count(&steered, "zero-length-record"), 1);
    assert_eq!(count(&steered, "hello"), 5);
    assert_eq!(count(&steered, "none"), 2);
    let mut names: Vec<_> = steered
        .iter()
        .filter_map(|flow| flow["tls"]["sni"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names[..3],
        ["apps.skype.com", "apps.skype.com", "apps.skypeassets.com"]
    );
    assert!(names[3].ends_with("icloud.com"), "{names:?}");
    assert_eq!(names.len(), 4);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn what_the_recipe_says_of_skype() {
    let Some(flows) = skype(&["--lan", "192.168.1.0/24", "--gateway", "192.168.1.1"]) else {
        return;
    };
    for flow in steered(&flows) {
        let by_rule = flow["rule"] == "Skype, except for the Allow Skype group";
        match (flow["tls"]["state"].as_str(), flow["tls"]["sni"].as_str()) {
            // Their origins never answer the hello.
            (Some("hello"), Some(_)) if flow["sport"] == 50027 || flow["sport"] == 50029 => {
                assert_eq!(flow["verdict"], "undecided", "{flow}");
            }
            // Its origin ends without an answer.
            (Some("hello"), Some(_)) if flow["sport"] == 50090 => {
                assert!(flow["verdict"] == "block" && by_rule, "{flow}");
            }
            (Some("hello"), Some(_)) => assert_eq!(flow["verdict"], "splice", "{flow}"),
            (Some("hello"), None) => assert_eq!(flow["verdict"], "block", "{flow}"),
            // It begins with FIN: the listener's kernel answers, the daemon never sees it.
            (Some("none"), None) if flow["dst"] == "17.172.100.36" => {
                assert_eq!(flow["verdict"], Value::Null, "{flow}");
            }
            _ => assert!(flow["verdict"] == "block" && by_rule, "{flow}"),
        }
    }
    let is_public = |flow: &&Value| flow["kernel"] == "pass" && flow["reason"] == "listed";
    let passed: Vec<_> = flows.iter().filter(is_public).collect();
    assert_eq!(passed.len(), 1, "{passed:?}");
    assert_eq!(passed[0]["dport"], 123);
    let not_quic = flows
        .iter()
        .filter(|flow| flow["reason"] == "not-quic")
        .count();
    assert_eq!(not_quic, 2);
    let reasons = |reason| flows.iter().filter(|flow| flow["reason"] == reason).count();
    assert_eq!((reasons("native-tcp"), reasons("native-udp")), (61, 142));
    assert_eq!(flows.len(), 293);
    let packets: u64 = flows
        .iter()
        .filter_map(|flow| flow["packets"].as_u64())
        .sum();
    assert!(packets > 2000, "{packets}");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn skype_with_the_usual_lan() {
    let Some(flows) = skype(&[]) else { return };
    let to_router = flows
        .iter()
        .find(|flow| flow["dst"] == "192.168.1.1")
        .unwrap();
    assert_eq!(
        to_router["kernel"],
        Value::Null,
        "without --gateway it is one more host of the LAN"
    );
}

/// The only flow of a capture.
fn only(name: &str, args: &[&str]) -> Option<Value> {
    let mut flows = flows(name, args)?;
    assert_eq!(flows.len(), 1, "{flows:?}");
    flows.pop()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_post_quantum_hello_in_two_segments() {
    let name = "chrome-1250-tls-x25519-kyber.pcap";
    let Some(flow) = only(name, &[]) else { return };
    assert_eq!(
        (first(&flow).as_str(), &flow["kernel"]),
        ("hello:lh3.google.com", &Value::Null)
    );
    assert_eq!(flow["tls"]["alpn"], serde_json::json!(["h2", "http/1.1"]));
    let ja4 = flow["tls"]["ja4"].as_str().unwrap();
    assert!(ja4.starts_with("t13d1516h2_8daaf6152771_"), "{ja4}");
    // Its addresses were made unrecognisable: a source that no client may have.
    let Some(flow) = only(name, &["--lan", "0.0.0.0/8"]) else {
        return;
    };
    assert_eq!(
        (flow["kernel"].as_str(), flow["reason"].as_str()),
        (Some("drop"), Some("bad-source"))
    );
    assert_eq!(first(&flow), "hello:lh3.google.com");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_hello_in_segments_of_an_mtu_of_300() {
    let Some(flow) = only("tls-client-hello-frag-01.pcap", &[]) else {
        return;
    };
    assert_eq!(first(&flow), "hello:www.google.com");
    assert_eq!(
        (&flow["kernel"], &flow["verdict"]),
        (&"steer".into(), &"splice".into())
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_retried_hello() {
    let Some(flow) = only("hrr.pcap", &[]) else {
        return;
    };
    assert_eq!(
        (first(&flow).as_str(), verdict(&flow)),
        ("hello:no-sni", "steer")
    );
    assert_eq!(
        (&flow["verdict"], &flow["rule"]),
        (&"block".into(), &Value::Null)
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn encrypted_hellos_show_the_outer_name() {
    let Some(flows) = flows("tls13-ech.pcap", &[]) else {
        return;
    };
    let (hellos, rest): (Vec<_>, Vec<_>) = flows
        .iter()
        .partition(|flow| first(flow) == "hello:cloudflare-ech.com");
    assert_eq!(hellos.len(), 2, "{flows:?}");
    for flow in hellos {
        assert_eq!(flow["tls"]["ech"], true);
        assert_eq!(
            (&flow["kernel"], &flow["verdict"]),
            (&"steer".into(), &"splice".into())
        );
    }
    // The capture holds the middle of a third connection.
    assert_eq!(rest.len(), 1);
    assert_eq!(
        (&rest[0]["kernel"], &rest[0]["tls"]),
        (&"steer".into(), &Value::Null)
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn genuine_hellos_in_the_format_of_ssl_2() {
    for (name, args) in [
        (
            "sslv2-tls-upgrade-01.pcap",
            &["--lan", "10.150.98.145/32"][..],
        ),
        ("ssl-v2.pcap", &[]),
    ] {
        let Some(flow) = only(name, args) else { return };
        assert_eq!(
            (first(&flow).as_str(), verdict(&flow)),
            ("sslv2-hello", "steer"),
            "{name}"
        );
        assert_eq!(flow["verdict"], "block", "{name}");
        assert_eq!(flow["tls"]["ech"], false, "{name}");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn tls_towards_a_cleartext_server() {
    let Some(flow) = only("https-to-http.pcap", &[]) else {
        return;
    };
    assert_eq!(
        (first(&flow).as_str(), &flow["dport"]),
        ("hello:no-sni", &80.into())
    );
    assert_eq!(
        (&flow["kernel"], &flow["verdict"]),
        (&Value::Null, &Value::Null)
    );
}
