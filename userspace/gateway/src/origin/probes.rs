//! Handshakes that are made for nothing but what they tell, and remembered.

mod tally;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use rustls::pki_types::UnixTime;
use sluice_policy::{Alpn, TlsVersion, TlsVersions};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use tally::Tally;
pub use tally::{ProbeCounts, Probing};

use super::failure::HandshakeFailure;
use super::rate::{Bucket, Rate};
use super::report::Report;

/// How many protocols of a hello are told apart, and how long their names may be, in bytes.
const PROTOCOLS: usize = 8;
const PROTOCOL_LENGTH: usize = 32;
/// How many clients are remembered for their rate. More at a time than that are held by the rate
/// of all.
const CLIENTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8191);

/// What of a client's hello can change what an origin answers to a hello of sluice's own.
///
/// That is which of TLS 1.2 and 1.3 the client offers, and which application protocols, in any
/// order: some origins show another certificate for some of them. Cipher suites, groups and the rest
/// are sluice's own in every hello that it sends, so that they are no part of it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HelloClass {
    tls12: bool,
    tls13: bool,
    alpn: Vec<Vec<u8>>,
}

impl HelloClass {
    /// The class of a hello. Of its protocols the first eight count whose names have at most 32
    /// bytes.
    #[must_use]
    pub fn of(versions: TlsVersions, alpn: Alpn<'_>) -> Self {
        let offers = |version| versions.meets(TlsVersions::of([version]));
        let mut names: Vec<Vec<u8>> = alpn
            .iter()
            .filter(|name| !name.is_empty() && name.len() <= PROTOCOL_LENGTH)
            .take(PROTOCOLS)
            .map(<[u8]>::to_vec)
            .collect();
        names.sort_unstable();
        names.dedup();
        Self {
            tls12: offers(TlsVersion::Tls12),
            tls13: offers(TlsVersion::Tls13),
            alpn: names,
        }
    }

    /// Whether the version is offered.
    #[must_use]
    pub const fn offers(&self, version: TlsVersion) -> bool {
        match version {
            TlsVersion::Tls12 => self.tls12,
            TlsVersion::Tls13 => self.tls13,
            TlsVersion::Ssl30 | TlsVersion::Tls10 | TlsVersion::Tls11 => false,
        }
    }

    /// The versions of TLS 1.2 and 1.3 that are offered.
    #[must_use]
    pub fn versions(&self) -> TlsVersions {
        let versions = [TlsVersion::Tls12, TlsVersion::Tls13];
        TlsVersions::of(versions.into_iter().filter(|&v| self.offers(v)))
    }

    /// The protocols to offer, as [`super::Offer`] has them.
    #[must_use]
    pub fn alpn(&self) -> Vec<&[u8]> {
        self.alpn.iter().map(Vec::as_slice).collect()
    }
}

/// What a probe asks about.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ProbeKey {
    /// What the client's hello is like.
    pub hello: HelloClass,
    /// Where the client connects to.
    pub address: SocketAddr,
    /// The name in its hello; `None` where there is none.
    pub name: Option<Box<str>>,
}

/// Makes the handshake of a probe: dials, and has [`super::Origins::probe`] do the rest.
pub trait Connector: Send + Sync + 'static {
    /// Connects to the origin, makes a handshake, and closes the connection.
    ///
    /// # Errors
    ///
    /// Why there is no report.
    fn probe(&self, key: ProbeKey) -> impl Future<Output = Result<Report, ProbeError>> + Send;
}

impl<F, Made> Connector for F
where
    F: Fn(ProbeKey) -> Made + Send + Sync + 'static,
    Made: Future<Output = Result<Report, ProbeError>> + Send,
{
    fn probe(&self, key: ProbeKey) -> impl Future<Output = Result<Report, ProbeError>> + Send {
        self(key)
    }
}

/// Why a probe has no report.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProbeError {
    /// There was no handshake.
    #[error(transparent)]
    Handshake(#[from] HandshakeFailure),
    /// There was no connection.
    #[error("the origin cannot be reached: {0}")]
    Unreachable(io::ErrorKind),
}

/// What is known of an origin by probing.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A handshake was made.
    Report(Arc<Report>),
    /// A handshake was tried and came to nothing.
    Failure(Arc<HandshakeFailure>),
    /// Nothing is known.
    Unavailable(Unavailable),
}

