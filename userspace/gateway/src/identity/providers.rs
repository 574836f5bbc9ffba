//! Providers: who can be asked about credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::attempts::Attempts;
use super::authenticate::Authenticator;
use super::cache::{Answer, Cache, Key, Ticket};
use super::engine::Engine;
use super::ldap::{Directory, Health};
use super::negotiate::{Negotiate, NegotiateError};
use super::secret::Secret;
use super::settings::{self, Kind, Settings, Unavailable};
use super::{Identity, Source};
use crate::daemon::metrics::latency::Latency;

/// Every provider of a configuration.
///
/// The next configuration goes on with those that it says the same of: with their connections, and
/// with whom they recognised lately. A change of a provider's settings or files begins it anew.
#[derive(Debug, Default)]
pub struct Providers {
    realm: Box<str>,
    providers: BTreeMap<Arc<str>, Arc<Provider>>,
    attempts: Arc<Attempts>,
    totals: Arc<Totals>,
    engine: Option<Arc<Engine>>,
}

/// What is counted of credentials before a provider is asked.
#[derive(Debug, Default)]
pub struct Totals {
    /// Not looked at, since too many were wrong before.
    pub slowed: AtomicU64,
    /// Of a scheme that is understood, and yet none.
    pub malformed: AtomicU64,
}

/// What one provider was asked, and what came of it.
#[derive(Debug)]
pub struct Counters {
    /// Right, by the provider itself.
    pub ok: AtomicU64,
    /// Right, as remembered.
    pub cached: AtomicU64,
    /// Wrong, or of nobody.
    pub refused: AtomicU64,
    /// Not answered in time, or not at all.
    pub unavailable: AtomicU64,
    /// The time of answers by the provider itself.
    pub latency: Latency,
}

/// There is no provider of a name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no provider \"{0}\": write an [[identity.provider]] of that name")]
pub struct UnknownProvider(pub String);

impl Providers {
    /// Makes the providers of a configuration; nobody is asked anything.
    ///
    /// # Errors
    ///
    /// Roots that cannot be used, no random bytes, or no thread.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        Self::default().next(settings)
    }

    /// Makes the providers of the configuration after this one.
    ///
    /// # Errors
    ///
    /// Those of [`Providers::new`].
    pub fn next(&self, settings: &Settings) -> anyhow::Result<Self> {
        let engine = match (&self.engine, settings.providers.is_empty()) {
            (_, true) => None,
            (Some(engine), false) => Some(Arc::clone(engine)),
            (None, false) => Some(Engine::start()?),
        };
        let mut providers = BTreeMap::new();
        for one in &settings.providers {
            let before = self.providers.get(&one.name);
            let provider = match (before, &engine) {
                (Some(before), _) if before.settings == *one => Arc::clone(before),
                (_, Some(engine)) => {
                    let counters = before.map(|before| Arc::clone(&before.counters));
                    let provider = Provider::new(
                        one.clone(),
                        Arc::clone(engine),
                        counters.unwrap_or_default(),
                    );
                    let place = || format!("[[identity.provider]] \"{}\"", one.name);
                    Arc::new(provider.with_context(place)?)
                }
                (_, None) => continue,
            };
            providers.insert(Arc::clone(&one.name), provider);
        }
        Ok(Self {
            realm: settings.realm.clone(),
            providers,
            attempts: Arc::clone(&self.attempts),
            totals: Arc::clone(&self.totals),
            engine,
        })
    }

    /// Who asks the providers of these names, one after another until one knows the credentials.
    ///
    /// # Errors
    ///
    /// There is no provider of a name.
    pub fn authenticator<N: AsRef<str>>(
        &self,
        names: &[N],
    ) -> Result<Authenticator, UnknownProvider> {
        let providers: Result<Vec<_>, _> = names
            .iter()
            .map(|name| {
                let found = self.providers.get(name.as_ref()).map(Arc::clone);
                found.ok_or_else(|| UnknownProvider(name.as_ref().to_owned()))
            })
            .collect();
        Ok(Authenticator::new(
            &self.realm,
            providers?,
            Arc::clone(&self.attempts),
            Arc::clone(&self.totals),
        ))
    }

    /// What is counted before a provider is asked.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What is counted of each provider, by its name.
    pub fn counters(&self) -> impl Iterator<Item = (&str, &Counters)> {
        let all = self.providers.iter();
        all.map(|(name, provider)| (&**name, &*provider.counters))
    }

    /// How each provider is, in the order of their names.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        self.providers.values().map(|one| one.status()).collect()
    }
}

/// How a provider is, for `sluice status`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its kind, as in the configuration.
    pub kind: String,
    /// Whether it answers; files always do.
    pub state: State,
    /// Since when, in seconds since 1970; `None` for files and tickets, and for what nobody has asked.
    pub since: Option<u64>,
    /// Why it does not answer.
    pub why: Option<String>,
    /// Users that it holds, where that is known.
    pub users: Option<usize>,
    /// Users that are recognised without asking it.
    pub remembered: usize,
    /// Right, as the provider said.
    pub ok: u64,
    /// Right, as remembered.
    pub cached: u64,
    /// Wrong.
    pub refused: u64,
    /// Not answered.
    pub unavailable: u64,
}

/// Whether a provider answers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nobody has asked.
    Untried,
    /// It does.
    Up,
    /// It does not.
    Down,
}

/// One provider.
pub(super) struct Provider {
    settings: settings::Provider,
    source: Checker,
    cache: Cache,
    counters: Arc<Counters>,
    engine: Arc<Engine>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.settings.name)
    }
}

/// Who checks passwords, or tickets.
enum Checker {
    Htpasswd(Arc<settings::Htpasswd>),
    Ldap(Directory),
    Negotiate(Negotiate),
}

