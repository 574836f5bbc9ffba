//! What comes from the package index of Node.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::repo;

/// Finds what keeps people from using a page; tests load its one file into a browser.
const AXE: &str = "axe-core@4.14.1";
/// What it is called in the index, packed.
const ARCHIVE: &str = "axe-core-4.14.1.tgz";
/// SHA-256 of the archive.
const DIGEST: &str = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745";

/// Unpacks axe-core into `target/tools/axe-core`, unless it is there.
///
/// # Errors
///
/// When npm or the package cannot be had, or the package is another one than is expected.
pub(super) fn unpack_axe() -> Result<()> {
    let dir = repo::tools_dir().join("axe-core");
    if dir.join("axe.min.js").is_file() {
        return Ok(());
    }
    println!("setup: unpacking {AXE} into target/tools");
    let tools = repo::tools_dir();
    fs::create_dir_all(&tools)?;
    let mut npm = repo::command("npm");
    npm.args(["pack", "--silent", AXE]).current_dir(&tools);
    repo::output(&mut npm).context("npm, of the package npm")?;
    let archive = tools.join(ARCHIVE);
    let mut digest = repo::command("sha256sum");
    let found = repo::output(digest.arg(&archive))?;
    ensure!(
        found.starts_with(DIGEST),
        "{}: another file than {AXE} is known to be",
        archive.display()
    );
    // Left over from a try that was interrupted.
    let _absent = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    let mut tar = repo::command("tar");
    tar.arg("xzf").arg(&archive);
    tar.arg("-C").arg(&dir).arg("--strip-components=1");
    repo::run(&mut tar)?;
    fs::remove_file(&archive).context("removing the archive")
}
