//! The rounds.

use std::io::Write as _;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    live::{self, Cost},
    net::Janitor,
    plan::{Case, Limits, Way},
    way::{Programs, Stand},
};
use crate::load::result::Outcome;

/// What to compare.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Ways, in the order of the tables.
    pub ways: Vec<Way>,
    /// Kinds of load.
    pub cases: Vec<Case>,
    /// How many rounds of each case must count.
    pub rounds: usize,
    /// How many void rounds of each case are repeated.
    pub repeats: usize,
    /// Length of one measurement in seconds.
    pub seconds: f64,
    /// When a round counts.
    pub limits: Limits,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Counted from 1 for each case, void rounds among them.
    pub round: usize,
    /// What was measured.
    pub case: Case,
    /// On which way.
    pub way: Way,
    /// What came out.
    pub outcome: Outcome,
    /// Why it does not count.
    pub objection: Option<String>,
}

impl Comparison {
    /// Measures everything, and what the attached programs cost where both ways over them are
    /// wanted. Of a void round every run is kept, and none counts.
    ///
    /// # Errors
    ///
    /// A gateway does not come up, or the load tool fails twice in the same place.
    pub fn run(&self, programs: &Programs) -> Result<(Vec<Run>, Vec<Cost>)> {
        let mut janitor = Janitor::new()?;
        let mut stands: Vec<Stand> = Vec::new();
        for way in &self.ways {
            if !stands.iter().any(|stand| stand.serves(*way)) {
                let stand = Stand::new(*way, programs, &mut janitor)
                    .with_context(|| format!("setting up {way}"))?;
                stands.push(stand);
            }
        }
        let mut runs = Vec::new();
        let mut left: Vec<(Case, usize, usize)> = self
            .cases
            .iter()
            .map(|case| (*case, self.rounds, self.repeats))
            .collect();
        let mut round = 0;
        while left.iter().any(|(_, wanted, _)| *wanted > 0) {
            round += 1;
            for (case, wanted, repeats) in &mut left {
                if *wanted == 0 {
                    continue;
                }
                let found = self.round(&mut stands, *case, round)?;
                let counts = found.iter().all(|run| run.objection.is_none());
                if counts || *repeats == 0 {
                    *wanted -= 1;
                } else {
                    *repeats -= 1;
                }
                runs.extend(found);
            }
        }
        let both = [Way::Sluice, Way::Passed];
        let costs = match stands.iter_mut().find(|stand| stand.serves(Way::Sluice)) {
            Some(stand) if both.iter().all(|way| self.ways.contains(way)) => {
                live::measure(stand, self.rounds, self.seconds)
                    .context("timing the attached programs")?
            }
            _ => Vec::new(),
        };
        // Gateways unload while their namespaces still stand.
        drop(stands);
        Ok((runs, costs))
    }

    fn round(&self, stands: &mut [Stand], case: Case, round: usize) -> Result<Vec<Run>> {
        let mut ways: Vec<Way> = self
            .ways
            .iter()
            .copied()
            .filter(|way| case.fits(*way))
            .collect();
        // Whoever comes first finds other caches than the rest: each way comes first in turn.
        if !ways.is_empty() {
            let first = round % ways.len();
            ways.rotate_left(first);
        }
        let mut found = Vec::new();
        for way in ways {
            let stand = stands
                .iter_mut()
                .find(|stand| stand.serves(way))
                .context("every way has a stand")?;
            let outcome = stand
                .measure(way, case, self.seconds)
                .or_else(|first| {
                    eprintln!("{case} {way}, once more: {first:#}");
                    stand.restart()?;
                    stand.measure(way, case, self.seconds)
                })
                .with_context(|| format!("{case} {way}"))?;
            let objection = self.limits.objection(way, &outcome);
            note(round, case, way, &outcome, objection.as_deref());
            found.push(Run {
                round,
                case,
                way,
                outcome,
                objection,
            });
        }
        Ok(found)
    }
}

fn note(round: usize, case: Case, way: Way, outcome: &Outcome, objection: Option<&str>) {
    let figure = match outcome {
        Outcome::Bulk(bulk) => format!("{:.1} Gb/s", bulk.gbit_per_second),
        Outcome::Short(short) => format!("{:.0} flows/s", short.flows_per_second),
        Outcome::Setup(setup) => format!("{:.0} us", setup.p50_us),
        Outcome::Idle(idle) => format!("{} flows held", idle.flows),
    };
    let void = objection.map_or(String::new(), |why| format!(", void: {why}"));
    // Progress for whoever watches; a closed stderr is no reason to stop.
    drop(writeln!(
        std::io::stderr(),
        "round {round} {case} {way}: {figure}{void}"
    ));
}
