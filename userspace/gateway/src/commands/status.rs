//! `sluice status`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use serde_json::{Value, json};
use sluice_steer::{Counter, Status, status};

use super::{providers, rejected};
use crate::{
    ask::{self, AskError},
    daemon::{
        admin::{Logged, Remembered},
        records::SinkStatus,
    },
    kernel_state,
};

/// Arguments of `sluice status`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration whose pins and daemon are meant; without it the default ones.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The directory of pins, in place of the configured one.
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// Print one JSON object, with every counter.
    #[arg(long)]
    json: bool,
}

/// Counters that are shown to people; JSON has them all.
const SHOWN: usize = 12;

/// Refusals of the CA that are shown to people; JSON has them all.
const REFUSALS: usize = 3;

/// What the daemon says of clients that refused the CA.
type Rejected = Result<Remembered, AskError>;

/// What the daemon says of the sinks of access records.
type Log = Result<Logged, AskError>;

/// Shows what is loaded, what it counts, and what the daemon remembers.
///
/// # Errors
///
/// Nothing is loaded, another version loaded it, or the process may not look.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        bpffs,
        json,
    } = args;
    let config = kernel_state::config_or_default(config.as_deref())?;
    let status = status(bpffs.as_ref().unwrap_or(&config.gateway.bpffs_dir))?;
    let rejected = ask::rejected(&config.admin.listen);
    let log = ask::log(&config.admin.listen);
    let providers = ask::providers(&config.admin.listen);
    let text = if json {
        let mut whole = machine(&status, &rejected, &log);
        whole["providers"] = providers::machine(&providers);
        format!("{whole}\n")
    } else {
        human(&status, &rejected, &log) + &providers::human(&providers)
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn machine(status: &Status, rejected: &Rejected, log: &Log) -> Value {
    let counters = status.counters.packets.iter().map(|counter| {
        let Counter {
            hook,
            verdict,
            reason,
            packets,
            bytes,
        } = counter;
        json!({
            "hook": hook.name(), "verdict": verdict.name(), "reason": reason.name(),
            "packets": packets, "bytes": bytes,
        })
    });
    let devices = status.devices.iter().map(
        |device| json!({ "name": device.name, "ingress": device.ingress, "egress": device.egress }),
    );
    let events = status.counters.events;
    json!({
        "abi": status.abi,
        "generation": status.generation,
        "daemon": status.is_daemon_alive(),
        "heartbeat_age_seconds": status.heartbeat_age_ns.map(|age| age as f64 / 1e9),
        "on_failure": on_failure(status),
        "devices": devices.collect::<Vec<_>>(),
        "flows": {
            "established": status.flows.established,
            "embryonic": status.flows.embryonic,
        },
        "rejected": match rejected {
            Ok(remembered) => json!(remembered),
            Err(why) => json!({ "error": why.to_string() }),
        },
        "records": match log {
            Ok(log) => json!(log),
            Err(why) => json!({ "error": why.to_string() }),
        },
        "events": { "sent": events.sent, "sampled": events.sampled, "lost": events.lost },
        "counters": counters.collect::<Vec<_>>(),
    })
}

const fn on_failure(status: &Status) -> &'static str {
    if status.fail_open { "open" } else { "closed" }
}

