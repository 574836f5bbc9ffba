//! One file per subcommand.

pub mod ca;
pub mod check;
pub mod completions;
pub mod decrypts;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod flows;
pub mod identity;
pub mod load;
pub mod log_level;
pub mod man;
mod pipe;
pub mod rejected;
pub mod replay;
pub mod run;
mod screen;
pub mod status;
pub mod suggest;
pub mod support;
pub mod top;
pub mod unload;
pub mod whois;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Linux egress gateway: decides per user what may leave, without decrypting what it need not.
#[derive(Parser)]
#[command(
    name = "sluice",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// What `sluice` can be told to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the gateway: close the gate, then serve until SIGTERM.
    Run(run::Args),
    /// Close the gate without a daemon: load and pin the kernel programs and their policy.
    Load(load::Args),
    /// Open the gate: remove programs, maps, routes and rules.
    Unload(unload::Args),
    /// Validate a configuration and print the policy that it makes.
    Check(check::Args),
    /// Look for what would keep sluice from working on this machine, and name the cure.
    Doctor(doctor::Args),
    /// Show what is loaded, what it counts, and which clients refused the CA.
    Status(status::Args),
    /// Watch what the gateway does right now: rates, reasons, rules, latencies, packets.
    Top(top::Args),
    /// Show access records as they come: who asked for what, and what became of it.
    Flows(Box<flows::Args>),
    /// Show which clients refused the CA, or forget them.
    Rejected(rejected::Args),
    /// Propose a rule for software that refuses the CA.
    Suggest(suggest::Args),
    /// Show who is behind an address, in which groups, and why that is believed.
    Whois(whois::Args),
    /// Tell the daemon who has an address for a time, or have it forget that.
    Identity(identity::Args),
    /// Show what a policy would have done with the packets of a capture.
    Replay(replay::Args),
    /// Show what a policy says of a flow that you describe, stage by stage and rule by rule.
    Explain(Box<explain::Args>),
    /// Show what a change of the configuration does: to the rules, and to flows.
    Diff(diff::Args),
    /// Show which rules could ever have a server's flows decrypted.
    Decrypts(decrypts::Args),
    /// Make, show, export, import or rotate the CA that signs for origins.
    Ca(Box<ca::Args>),
    /// Show what the daemon logs about itself, or change it while it runs.
    LogLevel(log_level::Args),
    /// Pack what those need who help you, without secrets.
    Support(support::Args),
    /// Print the completions of a shell.
    Completions(completions::Args),
    /// Print the manual, or write a page for every command.
    Man(man::Args),
}

impl Command {
    /// Carries the command out.
    ///
    /// # Errors
    ///
    /// Whatever kept it from being done, for people to read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(args) => run::run(args),
            Self::Load(args) => load::run(args),
            Self::Unload(args) => unload::run(args),
            Self::Check(args) => check::run(args),
            Self::Doctor(args) => doctor::run(args),
            Self::Status(args) => status::run(args),
            Self::Top(args) => top::run(args),
            Self::Flows(args) => flows::run(*args),
            Self::Rejected(args) => rejected::run(args),
            Self::Suggest(args) => suggest::run(args),
            Self::Whois(args) => whois::run(args),
            Self::Identity(args) => identity::run(args),
            Self::Replay(args) => replay::run(args),
            Self::Explain(args) => explain::run(*args),
            Self::Diff(args) => diff::run(args),
            Self::Decrypts(args) => decrypts::run(args),
            Self::Ca(args) => ca::run(*args),
            Self::LogLevel(args) => log_level::run(args),
            Self::Support(args) => support::run(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Man(args) => man::run(args),
        }
    }
}