/// Lands the flight when whoever asks is gone, whatever became of it.
struct Flight {
    provider: Arc<Provider>,
    key: Key,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.provider.cache.leave(&self.key);
    }
}

impl Provider {
    fn new(
        settings: settings::Provider,
        engine: Arc<Engine>,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let source = match &settings.kind {
            Kind::Htpasswd(files) => Checker::Htpasswd(Arc::clone(files)),
            Kind::Ldap(directory) => {
                let name = Arc::clone(&settings.name);
                Checker::Ldap(Directory::new(name, Arc::clone(directory))?)
            }
            Kind::Negotiate(tickets) => {
                Checker::Negotiate(Negotiate::new(tickets.as_ref().clone())?)
            }
        };
        let cache = Cache::new(settings.cache).ok();
        Ok(Self {
            cache: cache.context("no random bytes are to be had")?,
            settings,
            source,
            counters,
            engine,
        })
    }

    pub(super) const fn unavailable(&self) -> Unavailable {
        self.settings.unavailable
    }

    /// Whether clients show it tickets in place of passwords.
    pub(super) const fn takes_tickets(&self) -> bool {
        matches!(self.source, Checker::Negotiate(_))
    }

    /// Looks at a ticket. None is remembered: each is good for one request.
    pub(super) async fn accept(&self, token: &[u8]) -> Answer {
        let Checker::Negotiate(negotiate) = &self.source else {
            return Answer::Wrong;
        };
        let begun = Instant::now();
        let accepted = negotiate.accept(token).await;
        self.counters.latency.note(begun.elapsed());
        self.count(match accepted {
            Ok(accepted) => Answer::Known(Arc::new(Identity {
                user: accepted.user,
                groups: Box::default(),
                source: Source::Credentials(Arc::clone(&self.settings.name)),
            })),
            Err(error @ (NegotiateError::Busy | NegotiateError::Unavailable(_))) => {
                tracing::debug!(provider = %self.settings.name, %error, "no ticket can be looked at");
                Answer::Unavailable
            }
            Err(error) => {
                tracing::debug!(provider = %self.settings.name, %error, "a ticket is refused");
                Answer::Wrong
            }
        })
    }

    /// Who it is, if that was found out lately.
    pub(super) fn remembered(&self, user: &str, password: &Secret) -> Option<Arc<Identity>> {
        let key = self.cache.key(user, password.reveal());
        let found = self.cache.get(&key, Instant::now())?;
        self.counters.cached.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    /// Asks, or waits for the answer where somebody asks the same. What was asked goes on where
    /// nobody waits any more, and is remembered.
    pub(super) async fn ask(self: &Arc<Self>, user: &str, password: &Secret) -> Answer {
        let key = self.cache.key(user, password.reveal());
        let mut awaited = match self.cache.board(key) {
            Ticket::Wait(awaited) => awaited,
            Ticket::Full => return self.count(Answer::Unavailable),
            Ticket::Ask(sender, awaited) => {
                let flight = Flight {
                    provider: Arc::clone(self),
                    key,
                };
                let (user, password) = (Box::<str>::from(user), password.clone());
                self.engine.spawn(async move {
                    let provider = &flight.provider;
                    let begun = Instant::now();
                    let answer = provider.check(&user, &password).await;
                    provider.counters.latency.note(begun.elapsed());
                    provider.cache.land(key, &sender, answer, Instant::now());
                });
                awaited
            }
        };
        let answer = match awaited.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Answer::Unavailable),
            // Whoever asked is gone.
            Err(_) => Answer::Unavailable,
        };
        self.count(answer)
    }

    async fn check(&self, user: &str, password: &Secret) -> Answer {
        match &self.source {
            // Nobody shows it a password.
            Checker::Negotiate(_) => Answer::Wrong,
            Checker::Ldap(directory) => directory.ask(user, password).await,
            Checker::Htpasswd(files) => {
                let (of, name, password) =
                    (Arc::clone(files), Box::<str>::from(user), password.clone());
                let right = self
                    .engine
                    .compute(move || of.users.is_right(&name, password.reveal()));
                match right.await {
                    None => Answer::Unavailable,
                    Some(false) => Answer::Wrong,
                    Some(true) => Answer::Known(Arc::new(Identity {
                        user: user.into(),
                        groups: files.users.groups(user).into(),
                        source: Source::Credentials(Arc::clone(&self.settings.name)),
                    })),
                }
            }
        }
    }

    fn count(&self, answer: Answer) -> Answer {
        let counter = match &answer {
            Answer::Known(_) => &self.counters.ok,
            Answer::Wrong => &self.counters.refused,
            Answer::Unavailable => &self.counters.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        answer
    }

    fn status(&self) -> Status {
        let (health, users) = match &self.source {
            Checker::Htpasswd(files) => (None, Some(files.users.len())),
            Checker::Ldap(directory) => (Some(directory.health()), None),
            Checker::Negotiate(_) => (None, None),
        };
        let seconds = |at: SystemTime| {
            let since = at.duration_since(UNIX_EPOCH).ok();
            since.map(|since| since.as_secs())
        };
        let (state, since, why) = match health {
            None => (State::Up, None, None),
            Some(Health::Untried) => (State::Untried, None, None),
            Some(Health::Up(since)) => (State::Up, seconds(since), None),
            Some(Health::Down(since, why)) => (State::Down, seconds(since), Some(why)),
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            name: self.settings.name.to_string(),
            kind: self.settings.kind.name().to_owned(),
            state,
            since,
            why,
            users,
            remembered: self.cache.len(),
            ok: read(&self.counters.ok),
            cached: read(&self.counters.cached),
            refused: read(&self.counters.refused),
            unavailable: read(&self.counters.unavailable),
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            ok: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            latency: Latency::network(),
        }
    }
}
