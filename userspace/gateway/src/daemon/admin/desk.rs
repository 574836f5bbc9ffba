//! What questions are answered from, and the tasks beside the answers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::time::{MissedTickBehavior, interval};

use super::events::{self, Listeners};
use super::gate::Gate;
use super::summary::{self, Samples};
use crate::daemon::export::{Exporter, Sources};

/// How old a summary may be that is told.
const FRESH: Duration = Duration::from_millis(500);

/// What questions are answered from.
pub(super) struct Desk {
    pub(super) exporter: Exporter,
    pub(super) gate: Gate,
    samples: Samples,
    pub(super) listeners: Listeners,
    summary: Mutex<Option<(Instant, Bytes)>>,
    /// One at a time asks policies, which may have many rules.
    pub(super) policies: tokio::sync::Mutex<()>,
}

impl Desk {
    pub(super) fn new(sources: Sources, gate: Gate) -> Self {
        // What comes first is told as grown since then, and not since the first turn.
        let samples = Samples::default();
        samples.take(&sources);
        Self {
            exporter: Exporter::new(sources),
            gate,
            samples,
            listeners: Listeners::default(),
            summary: Mutex::default(),
            policies: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn sources(&self) -> &Sources {
        self.exporter.sources()
    }

    /// The summary as JSON, made anew when it is older than [`FRESH`].
    pub(super) fn summary(&self) -> Option<Bytes> {
        let mut known = self.summary.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, text)) = &*known
            && made.elapsed() < FRESH
        {
            return Some(text.clone());
        }
        let summary = summary::summary(self.sources(), &self.samples, self.listeners.left_behind());
        let text = Bytes::from(serde_json::to_vec(&summary).ok()?);
        *known = Some((Instant::now(), text.clone()));
        Some(text)
    }

    /// The same, as an event.
    pub(super) fn summary_event(&self) -> Option<Bytes> {
        let text = self.summary()?;
        let text: &RawValue = serde_json::from_slice(&text).ok()?;
        events::event("summary", &text)
    }

    /// Takes samples for the summary, as long as there is anybody to ask for it.
    pub(super) async fn sample(&self) {
        let mut turn = interval(summary::EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            self.samples.take(self.sources());
        }
    }

    /// Tells pages that are open what there is to tell.
    pub(super) async fn tell(&self) {
        let mut turn = interval(events::EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u64.. {
            turn.tick().await;
            let news = self.listeners.news(self.sources().shared.access.recent());
            let is_due = number % events::SUMMARY_TURNS == 0 && !self.listeners.is_empty();
            let summary = is_due.then(|| self.summary_event()).flatten();
            for event in news.iter().chain(&summary) {
                self.listeners.tell(event);
            }
        }
    }
}
