//! From the head of a request to facts, and whether it may be forwarded.
//!
//! [`prepare`] takes a request as it was parsed and makes of it the one that is both judged and
//! forwarded: one server, one URL in its normal form (`sluice_policy::normal`), one length, and no
//! field that is for a single connection. What could be read in more than one way is refused; nothing
//! is guessed. [`Prepared::facts`] shows it to the rules, and [`Prepared::into_parts`] makes the
//! request for the origin out of the same values. [`examine`] does the same, and also shows what names
//! another server than its connection is for, so that rules may block it.
//!
//! Decisions:
//!
//! - CONNECT and TRACE are refused with 501. A tunnel inside a connection would be one that nobody
//!   judges, and TRACE would show a client what the gateway adds.
//! - `Upgrade: websocket` is recognised; any other Upgrade, `h2c` first of all, is removed, so that
//!   the origin answers in HTTP/1.1.
//! - A Connection field that names what the origin needs (Host, Cookie, Authorization, Content-Length
//!   and the like) is refused, because obeying it would forward another request than was judged.
//! - A header value that is not UTF-8 is shown to rules with U+FFFD for what is not, and forwarded as
//!   it came: one bad byte hides nothing that stands beside it. A field that stands there several
//!   times is shown as one, its values joined.
//! - `OPTIONS *` is judged as the URL of the server with the path `/`.
//!
//! HTTP parsers decide much before that: hyper takes a request with both Transfer-Encoding and
//! Content-Length for a chunked one and removes the length. [`wire`] looks at the bytes of HTTP/1
//! first.

mod connect;
mod fields;
mod refusal;
mod response;
pub mod wire;

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{CONNECTION, CONTENT_TYPE, HOST, TE, UPGRADE},
    request::Parts,
    uri::PathAndQuery,
};
use sluice_policy::{Authority, Inner, NormalError, Request, Scheme, normal};

pub use connect::{Tunnel, prepare_connect};
pub use fields::prepare_trailers;
pub use refusal::{Fault, Framing, Refusal};
pub use response::prepare_response;

/// How large the head of a request may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of the URL as it was sent; 414 above.
    pub url: usize,
    /// Header fields; 431 above.
    pub fields: usize,
    /// Bytes of all names and values; 431 above.
    pub fields_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            url: 16 << 10,
            fields: 100,
            fields_size: 64 << 10,
        }
    }
}

impl Limits {
    /// What a head may take as it stands on a connection of HTTP/1.
    #[must_use]
    pub const fn heads(&self) -> wire::Limits {
        wire::Limits {
            url: self.url,
            fields: self.fields,
            // A colon, a blank and the line's end are beside each.
            fields_size: self.fields_size + 4 * self.fields + 64,
        }
    }
}

/// What the connection is for that a request came by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected<'a> {
    /// For any server: a proxy's, on which each request names its own.
    Any,
    /// For one server.
    Origin {
        /// The server name of the hello or the CONNECT.
        host: Option<&'a str>,
        /// The address that was dialled.
        address: IpAddr,
        /// The port that was dialled.
        port: u16,
    },
}

impl Expected<'_> {
    /// Whether a request may name this server. Without a name, a request inside TLS can only mean the
    /// address; one in the clear may name any server there.
    fn admits(&self, authority: &Authority, scheme: Scheme) -> bool {
        let Self::Origin {
            host,
            address,
            port,
        } = *self
        else {
            return true;
        };
        if authority.port() != port {
            return false;
        }
        match (host, authority.address()) {
            (Some(host), _) => Authority::parse(host, scheme)
                .is_ok_and(|expected| expected.host() == authority.host()),
            (None, Some(named)) => named.to_canonical() == address.to_canonical(),
            (None, None) => scheme == Scheme::Http,
        }
    }

    /// The server that a request means which names none.
    fn authority(&self, scheme: Scheme) -> Option<Authority> {
        match *self {
            Self::Any => None,
            Self::Origin {
                host: Some(host),
                port,
                ..
            } => Authority::parse(&format!("{host}:{port}"), scheme).ok(),
            Self::Origin { address, port, .. } => {
                Some(Authority::of_address(address, port, scheme))
            }
        }
    }
}

/// A protocol that a request asks to switch to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

impl Upgrade {
    const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
        }
    }
}

/// A request that may be judged and, if the rules let it, forwarded as it is here.
#[derive(Clone, Debug)]
pub struct Prepared {
    parts: Parts,
    scheme: Scheme,
    authority: Authority,
    url: Box<str>,
    asterisk: bool,
    upgrade: Option<Upgrade>,
    length: Option<u64>,
    /// Values that rules are shown otherwise than they stand.
    unlike: Vec<(HeaderName, String)>,
    content_type: Option<String>,
}

