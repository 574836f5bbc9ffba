//! One file per subcommand.

pub mod ca;
pub mod check;
pub mod decrypts;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod identity;
pub mod load;
mod providers;
pub mod rejected;
pub mod replay;
pub mod run;
pub mod status;
pub mod suggest;
pub mod unload;
pub mod whois;

use std::process::ExitCode;

use clap::Subcommand;

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
            Self::Rejected(args) => rejected::run(args),
            Self::Suggest(args) => suggest::run(args),
            Self::Whois(args) => whois::run(args),
            Self::Identity(args) => identity::run(args),
            Self::Replay(args) => replay::run(args),
            Self::Explain(args) => explain::run(*args),
            Self::Diff(args) => diff::run(args),
            Self::Decrypts(args) => decrypts::run(args),
            Self::Ca(args) => ca::run(*args),
        }
    }
}
