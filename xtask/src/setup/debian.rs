//! What Debian's packages bring.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::repo;

/// A compiler with the sources of `core`, from bookworm's security updates.
pub(super) const RUST_WITH_SOURCE: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Installs packages.
///
/// # Errors
///
/// Off Debian or without root: says what to install.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("this is not Debian: install what these packages of Debian 12 hold: {list}");
    }
    if !repo::is_root() {
        bail!("not root: run `sudo apt-get install {list}`, or `cargo xtask setup` as root");
    }
    println!("setup: installing Debian packages: {list}");
    update()?;
    let mut apt = repo::command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
        .args(packages);
    repo::run(&mut apt)
}

/// Takes `promtool`, and it alone, out of Debian's package: installing the package would start a
/// Prometheus server on the developer's machine.
///
/// # Errors
///
/// Off Debian: says what to install.
pub(super) fn unpack_promtool() -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("this is not Debian: install promtool, which comes with Prometheus");
    }
    println!("setup: unpacking promtool from Debian's package prometheus");
    let dir = repo::tools_dir().join("promtool");
    // Left over from a try that was interrupted.
    let _absent = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let download = || {
        let mut apt = repo::command("apt-get");
        // As apt's own user it could not write here.
        apt.args([
            "download",
            "--quiet=2",
            "--option",
            "APT::Sandbox::User=root",
            "prometheus",
        ]);
        repo::run(apt.current_dir(&dir))
    };
    if download().is_err() {
        if !repo::is_root() {
            bail!("no list of packages: run `sudo apt-get update`, or `cargo xtask setup` as root");
        }
        update()?;
        download()?;
    }
    let package = fs::read_dir(&dir)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    repo::run(repo::command("dpkg-deb").arg("-x").arg(&package).arg(&dir))?;
    let bin = repo::tools_dir().join("bin");
    fs::create_dir_all(&bin)?;
    fs::rename(dir.join("usr/bin/promtool"), bin.join("promtool")).context("moving promtool")?;
    fs::remove_dir_all(&dir).context("removing the rest of the package")
}

fn update() -> Result<()> {
    repo::run(repo::command("apt-get").args(["update", "--quiet=2"]))
}
