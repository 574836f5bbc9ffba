//! What the daemon logs about itself, by module, and how that is changed while it runs.
//!
//! There is one for the whole process, as there is one subscriber of `tracing`: everything that is
//! compiled into the daemon logs to it, whoever knows of the daemon or not.

use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::LevelFilter,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

/// Bytes of a filter: room for a directive on every module.
const LIMIT: usize = 4096;

/// The longest time for which a filter may be tried.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

static LEVELS: OnceLock<Levels> = OnceLock::new();

/// The filter in force, and what it falls back to.
#[derive(Debug)]
pub struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the daemon began with.
    first: String,
    now: String,
    /// What comes back, and when.
    back: Option<(String, Instant)>,
}

/// What is told of the levels.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Shown {
    /// The directives in force, as they were written.
    pub filter: String,
    /// Those that the daemon began with.
    pub first: String,
    /// Those that come back by themselves, and after how many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Back>,
}

/// What comes back by itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Back {
    /// The directives.
    pub filter: String,
    /// After how many seconds.
    pub seconds_left: u64,
}

/// Why levels are not changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelError {
    /// The filter has a mistake.
    #[error("{0}")]
    Filter(String),
    /// It is to hold for too long, or no time at all.
    #[error("`for`: expected more than \"0s\" and at most \"7d\"; leave it out for good")]
    Time,
    /// The process logs elsewhere.
    #[error("this process has no levels to change")]
    Nothing,
}

/// Begins to log to `writer`, by the directives of `filter`; a filter with a mistake is replaced by
/// "info", and that is logged.
///
/// # Errors
///
/// The process logs already.
pub fn install<W>(filter: &str, writer: W, ansi: bool) -> Result<(), TryInitError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let parsed = parse(filter);
    let (text, mistake) = match &parsed {
        Ok(_) => (filter, None),
        Err(error) => ("info", Some(error.clone())),
    };
    let parsed = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
    let (layer, handle) = reload::Layer::new(parsed);
    let written = fmt::layer().with_writer(writer).with_ansi(ansi);
    tracing_subscriber::registry()
        .with(layer)
        .with(written)
        .try_init()?;
    // Nobody was before: the process had no subscriber.
    let _ = LEVELS.set(Levels {
        handle,
        state: Mutex::new(State {
            first: text.to_owned(),
            now: text.to_owned(),
            back: None,
        }),
    });
    if let Some(error) = mistake {
        tracing::warn!(%error, "SLUICE_LOG is not followed");
    }
    Ok(())
}

/// The levels of this process.
///
/// # Errors
///
/// [`LevelError::Nothing`]: [`install`] was not called.
pub fn levels() -> Result<&'static Levels, LevelError> {
    LEVELS.get().ok_or(LevelError::Nothing)
}

/// Has levels fall back whose time is over; to be called about once a second.
pub fn beat(now: Instant) {
    if let Some(levels) = LEVELS.get() {
        levels.beat(now);
    }
}

impl Levels {
    /// What is in force.
    pub fn shown(&self, now: Instant) -> Shown {
        self.beat(now);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.shown(now)
    }

    /// Puts other directives into force, for a time or for good.
    ///
    /// # Errors
    ///
    /// [`LevelError`]: then everything stays as it was.
    pub fn set(
        &self,
        filter: &str,
        time: Option<Duration>,
        now: Instant,
    ) -> Result<Shown, LevelError> {
        let parsed = parse(filter)?;
        if time.is_some_and(|time| time.is_zero() || time > LONGEST) {
            return Err(LevelError::Time);
        }
        self.beat(now);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Who tries one thing after the other comes back to what was before the first.
        let base = match state.back.take() {
            Some((base, _)) => base,
            None => state.now.clone(),
        };
        state.back = time
            .and_then(|time| now.checked_add(time))
            .map(|end| (base, end));
        self.put(&mut state, filter, parsed)?;
        tracing::info!(
            filter,
            seconds = time.map(|time| time.as_secs()),
            "log levels changed"
        );
        Ok(state.shown(now))
    }

    /// Puts the directives into force that the daemon began with.
    ///
    /// # Errors
    ///
    /// [`LevelError::Nothing`]: the process is ending.
    pub fn reset(&self, now: Instant) -> Result<Shown, LevelError> {
        let first = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.first.clone()
        };
        self.set(&first, None, now)
    }

    fn beat(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.back.as_ref().is_none_or(|(_, end)| *end > now) {
            return;
        }
        let Some((filter, _)) = state.back.take() else {
            return;
        };
        // It was in force before, so that it has no mistake.
        if let Ok(parsed) = parse(&filter)
            && self.put(&mut state, &filter, parsed).is_ok()
        {
            tracing::info!(filter, "log levels are those of before again");
        }
    }

    fn put(&self, state: &mut State, text: &str, parsed: EnvFilter) -> Result<(), LevelError> {
        self.handle
            .reload(parsed)
            .map_err(|_| LevelError::Nothing)?;
        text.clone_into(&mut state.now);
        Ok(())
    }
}

