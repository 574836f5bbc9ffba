//! What the rounds amount to: tables for people, JSON for whoever draws them.

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    live::Cost,
    plan::{Case, Way},
    run::{Comparison, Run},
};
use crate::{load::result::Outcome, stats::Summary};

/// What one way made of one case, over the rounds that count.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The kind of load.
    pub case: Case,
    /// The way.
    pub way: Way,
    /// Gb/s, flows/s, microseconds of the median flow, or bytes of memory per flow.
    pub value: Summary,
    /// The value over that of plain forwarding in the same round.
    pub to_direct: Option<Summary>,
    /// The value over that of the best peer in the same round.
    pub to_peer: Option<Summary>,
    /// Processor seconds of the gateway's process: per 10^9 bytes, or per flow.
    pub gateway_cpu: Option<Summary>,
    /// The same of all processes and kernel threads of the comparison.
    pub machine_cpu: Option<Summary>,
    /// Of setup, the microseconds that 99 of 100 flows did not exceed; of idle flows, descriptors
    /// per flow.
    pub second: Option<Summary>,
}

/// Everything found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Kernel, cores and processor.
    pub machine: String,
    /// Seconds of one measurement.
    pub seconds: f64,
    /// Rounds that do not count, and why.
    pub void: Vec<String>,
    /// The tables.
    pub lines: Vec<Line>,
    /// What the attached programs cost.
    pub live: Vec<Cost>,
    /// Every measurement.
    pub runs: Vec<Run>,
}

/// A case in a round.
fn round_of(run: &Run) -> (Case, usize) {
    (run.case, run.round)
}

impl Report {
    /// Sums up the rounds that count; of a case without any, there is no line.
    #[must_use]
    pub fn new(comparison: &Comparison, runs: Vec<Run>, live: Vec<Cost>) -> Self {
        let bad: Vec<(Case, usize)> = runs
            .iter()
            .filter(|run| run.objection.is_some())
            .map(round_of)
            .collect();
        let void = runs
            .iter()
            .filter_map(|run| {
                let why = run.objection.as_ref()?;
                Some(format!(
                    "round {} of {}, {}: {why}",
                    run.round, run.case, run.way
                ))
            })
            .collect();
        let good: Vec<&Run> = runs
            .iter()
            .filter(|run| !bad.contains(&round_of(run)))
            .collect();
        let mut lines = Vec::new();
        for case in &comparison.cases {
            for way in &comparison.ways {
                lines.extend(line(&good, *case, *way));
            }
        }
        Self {
            machine: machine(),
            seconds: comparison.seconds,
            void,
            lines,
            live,
            runs,
        }
    }

    /// The tables in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "Machine: {}; {} s a measurement; median (min..max) of the rounds that count.\n\n",
            self.machine, self.seconds
        );
        text.push_str("| load | way | value | to direct | to the best peer | gateway CPU | machine CPU | rounds |\n");
        text.push_str("|---|---|---|---|---|---|---|---|\n");
        for line in &self.lines {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                line.case,
                line.way,
                value(line),
                line.to_direct.map_or(String::new(), |s| format!("{s:.2}")),
                line.to_peer.map_or(String::new(), |s| format!("{s:.2}")),
                cost(line.case, line.gateway_cpu),
                cost(line.case, line.machine_cpu),
                line.value.count,
            );
        }
        if !self.live.is_empty() {
            text.push_str(
                "\n| attached program, packets from the client | ns a run |\n|---|---|\n",
            );
            for cost in &self.live {
                let end = match cost.way {
                    Way::Sluice => "given to a socket",
                    _ => "passed",
                };
                let nanoseconds = cost.nanoseconds;
                let _ = writeln!(text, "| {}, {end} | {nanoseconds:.0} |", cost.case);
            }
        }
        if !self.void.is_empty() {
            text.push_str("\nVoid:\n\n");
            for why in &self.void {
                let _ = writeln!(text, "- {why}");
            }
        }
        text
    }
}

