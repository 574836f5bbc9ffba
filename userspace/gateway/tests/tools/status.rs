//! `sluice status` as a command.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::lab::{Daemon, command, eventually, sluice};

#[test]
fn the_daemon_is_shown_though_the_kernel_side_cannot_be_read() {
    let daemon = Daemon::start("");
    daemon.act(40, 2);
    let said = sluice(&["status", "--config", &daemon.config()]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    for part in [
        "state       degraded\n            the kernel side cannot be read: ",
        ", 0 flows now\n",
        "verdict     splice: ",
        " 40 in all\n",
        "verdict     block: ",
        "reload      last taken; in force for ",
        "workers     2, each had a turn within 0 s\n",
        "rejected    no client refused the CA\n",
        "records     go nowhere\n",
    ] {
        assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
    }
    daemon.sources.reloads.note_refused();
    daemon.set_ready(false);
    let said = sluice(&["status", "--json", "--config", &daemon.config()]);
    let status: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(said.code, Some(1));
    assert_eq!(status["health"]["state"], "degraded");
    assert_eq!(
        status["health"]["faults"].as_array().unwrap().len(),
        3,
        "{status}"
    );
    assert_eq!(status["process"]["generation"], 3);
    assert_eq!(status["process"]["reload"]["refused"], 1);
    assert_eq!(status["process"]["flows"]["splice"]["total"], 40);
    daemon.end();
}

#[test]
fn nothing_that_runs_is_told_by_the_exit_status() {
    let daemon = Daemon::start("");
    let config = daemon.path("copy.toml");
    let text = std::fs::read_to_string(daemon.path("sluice.toml")).unwrap();
    std::fs::write(&config, text.replace("admin.sock", "nobody.sock")).unwrap();
    let said = sluice(&["status", "--config", config.to_str().unwrap()]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.out.starts_with("state       not running\n"),
        "{said:?}"
    );
    std::fs::write(&config, "[gateway]\n").unwrap();
    let said = sluice(&["status", "--config", config.to_str().unwrap()]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    daemon.end();
}

#[test]
fn a_reader_without_a_terminal_gets_one_look_after_the_other() {
    let daemon = Daemon::start("");
    daemon.act(5, 0);
    let mut child = command(&[
        "status",
        "--watch",
        "1",
        "--json",
        "--config",
        &daemon.config(),
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["process"]["flows"]["splice"]["total"], 5);
    daemon.act(7, 0);
    // Each look has the flows since the one before.
    eventually("the flows are counted", || {
        let splice = &next()["process"]["flows"]["splice"];
        splice["total"] == 12 && splice["per_second"] == 0.0
    });
    // Whoever has seen enough is not answered with an error.
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"");
    daemon.end();
}
