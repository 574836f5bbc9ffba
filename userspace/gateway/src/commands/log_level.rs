//! `sluice log-level`.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;

use crate::{
    ask,
    daemon::{admin::log_level::Change, log_level::Shown},
    kernel_state,
};

/// Arguments of `sluice log-level`.
#[derive(clap::Args)]
#[command(
    after_help = "FILTER is a level (off, error, warn, info, debug, trace), and levels of modules, with commas \
between. Without it the levels in force are shown. Changing them needs a Unix socket in `listen` of [admin]. \
They are those of SLUICE_LOG again when the daemon is restarted.\n\n\
A debug log names clients and hosts, whatever [log] says of access records.\n\n\
Examples:\n  \
sluice log-level\n  \
sluice log-level \"info,sluice_gateway::daemon::flow=debug\" --for 10m\n  \
sluice log-level --reset"
)]
pub struct Args {
    /// What is to be logged from now on.
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// Fall back after so long to what was logged before, such as "10m".
    #[arg(long = "for", value_name = "DURATION", requires = "filter")]
    time: Option<String>,
    /// Log again what the daemon logged when it began.
    #[arg(long, conflicts_with = "filter")]
    reset: bool,
    /// The configuration of the daemon that is asked; without it the default one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows what the daemon logs about itself, or changes it.
///
/// # Errors
///
/// The configuration has mistakes, no daemon answers, or it refuses the filter.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        filter,
        time,
        reset,
        config,
        json,
    } = args;
    let config = kernel_state::config_or_default(config.as_deref())?;
    let listeners = &config.admin.listen;
    let shown = match filter {
        Some(filter) => ask::change_log_level(listeners, &Change { filter, time })?,
        None if reset => ask::reset_log_level(listeners)?,
        None => ask::log_level(listeners)?,
    };
    let text = if json {
        format!("{}\n", serde_json::to_string(&shown)?)
    } else {
        human(&shown)
    };
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.context("writing the answer")?;
    Ok(ExitCode::SUCCESS)
}

fn human(shown: &Shown) -> String {
    let Shown {
        filter,
        first,
        back,
    } = shown;
    let mut text = format!("{filter}\n");
    if let Some(back) = back {
        let (filter, left) = (&back.filter, back.seconds_left);
        text.push_str(&format!("  for {left} s more, then {filter}\n"));
    } else if filter != first {
        text.push_str(&format!("  {first} when the daemon began\n"));
    }
    text
}
