//! Asking a client of a proxy listener who it is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::Identity;

/// Finds out who the clients of a proxy listener are, from the credentials that they show.
#[derive(Debug, Default)]
pub struct Authenticator {}

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
    /// Whether anybody can be asked; otherwise clients are not.
    #[must_use]
    pub const fn asks(&self) -> bool {
        false
    }

    /// The values of `Proxy-Authenticate` that ask for credentials, the strongest scheme first
    /// (RFC 9110 section 11.7.1).
    #[must_use]
    pub const fn challenges(&self) -> Vec<HeaderValue> {
        Vec::new()
    }

    /// Says what the `Proxy-Authorization` of a request comes to.
    pub async fn authenticate(
        &self,
        from: IpAddr,
        credentials: Option<&HeaderValue>,
    ) -> Authenticated {
        let _ = (from, credentials);
        Authenticated::Absent
    }
}
