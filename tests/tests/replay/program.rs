//! Runs `sluice replay` over a file.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use sluice_tests::{pcap::Capture, sluice::sluice_binary};
use tempfile::TempDir;

/// A directory of the test's own, with the files that it replays.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The command, ready for more arguments.
pub(crate) fn command(file: &Path) -> Command {
    let mut command = Command::new(sluice_binary());
    command.arg("replay").arg(file);
    command
}

/// Replays a file to its end.
pub(crate) fn replay(file: &Path, args: &[&str]) -> Output {
    command(file).args(args).output().unwrap()
}

/// Replays a file and returns the lines, or ends the test with what the program said instead.
pub(crate) fn lines(file: &Path, args: &[&str]) -> Vec<String> {
    let output = replay(file, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {}: {stderr}",
        file.display(),
        output.status
    );
    assert_eq!(stderr, "", "{}", file.display());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Replays a file with `--json` and returns the objects.
pub(crate) fn objects(file: &Path, args: &[&str]) -> Vec<Value> {
    let lines = lines(file, &[args, &["--json"]].concat());
    lines
        .iter()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// Replays a generated capture with `--json` and returns the lines as they are.
pub(crate) fn lines_of(capture: &Capture, args: &[&str]) -> Vec<String> {
    let folder = Folder::new();
    lines(
        &folder.file("capture", capture.bytes()),
        &[args, &["--json"]].concat(),
    )
}
