//! `sluice diff`.

use sluice_gateway::explain::{Given, changes, witness};
use tempfile::TempDir;

use crate::{POLICY, config, file, sluice, stderr, stdout};

#[test]
fn a_difference_is_named_and_shown() {
    let dir = TempDir::new().unwrap();
    let old = file(&dir, "old.toml", POLICY);
    let old = old.to_str().unwrap();
    let same = sluice(&["diff", old, old], "");
    assert_eq!(
        stdout(&same),
        "the rules say the same\n",
        "{}",
        stderr(&same)
    );
    assert_eq!(same.status.code(), Some(0));

    for (from, to, change) in [
        ("\"/upload\"", "\"/send\"", "rule \"uploads\": changed"),
        (
            "default = \"allow\"",
            "default = \"block\"",
            "default: changed",
        ),
        ("10.20.6.0/24", "10.20.7.0/24", "group \"staff\": changed"),
        (
            "{ host = \"bank.example\" }",
            "{ host = \"shop.example\" }",
            "rule \"banks\": changed",
        ),
        ("\"expired\", ", "", "rule \"certificates\": changed"),
        (
            "unless = { user = \"qa\" }\n",
            "",
            "rule \"certificates\": changed",
        ),
        (
            "name = \"banks\"",
            "enabled = false\nname = \"banks\"",
            "rule \"banks\": only in the old configuration",
        ),
    ] {
        let new = file(&dir, "new.toml", &POLICY.replacen(from, to, 1));
        let output = sluice(&["diff", old, new.to_str().unwrap()], "");
        let text = stdout(&output);
        assert!(
            text.lines().any(|line| line == change),
            "{change}: {text}{}",
            stderr(&output)
        );
        assert!(text.contains(" -> "), "{change}: {text}");
        assert_eq!(output.status.code(), Some(1));
    }
    let new = file(&dir, "new.toml", &POLICY.replace("\"banks\"", "\"money\""));
    let output = sluice(&["diff", old, new.to_str().unwrap()], "");
    let text = stdout(&output);
    assert!(text.contains("no difference found in "), "{text}");
    assert_eq!(output.status.code(), Some(1));
    let missing = sluice(&["diff", old, "/nowhere.toml"], "");
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn what_is_inside_tls_is_tried_with_each_of_its_values() {
    let dir = TempDir::new().unwrap();
    let policy = |inner: &str| {
        format!(
            "[gateway]\nlan = [\"lan0\"]\n[policy]\ndefault = \"allow\"\n[[rule]]\nname = \"inside\"\n\
             when = {{ tls = \"negotiated\", inner = {inner} }}\naction = \"block\"\n"
        )
    };
    let old = file(&dir, "old.toml", &policy("[\"ssh\", { absent = true }]"));
    for (inner, seen) in [
        ("{ absent = true }", "ssh"),
        ("\"ssh\"", "null"),
        ("[\"ssh\", \"gopher\", { absent = true }]", "gopher"),
    ] {
        let new = file(&dir, "new.toml", &policy(inner));
        let output = sluice(&["diff", old.to_str().unwrap(), new.to_str().unwrap()], "");
        let text = stdout(&output);
        assert!(text.contains("rule \"inside\": changed"), "{text}");
        assert!(text.contains(seen), "{inner}: {text}{}", stderr(&output));
        assert!(text.contains(" -> "), "{inner}: {text}");
        assert_eq!(output.status.code(), Some(1), "{inner}");
    }
}

#[test]
fn moved_rules_are_found() {
    let config = config();
    let mut moved = config.rules.clone();
    let first = moved.rules.remove(0);
    moved.rules.push(first);
    let found = changes::changes(&config.rules, &moved).unwrap();
    let text: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["rule \"banks\": at another place of the order"]);
    let flows = witness::flows([&config.rules, &moved], &found).unwrap();
    assert!(flows.len() <= witness::MOST);
    for flow in flows {
        let text = serde_json::Value::Object(flow).to_string();
        Given::read(&text).unwrap().prepare().unwrap();
    }
}

#[test]
fn flows_that_were_seen_are_decided_by_both() {
    let dir = TempDir::new().unwrap();
    let old = file(&dir, "old.toml", POLICY);
    let new = file(
        &dir,
        "new.toml",
        &POLICY.replace("{ host = \"bank.example\" }", "{ host = \"shop.example\" }"),
    );
    let record = r#"{"time":"2026-03-02T10:00:00.000Z","client":"10.0.0.1:1024","destination":"[2001:db8::1]:443","user":null,"verdict":"splice","rule":"banks","tls":"hello","sni":"bank.example","alpn":["h2"],"ja4":null,"ech":false,"tags":[],"end":"closed"}"#;
    let facts = r#"{"host":"news.example","tls":"hello","stage":"hello"}"#;
    let request = r#"{"time":"2026-03-02T10:00:00.000Z","client":"10.0.0.1:1024","destination":"[2001:db8::1]:443","user":null,"method":"GET","url":"https://bank.example/","verdict":"allow"}"#;
    let flows = format!("{record}\n{request}\n{facts}\n");
    let arguments = [
        "diff",
        old.to_str().unwrap(),
        new.to_str().unwrap(),
        "--flows",
        "-",
    ];
    let output = sluice(&arguments, &flows);
    let text = stdout(&output);
    assert!(text.contains("splice at hello by \"banks\" -> "), "{text}");
    assert!(
        text.ends_with("1 of 2 flows that were seen fare differently\n"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(1));
    let output = sluice(&arguments, "{\"hots\":1}\n");
    assert_eq!(
        stderr(&output),
        "sluice: -:1: unknown key `hots`: did you mean `host`?\n"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_capture_of_flows_has_a_file() {
    let dir = TempDir::new().unwrap();
    let config = file(&dir, "p.toml", POLICY);
    let config = config.to_str().unwrap();
    for magic in [
        [0xa1, 0xb2, 0xc3, 0xd4],
        [0xd4, 0xc3, 0xb2, 0xa1],
        [0xa1, 0xb2, 0x3c, 0x4d],
        [0x4d, 0x3c, 0xb2, 0xa1],
        [0x0a, 0x0d, 0x0d, 0x0a],
    ] {
        let path = dir.path().join("capture");
        std::fs::write(&path, magic).unwrap();
        let flows = path.to_str().unwrap();
        let output = sluice(&["diff", config, config, "--flows", flows], "");
        assert_eq!(
            stderr(&output),
            format!(
                "sluice: {flows}: neither a pcap nor a pcapng file; `tcpdump -w FILE` and `dumpcap` \
                 write them\n"
            )
        );
        assert_eq!(output.status.code(), Some(2));
    }
    let input = "\n\r\r\n";
    let output = sluice(&["diff", config, config, "--flows", "-"], input);
    assert_eq!(
        stderr(&output),
        "sluice: -: a capture is not read from standard input: name its file\n"
    );
    for flows in [&["--flows", "-"][..], &[]] {
        let sides = ["diff", config, config, "--lan", "10.0.0.0/8"];
        let output = sluice(&[&sides[..], flows].concat(), "{}\n");
        assert_eq!(
            stderr(&output),
            "sluice: --lan and --gateway tell the sides of a capture: name one by --flows\n"
        );
        assert_eq!(output.status.code(), Some(2));
    }
}
