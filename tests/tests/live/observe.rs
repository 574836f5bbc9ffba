//! What can be seen of it: metrics, health, records, status.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;
use sluice_tests::{
    dial,
    family::Family,
    hello,
    lab::Lab,
    metrics::Metrics,
    peer::Peer,
    peer::Recorder,
    sluice::{ADMIN, Sluice},
};

use crate::{
    exchange::{Then, echoed, hear, say},
    inspected::records,
    support::{OPEN, PATIENCE, connect, eventually, recipe, said, status, tool},
};

fn checked(lab: &Lab, text: &str) {
    let file = lab.dir().join("metrics");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(tool("promtool"));
    command
        .args(["check", "metrics"])
        .stdin(Stdio::from(File::open(&file).unwrap()));
    let output = command.output().unwrap();
    assert!(
        output.status.success() && said(&output).is_empty(),
        "{}\n{text}",
        said(&output)
    );
}

/// One flow that is spliced, one that is blocked, and one datagram that is refused.
fn act(lab: &Lab, family: Family) {
    let origin = Recorder::new(lab.internet(), family.origin_at(5, 443), &hello::answer());
    let named = hello::genuine("news.example", &["h2", "http/1.1"]);
    for bytes in [named, hello::sslv2()] {
        let mut client = connect(lab, family.other(), origin.address());
        say(&mut client, &bytes, Then::Finish);
        hear(&mut client);
    }
    let native = family.origin_at(66, 33_033);
    let (outcome, _) = dial::ask(lab.client(), family.other(), native, b"native", PATIENCE);
    assert!(!outcome.is_answered());
}

#[test]
#[ignore = "root: cargo xtask test"]
fn metrics_are_well_formed_and_move() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(&recipe());
    let scrape = || {
        let answer = daemon.get("/metrics").unwrap();
        assert_eq!(answer.status, 200);
        checked(&lab, &answer.body);
        Metrics::parse(&answer.body)
    };
    let before = scrape();
    for family in Family::ALL {
        act(&lab, family);
    }
    eventually("every flow is counted", || {
        daemon.metrics().sum("sluice_flows_total", &[]) == 4.0
    });
    let after = scrape();
    let grew = |name: &str, labels: &[(&str, &str)]| {
        let (before, after) = (before.sum(name, labels), after.sum(name, labels));
        assert!(after >= before, "{name}{labels:?} shrank");
        after - before
    };
    let packets = |hook, verdict, reason| {
        let labels = [("hook", hook), ("verdict", verdict), ("reason", reason)];
        let count = grew("sluice_packets_total", &labels);
        if count > 0.0 {
            assert!(grew("sluice_packet_bytes_total", &labels) >= 20.0 * count);
        }
        count
    };
    assert_eq!(packets("lan_ingress", "reject", "native-udp"), 2.0);
    assert!(packets("lan_ingress", "steer", "steered") >= 12.0);
    assert!(packets("lan_egress", "pass", "own-socket") >= 8.0);
    let flows = |verdict, reason, tls| {
        let labels = [("verdict", verdict), ("reason", reason), ("tls", tls)];
        grew("sluice_flows_total", &labels)
    };
    assert_eq!(flows("splice", "default", "negotiated"), 2.0);
    assert_eq!(flows("block", "rule", "sslv2-hello"), 2.0);
    assert_eq!(grew("sluice_flow_bytes_total", &[("to", "client")]), 94.0);
    assert!(grew("sluice_flow_bytes_total", &[("to", "origin")]) > 400.0);
    assert_eq!(grew("sluice_peek_seconds_count", &[]), 4.0);
    assert!(grew("sluice_decision_seconds_count", &[]) >= 4.0);
    assert_eq!(after.sum("sluice_active_flows", &[]), 0.0);
    assert_eq!(after.sum("sluice_flow_panics_total", &[]), 0.0);
    for (series, _) in after.moved_since(&Metrics::default()) {
        check_labels(&series);
    }
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--header"])
        .arg("Accept: application/openmetrics-text; version=1.0.0")
        .arg(format!("http://{ADMIN}/metrics"));
    let answer = said(&lab.gateway().output(&mut curl));
    assert!(
        answer.contains("application/openmetrics-text; version=1.0.0"),
        "{answer}"
    );
    assert!(answer.contains("# TYPE sluice_flows counter\n") && answer.ends_with("# EOF\n"));
}

/// Panics where a label is none of those that there may be, or holds what it must not: names of
/// rules are the administrator's, and everything else is a word of sluice's own.
#[track_caller]
fn check_labels(series: &str) {
    let inside = series.split_once('{').map_or("", |(_, inside)| inside);
    let rule = format!("rule=\"{RULE}\"");
    let inside = inside
        .trim_end_matches('}')
        .replace(&rule, "rule=\"other\"");
    for label in inside.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').unwrap();
        let value = value.trim_matches('"');
        let is_word = |value: &str| {
            let of_word = |byte: u8| byte.is_ascii_lowercase() || b"-_0123456789".contains(&byte);
            value.starts_with(|first: char| first.is_ascii_lowercase())
                && value.bytes().all(of_word)
        };
        let fits = match name {
            "hook" | "verdict" | "reason" | "tls" | "stage" | "rule" | "of" | "result"
            | "limit" | "path" | "source" | "to" | "state" | "ca" => is_word(value),
            "map" => value
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
            "sink" => ["stdout", "stderr"].contains(&value),
            "worker" => value.parse::<u16>().is_ok(),
            "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
            "at" => ["0.5", "0.9", "0.99", "0.999"].contains(&value),
            "version" => value.split('.').all(|part| part.parse::<u16>().is_ok()),
            _ => false,
        };
        assert!(fits, "{series}: {name}");
    }
}

