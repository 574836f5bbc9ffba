//! Slowing down who guesses passwords.
//!
//! A wrong answer is remembered for the address that gave it and for the user whom it was about. The
//! next answer is looked at only after a wait that doubles with every wrong one, up to a bound. The
//! wait is as long as the address or the user has made it, and counts from the last wrong answer *of
//! that address*: whoever guesses at a user makes the wait longer for others, up to the bound, but
//! cannot put it off. An address that gave no wrong answer is looked at at once. Nobody is ever
//! locked out.
//!
//! An address that gave the right answer for a user is from then on judged for that user by
//! itself, so that neither guesses from elsewhere nor other users behind the same address slow it.
//!
//! Of IPv6 an address stands for its /64, which one client commonly has to itself. The same wrong
//! credentials are counted once: software that goes on with an old password is no guesser.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

/// How much is remembered of each kind; beyond it the one longest not seen is forgotten.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// Wrong answers that cost nothing: people mistype.
const FREE: u32 = 4;

/// After this time one wrong answer is forgiven.
const FORGIVEN: Duration = Duration::from_secs(600);

/// The longest wait that an address brings upon itself.
const ADDRESS_WAIT: Duration = Duration::from_secs(300);

/// The longest wait that others can bring upon a user.
const USER_WAIT: Duration = Duration::from_secs(60);

/// Different credentials of one address that are looked at at once.
const AT_ONCE: usize = 32;

/// Different wrong credentials of an address that are known again.
const KNOWN_WRONG: usize = 8;

/// Who guessed how often, of bounded size.
#[derive(Debug)]
pub struct Attempts {
    state: Mutex<State>,
    hasher: RandomState,
}

#[derive(Debug)]
struct State {
    addresses: LruCache<Place, Address>,
    users: LruCache<u64, Wrong>,
    /// Addresses and users that were right together.
    known: LruCache<(Place, u64), Wrong>,
}

/// An IPv4 address, or the /64 of an IPv6 address.
pub(crate) type Place = IpAddr;

/// Wrong answers, and when the last one was.
#[derive(Clone, Copy, Debug, Default)]
struct Wrong {
    count: u32,
    last: Option<Instant>,
}

#[derive(Debug, Default)]
struct Address {
    wrong: Wrong,
    /// Credentials that are being looked at, each by how many requests.
    open: Vec<(u64, usize)>,
    /// Credentials that were wrong lately.
    seen: VecDeque<u64>,
}

impl Wrong {
    fn add(&mut self, now: Instant) {
        self.count = self.at(now).saturating_add(1);
        self.last = Some(now);
    }

    /// How many are not forgiven.
    fn at(&self, now: Instant) -> u32 {
        let Some(last) = self.last else {
            return 0;
        };
        let age = now.saturating_duration_since(last).as_secs();
        let forgiven = age / FORGIVEN.as_secs();
        self.count
            .saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }
}

/// The wait after so many wrong answers.
fn wait(count: u32, most: Duration) -> Duration {
    let Some(over) = count.checked_sub(FREE) else {
        return Duration::ZERO;
    };
    let seconds = 1_u64.checked_shl(over).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(most)
}

/// Credentials that may be looked at. Dropped without a verdict it leaves no trace.
#[derive(Debug)]
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    place: Place,
    user: u64,
    credentials: u64,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                addresses: LruCache::new(REMEMBERED),
                users: LruCache::new(REMEMBERED),
                known: LruCache::new(REMEMBERED),
            }),
            hasher: RandomState::new(),
        }
    }
}

