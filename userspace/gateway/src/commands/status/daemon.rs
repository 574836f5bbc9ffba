//! What the metrics of a daemon say of it.

use std::{collections::BTreeMap, time::SystemTime};

use serde::Serialize;

use crate::scrape::{Between, Scrape};

/// The daemon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Daemon {
    pub(super) version: String,
    pub(super) uptime_seconds: f64,
    /// Whether flows are accepted.
    pub(super) ready: bool,
    /// Number of the policy that judges.
    pub(super) generation: u64,
    pub(super) active_flows: u64,
    /// Flows that are over, by verdict.
    pub(super) flows: BTreeMap<String, Flows>,
    /// Over how many seconds `per_second` is taken.
    pub(super) rate_seconds: f64,
    pub(super) reload: Reload,
    pub(super) workers: Vec<Worker>,
    pub(super) providers: Vec<Provider>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Flows {
    pub(super) total: u64,
    pub(super) per_second: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Reload {
    /// Whether the last configuration that was read is in force.
    pub(super) successful: bool,
    /// How long the one in force has been.
    pub(super) age_seconds: f64,
    pub(super) taken: u64,
    pub(super) refused: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Worker {
    pub(super) worker: String,
    pub(super) turn_age_seconds: f64,
}

/// One that is asked about credentials.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Provider {
    pub(super) provider: String,
    pub(super) down: bool,
    /// Credentials, by what it said of them.
    pub(super) outcomes: BTreeMap<String, u64>,
}

impl Daemon {
    /// What a scrape says, with rates since the one before; since the daemon began where that is
    /// empty. `None`: the scrape is not of a daemon.
    pub(super) fn of(between: Between<'_>, now: SystemTime) -> Option<Self> {
        let after = between.after;
        let read = |name| after.value(name, &[]);
        let version = after.of("sluice_build_info", &[]).next()?.label("version");
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let age = read("sluice_last_reload_success_timestamp_seconds");
        let reloads = |result| count(after.sum("sluice_reload_total", &[("result", result)]));
        let flows = between.by("sluice_flows_total", "verdict", &[]);
        Some(Self {
            version: version.to_owned(),
            uptime_seconds: read("sluice_uptime_seconds")?,
            ready: read("sluice_ready")? > 0.0,
            generation: count(read("sluice_generation")?),
            active_flows: count(read("sluice_active_flows")?),
            flows: flows
                .into_iter()
                .map(|(verdict, grown)| {
                    let flows = Flows {
                        total: count(grown.total),
                        per_second: grown.per_second,
                    };
                    (verdict, flows)
                })
                .collect(),
            rate_seconds: between.seconds(),
            reload: Reload {
                successful: read("sluice_config_last_reload_successful")? > 0.0,
                age_seconds: age.map_or(0.0, |then| (now - then).max(0.0)),
                taken: reloads("taken"),
                refused: reloads("refused"),
            },
            workers: workers(after),
            providers: providers(after),
        })
    }
}

fn workers(scrape: &Scrape) -> Vec<Worker> {
    let turns = scrape.of("sluice_worker_turn_age_seconds", &[]);
    turns
        .map(|turn| Worker {
            worker: turn.label("worker").to_owned(),
            turn_age_seconds: turn.value,
        })
        .collect()
}

fn providers(scrape: &Scrape) -> Vec<Provider> {
    let down = scrape.by("sluice_provider_down", "provider", &[]);
    let provider = |(provider, down): (String, f64)| {
        let of = [("provider", provider.as_str())];
        let outcomes = scrape.by("sluice_authentications_total", "outcome", &of);
        let outcomes = outcomes.into_iter();
        Provider {
            outcomes: outcomes.map(|(name, value)| (name, count(value))).collect(),
            down: down > 0.0,
            provider,
        }
    };
    down.into_iter().map(provider).collect()
}

/// A counter, which no daemon takes beyond what a float counts exactly.
#[expect(
    clippy::cast_sign_loss,
    reason = "counters are whole and not negative; the cast saturates for what is none"
)]
pub(super) fn count(value: f64) -> u64 {
    value as u64
}
