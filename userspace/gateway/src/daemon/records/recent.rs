//! The last records, in memory, for whoever looks at the daemon: the page, and `/api/records`.
//!
//! It is one more sink: a queue that is bounded in bytes, and a thread that empties it. A flow never
//! waits for whoever searches; what finds no place in the queue is counted as dropped.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::queue::{Batch, Queue};
use super::writer::{self, Deliver};

/// Bytes that all records together may take, with what is known of them.
const BYTES: usize = 16 << 20;
/// Bytes of records that wait to be kept.
const WAITING: usize = 4 << 20;
/// What a record costs besides its texts.
const OVERHEAD: usize = 256;
/// Hosts that are told of each kind.
const TOP: usize = 10;
/// Hosts that are told apart while they are counted.
const HOSTS: usize = 20_000;
/// Characters of a host that are told.
const HOST: usize = 253;

/// The last records.
#[derive(Debug, Default)]
pub struct Recent {
    queue: OnceLock<Arc<Queue>>,
    kept: Arc<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    limit: AtomicUsize,
    /// The number of the latest record, and of all that there ever were.
    latest: AtomicU64,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// A record that is kept.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number: counts up from 1 since the daemon began.
    pub id: u64,
    /// The record, a JSON object, as the settings of `[log]` let it be told.
    pub json: Bytes,
    client: Option<IpAddr>,
    user: Box<str>,
    host: Box<str>,
    verdict: Box<str>,
    reason: Box<str>,
    rule: Box<str>,
    decrypted: bool,
    is_packets: bool,
}

/// What of a record is searched by.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Found<'a> {
    kind: Cow<'a, str>,
    client: Cow<'a, str>,
    destination: Cow<'a, str>,
    user: Option<Cow<'a, str>>,
    sni: Option<Cow<'a, str>>,
    url: Option<Cow<'a, str>>,
    verdict: Cow<'a, str>,
    reason: Option<Cow<'a, str>>,
    rule: Option<Cow<'a, str>>,
    decrypted: bool,
}

/// Which records are wanted. What is not named fits all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// Only those with a smaller number.
    pub before: Option<u64>,
    /// Only those with a larger number.
    pub after: Option<u64>,
    /// Only those of this client.
    pub client: Option<IpAddr>,
    /// Only those of users with this in their name, whatever its case.
    pub user: Option<String>,
    /// Only those with this in the name or address of the origin, whatever its case.
    pub host: Option<String>,
    /// Only those of this verdict.
    pub verdict: Option<String>,
    /// Only those of this reason.
    pub reason: Option<String>,
    /// Only those that this rule decided.
    pub rule: Option<String>,
}

/// A host, and how many records name it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HostCount {
    /// The name or address.
    pub host: String,
    /// Records of flows and requests.
    pub records: u64,
}

/// How many records are kept, and what is not.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fill {
    /// Records that are kept.
    pub kept: usize,
    /// Bytes that they take.
    pub bytes: usize,
    /// Records that may be kept; 0: none are.
    pub limit: usize,
    /// The number of the latest.
    pub latest: u64,
    /// Records that were never kept, because too many came at once.
    pub dropped: u64,
}

impl Recent {
    /// Keeps so many records from here on; 0: none, and those that there are go.
    pub(super) fn keep(&self, limit: usize) {
        self.kept.limit.store(limit, Ordering::Relaxed);
        self.kept.ring().shrink(limit);
        if limit == 0 || self.queue.get().is_some() {
            return;
        }
        let queue = Arc::new(Queue::new(WAITING, Arc::default()));
        let sink = Box::new(Keeper(Arc::clone(&self.kept)));
        match writer::start(Arc::clone(&queue), "recent".into(), sink) {
            // Whoever came first has it running already.
            Ok(()) => {
                if let Err(mine) = self.queue.set(queue) {
                    mine.close();
                }
            }
            Err(error) => tracing::error!(%error, "no records are kept for the page"),
        }
    }

    /// Where records are put, if any are kept.
    pub(super) fn queue(&self) -> Option<&Arc<Queue>> {
        let is_kept = self.kept.limit.load(Ordering::Relaxed) > 0;
        self.queue.get().filter(|_| is_kept)
    }

    /// Records that fit, the latest first, and whether there are more.
    #[must_use]
    pub fn search(&self, wanted: &Wanted, limit: usize) -> (Vec<Entry>, bool) {
        let ring = self.kept.ring();
        let mut fitting = ring.entries.iter().rev().filter(|entry| wanted.fits(entry));
        let found = fitting.by_ref().take(limit).cloned().collect();
        (found, fitting.next().is_some())
    }

    /// The record of a number, if it is still kept.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Entry> {
        let ring = self.kept.ring();
        let at = ring.entries.binary_search_by_key(&id, |entry| entry.id);
        at.ok().and_then(|at| ring.entries.get(at)).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn fill(&self) -> Fill {
        let ring = self.kept.ring();
        let dropped = |queue: &Arc<Queue>| queue.dropped.load(Ordering::Relaxed);
        Fill {
            kept: ring.entries.len(),
            bytes: ring.bytes,
            limit: self.kept.limit.load(Ordering::Relaxed),
            latest: self.kept.latest.load(Ordering::Relaxed),
            dropped: self.queue.get().map(dropped).unwrap_or_default(),
        }
    }

