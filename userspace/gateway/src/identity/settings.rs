//! What the section `[identity]` says of providers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::htpasswd::Users;
use super::{ldap, negotiate};

/// Who can be asked about credentials, and how clients are asked for them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// What clients are told they log in to.
    pub realm: Box<str>,
    /// The providers, in the order of the file.
    pub providers: Vec<Provider>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            realm: "sluice".into(),
            providers: Vec::new(),
        }
    }
}

/// One `[[identity.provider]]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Provider {
    /// Its name, unique.
    pub name: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// How long a user is recognised without asking again; zero: not at all.
    pub cache: Duration,
    /// What becomes of clients while it cannot tell.
    pub unavailable: Unavailable,
}

/// What a provider is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Files.
    Htpasswd(Arc<Htpasswd>),
    /// A directory.
    Ldap(Arc<ldap::Settings>),
    /// Kerberos: clients show tickets in place of passwords.
    Negotiate(Arc<negotiate::Settings>),
}

impl Kind {
    /// The word used in configuration.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Htpasswd(_) => "htpasswd",
            Self::Ldap(_) => "ldap",
            Self::Negotiate(_) => "negotiate",
        }
    }
}

/// Users in files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Htpasswd {
    /// The file of users.
    pub file: PathBuf,
    /// The file of groups.
    pub groups: Option<PathBuf>,
    /// What is in both.
    pub users: Users,
}

/// What becomes of clients whose credentials cannot be checked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unavailable {
    /// They are told to come again.
    #[default]
    Block,
    /// They go on as if they had shown none.
    Anonymous,
}

impl Unavailable {
    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Anonymous => "anonymous",
        }
    }
}
