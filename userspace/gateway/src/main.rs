//! The `sluice` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use sluice_gateway::commands::Command;

/// Linux egress gateway: decides per user what may leave, without decrypting what it need not.
#[derive(Parser)]
#[command(
    name = "sluice",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sluice: {error:#}");
            ExitCode::FAILURE
        }
    }
}
