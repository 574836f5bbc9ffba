//! `/api/identity`: who has which address, told by whoever watches over addresses.
//!
//! Reading is answered wherever the daemon answers. Telling and forgetting is answered on a Unix
//! socket alone: there the mode of the file says who may, and no page in a browser can come.

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Forgotten, gate::Door, json};
use crate::{
    config::{lease, user_name},
    daemon::{export::Sources, record::rfc3339},
    identity::{
        Identity, Source,
        addresses::{Held, Noted},
        whois::{Asked, Believed, Whois, believed},
    },
};

/// Where it is told who has which address; behind a slash the address.
pub const IDENTITY: &str = "/api/identity";

/// Bytes that the body of a request may have.
const BODY: usize = 16 << 10;
/// Groups that may be named with a user.
const GROUPS: usize = 128;
/// What bodies look like.
const EXAMPLE: &str = r#"{"user":"alice","groups":["staff"],"ttl":"8h"}"#;
/// Addresses in one answer.
const PAGE: usize = 1000;

/// What PUT of an address takes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Telling {
    /// Who has the address from now on.
    pub user: String,
    /// Groups that the user is in, besides those of the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// For how long, as the configuration has durations; `None`: as `ttl` in `[identity]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

/// What DELETE of an address may take.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Forgetting {
    /// Forget only this user: whoever has got the address in the meantime keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What GET of [`IDENTITY`] answers: a thousand addresses at most.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Listing {
    /// How many addresses stand for somebody.
    pub held: usize,
    /// In the order of addresses, behind the one that `?after=` names.
    pub identities: Vec<Listed>,
    /// Whether there are more, behind the last one.
    pub more: bool,
}

/// Whom an address stands for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Listed {
    /// The address.
    pub address: IpAddr,
    /// Who has it.
    pub user: String,
    /// Groups that came with the user.
    pub groups: Vec<String>,
    /// How that came to be believed.
    pub source: Believed,
    /// What accepted the user's credentials, where the daemon learned it.
    pub learned_from: Option<String>,
    /// For how long still, in seconds.
    pub seconds_left: u64,
    /// Until when, in UTC (RFC 3339).
    pub until: String,
}

/// Why a question is not answered, or an order not carried out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mistake {
    /// For people to read.
    pub error: String,
}

type Answer = Response<Full<Bytes>>;

/// Whether a path is answered here.
pub(super) fn is_about(path: &str) -> bool {
    path.strip_prefix(IDENTITY)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) async fn respond(request: Request<Incoming>, door: Door, sources: &Sources) -> Answer {
    match answered(request, door, sources).await {
        Ok(answer) => answer,
        Err((status, error)) => {
            let mut answer = json(&Mistake { error });
            *answer.status_mut() = status;
            answer
        }
    }
}

async fn answered(
    request: Request<Incoming>,
    door: Door,
    sources: &Sources,
) -> Result<Answer, (StatusCode, String)> {
    let bad = |error: String| (StatusCode::BAD_REQUEST, error);
    let path = request.uri().path();
    let of_all = path.trim_end_matches('/') == IDENTITY;
    let address = match path.strip_prefix(IDENTITY).map(|rest| rest.get(1..)) {
        Some(Some(text)) if !of_all => Some(address(text).map_err(bad)?),
        _ => None,
    };
    let method = request.method().clone();
    let reads = method == Method::GET || method == Method::HEAD;
    if !reads && door != Door::Unix {
        let error = "who has an address is told and forgotten on the Unix socket of [admin] alone: \
                     here nobody shows who asks";
        return Err((StatusCode::FORBIDDEN, error.into()));
    }
    let now = Instant::now();
    match address {
        None if reads => list(request.uri().query(), sources, now).map_err(bad),
        Some(address) if reads => Ok(json(&whois(sources, address, now))),
        Some(address) if method == Method::PUT => {
            let telling: Telling = read(request, EXAMPLE).await?;
            tell(sources, address, telling).map_err(|error| match error {
                NotTold::Wrong(error) => bad(error),
                NotTold::Full => (
                    StatusCode::INSUFFICIENT_STORAGE,
                    "there is no room: raise `limit` in [identity]".into(),
                ),
            })
        }
        Some(address) if method == Method::DELETE => {
            let Forgetting { user } = read(request, EXAMPLE).await?;
            let held = &sources.shared.addresses;
            let gone = held.forget(address, user.as_deref(), Instant::now());
            if let Some(gone) = &gone {
                tracing::info!(%address, user = &*gone.identity.user, "forgot who has an address");
            }
            let forgotten = usize::from(gone.is_some());
            Ok(json(&Forgotten { forgotten }))
        }
        Some(_) => Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "an address is asked for by GET, told by PUT and forgotten by DELETE".into(),
        )),
        None => Err((
            StatusCode::METHOD_NOT_ALLOWED,
            format!("only GET is answered; name one address, as in {IDENTITY}/10.20.4.7"),
        )),
    }
}

