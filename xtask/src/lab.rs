//! `cargo xtask lab`.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{repo, setup};

/// Arguments of `cargo xtask lab`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to do with the lab
    verb: Verb,
    /// Where the shell is opened
    #[arg(default_value = "gateway")]
    place: Place,
}

#[derive(Clone, Copy, ValueEnum)]
enum Verb {
    /// Bring up clients, a gateway that runs sluice, and an internet
    Up,
    /// Take down every lab that was kept
    Down,
    /// Open a shell in a lab that is up
    Shell,
}

#[derive(Clone, Copy, ValueEnum)]
enum Place {
    Client,
    Gateway,
    Internet,
}

/// Does it.
///
/// # Errors
///
/// When the lab cannot be brought up, or there is none.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !repo::is_root() {
        bail!("network namespaces and kernel programs need root: run this as root");
    }
    match args.verb {
        Verb::Up => {
            setup::run(&[setup::For::Kernel, setup::For::Lab])?;
            build()?;
            repo::run(&mut program("up"))
        }
        Verb::Down => {
            build()?;
            repo::run(&mut program("down"))
        }
        Verb::Shell => {
            let place = match args.place {
                Place::Client => "client",
                Place::Gateway => "gateway",
                Place::Internet => "internet",
            };
            build()?;
            repo::run(program("shell").arg(place))
        }
    }
}

/// Builds the daemon and the program that runs labs, side by side.
///
/// # Errors
///
/// When something does not compile.
pub(crate) fn build() -> Result<()> {
    sluice_ebpf_build::build(&repo::root()).context("building the kernel object")?;
    repo::run(&mut repo::cargo(&[
        "build",
        "--quiet",
        "--workspace",
        "--bins",
    ]))
}

/// The program that runs labs, with its first word.
pub(crate) fn program(verb: &str) -> Command {
    let bin = repo::target_dir().join("debug");
    let mut program = repo::command(&bin.join("sluice-lab").to_string_lossy());
    program.arg(verb).env("SLUICE_BIN", bin.join("sluice"));
    program
}
