//! `sluice rejected`.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;

use crate::{ask, intercept::rejected::Refusal, kernel_state};

/// Arguments of `sluice rejected`.
#[derive(clap::Args)]
#[command(
    after_help = "A client that does not accept a leaf of the CA loses that connection. It is remembered \
for `rejected_ttl` of [intercept], and is the condition tls = \"client-rejected-ca\" of the same \
client's next flow to the same place; what follows from that a rule says.\n\n\
The daemon is asked at the addresses of [admin].\n\n\
Examples:\n  \
sluice rejected --config /etc/sluice/sluice.toml\n  \
sluice rejected --config /etc/sluice/sluice.toml --clear"
)]
pub struct Args {
    /// The configuration of the daemon that is asked; without it the default one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Forget all of them: the next flows are decrypted as if none had been refused.
    #[arg(long)]
    clear: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Shows which clients refused the CA, or has the daemon forget them.
///
/// # Errors
///
/// The configuration has mistakes, or no daemon answers.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        clear,
        json,
    } = args;
    let config = kernel_state::config_or_default(config.as_deref())?;
    let listeners = &config.admin.listen;
    let text = if clear {
        let forgotten = ask::forget_rejected(listeners)?;
        match (json, forgotten.forgotten) {
            (true, _) => format!("{}\n", serde_json::to_string(&forgotten)?),
            (false, 1) => "forgot 1 refusal\n".into(),
            (false, count) => format!("forgot {count} refusals\n"),
        }
    } else {
        let remembered = ask::rejected(listeners)?;
        if json {
            format!("{}\n", serde_json::to_string(&remembered)?)
        } else {
            human(&remembered.refusals)
        }
    };
    let written = io::stdout().lock().write_all(text.as_bytes());
    written.context("writing the answer")?;
    Ok(ExitCode::SUCCESS)
}

fn human(refusals: &[Refusal]) -> String {
    if refusals.is_empty() {
        return "no client is remembered to have refused the CA\n".into();
    }
    let lines = refusals.iter().map(line);
    lines.map(|line| line + "\n").collect()
}

/// One refusal, for people to read.
pub(super) fn line(refusal: &Refusal) -> String {
    let Refusal {
        client,
        host,
        destination,
        alert,
        times,
        seconds_left,
    } = refusal;
    let host = host.as_deref().unwrap_or("no name");
    let said = match alert {
        Some(alert) => format!("said {alert}"),
        None => "closed without a word".into(),
    };
    let often = match times {
        1 => "once".into(),
        times => format!("{times} times"),
    };
    let left = match seconds_left {
        0..=119 => format!("{seconds_left} s"),
        120..=7199 => format!("{} min", seconds_left / 60),
        _ => format!("{} h", seconds_left / 3600),
    };
    format!("{client} refused {host} at {destination} {often}, {said}; remembered for {left}")
}
