//! Tools of Rust, and the sources of `core`.

use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::repo;

/// What to do where neither rustup nor Debian's packages help.
pub(super) const CORE_BY_HAND: &str = "no sources of `core`: install a rustup nightly whose LLVM is \
    release 22, with rust-src: \
    `rustup toolchain install nightly --profile minimal --component rust-src`";

/// How long a download of the sources may take: they are 3 MB, and a network that does not let them
/// through may not say so.
const DOWNLOAD: Duration = Duration::from_secs(60);

/// A program that cargo can compile.
pub(super) struct Tool {
    /// Package and program.
    name: &'static str,
    version: &'static str,
    options: &'static [&'static str],
    why: &'static str,
}

/// Links the kernel object.
pub(super) const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: sluice_ebpf_build::LINKER_VERSION,
    options: &[],
    why: "links the kernel object",
};

/// Runs the tests.
pub(super) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.143",
    options: &["--no-default-features", "--features", "default-no-update"],
    why: "runs the tests",
};

/// Checks dependencies.
pub(super) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    options: &["--no-default-features"],
    why: "checks the dependencies",
};

/// Runs the guard on instructions. It only starts callgrind and reads what that says, so the time
/// that optimising it takes would never come back.
pub(super) const GUNGRAUN: Tool = Tool {
    name: "gungraun-runner",
    version: "0.20.0",
    options: &["--debug", "--config", "profile.dev.debug=false"],
    why: "counts instructions",
};

/// Whether there is a compiler that can build `core` for the BPF target.
pub(super) fn has_core() -> bool {
    sluice_ebpf_build::Toolchain::find().is_ok()
}

/// Asks rustup for the sources of a nightly that is installed; whether that helped.
pub(super) fn add_core_source() -> bool {
    let nightly = repo::output(repo::command("rustc").args(["+nightly", "--version", "--verbose"]));
    // The linker reads what LLVM 22 and older have written.
    if !nightly.is_ok_and(|text| text.contains("LLVM version: 22.")) {
        return false;
    }
    println!("setup: asking rustup for the sources of `core` of the installed nightly");
    let mut rustup = repo::command("rustup");
    rustup
        .args(["component", "add", "rust-src", "--toolchain", "nightly"])
        .env("RUSTUP_MAX_RETRIES", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(mut child) = rustup.spawn() else {
        return false;
    };
    let deadline = Instant::now() + DOWNLOAD;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success() && has_core(),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
            _ => break,
        }
    }
    println!("setup: rustup gets no answer; going on without it");
    // It may just have ended.
    let _ended = child.kill();
    let _status = child.wait();
    false
}

/// Compiles a tool into the tools' directory, unless it is there or on the path.
///
/// # Errors
///
/// When it does not compile.
pub(super) fn install(tool: &Tool) -> Result<()> {
    if repo::find(tool.name).is_some() {
        return Ok(());
    }
    let Tool {
        name, version, why, ..
    } = tool;
    println!("setup: compiling {name} {version}, which {why}; once, for some minutes");
    let tools = repo::tools_dir();
    let build = tools.join("build");
    let mut cargo = repo::cargo(&["install", "--quiet", "--locked", "--version", version, name]);
    // Not within the workspace, whose settings are not the tool's.
    fs::create_dir_all(&tools)?;
    cargo
        .current_dir("/")
        .args(tool.options)
        .arg("--root")
        .arg(&tools);
    cargo.arg("--target-dir").arg(&build);
    repo::run(&mut cargo)?;
    // Half a gigabyte that nobody needs again; what stays behind does no harm.
    let _left = fs::remove_dir_all(build);
    Ok(())
}

/// Adds components of the toolchain that cargo runs with, unless they are there.
///
/// # Errors
///
/// When rustup cannot add one.
pub(super) fn components(names: &[&str]) -> Result<()> {
    for name in names {
        let program = if *name == "clippy" {
            "cargo-clippy"
        } else {
            name
        };
        let mut probe = repo::command(program);
        probe
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            println!("setup: adding {name} to the Rust toolchain");
            repo::run(repo::command("rustup").args(["component", "add", name]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_is_of_its_librarys_version() {
        let workspace = include_str!("../../../Cargo.toml");
        let line = format!("gungraun = \"={}\"\n", GUNGRAUN.version);
        assert!(workspace.contains(&line), "{line}");
    }
}
