//! `sluice support`: what helps, and no secret.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use flate2::read::GzDecoder;
use serde_json::json;

use super::lab::{Daemon, sluice};

/// What nobody may find.
const SECRETS: [&str; 11] = [
    "MIIEkeyofthecaaaaaa",
    "ldap-hunter2",
    "abcdefghijklmnopqrstuuFmEfrkTQ",
    "query-token-4711",
    "inline-secret",
    "comment-secret",
    "YmFzaWMtY3JlZGVudGlhbHM",
    "passphrase-of-the-key",
    "10.20.4.7",
    "2001:db8:aaaa:1::7",
    "alice.liddell",
];

/// The configuration of a gateway with everything that may have secrets.
fn more(folder: &str) -> String {
    format!(
        r#"
# comment-secret
[log]
access = ["file:{folder}/access.jsonl"]
[identity]
[[identity.provider]]
name = "staff"
kind = "htpasswd"
file = "{folder}/staff.htpasswd"
[[identity.provider]]
name = "corp"
kind = "ldap"
url = "ldaps://ldap.corp.example"
base = "ou=people,dc=corp,dc=example"
filter = "(uid={{user}})"
bind_dn = "cn=sluice,dc=corp,dc=example"
bind_password_file = "{folder}/ldap.password"
"#
    )
}

struct Planted {
    folder: tempfile::TempDir,
    daemon: Daemon,
}

impl Planted {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        write(
            "ca.key",
            "-----BEGIN PRIVATE KEY-----\nMIIEkeyofthecaaaaaa\n-----END PRIVATE KEY-----\n",
        );
        write("ca.passphrase", "passphrase-of-the-key\n");
        write("ldap.password", "ldap-hunter2\n");
        write(
            "staff.htpasswd",
            "alice.liddell:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC\n",
        );
        let flow = json!({
            "v": 1, "kind": "flow", "time": "2026-01-31T08:00:00.000Z", "client": "10.20.4.7:50000",
            "destination": "192.0.2.1:443", "user": "alice.liddell", "verdict": "splice", "sni": "news.example",
        });
        let request = json!({
            "v": 1, "kind": "request", "time": "2026-01-31T08:00:01.000Z", "client": "[2001:db8:aaaa:1::7]:1",
            "user": "alice.liddell", "url": "https://news.example/a?key=query-token-4711", "verdict": "allow",
        });
        write("access.jsonl", &format!("{flow}\n{request}\n"));
        write(
            "daemon.log",
            "WARN flow of 10.20.4.7:50000 failed\nDEBUG Proxy-Authorization: Basic YmFzaWMtY3JlZGVudGlhbHM=\n",
        );
        let daemon = Daemon::start(&more(&folder.path().display().to_string()));
        // What nobody should write there, and what a configuration with a mistake would quote.
        let file = daemon.path("sluice.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(
            daemon.path("mistake.toml"),
            text.replace(
                "bind_password_file = ",
                "bind_password = \"inline-secret\" # ",
            ),
        )
        .unwrap();
        Self { folder, daemon }
    }

    fn pack(&self, config: &str, more: &[&str]) -> BTreeMap<String, String> {
        let out = self.folder.path().join("out.tar.gz");
        let _ = fs::remove_file(&out);
        let config = self.daemon.path(config).display().to_string();
        let log = self.folder.path().join("daemon.log").display().to_string();
        let mut arguments = vec![
            "support",
            "--out",
            out.to_str().unwrap(),
            "--config",
            &config,
            "--log",
            &log,
        ];
        arguments.extend(more);
        let said = sluice(&arguments);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        let mode = fs::metadata(&out).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = unpacked(&out);
        assert_eq!(
            files["MANIFEST"], said.out,
            "what is told is what is packed"
        );
        files
    }
}

fn unpacked(path: &std::path::Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let entries = archive.entries().unwrap();
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (
            path.strip_prefix("sluice-support/").unwrap().to_owned(),
            text,
        )
    };
    entries.map(read).collect()
}

#[test]
fn no_secret_and_no_client_is_in_the_archive() {
    let planted = Planted::new();
    for config in ["sluice.toml", "mistake.toml"] {
        let files = planted.pack(config, &[]);
        for (name, text) in &files {
            for secret in SECRETS {
                assert!(
                    !text.contains(secret),
                    "{config}: {secret} is in {name}:\n{text}"
                );
            }
        }
    }
    planted.daemon.end();
}

#[test]
fn what_helps_is_in_the_archive_and_what_is_not_is_named() {
    let planted = Planted::new();
    let files = planted.pack("sluice.toml", &[]);
    for (name, part) in [
        ("versions.txt", "Linux"),
        ("sluice.toml", "bind_password_file = "),
        ("sluice.toml", "no shopping"),
        ("check.txt", "no shopping"),
        ("status.json", "\"state\": \"degraded\""),
        ("metrics.txt", "sluice_build_info"),
        ("records.jsonl", "\"client\":\"10.20.4.0:0\""),
        ("records.jsonl", "\"client\":\"[2001:db8:aaaa::]:0\""),
        ("records.jsonl", "\"user\":\"user-1\""),
        ("records.jsonl", "https://news.example/a?REMOVED"),
        ("daemon.log", "flow of 10.20.4.0:0 failed"),
        ("MANIFEST", "files of secrets are never packed"),
        ("MANIFEST", "the latest 2 access records"),
    ] {
        let text = files.get(name).map_or("", String::as_str);
        assert!(text.contains(part), "{part} is not in {name}:\n{text}");
    }
    // There is no bpffs here, and that is said.
    assert!(!files.contains_key("pins.txt") && files["MANIFEST"].contains("pins.txt"));
    let files = planted.pack("sluice.toml", &["--with-addresses", "--records", "1"]);
    assert_eq!(files["records.jsonl"].lines().count(), 1);
    assert!(
        files["records.jsonl"].contains("2001:db8:aaaa:1::7")
            && files["daemon.log"].contains("10.20.4.7")
    );
    planted.daemon.end();
}

#[test]
fn what_would_be_packed_is_listed_and_nothing_is_overwritten() {
    let planted = Planted::new();
    let config = planted.daemon.config();
    let said = sluice(&["support", "--list", "--config", &config]);
    assert_eq!(said.code, Some(0));
    assert!(
        said.out.contains("records.jsonl") && said.out.contains("left out:"),
        "{}",
        said.out
    );
    let there = planted.folder.path().join("there.tar.gz");
    fs::write(&there, "mine").unwrap();
    let said = sluice(&[
        "support",
        "--out",
        there.to_str().unwrap(),
        "--config",
        &config,
    ]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("there.tar.gz"), "{said:?}");
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    assert_eq!(sluice(&["support"]).code, Some(2));
    planted.daemon.end();
}
