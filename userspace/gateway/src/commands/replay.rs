//! `sluice replay`.

use std::{
    io::{self, Write as _},
    net::IpAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use sluice_policy::Net;

use crate::{
    config::Config,
    replay::{self, Told, Topology},
};

/// The origin's recipe.
const RECIPE: &str = include_str!("../../examples/skype.toml");

/// Arguments of `sluice replay`.
#[derive(clap::Args)]
#[command(
    after_help = "One line a flow, in the order of first packets. The first packet that \
crosses the LAN device decides; a flow that stays on the LAN, or never touches it, shows a dash. Of \
TCP it says what the client sent first, where the capture holds that; of what would be steered to \
the daemon also what would have become of it and by which rule: splice, block, warn (a page), \
intercept (it would be decrypted, or read where it is cleartext HTTP, and each request judged, of \
which a capture tells nothing), probe (that hangs on the origin's certificate, which a handshake of \
sluice's own would tell), undecided (that hangs on an answer that the capture does not hold).\n\n\
Example: sluice replay skype.pcap --lan 192.168.1.0/24 --gateway 192.168.1.1"
)]
pub struct Args {
    /// The capture: pcap or pcapng
    file: PathBuf,
    /// The configuration whose policy is tried [default: the shipped Skype recipe]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    sides: Sides,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Which addresses of a capture stand where.
#[derive(clap::Args)]
pub(super) struct Sides {
    /// Addresses of a capture behind the gateway; repeatable [default: private and unique-local
    /// ranges]
    #[arg(long, value_name = "CIDR")]
    lan: Vec<Net>,
    /// An address of a capture that is the gateway's own; repeatable
    #[arg(long, value_name = "ADDR")]
    gateway: Vec<IpAddr>,
}

impl Sides {
    /// Whether nothing is said of them.
    pub(super) const fn are_unnamed(&self) -> bool {
        self.lan.is_empty() && self.gateway.is_empty()
    }
}

impl From<Sides> for Topology {
    fn from(sides: Sides) -> Self {
        Self {
            lan: if sides.lan.is_empty() {
                Self::private_lan()
            } else {
                sides.lan
            },
            gateway: sides.gateway,
        }
    }
}

/// Runs the command.
///
/// # Errors
///
/// The configuration or the capture cannot be read, or the kernel programs cannot be loaded.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config::parse(RECIPE, "examples/skype.toml")?,
    };
    let flows = replay::replay(&args.file, &config, &args.sides.into())?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    for flow in &flows {
        let line = if args.json {
            serde_json::to_string(&Told::of(flow, None))?
        } else {
            replay::line(flow)
        };
        match writeln!(out, "{line}") {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            result => result.context("writing the flows")?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
