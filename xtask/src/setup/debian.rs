//! What Debian's packages bring.

use std::{fs, io::Write, path::Path, process::Stdio};

use anyhow::{Context, Result, bail, ensure};

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
    for (_, answer) in SILENT
        .iter()
        .filter(|(package, _)| packages.contains(package))
    {
        answer_before(answer)?;
    }
    let mut apt = repo::command("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
        .args(packages);
    repo::run(&mut apt)
}

/// Whether bindgen would find its library where Debian's packages put it.
pub(super) fn has_libclang() -> bool {
    let versions = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut folders = versions
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("llvm-"))
        })
        .map(|path| path.join("lib"));
    folders.any(|folder| {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.file_name().into_string().ok())
            .any(|name| name.starts_with("libclang") && name.contains(".so"))
    })
}

/// Packages that ask questions when they are installed, and the answers by which they make no
/// configuration, so that no server of theirs starts.
const SILENT: [(&str, &str); 1] = [("slapd", "slapd slapd/no_configuration boolean true")];

/// Gives debconf an answer before it asks.
fn answer_before(answer: &str) -> Result<()> {
    let mut debconf = repo::command("debconf-set-selections")
        .stdin(Stdio::piped())
        .spawn()
        .context("debconf-set-selections")?;
    let mut input = debconf.stdin.take().context("debconf takes no answers")?;
    writeln!(input, "{answer}").context("debconf takes no answers")?;
    drop(input);
    let status = debconf.wait()?;
    ensure!(status.success(), "debconf takes no answers: {status}");
    Ok(())
}

/// Packages of which one program alone is wanted: installing them would start a server on the
/// developer's machine.
pub(super) const UNPACKED: [(&str, &str); 3] = [
    ("prometheus", "prometheus"),
    ("prometheus", "promtool"),
    ("nginx", "nginx"),
];

/// Takes a program, and it alone, out of a package.
///
/// # Errors
///
/// Off Debian: says what to install.
pub(super) fn unpack(package: &str, program: &str) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("this is not Debian: install {program}, which comes with {package}");
    }
    println!("setup: unpacking {program} from Debian's package {package}");
    let dir = repo::tools_dir().join(package);
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
            package,
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
    let archive = fs::read_dir(&dir)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    repo::run(repo::command("dpkg-deb").arg("-x").arg(&archive).arg(&dir))?;
    let bin = repo::tools_dir().join("bin");
    fs::create_dir_all(&bin)?;
    let unpacked = ["usr/bin", "usr/sbin"]
        .map(|place| dir.join(place).join(program))
        .into_iter()
        .find(|file| file.is_file())
        .with_context(|| format!("{package} holds no {program}"))?;
    fs::rename(unpacked, bin.join(program)).with_context(|| format!("moving {program}"))?;
    fs::remove_dir_all(&dir).context("removing the rest of the package")
}

fn update() -> Result<()> {
    repo::run(repo::command("apt-get").args(["update", "--quiet=2"]))
}
