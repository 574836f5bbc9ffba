//! Facts that `sluice explain` is given by its flags.

use tempfile::TempDir;

use crate::{file, sluice, stderr, stdout};

#[test]
fn what_the_origin_chose_and_what_was_asked_for_can_be_given() {
    let dir = TempDir::new().unwrap();
    let rules = r#"
        [gateway]
        lan = ["lan0"]
        [[rule]]
        name = "addresses"
        when = { host-is-ip = true }
        action = "allow"
        [[rule]]
        name = "other name"
        when = { host-mismatch = true }
        action = { block = "reset" }
        [[rule]]
        name = "old"
        when = { tls-version-chosen = "1.0" }
        action = { block = "alert" }
        [[rule]]
        name = "read"
        when = { inspected = true }
        action = { block = "page" }
    "#;
    let config = file(&dir, "p.toml", rules);
    let explain = ["explain", "--config", config.to_str().unwrap()];
    for (arguments, rule, stage) in [
        (
            &["--host-is-ip", "--tls", "hello"][..],
            "addresses",
            "hello",
        ),
        (
            &[
                "--host-mismatch=true",
                "--listener",
                "office",
                "--connect-host",
                "a.example",
            ],
            "other name",
            "hello",
        ),
        (
            &["--host", "a.example", "--tls-version-chosen", "1.0"],
            "old",
            "server_hello",
        ),
        (
            &["--tls-version-chosen", "1.0", "--host-is-ip=false"],
            "old",
            "server_hello",
        ),
        (
            &["--url", "https://a.example/", "--inspected"],
            "read",
            "request",
        ),
    ] {
        let output = sluice(&[&explain[..], arguments, &["--json"]].concat(), "");
        let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(answer["rule"], rule, "{arguments:?}: {answer}");
        assert_eq!(answer["stage"], stage, "{arguments:?}: {answer}");
    }
    for (arguments, message) in [
        (
            &["--tls-version-chosen", "1,2"][..],
            "--tls-version-chosen: \"1,2\" is unknown: did you mean \"1.2\"?",
        ),
        (&["--host-is-ip", "ture"], "a similar value exists: 'true'"),
        (
            &["--host-mismach"],
            "a similar argument exists: '--host-mismatch'",
        ),
        (&["--inspected", "--facts", "-"], "cannot be used with"),
        (
            &["--host", "a.example", "--capture", "x"],
            "cannot be used with",
        ),
        (&["--facts", "-", "--capture", "x"], "cannot be used with"),
        (&["--flow", "1"], "--capture <FILE>"),
        (
            &["--lan", "10.0.0.0/8"],
            "--lan and --gateway tell the sides of a capture: name it by --capture",
        ),
    ] {
        let output = sluice(&[&explain[..], arguments].concat(), "");
        let told = stderr(&output);
        assert!(told.contains(message), "{arguments:?}: {told}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn what_is_inside_tls_can_be_given() {
    let dir = TempDir::new().unwrap();
    let rules = r#"
        [gateway]
        lan = ["lan0"]
        [policy]
        default = "allow"
        default_unidentified = "allow"
        [[rule]]
        name = "no tunnels"
        when = { tls = "negotiated", not = { inner = ["http", "websocket", "ssh"] } }
        action = { block = "reset" }
        [[rule]]
        name = "sockets"
        when = { inner = "websocket", path = "/chat" }
        action = { block = "alert" }
        [[rule]]
        name = "no tenant"
        when = { header = { x-tenant = { absent = true } }, inner = ["ssh", "http"] }
        action = { block = "page" }
    "#;
    let config = file(&dir, "p.toml", rules);
    let explain = ["explain", "--config", config.to_str().unwrap(), "--json"];
    let host = ["--host", "a.example"];
    let url = ["--url", "https://a.example/chat"];
    let facts = |inner: &str| {
        format!("{{\"host\":\"a.example\",\"tls\":\"negotiated\",\"inner\":{inner}}}\n")
    };
    let read = ["--facts", "-"];
    for (arguments, lines, rule) in [
        (
            &[&host[..], &["--inner", "none"]].concat(),
            "",
            "no tunnels",
        ),
        (
            &[&host[..], &["--inner", "smtp"]].concat(),
            "",
            "no tunnels",
        ),
        (
            &[&url[..], &["--inner", "websocket"]].concat(),
            "",
            "sockets",
        ),
        (&url.to_vec(), "", "no tenant"),
        (&read.to_vec(), &facts("null"), "no tunnels"),
        (&read.to_vec(), &facts("\"none\""), "no tunnels"),
        (&read.to_vec(), &facts("\"http\""), "no tenant"),
    ] {
        let output = sluice(&[&explain[..], arguments].concat(), lines);
        let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(answer["rule"], rule, "{arguments:?}: {answer}");
        assert_eq!(answer["stage"], "request", "{arguments:?}: {answer}");
    }
    // What is not HTTP has no fields, not even absent ones; and nothing is inside what is no TLS.
    for arguments in [
        [&host[..], &["--inner", "ssh"]].concat(),
        [&host[..], &["--inner", "none", "--tls", "not-tls"]].concat(),
    ] {
        let output = sluice(&[&explain[..], &arguments].concat(), "");
        let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(answer["outcome"], "allow", "{arguments:?}: {answer}");
    }
    for (word, message) in [
        (
            "shh",
            "--inner: \"shh\": no application that is known: did you mean \"ssh\"?",
        ),
        (
            "h2",
            "--inner: \"h2\": no version is told apart: write \"http\"",
        ),
    ] {
        let output = sluice(&[&explain[..], &["--inner", word]].concat(), "");
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(2));
    }
    let why = [&explain[..3], &host, &["--inner", "none"]].concat();
    let told = stdout(&sluice(&why, ""));
    for line in [
        "when   not (inner = http | websocket | ssh) = true",
        "when   header x-tenant = absent = false",
        "decided at request: block-reset by rule \"no tunnels\"",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

#[test]
fn a_capture_that_is_not_there_is_told_once() {
    let dir = TempDir::new().unwrap();
    let config = file(&dir, "p.toml", "[gateway]\nlan = [\"lan0\"]\n");
    let config = config.to_str().unwrap();
    let arguments = [
        "explain",
        "--config",
        config,
        "--capture",
        "/nowhere/x.pcap",
    ];
    let output = sluice(&arguments, "");
    assert_eq!(
        stderr(&output),
        "sluice: /nowhere/x.pcap: cannot be read: No such file or directory (os error 2)\n"
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_url_is_explained_in_its_normal_form() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("x.toml");
    let rule = "when = { url = \"https://mail.example/upload\" }\naction = \"block\"";
    std::fs::write(
        &config,
        format!("[gateway]\nlan = [\"lan0\"]\n[policy]\ndefault = \"allow\"\n[[rule]]\nname = \"uploads\"\n{rule}\n"),
    )
    .unwrap();
    let config = config.to_str().unwrap();
    for url in [
        "https://mail.example/upload/1",
        "HTTPS://Mail.EXAMPLE.:443/a/../%75pload",
    ] {
        let output = sluice(&["explain", "--config", config, "--url", url, "--json"], "");
        let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(answer["rule"], "uploads", "{url}: {answer}");
    }
    let output = sluice(
        &[
            "explain",
            "--config",
            config,
            "--url",
            "https://mail.example/a%00",
        ],
        "",
    );
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    let wanted =
        "sluice: --url: \"https://mail.example/a%00\": a request for it is refused with 400: ";
    assert!(error.starts_with(wanted), "{error}");
}