fn value(line: &Line) -> String {
    let value = line.value;
    match line.case {
        Case::Bulk(_) | Case::Upload(_) | Case::TlsBulk(_) => format!("{value:.1} Gb/s"),
        Case::Short(_) | Case::TlsShort(_) | Case::TlsNames(_) => format!("{value:.0} flows/s"),
        Case::Setup | Case::TlsSetup => {
            let p99 = line.second.map_or(0.0, |second| second.median);
            format!("p50 {value:.0} µs, p99 {p99:.0} µs")
        }
        Case::Idle(_) => {
            let descriptors = line.second.map_or(0.0, |second| second.median);
            format!(
                "{:.1} KiB, {descriptors:.1} descriptors per flow",
                value.scaled(1.0 / 1024.0)
            )
        }
    }
}

fn cost(case: Case, cost: Option<Summary>) -> String {
    let Some(cost) = cost else {
        return String::new();
    };
    match case {
        Case::Bulk(_) | Case::Upload(_) | Case::TlsBulk(_) => format!("{cost:.3} s/GB"),
        _ => format!("{:.0} µs/flow", cost.scaled(1e6)),
    }
}

fn line(good: &[&Run], case: Case, way: Way) -> Option<Line> {
    let mine: Vec<&Run> = good
        .iter()
        .copied()
        .filter(|run| run.case == case && run.way == way)
        .collect();
    let ratio = |others: &[Way]| {
        if others.contains(&way) || matches!(case, Case::Idle(_)) {
            return None;
        }
        Summary::of(mine.iter().filter_map(|run| {
            let same = |peer: &&&Run| round_of(peer) == round_of(run) && others.contains(&peer.way);
            let peers = good.iter().filter(same).map(|peer| figure(peer));
            let best = if case.is_time() {
                peers.reduce(f64::min)
            } else {
                peers.reduce(f64::max)
            };
            Some(figure(run) / best?)
        }))
    };
    Some(Line {
        case,
        way,
        value: Summary::of(mine.iter().map(|run| figure(run)))?,
        to_direct: ratio(&[Way::Direct]),
        to_peer: ratio(way.peers(case)),
        gateway_cpu: Summary::of(mine.iter().filter_map(|run| gateway_cpu(run))),
        machine_cpu: Summary::of(mine.iter().filter_map(|run| machine_cpu(run))),
        second: Summary::of(mine.iter().filter_map(|run| second(run))),
    })
}

fn figure(run: &Run) -> f64 {
    match &run.outcome {
        Outcome::Bulk(bulk) => bulk.gbit_per_second,
        Outcome::Short(short) => short.flows_per_second,
        Outcome::Setup(setup) => setup.p50_us,
        Outcome::Idle(_) => idle(run).map_or(0.0, |(bytes, _)| bytes),
    }
}

fn second(run: &Run) -> Option<f64> {
    match &run.outcome {
        Outcome::Setup(setup) => Some(setup.p99_us),
        Outcome::Idle(_) => idle(run).map(|(_, descriptors)| descriptors),
        _ => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and counts of one measurement"
)]
mod per_unit {
    use super::{Outcome, Run};

    /// Bytes of memory and descriptors that the gateway holds for an idle flow.
    pub(super) fn idle(run: &Run) -> Option<(f64, f64)> {
        let Outcome::Idle(idle) = &run.outcome else {
            return None;
        };
        let flows = idle.flows as f64;
        let gateways = idle.held.iter().filter(|(name, ..)| name == "gateway");
        let each = gateways.map(|(_, before, with)| {
            let bytes = with.resident as f64 - before.resident as f64;
            let descriptors = with.descriptors as f64 - before.descriptors as f64;
            (bytes / flows, descriptors / flows)
        });
        each.reduce(|all, one| (all.0 + one.0, all.1 + one.1))
    }

    /// How many units of work a run did: 10^9 bytes, or flows.
    fn units(run: &Run) -> Option<f64> {
        match &run.outcome {
            Outcome::Bulk(bulk) => Some(bulk.bytes as f64 / 1e9),
            Outcome::Short(short) => Some(short.flows as f64),
            Outcome::Setup(setup) => Some(setup.flows as f64),
            Outcome::Idle(_) => None,
        }
    }

