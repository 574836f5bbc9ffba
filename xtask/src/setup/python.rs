//! What comes from the package index of Python.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result};

use super::debian;
use crate::repo;

/// Grades servers of TLS; its rules are those of its version.
const SSLYZE: &str = "sslyze==6.3.1";

/// Libraries of which servers are made that requests are sent to, and clients that send some.
const SERVERS: [&str; 3] = ["h11==0.16.0", "aiohttp==3.14.5", "requests==2.34.2"];

/// A Python that has [`SERVERS`].
const SERVERS_PYTHON: &str = "python-servers";

/// Puts sslyze into an environment of its own, unless it is there or on the path.
///
/// # Errors
///
/// When Python or the package cannot be had.
pub(super) fn install_sslyze() -> Result<()> {
    if repo::find("sslyze").is_some() {
        return Ok(());
    }
    let dir = environment("sslyze", &[SSLYZE])?;
    let link = place("sslyze")?;
    symlink(dir.join("bin/sslyze"), &link).context("linking sslyze")
}

/// Makes a Python with the libraries that servers and clients of the tests are made of, unless it is
/// there.
///
/// # Errors
///
/// When Python or the packages cannot be had.
pub(super) fn install_servers() -> Result<()> {
    if let Some(python) = repo::find(SERVERS_PYTHON) {
        // One of before may lack what is needed now.
        let mut import = Command::new(python);
        let names = SERVERS.map(|package| package.split("==").next().unwrap_or(package));
        import.args(["-c", &format!("import {}", names.join(", "))]);
        if import.output().is_ok_and(|output| output.status.success()) {
            return Ok(());
        }
    }
    let dir = environment("servers", &SERVERS)?;
    let script = place(SERVERS_PYTHON)?;
    // By a link, Python would not find its environment.
    let python = dir.join("bin/python3");
    fs::write(
        &script,
        format!("#!/bin/sh\nexec '{}' \"$@\"\n", python.display()),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).context("making it a program")
}

/// A new environment with packages.
fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let list = packages.join(" ");
    println!("setup: installing {list} from PyPI into target/tools");
    let dir = repo::tools_dir().join(name);
    // Left over from a try that was interrupted.
    let _absent = fs::remove_dir_all(&dir);
    let create = || {
        let mut python = repo::command("python3");
        repo::run(python.args(["-m", "venv"]).arg(&dir))
    };
    if create().is_err() {
        debian::install(&["python3-venv"])?;
        let _broken = fs::remove_dir_all(&dir);
        create()?;
    }
    let mut pip = Command::new(dir.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet"]).args(packages);
    repo::run(&mut pip)?;
    Ok(dir)
}

/// Where a program goes, with nothing there.
fn place(program: &str) -> Result<PathBuf> {
    let bin = repo::tools_dir().join("bin");
    fs::create_dir_all(&bin)?;
    let file = bin.join(program);
    // One that leads nowhere would have been found.
    let _absent = fs::remove_file(&file);
    Ok(file)
}
