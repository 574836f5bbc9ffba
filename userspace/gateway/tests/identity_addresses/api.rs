//! `/api/identity` over real sockets.

use std::time::Instant;

use serde_json::json;
use sluice_gateway::{
    daemon::export::{Exporter, Format},
    identity::{Source, addresses::Noted},
};

use crate::lab::{Daemon, HOUR, identity, told};

#[test]
fn an_address_is_told_asked_for_and_forgotten() {
    let daemon = Daemon::start("");
    let path = "/api/identity/10.20.4.7";
    let nobody = daemon.ask("GET", path, "");
    assert_eq!(nobody.status, 200);
    assert_eq!(nobody.body["user"], json!(null));
    assert_eq!(nobody.body["source"], json!(null));

    let body = r#"{"user":"alice","groups":["interns","elsewhere"],"ttl":"2h"}"#;
    let told = daemon.ask("PUT", path, body);
    assert_eq!(told.status, 200, "{}", told.body);
    assert_eq!(told.body["user"], "alice");
    let asked = daemon.ask("GET", path, "").body;
    assert_eq!(asked["address"], "10.20.4.7");
    assert_eq!(asked["source"], "told");
    assert_eq!(asked["asked"], "daemon");
    assert_eq!(asked["generation"], 1);
    assert_eq!(asked["unknown_groups"], json!(["elsewhere"]));
    assert_eq!(asked["told_groups"], json!(["interns", "elsewhere"]));
    // A group that holds a group that names her counts, as it would for her flows.
    let groups = json!([
        {"name": "interns", "sources": ["told"]},
        {"name": "staff", "sources": ["user"]},
        {"name": "heads", "sources": ["user"]},
    ]);
    let mut found = asked["groups"].as_array().unwrap().clone();
    let mut wanted = groups.as_array().unwrap().clone();
    found.sort_by_key(ToString::to_string);
    wanted.sort_by_key(ToString::to_string);
    assert_eq!(found, wanted);
    let left = asked["seconds_left"].as_u64().unwrap();
    assert!((7000..=7200).contains(&left), "{left}");
    let until = asked["until"].as_str().unwrap();
    assert!(until.starts_with("20") && until.ends_with('Z'), "{until}");

    let exporter = Exporter::new(daemon.sources.clone());
    let metrics = exporter.text(Format::Prometheus).unwrap();
    assert!(metrics.contains("\nsluice_identity_addresses{source=\"told\"} 1\n"));
    assert!(metrics.contains("\nsluice_identity_displaced_total 0\n"));

    // Somebody else's session that ends late takes nothing away.
    let late = daemon.ask("DELETE", path, r#"{"user":"mallory"}"#);
    assert_eq!((late.status, late.body), (200, json!({"forgotten": 0})));
    let gone = daemon.ask("DELETE", path, "");
    assert_eq!((gone.status, gone.body), (200, json!({"forgotten": 1})));
    let again = daemon.ask("DELETE", path, "");
    assert_eq!((again.status, again.body), (200, json!({"forgotten": 0})));
    assert_eq!(daemon.ask("GET", path, "").body["user"], json!(null));
}

#[test]
fn addresses_may_be_written_in_every_form() {
    let daemon = Daemon::start("ttl = \"30m\"");
    for (path, address) in [
        ("2001:db8::7", "2001:db8::7"),
        ("2001%3Adb8%3a:8", "2001:db8::8"),
        ("2001:0db8:0:0::9", "2001:db8::9"),
        ("::ffff:10.20.4.9", "10.20.4.9"),
    ] {
        let path = format!("/api/identity/{path}");
        let told = daemon.ask("PUT", &path, r#"{"user":"alice"}"#);
        assert_eq!((told.status, &told.body["address"]), (200, &json!(address)));
        // As `ttl` in [identity] says.
        let left = told.body["seconds_left"].as_u64().unwrap();
        assert!((1700..=1800).contains(&left), "{left}");
        let now = Instant::now();
        let held = daemon.shared.addresses.at(address.parse().unwrap(), now);
        assert_eq!(&*held.unwrap().user, "alice");
    }
}

#[test]
fn every_mistake_is_told_and_changes_nothing() {
    let daemon = Daemon::start("");
    let good = r#"{"user":"alice"}"#;
    let many = format!(
        "{{\"user\":\"alice\",\"groups\":{}}}",
        json!(vec!["staff"; 129])
    );
    let long = format!("{{\"user\":\"{}\"}}", "a".repeat(201));
    let large = format!("{{\"user\":\"alice\"{}}}", " ".repeat(17 << 10));
    for (path, body, status, complaint) in [
        (
            "/10.20.4",
            good,
            400,
            "\"10.20.4\": expected an address such as",
        ),
        ("/10.20.4.0/24", good, 400, "`addresses` in [[user]]"),
        ("/10.20.4.0%2f24", good, 400, "`addresses` in [[user]]"),
        ("/fe80::1%25lan0", good, 400, "expected an address"),
        ("/0.0.0.0", good, 400, "no client can have this address"),
        ("/ff02::1", good, 400, "no client can have this address"),
        (
            "/255.255.255.255",
            good,
            400,
            "no client can have this address",
        ),
        (
            "/::ffff:224.0.0.1",
            good,
            400,
            "no client can have this address",
        ),
        ("/10.20.4.7", "", 400, "missing field `user`"),
        (
            "/10.20.4.7",
            "alice",
            400,
            "expected JSON such as {\"user\":",
        ),
        ("/10.20.4.7", "{\"user\":\"alice\"", 400, "the body: EOF"),
        (
            "/10.20.4.7",
            r#"{"user":"alice"} x"#,
            400,
            "trailing characters",
        ),
        (
            "/10.20.4.7",
            r#"{"user":"alice","user":"bob"}"#,
            400,
            "duplicate field",
        ),
        (
            "/10.20.4.7",
            r#"{"user":"alice","grups":[]}"#,
            400,
            "unknown field `grups`",
        ),
        ("/10.20.4.7", r#"{"user":7}"#, 400, "expected a string"),
        (
            "/10.20.4.7",
            r#"{"user":""}"#,
            400,
            "`user`: \"\": expected one line",
        ),
        (
            "/10.20.4.7",
            r#"{"user":"a\nb"}"#,
            400,
            "`user`: \"a\nb\": expected one line",
        ),
        ("/10.20.4.7", &long, 400, "at most 200 bytes"),
        (
            "/10.20.4.7",
            &many,
            400,
            "`groups`: expected at most 128 names",
        ),
        (
            "/10.20.4.7",
            r#"{"user":"a","groups":[" "]}"#,
            400,
            "`groups`: \" \":",
        ),
        (
            "/10.20.4.7",
            r#"{"user":"a","ttl":"8"}"#,
            400,
            "`ttl`: \"8\": expected a duration",
        ),
        (
            "/10.20.4.7",
            r#"{"user":"a","ttl":8}"#,
            400,
            "expected a string",
        ),
        (
            "/10.20.4.7",
            r#"{"user":"a","ttl":"0s"}"#,
            400,
            "expected more than \"0s\"",
        ),
        (
            "/10.20.4.7",
            r#"{"user":"a","ttl":"400d"}"#,
            400,
            "more than 366 days",
        ),
        (
            "/10.20.4.7",
            &large,
            413,
            "the body has more than 16384 bytes",
        ),
        (
            "",
            good,
            405,
            "name one address, as in /api/identity/10.20.4.7",
        ),
        ("/", good, 405, "name one address"),
    ] {
        let answer = daemon.ask("PUT", &format!("/api/identity{path}"), body);
        let error = answer.body["error"].as_str().unwrap_or_default();
        assert_eq!(answer.status, status, "{path} {body}: {error}");
        assert!(error.contains(complaint), "{path} {body}: {error}");
    }
    let answer = daemon.ask("POST", "/api/identity/10.20.4.7", good);
    assert_eq!(answer.status, 405);
    assert!(
        answer.body["error"]
            .as_str()
            .unwrap()
            .contains("told by PUT")
    );
    let answer = daemon.ask("DELETE", "/api/identity/10.20.4.7", r#"{"usr":"a"}"#);
    assert_eq!(answer.status, 400);
    let answer = daemon.ask("GET", "/api/identity?from=1", "");
    assert_eq!(answer.status, 400);
    assert_eq!(daemon.ask("GET", "/api/identityx", "").status, 404);
    assert_eq!(daemon.shared.addresses.count(Instant::now()), [0, 0]);
}

#[test]
fn nothing_is_told_or_forgotten_by_tcp() {
    let daemon = Daemon::start("");
    let path = "/api/identity/10.20.4.7";
    let now = Instant::now();
    let here = "10.20.4.7".parse().unwrap();
    daemon
        .shared
        .addresses
        .tell(here, told("alice", &[]), (now, HOUR));
    for (method, body) in [
        ("PUT", r#"{"user":"mallory"}"#),
        ("DELETE", ""),
        ("POST", r#"{"user":"mallory"}"#),
    ] {
        let answer = daemon.ask_by_tcp(method, path, body);
        assert_eq!(answer.status, 403, "{method}");
        let error = answer.body["error"].as_str().unwrap();
        assert!(
            error.contains("on the Unix socket of [admin] alone"),
            "{error}"
        );
    }
    // Asking is answered there as well.
    let asked = daemon.ask_by_tcp("GET", path, "");
    assert_eq!((asked.status, &asked.body["user"]), (200, &json!("alice")));
}

#[test]
fn a_list_says_whom_addresses_stand_for_and_has_an_end() {
    let daemon = Daemon::start("");
    let now = Instant::now();
    let addresses = &daemon.shared.addresses;
    for number in 0..1500_u32 {
        let address = std::net::Ipv4Addr::from(0x0a14_0000 + number);
        addresses.tell(address.into(), told("alice", &[]), (now, HOUR));
    }
    let shown = identity("bob", &["staff"], Source::Credentials("ldap".into()));
    let v6 = "2001:db8::1".parse().unwrap();
    assert_eq!(addresses.learn(v6, &shown, (now, HOUR)), Noted::Taken);
    let first = daemon.ask("GET", "/api/identity", "").body;
    assert_eq!(
        (&first["held"], &first["more"]),
        (&json!(1501), &json!(true))
    );
    let page = first["identities"].as_array().unwrap();
    assert_eq!(
        (page.len(), &page[0]["address"]),
        (1000, &json!("10.20.0.0"))
    );
    let last = page[999]["address"].as_str().unwrap();
    let next = daemon
        .ask("GET", &format!("/api/identity?after={last}"), "")
        .body;
    let page = next["identities"].as_array().unwrap();
    assert_eq!((page.len(), &next["more"]), (501, &json!(false)));
    assert_eq!(page[0]["address"], "10.20.3.232");
    assert_eq!(page[500]["source"], "learned");
    assert_eq!(page[500]["learned_from"], "ldap");
    assert_eq!(page[500]["groups"], json!(["staff"]));
}
