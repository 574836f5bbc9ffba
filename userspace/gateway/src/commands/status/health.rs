//! Whether all is well.

use std::process::ExitCode;

use super::facts::Facts;

/// A worker that has had no turn for so long hangs, as `/healthz` has it.
const HANGS_AFTER: f64 = 5.0;

/// Days before the end of the CA from which on that is told.
const CA_DAYS: i64 = 14;

/// How it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Everything is as it should be.
    Healthy,
    /// It works, but not as it should or not for long.
    Degraded,
    /// No daemon serves.
    NotRunning,
}

/// How it stands, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Health {
    pub(super) state: State,
    pub(super) faults: Vec<String>,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::NotRunning => "not running",
        }
    }

    pub(super) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Healthy => 0,
            Self::Degraded => 1,
            Self::NotRunning => 2,
        })
    }
}

impl Health {
    pub(super) fn of(facts: &Facts) -> Self {
        let mut faults = Vec::new();
        kernel(facts, &mut faults);
        daemon(facts, &mut faults);
        records(facts, &mut faults);
        authority(facts, &mut faults);
        let beats = facts
            .kernel
            .as_ref()
            .is_ok_and(|status| status.is_daemon_alive());
        let state = if facts.daemon.is_err() && !beats {
            State::NotRunning
        } else if faults.is_empty() {
            State::Healthy
        } else {
            State::Degraded
        };
        Self { state, faults }
    }
}

fn kernel(facts: &Facts, faults: &mut Vec<String>) {
    let status = match &facts.kernel {
        Ok(status) => status,
        Err(why) => {
            faults.push(format!("the kernel side cannot be read: {why}"));
            return;
        }
    };
    if status.generation == 0 {
        faults.push("the kernel has no policy: everything is dropped".into());
    }
    if !status.is_daemon_alive() {
        let steered = if status.fail_open {
            "forwarded unjudged"
        } else {
            "refused"
        };
        faults.push(format!(
            "the kernel sees no sign of life of a daemon: steered ports are {steered}"
        ));
    }
    if status.devices.is_empty() {
        faults.push("no device is attached: nothing is judged".into());
    }
    let amiss = status
        .devices
        .iter()
        .filter(|device| !(device.ingress && device.egress));
    for device in amiss {
        faults.push(format!(
            "{} is not attached both ways: `sluice doctor` looks for the cause",
            device.name
        ));
    }
}

fn daemon(facts: &Facts, faults: &mut Vec<String>) {
    let daemon = match &facts.daemon {
        Ok(daemon) => daemon,
        // What nobody wanted to be asked is not amiss.
        Err(_) if !facts.listens => return,
        Err(why) => {
            faults.push(why.clone());
            return;
        }
    };
    if !daemon.ready {
        faults.push("the daemon accepts no flows: it begins, drains or ends".into());
    }
    if !daemon.reload.successful {
        faults.push(
            "the last configuration was refused, and the one before is in force: `sluice check` \
             names the mistake"
                .into(),
        );
    }
    for worker in &daemon.workers {
        if worker.turn_age_seconds >= HANGS_AFTER {
            faults.push(format!(
                "worker {} has had no turn for {:.0} s",
                worker.worker, worker.turn_age_seconds
            ));
        }
    }
    for provider in daemon.providers.iter().filter(|provider| provider.down) {
        faults.push(format!(
            "the identity provider \"{}\" does not answer",
            provider.provider
        ));
    }
}

fn records(facts: &Facts, faults: &mut Vec<String>) {
    let Ok(log) = &facts.log else {
        return;
    };
    for sink in log.sinks.iter().filter(|sink| sink.state != "ok") {
        faults.push(format!("records to {} are {}", sink.sink, sink.state));
    }
    if log.refuses {
        faults.push("new flows are refused until records can be written".into());
    }
}

fn authority(facts: &Facts, faults: &mut Vec<String>) {
    match &facts.ca {
        None => {}
        Some(Err(why)) => faults.push(format!("the certificate of the CA: {why}")),
        Some(Ok(ca)) => match ca.days_left(facts.now) {
            ..0 => {
                faults.push("the CA is over: nothing can be decrypted, `sluice ca rotate`".into());
            }
            days @ 0..CA_DAYS => {
                faults.push(format!("the CA ends in {days} days: `sluice ca rotate`"));
            }
            _ => {}
        },
    }
}
