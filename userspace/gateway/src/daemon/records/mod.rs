//! The access log: what is told of flows, requests and refused packets, and where it goes.
//!
//! A record is made by whoever has something to tell, and is a line of JSON from then on. Each sink
//! has a queue of its own, bounded in bytes, and a thread that empties it: what one reader does holds
//! up neither the others nor a flow. RECORDS.md tells the fields, the sinks and what they promise.

mod ecs;
mod privacy;
mod queue;
mod recent;
mod sink;
mod writer;

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::packets::PacketsRecord;
use super::record::{Record, RequestRecord, SCHEMA_VERSION};
use crate::config::{Format, Log, Sink, WhenFull};
use ecs::Ecs;
use privacy::Pseudonyms;
pub use queue::State;
use queue::{Entry, Kind, Queue};
pub use recent::{Entry as RecentRecord, Fill, HostCount, Recent, Wanted};
use sink::Settings;

/// The JSON schema that every record of this version follows, unless `format` is "ecs".
pub const SCHEMA: &str = include_str!("../../../records.schema.json");

/// Bytes of a record. One that is longer fits no datagram, and is lost.
const LIMIT: usize = 60 << 10;

/// Characters of a request's method.
const METHOD: usize = 64;

/// Where records go; may be changed while the daemon runs.
#[derive(Debug)]
pub struct AccessLog {
    setup: RwLock<Arc<Setup>>,
    pseudonyms: Pseudonyms,
    lost: Arc<AtomicU64>,
    recent: Recent,
    /// Whether its sinks are others than the configuration names, and stay.
    fixed: bool,
}

/// A sink that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("`access` in [log]: \"{sink}\": {source}")]
pub struct OpenError {
    sink: String,
    source: io::Error,
}

/// Sinks that are open, and how records are made for them, before they are in force.
#[derive(Debug)]
pub struct Prepared(Setup);

#[derive(Debug)]
struct Setup {
    log: Log,
    sinks: Vec<Arc<Handle>>,
}

/// A sink that runs. It is told to end when nobody has it any more.
#[derive(Debug)]
struct Handle {
    sink: Option<Sink>,
    queue: Arc<Queue>,
    rotation: Arc<Settings>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// How a sink fares, and what became of its records.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SinkStatus {
    /// The sink, as the configuration names it.
    pub sink: String,
    /// "ok", "stalled" or "failing".
    pub state: Cow<'static, str>,
    /// Records that were handed over.
    pub written: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that are lost.
    pub dropped: u64,
    /// Attempts that failed.
    pub errors: u64,
    /// Bytes of records that wait.
    pub queued_bytes: u64,
}

/// A record that is being written.
struct Line<'a> {
    kind: Kind,
    format: Format,
    time: SystemTime,
    /// Whether it tells of something that was refused.
    refused: bool,
    /// Whether there has to be room for it.
    needed: bool,
    /// Whether the record has the beginning of its URL only.
    url_cut: bool,
    sinks: &'a [Arc<Handle>],
    /// Where the last records are kept.
    recent: Option<&'a Arc<Queue>>,
}

/// A record under the names of this project.
#[derive(Serialize)]
struct Named<'a, R> {
    v: u32,
    kind: &'static str,
    #[serde(flatten)]
    record: &'a R,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    url_cut: bool,
}

impl AccessLog {
    /// A log that writes to all of `writers`, each on a thread of its own; without any, records are
    /// not even made.
    ///
    /// A thread that cannot be started is a sink less, which is logged.
    #[must_use]
    pub fn new(writers: Vec<Box<dyn Write + Send>>) -> Self {
        Self::with(&Log::default(), writers)
    }

    /// A log that makes records as `log` says, and writes them to `writers` in place of its sinks; a
    /// reload keeps them.
    #[must_use]
    pub fn with(log: &Log, writers: Vec<Box<dyn Write + Send>>) -> Self {
        let lost = Arc::<AtomicU64>::default();
        let sinks = writers.into_iter().filter_map(|writer| {
            let queue = Arc::new(Queue::new(log.queue_limit, Arc::clone(&lost)));
            let stream = Box::new(sink::Stream::new(writer));
            match writer::start(Arc::clone(&queue), "writer".into(), stream) {
                Ok(()) => Some(Arc::new(Handle {
                    sink: None,
                    queue,
                    rotation: Arc::default(),
                })),
                Err(error) => {
                    tracing::error!(%error, "cannot start the thread of a sink");
                    None
                }
            }
        });
        let setup = Setup {
            log: log.clone(),
            sinks: sinks.collect(),
        };
        Self {
            setup: RwLock::new(Arc::new(setup)),
            pseudonyms: Pseudonyms::default(),
            lost,
            recent: Recent::default(),
            fixed: true,
        }
    }