/// The address of a path.
fn address(text: &str) -> Result<IpAddr, String> {
    // Some clients encode what need not be (RFC 3986 section 3.3).
    let text = text.replace("%3A", ":").replace("%3a", ":");
    let expected = || format!("\"{text}\": expected an address such as 10.20.4.7 or 2001:db8::7");
    if text.contains('/') || text.contains("%2F") || text.contains("%2f") {
        return Err(format!(
            "{}; who has a whole network says `addresses` in [[user]]",
            expected()
        ));
    }
    let address: IpAddr = text.parse().map_err(|_| expected())?;
    client_address(address)
}

/// An address in the form that flows are looked up by.
fn client_address(address: IpAddr) -> Result<IpAddr, String> {
    let address = address.to_canonical();
    let nobody = address.is_unspecified() || address.is_multicast();
    if nobody || address == IpAddr::from([255; 4]) {
        return Err(format!("{address}: no client can have this address"));
    }
    Ok(address)
}

/// The JSON of a request's body; an empty one is an object without anything.
pub(super) async fn read<T: DeserializeOwned>(
    request: Request<Incoming>,
    example: &str,
) -> Result<T, (StatusCode, String)> {
    let body = Limited::new(request.into_body(), BODY).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let error = format!("the body has more than {BODY} bytes");
            (StatusCode::PAYLOAD_TOO_LARGE, error)
        } else {
            (StatusCode::BAD_REQUEST, "the body broke off".into())
        }
    })?;
    let body = body.to_bytes();
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(text).map_err(|error| {
        let error = format!("the body: {error}; expected JSON such as {example}");
        (StatusCode::BAD_REQUEST, error)
    })
}

enum NotTold {
    Wrong(String),
    Full,
}

fn tell(sources: &Sources, address: IpAddr, telling: Telling) -> Result<Answer, NotTold> {
    let Telling { user, groups, ttl } = telling;
    let named = |key: &'static str, text: String| {
        let checked = user_name(&text);
        checked.map_err(|error| NotTold::Wrong(format!("`{key}`: \"{text}\": {error}")))
    };
    let user = named("user", user)?;
    if groups.len() > GROUPS {
        let error = format!("`groups`: expected at most {GROUPS} names");
        return Err(NotTold::Wrong(error));
    }
    let groups: Result<Vec<Box<str>>, NotTold> = groups
        .into_iter()
        .map(|group| named("groups", group).map(Into::into))
        .collect();
    let groups = groups?;
    let time = match ttl {
        None => sources.shared.current.get().addresses.ttl,
        Some(text) => {
            lease(&text).map_err(|error| NotTold::Wrong(format!("`ttl`: \"{text}\": {error}")))?
        }
    };
    let now = Instant::now();
    tracing::info!(%address, user, seconds = time.as_secs_f64(), "told who has an address");
    let identity = Identity {
        user: user.into(),
        groups: groups.into(),
        source: Source::Address,
    };
    match sources
        .shared
        .addresses
        .tell(address, identity, (now, time))
    {
        Noted::Taken | Noted::Replaced => Ok(json(&whois(sources, address, now))),
        Noted::Refused => Err(NotTold::Full),
    }
}

/// What the daemon believes of an address.
fn whois(sources: &Sources, address: IpAddr, now: Instant) -> Whois {
    let shared = &sources.shared;
    let generation = shared.current.get();
    let held = shared.addresses.held(address, now);
    let asked = Asked::Daemon {
        generation: generation.number,
    };
    Whois::of(&generation.policy, address, held.as_ref(), asked)
}

fn list(query: Option<&str>, sources: &Sources, now: Instant) -> Result<Answer, String> {
    let after = match query.unwrap_or_default() {
        "" => None,
        query => match query.strip_prefix("after=") {
            Some(text) => Some(address(text)?),
            None => {
                return Err(format!(
                    "\"?{query}\": expected \"?after=ADDRESS\" or nothing"
                ));
            }
        },
    };
    let addresses = &sources.shared.addresses;
    let mut found = addresses.list(after, PAGE + 1, now);
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let wall = SystemTime::now();
    Ok(json(&Listing {
        held: addresses.count(now).iter().sum(),
        identities: found.iter().map(|held| listed(held, wall)).collect(),
        more,
    }))
}

fn listed(held: &Held, wall: SystemTime) -> Listed {
    let Identity {
        user,
        groups,
        source,
    } = &*held.identity;
    let (source, learned_from) = believed(source);
    Listed {
        address: held.address,
        user: user.to_string(),
        groups: groups.iter().map(ToString::to_string).collect(),
        source,
        learned_from,
        seconds_left: held.left.as_secs(),
        until: until(held.left, wall),
    }
}

/// The end of a time that is left, in UTC.
pub(crate) fn until(left: Duration, wall: SystemTime) -> String {
    rfc3339(wall.checked_add(left).unwrap_or(wall))
}
