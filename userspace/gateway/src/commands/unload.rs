//! `sluice unload`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::bail;
use sluice_steer::{Error, Unloaded, unload};

use crate::kernel_state;

/// Arguments of `sluice unload`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration whose places are meant; without it the default ones.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The directory of pins, in place of the configured one.
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// Remove everything although a daemon runs: the way out when it is stuck.
    #[arg(long)]
    force: bool,
}

/// Opens the gate: removes programs, maps, routes and rules, whichever of them are there.
///
/// # Errors
///
/// A daemon runs and `--force` is not given, or the kernel refused a step.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = kernel_state::config_or_default(args.config.as_deref())?;
    let mut options = kernel_state::unload_options(&config);
    options.force = args.force;
    if let Some(bpffs) = args.bpffs {
        options.bpffs_dir = bpffs;
    }
    let unloaded = match kernel_state::block_on(unload(&options))? {
        Err(Error::Busy(lock)) => bail!(
            "a daemon is running (it holds {}) and would close the gate again: stop it first, or \
             say --force if it is stuck",
            lock.display()
        ),
        unloaded => unloaded?,
    };
    let text = if unloaded.is_nothing() {
        format!("nothing was loaded under {}\n", options.bpffs_dir.display())
    } else {
        let Unloaded {
            links,
            maps,
            routes,
        } = unloaded;
        format!("open: removed {links} attachments, {maps} maps, {routes} routes and rules\n")
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
