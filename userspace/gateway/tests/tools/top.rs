//! `sluice top` as a command; frames themselves are tested where they are made.

use std::process::Stdio;

use super::lab::{Daemon, command, sluice};

#[test]
fn one_frame_is_printed() {
    let daemon = Daemon::start("");
    daemon.act(20, 3);
    let said = sluice(&["top", "--once", "--config", &daemon.config()]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    for part in [
        "  serving  up ",
        "  generation 3  ",
        "default    splice\n",
        "flow       no shopping\n",
        "  connect\n",
    ] {
        assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
    }
    assert!(!said.out.contains('\x1b'), "{}", said.out);
    daemon.end();
}

#[test]
fn a_reader_that_leaves_ends_it_without_a_word() {
    let daemon = Daemon::start("");
    let mut child = command(&["top", "--config", &daemon.config()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    daemon.end();
}

#[test]
fn nobody_to_ask_is_a_mistake() {
    let daemon = Daemon::start("");
    let config = daemon.config();
    let copy = daemon.path("copy.toml").display().to_string();
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write(&copy, text.replace("admin.sock", "nobody.sock")).unwrap();
    let said = sluice(&["top", "--once", "--config", &copy]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("no daemon of this version answers"),
        "{said:?}"
    );
    daemon.end();
}
