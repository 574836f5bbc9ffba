//! `sluice flows` as a command.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::lab::{Said, command, sluice};
use super::schema::assert_follows;

/// The record of a flow, with some fields as they are named.
fn flow(changes: &Value) -> String {
    let mut record = json!({
        "v": 1, "kind": "flow", "time": "2026-01-31T08:00:00.000Z", "client": "10.20.4.7:50000",
        "destination": "192.0.2.1:443", "user": null, "verdict": "splice", "rule": null,
        "stage": "hello", "reason": "default", "tls": "hello", "sni": "www.shop.example",
        "alpn": [], "ja4": null, "ech": false, "tags": [], "end": "closed", "to_origin": 500,
        "to_client": 1500, "spliced": 0, "peek_us": 1, "connect_us": 2, "server_hello_us": 3,
        "duration_ms": 42, "generation": 1, "decrypted": false,
    });
    let changes = changes.as_object().unwrap().clone();
    record.as_object_mut().unwrap().extend(changes);
    assert_follows(&record);
    record.to_string() + "\n"
}

fn request() -> String {
    let record = json!({
        "v": 1, "kind": "request", "time": "2026-01-31T08:00:03.000Z", "client": "10.20.4.7:50000",
        "destination": "192.0.2.1:443", "user": "bob", "method": "GET",
        "url": "https://news.example/a", "verdict": "block", "rule": "no news", "reason": "rule",
        "tags": [], "status": 403, "decrypted": true, "generation": 1,
    });
    assert_follows(&record);
    record.to_string() + "\n"
}

/// Four records: two flows of different clients, one that is blocked, and a request.
fn log() -> String {
    [
        flow(&json!({})),
        flow(&json!({"client": "10.20.5.1:1", "user": "alice", "time": "2026-01-31T08:00:01.000Z"})),
        flow(&json!({
            "client": "[2001:db8::7]:1", "verdict": "block", "reason": "rule", "rule": "no shopping",
            "sni": "shop.example", "time": "2026-01-31T08:00:02.000Z",
        })),
        request(),
    ]
    .concat()
}

/// What comes out where that log goes in.
fn through(input: &str, arguments: &[&str]) -> Said {
    let mut all = vec!["flows", "--file", "-"];
    all.extend(arguments);
    let mut child = command(&all)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever refuses the arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_record_is_a_line() {
    let said = through(&log(), &[]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", said.out);
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(lines[0]),
        [
            "2026-01-31",
            "08:00:00.000",
            "10.20.4.7",
            "-",
            "splice",
            "www.shop.example",
            "default",
            "-",
            "2000",
            "42"
        ]
    );
    assert!(
        lines[3].contains("bob        block     GET https://news.example/a 403"),
        "{}",
        lines[3]
    );
    assert!(!said.out.contains('\x1b'), "a pipe has no colours");
}

#[test]
fn records_are_chosen() {
    for (arguments, wanted) in [
        (&["--client", "10.20.4.0/24"][..], &[0, 3][..]),
        (
            &["--client", "2001:db8::/32", "--client", "10.20.5.1"],
            &[1, 2],
        ),
        (&["--user", "alice"], &[1]),
        (&["--host", ".shop.example"], &[0, 1, 2]),
        (&["--host", "*.shop.example"], &[0, 1]),
        (&["--host", "news.example"], &[3]),
        (&["--verdict", "block"], &[2, 3]),
        (&["--verdict", "block", "--kind", "flow"], &[2]),
        (&["--reason", "rule", "--rule", "no news"], &[3]),
        (&["--decrypted"], &[3]),
        (&["--kind", "packets"], &[]),
        (&["--since", "2026-01-31T08:00:02Z"], &[2, 3]),
        (
            &["--since", "2026-01-31T09:00:02+01:00", "--limit", "1"],
            &[2],
        ),
        (&["--limit", "2"], &[0, 1]),
    ] {
        let all = log();
        let all: Vec<_> = all.lines().collect();
        let mut with_json = arguments.to_vec();
        with_json.push("--json");
        let said = through(&log(), &with_json);
        let wanted: Vec<_> = wanted.iter().map(|at| all[*at]).collect();
        assert_eq!(
            said.out.lines().collect::<Vec<_>>(),
            wanted,
            "{arguments:?} {}",
            said.err
        );
    }
}

#[test]
fn mistakes_are_named() {
    for (arguments, what) in [
        (&["--client", "10.20.4.7/99"][..], "--client"),
        (&["--host", "a.*.example"], "--host"),
        (&["--reason", "rulle"], "did you mean \"rule\"?"),
        (&["--verdict", "forbid"], "possible values: splice"),
        (&["--since", "yesterday"], "or a moment such as"),
    ] {
        let said = through("", arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}");
        assert!(said.err.contains(what), "{arguments:?}: {}", said.err);
    }
    let said = through("level=info msg=hello\n", &[]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("no access record: give the file"),
        "{}",
        said.err
    );
    // Half a line that a crash left is no reason to end.
    let said = through(
        &format!("{}{{\"v\":1,\"ki\n{}", flow(&json!({})), request()),
        &[],
    );
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 2));
    assert!(said.err.contains("passing over"), "{}", said.err);
}

