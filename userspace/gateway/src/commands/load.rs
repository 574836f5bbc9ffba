//! `sluice load`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use sluice_steer::{Attached, LinkType, Status, Steering};

use crate::{config::Config, kernel_state};

/// Arguments of `sluice load`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration.
    #[arg(long)]
    config: PathBuf,
}

/// Closes the gate without a daemon: loads, pins and attaches the kernel programs, writes the
/// policy, sets routes and rules. What is there already is adopted.
///
/// # Errors
///
/// The configuration has mistakes, a daemon runs, or the kernel refused a step.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config } = args;
    let config = Config::load(&config)?;
    let options = kernel_state::start_options(&config)?;
    let attached = kernel_state::block_on(Steering::load_only(&options))??;
    let status = sluice_steer::status(&options.bpffs_dir)?;
    io::stdout()
        .lock()
        .write_all(report(&attached, &status).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn report(attached: &[Attached], status: &Status) -> String {
    let mut text = format!("closed: generation {} is in force\n", status.generation);
    if attached.is_empty() {
        text.push_str(
            "  no device matches [gateway] lan: nothing is judged, and without a daemon nothing \
             will be\n",
        );
    }
    for Attached {
        device, link_type, ..
    } in attached
    {
        let kind = match link_type {
            LinkType::Ethernet => "Ethernet",
            LinkType::L3 => "bare IP",
        };
        text.push_str(&format!("  {device} ({kind}): both hooks attached\n"));
    }
    text.push_str(if status.fail_open {
        "steered ports are forwarded natively until `sluice run` (on_failure = \"open\")\n"
    } else {
        "steered ports are refused until `sluice run` (on_failure = \"closed\")\n"
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_steer::{Counters, FlowFill};

    #[test]
    fn the_report_says_what_holds_until_the_daemon_comes() {
        let status = |fail_open| Status {
            abi: 1,
            generation: 4,
            heartbeat_age_ns: None,
            heartbeat_limit_ns: 1,
            fail_open,
            devices: Vec::new(),
            flows: FlowFill::default(),
            counters: Counters::default(),
        };
        let wg0 = Attached {
            device: "wg0".to_owned(),
            index: 3,
            link_type: LinkType::L3,
        };
        let text = report(&[wg0], &status(false));
        assert!(
            text.contains("generation 4") && text.contains("wg0 (bare IP)"),
            "{text}"
        );
        assert!(text.ends_with("are refused until `sluice run` (on_failure = \"closed\")\n"));
        let text = report(&[], &status(true));
        assert!(
            text.contains("no device matches") && text.contains("forwarded natively"),
            "{text}"
        );
    }
}
