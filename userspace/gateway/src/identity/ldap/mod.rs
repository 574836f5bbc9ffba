//! A directory that is asked over LDAP (RFC 4511).
//!
//! A user is who can bind. The name that rules see is the directory's own, out of `user_attribute`,
//! so that `Alice` and `alice` are one user wherever the directory takes them for one. An empty
//! password is refused here: a directory takes it for no password at all and lets anybody bind
//! (RFC 4513 section 5.1.2). Referrals are not followed, since they would take passwords elsewhere.

mod groups;
mod health;
mod pool;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use ldap3::{LdapError, LdapResult, Scope, SearchEntry, SearchOptions, SearchResult};

use super::cache::Answer;
use super::secret::Secret;
use super::{Identity, Source};
use crate::config::show_duration;

pub use health::Health;
pub use settings::{Bind, Groups, Settings, Transport, dn_of, filter_of};

use health::Circuit;
use pool::{Lent, Pool};

/// The attribute that names the groups of an entry.
const MEMBER_OF: &str = "memberOf";

/// Result codes of RFC 4511 section 4.1.9.
mod code {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const SIZE_LIMIT: u32 = 4;
    pub(super) const NO_SUCH_OBJECT: u32 = 32;
    /// operationsError, busy, unavailable.
    pub(super) const AWAY: [u32; 3] = [1, 51, 52];
    /// What a directory says to whoever has not the right password, or an account that is closed:
    /// constraintViolation, noSuchObject, invalidDNSyntax, inappropriateAuthentication,
    /// invalidCredentials, insufficientAccessRights, unwillingToPerform.
    pub(super) const WRONG: [u32; 7] = [19, NO_SUCH_OBJECT, 34, 48, 49, 50, 53];
}

/// A directory.
#[derive(Debug)]
pub(super) struct Directory {
    name: Arc<str>,
    settings: Arc<Settings>,
    pool: Pool,
    circuit: Circuit,
}

/// Why a directory could not tell.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The connection was not to be had, or broke.
    #[error("{0}")]
    Connection(LdapError),
    /// It answered what cannot be used, whoever is asked about.
    #[error("{0}")]
    Unusable(String),
    /// What it says of this one user cannot be used.
    #[error("{0}")]
    User(String),
}

impl From<LdapError> for Failure {
    fn from(error: LdapError) -> Self {
        match error {
            LdapError::FilterParsing | LdapError::LdapResult { .. } => {
                Self::Unusable(error.to_string())
            }
            connection => Self::Connection(connection),
        }
    }
}

/// How far a question has come.
#[derive(Debug, Default)]
struct Progress {
    /// There is a connection, or one is being opened.
    asked: AtomicBool,
    /// Something was answered.
    heard: AtomicBool,
}

/// One try at one user.
struct Try<'a> {
    progress: &'a Progress,
    directory: &'a Directory,
    user: &'a str,
    password: &'a Secret,
    /// Whether connections have to be new.
    fresh: bool,
    /// Whether one was used that was not.
    used: bool,
}

/// A user's entry.
struct Entry {
    dn: String,
    user: String,
    member_of: Vec<String>,
}

impl Directory {
    /// Reads the roots; nobody is connected to.
    ///
    /// # Errors
    ///
    /// There are no roots, or one is no certificate.
    pub(super) fn new(name: Arc<str>, settings: Arc<Settings>) -> anyhow::Result<Self> {
        Ok(Self {
            pool: Pool::new(&settings)?,
            name,
            settings,
            circuit: Circuit::new(),
        })
    }

    pub(super) fn health(&self) -> Health {
        self.circuit.health()
    }

