//! The metrics as Prometheus reads them.
//!
//! Everything is gathered when somebody asks, on the thread that answers: workers only ever write
//! counters of their own, and nothing here takes a lock that a flow could wait for.

mod flows;
mod identity;
mod page;
mod process;
pub mod table;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluice_steer::{Counters, MapFill, Steering, Vitals};

pub(super) use flows::noted;
pub use page::{Format, Label, Page};
use table::Id;

use super::generation::Generation;
use super::metrics::WorkerMetrics;
use super::records::{SinkStatus, State};
use super::worker::Shared;

/// How old the fill of the maps may be that is told: walking full ones takes some hundred
/// milliseconds of the answering thread.
const FILL_AGE: Duration = Duration::from_secs(10);

/// What became of reloads.
#[derive(Debug)]
pub struct Reloads {
    taken: AtomicU64,
    refused: AtomicU64,
    /// Seconds since 1970 when the configuration in force was put in force.
    last_taken: AtomicI64,
    was_taken: AtomicBool,
}

impl Default for Reloads {
    /// The configuration that the daemon begins with is in force from now on.
    fn default() -> Self {
        Self {
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_taken: AtomicI64::new(process::now()),
            was_taken: AtomicBool::new(true),
        }
    }
}

impl Reloads {
    /// Notes that a configuration was put in force.
    pub fn note_taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.last_taken.store(process::now(), Ordering::Relaxed);
        self.was_taken.store(true, Ordering::Relaxed);
    }

    /// Notes that a configuration was refused.
    pub fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.was_taken.store(false, Ordering::Relaxed);
    }
}

/// What metrics are made of.
#[derive(Clone)]
pub struct Sources {
    /// What the workers share.
    pub shared: Arc<Shared>,
    /// What each worker counts.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// The kernel side; `None` where the daemon runs without one.
    pub steering: Option<Steering>,
    /// What became of reloads.
    pub reloads: Arc<Reloads>,
}

impl Sources {
    /// Whether every worker has closed its listeners.
    #[must_use]
    pub fn accepts_no_more(&self) -> bool {
        self.workers
            .iter()
            .all(|worker| worker.closed.load(Ordering::Relaxed))
    }
}

/// Answers scrapes.
pub struct Exporter {
    sources: Sources,
    /// The generation that was seen last: the shared one is asked only when it has changed.
    generation: Mutex<Arc<Generation>>,
    fill: Mutex<Option<(Instant, Vec<MapFill>)>>,
}

impl Exporter {
    /// One that has answered nothing yet.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self {
            generation: Mutex::new(sources.shared.current.get()),
            fill: Mutex::default(),
            sources,
        }
    }

    /// What the metrics are made of.
    #[must_use]
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Every metric.
    ///
    /// # Errors
    ///
    /// The kernel refused to read its counters.
    pub fn text(&self, format: Format) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let Sources {
            shared,
            workers,
            steering,
            reloads,
        } = &self.sources;
        let mut page = Page::default();
        let generation = self.generation();
        daemon(&mut page, shared, workers, reloads);
        flows::collect(&mut page, workers, &generation);
        flows::means(&mut page, shared, &generation);
        identity::collect(&mut page, &generation.providers);
        if let Some(steering) = steering {
            kernel(&mut page, &steering.counters()?, &steering.vitals()?);
            maps(&mut page, &self.fill(steering)?);
        }
        process::collect(&mut page);
        Ok(page.write(format)?)
    }

    fn generation(&self) -> Arc<Generation> {
        let mut mine = self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if mine.number != self.sources.shared.current.number() {
            *mine = self.sources.shared.current.get();
        }
        Arc::clone(&mine)
    }

    fn fill(&self, steering: &Steering) -> Result<Vec<MapFill>, sluice_steer::Error> {
        let mut known = self.fill.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, fill)) = &*known
            && when.elapsed() < FILL_AGE
        {
            return Ok(fill.clone());
        }
        let fill = steering.map_fill()?;
        *known = Some((Instant::now(), fill.clone()));
        Ok(fill)
    }
}