    /// Opens the sinks that the configuration names.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: a file cannot be opened, or a thread not be started. Servers that do not answer
    /// are none: they are asked again.
    pub fn open(log: &Log) -> Result<Self, OpenError> {
        let opened = Self {
            fixed: false,
            ..Self::with(log, Vec::new())
        };
        let prepared = opened.prepare(log)?;
        opened.put_in_force(prepared);
        Ok(opened)
    }

    /// Opens what another configuration names and this log has not; what it has is kept, with all
    /// that waits for it.
    ///
    /// # Errors
    ///
    /// Those of [`AccessLog::open`]; nothing has changed then.
    pub fn prepare(&self, log: &Log) -> Result<Prepared, OpenError> {
        let before = self.setup();
        if self.fixed {
            return Ok(Prepared(Setup {
                sinks: before.sinks.clone(),
                log: log.clone(),
            }));
        }
        let sinks = log.access.iter().map(|sink| {
            let kept = before
                .sinks
                .iter()
                .find(|handle| handle.sink.as_ref() == Some(sink));
            match kept {
                Some(handle) => Ok(Arc::clone(handle)),
                None => self.start(sink, log).map(Arc::new),
            }
        });
        Ok(Prepared(Setup {
            sinks: sinks.collect::<Result<_, _>>()?,
            log: log.clone(),
        }))
    }

    fn start(&self, sink: &Sink, log: &Log) -> Result<Handle, OpenError> {
        let name = sink.to_string();
        let failed = |source| OpenError {
            sink: name.clone(),
            source,
        };
        let rotation = Arc::new(Settings::from(log.rotation));
        let opened = sink::open(sink, &rotation).map_err(failed)?;
        let queue = Arc::new(Queue::new(log.queue_limit, Arc::clone(&self.lost)));
        writer::start(Arc::clone(&queue), name.clone(), opened).map_err(failed)?;
        Ok(Handle {
            sink: Some(sink.clone()),
            queue,
            rotation,
        })
    }

    /// Writes records as prepared from here on. Sinks that are not named any more end when what waits
    /// for them is written.
    pub fn put_in_force(&self, Prepared(setup): Prepared) {
        for handle in &setup.sinks {
            handle.queue.set_limit(setup.log.queue_limit);
            handle.rotation.set(setup.log.rotation);
        }
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(setup);
    }

    /// Keeps the last records in memory from here on, so many at most; 0: none.
    pub fn keep_recent(&self, limit: usize) {
        self.recent.keep(limit);
    }

    /// Whether records have pseudonyms in place of users.
    #[must_use]
    pub fn hides_users(&self) -> bool {
        self.setup().log.privacy.users != crate::config::Users::Plain
    }

    /// The last records.
    #[must_use]
    pub const fn recent(&self) -> &Recent {
        &self.recent
    }

