//! The status for people.

use sluice_steer::{Counter, Status};

use super::{
    daemon::Daemon,
    facts::Facts,
    health::{Health, State},
};
use crate::{
    commands::{pipe::safe, rejected},
    daemon::{
        admin::{Logged, Remembered},
        records::SinkStatus,
    },
};

/// Counters that are shown; JSON has them all.
const SHOWN: usize = 12;

/// Refusals of the CA that are shown; JSON has them all.
const REFUSALS: usize = 3;

/// Lines of a key and a value.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, key: &str, value: impl AsRef<str>) {
        self.0
            .push_str(&format!("{key:<12}{}\n", safe(value.as_ref())));
    }
}

pub(super) fn text(facts: &Facts, health: &Health) -> String {
    let mut lines = Lines::default();
    lines.add("state", health.state.name());
    if health.state != State::Healthy {
        health.faults.iter().for_each(|fault| lines.add("", fault));
    }
    if let Ok(status) = &facts.kernel {
        kernel(status, &mut lines);
    }
    if let Ok(daemon) = &facts.daemon {
        process(daemon, &mut lines);
    }
    match &facts.ca {
        None => {}
        Some(Ok(ca)) => lines.add(
            "ca",
            format!("\"{}\": {}", ca.subject, left(ca.days_left(facts.now))),
        ),
        Some(Err(_)) => lines.add("ca", "cannot be read"),
    }
    remembered(facts, &mut lines);
    records(facts, &mut lines);
    if let Ok(status) = &facts.kernel {
        let events = status.counters.events;
        lines.add(
            "events",
            format!(
                "{} sent, {} sampled out, {} lost",
                events.sent, events.sampled, events.lost
            ),
        );
        counters(status, &mut lines.0);
    }
    lines.0
}

fn left(days: i64) -> String {
    match days {
        ..0 => "over".into(),
        days => format!("{days} days left"),
    }
}

fn kernel(status: &Status, lines: &mut Lines) {
    lines.add(
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
    lines.add(
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
        lines.add("devices", "none: nothing is judged");
    }
    for device in &status.devices {
        let state = match (device.ingress, device.egress) {
            (true, true) => "attached",
            (true, false) => "attached towards the gateway only",
            (false, true) => "attached towards the LAN only",
            (false, false) => "not attached (another network namespace, or gone)",
        };
        lines.add("device", format!("{}: {state}", device.name));
    }
    let flows = status.flows;
    lines.add(
        "flows",
        format!(
            "{} established, {} embryonic",
            flows.established, flows.embryonic
        ),
    );
}

fn process(daemon: &Daemon, lines: &mut Lines) {
    lines.add(
        "process",
        format!(
            "version {}, up {}, {} flows now",
            daemon.version,
            span(daemon.uptime_seconds),
            daemon.active_flows
        ),
    );
    for (verdict, flows) in &daemon.flows {
        lines.add(
            "verdict",
            format!(
                "{verdict}: {:.1} flows/s, {} in all",
                flows.per_second, flows.total
            ),
        );
    }
    let reload = &daemon.reload;
    let result = if reload.successful {
        "taken"
    } else {
        "refused, the one before goes on"
    };
    lines.add(
        "reload",
        format!(
            "last {result}; in force for {} ({} taken, {} refused)",
            span(reload.age_seconds),
            reload.taken,
            reload.refused
        ),
    );
    let slowest = daemon.workers.iter().map(|worker| worker.turn_age_seconds);
    let slowest = slowest.fold(0.0, f64::max);
    lines.add(
        "workers",
        format!(
            "{}, each had a turn within {slowest:.0} s",
            daemon.workers.len()
        ),
    );
    for provider in &daemon.providers {
        let state = if provider.down { "down" } else { "up" };
        let outcomes = provider.outcomes.iter();
        let outcomes: Vec<_> = outcomes
            .map(|(outcome, count)| format!("{count} {outcome}"))
            .collect();
        lines.add(
            "provider",
            format!("{}: {state}, {}", provider.provider, outcomes.join(", ")),
        );
    }
}

/// A time in its two largest units.
pub(in crate::commands) fn span(seconds: f64) -> String {
    let seconds = super::daemon::count(seconds);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn remembered(facts: &Facts, lines: &mut Lines) {
    match &facts.rejected {
        Ok(Remembered { refusals, .. }) if refusals.is_empty() => {
            lines.add("rejected", "no client refused the CA");
        }
        Ok(Remembered { refusals, .. }) => {
            let count = refusals.len();
            lines.add("rejected", format!("{count} remembered, the latest first"));
            let latest = refusals.iter().take(REFUSALS);
            latest.for_each(|one| lines.add("", rejected::line(one)));
            if let Some(more @ 1..) = refusals.len().checked_sub(REFUSALS) {
                lines.add(
                    "",
                    format!("and {more} more: `sluice rejected` has them all"),
                );
            }
        }
        Err(why) => lines.add("rejected", format!("not known: {why}")),
    }
}

fn records(facts: &Facts, lines: &mut Lines) {
    match &facts.log {
        Ok(Logged { sinks, .. }) if sinks.is_empty() => lines.add("records", "go nowhere"),
        Ok(Logged { sinks, refuses, .. }) => {
            for one in sinks {
                lines.add("records", sink(one));
            }
            if *refuses {
                lines.add("", "new flows are refused until they can be written");
            }
        }
        Err(why) => lines.add("records", format!("not known: {why}")),
    }
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
