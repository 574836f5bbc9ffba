//! Who a client is, and how that came to be believed.
//!
//! The policy itself knows users by their addresses (`[[user]]`, `[identity]`). What is here comes
//! from elsewhere: from credentials that a client showed, or from whoever watches over who has which
//! address. It goes before what the policy says of the address.

pub mod addresses;
pub mod attempts;
pub mod authenticate;
pub mod basic;
mod cache;
mod engine;
pub mod hash;
pub mod htpasswd;
pub mod kept;
pub mod ldap;
pub mod negotiate;
pub mod providers;
pub mod secret;
pub mod settings;
pub mod whois;

use std::sync::Arc;

/// Who a client is believed to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The user's name, as rules have it.
    pub user: Box<str>,
    /// Names of groups that the source says the user is in; those of the policy come on top.
    pub groups: Box<[Box<str>]>,
    /// How it came to be believed.
    pub source: Source,
}

/// How it came to be believed who a client is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// Somebody told the daemon that the user has the address.
    Address,
    /// The client showed a certificate.
    Certificate,
    /// The client showed credentials, which the provider of this name accepted.
    Credentials(Arc<str>),
    /// The same address showed credentials to a proxy listener lately.
    Learned(Arc<str>),
}
