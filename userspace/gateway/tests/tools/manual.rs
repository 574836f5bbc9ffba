//! Completions and manual pages, of every command there is.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use clap::CommandFactory as _;
use sluice_gateway::commands::Cli;

use super::lab::sluice;

/// The names of a command's pages: its own, and those of the commands below it.
fn pages(command: &clap::Command, name: &str) -> Vec<String> {
    let mut all = vec![format!("{name}.1")];
    for below in command
        .get_subcommands()
        .filter(|one| one.get_name() != "help")
    {
        all.extend(pages(below, &format!("{name}-{}", below.get_name())));
    }
    all
}

#[test]
fn every_command_has_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("man1");
    let said = sluice(&["man", directory.to_str().unwrap()]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
    let expected = pages(&Cli::command(), "sluice");
    assert!(
        expected.contains(&"sluice-ca-rotate.1".to_owned()),
        "{expected:?}"
    );
    let mut written: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    written.sort();
    let mut wanted = expected.clone();
    wanted.sort();
    assert_eq!(written, wanted);
    for page in expected {
        let text = fs::read_to_string(directory.join(&page)).unwrap();
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", "\\- "] {
            assert!(text.contains(part), "{page} has no {part}");
        }
    }
    let flows = fs::read_to_string(directory.join("sluice-flows.1")).unwrap();
    assert!(
        flows.contains("Examples:") && flows.contains("no shopping"),
        "{flows}"
    );
}

#[test]
fn the_first_page_is_printed() {
    let said = sluice(&["man"]);
    assert_eq!(said.code, Some(0));
    for part in [".TH sluice 1", "sluice\\-flows(1)", "sluice\\-status(1)"] {
        assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
    }
}

#[test]
fn completions_name_every_command_and_are_read_by_the_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let said = sluice(&["completions", shell]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(said.out.contains(name), "{shell} does not know {name}");
        }
        if shell != "bash" {
            continue;
        }
        let mut bash = Command::new("bash")
            .arg("-n")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut script = bash.stdin.take().unwrap();
        script.write_all(said.out.as_bytes()).unwrap();
        drop(script);
        let output = bash.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stderr, b"");
    }
    assert_eq!(sluice(&["completions", "tcsh"]).code, Some(2));
}

/// What bash offers behind a line.
fn offered(words: &[&str]) -> String {
    let script = sluice(&["completions", "bash"]).out;
    let last = words.len() - 1;
    let list = words.join(" ");
    let ask = format!(
        "{script}\nCOMP_WORDS=({list})\nCOMP_CWORD={last}\n_sluice sluice {} {}\necho \"${{COMPREPLY[@]}}\"\n",
        words[last],
        words[last - 1]
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &ask])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_commands_and_words() {
    assert_eq!(offered(&["sluice", "fl"]).trim(), "flows");
    assert_eq!(offered(&["sluice", "flows", "--verd"]).trim(), "--verdict");
    let verdicts = offered(&["sluice", "flows", "--verdict", "bl"]);
    assert_eq!(verdicts.trim(), "block");
}
