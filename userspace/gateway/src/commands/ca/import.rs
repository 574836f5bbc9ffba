//! `sluice ca import`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use sluice_mint::{AuthorityFiles, Existing, PassphraseSource, show_moment};

use super::Where;

/// Arguments of `sluice ca import`.
#[derive(clap::Args)]
#[command(
    after_help = "The certificate's file begins with the one that signs leaves; those above \
it follow, the root last or left out. Key and certificate must belong together, and the certificate \
must be a CA's that may sign for servers and is valid now. The key is copied as it is; an encrypted \
one stays so.\n\n\
Examples:\n  \
sluice ca import --from-certificate gateway-ca.pem --from-key gateway-ca.key\n  \
sluice ca import --from-certificate chain.pem --from-key sealed.key --passphrase-file pass"
)]
pub(super) struct Args {
    /// The certificate that is taken over, with those above it
    #[arg(long, value_name = "FILE")]
    from_certificate: PathBuf,
    /// Its key
    #[arg(long, value_name = "FILE")]
    from_key: PathBuf,
    #[command(flatten)]
    at: Where,
    /// The passphrase of the key is the first line of this file; without it, one that is needed is
    /// asked for
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Put it in the place of the one that is there
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(args: &Args, now: i64) -> anyhow::Result<ExitCode> {
    let (files, configured) = args.at.find()?;
    let from = AuthorityFiles {
        certificate: args.from_certificate.clone(),
        key: args.from_key.clone(),
    };
    let named = args.passphrase_file.clone().map(PassphraseSource::File);
    // Only an encrypted key is asked for its passphrase.
    let passphrase = named.or(configured).unwrap_or(PassphraseSource::Terminal);
    let existing = if args.replace {
        Existing::Replace
    } else {
        Existing::Keep
    };
    let chain = files.import(&from, Some(&passphrase), existing, now)?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{}\n  fingerprint  {}\n  valid until  {}\n  certificate  {} ({} in all)\n  key          {}",
        chain.signing().subject,
        chain.signing().fingerprint,
        show_moment(chain.not_after()),
        files.certificate.display(),
        chain.certificates().len(),
        files.key.display(),
    )?;
    for warning in chain.warnings(now) {
        writeln!(out, "  warning: it {warning}")?;
    }
    Ok(ExitCode::SUCCESS)
}
