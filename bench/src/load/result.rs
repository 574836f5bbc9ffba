//! What a run of load found: one line of JSON, read by the lab and by people.

use serde::{Deserialize, Serialize};

use crate::proc::{Cpu, Held};

/// One run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Outcome {
    /// Long flows at full speed.
    Bulk(Bulk),
    /// Many short flows at once.
    Short(Short),
    /// One short flow after another.
    Setup(Setup),
    /// Flows that say nothing.
    Idle(Idle),
}

/// Bytes moved.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Bulk {
    /// Flows at once.
    pub flows: usize,
    /// Length of the measured part, without the warm-up.
    pub seconds: f64,
    /// Bytes that arrived in it.
    pub bytes: u64,
    /// 10^9 bits a second.
    pub gbit_per_second: f64,
    /// Flows that ended before the measurement did.
    pub failed: u64,
    /// What it cost.
    pub cpu: Cpu,
}

/// Flows begun and ended.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Short {
    /// Flows at once.
    pub concurrent: usize,
    /// Length of the measured part, without the warm-up.
    pub seconds: f64,
    /// Flows whose whole answer arrived in it.
    pub flows: u64,
    /// The same, a second.
    pub flows_per_second: f64,
    /// Flows without the whole answer.
    pub failed: u64,
    /// What it cost.
    pub cpu: Cpu,
}

/// Time from the SYN to the last byte of the answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Setup {
    /// Flows measured.
    pub flows: usize,
    /// Half of them took no longer, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 took no longer, in microseconds.
    pub p99_us: f64,
    /// What it cost.
    pub cpu: Cpu,
}

/// What flows that say nothing hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Idle {
    /// Flows held.
    pub flows: usize,
    /// Of each watched process: its name, before the flows, and while they were held.
    pub held: Vec<(String, Held, Held)>,
}
