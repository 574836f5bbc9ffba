//! Who was recognised lately, and who is being asked about.
//!
//! Neither holds a password: what is looked up is a keyed hash of user and password, whose key is
//! random and never leaves the process.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::{hmac, rand::SystemRandom};
use lru::LruCache;
use tokio::sync::watch;

use super::Identity;

/// Recognised users that are remembered of one provider.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// Different credentials that one provider is asked about at once.
const FLIGHTS: usize = 1024;

/// Credentials, unreadable.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key([u8; 32]);

/// What a provider says of credentials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// They are of this user.
    Known(Arc<Identity>),
    /// They are wrong, or of nobody.
    Wrong,
    /// Nothing, in time.
    Unavailable,
}

/// Who was recognised lately by one provider. Wrong credentials are not remembered.
#[derive(Debug)]
pub(super) struct Cache {
    key: hmac::Key,
    /// How long; zero: not at all.
    time: Duration,
    known: Mutex<LruCache<Key, (Instant, Arc<Identity>)>>,
    flights: Mutex<HashMap<Key, watch::Receiver<Option<Answer>>>>,
}

/// Where an answer will come.
pub(super) type Awaited = watch::Receiver<Option<Answer>>;

/// What to do for an answer.
pub(super) enum Ticket {
    /// Wait for it: somebody asks for it already.
    Wait(Awaited),
    /// Ask, [`Cache::land`] the answer, and wait as the others do.
    Ask(watch::Sender<Option<Answer>>, Awaited),
    /// Nothing: too much is asked at once.
    Full,
}

impl Cache {
    /// Remembers for a time.
    ///
    /// # Errors
    ///
    /// The source of random bytes fails.
    pub(super) fn new(time: Duration) -> Result<Self, aws_lc_rs::error::Unspecified> {
        Ok(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?,
            time,
            known: Mutex::new(LruCache::new(REMEMBERED)),
            flights: Mutex::default(),
        })
    }

    pub(super) fn key(&self, user: &str, password: &str) -> Key {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user.as_bytes());
        context.update(password.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(context.sign().as_ref());
        Key(key)
    }

    /// Who has these credentials, if that was found out lately.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Arc<Identity>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, identity) = known.get(key)?;
        if now < *until {
            return Some(Arc::clone(identity));
        }
        known.pop(key);
        None
    }

    /// Joins whoever asks about the same credentials.
    pub(super) fn board(&self, key: Key) -> Ticket {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return Ticket::Wait(flight.clone());
        }
        if flights.len() >= FLIGHTS {
            return Ticket::Full;
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key, receiver.clone());
        Ticket::Ask(sender, receiver)
    }

    /// Gives all who wait the answer, and remembers who it is.
    pub(super) fn land(
        &self,
        key: Key,
        sender: &watch::Sender<Option<Answer>>,
        answer: Answer,
        now: Instant,
    ) {
        if let Answer::Known(identity) = &answer
            && let Some(until) = now.checked_add(self.time)
            && !self.time.is_zero()
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.put(key, (until, Arc::clone(identity)));
        }
        sender.send_replace(Some(answer));
        self.leave(&key);
    }

    /// Forgets that somebody asks.
    pub(super) fn leave(&self, key: &Key) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(key);
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Source;

    fn alice() -> Arc<Identity> {
        Arc::new(Identity {
            user: "alice".into(),
            groups: Box::default(),
            source: Source::Credentials("files".into()),
        })
    }

    fn ask(cache: &Cache, key: Key, answer: Answer, now: Instant) {
        let Ticket::Ask(sender, receiver) = cache.board(key) else {
            panic!("nobody asks yet");
        };
        cache.land(key, &sender, answer.clone(), now);
        assert_eq!(*receiver.borrow(), Some(answer));
    }

    #[test]
    fn the_right_are_remembered_for_a_time_and_the_wrong_never() {
        let minute = Duration::from_secs(60);
        let cache = Cache::new(minute).unwrap();
        let now = Instant::now();
        let [right, wrong] = ["right", "wrong"].map(|password| cache.key("alice", password));
        ask(&cache, right, Answer::Known(alice()), now);
        ask(&cache, wrong, Answer::Wrong, now);
        assert_eq!(cache.get(&right, now), Some(alice()));
        assert_eq!(cache.get(&wrong, now), None);
        assert_eq!(cache.get(&right, now + minute), None);
        assert_eq!(cache.len(), 0);
        let never = Cache::new(Duration::ZERO).unwrap();
        let key = never.key("alice", "right");
        ask(&never, key, Answer::Known(alice()), now);
        assert_eq!(never.get(&key, now), None);
    }

    #[test]
    fn keys_tell_credentials_apart_and_differ_between_caches() {
        let cache = Cache::new(Duration::ZERO).unwrap();
        let other = Cache::new(Duration::ZERO).unwrap();
        assert_eq!(cache.key("a", "bc"), cache.key("a", "bc"));
        assert_ne!(cache.key("a", "bc"), cache.key("ab", "c"));
        assert_ne!(cache.key("a", "bc"), other.key("a", "bc"));
    }

    #[test]
    fn the_same_is_asked_once_and_not_too_much_at_once() {
        let cache = Cache::new(Duration::ZERO).unwrap();
        let key = cache.key("alice", "right");
        let Ticket::Ask(sender, _) = cache.board(key) else {
            panic!("nobody asks yet");
        };
        let Ticket::Wait(waiting) = cache.board(key) else {
            panic!("somebody asks");
        };
        cache.land(key, &sender, Answer::Wrong, Instant::now());
        assert_eq!(*waiting.borrow(), Some(Answer::Wrong));
        let open: Vec<_> = (0..FLIGHTS)
            .map(|number| cache.board(cache.key(&number.to_string(), "")))
            .collect();
        assert!(matches!(cache.board(key), Ticket::Full));
        assert!(open.iter().all(|one| matches!(one, Ticket::Ask(..))));
    }
}