impl Attempts {
    /// Lets credentials be looked at, or says how long not.
    ///
    /// # Errors
    ///
    /// The time to wait from `now` on.
    pub fn begin(
        &self,
        from: IpAddr,
        user: &str,
        password: &str,
        now: Instant,
    ) -> Result<Attempt<'_>, Duration> {
        let place = place(from);
        let credentials = self.hasher.hash_one((user, password));
        let user = self.hasher.hash_one(user);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let of_user = state.users.get(&user).map_or(0, |wrong| wrong.at(now));
        let known = state.known.get(&(place, user)).copied();
        let address = state.addresses.get(&place);
        let (last, until) = if let Some(wrong) = known {
            (wrong.last, wait(wrong.count, USER_WAIT))
        } else if let Some(Address { wrong, .. }) = address {
            let longer = wait(of_user, USER_WAIT).max(wait(wrong.count, ADDRESS_WAIT));
            (wrong.last, longer)
        } else {
            (None, Duration::ZERO)
        };
        let passed = last.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        if passed < until {
            return Err(until - passed);
        }
        let address = state.addresses.get_or_insert_mut(place, Address::default);
        let slowed = known.is_none() && address.wrong.count >= FREE;
        let of_these = address.open.iter().position(|(one, _)| *one == credentials);
        if let Some((_, requests)) = of_these.and_then(|place| address.open.get_mut(place)) {
            *requests += 1;
        } else if address.open.len() < if slowed { 1 } else { AT_ONCE } {
            address.open.push((credentials, 1));
        } else {
            // Else a thousand guesses at once would all come before the first is found wrong.
            return Err(Duration::from_secs(1));
        }
        Ok(Attempt {
            attempts: self,
            place,
            user,
            credentials,
        })
    }
}

impl Attempt<'_> {
    /// They were right.
    pub fn right(self) {
        let mut state = self.lock();
        state.known.put((self.place, self.user), Wrong::default());
    }

    /// They were wrong.
    pub fn wrong(self, now: Instant) {
        let mut state = self.lock();
        let state = &mut *state;
        let address = state
            .addresses
            .get_or_insert_mut(self.place, Address::default);
        if address.seen.contains(&self.credentials) {
            return;
        }
        if address.seen.len() >= KNOWN_WRONG {
            address.seen.pop_front();
        }
        address.seen.push_back(self.credentials);
        if let Some(known) = state.known.get_mut(&(self.place, self.user)) {
            known.add(now);
            return;
        }
        address.wrong.add(now);
        let of_user = state.users.get_or_insert_mut(self.user, Wrong::default);
        of_user.add(now);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        let state = self.attempts.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.lock();
        let Some(address) = state.addresses.peek_mut(&self.place) else {
            return;
        };
        if let Some((_, requests)) = address
            .open
            .iter_mut()
            .find(|(credentials, _)| *credentials == self.credentials)
        {
            *requests -= 1;
        }
        address.open.retain(|&(_, requests)| requests > 0);
        // An address that was never wrong is not slowed, and need not be known.
        if address.open.is_empty() && address.wrong.last.is_none() && address.seen.is_empty() {
            state.addresses.pop(&self.place);
        }
    }
}

