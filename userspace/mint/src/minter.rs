//! The one door to leaves.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    Authorities, Authority, AuthorityError, Clock, Leaf, LeafRequest, MintError, Origin,
    cache::{Cache, Key},
    key::LeafKey,
    leaf::{self, Dates},
    limit::Limiter,
};

/// How leaves are made and kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MinterOptions {
    /// Longest validity of a leaf from now on. Seven days by default: long enough that one is made
    /// rarely, short enough that the key of a process that is gone is soon worth nothing.
    pub validity: Duration,
    /// How far back a leaf's validity may begin, for clients whose clock is behind.
    pub backdate: Duration,
    /// Time before its end from which a leaf is not handed out any more.
    pub margin: Duration,
    /// Leaves that are kept, of some 2 KiB each.
    pub cache: usize,
    /// New leaves of one client in a second, and at once.
    pub mint_rate: u32,
    /// How many new leaves a client may ask for at once.
    pub mint_burst: u32,
}

impl Default for MinterOptions {
    fn default() -> Self {
        Self {
            validity: Duration::from_secs(7 * 86_400),
            backdate: Duration::from_secs(86_400),
            margin: Duration::from_secs(3600),
            cache: 8192,
            mint_rate: 20,
            mint_burst: 200,
        }
    }
}

/// What a minter has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MinterCounts {
    /// Leaves that were made.
    pub minted: u64,
    /// Leaves that were there already.
    pub hits: u64,
    /// Leaves that were not there already, whatever became of the wish.
    pub missed: u64,
    /// Wishes that came faster than a client may have them.
    pub limited: u64,
    /// Leaves that are kept.
    pub cached: usize,
    /// How many are kept at most.
    pub limit: usize,
    /// Leaves that went because others came.
    pub evicted: u64,
}

/// Makes leaves, and keeps those that it made. Shared by all threads.
///
/// All leaves of a minter have one key, which it makes at its beginning and never writes: a copy of
/// a leaf's key is worth nothing after a restart, and making a key for each would cost more than
/// the signature.
pub struct Minter {
    authorities: Authorities,
    untrusted: Authority,
    key: LeafKey,
    dates: Dates,
    cache: Cache,
    limiter: Limiter,
    clock: Arc<dyn Clock>,
    minted: AtomicU64,
    hits: AtomicU64,
    missed: AtomicU64,
    limited: AtomicU64,
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minter")
            .field("authorities", &self.authorities)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Minter {
    /// Makes one, with the key of its leaves and the CA that nobody trusts.
    ///
    /// # Errors
    ///
    /// Only where cryptography fails as a whole, or the clock is beyond the year 9999.
    pub fn new(
        authorities: impl Into<Authorities>,
        options: &MinterOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuthorityError> {
        Ok(Self {
            authorities: authorities.into(),
            untrusted: Authority::untrusted(clock.unix())?,
            key: LeafKey::generate()?,
            dates: Dates::new(options.validity, options.backdate, options.margin),
            cache: Cache::new(options.cache),
            limiter: Limiter::new(options.mint_rate, options.mint_burst),
            clock,
            minted: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            limited: AtomicU64::new(0),
        })
    }

    /// The leaf that a request asks for: one that was made before where it is as good, else a new
    /// one. Takes no longer than one signature, some ten microseconds.
    ///
    /// # Errors
    ///
    /// [`MintError`]: the CA may not or cannot sign for the name now, the origin's certificate has
    /// no validity left, or the client asks for too many new ones.
    pub fn leaf(&self, request: &LeafRequest) -> Result<Arc<Leaf>, MintError> {
        let now = self.clock.unix();
        let (number, authority) = self.authorities.at(now);
        let key = Key {
            name: request.name.clone(),
            origin: request.origin.certificate().map(|found| found.fingerprint),
            faults: match &request.origin {
                Origin::Invalid { faults, .. } => Some(faults.bits()),
                Origin::Gateway | Origin::Accepted(_) => None,
            },
            authority: number,
        };
        let mut was_there = true;
        let leaf = self.cache.get(&key, now, || {
            was_there = false;
            if !self.limiter.take(request.client, self.clock.monotonic()) {
                count(&self.limited);
                return Err(MintError::RateLimited);
            }
            self.make(request, authority, now)
        });
        count(if was_there { &self.hits } else { &self.missed });
        leaf
    }

    /// Makes a leaf, whatever was made before, and without asking whether the client may.
    ///
    /// # Errors
    ///
    /// Those of [`Minter::leaf`] but [`MintError::RateLimited`].
    pub fn mint(&self, request: &LeafRequest) -> Result<Leaf, MintError> {
        let now = self.clock.unix();
        self.make(request, self.authorities.signing(now), now)
    }

    fn make(
        &self,
        request: &LeafRequest,
        authority: &Authority,
        now: i64,
    ) -> Result<Leaf, MintError> {
        let Self {
            untrusted,
            key,
            dates,
            ..
        } = self;
        let leaf = leaf::mint(request, authority, untrusted, key, *dates, now)?;
        count(&self.minted);
        Ok(leaf)
    }

    /// What was done so far. Holds up nobody who wants a leaf.
    #[must_use]
    pub fn counts(&self) -> MinterCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MinterCounts {
            minted: read(&self.minted),
            hits: read(&self.hits),
            missed: read(&self.missed),
            limited: read(&self.limited),
            cached: self.cache.len(),
            limit: self.cache.limit(),
            evicted: self.cache.evicted(),
        }
    }

    /// The authorities that it signs with.
    #[must_use]
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