fn daemon(page: &mut Page, shared: &Shared, workers: &[Arc<WorkerMetrics>], reloads: &Reloads) {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    page.count(Id::BuildInfo, [env!("CARGO_PKG_VERSION").into()], 1);
    page.measure(Id::Uptime, [], shared.began.elapsed().as_secs_f64());
    let ready = shared.ready.load(Ordering::Relaxed);
    page.count(Id::Ready, [], ready.into());
    page.count(Id::Generation, [], shared.current.number());
    let now = shared.uptime();
    for (number, worker) in workers.iter().enumerate() {
        let age = now.saturating_sub(read(&worker.alive));
        page.count(Id::WorkerIdle, [Label::Number(number)], age);
    }
    for (result, count) in [("taken", &reloads.taken), ("refused", &reloads.refused)] {
        page.count(Id::Reloads, [result.into()], read(count));
    }
    let was_taken = reloads.was_taken.load(Ordering::Relaxed);
    page.count(Id::ReloadSuccessful, [], was_taken.into());
    let last = reloads.last_taken.load(Ordering::Relaxed);
    page.measure(Id::ReloadTime, [], last as f64);
    page.count(Id::ActiveFlows, [], shared.limits.active() as u64);
    let [learned, told] = shared.addresses.count(Instant::now());
    page.count(Id::IdentityAddresses, ["told".into()], told as u64);
    page.count(Id::IdentityAddresses, ["learned".into()], learned as u64);
    page.count(Id::IdentityDisplaced, [], shared.addresses.displaced());
    page.count(Id::RecordsLost, [], shared.access.lost());
    sinks(page, &shared.access.sinks());
}

fn sinks(page: &mut Page, sinks: &[SinkStatus]) {
    for one in sinks {
        let name = || Label::Name(one.sink.as_str().into());
        page.count(Id::RecordsWritten, [name()], one.written);
        page.count(Id::RecordsDropped, [name()], one.dropped);
        page.count(Id::RecordBytes, [name()], one.bytes);
        page.count(Id::RecordErrors, [name()], one.errors);
        page.count(Id::RecordQueue, [name()], one.queued_bytes);
        for state in State::ALL.map(State::name) {
            let is_so = one.state == state;
            page.count(Id::SinkState, [name(), state.into()], is_so.into());
        }
    }
}

/// What the kernel programs count, and how they see the daemon.
fn kernel(page: &mut Page, counters: &Counters, vitals: &Vitals) {
    for counter in &counters.packets {
        let labels = || {
            [
                counter.hook.name().into(),
                counter.verdict.name().into(),
                counter.reason.name().into(),
            ]
        };
        page.count(Id::Packets, labels(), counter.packets);
        page.count(Id::PacketBytes, labels(), counter.bytes);
    }
    let events = &counters.events;
    for (result, count) in [
        ("sent", events.sent),
        ("sampled", events.sampled),
        ("lost", events.lost),
    ] {
        page.count(Id::Events, [result.into()], count);
    }
    page.count(Id::KernelGeneration, [], vitals.generation.into());
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    if let Some(age) = vitals.heartbeat_age_ns {
        page.measure(Id::HeartbeatAge, [], seconds(age));
    }
    page.measure(Id::HeartbeatLimit, [], seconds(vitals.heartbeat_limit_ns));
    page.count(Id::FailOpen, [], vitals.fail_open.into());
    page.count(Id::Devices, [], vitals.devices as u64);
}

fn maps(page: &mut Page, fill: &[MapFill]) {
    for map in fill {
        page.count(Id::MapEntries, [map.name.into()], map.entries);
        page.count(Id::MapLimit, [map.name.into()], map.max_entries);
    }
}

#[cfg(test)]
mod tests;
