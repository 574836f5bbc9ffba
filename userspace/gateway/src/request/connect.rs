//! From the head of a CONNECT to what it asks for.

use http::{HeaderMap, header::HOST, header::USER_AGENT, request::Parts};
use sluice_policy::{Authority, NormalError, Scheme};

use super::{Limits, fields, refusal::Refusal, within};

/// What a CONNECT asks for (RFC 9110 section 9.3.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tunnel {
    /// The server, with its port.
    pub authority: Authority,
    /// The software that asks; `None` where it does not say, or says nothing but blanks.
    pub user_agent: Option<Box<str>>,
}

/// Reads what a CONNECT asks for.
///
/// # Errors
///
/// [`Refusal`], with the status that the client is answered. A missing Host field is none: the
/// request's target says it all, and nothing of the request is forwarded.
pub fn prepare_connect(parts: &Parts, limits: &Limits) -> Result<Tunnel, Refusal> {
    within(parts, limits)?;
    if let Some(name) = fields::repeated(&parts.headers) {
        return Err(Refusal::Repeated(name));
    }
    let target = parts.uri.authority().ok_or(Refusal::NoAuthority)?;
    // RFC 9112 section 3.2.3: the port is always there.
    if target.port().is_none() || parts.uri.path_and_query().is_some() {
        return Err(Refusal::Url(NormalError::Port));
    }
    let authority = Authority::parse(target.as_str(), Scheme::Https)?;
    let mut hosts = parts.headers.get_all(HOST).iter();
    if let Some(host) = hosts.next() {
        let host = std::str::from_utf8(host.as_bytes()).map_err(|_| NormalError::Host)?;
        let host = Authority::parse(host, Scheme::Https)?;
        if host.host() != authority.host() {
            return Err(Refusal::Authorities);
        }
    }
    if hosts.next().is_some() {
        return Err(Refusal::Repeated("host"));
    }
    Ok(Tunnel {
        authority,
        user_agent: user_agent(&parts.headers),
    })
}

fn user_agent(headers: &HeaderMap) -> Option<Box<str>> {
    let text = String::from_utf8_lossy(headers.get(USER_AGENT)?.as_bytes());
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}
