//! The head of an HTTP/1 request in clear: that it is one, and which host it names.
//!
//! Strict where readers differ (RFC 9112): a bare CR or LF, folded lines, space before a colon,
//! two Host fields or a Host field that contradicts the target make the head malformed, so that
//! the host judged is the host served.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::HostName;

/// Methods by which a request is recognised: RFC 9110, PATCH, and those of WebDAV.
pub(crate) const METHODS: &[&[u8]] = &[
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
];

/// What a stream's first bytes are to HTTP/1.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once a request and taken apart at once; a box would be the only allocation"
)]
pub enum Head<'a> {
    /// The bytes begin otherwise than with a method that is known.
    NotHttp,
    /// The head has not ended yet, and may still within the limit.
    Incomplete,
    /// The head is longer than the limit.
    TooLong,
    /// The head breaks a rule of RFC 9112, or the host it names has no canonical form.
    Malformed,
    /// The head is complete.
    Request(Request<'a>),
}

/// The head of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// The target as the client wrote it.
    pub target: &'a str,
    /// The host that the target or else the field Host names.
    pub host: Host,
    /// The port beside that host.
    pub port: Option<u16>,
    /// How many bytes the head takes, the empty line included.
    pub consumed: usize,
}

/// The host that a request names.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a name is the usual case, and a box would be the only allocation"
)]
pub enum Host {
    /// None, as HTTP/1.0 permits.
    Absent,
    /// A name in canonical form.
    Name(HostName),
    /// An address.
    Address(IpAddr),
}

/// Whether bytes begin like a request of HTTP/1: with a method that is known and a space.
#[must_use]
pub fn is_request_line(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| {
        bytes
            .strip_prefix(*method)
            .is_some_and(|rest| rest.first() == Some(&b' '))
    })
}

/// Whether bytes end before it shows whether they begin like a request of HTTP/1.
pub(crate) fn may_become_request_line(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| method.starts_with(bytes))
}

/// Ends of lines that are skipped before a request.
const SKIPPED: usize = 16;

/// What stands behind the empty lines that servers skip before a request (RFC 9112 section 2.2).
pub(crate) fn behind_empty_lines(bytes: &[u8]) -> &[u8] {
    let is_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    let count = bytes.iter().take(SKIPPED).take_while(is_end).count();
    bytes.get(count..).unwrap_or_default()
}

/// The head of the request that a stream begins with, if it ends within `limit` bytes.
///
/// `bytes` is everything the client sent so far. Nothing is remembered between calls, and each
/// looks at no more than `limit` bytes.
#[must_use]
pub fn head(bytes: &[u8], limit: usize) -> Head<'_> {
    if !is_request_line(bytes) {
        return if may_become_request_line(bytes) {
            Head::Incomplete
        } else {
            Head::NotHttp
        };
    }
    let bounded = bytes.get(..limit).unwrap_or(bytes);
    match bounded.windows(4).position(|end| end == b"\r\n\r\n") {
        Some(end) => {
            let lines = bounded.get(..end).unwrap_or_default();
            parse(lines, end + 4).map_or(Head::Malformed, Head::Request)
        }
        None if bytes.len() >= limit => Head::TooLong,
        None => Head::Incomplete,
    }
}

/// A host, and the port beside it.
type Authority = (Host, Option<u16>);

fn parse(head: &[u8], consumed: usize) -> Option<Request<'_>> {
    let mut lines = Lines(Some(head));
    let (method, target, minor) = request_line(lines.next()?)?;
    let mut field_value = None;
    for line in lines {
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"host") && field_value.replace(value).is_some() {
            return None;
        }
    }
    let named = match field_value {
        Some(value) => Some(authority(value)?),
        // RFC 9112 section 3.2: HTTP/1.1 always has it.
        None if minor > b'0' => return None,
        None => None,
    };
    let (host, port) = match (target_authority(method, target)?, named) {
        (Some(target), Some(named)) => agreed(target, &named)?,
        (Some(authority), None) | (None, Some(authority)) => authority,
        (None, None) => (Host::Absent, None),
    };
    Some(Request {
        method,
        target,
        host,
        port,
        consumed,
    })
}

/// Lines ended by CR LF, without their ends.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.0?;
        let end = bytes.windows(2).position(|pair| pair == b"\r\n");
        let Some(end) = end else {
            self.0 = None;
            return Some(bytes);
        };
        self.0 = bytes.get(end + 2..);
        bytes.get(..end)
    }
}

