//! Every developer verb of sluice: `cargo xtask help` lists them.

mod bench;
mod build_ebpf;
mod ci;
mod demo;
mod lab;
mod lint;
mod repo;
mod setup;
mod steps;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every developer verb of sluice.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building, testing and linting need; does nothing where all is there.
    Setup(setup::Args),
    /// Build the kernel object.
    BuildEbpf,
    /// Show a Skype-like client and ordinary clients behind a gateway that runs sluice.
    Demo(demo::Args),
    /// Run the tests; those that need root too.
    Test(test::Args),
    /// Check formatting, lints, documentation, dependencies and the rules of the layout.
    Lint(lint::Args),
    /// Bring the lab up to play in, enter it, or take it down.
    Lab(lab::Args),
    /// Measure.
    Bench(bench::Args),
    /// Do what continuous integration does: setup, lint, test, bench guard.
    Ci,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Setup(args) => setup::asked(&args),
        Verb::BuildEbpf => build_ebpf::run(),
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Lint(args) => lint::run(&args),
        Verb::Lab(args) => lab::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Ci => ci::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
