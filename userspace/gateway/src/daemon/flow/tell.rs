//! What a flow tells of itself: counts, the shadow's opinion, and its record.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use sluice_abi::Reason;
use sluice_policy::{Decided, Decision, Outcome};

use super::Flow;
use crate::daemon::known::Connecting;
use crate::daemon::metrics::{Moved, Shadow, Verdict, Way};
use crate::daemon::peek::First;
use crate::daemon::record::{self, Record, rfc3339};

/// Application protocols that a record names: a hello may have thousands.
const ALPN_TOLD: usize = 16;

impl Flow<'_> {
    /// What the shadow policy would have done, knowing as much.
    fn shadow(&self) -> Option<(Shadow, Option<Decided>)> {
        let policy = &self.generation.shadow.as_ref()?.policy;
        let mut scratch = self.worker.scratch.borrow_mut();
        let decision = policy.decide(&self.known.facts(policy), &mut scratch);
        Some(match decision {
            Decision::Undecided(_) => (Shadow::Undecided, None),
            Decision::Decided(other) if Some(other.outcome) == self.outcome => (Shadow::Same, None),
            Decision::Decided(other) => (Shadow::Differs, Some(other)),
        })
    }

    /// Counts what the shadow policy would have done, and tells of it where it is something else.
    fn note_shadow(&self) -> Option<record::Shadow<'_>> {
        let (shadow, other) = self.shadow()?;
        self.worker.metrics.note_shadow(shadow);
        let (shadow, other) = (self.generation.shadow.as_ref()?, other?);
        let rule = other.cause.rule().and_then(|id| shadow.policy.rule(id));
        let other = record::Shadow {
            outcome: other.outcome.name(),
            rule: rule.map(|rule| &*rule.name),
        };
        // The records tell of every flow, where they are kept.
        let now = Some(self.worker.shared.uptime());
        if self.worker.shadow_told.replace(now) != now {
            tracing::info!(
                target: "shadow",
                client = %self.known.client,
                destination = %self.known.destination,
                outcome = self.outcome.map(Outcome::name),
                other = other.outcome,
                rule = other.rule,
                "the shadow policy differs"
            );
        }
        Some(other)
    }

    fn to_origin(&self) -> u64 {
        self.before.0 + self.progress.to_origin()
    }

    fn to_client(&self) -> u64 {
        self.before.1 + self.progress.to_client()
    }

    /// Counts the bytes, by their way.
    fn note_moved(&self) {
        let metrics = &self.worker.metrics;
        let all = Moved {
            to_origin: self.to_origin(),
            to_client: self.to_client(),
        };
        if self.verdict == Verdict::Intercept {
            return metrics.note_moved(Way::Intercept, all);
        }
        let (to_origin, to_client) = self.progress.spliced_each_way();
        let spliced = Moved {
            to_origin,
            to_client,
        };
        metrics.note_moved(Way::Splice, spliced);
        let copied = Moved {
            to_origin: all.to_origin.saturating_sub(to_origin),
            to_client: all.to_client.saturating_sub(to_client),
        };
        metrics.note_moved(Way::Relay, copied);
    }

    fn write_record(&self, end: Reason, shadow: Option<record::Shadow<'_>>) {
        let policy = &self.generation.policy;
        let facts = self.known.facts(policy);
        let mut tags = Vec::new();
        // Nothing that may have failed is asked again.
        if self.judged && !std::thread::panicking() {
            let annotations = policy.annotations(&facts, &mut self.worker.scratch.borrow_mut());
            if annotations.no_log {
                return;
            }
            tags = annotations.tags;
        }
        let hello = match &self.known.first {
            Some(First::Hello(hello)) => Some(hello),
            _ => None,
        };
        let lasted = self.began.elapsed();
        let rule = self.rule.and_then(|id| policy.rule(id));
        self.worker.shared.access.put(&Record {
            time: rfc3339(
                SystemTime::now()
                    .checked_sub(lasted)
                    .unwrap_or(SystemTime::UNIX_EPOCH),
            ),
            client: self.known.client,
            destination: self.known.destination,
            user: facts.user,
            listener: self.known.listener(),
            connect: self.known.connecting().map(Connecting::to_string),
            verdict: self.verdict.name(),
            rule: rule.map(|rule| &*rule.name),
            stage: self.stage.name(),
            reason: self.reason.name(),
            tls: self.known.tls().read_name(),
            sni: hello
                .and_then(|hello| hello.sni.as_ref())
                .map(|name| name.as_str()),
            alpn: hello.map_or_else(Vec::new, |hello| {
                hello
                    .alpn
                    .iter()
                    .take(ALPN_TOLD)
                    .map(|name| name.escape_ascii().to_string())
                    .collect()
            }),
            ja4: hello.map(|hello| hello.ja4.as_str()),
            ech: hello.is_some_and(|hello| hello.ech),
            tags,
            shadow,
            end: end.name(),
            to_origin: self.to_origin(),
            to_client: self.to_client(),
            spliced: self.progress.spliced(),
            peek_us: self.peeked,
            connect_us: self.connected,
            server_hello_us: self.waited,
            duration_ms: micros(lasted) / 1000,
            generation: self.generation.number,
            decrypted: self
                .decrypted
                .as_ref()
                .is_some_and(|decrypted| decrypted.done),
            inspected_by: self
                .inspected
                .and_then(|inspected| policy.rule(inspected.by?))
                .map(|rule| &*rule.name),
            inspected_because: self.inspected.map(|inspected| inspected.because.name()),
            interception: self.decrypted.as_deref().map(|decrypted| &decrypted.told),
        });
    }
}

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        let metrics = &self.worker.metrics;
        let end = self.end.unwrap_or_else(|| {
            if std::thread::panicking() {
                metrics.panics.fetch_add(1, Ordering::Relaxed);
                Reason::Internal
            } else {
                Reason::Drained
            }
        });
        metrics.note_flow(self.verdict, self.reason, self.known.tls());
        metrics.note_end(end);
        self.note_moved();
        if let Some(rule) = self.rule {
            self.generation.hits.note_flow(rule, metrics.lane);
        }
        let shadow = if self.judged && !std::thread::panicking() {
            self.note_shadow()
        } else {
            None
        };
        self.write_record(end, shadow);
        self.worker.active.set(self.worker.active.get() - 1);
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
