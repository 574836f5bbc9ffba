//! Leaves that were made: bounded, the longest unused goes first, and each is made once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::{Fingerprint, Leaf, LeafName, MintError};

/// What makes one leaf as good as another.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: LeafName,
    pub(crate) origin: Option<Fingerprint>,
    /// The faults; `None`: an accepted certificate, or none.
    pub(crate) faults: Option<u8>,
    /// Which of the authorities.
    pub(crate) authority: u8,
}

/// Where a leaf is, or is being made. Whoever holds the lock makes it; the others wait, which takes
/// as long as one signature.
type Place = Arc<Mutex<Option<Arc<Leaf>>>>;

#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    state: Mutex<State>,
    /// How many places there are, written by whoever holds the state, so that asking holds nobody up.
    length: AtomicUsize,
    evicted: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    places: HashMap<Key, (Place, u64)>,
    /// By the number of their last use.
    order: BTreeMap<u64, Key>,
    uses: u64,
}

impl Cache {
    /// One that holds so many leaves, at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            state: Mutex::default(),
            length: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// How many leaves went because others came.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// The leaf of a key, if it is fresh; otherwise the one that `make` makes, which runs once
    /// however many ask at the same time. What it refuses is not remembered.
    pub(crate) fn get(
        &self,
        key: &Key,
        now: i64,
        make: impl FnOnce() -> Result<Leaf, MintError>,
    ) -> Result<Arc<Leaf>, MintError> {
        let place = self.place(key);
        let made = {
            let mut held = lock(&place);
            if let Some(leaf) = held.as_ref().filter(|leaf| leaf.is_fresh(now)) {
                return Ok(leaf.clone());
            }
            make().map(|leaf| {
                let leaf = Arc::new(leaf);
                *held = Some(leaf.clone());
                leaf
            })
        };
        if made.is_err() {
            self.forget(key, &place, now);
        }
        made
    }

    fn place(&self, key: &Key) -> Place {
        let mut state = lock(&self.state);
        let State {
            places,
            order,
            uses,
        } = &mut *state;
        *uses += 1;
        if let Some((place, last)) = places.get_mut(key) {
            order.remove(last);
            order.insert(*uses, key.clone());
            *last = *uses;
            return place.clone();
        }
        if places.len() >= self.limit
            && let Some((_, oldest)) = order.pop_first()
        {
            places.remove(&oldest);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        let place = Place::default();
        places.insert(key.clone(), (place.clone(), *uses));
        order.insert(*uses, key.clone());
        self.length.store(places.len(), Ordering::Relaxed);
        place
    }

    /// Gives back a place in which nothing of use stands.
    fn forget(&self, key: &Key, place: &Place, now: i64) {
        let mut state = lock(&self.state);
        let found = state.places.get(key);
        let is_same = found.is_some_and(|(found, _)| Arc::ptr_eq(found, place));
        // Somebody else may be at work in it.
        let is_useless = place
            .try_lock()
            .is_ok_and(|held| !held.as_ref().is_some_and(|leaf| leaf.is_fresh(now)));
        if is_same
            && is_useless
            && let Some((_, last)) = state.places.remove(key)
        {
            state.order.remove(&last);
            self.length.store(state.places.len(), Ordering::Relaxed);
        }
    }
}

/// Every value behind these locks is whole at any time, also where a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