    /// Asks about a user; while the directory is down only one does now and then.
    pub(super) async fn ask(&self, user: &str, password: &Secret) -> Answer {
        if password.reveal().is_empty() || user.is_empty() {
            return Answer::Wrong;
        }
        if !self.circuit.may_ask(Instant::now()) {
            return Answer::Unavailable;
        }
        let timeout = self.settings.timeout;
        let progress = Progress::default();
        let asked = self.find_out(user, password, &progress);
        let why = match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(found)) => {
                self.circuit.answered(&self.name);
                return found.map_or(Answer::Wrong, |identity| Answer::Known(Arc::new(identity)));
            }
            Ok(Err(Failure::User(why))) => {
                self.circuit.answered(&self.name);
                tracing::warn!(provider = &*self.name, why, "a user cannot be recognised");
                return Answer::Unavailable;
            }
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => {
                let why = format!("no answer within {}", show_duration(timeout));
                // One user of many groups, or a queue, is no reason to turn everybody away.
                if progress.heard.load(Ordering::Relaxed) || !progress.asked.load(Ordering::Relaxed)
                {
                    tracing::debug!(provider = &*self.name, user, why, "a user took too long");
                    return Answer::Unavailable;
                }
                why
            }
        };
        self.circuit.failed(&self.name, why, Instant::now());
        Answer::Unavailable
    }

    async fn find_out(
        &self,
        user: &str,
        password: &Secret,
        progress: &Progress,
    ) -> Result<Option<Identity>, Failure> {
        let mut one = Try {
            progress,
            directory: self,
            user,
            password,
            fresh: false,
            used: false,
        };
        match one.find_out().await {
            // The directory may have been away since the connection was used last.
            Err(Failure::Connection(_)) if one.used => {
                one.fresh = true;
                one.find_out().await
            }
            found => found,
        }
    }
}

