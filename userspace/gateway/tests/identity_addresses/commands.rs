//! `sluice whois`, `sluice identity` and `sluice explain --client`.

use std::time::Instant;

use serde_json::{Value, json};
use sluice_gateway::identity::Source;

use crate::lab::{Daemon, HOUR, identity, sluice};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn scripts_tell_list_and_clear() {
    let daemon = Daemon::start("");
    let (code, out, err) = daemon.sluice(&["identity", "list"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, "no address stands for anybody\n");

    let set = [
        "identity",
        "set",
        "10.20.4.7",
        "--user",
        "alice",
        "--ttl",
        "8h",
    ];
    let (code, out, err) = daemon.sluice(&[&set[..], &["--group", "interns"]].concat());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let begin = "10.20.4.7 alice, as the daemon was told, until 20";
    assert!(out.starts_with(begin) && out.ends_with(" (8 h)\n"), "{out}");

    let (_, out, _) = daemon.sluice(&[
        "identity",
        "set",
        "10.20.4.9",
        "--user",
        "bob",
        "--group",
        "x",
    ]);
    assert_eq!(
        lines(&out)[1],
        "10.20.4.9 is in groups that the policy has none of: x"
    );

    let (_, out, _) = daemon.sluice(&["identity", "list"]);
    assert_eq!(
        lines(&out),
        [
            "10.20.4.7 alice in interns; told, for 8 h",
            "10.20.4.9 bob in x; told, for 8 h"
        ]
    );
    let (_, out, _) = daemon.sluice(&["identity", "list", "--json"]);
    let first: Value = serde_json::from_str(lines(&out)[0]).unwrap();
    assert_eq!(
        (&first["user"], &first["source"]),
        (&json!("alice"), &json!("told"))
    );

    let (_, out, _) = daemon.sluice(&["identity", "clear", "10.20.4.7", "--user", "bob"]);
    assert_eq!(out, "10.20.4.7 did not stand for bob\n");
    let (_, out, _) = daemon.sluice(&["identity", "clear", "10.20.4.7"]);
    assert_eq!(out, "forgot who has 10.20.4.7\n");
    let (_, out, _) = daemon.sluice(&["identity", "clear", "10.20.4.7"]);
    assert_eq!(out, "10.20.4.7 did not stand for anybody\n");
    let (_, out, _) = daemon.sluice(&["identity", "clear", "10.20.4.9", "--json"]);
    assert_eq!(out, "{\"forgotten\":1}\n");
}

#[test]
fn a_long_list_is_shown_to_its_end() {
    let daemon = Daemon::start("");
    let now = Instant::now();
    for number in 0..2001_u32 {
        let address = std::net::Ipv4Addr::from(0x0a14_0000 + number);
        let alice = identity("alice", &[], Source::Address);
        daemon
            .shared
            .addresses
            .tell(address.into(), alice, (now, HOUR));
    }
    let (_, out, _) = daemon.sluice(&["identity", "list"]);
    assert_eq!(lines(&out).len(), 2001);
}

#[test]
fn what_the_daemon_refuses_is_told_as_it_says_it() {
    let mut daemon = Daemon::start("");
    let (code, out, err) = daemon.sluice(&[
        "identity",
        "set",
        "10.20.4.7",
        "--user",
        "alice",
        "--ttl",
        "8",
    ]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let begin = "sluice: the daemon refuses: `ttl`: \"8\": expected a duration such as";
    assert!(err.starts_with(begin), "{err}");
    daemon.stop();
    let (code, _, err) = daemon.sluice(&["identity", "set", "10.20.4.7", "--user", "alice"]);
    assert_eq!(code, Some(1));
    assert!(
        err.starts_with("sluice: no daemon of this version answers at unix:"),
        "{err}"
    );
    // Loopback is not even tried for what it never does.
    let file = daemon.folder.path().join("tcp.toml");
    std::fs::write(
        &file,
        "[gateway]\nlan = [\"lan0\"]\n[admin]\nlisten = [\"127.0.0.1:1\"]\n",
    )
    .unwrap();
    let file = file.display().to_string();
    let (code, _, err) = sluice(&[
        "identity",
        "set",
        "10.20.4.7",
        "--user",
        "alice",
        "--config",
        &file,
    ]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("`listen` in [admin] names no Unix socket"),
        "{err}"
    );
}

#[test]
fn whois_merges_every_source() {
    let daemon = Daemon::start("");
    // Whom the configuration knows is somebody else's from now on.
    let now = Instant::now();
    let alice = identity(
        "alice",
        &["interns", "x"],
        Source::Credentials("ldap".into()),
    );
    let here = "10.20.4.8".parse().unwrap();
    daemon.shared.addresses.learn(here, &alice, (now, HOUR));
    let (code, out, err) = daemon.sluice(&["whois", "10.20.4.8"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let found = lines(&out);
    assert_eq!(found[0], "address   10.20.4.8");
    let begin = "user      alice, as a proxy listener learned from ldap, until 20";
    assert!(found[1].starts_with(begin), "{out}");
    assert_eq!(
        found[2],
        "          the configuration has bob at this address, who counts no more"
    );
    for group in ["interns (learned)", "staff (by user)", "heads (by user)"] {
        assert!(found[3].contains(group), "{out}");
    }
    assert_eq!(found[4], "          no [[group]] of the policy: x");
    assert_eq!(
        found[5],
        "asked     the daemon, whose policy has the number 1"
    );

    let (_, out, _) = daemon.sluice(&["whois", "10.20.5.1", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["user"], json!(null));
    assert_eq!(
        told["groups"],
        json!([{"name": "staff", "sources": ["address"]}])
    );
}

#[test]
fn without_a_daemon_the_configuration_is_asked_and_named() {
    let mut daemon = Daemon::start("");
    daemon.stop();
    let (code, out, err) = daemon.sluice(&["whois", "10.20.4.8"]);
    assert_eq!(code, Some(0));
    assert!(
        err.starts_with("sluice: asking the configuration instead: no daemon"),
        "{err}"
    );
    let wanted = format!(
        "address   10.20.4.8\nuser      bob, as the configuration says\ngroups    none\n\
         asked     the configuration {} alone\n",
        daemon.config()
    );
    assert_eq!(out, wanted);
    let (_, out, _) = daemon.sluice(&["whois", "10.20.4.7", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["asked"], &told["source"]),
        (&json!("configuration"), &json!(null))
    );
    assert_eq!(told.get("generation"), None);
    let (code, out, err) = sluice(&["whois", "10.20.4.0/24"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("invalid value"), "{err}");
}

#[test]
fn explain_believes_the_daemon_of_whom_an_address_stands_for() {
    let mut daemon = Daemon::start("");
    let explain = ["explain", "--client", "10.20.4.7", "--host", "a.example"];
    let decided = |daemon: &Daemon, more: &[&str]| {
        let (code, out, err) = daemon.sluice(&[&explain[..], more].concat());
        assert_eq!((code, err.as_str()), (Some(0), ""));
        out
    };
    let out = decided(&daemon, &[]);
    assert!(
        out.contains("user      nobody is known to have this address\n"),
        "{out}"
    );
    assert!(
        out.contains("decided at open: block-alert by default"),
        "{out}"
    );

    let body = r#"{"user":"carol","groups":["interns"]}"#;
    assert_eq!(
        daemon.ask("PUT", "/api/identity/10.20.4.7", body).status,
        200
    );
    let out = decided(&daemon, &[]);
    assert!(
        out.contains("user      carol, as the daemon was told, until"),
        "{out}"
    );
    assert!(out.contains("groups    interns (told)\n"), "{out}");
    assert!(
        out.contains("asked     the daemon, whose policy has the number 1\n"),
        "{out}"
    );
    assert!(out.contains("allow by rule \"interns\""), "{out}");
    let told: Value = serde_json::from_str(&decided(&daemon, &["--json"])).unwrap();
    assert_eq!(
        (&told["rule"], &told["who"]["user"]),
        (&json!("interns"), &json!("carol"))
    );

    // Whoever says who it is, or wants no daemon asked, is answered without one.
    let out = decided(&daemon, &["--user", "dave"]);
    assert!(
        !out.contains("carol") && !out.contains("allow by rule"),
        "{out}"
    );
    let out = decided(&daemon, &["--offline"]);
    assert!(out.contains("asked     the configuration "), "{out}");
    assert!(!out.contains("allow by rule"), "{out}");
    daemon.stop();
    let out = decided(&daemon, &[]);
    assert!(out.contains("asked     the configuration "), "{out}");
    assert!(!out.contains("allow by rule"), "{out}");
}