/// Why nothing is known of an origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unavailable {
    /// The gateway ended the probe before its time: it drains.
    #[error("the probe was given up")]
    Aborted,
    /// As many probes as are allowed at once are under way.
    #[error("too many probes are under way")]
    Busy,
    /// The client causes more probes than it may.
    #[error("the client causes too many probes")]
    ClientRate,
    /// The probe was not done within its time.
    #[error("the probe was not done within its time")]
    Deadline,
    /// All clients together cause more probes than they may.
    #[error("too many probes are caused")]
    Rate,
    /// The origin cannot be connected to.
    #[error("the origin cannot be reached: {0}")]
    Unreachable(io::ErrorKind),
}

/// How much is probed, and for how long what came out is believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProbeLimits {
    /// For how long a report is believed whose certificate is valid, at most; and no longer than
    /// the certificate itself.
    pub ttl: Duration,
    /// For how long anything else is believed.
    pub negative_ttl: Duration,
    /// How long a probe may take, connecting included.
    pub deadline: Duration,
    /// How many outcomes are kept.
    pub entries: NonZeroUsize,
    /// How many probes may be under way at once.
    pub at_once: usize,
    /// How often one client may cause a probe.
    pub client_rate: Rate,
    /// How often all clients together may.
    pub rate: Rate,
}

impl Default for ProbeLimits {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3600),
            negative_ttl: Duration::from_secs(30),
            deadline: Duration::from_secs(10),
            entries: NonZeroUsize::MIN.saturating_add(16_383),
            at_once: 256,
            client_rate: Rate {
                burst: 64,
                interval: Duration::from_millis(250),
            },
            rate: Rate {
                burst: 512,
                interval: Duration::from_millis(5),
            },
        }
    }
}

/// Probes origins, each once however many ask, and remembers what came out.
///
/// One belongs to each [`super::Origins`]: what others trusted is not remembered. Many
/// runtimes may share it. Whoever asks first has the probe made on its own runtime, where it
/// goes on when the asker goes away.
#[derive(Debug)]
pub struct Probes<C> {
    connector: C,
    limits: ProbeLimits,
    state: Mutex<State>,
    tally: Tally,
}

#[derive(Debug)]
struct State {
    known: LruCache<ProbeKey, Known>,
    /// What is being found out.
    flights: HashMap<ProbeKey, watch::Receiver<Option<Outcome>>>,
    clients: LruCache<IpAddr, Bucket>,
    all: Bucket,
}

#[derive(Debug)]
struct Known {
    outcome: Outcome,
    until: Instant,
    /// The seconds since 1970 between which a certificate stays what it was judged to be.
    times: Option<(u64, u64)>,
}

impl<C: Connector> Probes<C> {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(connector: C, limits: ProbeLimits) -> Arc<Self> {
        let state = State {
            known: LruCache::new(limits.entries),
            flights: HashMap::new(),
            clients: LruCache::new(CLIENTS),
            all: Bucket::full(Instant::now()),
        };
        Arc::new(Self {
            connector,
            limits,
            state: Mutex::new(state),
            tally: Tally::default(),
        })
    }

    /// What is remembered, without probing.
    #[must_use]
    pub fn known(&self, key: &ProbeKey, now: UnixTime) -> Option<Outcome> {
        self.state().look_up(key, now.as_secs())
    }

    /// What is known of an origin, by a probe where nothing is remembered.
    ///
    /// What is remembered, and a probe that is under way for somebody else, cost the client nothing
    /// of its rate. To be called within a runtime.
    pub async fn ask(self: &Arc<Self>, key: &ProbeKey, client: IpAddr, now: UnixTime) -> Outcome {
        let mut flight = {
            let mut state = self.state();
            if let Some(outcome) = state.look_up(key, now.as_secs()) {
                self.tally.note(Probing::Remembered);
                return outcome;
            }
            // What was too old is gone now.
            self.tally.set_entries(state.known.len());
            match state.flights.get(key) {
                Some(flight) => {
                    self.tally.note(Probing::Joined);
                    flight.clone()
                }
                None => {
                    if let Err(why) = state.admit(client.to_canonical(), &self.limits) {
                        self.tally.note(Probing::refused(why));
                        return Outcome::Unavailable(why);
                    }
                    let (sender, flight) = watch::channel(None);
                    state.flights.insert(key.clone(), flight.clone());
                    self.tally.set_flights(state.flights.len());
                    let landing = Landing {
                        probes: Arc::clone(self),
                        key: key.clone(),
                        sender,
                    };
                    let _goes_on_alone = tokio::spawn(landing.fly(now.as_secs()));
                    flight
                }
            }
        };
        match flight.wait_for(Option::is_some).await {
            Ok(outcome) => outcome
                .clone()
                .unwrap_or(Outcome::Unavailable(Unavailable::Aborted)),
            Err(_) => Outcome::Unavailable(Unavailable::Aborted),
        }
    }

