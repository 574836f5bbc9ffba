//! `sluice check`.

use std::{io::Write, path::PathBuf, process::ExitCode};

use sluice_mint::{AuthorityFiles, Clock, SystemClock};

use super::ca;
use crate::config::{self, Config, show};
use crate::daemon::records;
use crate::proxy::Door;

/// Arguments of `sluice check`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration to validate.
    #[arg(required_unless_present_any = ["default", "schema"])]
    file: Option<PathBuf>,
    /// Print the documented default configuration instead.
    #[arg(long, conflicts_with = "file")]
    default: bool,
    /// Print the JSON schema of access records instead.
    #[arg(long, conflicts_with_all = ["file", "default"])]
    schema: bool,
}

/// Validates a configuration and prints the effective policy: exit code 0 where it can be used,
/// whatever the warnings, and 1 where it cannot.
///
/// # Errors
///
/// Standard output cannot be written to.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(file) = args.file else {
        let text = if args.schema {
            records::SCHEMA
        } else {
            config::DEFAULT
        };
        std::io::stdout().lock().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let loaded = Config::load(&file).and_then(|config| {
        config.load_shadow(None)?;
        Ok(config)
    });
    match loaded {
        Ok(config) => {
            for proxy in &config.proxies {
                if let Err(error) = Door::new(proxy) {
                    eprintln!("{}: {error:#}", file.display());
                    return Ok(ExitCode::FAILURE);
                }
            }
            let authority = config
                .ca
                .as_ref()
                .map(|ca| authority(&ca.files))
                .transpose();
            let authority = match authority {
                Ok(authority) => authority,
                Err(why) => {
                    eprintln!("{}: [ca]: {why}", file.display());
                    return Ok(ExitCode::FAILURE);
                }
            };
            let mut out = std::io::stdout().lock();
            out.write_all(show::effective(&config).as_bytes())?;
            if let Some(text) = authority {
                write!(out, "\nthe CA as its files have it:\n{text}")?;
            }
            writeln!(out, "\n{}: valid", file.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What is to be said of the CA; an error where the daemon could not use it.
fn authority(files: &AuthorityFiles) -> Result<String, String> {
    let now = SystemClock::default().unix();
    let report = ca::report(files, now).map_err(|error| error.to_string())?;
    match report.refusal(files) {
        Some(why) => Err(why),
        None => Ok(report
            .human()
            .lines()
            .map(|line| format!("  {line}\n"))
            .collect()),
    }
}
