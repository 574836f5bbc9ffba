//! `sluice check` as a command.

use std::process::{Command, Output};

fn check(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .arg("check")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| unreachable!("sluice does not start: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

#[test]
fn a_valid_file_is_explained() {
    let (code, out, err) = check(&["examples/skype.toml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [
        "  1. \"Skype, except for the Allow Skype group\": block (page)\n",
        "     stage server_hello: can force a connection to the origin\n",
        "     everything else: block (page)\n",
        "  - UDP 123 out, by `pass_udp`\n",
        "blocks with a page, which TLS needs a CA for",
        "stages:\n",
        "examples/skype.toml: valid\n",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}

#[test]
fn an_invalid_file_is_refused() {
    let file = std::env::temp_dir().join(format!("sluice-check-{}.toml", std::process::id()));
    std::fs::write(
        &file,
        "[gateway]\nlan = [\"lan0\"]\non_failure = \"close\"\n",
    )
    .unwrap();
    let path = file.display().to_string();
    let (code, out, err) = check(&[&path]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let message = "`on_failure` in [gateway]: \"close\": expected \"closed\" or \"open\": did you \
                   mean \"closed\"?";
    assert_eq!(err, format!("{path}:3:14: {message}\n"));
}

#[test]
fn a_missing_file_is_refused() {
    let (code, out, err) = check(&["/nowhere.toml"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("/nowhere.toml: cannot be read: "), "{err}");
}

#[test]
fn the_default_is_printed() {
    let (code, out, _) = check(&["--default"]);
    assert_eq!(code, Some(0));
    assert_eq!(out, sluice_gateway::config::DEFAULT);
}

#[test]
fn what_the_guard_lets_through_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    let text = "[gateway]\nlan = [\"lan0\"]\n[guard]\nallow = [\"10.20.0.0/16\", \"127.0.0.1\"]\n\
                own = [\"203.0.113.7\"]\nnat64 = [\"64:ff9b:1::/48\"]\n";
    std::fs::write(&file, text).unwrap();
    let (code, out, err) = check(&[file.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [
        "  allow                  10.20.0.0/16, 127.0.0.1\n",
        "  own                    203.0.113.7\n",
        "  nat64                  64:ff9b:1::/48\n",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
}
