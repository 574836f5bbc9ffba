//! `sluice completions`.

use std::{io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use super::{Cli, pipe};

/// Arguments of `sluice completions`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
sluice completions bash > /usr/share/bash-completion/completions/sluice\n  \
sluice completions zsh > /usr/share/zsh/vendor-completions/_sluice\n  \
sluice completions fish > /usr/share/fish/vendor_completions.d/sluice.fish")]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Known,
}

/// A shell for which completions are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

/// Prints the completions of a shell.
///
/// # Errors
///
/// Standard output cannot be written to.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sluice", &mut text);
    pipe::ended(pipe::stdout().write_all(&text))
}