impl State {
    fn shown(&self, now: Instant) -> Shown {
        Shown {
            filter: self.now.clone(),
            first: self.first.clone(),
            back: self.back.as_ref().map(|(filter, end)| Back {
                filter: filter.clone(),
                seconds_left: end.saturating_duration_since(now).as_secs(),
            }),
        }
    }
}

/// Reads directives as `tracing` has them, and refuses what that would silently take for something
/// else: a misspelt level is the name of a module there, of which everything is logged.
fn parse(text: &str) -> Result<EnvFilter, LevelError> {
    let wrong = |what: String| {
        Err(LevelError::Filter(format!(
            "{what}; write \"info\", or \"info,sluice_gateway::daemon=debug\"; levels are off, error, \
             warn, info, debug and trace"
        )))
    };
    if text.len() > LIMIT {
        return wrong(format!("the filter has more than {LIMIT} bytes"));
    }
    if text.trim().is_empty() {
        return wrong("the filter is empty".into());
    }
    for directive in text.split(',').map(str::trim) {
        if directive.is_empty() {
            return wrong(format!("\"{text}\" has a comma too many"));
        }
        // What is in brackets or braces names spans and their fields, and may have commas.
        if text.contains(['[', '{']) {
            break;
        }
        let level = match directive.split_once('=') {
            Some((module, _)) if !is_module(module) => {
                return wrong(format!("\"{module}\" is no name of a module"));
            }
            Some((_, level)) => level,
            None => directive,
        };
        if level.parse::<LevelFilter>().is_err() {
            return wrong(format!("\"{level}\" is no level"));
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(filter) => Ok(filter),
        Err(error) => wrong(format!("\"{text}\": {error}")),
    }
}

fn is_module(name: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    name.split("::").all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_misread_is_refused() {
        for good in [
            "info",
            "WARN",
            "off",
            "info,sluice_gateway::daemon=debug",
            "sluice_steer=trace, warn",
            "info,sluice_gateway[worker]=debug",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (bad, what) in [
            ("", "is empty"),
            ("debgu", "\"debgu\" is no level"),
            ("info,", "a comma too many"),
            ("info,sluice-gateway=debug", "no name of a module"),
            ("info,sluice_gateway:proxy=debug", "no name of a module"),
            ("sluice_gateway=loud", "\"loud\" is no level"),
            ("sluice_gateway", "\"sluice_gateway\" is no level"),
            ("info,x[=debug", "x["),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(what), "{bad}: {error}");
            assert!(error.contains("write \"info\""), "{bad}: {error}");
        }
        assert!(parse(&"a".repeat(LIMIT + 1)).is_err());
    }

    /// Levels of a subscriber that nobody logs to; it has to live as long as they.
    fn alone(filter: &str) -> (Levels, reload::Layer<EnvFilter, Registry>) {
        let (layer, handle) = reload::Layer::new(parse(filter).unwrap());
        let state = Mutex::new(State {
            first: filter.into(),
            now: filter.into(),
            back: None,
        });
        (Levels { handle, state }, layer)
    }

    #[test]
    fn levels_hold_for_a_time_and_fall_back_to_what_was_before() {
        let (levels, _layer) = alone("info");
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        levels.set("debug", Some(minute), now).unwrap();
        // Tried within the time of the one before: what comes back is what was before both.
        let shown = levels
            .set("trace", Some(2 * minute), now + minute / 2)
            .unwrap();
        let back = Back {
            filter: "info".into(),
            seconds_left: 120,
        };
        assert_eq!((shown.filter.as_str(), shown.back), ("trace", Some(back)));
        assert_eq!(levels.shown(now + 2 * minute).filter, "trace");
        let over = levels.shown(now + 3 * minute);
        assert_eq!((over.filter.as_str(), over.back), ("info", None));
    }

    #[test]
    fn a_mistake_changes_nothing() {
        let (levels, _layer) = alone("info");
        let now = Instant::now();
        assert!(levels.set("loud", None, now).is_err());
        for time in [Duration::ZERO, LONGEST + Duration::from_secs(1)] {
            assert_eq!(levels.set("debug", Some(time), now), Err(LevelError::Time));
        }
        assert_eq!(levels.shown(now).filter, "info");
        levels.set("warn", None, now).unwrap();
        assert_eq!(levels.shown(now).back, None);
        assert_eq!(levels.reset(now).unwrap().filter, "info");
    }
}