/// The rule of the recipe.
const RULE: &str = "Skype, except for the Allow Skype group";

#[test]
#[ignore = "root: cargo xtask test"]
fn it_is_ready_between_its_beginning_and_its_drain() {
    let lab = Lab::new();
    let mut daemon = lab.start_sluice(OPEN);
    // Whatever comes first: no answer, or "not yet".
    if let Ok(answer) = daemon.get("/readyz") {
        assert!([200, 503].contains(&answer.status), "{answer:?}");
    }
    daemon.wait_ready();
    let status_of = |daemon: &Sluice, path: &str| daemon.get(path).map(|answer| answer.status).ok();
    assert_eq!(status_of(&daemon, "/healthz"), Some(200));
    assert_eq!(status_of(&daemon, "/nothing"), Some(404));
    let origin = Peer::echo(lab.internet(), Family::V4.origin_at(5, 443));
    let mut stream = connect(&lab, Family::V4.other(), origin.address());
    echoed(&mut stream, b"begun");
    daemon.signal(Signal::TERM);
    eventually("it is not ready any more", || {
        status_of(&daemon, "/readyz") != Some(200)
    });
    echoed(&mut stream, b"goes on");
    drop(stream);
    assert!(daemon.stop().success());
}

#[test]
#[ignore = "root: cargo xtask test"]
fn every_flow_leaves_one_record() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(&recipe());
    for (index, family) in Family::ALL.into_iter().enumerate() {
        act(&lab, family);
        eventually("both records", || records(&daemon).len() == 2 * (index + 1));
        let all = records(&daemon);
        let [spliced, blocked] = &all[2 * index..] else {
            panic!("{all:?}")
        };
        for record in [spliced, blocked] {
            let address = |key: &str| -> std::net::SocketAddr {
                record[key].as_str().unwrap().parse().unwrap()
            };
            assert_eq!(address("client").ip(), family.other());
            assert_eq!(address("destination"), family.origin_at(5, 443));
            assert_eq!(record["decrypted"], false);
            assert_eq!(record["generation"], 1);
            assert!(record["peek_us"].as_u64().unwrap() > 0);
            assert!(record["duration_ms"].as_u64().unwrap() < 10_000);
            let time = record["time"].as_str().unwrap();
            assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
        }
        assert_eq!(spliced["verdict"], "splice");
        assert_eq!(spliced["reason"], "default");
        assert_eq!(spliced["rule"], Value::Null);
        assert_eq!(spliced["tls"], "negotiated");
        assert_eq!(spliced["stage"], "server_hello");
        assert_eq!(spliced["sni"], "news.example");
        assert_eq!(spliced["alpn"], serde_json::json!(["h2", "http/1.1"]));
        let ja4 = spliced["ja4"].as_str().unwrap();
        assert!(ja4.starts_with("t13d") && ja4.len() == 36, "{ja4}");
        assert_eq!(spliced["ech"], false);
        assert_eq!(spliced["end"], "finished");
        let named = hello::genuine("news.example", &["h2", "http/1.1"]);
        assert_eq!(spliced["to_origin"], named.len());
        assert_eq!(spliced["to_client"], hello::answer().len());

        assert_eq!(blocked["verdict"], "block");
        assert_eq!(blocked["reason"], "rule");
        assert_eq!(blocked["rule"], RULE);
        assert_eq!(blocked["tls"], "sslv2-hello");
        assert_eq!(blocked["stage"], "hello");
        assert_eq!(blocked["sni"], Value::Null);
        assert_eq!(blocked["to_origin"], 0);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn status_tells_machines_everything() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(&recipe());
    act(&lab, Family::V4);
    let report = status(&lab);
    assert_eq!(report["daemon"], true);
    assert_eq!(report["on_failure"], "closed");
    assert!(report["generation"].as_u64().unwrap() > 0);
    assert!(report["heartbeat_age_seconds"].as_f64().unwrap() < 5.0);
    assert_eq!(
        report["devices"],
        serde_json::json!([{"name": "lan0", "ingress": true, "egress": true}])
    );
    let counters = report["counters"].as_array().unwrap();
    assert!(counters.iter().any(|counter| {
        counter["hook"] == "lan_ingress"
            && counter["verdict"] == "reject"
            && counter["reason"] == "native-udp"
            && counter["packets"] == 1
    }));
    for key in ["established", "embryonic"] {
        assert!(report["flows"][key].is_u64(), "{report}");
    }
    drop(daemon);
    let output = lab.sluice(&["status", "--bpffs", lab.bpffs().to_str().unwrap()]);
    // Until its last sign of life is old it may be there, and not answer.
    let code = output.status.code();
    assert!(matches!(code, Some(1 | 2)), "{}", said(&output));
    assert!(
        said(&output).contains("lan0: attached"),
        "{}",
        said(&output)
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn the_kernel_programs_tell_of_refusals_when_asked() {
    let lab = Lab::new();
    let mut daemon = lab.start_sluice_with(&recipe(), &["--kernel-log"]);
    daemon.wait_ready();
    for family in Family::ALL {
        let native = family.origin_at(66, 33_033);
        let (outcome, _) = dial::ask(lab.client(), family.other(), native, b"native", PATIENCE);
        assert!(!outcome.is_answered());
        let told = format!("{} port 33033", native.ip());
        eventually("the refusal is told", || daemon.log().contains(&told));
    }
}
