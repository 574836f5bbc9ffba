//! Stands the lab up for people: the demo, and a lab to play in.
//!
//! `cargo xtask demo` and `cargo xtask lab` build this and what it runs, and call it.

mod attempt;
mod demo;
mod dns;
mod proxy;
mod serve;
mod table;
mod world;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use rustix::process::{Signal, set_parent_process_death_signal};
use sluice_tests::{janitor, netns::Netns};

#[derive(Parser)]
#[command(
    name = "sluice-lab",
    about = "Clients, a gateway that runs sluice, and an internet."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Try what a Skype-like client and ordinary clients try, and tell what happened
    Demo {
        /// Leave everything running
        #[arg(long)]
        keep: bool,
    },
    /// Bring a lab up and leave it running
    Up,
    /// Take down every lab that was left running
    Down,
    /// Open a shell in a lab that is up
    Shell {
        /// In which of its namespaces
        place: Place,
    },
    /// Answer for the internet, and for the gateway's name server
    #[command(hide = true)]
    Serve {
        /// The gateway's namespace
        #[arg(long)]
        gateway: String,
        /// The namespace of the internet
        #[arg(long)]
        internet: String,
        /// Where the authority's certificate is to be put once all servers stand
        #[arg(long)]
        certificate: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Place {
    Client,
    Gateway,
    Internet,
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sluice-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Demo { keep } => {
            // Whoever started this may be killed alone; the lab must not outlive it.
            set_parent_process_death_signal(Some(Signal::TERM)).context("tying to the parent")?;
            demo::run(keep)
        }
        Verb::Up => {
            let world = world::World::build()?;
            world.explain();
            world.keep();
            Ok(ExitCode::SUCCESS)
        }
        Verb::Down => {
            let count = janitor::remove_kept().context("reading what was kept")?;
            println!("{count} taken down");
            Ok(ExitCode::SUCCESS)
        }
        Verb::Shell { place } => shell(place),
        Verb::Serve {
            gateway,
            internet,
            certificate,
        } => serve::run(
            &Netns::existing(&gateway),
            &Netns::existing(&internet),
            &certificate,
        ),
    }
}

fn shell(place: Place) -> Result<ExitCode> {
    let end = match place {
        Place::Client => "-client",
        Place::Gateway => "-gateway",
        Place::Internet => "-internet",
    };
    let names = janitor::kept_namespaces();
    let name = names.iter().rfind(|name| name.ends_with(end));
    let name = name.context("no lab is up: `cargo xtask lab up`, or `cargo xtask demo --keep`")?;
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    println!("{shell} in {name}; leave it with `exit`");
    let status = Netns::existing(name)
        .start(&mut std::process::Command::new(shell))
        .wait()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