/// Method, target and the digit of the minor version (RFC 9112 section 3).
fn request_line(line: &[u8]) -> Option<(&str, &str, u8)> {
    let line = core::str::from_utf8(line).ok()?;
    let mut parts = line.split(' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    let [minor] = *version.strip_prefix("HTTP/1.")?.as_bytes() else {
        return None;
    };
    let visible = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    let well_formed = visible && minor.is_ascii_digit() && parts.next().is_none();
    well_formed.then_some((method, target, minor))
}

/// The name of a field and its value without the space around it (RFC 9112 section 5).
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    let well_formed = !name.is_empty() && name.iter().all(is_token) && value.iter().all(is_text);
    well_formed.then_some((name, value.trim_ascii()))
}

/// The authority within a target (RFC 9112 section 3.2): `Some(None)` for a path or `*`.
fn target_authority(method: &str, target: &str) -> Option<Option<Authority>> {
    if method == "CONNECT" {
        let authority = authority(target.as_bytes())?;
        return authority.1.is_some().then_some(Some(authority));
    }
    if target.starts_with('/') || (method == "OPTIONS" && target == "*") {
        return Some(None);
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    authority(rest.get(..end)?.as_bytes()).map(Some)
}

/// `host` or `host:port` (RFC 3986 section 3.2), without user information.
fn authority(text: &[u8]) -> Option<Authority> {
    let text = core::str::from_utf8(text).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            let host = Host::Address(address.parse::<Ipv6Addr>().ok()?.into());
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':')?),
            };
            (host, port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let host = match host.parse::<Ipv4Addr>() {
                Ok(address) => Host::Address(address.into()),
                Err(_) => Host::Name(host.parse().ok()?),
            };
            (host, port)
        }
    };
    let Some(port) = port else {
        return Some((host, None));
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then_some(port)?.parse().ok()?;
    Some((host, Some(port)))
}

/// What the target and the field Host say together, if they do not contradict each other.
fn agreed(target: Authority, named: &Authority) -> Option<Authority> {
    let same_port = match (target.1, named.1) {
        (Some(target), Some(named)) => target == named,
        _ => true,
    };
    (target.0 == named.0 && same_port).then_some(target)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::*;

    const LIMIT: usize = 4096;

    fn host_of(text: &str) -> Option<(Host, Option<u16>)> {
        match head(text.as_bytes(), LIMIT) {
            Head::Request(request) => {
                assert_eq!(request.consumed, text.len());
                Some((request.host, request.port))
            }
            Head::Malformed => None,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    fn name(text: &str) -> Host {
        Host::Name(text.parse().unwrap())
    }

    #[test]
    fn names_one_host() {
        for (text, host, port) in [
            (
                "GET / HTTP/1.1\r\nHost: A.example\r\n\r\n",
                name("a.example"),
                None,
            ),
            (
                "GET /x HTTP/1.1\r\nA: b\r\nhOST:\ta:81 \r\n\r\n",
                name("a"),
                Some(81),
            ),
            ("GET / HTTP/1.0\r\n\r\n", Host::Absent, None),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", name("a"), None),
            (
                "GET http://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n",
                name("a"),
                None,
            ),
            (
                "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
                name("a"),
                Some(443),
            ),
            (
                "CONNECT [2001:db8::1]:443 HTTP/1.0\r\n\r\n",
                Host::Address("2001:db8::1".parse().unwrap()),
                Some(443),
            ),
            (
                "GET / HTTP/1.1\r\nHost: 192.0.2.7\r\n\r\n",
                Host::Address("192.0.2.7".parse().unwrap()),
                None,
            ),
        ] {
            assert_eq!(host_of(text), Some((host, port)), "{text:?}");
        }
    }

    #[test]
    fn what_readers_differ_on_is_malformed() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.10\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET http://a:81/ HTTP/1.1\r\nHost: a:80\r\n\r\n",
            "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(host_of(head), None, "{head:?}");
        }
    }

    #[test]
    fn incomplete_until_the_empty_line_or_the_limit() {
        let text = "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(head(&text.as_bytes()[..cut], LIMIT), Head::Incomplete);
        }
        assert_eq!(head(text.as_bytes(), text.len() - 1), Head::TooLong);
        assert!(matches!(
            head(text.as_bytes(), text.len()),
            Head::Request(_)
        ));
        let endless = format!("GET /{}", "a".repeat(LIMIT));
        assert_eq!(head(endless.as_bytes(), LIMIT), Head::TooLong);
    }

    #[test]
    fn other_first_bytes_are_not_http() {
        for text in [
            "get / HTTP/1.1\r\n",
            "GETS",
            "\x16\x03\x01",
            "SSH-2.0-x\r\n",
        ] {
            assert_eq!(head(text.as_bytes(), LIMIT), Head::NotHttp, "{text:?}");
        }
        assert_eq!(head(String::new().as_bytes(), LIMIT), Head::Incomplete);
    }
}
