//! Who has which address, as somebody told the daemon or as a proxy listener learned.
//!
//! It outlives reloads. What was told goes before what was learned, and learning never takes the
//! place of anything told: whoever tells comes in by the admin socket, whoever is learned from needs
//! no more than credentials of his own and many addresses.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Identity, Source};

/// How many addresses are remembered at most, where nothing else is said.
pub const LIMIT: usize = 65_536;

/// The part of `[identity]` that is about addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// How long an address stands for somebody, where whoever tells says nothing; more than zero.
    pub ttl: Duration,
    /// How many addresses are remembered, at least one.
    pub limit: usize,
    /// How long an address stands for somebody who was seen there by a proxy listener; zero: not at
    /// all.
    pub proxy_stands_for_address: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(8 * 3600),
            limit: LIMIT,
            proxy_stands_for_address: Duration::ZERO,
        }
    }
}

/// The clients whose address says who they are.
///
/// A look-up takes one shared lock and allocates nothing; while nothing is held it takes no lock.
#[derive(Debug)]
pub struct Addresses {
    state: RwLock<State>,
    /// Entries, those included whose time is over.
    held: AtomicUsize,
    limit: AtomicUsize,
    displaced: AtomicU64,
    changes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<IpAddr, Entry>,
    /// When what is held ends: of what was learned, and of what was told.
    ends: [BTreeSet<(Instant, IpAddr)>; 2],
}

#[derive(Clone, Debug)]
struct Entry {
    identity: Arc<Identity>,
    until: Instant,
}

/// What is held of an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The address; an IPv4 address in IPv6 form stands as IPv4.
    pub address: IpAddr,
    /// Who has it.
    pub identity: Arc<Identity>,
    /// For how long still.
    pub left: Duration,
}

/// What became of somebody who was told or learned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noted {
    /// The address stands for the user from now on.
    Taken,
    /// It does so for longer or shorter than before, or somebody else had it.
    Replaced,
    /// Something that was told holds still, or there is no room that learning may take.
    Refused,
}

