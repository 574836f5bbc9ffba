//! Runs `promtool`, which `cargo xtask setup` brings.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program, from the path or from where `cargo xtask setup` puts it.
#[track_caller]
fn tool() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = env::current_exe().unwrap();
    let tools = own.ancestors().map(|dir| dir.join("tools").join("bin"));
    env::split_paths(&path)
        .chain(tools)
        .map(|dir| dir.join("promtool"))
        .find(|file| file.is_file())
        .expect("no promtool: run `cargo xtask setup`")
}

/// Runs it in a directory; returns whether it is content, and all that it said.
pub(crate) fn run(dir: &Path, args: &[&str], input: Option<&Path>) -> (bool, String) {
    let mut command = Command::new(tool());
    command.args(args).current_dir(dir);
    command.stdin(match input {
        Some(file) => Stdio::from(std::fs::File::open(file).unwrap()),
        None => Stdio::null(),
    });
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
