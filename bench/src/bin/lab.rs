//! Compares ways through a gateway, in network namespaces of its own. Needs root.
//!
//! The tables go to standard output, progress to standard error.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use sluice_bench::{
    lab::{
        plan::{Case, Limits, Way},
        report::Report,
        run::Comparison,
        way::{Programs, installed},
    },
    load::command,
};

#[derive(Parser)]
#[command(about, version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    load: Option<Load>,
    /// Rounds that must count, of each kind of load.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Void rounds of each kind of load that are repeated.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Length of one measurement in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Kinds of load: bulkN, uploadN, shortN, setup, idleN, for the ways proxy, tinyproxy and
    /// squid-proxy through a tunnel each; for the ways direct, intercept and haproxy-intercept
    /// tlsbulkN, tlsN, tlssetup, and for the former two tlsnamesN.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "bulk1,bulk4,bulk16,short64,setup,idle2000"
    )]
    cases: Vec<Case>,
    /// Ways through the gateway.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "direct,passed,sluice,haproxy"
    )]
    ways: Vec<Way>,
    /// The share of the machine that other processes may use before a round is void.
    #[arg(long, default_value_t = 0.05)]
    foreign: f64,
    /// The share of the machine that plain forwarding must use before a bulk round counts.
    #[arg(long, default_value_t = 0.95)]
    busy: f64,
    /// The sluice to measure, a release build; default: SLUICE_BIN, or beside this program.
    #[arg(long)]
    sluice: Option<PathBuf>,
    /// Where everything found goes, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// This program makes the load too, in processes of their own inside the namespaces.
#[derive(Subcommand)]
enum Load {
    /// Make load, or swallow it.
    Load {
        #[command(subcommand)]
        verb: command::Verb,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Some(Load::Load { verb }) = cli.load {
        return verb.run();
    }
    let own = env::current_exe().context("where this program lies")?;
    let mut ways = cli.ways;
    let mut peer = |name: &str, takes_part: fn(&Way) -> bool| {
        let found = installed(name);
        if found.is_none() && ways.iter().any(takes_part) {
            eprintln!("{name} is not installed: left out");
            ways.retain(|way| !takes_part(way));
        }
        found.unwrap_or_default()
    };
    let haproxy = peer("haproxy", |way| {
        matches!(way, Way::Haproxy | Way::HaproxyIntercept)
    });
    let tinyproxy = peer("tinyproxy", |way| *way == Way::Tinyproxy);
    let squid = peer("squid", |way| *way == Way::SquidProxy);
    let programs = Programs {
        sluice: cli
            .sluice
            .or_else(|| env::var_os("SLUICE_BIN").map(PathBuf::from))
            .unwrap_or_else(|| own.with_file_name("sluice")),
        lab: own,
        haproxy,
        tinyproxy,
        squid,
    };
    if ways
        .iter()
        .any(|way| matches!(way, Way::Sluice | Way::Passed | Way::Intercept | Way::Proxy))
        && !programs.sluice.exists()
    {
        bail!(
            "{} is missing: cargo build --release -p sluice-gateway, or name one by --sluice",
            programs.sluice.display()
        );
    }
    let comparison = Comparison {
        ways,
        cases: cli.cases,
        rounds: cli.rounds,
        repeats: cli.repeats,
        seconds: cli.seconds,
        limits: Limits {
            foreign: cli.foreign,
            busy: cli.busy,
        },
    };
    let (runs, live) = comparison.run(&programs)?;
    let report = Report::new(&comparison, runs, live);
    if let Some(path) = cli.json {
        fs::write(&path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| path.display().to_string())?;
    }
    print!("{}", report.markdown());
    Ok(())
}