impl Default for Addresses {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

impl Addresses {
    /// Nobody yet, with room for `limit` addresses, at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            state: RwLock::default(),
            held: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit.max(1)),
            displaced: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        }
    }

    /// Makes room for `limit` addresses, at least one; what is too much goes as it would for a
    /// newcomer.
    pub fn set_limit(&self, limit: usize, now: Instant) {
        let mut state = self.write();
        self.limit.store(limit.max(1), Ordering::Relaxed);
        state.forget_ended(now);
        while state.entries.len() > limit.max(1) && state.displace(Kind::Told) {
            self.displaced.fetch_add(1, Ordering::Relaxed);
        }
        self.held.store(state.entries.len(), Ordering::Release);
    }

    /// Who has an address.
    #[must_use]
    pub fn at(&self, address: IpAddr, now: Instant) -> Option<Arc<Identity>> {
        if self.held.load(Ordering::Acquire) == 0 {
            return None;
        }
        let state = self.read();
        let entry = state.entries.get(&address.to_canonical())?;
        (entry.until > now).then(|| Arc::clone(&entry.identity))
    }

    /// What is held of an address.
    #[must_use]
    pub fn held(&self, address: IpAddr, now: Instant) -> Option<Held> {
        let address = address.to_canonical();
        let state = self.read();
        let entry = state.entries.get(&address)?;
        entry.held(address, now)
    }

    /// Has an address stand for somebody for a time, whoever had it before. An `identity` of any
    /// other source than an address is taken as told as well.
    pub fn tell(
        &self,
        address: IpAddr,
        identity: Identity,
        (now, time): (Instant, Duration),
    ) -> Noted {
        let identity = Identity {
            source: Source::Address,
            ..identity
        };
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.note(Kind::Told, address, Arc::new(identity), now, now + time)
    }

    /// Has an address stand for the user who showed credentials or a certificate at it, for a time
    /// from now. A time of zero learns nothing.
    ///
    /// Cheap enough for every request: somebody who is known already is only remembered for longer
    /// once a sixteenth of the time has passed.
    pub fn learn(
        &self,
        address: IpAddr,
        identity: &Identity,
        (now, time): (Instant, Duration),
    ) -> Noted {
        let from: Arc<str> = match &identity.source {
            // Whom an address stands for already, nobody has learned from.
            Source::Address | Source::Learned(_) => return Noted::Refused,
            Source::Certificate => "certificate".into(),
            Source::Credentials(provider) => Arc::clone(provider),
        };
        if time.is_zero() {
            return Noted::Refused;
        }
        let address = address.to_canonical();
        let until = now + time;
        if let Some(entry) = self.read().entries.get(&address)
            && entry.until > now
        {
            let known = &entry.identity;
            let same = known.user == identity.user
                && known.groups == identity.groups
                && known.source == Source::Learned(Arc::clone(&from));
            if Kind::of(known) == Kind::Told {
                return Noted::Refused;
            }
            if same && entry.until + time / 16 > until && entry.until <= until {
                return Noted::Replaced;
            }
        }
        let identity = Arc::new(Identity {
            user: identity.user.clone(),
            groups: identity.groups.clone(),
            source: Source::Learned(from),
        });
        self.note(Kind::Learned, address, identity, now, until)
    }

    /// Forgets who has an address, where it is this user if one is named; returns what was held of
    /// it.
    pub fn forget(&self, address: IpAddr, user: Option<&str>, now: Instant) -> Option<Held> {
        let address = address.to_canonical();
        let mut state = self.write();
        let entry = state.entries.get(&address)?;
        if user.is_some_and(|user| *entry.identity.user != *user) {
            return None;
        }
        let entry = state.remove(address);
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.held.store(state.entries.len(), Ordering::Release);
        entry?.held(address, now)
    }

    /// Up to `most` of what is held, in the order of addresses, of those behind `after`.
    #[must_use]
    pub fn list(&self, after: Option<IpAddr>, most: usize, now: Instant) -> Vec<Held> {
        let behind = |address: IpAddr| after.is_none_or(|after| address > after.to_canonical());
        // Sorted without the lock, for which flows may wait.
        let mut found: Vec<Held> = {
            let state = self.read();
            let entries = state.entries.iter().filter(|(at, _)| behind(**at));
            let held = entries.filter_map(|(address, entry)| entry.held(*address, now));
            held.collect()
        };
        found.sort_unstable_by_key(|held| held.address);
        found.truncate(most);
        found
    }

    /// How many addresses stand for somebody who was learned, and who was told.
    #[must_use]
    pub fn count(&self, now: Instant) -> [usize; 2] {
        let state = self.read();
        let ended = |ends: &BTreeSet<(Instant, IpAddr)>| {
            ends.iter().take_while(|(until, _)| *until <= now).count()
        };
        state.ends.each_ref().map(|ends| ends.len() - ended(ends))
    }

    /// How many were forgotten before their time, or not learned, for want of room.
    #[must_use]
    pub fn displaced(&self) -> u64 {
        self.displaced.load(Ordering::Relaxed)
    }

    /// Counts up whenever something is told or forgotten.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn note(
        &self,
        kind: Kind,
        address: IpAddr,
        identity: Arc<Identity>,
        now: Instant,
        until: Instant,
    ) -> Noted {
        let address = address.to_canonical();
        let mut state = self.write();
        state.forget_ended(now);
        let before = state.entries.get(&address);
        if kind == Kind::Learned && before.is_some_and(|entry| entry.kind() == Kind::Told) {
            return Noted::Refused;
        }
        let replaced = state.remove(address).is_some();
        if state.entries.len() >= self.limit.load(Ordering::Relaxed) {
            self.displaced.fetch_add(1, Ordering::Relaxed);
            if !state.displace(kind) {
                self.held.store(state.entries.len(), Ordering::Release);
                return Noted::Refused;
            }
        }
        state.ends_of(kind).insert((until, address));
        state.entries.insert(address, Entry { identity, until });
        self.held.store(state.entries.len(), Ordering::Release);
        if replaced {
            Noted::Replaced
        } else {
            Noted::Taken
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an entry comes from; the later prevails.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    Learned,
    Told,
}

impl Kind {
    const fn of(identity: &Identity) -> Self {
        match identity.source {
            Source::Learned(_) => Self::Learned,
            _ => Self::Told,
        }
    }
}

impl Entry {
    fn kind(&self) -> Kind {
        Kind::of(&self.identity)
    }

    fn held(&self, address: IpAddr, now: Instant) -> Option<Held> {
        let left = self.until.checked_duration_since(now)?;
        (!left.is_zero()).then(|| Held {
            address,
            identity: Arc::clone(&self.identity),
            left,
        })
    }
}

impl State {
    const fn ends_of(&mut self, kind: Kind) -> &mut BTreeSet<(Instant, IpAddr)> {
        let [learned, told] = &mut self.ends;
        match kind {
            Kind::Learned => learned,
            Kind::Told => told,
        }
    }

    fn remove(&mut self, address: IpAddr) -> Option<Entry> {
        let entry = self.entries.remove(&address)?;
        self.ends_of(entry.kind()).remove(&(entry.until, address));
        Some(entry)
    }

    /// Forgets those whose time is over. Each is forgotten once, so that this costs no more than
    /// noting it did.
    fn forget_ended(&mut self, now: Instant) {
        for kind in [Kind::Learned, Kind::Told] {
            while let Some(&(until, address)) = self.ends_of(kind).first()
                && until <= now
            {
                self.remove(address);
            }
        }
    }

    /// Makes room for somebody of a kind: whoever was learned and would end soonest goes, and only
    /// for somebody told whoever was told.
    fn displace(&mut self, newcomer: Kind) -> bool {
        for kind in [Kind::Learned, Kind::Told] {
            if kind > newcomer {
                break;
            }
            if let Some(&(_, address)) = self.ends_of(kind).first() {
                self.remove(address);
                return true;
            }
        }
        false
    }
}
