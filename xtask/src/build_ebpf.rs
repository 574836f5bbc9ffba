//! `cargo xtask build-ebpf`.

use anyhow::{Context, Result};

use crate::{repo, setup};

/// Builds the kernel object and says where it is.
///
/// # Errors
///
/// When a tool cannot be installed or the programs do not compile.
pub(crate) fn run() -> Result<()> {
    setup::run(&[setup::For::Kernel])?;
    let object = sluice_ebpf_build::build(&repo::root()).context("building the kernel object")?;
    let bytes = std::fs::metadata(&object)?.len();
    println!("{} ({bytes} bytes)", object.display());
    Ok(())
}