impl Try<'_> {
    async fn find_out(&mut self) -> Result<Option<Identity>, Failure> {
        let settings = Arc::clone(&self.directory.settings);
        let (entry, mut lent) = match &settings.bind {
            Bind::Direct { user_dn } => {
                let dn = dn_of(user_dn, self.user);
                let Some(mut lent) = self.bind(&dn).await? else {
                    return Ok(None);
                };
                let entry = self.own_entry(&mut lent, &dn).await?;
                (entry, lent)
            }
            Bind::Search {
                base,
                filter,
                account,
            } => {
                let account = account.as_ref();
                let account = account.map(|(dn, password)| (&**dn, password.reveal()));
                let account = account.unwrap_or_default();
                let mut lent = self.account(account).await?;
                let filter = filter_of(filter, self.user, "");
                let found = self.search_user(&mut lent, base, &filter).await?;
                lent.give_back();
                // Nobody's DN is tried, so that the time does not tell who is known.
                let dn = found
                    .as_ref()
                    .map_or_else(|| nobody(base), |entry| entry.dn.clone());
                let bound = self.bind(&dn).await?;
                let is_right = bound.is_some();
                if let Some(lent) = bound {
                    lent.give_back();
                }
                let Some(entry) = found.filter(|_| is_right) else {
                    return Ok(None);
                };
                (entry, self.account(account).await?)
            }
        };
        let groups = self.groups(&mut lent, &entry).await?;
        lent.give_back();
        Ok(Some(Identity {
            user: entry.user.into(),
            groups: groups.into_iter().map(Into::into).collect(),
            source: Source::Credentials(Arc::clone(&self.directory.name)),
        }))
    }

    async fn take(&mut self, as_account: bool) -> Result<Lent, Failure> {
        let pool = &self.directory.pool;
        let place = pool.place().await?;
        self.progress.asked.store(true, Ordering::Relaxed);
        let lent = pool.take(place, as_account, self.fresh).await?;
        self.used |= lent.is_used;
        // The others were opened in this try.
        self.fresh = false;
        Ok(lent)
    }

    /// A connection that is bound as the account that looks for users.
    async fn account(&mut self, (dn, password): (&str, &str)) -> Result<Lent, Failure> {
        let mut lent = self.take(true).await?;
        if !lent.is_account() {
            let result = lent.bind(dn, password, true).await?;
            self.progress.heard.store(true, Ordering::Relaxed);
            if result.rc != code::SUCCESS {
                return Err(Failure::Unusable(format!(
                    "the account \"{dn}\" cannot bind: {}",
                    told(&result)
                )));
            }
        }
        Ok(lent)
    }

    /// A connection that is bound as the user; `None` where the password is wrong.
    async fn bind(&mut self, dn: &str) -> Result<Option<Lent>, Failure> {
        let mut lent = self.take(false).await?;
        let password = self.password.reveal();
        let result = lent.bind(dn, password, false).await?;
        self.progress.heard.store(true, Ordering::Relaxed);
        if result.rc == code::SUCCESS {
            return Ok(Some(lent));
        }
        if code::WRONG.contains(&result.rc) {
            tracing::debug!(dn, told = told(&result), "a bind was refused");
            lent.give_back();
            return Ok(None);
        }
        let why = format!("a bind was answered with {}", told(&result));
        Err(if code::AWAY.contains(&result.rc) {
            Failure::Unusable(why)
        } else {
            Failure::User(why)
        })
    }

    /// Reads the entry of a user who is bound.
    async fn own_entry(&self, lent: &mut Lent, dn: &str) -> Result<Entry, Failure> {
        let found = self
            .search(lent, dn, Scope::Base, "(objectClass=*)", 1)
            .await?;
        let Some(found) = found.into_iter().next() else {
            return Err(Failure::User(format!(
                "the entry \"{dn}\" may not be read by its own user: let it be, or have an account \
                 look for it by `bind = \"search\"`"
            )));
        };
        self.entry(found)
    }

    /// Looks for the entry of the user.
    async fn search_user(
        &self,
        lent: &mut Lent,
        base: &str,
        filter: &str,
    ) -> Result<Option<Entry>, Failure> {
        let found = self.search(lent, base, Scope::Subtree, filter, 2).await?;
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(only), None) => self.entry(only).map(Some),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => {
                tracing::warn!(
                    provider = &*self.directory.name,
                    user = self.user,
                    "several entries of the directory fit the user, and none is taken: make \
                     `filter` narrower"
                );
                Ok(None)
            }
        }
    }

    fn entry(&self, found: SearchEntry) -> Result<Entry, Failure> {
        let attribute = &self.directory.settings.user_attribute;
        let name = values(&found, attribute).first().cloned();
        let fits = |name: &String| {
            let length = 1..=super::basic::USER_LIMIT;
            length.contains(&name.len()) && !name.chars().any(char::is_control)
        };
        let user = name.filter(fits).ok_or_else(|| {
            Failure::User(format!(
                "the entry \"{}\" has no `{attribute}` that can be a name: choose another \
                 `user_attribute`",
                found.dn
            ))
        })?;
        let member_of = values(&found, MEMBER_OF).to_vec();
        Ok(Entry {
            dn: found.dn,
            user,
            member_of,
        })
    }

    /// Searches for at most so many entries; a base that is not there has none.
    async fn search(
        &self,
        lent: &mut Lent,
        base: &str,
        scope: Scope,
        filter: &str,
        most: usize,
    ) -> Result<Vec<SearchEntry>, Failure> {
        let settings = &self.directory.settings;
        let limit = i32::try_from(most).unwrap_or(i32::MAX);
        let attributes = [&*settings.user_attribute, &settings.groups.name, MEMBER_OF];
        let ldap = lent
            .ldap()
            .with_search_options(SearchOptions::new().sizelimit(limit));
        let SearchResult(entries, result) = ldap.search(base, scope, filter, attributes).await?;
        self.progress.heard.store(true, Ordering::Relaxed);
        match result.rc {
            code::SUCCESS | code::SIZE_LIMIT => Ok(entries
                .into_iter()
                .filter(|entry| !entry.is_ref() && !entry.is_intermediate())
                .map(SearchEntry::construct)
                .take(most)
                .collect()),
            code::NO_SUCH_OBJECT if scope == Scope::Base => Ok(Vec::new()),
            _ => Err(Failure::Unusable(format!(
                "a search below \"{base}\" was answered with {}",
                told(&result)
            ))),
        }
    }
}

/// A DN that no entry has.
fn nobody(base: &str) -> String {
    let mut random = [0; 16];
    // Without random bytes it would still be nobody's.
    let _fails_never = SystemRandom::new().fill(&mut random);
    format!("cn=sluice-{:032x},{base}", u128::from_be_bytes(random))
}

/// The values of an attribute, however its name is written (RFC 4512 section 2.5).
fn values<'e>(entry: &'e SearchEntry, attribute: &str) -> &'e [String] {
    let found = entry
        .attrs
        .iter()
        .find_map(|(name, values)| name.eq_ignore_ascii_case(attribute).then_some(values));
    found.map(Vec::as_slice).unwrap_or(&[])
}

/// What a directory said, for people.
fn told(result: &LdapResult) -> String {
    if result.text.is_empty() {
        format!("code {}", result.rc)
    } else {
        format!("code {}, \"{}\"", result.rc, result.text)
    }
}
