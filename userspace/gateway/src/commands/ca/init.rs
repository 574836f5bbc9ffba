//! `sluice ca init`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use sluice_mint::{Existing, show_moment};

use super::{NewArgs, PassphraseArgs, Where};

/// Arguments of `sluice ca init`.
#[derive(clap::Args)]
#[command(
    after_help = "Who has the key can pose as any server to your clients. It is written with \
mode 600 and leaves this machine by no command; --permit narrows what it is good for.\n\n\
Examples:\n  \
sluice ca init\n  \
sluice ca init --key-kind p384 --permit corp.example --passphrase\n  \
sluice ca export --out gateway.pem     # then give this to the clients"
)]
pub(super) struct Args {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    new: NewArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Put it in the place of the one that is there, which then no client can be given any more
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(args: Args, now: i64) -> anyhow::Result<ExitCode> {
    let (files, configured) = args.at.find()?;
    let passphrase = args.passphrase.source(configured);
    let chosen = passphrase.map(|source| source.choose()).transpose()?;
    let existing = if args.replace {
        Existing::Replace
    } else {
        Existing::Keep
    };
    let chain = files.create(&args.new.into(), chosen.as_ref(), existing, now)?;
    let made = chain.signing();
    writeln!(
        io::stdout().lock(),
        "{}\n  fingerprint  {}\n  valid until  {}\n  certificate  {}\n  key          {}{}",
        made.subject,
        made.fingerprint,
        show_moment(made.not_after),
        files.certificate.display(),
        files.key.display(),
        if chosen.is_some() { " (encrypted)" } else { "" },
    )?;
    Ok(ExitCode::SUCCESS)
}