/// Whom a wait is for: whoever has an IPv6 address has all of its /64.
pub(crate) fn place(from: IpAddr) -> Place {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            const NETWORK: u128 = !(u64::MAX as u128);
            Ipv6Addr::from_bits(address.to_bits() & NETWORK).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "192.0.2.7";

    struct Lab {
        attempts: Attempts,
        now: Instant,
    }

    impl Lab {
        fn new() -> Self {
            Self {
                attempts: Attempts::default(),
                now: Instant::now(),
            }
        }

        fn wrong(&self, from: &str, user: &str, password: &str) -> Result<(), Duration> {
            let from = from.parse().unwrap();
            let attempt = self.attempts.begin(from, user, password, self.now)?;
            attempt.wrong(self.now);
            Ok(())
        }

        fn right(&self, from: &str, user: &str) -> Result<(), Duration> {
            let from = from.parse().unwrap();
            self.attempts.begin(from, user, "right", self.now)?.right();
            Ok(())
        }

        /// Guesses until it is slowed.
        fn guess(&self, from: &str, user: &str) -> (usize, Duration) {
            for number in 0.. {
                if let Err(wait) = self.wrong(from, user, &format!("{number} {:?}", self.now)) {
                    return (number, wait);
                }
            }
            unreachable!("the numbers do not end");
        }

        fn after(&mut self, time: Duration) {
            self.now += time;
        }
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_is_forgiven() {
        let mut lab = Lab::new();
        assert_eq!(lab.guess(ADDRESS, "alice"), (4, Duration::from_secs(1)));
        let mut waits = Vec::new();
        for _ in 0..12 {
            let (looked_at, wait) = lab.guess(ADDRESS, "alice");
            waits.push((looked_at, wait.as_secs()));
            lab.after(wait);
        }
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300];
        assert_eq!(waits.iter().map(|one| one.1).collect::<Vec<_>>(), expected);
        assert!(waits.iter().skip(1).all(|one| one.0 == 1), "{waits:?}");
        lab.after(FORGIVEN * 20);
        assert_eq!(lab.guess(ADDRESS, "alice").0, 4);
    }

    #[test]
    fn an_address_is_slowed_for_every_user_and_others_are_not() {
        let lab = Lab::new();
        for user in ["a", "b", "c", "d"] {
            lab.wrong(ADDRESS, user, "guess").unwrap();
        }
        assert_eq!(lab.right(ADDRESS, "e"), Err(Duration::from_secs(1)));
        assert_eq!(lab.right("192.0.2.8", "a"), Ok(()));
        // A /64 is one client.
        for host in 1..=4 {
            let from = format!("2001:db8::{host}");
            lab.wrong(&from, "f", &from).unwrap();
        }
        assert!(lab.right("2001:db8::99", "f").is_err());
        assert_eq!(lab.right("2001:db8:0:1::1", "f"), Ok(()));
    }

    #[test]
    fn nobody_can_keep_a_user_out() {
        let mut lab = Lab::new();
        // A whole network guesses at alice.
        for host in 0..200 {
            lab.wrong(&format!("198.51.100.{host}"), "alice", "guess")
                .unwrap();
        }
        // Elsewhere she is heard at once, and after a slip of her own within the bound.
        lab.wrong(ADDRESS, "alice", "slip").unwrap();
        assert_eq!(lab.right(ADDRESS, "alice"), Err(USER_WAIT));
        lab.after(USER_WAIT / 2);
        lab.wrong("198.51.100.201", "alice", "guess").unwrap();
        assert_eq!(lab.right(ADDRESS, "alice"), Err(USER_WAIT / 2));
        lab.after(USER_WAIT / 2);
        assert_eq!(lab.right(ADDRESS, "alice"), Ok(()));
        assert_eq!(lab.right("192.0.2.8", "alice"), Ok(()));
    }

    #[test]
    fn who_was_right_is_judged_alone_and_slowed_too() {
        let lab = Lab::new();
        lab.right(ADDRESS, "alice").unwrap();
        // The neighbour behind the same address guesses at others.
        lab.guess(ADDRESS, "bob");
        assert_eq!(lab.right(ADDRESS, "alice"), Ok(()));
        assert_eq!(lab.guess(ADDRESS, "alice").0, 4);
        assert!(lab.right(ADDRESS, "alice").is_err());
    }

    #[test]
    fn old_passwords_count_once() {
        let lab = Lab::new();
        for _ in 0..100 {
            lab.wrong(ADDRESS, "alice", "of last year").unwrap();
        }
        assert_eq!(lab.right(ADDRESS, "alice"), Ok(()));
    }

    #[test]
    fn guesses_at_once_are_bounded_and_the_same_credentials_are_one() {
        let lab = Lab::new();
        let from = ADDRESS.parse().unwrap();
        let begin = |password: &str| lab.attempts.begin(from, "alice", password, lab.now);
        let browser: Vec<_> = (0..100).map(|_| begin("right").unwrap()).collect();
        let guesses: Vec<_> = (0..100)
            .filter_map(|number| begin(&number.to_string()).ok())
            .collect();
        assert_eq!((browser.len(), guesses.len()), (100, AT_ONCE - 1));
        drop((browser, guesses));
        // Slowed, it has one open at a time.
        let (_, wait) = lab.guess(ADDRESS, "alice");
        let later = lab.now + wait;
        let one = lab.attempts.begin(from, "alice", "x", later).unwrap();
        assert!(lab.attempts.begin(from, "alice", "y", later).is_err());
        drop(one);
        assert!(lab.attempts.begin(from, "alice", "y", later).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let lab = Lab::new();
        for number in 0..70_000_u32 {
            let from = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
            lab.wrong(&from.to_string(), &number.to_string(), "guess")
                .unwrap();
        }
        let state = lab.attempts.state.lock().unwrap();
        assert_eq!(state.addresses.len(), REMEMBERED.get());
        assert_eq!(state.users.len(), REMEMBERED.get());
    }

    #[test]
    fn what_comes_to_nothing_leaves_nothing() {
        let lab = Lab::new();
        let from = ADDRESS.parse().unwrap();
        drop(lab.attempts.begin(from, "alice", "x", lab.now).unwrap());
        assert_eq!(lab.attempts.state.lock().unwrap().addresses.len(), 0);
    }
}