fn human(status: &Status, rejected: &Rejected, log: &Log) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| text.push_str(&format!("{key:<12}{value}\n"));
    line(
        "generation",
        match status.generation {
            0 => "none: everything is dropped".to_owned(),
            number => format!("{number} (layout {})", status.abi),
        },
    );
    let steered = if status.fail_open {
        "forwarded natively"
    } else {
        "refused"
    };
    line(
        "daemon",
        match status.heartbeat_age_ns {
            Some(age) if status.is_daemon_alive() => {
                format!("alive, seen {:.1} s ago", age as f64 / 1e9)
            }
            Some(age) => format!(
                "gone for {:.0} s: steered ports are {steered}",
                age as f64 / 1e9
            ),
            None => format!("none: steered ports are {steered}"),
        },
    );
    if status.devices.is_empty() {
        line("devices", "none: nothing is judged".to_owned());
    }
    for device in &status.devices {
        let state = match (device.ingress, device.egress) {
            (true, true) => "attached",
            (true, false) => "attached towards the gateway only",
            (false, true) => "attached towards the LAN only",
            (false, false) => "not attached (another network namespace, or gone)",
        };
        line("device", format!("{}: {state}", device.name));
    }
    let flows = status.flows;
    line(
        "flows",
        format!(
            "{} established, {} embryonic",
            flows.established, flows.embryonic
        ),
    );
    match rejected {
        Ok(Remembered { refusals, .. }) if refusals.is_empty() => {
            line("rejected", "no client refused the CA".to_owned());
        }
        Ok(Remembered { refusals, .. }) => {
            let count = refusals.len();
            line("rejected", format!("{count} remembered, the latest first"));
            let latest = refusals.iter().take(REFUSALS);
            latest.for_each(|one| line("", rejected::line(one)));
            if let Some(more @ 1..) = refusals.len().checked_sub(REFUSALS) {
                line(
                    "",
                    format!("and {more} more: `sluice rejected` has them all"),
                );
            }
        }
        Err(why) => line("rejected", format!("not known: {why}")),
    }
    match log {
        Ok(Logged { sinks, .. }) if sinks.is_empty() => line("records", "go nowhere".to_owned()),
        Ok(Logged { sinks, refuses, .. }) => {
            for one in sinks {
                line("records", sink(one));
            }
            if *refuses {
                line(
                    "",
                    "new flows are refused until they can be written".to_owned(),
                );
            }
        }
        Err(why) => line("records", format!("not known: {why}")),
    }
    let events = status.counters.events;
    line(
        "events",
        format!(
            "{} sent, {} sampled out, {} lost",
            events.sent, events.sampled, events.lost
        ),
    );
    counters(status, &mut text);
    text
}

fn sink(status: &SinkStatus) -> String {
    let SinkStatus {
        sink,
        state,
        written,
        dropped,
        queued_bytes,
        ..
    } = status;
    format!("{sink}: {state}, {written} written, {dropped} lost, {queued_bytes} bytes waiting")
}

fn counters(status: &Status, text: &mut String) {
    let mut counters = status.counters.packets.clone();
    counters.sort_by_key(|counter| std::cmp::Reverse(counter.packets));
    if !counters.is_empty() {
        text.push_str("\n     packets           bytes  hook         verdict  reason\n");
    }
    for Counter {
        hook,
        verdict,
        reason,
        packets,
        bytes,
    } in counters.iter().take(SHOWN)
    {
        text.push_str(&format!(
            "{packets:>12}  {bytes:>14}  {:<11}  {:<7}  {}\n",
            hook.name(),
            verdict.name(),
            reason.name()
        ));
    }
    if let Some(more) = counters.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!(
            "              and {more} more: --json has them all\n"
        ));
    }
}

#[cfg(test)]
mod tests {
    use sluice_abi::{Hook, Reason, Verdict};
    use sluice_steer::{Counters, DeviceStatus, EventStats, FlowFill};

    use super::*;
    use crate::intercept::rejected::Refusal;

    fn loaded() -> Status {
        let counter = |packets| Counter {
            hook: Hook::LanIngress,
            verdict: Verdict::Reject,
            reason: Reason::NotQuic,
            packets,
            bytes: packets * 100,
        };
        Status {
            abi: 1,
            generation: 7,
            heartbeat_age_ns: Some(400_000_000),
            heartbeat_limit_ns: 5_000_000_000,
            fail_open: false,
            devices: vec![DeviceStatus {
                name: "lan0".to_owned(),
                ingress: true,
                egress: true,
            }],
            flows: FlowFill {
                established: 3,
                embryonic: 1,
            },
            counters: Counters {
                packets: (1..=14).map(counter).collect(),
                events: EventStats {
                    sent: 5,
                    sampled: 2,
                    lost: 0,
                },
            },
        }
    }