#[test]
fn the_file_is_found_by_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = |access: &str| {
        let text = format!("[gateway]\nlan = [\"lan0\"]\n[log]\naccess = [{access}]\n");
        fs::write(at("sluice.toml"), text).unwrap();
        sluice(&["flows", "--no-follow", "--config", &at("sluice.toml")])
    };
    fs::write(at("access.jsonl"), log()).unwrap();
    let said = config(&format!("\"stdout\", \"file:{}\"", at("access.jsonl")));
    assert_eq!(
        (said.code, said.out.lines().count()),
        (Some(0), 4),
        "{said:?}"
    );
    let said = config("\"journald\"");
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("names no file") && said.err.contains("journalctl"),
        "{said:?}"
    );
    let said = sluice(&["flows", "--no-follow", "--file", &at("nowhere")]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("nowhere"), "{said:?}");
}

struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The user of the next record.
    fn user(&mut self) -> String {
        let line = self.lines.next().unwrap().unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        record["user"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_file_is_followed_through_rotation_and_a_reader_that_leaves_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    let mut all = String::new();
    for number in 1..=12 {
        all.push_str(&flow(&json!({"user": format!("u{number}")})));
    }
    fs::write(&path, &all).unwrap();
    let append = |name: &str, user: &str| {
        let path = folder.path().join(name);
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(flow(&json!({"user": user})).as_bytes())
            .unwrap();
    };
    let file = path.display().to_string();
    let mut following = Following::start(&["flows", "--json", "--file", &file]);
    // The ten latest, and then what comes.
    for number in 3..=12 {
        assert_eq!(following.user(), format!("u{number}"));
    }
    append("access.jsonl", "next");
    assert_eq!(following.user(), "next");
    fs::rename(&path, folder.path().join("access.jsonl.1")).unwrap();
    append("access.jsonl.1", "late");
    assert_eq!(following.user(), "late");
    append("access.jsonl", "new file");
    assert_eq!(following.user(), "new file");
    let Following { child, lines } = following;
    drop(lines);
    append("access.jsonl", "nobody reads");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_file_that_is_not_there_yet_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.jsonl").display().to_string();
    let mut following = Following::start(&["flows", "--json", "--limit", "1", "--file", &file]);
    let mut told = String::new();
    let mut stderr = BufReader::new(following.child.stderr.take().unwrap());
    stderr.read_line(&mut told).unwrap();
    assert!(told.ends_with("not there yet\n"), "{told}");
    fs::write(&file, flow(&json!({"user": "first"}))).unwrap();
    assert_eq!(following.user(), "first");
    assert_eq!(following.child.wait().unwrap().code(), Some(0));
}
