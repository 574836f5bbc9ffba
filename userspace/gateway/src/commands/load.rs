//! `sluice load`.

use std::process::ExitCode;

/// Arguments of `sluice load`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
///
/// Whatever kept it from being done.
pub fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not built yet")
}
