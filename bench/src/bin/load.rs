//! Makes load, or swallows it. A run prints one line of JSON.

use anyhow::Result;
use clap::Parser;
use sluice_bench::load::command::Verb;

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

fn main() -> Result<()> {
    Cli::parse().verb.run()
}
