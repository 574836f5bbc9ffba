//! Clients that refused a leaf of ours: remembered, so that a rule can decide their next attempt.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::origin::Client;

/// Refusals that are remembered at most; the oldest goes.
const MOST: usize = 16_384;
/// Refusals whose time is over that one flow forgets.
const AT_ONCE: usize = 64;

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    who: Client,
    host: Option<Box<str>>,
    destination: SocketAddr,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Number that the queue knows the entry by.
    number: u64,
    until: Instant,
    alert: Option<Box<str>>,
    times: u64,
}

/// A refusal, for people to read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Refusal {
    /// The user, or else the address.
    pub client: String,
    /// The server name that was asked for.
    pub host: Option<String>,
    /// Where the client wanted to go.
    pub destination: SocketAddr,
    /// The alert that the client sent; `None` where it closed without one.
    pub alert: Option<String>,
    /// How often it refused.
    pub times: u64,
    /// Seconds for which this is remembered still.
    pub seconds_left: u64,
}

/// What is remembered of clients that refused a leaf.
///
/// A memory is no permission: it makes `client-rejected-ca` a fact of the next flow of the same
/// client to the same place, and what follows from that a rule says. Any client can claim it.
#[derive(Debug, Default)]
pub struct Rejected {
    state: Mutex<State>,
    /// How many are remembered, written by whoever holds the state, so that asking holds no flow up.
    remembered: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// Keys in the order in which they were remembered; one whose number is not its entry's is
    /// stale.
    queue: VecDeque<(u64, Key)>,
    next: u64,
}

impl Rejected {
    /// Remembers for a time that a client refused the leaf for a host; `alert` is what it said.
    pub fn note(
        &self,
        who: Client,
        host: Option<&str>,
        destination: SocketAddr,
        alert: Option<&str>,
        (now, time): (Instant, Duration),
    ) {
        let mut state = self.lock();
        state.forget_expired(now);
        let key = Key {
            who,
            host: host.map(Into::into),
            destination,
        };
        let number = state.next;
        state.next += 1;
        let entry = state.entries.entry(key.clone()).or_insert(Entry {
            number,
            until: now,
            alert: None,
            times: 0,
        });
        entry.number = number;
        entry.until = now + time;
        entry.alert = alert.map(Into::into);
        entry.times += 1;
        state.queue.push_back((number, key));
        while state.entries.len() > MOST || state.queue.len() > 2 * MOST {
            state.forget_oldest();
        }
        self.publish(&state);
    }

    /// Whether a client refused the leaf for a host lately.
    pub fn knows(
        &self,
        who: impl FnOnce() -> Client,
        host: Option<&str>,
        destination: SocketAddr,
        now: Instant,
    ) -> bool {
        let mut state = self.lock();
        if state.entries.is_empty() {
            return false;
        }
        if state.forget_expired(now) {
            self.publish(&state);
        }
        let key = Key {
            who: who(),
            host: host.map(Into::into),
            destination,
        };
        state
            .entries
            .get(&key)
            .is_some_and(|entry| entry.until > now)
    }

