//! `sluice ca export`.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::ValueEnum;
use sluice_mint::{CaCertificate, Chain, Format, export};

use super::Where;

/// Arguments of `sluice ca export`.
#[derive(clap::Args)]
#[command(
    after_help = "By default everything that clients have to trust is written: during a \
rotation the present and the next authority, and the previous one while its leaves are about.\n\n\
Examples:\n  \
sluice ca export > gateway.pem                               # Linux, Firefox\n  \
sluice ca export --format der --which current --out ca.cer   # Windows, Android\n  \
sluice ca export --format mobileconfig --out gateway.mobileconfig    # iOS, macOS"
)]
pub(super) struct Args {
    #[command(flatten)]
    at: Where,
    /// How
    #[arg(long, default_value = "pem")]
    format: FormatArg,
    /// Which of them
    #[arg(long, default_value = "all")]
    which: Which,
    /// Where to; by default standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum FormatArg {
    /// PEM, one certificate after another
    Pem,
    /// DER, which holds one certificate
    Der,
    /// An Apple configuration profile
    Mobileconfig,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Which {
    /// All that clients have to trust
    All,
    /// The one that signs now
    Current,
    /// The one that will sign
    Next,
}

pub(super) fn run(args: Args, now: i64) -> anyhow::Result<ExitCode> {
    let (files, _) = args.at.find()?;
    let found = files.certificates()?;
    let chains: Vec<&Chain> = match args.which {
        Which::All => found.known(now),
        Which::Current => vec![found.signing(now)],
        Which::Next => {
            let next = found.next.as_ref().map(|(_, chain)| chain);
            vec![next.context("no authority follows this one: `sluice ca rotate` makes it")?]
        }
    };
    let mut anchors: Vec<&CaCertificate> = Vec::new();
    for anchor in chains.iter().map(|chain| chain.anchor()) {
        // Two intermediates may have one root.
        if anchors
            .iter()
            .all(|known| known.fingerprint != anchor.fingerprint)
        {
            anchors.push(anchor);
        }
    }
    let format = match args.format {
        FormatArg::Pem => Format::Pem,
        FormatArg::Der => Format::Der,
        FormatArg::Mobileconfig => Format::MobileConfig,
    };
    let bytes = export(&anchors, format).context("use --which current, next, or --format pem")?;
    match args.out {
        Some(path) => fs::write(&path, bytes).with_context(|| path.display().to_string())?,
        None => io::stdout().lock().write_all(&bytes)?,
    }
    Ok(ExitCode::SUCCESS)
}
