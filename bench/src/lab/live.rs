//! What the kernel programs cost a packet while they are attached: with the hand-over to a socket,
//! which a test run cannot do, and without.
//!
//! The kernel times every run itself (`kernel.bpf_stats_enabled`) and tells the totals to whoever
//! holds the program, which is the daemon. Its clock costs some 40 ns of each figure.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    plan::{Case, Way},
    way::Stand,
};
use crate::stats::Summary;

/// Uploads, so that most packets come from the client.
const LOADS: [Case; 2] = [Case::Upload(4), Case::Short(64)];

/// Nanoseconds of a run of the program that sees the client's packets.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// The kind of load.
    pub case: Case,
    /// [`Way::Sluice`]: packets are given to a socket; [`Way::Passed`]: they pass.
    pub way: Way,
    /// Over the rounds.
    pub nanoseconds: Summary,
}

/// Measures both ways in turn.
///
/// # Errors
///
/// The kernel keeps no statistics, the stand has no daemon, or the load tool failed.
pub fn measure(stand: &mut Stand, rounds: usize, seconds: f64) -> Result<Vec<Cost>> {
    let _switch = Switch::on()?;
    let mut found = Vec::new();
    for case in LOADS {
        let (mut steered, mut passed) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            steered.push(once(stand, Way::Sluice, case, seconds)?);
            passed.push(once(stand, Way::Passed, case, seconds)?);
        }
        for (way, figures) in [(Way::Sluice, steered), (Way::Passed, passed)] {
            let summary = Summary::of(figures);
            found.extend(summary.map(|nanoseconds| Cost {
                case,
                way,
                nanoseconds,
            }));
        }
    }
    Ok(found)
}

#[expect(clippy::cast_precision_loss, reason = "totals of seconds")]
fn once(stand: &mut Stand, way: Way, case: Case, seconds: f64) -> Result<f64> {
    let daemon = stand.gateway().context("no daemon holds the programs")?;
    let before = totals(daemon)?;
    stand.measure(way, case, seconds)?;
    let after = totals(daemon)?;
    // Of the two programs, the client's packets are seen by the one that the daemon loaded first.
    let program = after
        .iter()
        .zip(&before)
        .map(|(after, before)| (after.runs - before.runs, after.time - before.time))
        .next();
    let (runs, time) = program.context("the daemon holds no program")?;
    Ok(time as f64 / (runs as f64).max(1.0))
}

struct Total {
    id: u64,
    runs: u64,
    time: u64,
}

/// Totals of a process's programs, the oldest first (`bpf_prog_show_fdinfo` in
/// <https://github.com/torvalds/linux/blob/v6.6/kernel/bpf/syscall.c#L2211>).
fn totals(pid: u32) -> Result<Vec<Total>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // Descriptors come and go while we read.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().parse().ok()
        };
        if let (Some(id), Some(runs), Some(time)) =
            (field("prog_id"), field("run_cnt"), field("run_time_ns"))
        {
            all.push(Total { id, runs, time });
        }
    }
    all.sort_by_key(|total| total.id);
    all.dedup_by_key(|total| total.id);
    Ok(all)
}

/// The kernel's statistics, on until this goes.
struct Switch {
    before: String,
}

impl Switch {
    const PATH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn on() -> Result<Self> {
        let before = fs::read_to_string(Self::PATH).context(Self::PATH)?;
        fs::write(Self::PATH, "1").context(Self::PATH)?;
        Ok(Self { before })
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::PATH, &self.before) {
            eprintln!("{}: {error}", Self::PATH);
        }
    }
}