    /// What is remembered, the latest first.
    pub fn all(&self, now: Instant) -> Vec<Refusal> {
        let state = self.lock();
        let mut found: Vec<_> = state
            .entries
            .iter()
            .filter(|(_, entry)| entry.until > now)
            .collect();
        found.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.number));
        found
            .into_iter()
            .map(|(key, entry)| Refusal {
                client: match &key.who {
                    Client::User(name) => name.to_string(),
                    Client::Address(address) => address.to_string(),
                },
                host: key.host.as_deref().map(str::to_owned),
                destination: key.destination,
                alert: entry.alert.as_deref().map(str::to_owned),
                times: entry.times,
                seconds_left: entry.until.saturating_duration_since(now).as_secs(),
            })
            .collect()
    }

    /// How many are remembered. Holds no flow up; those whose time is over count until the next
    /// flow is looked up.
    pub fn count(&self) -> usize {
        self.remembered.load(Ordering::Relaxed)
    }

    /// Forgets everything; returns how much that was.
    pub fn clear(&self, now: Instant) -> usize {
        let mut state = self.lock();
        let count = state.count(now);
        *state = State {
            next: state.next,
            ..State::default()
        };
        self.publish(&state);
        count
    }

    fn publish(&self, state: &State) {
        self.remembered
            .store(state.entries.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&self, now: Instant) -> usize {
        let entries = self.entries.values();
        entries.filter(|entry| entry.until > now).count()
    }

    /// Forgets some of those whose time is over, and says whether there were any. No more at once
    /// than a flow would not notice; each flow that comes helps.
    fn forget_expired(&mut self, now: Instant) -> bool {
        let before = self.entries.len();
        for _ in 0..AT_ONCE {
            let Some((number, key)) = self.queue.front() else {
                break;
            };
            let entry = self.entries.get(key);
            let stays = |entry: &Entry| entry.number == *number && entry.until > now;
            if entry.is_some_and(stays) {
                break;
            }
            self.forget_oldest();
        }
        self.entries.len() < before
    }

    fn forget_oldest(&mut self) {
        let Some((number, key)) = self.queue.pop_front() else {
            return;
        };
        if self
            .entries
            .get(&key)
            .is_some_and(|entry| entry.number == number)
        {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn address(last: u8) -> Client {
        Client::Address([10, 0, 0, last].into())
    }

    #[test]
    fn a_refusal_is_known_of_the_same_client_to_the_same_place_for_its_time() {
        let rejected = Rejected::default();
        let now = Instant::now();
        let place: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let elsewhere = "192.0.2.2:443".parse().unwrap();
        rejected.note(
            address(1),
            Some("a.example"),
            place,
            Some("unknown_ca"),
            (now, HOUR),
        );
        let knows = |who: &Client, host, to, at| rejected.knows(|| who.clone(), host, to, at);
        assert!(knows(&address(1), Some("a.example"), place, now));
        assert!(!knows(&address(2), Some("a.example"), place, now));
        assert!(!knows(
            &Client::User("10.0.0.1".into()),
            Some("a.example"),
            place,
            now
        ));
        assert!(!knows(&address(1), Some("b.example"), place, now));
        assert!(!knows(&address(1), None, place, now));
        assert!(!knows(&address(1), Some("a.example"), elsewhere, now));
        assert_eq!(rejected.count(), 1);
        assert!(!knows(&address(1), Some("a.example"), place, now + HOUR));
        assert_eq!(rejected.count(), 0, "its time was over");
        rejected.note(address(1), Some("a.example"), place, None, (now, HOUR));
        assert_eq!(rejected.clear(now), 1);
        assert_eq!(rejected.count(), 0);
        assert!(!knows(&address(1), Some("a.example"), place, now));
    }

    #[test]
    fn a_flood_of_refusals_pushes_out_the_oldest() {
        let rejected = Rejected::default();
        let now = Instant::now();
        let place: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let host = |n: usize| format!("n{n}.example");
        // One that comes again and again does not push others out.
        for _ in 0..3 * MOST {
            rejected.note(address(1), Some("again.example"), place, None, (now, HOUR));
        }
        assert_eq!(rejected.all(now).len(), 1);
        for n in 0..MOST + 10 {
            rejected.note(address(1), Some(&host(n)), place, None, (now, HOUR));
        }
        let known = |n| rejected.knows(|| address(1), Some(&host(n)), place, now);
        assert!(!known(0) && known(MOST + 9));
        assert_eq!(rejected.all(now).len(), MOST);
        assert!(rejected.lock().queue.len() <= 2 * MOST);
    }

    #[test]
    fn what_is_remembered_can_be_read() {
        let rejected = Rejected::default();
        let now = Instant::now();
        let place: SocketAddr = "[2001:db8::1]:443".parse().unwrap();
        rejected.note(Client::User("alice".into()), None, place, None, (now, HOUR));
        rejected.note(
            address(1),
            Some("a.example"),
            place,
            Some("unknown_ca"),
            (now, HOUR),
        );
        rejected.note(
            address(1),
            Some("a.example"),
            place,
            Some("bad_certificate"),
            (now, HOUR),
        );
        let expected = Refusal {
            client: "10.0.0.1".to_owned(),
            host: Some("a.example".to_owned()),
            destination: place,
            alert: Some("bad_certificate".to_owned()),
            times: 2,
            seconds_left: 3600,
        };
        let all = rejected.all(now);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0], expected);
        assert_eq!((all[1].client.as_str(), all[1].times), ("alice", 1));
        assert!(rejected.all(now + HOUR).is_empty());
    }
}
