//! `sluice explain`, `sluice decrypts` and `sluice diff` on the policy of the worked examples.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod diff;
mod flags;

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use sluice_gateway::{
    commands::decrypts,
    config::Config,
    explain::{Answer, Given},
};
use sluice_policy::Scratch;
use tempfile::TempDir;

const POLICY: &str = r#"
[gateway]
lan = ["lan0"]

[policy]
default = "allow"
default_unidentified = "allow"

[[user]]
name = "alice"
addresses = ["10.20.4.7"]

[[group]]
name = "Allow Skype"
members = ["10.20.5.0/24"]

[[group]]
name = "staff"
members = ["10.20.6.0/24"]

[[rule]]
name = "banks"
when = { host = "bank.example" }
action = "splice"

[[rule]]
name = "skype"
when = { tls = "not-negotiated" }
unless = { group = "Allow Skype" }
action = { block = "page" }

[[rule]]
name = "certificates"
when = { certificate = ["expired", "untrusted"] }
unless = { user = "qa" }
action = { block = "page" }

[[rule]]
name = "webmail"
when = { host = ["mail.example"] }
action = "inspect"

[[rule]]
name = "uploads"
when = { host = ["mail.example"], url = { path = "/upload" } }
unless = { group = "staff" }
action = { block = "page" }
"#;

fn config() -> Config {
    Config::parse(POLICY, "p.toml").unwrap()
}

