//! The `sluice` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use sluice_gateway::commands::Cli;

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sluice: {error:#}");
            ExitCode::FAILURE
        }
    }
}
