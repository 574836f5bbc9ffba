//! `sluice suggest`.

use std::{
    fs::File,
    io::{self, BufReader, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;

use crate::{
    ask,
    config::Config,
    kernel_state::config_or_default,
    suggest::{LogError, Refused, rule},
};

/// Arguments of `sluice suggest`.
#[derive(clap::Args)]
#[command(
    after_help = "Where several clients refused the CA for a host, their software probably brings its own \
idea of whom to trust. A rule is printed that lets such clients through unread once they have \
refused. It is only proposed: think of what it lets through, put it before the rules that decrypt, \
and try it with `sluice check`.\n\n\
Without --flows the daemon is asked at the addresses of [admin] for what it remembers. With --config \
clients do not count that the rules let through already.\n\n\
Examples:\n  \
sluice suggest --config /etc/sluice/sluice.toml\n  \
sluice suggest --flows access.jsonl --clients 5"
)]
pub struct Args {
    /// The configuration in force; without it the daemon is asked at the default addresses.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read refusals from an access log, in place of the daemon's memory; "-": standard input.
    #[arg(long, value_name = "FILE")]
    flows: Option<PathBuf>,
    /// How many clients must have refused the CA for a host.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Proposes a rule for software that refuses the CA.
///
/// # Errors
///
/// The configuration or the log has mistakes, or no daemon answers.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        flows,
        clients,
        json,
    } = args;
    let config = config.as_deref().map(Config::load).transpose()?;
    let refused = match flows.as_deref() {
        Some(path) => {
            let name = path.display();
            let read = if path.as_os_str() == "-" {
                Refused::of_log(&mut io::stdin().lock())
            } else {
                let file = File::open(path).with_context(|| format!("{name}: cannot be read"))?;
                Refused::of_log(&mut BufReader::new(file))
            };
            read.map_err(|error| match error {
                LogError::Line { .. } => anyhow::anyhow!("{name}:{error}"),
                error => anyhow::anyhow!("{name}: {error}"),
            })?
        }
        None => {
            let listen = match &config {
                Some(config) => config.admin.listen.clone(),
                None => config_or_default(None)?.admin.listen,
            };
            Refused::of_memory(&ask::rejected(&listen)?.refusals)
        }
    };
    let least = usize::try_from(clients).unwrap_or(usize::MAX);
    let suggestions = refused.suggestions(least, config.as_ref());
    let rule = rule(&suggestions, config.as_ref());
    let text = if json {
        let object = serde_json::json!({
            "clients": clients,
            "suggestions": suggestions,
            "rule": rule,
        });
        format!("{object}\n")
    } else {
        rule.unwrap_or_else(|| match clients {
            1 => "nothing to suggest: no client refused the CA for a host\n".into(),
            least => format!(
                "nothing to suggest: there is no host for which {least} clients refused the CA\n"
            ),
        })
    };
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.context("writing the proposal")?;
    Ok(ExitCode::SUCCESS)
}