    fn refused(count: u8) -> Rejected {
        let refusal = |last: u8| Refusal {
            client: format!("10.0.0.{last}"),
            host: Some("pinned.example".to_owned()),
            destination: ([192, 0, 2, 1], 443).into(),
            alert: (last == 1).then(|| "unknown_ca".to_owned()),
            times: last.into(),
            seconds_left: 60 * 60 * u64::from(last),
        };
        Ok(Remembered {
            remembered: count.into(),
            refusals: (1..=count).map(refusal).collect(),
        })
    }

    fn log() -> Log {
        let sink = |name: &str, state: &'static str| SinkStatus {
            sink: name.to_owned(),
            state: state.into(),
            written: 7,
            bytes: 700,
            dropped: 2,
            errors: 1,
            queued_bytes: 4096,
        };
        Ok(Logged {
            lost: 4,
            refuses: true,
            sinks: vec![sink("stdout", "ok"), sink("journald", "failing")],
        })
    }

    #[test]
    fn people_see_how_records_fare() {
        let text = human(&loaded(), &refused(0), &log());
        for part in [
            "records     stdout: ok, 7 written, 2 lost, 4096 bytes waiting\n",
            "records     journald: failing, 7 written, 2 lost, 4096 bytes waiting\n",
            "            new flows are refused until they can be written\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn people_see_the_latest_refusals() {
        let text = human(&loaded(), &refused(5), &log());
        for part in [
            "rejected    5 remembered, the latest first\n",
            "            10.0.0.1 refused pinned.example at 192.0.2.1:443 once, said unknown_ca; \
             remembered for 60 min\n",
            "            10.0.0.3 refused pinned.example at 192.0.2.1:443 3 times, closed without \
             a word; remembered for 3 h\n",
            "            and 2 more: `sluice rejected` has them all\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("10.0.0.4"), "{text}");
        let text = human(&loaded(), &refused(0), &log());
        assert!(text.contains("no client refused the CA"), "{text}");
        let text = human(&loaded(), &Err(AskError::Nowhere), &Err(AskError::Nowhere));
        assert!(
            text.contains("rejected    not known: `listen` in [admin]"),
            "{text}"
        );
    }

    #[test]
    fn people_see_who_lives_and_what_counts_most() {
        let text = human(&loaded(), &refused(0), &log());
        for part in [
            "7 (layout 1)",
            "alive, seen 0.4 s ago",
            "lan0: attached",
            "3 established",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let first = text.lines().find(|line| line.contains("not-quic")).unwrap();
        assert!(first.trim_start().starts_with("14 "), "{first}");
        assert!(
            text.ends_with("and 2 more: --json has them all\n"),
            "{text}"
        );
        let gone = Status {
            heartbeat_age_ns: Some(60_000_000_000),
            ..loaded()
        };
        assert!(
            human(&gone, &refused(0), &log()).contains("gone for 60 s: steered ports are refused")
        );
        let none = Status {
            heartbeat_age_ns: None,
            fail_open: true,
            ..loaded()
        };
        assert!(
            human(&none, &refused(0), &log())
                .contains("none: steered ports are forwarded natively")
        );
    }

    #[test]
    fn machines_see_everything() {
        let value = machine(&loaded(), &refused(5), &log());
        assert_eq!(value["rejected"]["remembered"], 5);
        assert_eq!(value["rejected"]["refusals"][4]["times"], 5);
        assert_eq!(value["generation"], 7);
        assert_eq!(value["records"]["sinks"][1]["state"], "failing");
        assert_eq!(value["daemon"], true);
        assert_eq!(value["on_failure"], "closed");
        assert_eq!(value["counters"].as_array().unwrap().len(), 14);
        assert_eq!(value["counters"][0]["reason"], "not-quic");
        assert_eq!(value["devices"][0]["ingress"], true);
    }
}