    fn setup(&self) -> Arc<Setup> {
        Arc::clone(&self.setup.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the record of a flow into the log.
    pub fn put(&self, record: &Record<'_>) {
        let setup = self.setup();
        let Some(mut line) = setup.line(Kind::Flow, self.recent.queue()) else {
            return;
        };
        line.refused = record.verdict == "block";
        line.needed = record.reason != UNAVAILABLE;
        let settings = &setup.log.privacy;
        let user = self.pseudonyms.shown(settings, record.user, line.time);
        line.append(&Record {
            client: privacy::client(settings, record.client),
            user: user.as_deref().or(record.user),
            ..record.clone()
        });
    }

    /// Puts the record of a request into the log.
    pub fn put_request(&self, record: &RequestRecord<'_>) {
        let setup = self.setup();
        let Some(mut line) = setup.line(Kind::Request, self.recent.queue()) else {
            return;
        };
        line.refused = record.verdict != "allow";
        line.needed = record.reason != UNAVAILABLE;
        let settings = &setup.log.privacy;
        let user = self.pseudonyms.shown(settings, record.user, line.time);
        let (url, cut) = privacy::url(settings, record.url);
        line.url_cut = cut;
        line.append(&RequestRecord {
            client: privacy::client(settings, record.client),
            user: user.as_deref().or(record.user),
            method: record.method.get(..METHOD).unwrap_or(record.method),
            url,
            ..record.clone()
        });
    }

    /// Puts the record of refused packets into the log.
    pub fn put_packets(&self, record: &PacketsRecord) {
        let setup = self.setup();
        let Some(mut line) = setup.line(Kind::Packets, self.recent.queue()) else {
            return;
        };
        let settings = &setup.log.privacy;
        line.refused = true;
        line.needed = false;
        line.append(&PacketsRecord {
            client: record
                .client
                .map(|client| privacy::address(settings, client)),
            ..record.clone()
        });
    }

    /// How often it is told which packets the kernel refused; `None`: never.
    #[must_use]
    pub fn packets(&self) -> Option<Duration> {
        let setup = self.setup();
        let is_heard = !setup.sinks.is_empty() || self.recent.queue().is_some();
        setup.log.packets.filter(|_| is_heard)
    }

    /// Whether new flows are to be refused, because their records might not be written.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let setup = self.setup.read().unwrap_or_else(PoisonError::into_inner);
        setup.log.when_full == WhenFull::Block
            && setup
                .sinks
                .iter()
                .any(|handle| handle.queue.is_unavailable())
    }

    /// Has every sink opened anew: files that were moved aside are made again.
    pub fn reopen(&self) {
        for handle in &self.setup().sinks {
            handle.queue.reopen();
        }
    }

    /// Records that are lost, of all sinks since the daemon began.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How every sink fares.
    #[must_use]
    pub fn sinks(&self) -> Vec<SinkStatus> {
        let setup = self.setup();
        let status = setup.sinks.iter().map(|handle| handle.status());
        status.collect()
    }

    /// Takes no more records, and waits for those that there are to be written; no longer than a few
    /// seconds.
    pub fn close(&self) {
        let setup = self.setup();
        for handle in &setup.sinks {
            handle.queue.close();
        }
        for handle in &setup.sinks {
            handle.queue.wait_ended();
        }
    }
}

/// Whether a line of an access log tells of refused packets, and of no flow.
#[must_use]
pub fn tells_of_packets(line: &str) -> bool {
    #[derive(Deserialize)]
    struct About<'a> {
        #[serde(borrow)]
        kind: Option<Cow<'a, str>>,
    }
    serde_json::from_str::<About<'_>>(line)
        .is_ok_and(|about| about.kind.as_deref() == Some(Kind::Packets.name()))
}

/// The reason of what is refused for want of records: its own record may be the one too many.
const UNAVAILABLE: &str = sluice_abi::Reason::AuditUnavailable.name();

impl Handle {
    fn status(&self) -> SinkStatus {
        let queue = &self.queue;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SinkStatus {
            sink: self
                .sink
                .as_ref()
                .map_or_else(|| "writer".into(), ToString::to_string),
            state: queue.state().name().into(),
            written: count(&queue.written),
            bytes: count(&queue.written_bytes),
            dropped: count(&queue.dropped),
            errors: count(&queue.errors),
            queued_bytes: queue.bytes() as u64,
        }
    }
}

impl Setup {
    fn line<'a>(&'a self, kind: Kind, recent: Option<&'a Arc<Queue>>) -> Option<Line<'a>> {
        (!self.sinks.is_empty() || recent.is_some()).then(|| Line {
            kind,
            format: self.log.format,
            time: SystemTime::now(),
            refused: false,
            needed: true,
            url_cut: false,
            sinks: &self.sinks,
            recent,
        })
    }
}

impl Line<'_> {
    /// Writes the record, and gives it to every sink.
    fn append(&self, record: &(impl Ecs + Serialize)) {
        let named = |line: &mut Vec<u8>| {
            let (v, kind, url_cut) = (SCHEMA_VERSION, self.kind.name(), self.url_cut);
            let named = Named {
                v,
                kind,
                record,
                url_cut,
            };
            serde_json::to_writer(line, &named)
        };
        let entry = self.entry(|line| match self.format {
            Format::Sluice => named(line),
            Format::Ecs => serde_json::to_writer(line, &record.ecs(self)),
        });
        for handle in self.sinks {
            match &entry {
                Some(entry) => handle.queue.push(entry, self.needed),
                None => handle.queue.lose(1),
            }
        }
        let Some(recent) = self.recent else { return };
        let entry = match self.format {
            Format::Sluice => entry,
            Format::Ecs => self.entry(named),
        };
        match &entry {
            Some(entry) => recent.push(entry, true),
            None => recent.lose(1),
        }
    }

    /// What `write` makes of the record; `None` where that is too long.
    fn entry(&self, write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>) -> Option<Entry> {
        let mut line = Vec::with_capacity(1024);
        if write(&mut line).is_err() || line.len() >= LIMIT {
            return None;
        }
        line.push(b'\n');
        Some(Entry {
            line: line.into(),
            kind: self.kind,
            refused: self.refused,
            time: self.time,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
