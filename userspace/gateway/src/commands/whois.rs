//! `sluice whois`.

use std::{
    io::{self, Write as _},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;

use crate::{identity::whois::Whois, kernel_state};

/// Arguments of `sluice whois`.
#[derive(clap::Args)]
#[command(
    after_help = "The daemon is asked at the addresses of [admin]; where none answers, the configuration is, \
which knows nobody whom the daemon was told of or whom a proxy listener saw. What was told goes before \
what was learned, and that before [[user]] and [identity].\n\n\
Exit status: 0 answered, be somebody known or not; 1 the configuration has mistakes, or no daemon \
answers and no configuration was named.\n\n\
Examples:\n  \
sluice whois 10.20.4.7\n  \
sluice whois --config /etc/sluice/sluice.toml --json 2001:db8::7"
)]
pub struct Args {
    /// The client's address.
    #[arg(value_name = "ADDR")]
    address: IpAddr,
    /// The configuration of the daemon that is asked; without it the default one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows who is behind an address.
///
/// # Errors
///
/// The configuration has mistakes; or no daemon answers, and no configuration was named.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        address,
        config: file,
        json,
    } = args;
    let config = kernel_state::config_or_default(file.as_deref())?;
    let (whois, why_not) = Whois::find(&config, address)?;
    if let Some(error) = why_not {
        // The built-in configuration knows nobody: that would be no answer.
        anyhow::ensure!(file.is_some(), error);
        eprintln!("sluice: asking the configuration instead: {error}");
    }
    let text = if json {
        format!("{}\n", serde_json::to_string(&whois)?)
    } else {
        whois.text(file.as_deref())
    };
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.context("writing the answer")?;
    Ok(ExitCode::SUCCESS)
}