fn answer(line: &str) -> serde_json::Value {
    let config = config();
    let given = Given::read(line).unwrap();
    let prepared = given.prepare().unwrap();
    let facts = prepared.facts(&config.policy);
    let mut out = Vec::new();
    Answer::of(&config.policy, &facts, &mut Scratch::default())
        .write(&mut out)
        .unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn sluice(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who ends before it has read everything is asked for its exit code all the same.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_worked_examples_come_out_as_documented() {
    for (line, decided, stage, outcome, next) in [
        (
            r#"{"tls":"sslv2-hello","stage":"hello"}"#,
            true,
            "hello",
            Some("block-page"),
            None,
        ),
        (
            r#"{"tls":"sslv2-hello","groups":["Allow Skype"],"stage":"hello"}"#,
            true,
            "hello",
            Some("allow"),
            None,
        ),
        (
            r#"{"host":"bank.example","tls":"hello","stage":"hello"}"#,
            true,
            "hello",
            Some("splice"),
            None,
        ),
        (
            r#"{"host":"news.example","tls":"hello","groups":["Allow Skype"],"user":"qa","stage":"hello"}"#,
            true,
            "hello",
            Some("allow"),
            None,
        ),
        (
            r#"{"host":"news.example","tls":"hello","stage":"hello"}"#,
            false,
            "hello",
            None,
            Some("server_hello"),
        ),
        (
            r#"{"host":"news.example","tls":"negotiated","stage":"server_hello"}"#,
            false,
            "server_hello",
            None,
            Some("certificate"),
        ),
        (
            r#"{"host":"news.example","tls":"negotiated","certificate":"valid"}"#,
            true,
            "certificate",
            Some("allow"),
            None,
        ),
        (
            r#"{"host":"news.example","tls":"negotiated","certificate":["expired","untrusted"]}"#,
            true,
            "certificate",
            Some("block-page"),
            None,
        ),
        (
            r#"{"host":"mail.example","tls":"negotiated","certificate":"valid","groups":["staff"]}"#,
            true,
            "certificate",
            Some("allow-decrypted"),
            None,
        ),
        (
            r#"{"host":"mail.example","tls":"negotiated","certificate":"valid"}"#,
            false,
            "certificate",
            None,
            Some("request"),
        ),
        (
            r#"{"host":"mail.example","tls":"negotiated","certificate":"valid","url":"https://mail.example/upload"}"#,
            true,
            "request",
            Some("block-page"),
            None,
        ),
        (
            r#"{"host":"mail.example","tls":"negotiated","certificate":"valid","url":"/inbox"}"#,
            true,
            "request",
            Some("allow-decrypted"),
            None,
        ),
    ] {
        let answer = answer(line);
        assert_eq!(answer["decided"], decided, "{line}: {answer}");
        assert_eq!(answer["stage"], stage, "{line}: {answer}");
        assert_eq!(answer["outcome"].as_str(), outcome, "{line}: {answer}");
        assert_eq!(answer["next"].as_str(), next, "{line}: {answer}");
    }
}

#[test]
fn an_answer_names_rules_and_what_it_rests_on() {
    let answer = answer(r#"{"host":"BANK.example.","tls":"hello"}"#);
    assert_eq!(answer["rule"], "banks");
    assert_eq!(answer["reason"], "rule");
    assert_eq!(answer["possible"], serde_json::json!(["splice"]));
    assert!(
        answer["support"]
            .as_array()
            .unwrap()
            .contains(&"host".into())
    );
    let rules = answer["rules"].as_array().unwrap();
    assert_eq!(
        rules[0],
        serde_json::json!({"name": "banks", "value": "true"})
    );
    assert_eq!(
        rules[1],
        serde_json::json!({"name": "skype", "value": "unknown"})
    );
    assert_eq!(rules.len(), 5);
}

#[test]
fn a_name_is_taken_from_connect_unless_it_is_said_to_be_absent() {
    let connect = r#""connect_host":"bank.example","listener":"office","tls":"hello""#;
    assert_eq!(answer(&format!("{{{connect}}}"))["outcome"], "splice");
    assert_eq!(
        answer(&format!("{{{connect},\"host\":null}}"))["outcome"],
        serde_json::Value::Null
    );
}

#[test]
fn users_are_found_by_address_unless_somebody_says_otherwise() {
    let config = config();
    let user = |line: &str| {
        let given = Given::read(line).unwrap();
        let prepared = given.prepare().unwrap();
        prepared.facts(&config.policy).user.map(str::to_owned)
    };
    assert_eq!(
        user(r#"{"client":"10.20.4.7","stage":"open"}"#),
        Some("alice".into())
    );
    assert_eq!(user(r#"{"client":"10.20.4.7","user":null}"#), None);
    assert_eq!(
        user(r#"{"client":"10.20.4.7","user":"b\u00e9a"}"#),
        Some("béa".into())
    );
}

#[test]
fn mistakes_name_line_key_and_cure() {
    let dir = TempDir::new().unwrap();
    let config = file(&dir, "p.toml", POLICY);
    let config = config.to_str().unwrap();
    for (line, message) in [
        (
            r#"{"hots":"a.example"}"#,
            "unknown key `hots`: did you mean `host`?",
        ),
        (
            r#"{"tls":"negotiatd"}"#,
            "`tls`: \"negotiatd\" is unknown: did you mean \"negotiated\"?",
        ),
        (
            r#"{"stage":"helo"}"#,
            "`stage`: \"helo\" is unknown: did you mean \"hello\"?",
        ),
        (
            r#"{"port":"443"}"#,
            "`port`: invalid type: string \"443\", expected u16",
        ),
        (
            r#"{"client":"10.20"}"#,
            "`client`: \"10.20\": expected an address such as \"10.20.4.7\" or \"2001:db8::7\"",
        ),
        (
            r#"{"host":"a b"}"#,
            "`host`: \"a b\": expected a server name such as \"www.example.com\", or an address",
        ),
        (
            r#"{"time":"noon"}"#,
            "`time`: \"noon\": expected a time such as \"2026-03-02T10:00:00Z\", or seconds since 1970",
        ),
        (
            r#"["host"]"#,
            "expected a JSON object of facts, such as {\"host\":\"www.example.com\"}",
        ),
        (
            r#"{"host":"#,
            "not JSON: EOF while parsing a value at column 8",
        ),
    ] {
        let input = format!("{{\"host\":\"bank.example\"}}\n{line}\n{{}}\n");
        let output = sluice(
            &["explain", "--config", config, "--facts", "-", "--json"],
            &input,
        );
        assert_eq!(stderr(&output), format!("sluice: -:2: {message}\n"));
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(stdout(&output).lines().count(), 1);
    }
    let output = sluice(
        &["explain", "--config", config, "--certificate", "expird"],
        "",
    );
    assert_eq!(
        stderr(&output),
        "sluice: --certificate: \"expird\" is unknown: did you mean \"expired\"?\n"
    );
    assert_eq!(output.status.code(), Some(2));
    let output = sluice(
        &[
            "explain",
            "--config",
            "/nowhere.toml",
            "--host",
            "a.example",
        ],
        "",
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn people_are_told_every_stage_and_condition() {
    let dir = TempDir::new().unwrap();
    let config = file(&dir, "p.toml", POLICY);
    let config = config.to_str().unwrap();
    let output = sluice(
        &["explain", "--config", config, "--host", "bank.example"],
        "",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("packet:\n"), "{text}");
    assert!(text.contains("when   host = bank.example = true"), "{text}");
    assert!(
        text.contains("unless group = \"Allow Skype\" = false"),
        "{text}"
    );
    assert!(
        text.contains("decided at hello: splice by rule \"banks\"\n"),
        "{text}"
    );
    let output = sluice(
        &[
            "explain",
            "--config",
            config,
            "--url",
            "https://mail.example/upload",
            "--certificate",
            "valid",
            "--json",
        ],
        "",
    );
    let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(answer["outcome"], "block-page");
    assert_eq!(answer["rule"], "uploads");
    let output = sluice(
        &[
            "explain",
            "--config",
            config,
            "--url",
            "http://mail.example/",
            "--json",
        ],
        "",
    );
    let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(answer["rule"], "skype", "{answer}");
}

#[test]
fn only_hosts_that_rules_reach_can_be_decrypted() {
    let could = |host: &str, user| -> Vec<String> {
        let found = decrypts::could(&config(), host, user).unwrap();
        found.into_iter().map(|rule| rule.name).collect()
    };
    assert_eq!(could("bank.example", None), [""; 0]);
    assert_eq!(could("news.example", Some("qa")), [""; 0]);
    assert_eq!(could("mail.example", None), ["webmail", "uploads"]);

    let dir = TempDir::new().unwrap();
    let config = file(&dir, "p.toml", POLICY);
    let config = config.to_str().unwrap();
    let none = sluice(
        &["decrypts", "--config", config, "--host", "bank.example"],
        "",
    );
    assert_eq!(stdout(&none), "no rule can have bank.example decrypted\n");
    assert_eq!(none.status.code(), Some(0));
    let some = sluice(
        &["decrypts", "--config", config, "--host", "mail.example"],
        "",
    );
    assert!(
        stdout(&some).contains("rule \"webmail\": says \"inspect\""),
        "{}",
        stdout(&some)
    );
    assert!(
        stdout(&some).contains("rule \"uploads\": asks about what only decrypting shows: "),
        "{}",
        stdout(&some)
    );
    assert_eq!(some.status.code(), Some(1));
    let bad = sluice(&["decrypts", "--config", config, "--host", "a b"], "");
    assert_eq!(bad.status.code(), Some(2));
}
