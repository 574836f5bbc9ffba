//! `sluice man`.

use std::{fs, io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{Cli, pipe};

/// Arguments of `sluice man`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
sluice man | man -l -\n  \
sluice man /usr/local/share/man/man1")]
pub struct Args {
    /// The directory to write a page for every command to; without it that of sluice is printed.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints the manual, or writes it to a directory.
///
/// # Errors
///
/// A file cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let command = Cli::command().disable_help_subcommand(true);
    let Some(directory) = args.directory else {
        let mut text = Vec::new();
        Man::new(command).render(&mut text)?;
        return pipe::ended(pipe::stdout().write_all(&text));
    };
    let at = || directory.display().to_string();
    fs::create_dir_all(&directory).with_context(at)?;
    clap_mangen::generate_to(command, &directory).with_context(at)?;
    Ok(ExitCode::SUCCESS)
}