    fn cpu(run: &Run) -> Option<&crate::proc::Cpu> {
        match &run.outcome {
            Outcome::Bulk(bulk) => Some(&bulk.cpu),
            Outcome::Short(short) => Some(&short.cpu),
            Outcome::Setup(setup) => Some(&setup.cpu),
            Outcome::Idle(_) => None,
        }
    }

    pub(super) fn gateway_cpu(run: &Run) -> Option<f64> {
        if run.way == super::Way::Passed {
            return None;
        }
        Some(cpu(run)?.of("gateway")? / units(run)?)
    }

    pub(super) fn machine_cpu(run: &Run) -> Option<f64> {
        Some(cpu(run)?.own_seconds / units(run)?)
    }
}
use per_unit::{gateway_cpu, idle, machine_cpu};

fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    format!(
        "Linux {}, {} cores, {model}",
        read("/proc/sys/kernel/osrelease").trim(),
        crate::proc::cores()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lab::plan::Limits,
        load::result::Bulk,
        proc::{Cpu, Used},
    };

    fn bulk(round: usize, way: Way, gbit_per_second: f64, objection: Option<&str>) -> Run {
        Run {
            round,
            case: Case::Bulk(1),
            way,
            outcome: Outcome::Bulk(Bulk {
                flows: 1,
                seconds: 1.0,
                bytes: 2_000_000_000,
                gbit_per_second,
                failed: 0,
                cpu: Cpu {
                    busy_seconds: 2.0,
                    own_seconds: 2.0,
                    busy_share: 1.0,
                    foreign_share: 0.0,
                    processes: vec![Used {
                        name: "gateway".to_owned(),
                        seconds: 0.5,
                    }],
                },
            }),
            objection: objection.map(str::to_owned),
        }
    }

    #[test]
    fn the_best_peer_of_a_round_is_the_measure() {
        let comparison = Comparison {
            ways: vec![Way::Proxy, Way::Tinyproxy, Way::SquidProxy],
            cases: vec![Case::Bulk(1)],
            rounds: 2,
            repeats: 0,
            seconds: 1.0,
            limits: Limits {
                foreign: 0.05,
                busy: 0.95,
            },
        };
        let report = Report::new(
            &comparison,
            vec![
                bulk(1, Way::Proxy, 10.0, None),
                bulk(1, Way::Tinyproxy, 5.0, None),
                bulk(1, Way::SquidProxy, 4.0, None),
                bulk(2, Way::Proxy, 10.0, None),
                bulk(2, Way::Tinyproxy, 2.0, None),
                bulk(2, Way::SquidProxy, 4.0, None),
            ],
            Vec::new(),
        );
        let ratio = report.lines[0].to_peer.unwrap();
        assert_eq!((ratio.min, ratio.max, ratio.count), (2.0, 2.5, 2));
        let ratio = report.lines[1].to_peer.unwrap();
        assert_eq!((ratio.min, ratio.max), (0.5, 1.25));
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_void_rounds_count_nothing() {
        let comparison = Comparison {
            ways: vec![Way::Direct, Way::Sluice],
            cases: vec![Case::Bulk(1)],
            rounds: 2,
            repeats: 1,
            seconds: 1.0,
            limits: Limits {
                foreign: 0.05,
                busy: 0.95,
            },
        };
        let report = Report::new(
            &comparison,
            vec![
                bulk(1, Way::Direct, 10.0, None),
                bulk(1, Way::Sluice, 9.0, None),
                bulk(2, Way::Direct, 1.0, Some("idle")),
                bulk(2, Way::Sluice, 9.0, None),
                bulk(3, Way::Sluice, 8.0, None),
                bulk(3, Way::Direct, 20.0, None),
            ],
            Vec::new(),
        );
        let line = &report.lines[1];
        let ratio = line.to_direct.unwrap();
        assert_eq!((ratio.min, ratio.max, ratio.count), (0.4, 0.9, 2));
        assert!((line.gateway_cpu.unwrap().median - 0.25).abs() < 1e-9);
        assert!((line.machine_cpu.unwrap().median - 1.0).abs() < 1e-9);
        assert_eq!(report.void.len(), 1);
        assert!(report.markdown().contains("round 2 of bulk1, direct: idle"));
    }
}
