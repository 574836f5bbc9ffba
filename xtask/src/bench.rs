//! `cargo xtask bench`.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{repo, setup};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    #[arg(default_value = "all")]
    which: Which,
    /// More for the program that measures
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Which {
    /// Instructions of one flow's beginning, against their limits
    Guard,
    /// Functions and kernel programs by themselves
    Micro,
    /// Traffic through the lab; needs root
    Lab,
    /// All of them
    All,
}

/// Measures.
///
/// # Errors
///
/// When something does not build, a measurement cannot be made, or a limit is passed.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.which == Which::Guard {
        return guard(&args.more);
    }
    if !repo::is_root() {
        bail!("kernel programs and the lab need root: run this as root");
    }
    setup::run(&[
        setup::For::Kernel,
        setup::For::Lab,
        setup::For::Guard,
        setup::For::Bench,
    ])?;
    sluice_ebpf_build::build(&repo::root()).context("building the kernel object")?;
    if args.which == Which::All {
        guard(&[])?;
    }
    if args.which != Which::Lab {
        let bench = ["bench", "--package", "sluice-bench"];
        repo::run(repo::cargo(&bench).args(args.micro()))?;
        repo::run(&mut release("bpf"))?;
    }
    if args.which != Which::Micro {
        let build = [
            "build",
            "--release",
            "--package",
            "sluice-gateway",
            "--bins",
        ];
        repo::run(&mut repo::cargo(&build))?;
        let mut lab = release("lab");
        lab.env("SLUICE_BIN", repo::target_dir().join("release/sluice"));
        repo::run(lab.args(&args.more))?;
    }
    Ok(())
}

/// Counts instructions under callgrind, with the runner that `setup` installed.
///
/// # Errors
///
/// When a case takes more than its limit.
pub(crate) fn guard(more: &[String]) -> Result<()> {
    setup::run(&[setup::For::Guard])?;
    // Optimised, the gateway would be built for nothing else but to be counted.
    let kinds: [&[&str]; 2] = [
        &["sluice-guard", "--bench", "icount", "--bench", "mint"],
        &["sluice-interception-guard", "--profile", "dev"],
    ];
    for kind in kinds {
        let mut bench = repo::cargo(&["bench", "--package"]);
        repo::run(bench.args(kind).arg("--").args(more))?;
    }
    Ok(())
}

impl Args {
    /// What is left over on the command line belongs to the lab unless only the others are asked
    /// for.
    fn micro(&self) -> &[String] {
        if self.which == Which::Micro {
            &self.more
        } else {
            &[]
        }
    }
}

/// A program of the bench crate, ready for its arguments.
fn release(program: &str) -> Command {
    repo::cargo(&[
        "run",
        "--release",
        "--package",
        "sluice-bench",
        "--bin",
        program,
        "--",
    ])
}
