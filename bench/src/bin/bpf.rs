//! Measures what the kernel programs cost a packet. Needs root.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use sluice_bench::bpf::measure::{Plan, run};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    /// Rounds; each measures every packet.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Runs of each packet in a round.
    #[arg(long, default_value_t = 1_000_000)]
    repeat: u32,
    /// First packets of flows in a round.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..=50_000))]
    first: u16,
    /// Where everything found goes, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let lines = run(&Plan {
        rounds: cli.rounds,
        repeat: cli.repeat,
        first: cli.first,
    })?;
    if let Some(path) = cli.json {
        fs::write(&path, serde_json::to_vec_pretty(&lines)?)
            .with_context(|| path.display().to_string())?;
    }
    println!(
        "Nanoseconds of a run; median (min..max) of {} rounds.\n",
        cli.rounds
    );
    println!("| packet | over an empty program | empty program |");
    println!("|---|---|---|");
    for line in lines {
        println!(
            "| {} | {:.0} | {:.0} |",
            line.name, line.over_empty, line.empty
        );
    }
    Ok(())
}