    async fn probe(&self, key: ProbeKey) -> Outcome {
        let deadline = Instant::now() + self.limits.deadline;
        match timeout_at(deadline, self.connector.probe(key)).await {
            Ok(Ok(report)) => Outcome::Report(Arc::new(report)),
            Ok(Err(ProbeError::Handshake(failure))) => Outcome::Failure(Arc::new(failure)),
            Ok(Err(ProbeError::Unreachable(kind))) => {
                Outcome::Unavailable(Unavailable::Unreachable(kind))
            }
            Err(_) => Outcome::Unavailable(Unavailable::Deadline),
        }
    }
}

impl<C> Probes<C> {
    /// How many outcomes are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tally.counts().entries
    }

    /// What it has done so far, without holding up anybody who asks.
    #[must_use]
    pub fn counts(&self) -> ProbeCounts {
        self.tally.counts()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it guards is whole after every step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look_up(&mut self, key: &ProbeKey, now: u64) -> Option<Outcome> {
        let known = self.known.get(key)?;
        let in_time = known
            .times
            .is_none_or(|(first, last)| (first..=last).contains(&now));
        if in_time && Instant::now() < known.until {
            return Some(known.outcome.clone());
        }
        self.known.pop(key);
        None
    }

    fn admit(&mut self, client: IpAddr, limits: &ProbeLimits) -> Result<(), Unavailable> {
        let now = Instant::now();
        if self.flights.len() >= limits.at_once {
            return Err(Unavailable::Busy);
        }
        let bucket = self.clients.get_or_insert_mut(client, || Bucket::full(now));
        if !bucket.has_one(limits.client_rate, now) {
            return Err(Unavailable::ClientRate);
        }
        if !self.all.has_one(limits.rate, now) {
            return Err(Unavailable::Rate);
        }
        bucket.take(limits.client_rate, now);
        self.all.take(limits.rate, now);
        Ok(())
    }
}

/// A probe under way. Whatever becomes of it, the next one may fly.
struct Landing<C: Connector> {
    probes: Arc<Probes<C>>,
    key: ProbeKey,
    sender: watch::Sender<Option<Outcome>>,
}

impl<C: Connector> Landing<C> {
    async fn fly(self, now: u64) {
        let outcome = self.probes.probe(self.key.clone()).await;
        let known = self.probes.limits.known(outcome.clone(), now);
        self.probes.tally.note(Probing::made(&outcome));
        {
            let mut state = self.probes.state();
            state.known.put(self.key.clone(), known);
            self.probes.tally.set_entries(state.known.len());
        }
        self.sender.send_replace(Some(outcome));
    }
}

impl<C: Connector> Drop for Landing<C> {
    fn drop(&mut self) {
        let mut state = self.probes.state();
        state.flights.remove(&self.key);
        self.probes.tally.set_flights(state.flights.len());
    }
}

impl ProbeLimits {
    fn known(&self, outcome: Outcome, now: u64) -> Known {
        let valid = matches!(&outcome, Outcome::Report(report) if report.is_valid());
        let ttl = match valid {
            true => self.ttl,
            false => self.negative_ttl,
        };
        let leaf = match &outcome {
            Outcome::Report(report) => report.certificate.leaf.as_ref(),
            Outcome::Failure(_) | Outcome::Unavailable(_) => None,
        };
        let times = leaf.map(|leaf| {
            let [first, last] =
                [leaf.not_before, leaf.not_after].map(|time| u64::try_from(time).unwrap_or(0));
            match now {
                now if now < first => (0, first.saturating_sub(1)),
                now if now > last => (last.saturating_add(1), u64::MAX),
                _ => (first, last),
            }
        });
        Known {
            outcome,
            until: Instant::now() + ttl,
            times,
        }
    }
}
