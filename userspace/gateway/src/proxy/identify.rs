//! Who makes a request.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::Door;
use crate::config::{ByAddress, Demand};
use crate::identity::Identity;
use crate::identity::authenticate::{Authenticated, Authenticator};
use crate::request::Refusal;

/// Whoever can tell a client by the credentials that it shows.
pub trait Asker: fmt::Debug + Send + Sync {
    /// The values of Proxy-Authenticate that ask for credentials, the strongest scheme first.
    fn challenges(&self) -> Vec<HeaderValue>;

    /// Says what the Proxy-Authorization of a request comes to.
    fn authenticate<'a>(
        &'a self,
        from: IpAddr,
        credentials: Option<&'a HeaderValue>,
    ) -> Pin<Box<dyn Future<Output = Authenticated> + 'a>>;
}

impl Asker for Authenticator {
    fn challenges(&self) -> Vec<HeaderValue> {
        Self::challenges(self)
    }

    fn authenticate<'a>(
        &'a self,
        from: IpAddr,
        credentials: Option<&'a HeaderValue>,
    ) -> Pin<Box<dyn Future<Output = Authenticated> + 'a>> {
        Box::pin(Self::authenticate(self, from, credentials))
    }
}

/// What is known of whoever makes a request.
#[derive(Debug)]
pub(super) enum Who {
    /// It is known who that is.
    Known(Arc<Identity>),
    /// Nobody is asked.
    Nobody,
    /// It is whom its address stands for.
    Address,
    /// Nobody knows, and may ask where the rules need it.
    Anonymous,
    /// It has to say so first, as these values ask it to.
    Asked(Vec<HeaderValue>),
    /// It cannot be found out now; where that is known, not for so long.
    Later(Option<Duration>),
}

/// Finds out who makes a request, from nothing but that request, and the certificate and the address
/// of its connection. `stands` says whether the address stands for somebody.
///
/// # Errors
///
/// [`Refusal::Repeated`]: of several credentials any might be meant.
pub(super) async fn identify(
    (door, asker): (&Door, &dyn Asker),
    certified: Option<&Arc<Identity>>,
    (from, stands): (IpAddr, bool),
    headers: &HeaderMap,
) -> Result<Who, Refusal> {
    let mut shown = headers.get_all(PROXY_AUTHORIZATION).iter();
    let credentials = shown.next();
    if shown.next().is_some() {
        return Err(Refusal::Repeated("proxy-authorization"));
    }
    if let Some(identity) = certified {
        return Ok(Who::Known(Arc::clone(identity)));
    }
    let demand = door.settings().identity;
    if demand == Demand::Nobody {
        return Ok(Who::Nobody);
    }
    let by_address = door.settings().by_address().filter(|_| stands);
    if by_address == Some(ByAddress::First) {
        return Ok(Who::Address);
    }
    Ok(match asker.authenticate(from, credentials).await {
        Authenticated::Known(identity) => Who::Known(identity),
        Authenticated::Continue(value) => Who::Asked(vec![value]),
        Authenticated::Absent if by_address.is_some() => Who::Address,
        Authenticated::Absent if demand == Demand::WhenNeeded => Who::Anonymous,
        Authenticated::Absent | Authenticated::Refused => Who::Asked(asker.challenges()),
        Authenticated::Slowed(time) => Who::Later(Some(time)),
        Authenticated::Unavailable => Who::Later(None),
    })
}
