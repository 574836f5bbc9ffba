//! `sluice check`.

use std::{io::Write, path::PathBuf, process::ExitCode};

use crate::config::{self, Config, show};

/// Arguments of `sluice check`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration to validate.
    #[arg(required_unless_present = "default")]
    file: Option<PathBuf>,
    /// Print the documented default configuration instead.
    #[arg(long, conflicts_with = "file")]
    default: bool,
}

/// Validates a configuration and prints the effective policy: exit code 0 where it can be used,
/// whatever the warnings, and 1 where it cannot.
///
/// # Errors
///
/// Standard output cannot be written to.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(file) = args.file else {
        std::io::stdout()
            .lock()
            .write_all(config::DEFAULT.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let loaded = Config::load(&file).and_then(|config| {
        config.load_shadow(None)?;
        Ok(config)
    });
    match loaded {
        Ok(config) => {
            let mut out = std::io::stdout().lock();
            out.write_all(show::effective(&config).as_bytes())?;
            writeln!(out, "\n{}: valid", file.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}
