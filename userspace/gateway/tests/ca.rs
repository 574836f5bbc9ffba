//! `sluice ca` as a command, and what `sluice check` says of a CA.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sluice(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(arguments)
            .current_dir(self.0.path())
            // No terminal to ask at: the questions of a test would wait for ever.
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (status.code(), text(&stdout), text(&stderr))
    }

    /// Runs a command on this place's authority.
    fn ca(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut all = vec!["ca"];
        all.extend(arguments);
        all.extend(["--certificate", "ca.pem", "--key", "ca.key"]);
        self.sluice(&all)
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.ca(arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
        out
    }

    fn shown(&self) -> Value {
        serde_json::from_str(&self.ca(&["show", "--json"]).1).unwrap()
    }
}

#[test]
fn an_authority_is_made_once_and_shown() {
    let place = Place::new();
    let said = place.done(&[
        "init",
        "--permit",
        "corp.example",
        "--common-name",
        "Gateway",
    ]);
    assert!(said.starts_with("CN=Gateway\n  fingerprint  "), "{said}");
    let mode = fs::metadata(place.path("ca.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let (code, out, err) = place.ca(&["init"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("sluice: ca.key: is there already") && err.contains("--replace"),
        "{err}"
    );

    let said = place.done(&["show"]);
    for part in [
        "current (signs):\n  subject      CN=Gateway\n",
        "  key          ECDSA P-256\n",
        "  path length  0\n",
        "  names        only corp.example, not 0.0.0.0/0, ::/0\n",
        "key: there, not encrypted\n",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let shown = place.shown();
    assert_eq!(shown["current"]["subject"], "CN=Gateway");
    assert_eq!(shown["current"]["path_length"], 0);
    assert_eq!(shown["key"], "plain");
    assert_eq!(shown["warnings"], serde_json::json!([]));
    place.done(&["init", "--replace", "--key-kind", "p384"]);
    assert_eq!(place.shown()["current"]["key"], "ECDSA P-384");
}

#[test]
fn what_is_amiss_is_shown_and_told_by_the_exit_status() {
    let place = Place::new();
    let (code, _, err) = place.ca(&["show"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("`sluice ca init` makes an authority"), "{err}");
    place.done(&["init", "--days", "20"]);
    let (code, out, _) = place.ca(&["show"]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("expires at ") && out.contains("`sluice ca rotate`"),
        "{out}"
    );
    fs::set_permissions(place.path("ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, out, _) = place.ca(&["show"]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("mode 0644") && out.contains("key: cannot be used"),
        "{out}"
    );
}

#[test]
fn certificates_are_exported_and_keys_never() {
    let place = Place::new();
    place.done(&["init"]);
    assert_eq!(
        place.done(&["export"]),
        fs::read_to_string(place.path("ca.pem")).unwrap()
    );
    place.done(&[
        "export",
        "--format",
        "mobileconfig",
        "--out",
        "a.mobileconfig",
    ]);
    let profile = fs::read_to_string(place.path("a.mobileconfig")).unwrap();
    assert!(profile.contains("com.apple.security.root"), "{profile}");
    place.done(&["export", "--format", "der", "--out", "a.cer"]);
    assert_eq!(fs::read(place.path("a.cer")).unwrap().first(), Some(&0x30));
    let (code, _, err) = place.ca(&["export", "--which", "next"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("`sluice ca rotate` makes it"), "{err}");
}

#[test]
fn a_rotation_goes_its_three_steps() {
    let place = Place::new();
    place.done(&["init", "--common-name", "One"]);
    let said = place.done(&["rotate", "--common-name", "Two"]);
    assert!(
        said.contains("CN=Two\n") && said.contains("signs from"),
        "{said}"
    );
    assert_eq!(place.done(&["export"]).matches("BEGIN").count(), 2);
    assert_eq!(
        place
            .done(&["export", "--which", "current"])
            .matches("BEGIN")
            .count(),
        1
    );
    let (code, _, err) = place.ca(&["export", "--format", "der"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("DER holds one certificate") && err.contains("--which"),
        "{err}"
    );
    let (code, _, err) = place.ca(&["rotate", "--finish"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("finish after that"), "{err}");
    place.done(&["rotate", "--abort"]);
    place.done(&["rotate", "--common-name", "Three", "--activate-after", "0"]);
    let shown = place.shown();
    assert_eq!(shown["next"]["subject"], "CN=Three");
    assert!(
        shown["warnings"][0].as_str().unwrap().contains("--finish"),
        "{shown}"
    );
    place.done(&["rotate", "--finish"]);
    let shown = place.shown();
    assert_eq!(shown["current"]["subject"], "CN=Three");
    assert_eq!(shown["previous"]["subject"], "CN=One");
    assert_eq!(shown["next"], Value::Null);
}

#[test]
fn an_encrypted_authority_is_made_and_imported() {
    let place = Place::new();
    fs::write(place.path("pass"), "correct horse\n").unwrap();
    fs::set_permissions(place.path("pass"), fs::Permissions::from_mode(0o600)).unwrap();
    place.done(&["init", "--passphrase-file", "pass"]);
    assert_eq!(place.shown()["key"], "encrypted");
    let import = [
        "ca",
        "import",
        "--from-certificate",
        "ca.pem",
        "--from-key",
        "ca.key",
        "--certificate",
        "in.pem",
        "--key",
        "in.key",
        "--passphrase-file",
        "pass",
    ];
    let (code, out, err) = place.sluice(&import);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(
        fs::read(place.path("ca.key")).unwrap(),
        fs::read(place.path("in.key")).unwrap()
    );
    let (code, _, err) = place.sluice(&import);
    assert_eq!(code, Some(1));
    assert!(err.contains("is there already"), "{err}");
}

#[test]
fn check_shows_the_authority_and_refuses_one_that_cannot_sign() {
    let place = Place::new();
    let path = |name: &str| place.path(name).display().to_string();
    let text = format!(
        "[gateway]\nlan = [\"lan0\"]\n[ca]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        path("ca.pem"),
        path("ca.key")
    );
    fs::write(place.path("sluice.toml"), text).unwrap();
    let (code, out, err) = place.sluice(&["check", "sluice.toml"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("sluice.toml: [ca]: ") && err.contains("not there"),
        "{err}"
    );

    let made = place.sluice(&["ca", "init", "--config", "sluice.toml", "--days", "20"]);
    assert_eq!(made.0, Some(0), "{}", made.2);
    let (code, out, err) = place.sluice(&["check", "sluice.toml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [
        "\nca:\n  certificate            ",
        "  leaf_validity          7d\n",
        "the CA as its files have it:\n  current (signs):\n",
        "  warning: the CA \"CN=sluice CA ",
        "sluice.toml: valid\n",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    place.done(&["init", "--replace"]);
    fs::set_permissions(place.path("ca.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let (code, _, err) = place.sluice(&["check", "sluice.toml"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("chmod 600"), "{err}");
}

#[test]
fn a_configuration_without_a_ca_has_none_to_show() {
    let place = Place::new();
    fs::write(place.path("sluice.toml"), "[gateway]\nlan = [\"lan0\"]\n").unwrap();
    let (code, _, err) = place.sluice(&["ca", "show", "--config", "sluice.toml"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("sluice.toml: has no section [ca]: add one"),
        "{err}"
    );
}

#[test]
fn a_daemon_does_not_start_with_a_ca_that_it_cannot_use() {
    let place = Place::new();
    let here = place.0.path().display();
    let config = format!(
        "[gateway]\nlan = [\"nowhere0\"]\nbpffs_dir = \"{here}/bpf\"\nstate_dir = \"{here}/state\"\n\
         [ca]\ncertificate = \"{here}/ca.pem\"\nkey = \"{here}/ca.key\"\n"
    );
    fs::write(place.path("sluice.toml"), config).unwrap();
    let (code, _, err) = place.sluice(&["run", "--config", "sluice.toml"]);
    assert_eq!(code, Some(1));
    let error = err.lines().last().unwrap_or_default();
    assert!(
        error.starts_with(&format!("sluice: [ca]: {here}/ca.pem: ")),
        "{err}"
    );
    assert!(error.contains("sluice ca init"), "{err}");
    // Nothing was made of the gate before.
    assert!(!place.path("bpf").exists() && !place.path("state").exists());
    place.done(&["init"]);
    fs::remove_file(place.path("ca.key")).unwrap();
    let (code, _, err) = place.sluice(&["run", "--config", "sluice.toml"]);
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("[ca]: {here}/ca.key: ")), "{err}");
}