/// A request that can be judged.
#[derive(Clone, Debug)]
pub enum Examined {
    /// It may be forwarded, if the rules let it.
    Expected(Prepared),
    /// It names another server than its connection is for. It is never forwarded; rules may say that
    /// it is blocked, which a client should rather see.
    Misdirected(Prepared),
}

/// Makes a request fit to be judged and forwarded.
///
/// # Errors
///
/// [`Refusal`], with the status that the client is answered.
pub fn prepare(
    parts: Parts,
    scheme: Scheme,
    expected: &Expected<'_>,
    limits: &Limits,
) -> Result<Prepared, Refusal> {
    match examine(parts, scheme, expected, limits)? {
        Examined::Expected(prepared) => Ok(prepared),
        Examined::Misdirected(_) => Err(Refusal::Misdirected),
    }
}

/// Makes a request fit to be judged, and tells whether it may be forwarded.
///
/// # Errors
///
/// [`Refusal`], with the status that the client is answered.
pub fn examine(
    mut parts: Parts,
    scheme: Scheme,
    expected: &Expected<'_>,
    limits: &Limits,
) -> Result<Examined, Refusal> {
    if !matches!(
        parts.version,
        Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2
    ) {
        return Err(Refusal::Version);
    }
    within(&parts, limits)?;
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal::Method);
    }
    if let Some(name) = fields::with_control_character(&parts.headers) {
        return Err(Refusal::Value(name));
    }
    if parts.version == Version::HTTP_2 {
        http2_fields(&parts.headers)?;
    }
    if let Some(name) = fields::stolen(&parts.headers) {
        return Err(Refusal::Connection(name));
    }
    if let Some(name) = fields::repeated(&parts.headers) {
        return Err(Refusal::Repeated(name));
    }
    let length = fields::length(&parts.headers, parts.version)?;
    let asterisk = parts.uri.path() == "*";
    if asterisk && parts.method != Method::OPTIONS {
        return Err(Refusal::Asterisk);
    }
    let authority = authority(&parts, scheme, expected)?;
    let path = match parts.uri.path_and_query() {
        Some(path) if !asterisk => normal::path_and_query(path.as_str())?,
        _ => "/".into(),
    };
    let url = format!("{}://{authority}{path}", scheme.name()).into();
    let upgrade = upgrade(&parts);
    let trailers = parts.version == Version::HTTP_2 && parts.headers.contains_key(TE);
    fields::remove_hop_by_hop(&mut parts.headers);
    fields::join_cookies(&mut parts.headers);
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| NormalError::Host)?;
    parts.headers.insert(HOST, host);
    if trailers {
        parts
            .headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    if upgrade.is_some() {
        let headers = &mut parts.headers;
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    parts.uri = target(scheme, &authority, if asterisk { "*" } else { &path })?;
    let is_expected = expected.admits(&authority, scheme);
    let prepared = Prepared {
        unlike: fields::unlike(&parts.headers),
        content_type: content_type(&parts.headers),
        parts,
        scheme,
        authority,
        url,
        asterisk,
        upgrade,
        length,
    };
    Ok(if is_expected {
        Examined::Expected(prepared)
    } else {
        Examined::Misdirected(prepared)
    })
}

fn within(parts: &Parts, limits: &Limits) -> Result<(), Refusal> {
    let authority = parts.uri.authority().map_or(0, |part| part.as_str().len());
    let path = parts
        .uri
        .path_and_query()
        .map_or(0, |part| part.as_str().len());
    if authority + path > limits.url {
        return Err(Refusal::UrlTooLong(limits.url));
    }
    if parts.headers.len() > limits.fields {
        return Err(Refusal::TooManyFields(limits.fields));
    }
    if fields::size(&parts.headers) > limits.fields_size {
        return Err(Refusal::FieldsTooLarge(limits.fields_size));
    }
    Ok(())
}

/// RFC 9113 section 8.2.2.
fn http2_fields(headers: &HeaderMap) -> Result<(), Refusal> {
    const NONE: [&str; 5] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    if let Some(name) = NONE.into_iter().find(|name| headers.contains_key(*name)) {
        return Err(Refusal::Http2Field(name));
    }
    let trailers = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if !headers.get_all(TE).iter().all(trailers) {
        return Err(Refusal::Http2Field("te with other values than trailers"));
    }
    Ok(())
}

/// The one server that a request names in its target, its Host field, or both (RFC 9112 section 3.2,
/// RFC 9113 section 8.3.1).
fn authority(parts: &Parts, scheme: Scheme, expected: &Expected<'_>) -> Result<Authority, Refusal> {
    if let Some(written) = parts.uri.scheme_str()
        && written.parse::<Scheme>()? != scheme
    {
        return Err(Refusal::Misdirected);
    }
    let in_target = parts.uri.authority();
    let in_target = in_target.map(|found| Authority::parse(found.as_str(), scheme));
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().map(|host| {
        let host = std::str::from_utf8(host.as_bytes()).map_err(|_| NormalError::Host)?;
        Authority::parse(host, scheme)
    });
    if hosts.next().is_some() {
        return Err(Refusal::Repeated("host"));
    }
    match (in_target.transpose()?, host.transpose()?) {
        (Some(target), Some(host)) if target != host => Err(Refusal::Authorities),
        // RFC 9112 section 3.2: only HTTP/1.1 must have a Host field beside its target.
        (Some(_), None) if parts.version == Version::HTTP_11 => Err(Refusal::NoAuthority),
        (Some(named), _) | (None, Some(named)) => Ok(named),
        (None, None) if parts.version == Version::HTTP_10 => {
            expected.authority(scheme).ok_or(Refusal::NoAuthority)
        }
        (None, None) => Err(Refusal::NoAuthority),
    }
}

/// The protocol that a request asks to switch to, where it is one that is relayed. RFC 6455 section
/// 4.1 asks for GET and HTTP/1.1.
fn upgrade(parts: &Parts) -> Option<Upgrade> {
    let websocket = Upgrade::WebSocket;
    let asks = parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && fields::has_item(&parts.headers, &CONNECTION, "upgrade")
        && fields::has_item(&parts.headers, &UPGRADE, websocket.name());
    asks.then_some(websocket)
}

/// The media type in lower case, as rules have it, where it is not already.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.as_bytes();
    value
        .iter()
        .any(u8::is_ascii_uppercase)
        .then(|| String::from_utf8_lossy(value).to_lowercase())
}

