//! `sluice run`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use sluice_steer::KernelLog;

use crate::daemon::{self, log_level};

/// Arguments of `sluice run`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/sluice/sluice.toml")]
    config: PathBuf,
    /// Tell of every packet that the kernel programs refuse, one line each; for debugging.
    #[arg(long)]
    kernel_log: bool,
}

/// Runs the command.
///
/// SIGHUP reloads the configuration, SIGUSR1 opens the files of access records anew, SIGTERM and SIGINT
/// drain; a second one ends at once.
/// `SLUICE_LOG` says what is logged to standard error, as `info` or `sluice_steer=debug,info`;
/// `sluice log-level` changes that while the daemon runs.
///
/// # Errors
///
/// Whatever kept the daemon from serving.
pub fn run(Args { config, kernel_log }: Args) -> anyhow::Result<ExitCode> {
    let filter = std::env::var("SLUICE_LOG").unwrap_or_else(|_| "info".into());
    log_level::install(&filter, std::io::stderr, std::io::stderr().is_terminal())
        .context("cannot begin to log")?;
    let log = if kernel_log {
        KernelLog::Refusals
    } else {
        KernelLog::Off
    };
    daemon::run(&config, log)?;
    Ok(ExitCode::SUCCESS)
}
