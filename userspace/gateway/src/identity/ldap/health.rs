//! Whether a directory answers, and when it is tried again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Time after a first failure in which nobody tries again; it doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest time in which nobody tries again.
const LAST_PAUSE: Duration = Duration::from_secs(15);

/// Whether a provider answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// Nobody has asked it yet.
    Untried,
    /// It has answered, without a break since then.
    Up(SystemTime),
    /// It has not answered since then, and why.
    Down(SystemTime, String),
}

/// Lets everybody ask while the directory answers, and one at a time after a pause while it does
/// not: a directory that is gone costs its clients no patience, and no storm meets it when it is back.
#[derive(Debug)]
pub(super) struct Circuit(Mutex<State>);

#[derive(Debug)]
struct State {
    health: Health,
    /// While it is down: when it is tried again, and the pause after that.
    retry: Option<(Instant, Duration)>,
}

impl Circuit {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(State {
            health: Health::Untried,
            retry: None,
        }))
    }

    /// Whether it may be asked at a time.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let Some((at, pause)) = state.retry else {
            return true;
        };
        if now < at {
            return false;
        }
        // Whoever comes first tries for all.
        state.retry = Some((now + pause, pause));
        true
    }

    /// It has answered.
    pub(super) fn answered(&self, name: &str) {
        let mut state = self.lock();
        state.retry = None;
        if !matches!(state.health, Health::Up(_)) {
            if matches!(state.health, Health::Down(..)) {
                tracing::info!(provider = name, "the directory answers again");
            }
            state.health = Health::Up(SystemTime::now());
        }
    }

    /// It has not.
    pub(super) fn failed(&self, name: &str, why: String, now: Instant) {
        let mut state = self.lock();
        let pause = match state.retry {
            Some((_, pause)) => (pause * 2).min(LAST_PAUSE),
            None => FIRST_PAUSE,
        };
        state.retry = Some((now + pause, pause));
        let since = if let Health::Down(since, _) = state.health {
            since
        } else {
            tracing::warn!(provider = name, why, "the directory does not answer");
            SystemTime::now()
        };
        state.health = Health::Down(since, why);
    }

    pub(super) fn health(&self) -> Health {
        self.lock().health.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tries_for_all_after_a_pause_that_doubles() {
        let circuit = Circuit::new();
        let mut now = Instant::now();
        assert!(circuit.may_ask(now) && circuit.may_ask(now));
        assert_eq!(circuit.health(), Health::Untried);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            circuit.failed("d", "refused".into(), now);
            assert!(!circuit.may_ask(now));
            let begun = now;
            while !circuit.may_ask(now) {
                now += FIRST_PAUSE;
            }
            assert!(!circuit.may_ask(now), "somebody tries");
            pauses.push((now - begun).as_millis());
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
        let Health::Down(since, why) = circuit.health() else {
            panic!("it is down");
        };
        circuit.failed("d", "still".into(), now);
        assert_eq!(why, "refused");
        assert_eq!(circuit.health(), Health::Down(since, "still".into()));
        circuit.answered("d");
        assert!(matches!(circuit.health(), Health::Up(_)));
        assert!(circuit.may_ask(now) && circuit.may_ask(now));
    }
}
