//! What work costs: processor time and memory, read from `/proc`.
//!
//! The kernel here accounts softirqs to whichever process they interrupt, so that forwarding shows
//! in no process of its own; only the whole machine's time is complete. What other processes use
//! meanwhile is reported apart, since it makes a measurement worthless.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

/// The unit of times in `/proc` in seconds (`USER_HZ` is 100 on every supported architecture).
const TICK: f64 = 0.01;

/// A process that is part of a measurement.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What it is called in results.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

impl std::str::FromStr for Watched {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, pid) = text
            .split_once('=')
            .ok_or_else(|| anyhow!("expected NAME=PID"))?;
        Ok(Self {
            name: name.to_owned(),
            pid: pid.parse().context("the process id")?,
        })
    }
}

/// The state of the counters at one moment.
#[derive(Clone, Debug)]
pub struct Moment {
    busy: f64,
    idle: f64,
    kernel_threads: f64,
    watched: Vec<f64>,
}

impl Moment {
    /// Reads the counters now.
    ///
    /// # Errors
    ///
    /// A watched process has ended, or `/proc` is not readable.
    pub fn now(watched: &[Watched]) -> Result<Self> {
        let (busy, idle) = machine()?;
        Ok(Self {
            busy,
            idle,
            kernel_threads: kernel_threads()?,
            watched: watched
                .iter()
                .map(|process| cpu_seconds(process.pid))
                .collect::<Result<_>>()?,
        })
    }

    /// What was used from this moment to a later one.
    #[must_use]
    pub fn until(&self, later: &Self, watched: &[Watched]) -> Cpu {
        let busy = later.busy - self.busy;
        let all = busy + later.idle - self.idle;
        let processes: Vec<Used> = watched
            .iter()
            .zip(self.watched.iter().zip(&later.watched))
            .map(|(process, (from, to))| Used {
                name: process.name.clone(),
                seconds: to - from,
            })
            .collect();
        let own: f64 = processes.iter().map(|process| process.seconds).sum();
        let kernel = later.kernel_threads - self.kernel_threads;
        let share = |part: f64| if all > 0.0 { part / all } else { 0.0 };
        Cpu {
            busy_seconds: busy,
            own_seconds: busy.min(own + kernel),
            busy_share: share(busy),
            foreign_share: share((busy - own - kernel).max(0.0)),
            processes,
        }
    }
}

/// Processor time used in an interval.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Cpu {
    /// Of the whole machine, all cores together, whoever used it.
    pub busy_seconds: f64,
    /// The part of it that the watched processes and kernel threads used.
    pub own_seconds: f64,
    /// All of it as a share of what the cores could have given, 0 to 1.
    pub busy_share: f64,
    /// The share used by neither the watched processes nor kernel threads, 0 to 1.
    pub foreign_share: f64,
    /// Of each watched process, in the order they were named.
    pub processes: Vec<Used>,
}

impl Cpu {
    /// Seconds that the watched processes of a name used together.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<f64> {
        let mine = self
            .processes
            .iter()
            .filter(|process| process.name == name)
            .map(|process| process.seconds);
        mine.reduce(|sum, seconds| sum + seconds)
    }
}

/// Processor time of one process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Used {
    /// As in [`Watched`].
    pub name: String,
    /// User and system time together.
    pub seconds: f64,
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Held {
    /// Resident memory in bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub descriptors: u64,
}

/// What a process holds now.
///
/// # Errors
///
/// The process has ended.
pub fn held(pid: u32) -> Result<Held> {
    let status = read(format!("/proc/{pid}/status"))?;
    let resident: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse().ok())
        .ok_or_else(|| anyhow!("no VmRSS for process {pid}"))?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .with_context(|| format!("descriptors of process {pid}"))?
        .count();
    Ok(Held {
        resident: resident * 1024,
        descriptors: descriptors as u64,
    })
}

/// A process and all that come from it, itself first (`/proc/PID/task/TID/children`, proc(5)).
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(parent) = all.get(at) {
        // Whoever has ended has no children any more.
        let threads = fs::read_dir(format!("/proc/{parent}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        at += 1;
    }
    all
}

/// How many cores the machine has.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Busy and idle seconds of all cores since the machine started.
fn machine() -> Result<(f64, f64)> {
    let stat = read("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let &[user, nice, system, idle, wait, irq, softirq, ..] = ticks.as_slice() else {
        return Err(anyhow!("unexpected first line of /proc/stat: {line:?}"));
    };
    let busy = user + nice + system + irq + softirq;
    Ok((busy * TICK, (idle + wait) * TICK))
}

/// The fields of a `stat` file behind the command's name, which may hold anything.
fn fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')')
        .map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect())
}

fn ticks(stat: &str) -> Option<f64> {
    let fields = fields(stat);
    let user: f64 = fields.get(11)?.parse().ok()?;
    let system: f64 = fields.get(12)?.parse().ok()?;
    Some((user + system) * TICK)
}

fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = read(format!("/proc/{pid}/stat"))?;
    ticks(&stat).ok_or_else(|| anyhow!("unexpected /proc/{pid}/stat: {stat:?}"))
}

/// Seconds used by the children of `kthreadd`, which is process 2.
fn kernel_threads() -> Result<f64> {
    let mut seconds = 0.0;
    for entry in fs::read_dir("/proc").context("/proc")? {
        let entry = entry.context("/proc")?;
        let name = entry.file_name();
        if !name
            .as_encoded_bytes()
            .first()
            .is_some_and(u8::is_ascii_digit)
        {
            continue;
        }
        // Processes end while we read.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if fields(&stat).get(1) == Some(&"2") {
            seconds += ticks(&stat).unwrap_or(0.0);
        }
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    #[test]
    fn a_name_may_hold_parentheses() {
        let stat = "42 (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0";
        assert_eq!(ticks(stat), Some(3.0));
    }

    #[test]
    fn children_belong_to_the_family() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let family = family(own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(family[0], own);
        assert!(family[1..].contains(&child.id()));
    }

    #[test]
    fn processes_of_one_name_are_added() {
        let used = |name: &str, seconds| Used {
            name: name.to_owned(),
            seconds,
        };
        let cpu = Cpu {
            busy_seconds: 1.0,
            own_seconds: 1.0,
            busy_share: 1.0,
            foreign_share: 0.0,
            processes: vec![
                used("gateway", 0.5),
                used("sink", 2.0),
                used("gateway", 0.25),
            ],
        };
        assert_eq!(cpu.of("gateway"), Some(0.75));
        assert_eq!(cpu.of("nobody"), None);
    }

    #[test]
    fn our_own_work_is_not_foreign() {
        let own = [Watched {
            name: "own".into(),
            pid: std::process::id(),
        }];
        let from = Moment::now(&own).unwrap();
        let worked = || {
            let clock = clock_gettime(ClockId::ProcessCPUTime);
            clock.tv_sec * 1000 + clock.tv_nsec / 1_000_000
        };
        let (start, mut count) = (worked(), 0u64);
        // By its own clock: others may keep it from working.
        while worked() < start + 200 {
            count = std::hint::black_box(count + 1);
        }
        let used = from.until(&Moment::now(&own).unwrap(), &own);
        assert!(used.of("own").unwrap() > 0.05);
        assert!(used.busy_seconds > 0.0);
        assert!(used.of("nobody").is_none());
    }
}
