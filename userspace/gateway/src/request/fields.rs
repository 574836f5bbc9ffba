//! Header fields: which belong to one connection, and what they say of the body's length.

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};

use super::refusal::Framing;

/// Fields for one connection, whether Connection names them or not (RFC 9110 section 7.6.1). The
/// credentials of a proxy are for the first proxy that they reach (section 11.7).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that every recipient needs, and the beginnings of such: Connection must not name them.
const END_TO_END: [&str; 24] = [
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "forwarded",
    "from",
    "host",
    "last-modified",
    "location",
    "origin",
    "pragma",
    "range",
    "referer",
    "server",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];
const END_TO_END_STARTS: [&str; 6] = [
    "accept",
    "access-control-",
    "content-",
    "if-",
    "sec-",
    "x-forwarded-",
];

fn is_end_to_end(name: &str) -> bool {
    END_TO_END.contains(&name)
        || END_TO_END_STARTS
            .iter()
            .any(|start| name.starts_with(start))
}

/// The items of a comma-separated field, over all its lines.
pub(super) fn items<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Whether a comma-separated field has an item.
pub(super) fn has_item(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    items(headers, name).any(|found| found.eq_ignore_ascii_case(item.as_bytes()))
}

/// The names that Connection has, apart from those that are for this connection anyway.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    items(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect()
}

/// The first field that Connection names and that is not for this connection.
pub(super) fn stolen(headers: &HeaderMap) -> Option<Box<str>> {
    let mut named = named_by_connection(headers).into_iter();
    let name = named.find(|name| is_end_to_end(name.as_str()))?;
    Some(name.as_str().into())
}

/// Removes what is for one connection; what every recipient needs stays, whatever Connection says.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        if !is_end_to_end(name.as_str()) {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes what trailers must not hold: framing, routing, credentials and what is read before the
/// body (RFC 9110 section 6.5.1).
pub fn prepare_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    let early = |name: &HeaderName| *name == TRAILER || is_end_to_end(name.as_str());
    let found: Vec<_> = trailers
        .keys()
        .filter(|name| early(name))
        .cloned()
        .collect();
    for name in found {
        // Entity tags may be computed while the body is sent.
        if name != "etag" {
            trailers.remove(name);
        }
    }
}

/// The first field whose value holds a control character. Parsers refuse them; what decodes fields
/// in another way may not.
pub(super) fn with_control_character(headers: &HeaderMap) -> Option<Box<str>> {
    let is_control = |&byte: &u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    headers
        .iter()
        .find(|(_, value)| value.as_bytes().iter().any(is_control))
        .map(|(name, _)| name.as_str().into())
}

/// The announced length of a body; `None` where none is announced or it is chunked. A length that
/// stands there twice is refused, also where both agree, since some recipients join them.
pub(super) fn length(headers: &HeaderMap, version: Version) -> Result<Option<u64>, Framing> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Framing::Both),
        (Some(coding), None) => {
            let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            if chunked && codings.next().is_none() && version == Version::HTTP_11 {
                Ok(None)
            } else {
                Err(Framing::Coding)
            }
        }
        (None, Some(length)) => {
            let number = digits(length).filter(|_| lengths.next().is_none());
            number.map(Some).ok_or(Framing::Length)
        }
    }
}

/// A number of nothing but digits: `parse` would take a sign.
pub(super) fn digits(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Fields of which a second one would be read by some and the first by others, besides those that
/// are looked at anyway.
const SINGLE: [&str; 4] = ["authorization", "content-type", "origin", "user-agent"];

/// The first of [`SINGLE`] that stands there more than once.
pub(super) fn repeated(headers: &HeaderMap) -> Option<&'static str> {
    SINGLE
        .into_iter()
        .find(|name| headers.get_all(*name).iter().nth(1).is_some())
}

/// The values that rules cannot be shown as they stand, by name: of fields that stand there several
/// times, all values joined (RFC 9110 section 5.3), and what is not UTF-8 with U+FFFD for what is not.
pub(super) fn unlike(headers: &HeaderMap) -> Vec<(HeaderName, String)> {
    let mut found = Vec::new();
    for name in headers.keys() {
        let values = headers.get_all(name);
        let several = values.iter().nth(1).is_some();
        if !several
            && values
                .iter()
                .all(|value| std::str::from_utf8(value.as_bytes()).is_ok())
        {
            continue;
        }
        let separator = if name == http::header::COOKIE {
            "; "
        } else {
            ", "
        };
        let texts: Vec<_> = values
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        found.push((name.clone(), texts.join(separator)));
    }
    found
}

/// Joins the pieces in which HTTP/2 may send cookies (RFC 9113 section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    use http::header::COOKIE;
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let joined = pieces.join(b"; ".as_slice());
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, value);
    }
}

/// Bytes of the fields, names and values.
pub(super) fn size(headers: &HeaderMap) -> usize {
    let each = headers.iter();
    each.map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}
