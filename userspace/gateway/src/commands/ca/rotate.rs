//! `sluice ca rotate`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use sluice_mint::show_moment;

use super::{NewArgs, PassphraseArgs, Where};

/// Arguments of `sluice ca rotate`.
#[derive(clap::Args)]
#[command(after_help = "A rotation takes three steps:\n  \
1. `sluice ca rotate` makes the next authority. `sluice ca export` then writes both: give them to \
the clients. Tell a daemon that runs by SIGHUP.\n  \
2. When the time is over, the daemon signs with the next one by itself.\n  \
3. `sluice ca rotate --finish` gives it the files of the first, whose key is removed; its \
certificate stays as the previous one.\n\n\
Examples:\n  \
sluice ca rotate --activate-after 30\n  \
sluice ca rotate --abort\n  \
sluice ca rotate --finish")]
pub(super) struct Args {
    #[command(flatten)]
    at: Where,
    /// Days in which clients can be given the next authority, before it signs
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    activate_after: u32,
    /// End a rotation whose time is over
    #[arg(long, conflicts_with = "abort")]
    finish: bool,
    /// Take back a rotation whose time is not over
    #[arg(long)]
    abort: bool,
    #[command(flatten)]
    new: NewArgs,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(args: Args, now: i64) -> anyhow::Result<ExitCode> {
    let (files, configured) = args.at.find()?;
    let mut out = io::stdout().lock();
    if args.finish {
        let chain = files.finish(now)?;
        writeln!(
            out,
            "{} is the authority; the former key is gone",
            chain.signing().subject
        )?;
    } else if args.abort {
        let chain = files.abort(now)?;
        writeln!(
            out,
            "{} will not sign, and is removed",
            chain.signing().subject
        )?;
    } else {
        let passphrase = args.passphrase.source(configured);
        let chosen = passphrase.map(|source| source.choose()).transpose()?;
        let from = now.saturating_add(i64::from(args.activate_after) * 86_400);
        let chain = files.begin(&args.new.into(), chosen.as_ref(), from, now)?;
        let made = chain.signing();
        writeln!(
            out,
            "{}\n  fingerprint  {}\n  signs from   {}\ngive clients what `sluice ca export` writes \
             until then; afterwards `sluice ca rotate --finish`",
            made.subject,
            made.fingerprint,
            show_moment(from)
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
