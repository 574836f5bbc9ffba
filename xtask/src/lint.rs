//! `cargo xtask lint`.

mod files;
mod graph;
mod unsafe_code;

use anyhow::Result;

use crate::{repo, setup, steps::Steps};

/// Arguments of `cargo xtask lint`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Write the number of `unsafe` in each file anew instead of comparing it
    #[arg(long)]
    count_unsafe: bool,
}

/// Checks everything that needs no run.
///
/// # Errors
///
/// What is wrong, and where.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut steps = Steps::new();
    let done =
        setup::run(&[setup::For::Kernel, setup::For::Lint]).and_then(|()| all(args, &mut steps));
    steps.print();
    done
}

/// The same, as steps of another verb; what is quick comes first.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn all(args: &Args, steps: &mut Steps) -> Result<()> {
    steps.step("formatting", || {
        repo::run(&mut repo::cargo(&["fmt", "--all", "--check"]))
    })?;
    steps.step("file sizes", files::check)?;
    steps.step("unsafe code", || unsafe_code::check(args.count_unsafe))?;
    steps.step("dependency graph", graph::check)?;
    steps.step("licences, sources and duplicates", || {
        let mut deny = repo::cargo(&["deny", "--all-features", "--log-level", "error", "check"]);
        repo::run(deny.args(["bans", "licenses", "sources"]))
    })?;
    steps.step("clippy", || {
        let clippy = [
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        repo::run(&mut repo::cargo(&clippy))
    })?;
    steps.step("documentation", || {
        let mut doc = repo::cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
        repo::run(
            doc.args(["--document-private-items"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    })
}
