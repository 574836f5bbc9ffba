//! `sluice ca`.

mod export;
mod import;
mod init;
mod rotate;
mod show;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Subcommand;
use sluice_mint::{AuthorityFiles, Clock, KeyKind, NewAuthority, PassphraseSource, SystemClock};

use crate::config::Config;

pub use show::{Report, report};

/// Arguments of `sluice ca`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What can be done with an authority.
#[derive(Subcommand)]
enum Command {
    /// Make the authority of this gateway: a key that only it has, and a certificate for the
    /// clients.
    Init(init::Args),
    /// Show the authority: what it is, until when, what clients must know, what is amiss.
    Show(show::Args),
    /// Write its certificates for clients to install. Never a key.
    Export(export::Args),
    /// Take over an authority that others made, such as an intermediate of your own root.
    Import(import::Args),
    /// Let another authority follow this one, with time to give it to clients first.
    Rotate(rotate::Args),
}

/// Carries the command out.
///
/// # Errors
///
/// What kept it from being done, and the cure.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let now = SystemClock::default().unix();
    match args.command {
        Command::Init(args) => init::run(args, now),
        Command::Show(args) => show::run(&args, now),
        Command::Export(args) => export::run(args, now),
        Command::Import(args) => import::run(&args, now),
        Command::Rotate(args) => rotate::run(args, now),
    }
}

/// Where the authority is.
#[derive(clap::Args, Clone)]
struct Where {
    /// The configuration whose section `ca` is meant, in place of the two files
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate", "key"])]
    config: Option<PathBuf>,
    /// The certificate
    #[arg(long, value_name = "FILE", default_value = "/etc/sluice/ca.pem")]
    certificate: PathBuf,
    /// The key
    #[arg(long, value_name = "FILE", default_value = "/etc/sluice/ca.key")]
    key: PathBuf,
}

impl Where {
    /// The files, and the source of the passphrase where the configuration names one.
    fn find(&self) -> anyhow::Result<(AuthorityFiles, Option<PassphraseSource>)> {
        let Some(path) = &self.config else {
            let Self {
                certificate, key, ..
            } = self.clone();
            return Ok((AuthorityFiles { certificate, key }, None));
        };
        let ca = Config::load(path)?.ca.ok_or_else(|| {
            anyhow::anyhow!(
                "{}: has no section [ca]: add one with `certificate` and `key`",
                path.display()
            )
        })?;
        Ok((ca.files, ca.passphrase))
    }
}

/// Where a passphrase comes from. Never the command line itself, which others can read.
#[derive(clap::Args)]
#[group(multiple = false)]
struct PassphraseArgs {
    /// Encrypt the key with the first line of this file, which must have mode 600
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Encrypt the key with a credential that systemd gives this process
    #[arg(long, value_name = "NAME")]
    passphrase_credential: Option<String>,
    /// Encrypt the key with a passphrase that is asked for at the terminal
    #[arg(long)]
    passphrase: bool,
}

impl PassphraseArgs {
    /// What was asked for, or else what the configuration names.
    fn source(self, configured: Option<PassphraseSource>) -> Option<PassphraseSource> {
        let Self {
            passphrase_file,
            passphrase_credential,
            passphrase,
        } = self;
        passphrase_file
            .map(PassphraseSource::File)
            .or(passphrase_credential.map(PassphraseSource::Credential))
            .or(passphrase.then_some(PassphraseSource::Terminal))
            .or(configured)
    }
}

/// What a new authority is to be.
#[derive(clap::Args)]
struct NewArgs {
    /// The name that clients show; by default "sluice CA", the host's name and six random digits
    #[arg(long, value_name = "TEXT")]
    common_name: Option<String>,
    /// The kind of key
    #[arg(long, value_name = "KIND", default_value = "p256", value_parser = ["p256", "p384"])]
    key_kind: String,
    /// How long it is valid, in days
    #[arg(long, value_name = "DAYS", default_value_t = 3652)]
    days: u64,
    /// Sign only for this name and those below it; may be given more than once
    #[arg(long, value_name = "NAME")]
    permit: Vec<String>,
    /// Never sign for this name and those below it; may be given more than once
    #[arg(long, value_name = "NAME")]
    exclude: Vec<String>,
}

impl From<NewArgs> for NewAuthority {
    fn from(args: NewArgs) -> Self {
        Self {
            common_name: args.common_name,
            key: match args.key_kind.as_str() {
                "p384" => KeyKind::P384,
                _ => KeyKind::P256,
            },
            validity: Duration::from_secs(args.days.saturating_mul(86_400)),
            permitted: args.permit,
            excluded: args.exclude,
        }
    }
}
