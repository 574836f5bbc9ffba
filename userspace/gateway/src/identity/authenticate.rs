//! Asking a client of a proxy listener who it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::Identity;
use super::attempts::Attempts;
use super::basic::{self, Login, Shown};
use super::cache::Answer;
use super::negotiate;
use super::providers::{Provider, Totals};
use super::settings::Unavailable;

/// Finds out who the clients of a proxy listener are, from the credentials that they show.
#[derive(Debug, Default)]
pub struct Authenticator {
    /// Who is asked about user name and password, in this order.
    passwords: Vec<Arc<Provider>>,
    /// Who is shown tickets, in this order.
    tickets: Vec<Arc<Provider>>,
    challenges: Vec<HeaderValue>,
    attempts: Arc<Attempts>,
    totals: Arc<Totals>,
}

/// What credentials came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authenticated {
    /// There were none, or of no scheme that anybody here understands.
    Absent,
    /// The exchange goes on: the value of the next `Proxy-Authenticate` (RFC 4559 section 4).
    Continue(HeaderValue),
    /// It is known who the client is.
    Known(Arc<Identity>),
    /// They are wrong.
    Refused,
    /// Too many were wrong from this address, or for this user: none are looked at until then.
    Slowed(Duration),
    /// Whoever could tell cannot be reached in time.
    Unavailable,
}

impl Authenticator {
    /// Asks these providers about what clients show.
    pub(super) fn new(
        realm: &str,
        providers: Vec<Arc<Provider>>,
        attempts: Arc<Attempts>,
        totals: Arc<Totals>,
    ) -> Self {
        let (tickets, passwords): (Vec<_>, Vec<_>) = providers
            .into_iter()
            .partition(|provider| provider.takes_tickets());
        let ticket = (!tickets.is_empty()).then(negotiate::challenge);
        let basic = basic::challenge(realm).filter(|_| !passwords.is_empty());
        Self {
            passwords,
            tickets,
            challenges: ticket.into_iter().chain(basic).collect(),
            attempts,
            totals,
        }
    }

    /// Whether anybody can be asked; otherwise clients are not.
    #[must_use]
    pub const fn asks(&self) -> bool {
        !self.challenges.is_empty()
    }

    /// The values of `Proxy-Authenticate` that ask for credentials, the strongest scheme first
    /// (RFC 9110 section 11.7.1).
    #[must_use]
    pub fn challenges(&self) -> Vec<HeaderValue> {
        self.challenges.clone()
    }

    /// Says what the `Proxy-Authorization` of a request comes to. It takes as long as the slowest
    /// provider may, and may be dropped at any time.
    pub async fn authenticate(
        &self,
        from: IpAddr,
        credentials: Option<&HeaderValue>,
    ) -> Authenticated {
        let Some(value) = credentials.filter(|_| self.asks()) else {
            return Authenticated::Absent;
        };
        if !self.tickets.is_empty()
            && let Some(token) = negotiate::read(value)
        {
            return self.show(token).await;
        }
        match basic::read(value) {
            Shown::Basic(_) if self.passwords.is_empty() => Authenticated::Absent,
            Shown::Basic(login) => self.log_in(from, &login).await,
            Shown::Malformed => {
                self.totals.malformed.fetch_add(1, Ordering::Relaxed);
                Authenticated::Refused
            }
            Shown::Other => Authenticated::Absent,
        }
    }

    /// Has a ticket looked at. There is no wait behind wrong ones, which nobody can guess: how many
    /// are looked at at once is limited.
    async fn show(&self, token: Option<Vec<u8>>) -> Authenticated {
        let Some(token) = token else {
            self.totals.malformed.fetch_add(1, Ordering::Relaxed);
            return Authenticated::Refused;
        };
        let mut missing = None;
        for provider in &self.tickets {
            match provider.accept(&token).await {
                Answer::Known(identity) => return Authenticated::Known(identity),
                Answer::Wrong => {}
                Answer::Unavailable => miss(&mut missing, provider.unavailable()),
            }
        }
        missing.unwrap_or(Authenticated::Refused)
    }

    async fn log_in(&self, from: IpAddr, login: &Login) -> Authenticated {
        let Login { user, password } = login;
        let begun = self
            .attempts
            .begin(from, user, password.reveal(), Instant::now());
        let attempt = match begun {
            Ok(attempt) => attempt,
            Err(wait) => {
                self.totals.slowed.fetch_add(1, Ordering::Relaxed);
                return Authenticated::Slowed(wait);
            }
        };
        // Behind the wait: a guess that is right is known faster than one that is wrong.
        let mut all = self.passwords.iter();
        if let Some(known) = all.find_map(|provider| provider.remembered(user, password)) {
            attempt.right();
            return Authenticated::Known(known);
        }
        let mut missing = None;
        for provider in &self.passwords {
            match provider.ask(user, password).await {
                Answer::Known(identity) => {
                    attempt.right();
                    return Authenticated::Known(identity);
                }
                Answer::Wrong => {}
                Answer::Unavailable => miss(&mut missing, provider.unavailable()),
            }
        }
        missing.unwrap_or_else(|| {
            attempt.wrong(Instant::now());
            Authenticated::Refused
        })
    }
}

/// Notes that a provider could not tell: what any of them blocks for is blocked.
fn miss(missing: &mut Option<Authenticated>, becomes: Unavailable) {
    match becomes {
        Unavailable::Block => *missing = Some(Authenticated::Unavailable),
        Unavailable::Anonymous => {
            missing.get_or_insert(Authenticated::Absent);
        }
    }
}
