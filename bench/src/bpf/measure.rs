//! The rounds of the kernel programs' comparison.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serde::Serialize;
use sluice_abi::Hook;
use sluice_steer::TestBench;

use super::{
    cases::{self, Case, Mode},
    empty::Empty,
};
use crate::stats::Summary;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds.
    pub rounds: usize,
    /// Runs of each packet in a round.
    pub repeat: u32,
    /// First packets in a round, at most 50,000.
    pub first: u16,
}

/// What a packet costs.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Nanoseconds over an empty program.
    pub over_empty: Summary,
    /// Nanoseconds of the empty program itself.
    pub empty: Summary,
}

fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

#[derive(Default)]
struct Figures {
    over: Vec<f64>,
    empty: Vec<f64>,
}

impl Figures {
    fn add(&mut self, full: f64, empty: f64) {
        self.over.push(full - empty);
        self.empty.push(empty);
    }
}

/// Measures every packet.
///
/// # Errors
///
/// Not root, the kernel refuses something, or a packet comes to something else than was meant.
pub fn run(plan: &Plan) -> Result<Vec<Line>> {
    let empty = Empty::load()?;
    let mut programs = Programs {
        live: cases::programs(Mode::Live)?,
        judged: cases::programs(Mode::Judged)?,
    };
    let repeated = cases::repeated()?;
    for case in &repeated {
        cases::verify(&mut programs.judged, case)?;
    }
    let mut order = Vec::new();
    let mut figures: BTreeMap<String, Figures> = BTreeMap::new();
    for round in 0..plan.rounds {
        for case in &repeated {
            let idle = nanoseconds(empty.run(&case.frame, plan.repeat)?);
            let full = nanoseconds(programs.repeat(case, plan.repeat)?);
            note(&mut order, &case.name);
            figures
                .entry(case.name.clone())
                .or_default()
                .add(full, idle);
        }
        for (name, frames) in cases::first_packets(round, plan.first)? {
            // Each run is a call of its own here, so the empty program's are too.
            let (mut full, mut idle) = (Vec::new(), Vec::new());
            for frame in &frames {
                idle.push(nanoseconds(empty.run(frame, 1)?));
                let run = programs.live.run_raw(Hook::LanIngress, frame, 0, 1)?;
                full.push(nanoseconds(run.duration));
            }
            note(&mut order, &name);
            if let (Some(full), Some(idle)) = (Summary::of(full), Summary::of(idle)) {
                figures
                    .entry(name)
                    .or_default()
                    .add(full.median, idle.median);
            }
        }
    }
    Ok(order
        .into_iter()
        .filter_map(|name| {
            let figures = figures.remove(&name)?;
            Some(Line {
                over_empty: Summary::of(figures.over)?,
                empty: Summary::of(figures.empty)?,
                name,
            })
        })
        .collect())
}

fn note(order: &mut Vec<String>, name: &str) {
    if !order.iter().any(|known| known == name) {
        order.push(name.to_owned());
    }
}

struct Programs {
    live: TestBench,
    judged: TestBench,
}

impl Programs {
    fn repeat(&mut self, case: &Case, repeat: u32) -> Result<Duration> {
        let programs = match case.mode {
            Mode::Live => &mut self.live,
            Mode::Judged => &mut self.judged,
        };
        for (hook, frame) in &case.before {
            programs.run_raw(*hook, frame, 0, 1)?;
        }
        let run = programs.run_raw(case.hook, &case.frame, 0, repeat)?;
        Ok(run.duration)
    }
}
