//! What comes from the package index of Python.

use std::{fs, os::unix::fs::symlink, process::Command};

use anyhow::{Context, Result};

use super::debian;
use crate::repo;

/// Grades servers of TLS; its rules are those of its version.
const SSLYZE: &str = "sslyze==6.3.1";

/// Puts sslyze into an environment of its own, unless it is there or on the path.
///
/// # Errors
///
/// When Python or the package cannot be had.
pub(super) fn install_sslyze() -> Result<()> {
    if repo::find("sslyze").is_some() {
        return Ok(());
    }
    println!("setup: installing {SSLYZE} from PyPI into target/tools");
    let dir = repo::tools_dir().join("sslyze");
    // Left over from a try that was interrupted.
    let _absent = fs::remove_dir_all(&dir);
    let environment = || {
        let mut python = repo::command("python3");
        repo::run(python.args(["-m", "venv"]).arg(&dir))
    };
    if environment().is_err() {
        debian::install(&["python3-venv"])?;
        let _broken = fs::remove_dir_all(&dir);
        environment()?;
    }
    let mut pip = Command::new(dir.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet", SSLYZE]);
    repo::run(&mut pip)?;
    let bin = repo::tools_dir().join("bin");
    fs::create_dir_all(&bin)?;
    let link = bin.join("sslyze");
    // One that leads nowhere would have been found.
    let _absent = fs::remove_file(&link);
    symlink(dir.join("bin/sslyze"), &link).context("linking sslyze")
}
