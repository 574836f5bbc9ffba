//! `cargo xtask demo`.

use anyhow::{Result, bail};

use crate::{lab, repo, setup};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave everything running and say how to look around
    #[arg(long)]
    keep: bool,
}

/// Installs what is missing, builds, and shows the gateway at work.
///
/// # Errors
///
/// When an attempt ended otherwise than it should.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !repo::is_root() {
        bail!("network namespaces and kernel programs need root: run this as root");
    }
    setup::run(&[setup::For::Kernel, setup::For::Lab])?;
    lab::build()?;
    let mut demo = lab::program("demo");
    if args.keep {
        demo.arg("--keep");
    }
    repo::run(&mut demo)
}
