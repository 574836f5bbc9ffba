//! Session tickets that open only for whom and for what they were made.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{Context, SHA256},
    error::Unspecified,
    rand,
};
use rustls::server::ProducesTickets;

/// How long one key makes tickets; a ticket is taken for up to twice as long.
const ROTATION: Duration = Duration::from_secs(6 * 3600);

/// The keys that tickets of the whole process are made with: never written, never shared.
///
/// A ticket of the kind that RFC 5077 and RFC 8446 section 4.6.1 speak of holds the whole state of
/// a session, so that whoever presents it resumes that session. Here it is sealed together with a
/// [`Binding`], and opens under no other.
pub struct TicketKeys(Mutex<Keys>);

struct Keys {
    current: Arc<RandomizedNonceKey>,
    /// The key before the current one.
    last: Option<Arc<RandomizedNonceKey>>,
    since: Instant,
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// A first key.
    ///
    /// # Errors
    ///
    /// The source of random bytes fails.
    pub fn new() -> Result<Self, Unspecified> {
        Ok(Self(Mutex::new(Keys {
            current: Arc::new(fresh()?),
            last: None,
            since: Instant::now(),
        })))
    }

    /// The current key, and the one before it.
    fn keys(&self, now: Instant) -> (Arc<RandomizedNonceKey>, Option<Arc<RandomizedNonceKey>>) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_duration_since(keys.since);
        if age >= ROTATION
            && let Ok(key) = fresh()
        {
            let last = std::mem::replace(&mut keys.current, Arc::new(key));
            keys.last = (age < 2 * ROTATION).then_some(last);
            keys.since = now;
        }
        (Arc::clone(&keys.current), keys.last.clone())
    }
}

fn fresh() -> Result<RandomizedNonceKey, Unspecified> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    key
}

/// Everything that must be the same for a session to be resumed.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Who the client is: the user, or else the address.
    pub identity: &'a str,
    /// The server name or address that the client asked for.
    pub host: &'a str,
    /// Number of the generation of the policy.
    pub generation: u64,
    /// Fingerprint of the leaf that the client was shown.
    pub leaf: &'a [u8],
    /// The application protocol that both legs speak.
    pub alpn: Option<&'a [u8]>,
}

/// A digest of what a ticket is bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Binding([u8; 32]);

impl Binding {
    /// Digests what a ticket is bound to.
    #[must_use]
    pub fn of(bound: &Bound<'_>) -> Self {
        let mut context = Context::new(&SHA256);
        let generation = bound.generation.to_be_bytes();
        let alpn = bound.alpn.unwrap_or_default();
        for part in [
            bound.identity.as_bytes(),
            bound.host.as_bytes(),
            &generation,
            bound.leaf,
            alpn,
        ] {
            // Each behind its length, so that no two sets of parts run together.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

/// Makes and opens the tickets of one connection.
#[derive(Debug)]
pub struct BoundTickets {
    keys: Arc<TicketKeys>,
    binding: Binding,
}

impl BoundTickets {
    /// Tickets for a binding.
    #[must_use]
    pub const fn new(keys: Arc<TicketKeys>, binding: Binding) -> Self {
        Self { keys, binding }
    }

    fn seal(&self, plain: &[u8], now: Instant) -> Option<Vec<u8>> {
        let (key, _) = self.keys.keys(now);
        let mut sealed = plain.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(self.binding.0), &mut sealed)
            .ok()?;
        let mut ticket = nonce.as_ref().to_vec();
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: Instant) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_at_checked(NONCE_LEN)?;
        let (current, last) = self.keys.keys(now);
        [Some(current), last].into_iter().flatten().find_map(|key| {
            let mut bytes = sealed.to_vec();
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let plain = key
                .open_in_place(nonce, Aad::from(self.binding.0), &mut bytes)
                .ok()?;
            Some(plain.to_vec())
        })
    }
}

impl ProducesTickets for BoundTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(ROTATION.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, Instant::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound<'_> = Bound {
        identity: "alice",
        host: "a.example",
        generation: 3,
        leaf: b"leaf",
        alpn: Some(b"h2"),
    };

    #[test]
    fn e7_a_ticket_opens_for_the_same_client_host_and_policy_alone() {
        let keys = Arc::new(TicketKeys::new().unwrap());
        let tickets = |bound: &Bound<'_>| BoundTickets::new(Arc::clone(&keys), Binding::of(bound));
        let ticket = tickets(&BOUND).encrypt(b"session").unwrap();
        assert_eq!(tickets(&BOUND).decrypt(&ticket).unwrap(), b"session");
        for other in [
            Bound {
                identity: "bob",
                ..BOUND
            },
            Bound {
                host: "b.example",
                ..BOUND
            },
            Bound {
                generation: 4,
                ..BOUND
            },
            Bound {
                leaf: b"other",
                ..BOUND
            },
            Bound {
                alpn: None,
                ..BOUND
            },
            // Parts that run together read alike.
            Bound {
                identity: "alicea",
                host: ".example",
                ..BOUND
            },
        ] {
            assert_eq!(tickets(&other).decrypt(&ticket), None, "{other:?}");
        }
        let restarted = Arc::new(TicketKeys::new().unwrap());
        let after = BoundTickets::new(restarted, Binding::of(&BOUND));
        assert_eq!(after.decrypt(&ticket), None);
    }

    #[test]
    fn what_is_no_ticket_opens_nothing() {
        let keys = Arc::new(TicketKeys::new().unwrap());
        let tickets = BoundTickets::new(keys, Binding::of(&BOUND));
        let ticket = tickets.encrypt(b"session").unwrap();
        for length in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..length]), None);
        }
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None);
        }
    }

    #[test]
    fn a_ticket_outlives_one_rotation_and_no_second() {
        let keys = Arc::new(TicketKeys::new().unwrap());
        let tickets = BoundTickets::new(keys, Binding::of(&BOUND));
        let now = Instant::now();
        let ticket = tickets.seal(b"session", now).unwrap();
        assert!(tickets.open(&ticket, now + ROTATION).is_some());
        assert!(tickets.open(&ticket, now + 2 * ROTATION).is_none());
    }

    #[test]
    fn a_key_that_nobody_used_for_long_is_not_kept() {
        let keys = Arc::new(TicketKeys::new().unwrap());
        let tickets = BoundTickets::new(keys, Binding::of(&BOUND));
        let now = Instant::now();
        let ticket = tickets.seal(b"session", now).unwrap();
        assert!(tickets.open(&ticket, now + 3 * ROTATION).is_none());
    }
}