fn target(scheme: Scheme, authority: &Authority, path: &str) -> Result<Uri, Refusal> {
    let path: PathAndQuery = path.parse().map_err(|_| NormalError::Character)?;
    Uri::builder()
        .scheme(scheme.name())
        .authority(authority.as_str())
        .path_and_query(path)
        .build()
        .map_err(|_| Refusal::Url(NormalError::Host))
}

impl Prepared {
    /// The URL in its normal form, with scheme and authority.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path without the query, in its normal form.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The path and the query, in their normal form.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        let target = self.parts.uri.path_and_query();
        target.map_or("/", |target| target.as_str())
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The header fields as they are forwarded; Host is always among them.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The protocol that the request asks to switch to.
    #[must_use]
    pub const fn upgrade(&self) -> Option<Upgrade> {
        self.upgrade
    }

    /// The announced length of the body in bytes.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Every header field once, for [`Prepared::facts`].
    #[must_use]
    pub fn fields(&self) -> Vec<(&str, &str)> {
        let headers = &self.parts.headers;
        let shown = |name: &HeaderName| {
            let unlike = self.unlike.iter().find(|(unlike, _)| unlike == name);
            unlike.map(|(_, text)| text.as_str())
        };
        headers
            .keys()
            .filter_map(|name| {
                let as_it_stands = || std::str::from_utf8(headers.get(name)?.as_bytes()).ok();
                Some((name.as_str(), shown(name).or_else(as_it_stands)?))
            })
            .collect()
    }

    /// The request as rules see it; `fields` is what [`Prepared::fields`] gave.
    #[must_use]
    pub fn facts<'a>(&'a self, fields: &'a [(&'a str, &'a str)]) -> Request<'a> {
        Request {
            inner: Some(match self.upgrade {
                Some(Upgrade::WebSocket) => Inner::WebSocket,
                None => Inner::Http,
            }),
            inspected: Some(self.scheme == Scheme::Https),
            url: Some(&self.url),
            method: Some(self.parts.method.as_str()),
            headers: fields,
            user_agent: None,
            content_type: self.content_type.as_deref(),
            size: self.length,
        }
    }

    /// The head of the request for an origin that speaks a version of HTTP: the target with its
    /// scheme and no Host field for HTTP/2, the path and a Host field otherwise.
    #[must_use]
    pub fn into_parts(self, version: Version) -> Parts {
        let mut parts = self.parts;
        parts.version = version;
        if version == Version::HTTP_2 {
            for name in [HOST, CONNECTION, UPGRADE] {
                parts.headers.remove(name);
            }
        } else {
            if self.asterisk {
                parts.uri = Uri::from_static("*");
            } else if let Some(path) = parts.uri.path_and_query().cloned() {
                parts.uri = path.into();
            }
            // RFC 9110 section 10.1.4: for the next connection alone, which has no trailers to give
            // to whoever asked in HTTP/2.
            parts.headers.remove(TE);
        }
        parts
    }
}