    /// The hosts that most of the records name that tell of a block, and of something decrypted.
    #[must_use]
    pub fn hosts(&self) -> [Vec<HostCount>; 2] {
        let ring = self.kept.ring();
        let of = |wanted: fn(&Entry) -> bool| {
            let mut counts = HashMap::<&str, u64>::new();
            for entry in ring.entries.iter().filter(|entry| wanted(entry)) {
                let known = counts.len();
                match counts.get_mut(&*entry.host) {
                    Some(count) => *count += 1,
                    None if known < HOSTS && !entry.host.is_empty() => {
                        counts.insert(&entry.host, 1);
                    }
                    None => {}
                }
            }
            let mut sorted = BTreeMap::new();
            for (host, records) in counts {
                sorted.insert((std::cmp::Reverse(records), host), ());
            }
            let first = sorted.into_keys().take(TOP);
            first
                .map(|(records, host)| HostCount {
                    host: host.to_owned(),
                    records: records.0,
                })
                .collect()
        };
        [
            of(|entry| &*entry.verdict == "block" && !entry.is_packets),
            of(|entry| entry.decrypted),
        ]
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.get() {
            queue.close();
        }
    }
}

impl Kept {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn shrink(&mut self, limit: usize) {
        while self.entries.len() > limit || self.bytes > BYTES {
            let Some(gone) = self.entries.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(gone.cost());
        }
    }
}

impl Entry {
    fn read(id: u64, json: &Bytes) -> Self {
        let found: Found<'_> = serde_json::from_slice(json).unwrap_or_default();
        let address = |text: &str| {
            let socket = text.parse::<SocketAddr>().map(|one| one.ip());
            socket.or_else(|_| text.parse()).ok()
        };
        let host = match (&found.url, &found.sni) {
            (Some(url), _) if !url.is_empty() => super::ecs::host(url).unwrap_or_default().into(),
            (_, Some(sni)) => sni.to_string(),
            _ => address(&found.destination)
                .map(|address| address.to_string())
                .unwrap_or_default(),
        };
        let text = |text: &Option<Cow<'_, str>>| -> Box<str> {
            text.as_deref().unwrap_or_default().into()
        };
        Self {
            client: address(&found.client),
            user: text(&found.user),
            host: host.chars().take(HOST).collect(),
            verdict: (&*found.verdict).into(),
            reason: text(&found.reason),
            rule: text(&found.rule),
            decrypted: found.decrypted,
            is_packets: found.kind == "packets",
            id,
            json: json.clone(),
        }
    }

    fn cost(&self) -> usize {
        let texts = [
            &self.user,
            &self.host,
            &self.verdict,
            &self.reason,
            &self.rule,
        ];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        OVERHEAD + self.json.len() + texts
    }
}

impl Wanted {
    fn fits(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let has = |wanted: &Option<String>, found: &str| {
            let holds = |wanted: &str| found.to_lowercase().contains(&wanted.to_lowercase());
            wanted.as_deref().is_none_or(holds)
        };
        self.before.is_none_or(|before| entry.id < before)
            && self.after.is_none_or(|after| entry.id > after)
            && self
                .client
                .is_none_or(|client| entry.client == Some(client))
            && is(&self.verdict, &entry.verdict)
            && is(&self.reason, &entry.reason)
            && is(&self.rule, &entry.rule)
            && has(&self.user, &entry.user)
            && has(&self.host, &entry.host)
    }
}

/// Keeps what is delivered.
struct Keeper(Arc<Kept>);

impl Deliver for Keeper {
    fn deliver(&mut self, batch: &mut Batch) -> io::Result<()> {
        while let Some(entry) = batch.front() {
            let id = self.0.latest.load(Ordering::Relaxed) + 1;
            // Read before the lock is taken.
            let json = Bytes::copy_from_slice(entry.json());
            let entry = Entry::read(id, &json);
            let mut ring = self.0.ring();
            ring.bytes += entry.cost();
            ring.entries.push_back(entry);
            ring.shrink(self.0.limit.load(Ordering::Relaxed));
            self.0.latest.store(id, Ordering::Relaxed);
            drop(ring);
            batch.delivered();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(limit: usize, records: &[&str]) -> Kept {
        let kept = Kept::default();
        kept.limit.store(limit, Ordering::Relaxed);
        for (record, id) in records.iter().zip(1..) {
            let entry = Entry::read(id, &Bytes::copy_from_slice(record.as_bytes()));
            let mut ring = kept.ring();
            ring.bytes += entry.cost();
            ring.entries.push_back(entry);
            ring.shrink(limit);
        }
        kept
    }

    #[test]
    fn what_is_too_much_goes_oldest_first_by_number_and_by_bytes() {
        let few = kept(2, &["{}", "{}", "{}"]);
        let ids: Vec<_> = few.ring().entries.iter().map(|one| one.id).collect();
        assert_eq!(ids, [2, 3]);
        let large = format!("{{\"user\":\"{}\"}}", "x".repeat(1 << 20));
        let many: Vec<_> = std::iter::repeat_n(&*large, 20).collect();
        let large = kept(1000, &many);
        let ring = large.ring();
        assert!(ring.bytes <= BYTES && ring.entries.len() < 10);
        let sum: usize = ring.entries.iter().map(Entry::cost).sum();
        assert_eq!(ring.bytes, sum);
    }

    #[test]
    fn what_is_no_record_is_kept_and_found_by_nothing() {
        for broken in ["", "[]", "{\"client\":7}", "null"] {
            let entry = Entry::read(1, &Bytes::copy_from_slice(broken.as_bytes()));
            assert_eq!((&*entry.host, entry.client), ("", None), "{broken}");
        }
    }
}
