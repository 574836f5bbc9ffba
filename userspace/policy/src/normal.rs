//! The normal form of a request's URL: what rules see is what is forwarded.
//!
//! RFC 3986 section 6.2.2 leaves several ways to write one URL, and origins read still more. A
//! request is brought into one form before anything is judged, and goes on in that form:
//!
//! - Scheme and host are in lower case, names beyond ASCII in their `xn--` form without a dot at the
//!   end, addresses as RFC 5952 and dotted decimal have them; the scheme's own port is left out.
//! - An empty path is `/`; `.` and `..` segments are resolved (section 5.2.4), also where their dots
//!   are percent-encoded.
//! - Percent-encoded letters, digits, `-`, `.`, `_` and `~` are decoded, once; every other encoding
//!   stays, its digits in upper case. Characters that no URL has (`"<>^`, the grave accent, `{|}`,
//!   those beyond ASCII) are encoded.
//! - Empty segments (`//`) and parameters (`;x`) stay: origins tell them apart from what is left when
//!   they are taken out. So do encoded reserved characters such as `%2F` and `%2C`, which are not the
//!   same as the bare ones (section 2.2).
//!
//! What origins are known to read in several ways is refused: bare control characters, spaces and
//! backslashes, `%00` in a path, a `%` in a path that encodes nothing, dots that only become a
//! segment when an encoded slash or a parameter is interpreted (`..%2F`, `..;`), names that end in a
//! number and are no address, user information, and fragments. In a query a `%` that encodes nothing
//! stays, because old scripts write `%u20AC`.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::host::{HostError, canonical};

/// Why a text is no URL of a request, or one that would be read in several ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NormalError {
    /// A control character, a space or a backslash.
    #[error("a control character, a space or a backslash stands in it bare: percent-encode it")]
    Character,
    /// Dots that some origins take for a segment of dots.
    #[error("dots beside an encoded slash or a parameter may mean another path: write it resolved")]
    Dots,
    /// There is a fragment, which no request has.
    #[error("a fragment is never sent: leave out what begins with #")]
    Fragment,
    /// The host is none.
    #[error("the host is neither a name nor an address")]
    Host,
    /// A NUL, which ends the path for some origins.
    #[error("%00 in a path ends it for some origins: leave it out")]
    Nul,
    /// The path begins with no slash.
    #[error("a path begins with a slash")]
    Path,
    /// A `%` that encodes nothing.
    #[error("a % in a path stands before two hexadecimal digits: write %25 for the sign itself")]
    Percent,
    /// The port is none.
    #[error("expected a port from 1 to 65535 behind the host")]
    Port,
    /// The scheme is none that requests have.
    #[error("expected http:// or https://")]
    Scheme,
    /// There is user information.
    #[error("a user name before the host is not sent: leave it out")]
    UserInfo,
}

/// The scheme of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Inside TLS.
    Https,
}

impl Scheme {
    /// The word before `://`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where none is written (RFC 9110 sections 4.2.1 and 4.2.2).
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl FromStr for Scheme {
    type Err = NormalError;

    /// Reads the word before `://`; letter case does not matter.
    fn from_str(text: &str) -> Result<Self, NormalError> {
        [Self::Http, Self::Https]
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.name()))
            .ok_or(NormalError::Scheme)
    }
}

/// Host and port in their normal form: `a.example`, `a.example:8443`, `[2001:db8::1]`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Authority {
    text: Box<str>,
    /// Bytes of the host in the text, brackets included.
    host: usize,
    port: u16,
}

impl Authority {
    /// Reads what stands in a URL between `//` and the path, or in a Host field.
    ///
    /// # Errors
    ///
    /// [`NormalError::Host`], [`NormalError::Port`] and [`NormalError::UserInfo`].
    pub fn parse(text: &str, scheme: Scheme) -> Result<Self, NormalError> {
        if text.contains('@') {
            return Err(NormalError::UserInfo);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(NormalError::Host)?;
                let address: Ipv6Addr = host.parse().map_err(|_| NormalError::Host)?;
                (format!("[{address}]").into(), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (host, port) = text.split_at_checked(end).unwrap_or((text, ""));
                (name(host)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            // RFC 3986 section 6.2.3: a colon and nothing behind it is the scheme's own port.
            Some("") => scheme.port(),
            Some(port) => number(port).ok_or(NormalError::Port)?,
            None if port.is_empty() => scheme.port(),
            None => return Err(NormalError::Host),
        };
        Ok(Self::new(&host, port, scheme))
    }

    /// What a URL of an address has for its authority.
    #[must_use]
    pub fn of_address(address: IpAddr, port: u16, scheme: Scheme) -> Self {
        let host = match address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        Self::new(&host, port, scheme)
    }

    fn new(host: &str, port: u16, scheme: Scheme) -> Self {
        let text = if port == scheme.port() {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        Self {
            text: text.into(),
            host: host.len(),
            port,
        }
    }

    /// Host and port as a URL has them; the scheme's own port is left out.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.text
            .get(..self.host)
            .unwrap_or_default()
            .trim_matches(['[', ']'])
    }

    /// The port, also where it is the scheme's own.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address, where the host is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn name(host: &str) -> Result<Cow<'_, str>, NormalError> {
    match canonical(host) {
        Ok(name) => {
            // What ends in a number is an address to browsers and resolvers: 127.1, 0x7f.0.0.1.
            if ends_in_number(&name) {
                return Err(NormalError::Host);
            }
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Ok(name.to_ascii_lowercase().into());
            }
            Ok(name)
        }
        Err(HostError::Address) => host
            .parse::<Ipv4Addr>()
            .map(|address| address.to_string().into())
            .map_err(|_| NormalError::Host),
        Err(_) => Err(NormalError::Host),
    }
}

fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A port; `u16::from_str` would take a sign.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port: &u16| digits && port > 0)
}

/// Brings a whole URL into its normal form.
///
/// # Errors
///
/// [`NormalError`], where it is none, or one that is refused.
pub fn url(text: &str) -> Result<String, NormalError> {
    let (scheme, rest) = text.split_once("://").ok_or(NormalError::Scheme)?;
    let scheme: Scheme = scheme.parse()?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let authority = Authority::parse(authority, scheme)?;
    let path = path_and_query(path)?;
    Ok(format!("{}://{authority}{path}", scheme.name()))
}

/// Brings a path with its query into its normal form; an empty one is `/`.
///
/// # Errors
///
/// [`NormalError`], where it is none, or one that is refused.
pub fn path_and_query(text: &str) -> Result<Cow<'_, str>, NormalError> {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    if !path.is_empty() && !path.starts_with('/') {
        return Err(NormalError::Path);
    }
    let plain = |part: &str| part.bytes().all(|byte| is_plain(byte) || byte == b'?');
    let whole = path.starts_with('/') && !path.contains("/.") && !path.contains(';');
    if whole && plain(path) && query.is_none_or(plain) {
        return Ok(text.into());
    }
    let mut out = String::with_capacity(text.len() + 8);
    encode(path, Part::Path, &mut out)?;
    out = resolve(&out)?;
    if let Some(query) = query {
        out.push('?');
        encode(query, Part::Query, &mut out)?;
    }
    Ok(out.into())
}

/// Brings what a path or a path with its query begins with into the form in which paths are
/// compared with it. The last segment may be cut short anywhere but inside an encoding.
///
/// # Errors
///
/// [`NormalError`], where no path in its normal form begins so.
pub fn beginning(text: &str) -> Result<String, NormalError> {
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    if !path.starts_with('/') {
        return Err(NormalError::Path);
    }
    let mut out = String::with_capacity(text.len());
    encode(path, Part::Path, &mut out)?;
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    let whole = match query {
        Some(_) => out.as_str(),
        None => out.rsplit_once('/').map_or("", |(whole, _)| whole),
    };
    if whole.split('/').any(is_dots) {
        return Err(NormalError::Dots);
    }
    if let Some(query) = query {
        out.push('?');
        encode(query, Part::Query, &mut out)?;
    }
    Ok(out)
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Part {
    Path,
    Query,
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a path may hold bare (RFC 3986 section 3.3), and brackets, which everybody writes so.
const fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
        || matches!(byte, b':' | b'@' | b'/' | b'[' | b']')
}

const fn hex(digit: u8) -> Option<u8> {
    Some(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => return None,
    })
}

fn push_encoded(byte: u8, out: &mut String) {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
    out.push('%');
    out.push(digit(byte >> 4).to_ascii_uppercase());
    out.push(digit(byte & 15).to_ascii_uppercase());
}

/// Writes a part with every character in its one encoding.
fn encode(text: &str, part: Part, out: &mut String) -> Result<(), NormalError> {
    let mut rest = text.as_bytes();
    // How many more digits a `%` that encodes nothing would take to encode something: none of them
    // may come from decoding, or a second pass would decode once more.
    let mut open = 0u8;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let digits = match *tail {
            [high, low, ..] if byte == b'%' => hex(high).zip(hex(low)),
            _ => None,
        };
        match (byte, digits) {
            (b'%', Some((high, low))) => {
                rest = tail.get(2..).unwrap_or_default();
                let decoded = high << 4 | low;
                if decoded == 0 && part == Part::Path {
                    return Err(NormalError::Nul);
                }
                if is_unreserved(decoded) && (open == 0 || hex(decoded).is_none()) {
                    out.push(decoded.into());
                } else {
                    push_encoded(decoded, out);
                }
                open = 0;
            }
            (b'%', None) if part == Part::Path => return Err(NormalError::Percent),
            (b'%', None) => {
                out.push('%');
                open = 2;
            }
            (b'#', _) => return Err(NormalError::Fragment),
            (0..=b' ' | 0x7f, _) => return Err(NormalError::Character),
            (b'\\', _) if part == Part::Path => return Err(NormalError::Character),
            _ if is_plain(byte) || byte == b'?' => {
                out.push(byte.into());
                open = if hex(byte).is_some() {
                    open.saturating_sub(1)
                } else {
                    0
                };
            }
            _ => {
                push_encoded(byte, out);
                open = 0;
            }
        }
    }
    Ok(())
}

/// Resolves segments of dots (RFC 3986 section 5.2.4), and refuses those in disguise.
fn resolve(path: &str) -> Result<String, NormalError> {
    let mut kept: Vec<&str> = Vec::new();
    let segments = path.strip_prefix('/').unwrap_or(path);
    for segment in segments.split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ if is_disguised(segment) => return Err(NormalError::Dots),
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len() + 1);
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    let ends_in_dots = matches!(segments.rsplit('/').next(), Some("." | ".."));
    if ends_in_dots || out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// Whether a segment holds a segment of dots for those who decode slashes, take backslashes for
/// slashes, or cut parameters off before they resolve.
fn is_disguised(segment: &str) -> bool {
    // Every disguise has dots and an encoding or a parameter.
    if !segment.contains('.') || !segment.contains(['%', ';']) {
        return false;
    }
    let plain = segment.replace("%2F", "/").replace("%5C", "/");
    plain.split('/').any(|part| {
        let part = part.split(';').next().unwrap_or_default();
        let part = part.split("%3B").next().unwrap_or_default();
        matches!(part, "." | "..")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f5_every_way_to_write_a_url_has_one_form() {
        for (written, normal) in [
            ("HTTPS://Shop.EXAMPLE", "https://shop.example/"),
            ("https://shop.example:443/", "https://shop.example/"),
            ("https://shop.example:/", "https://shop.example/"),
            ("http://shop.example:443/", "http://shop.example:443/"),
            ("https://shop.example./", "https://shop.example/"),
            (
                "https://b\u{fc}cher.example/",
                "https://xn--bcher-kva.example/",
            ),
            ("https://a_b.example/", "https://a_b.example/"),
            ("http://192.0.2.1:80?q", "http://192.0.2.1/?q"),
            ("http://[2001:DB8:0::1]:8080/", "http://[2001:db8::1]:8080/"),
            ("https://a.example/%7euser/%41", "https://a.example/~user/A"),
            ("https://a.example/%c3%bc", "https://a.example/%C3%BC"),
            ("https://a.example/\u{fc}", "https://a.example/%C3%BC"),
            ("https://a.example/a/./b/../c", "https://a.example/a/c"),
            ("https://a.example/a/%2e%2E/c", "https://a.example/c"),
            ("https://a.example/%2e", "https://a.example/"),
            ("https://a.example/../../x/..", "https://a.example/"),
            ("https://a.example/a/b/..", "https://a.example/a/"),
            ("https://a.example/a//../b", "https://a.example/a/b"),
            ("https://a.example//a;x=1/b", "https://a.example//a;x=1/b"),
            ("https://a.example/a%2fb", "https://a.example/a%2Fb"),
            (
                "https://a.example/%252e%252e/",
                "https://a.example/%252e%252e/",
            ),
            (
                "https://a.example/{x}|\"",
                "https://a.example/%7Bx%7D%7C%22",
            ),
            (
                "https://a.example/?a=../%2e&b=[c]",
                "https://a.example/?a=../.&b=[c]",
            ),
            (
                "https://a.example/?q=100%&u=%u20ac",
                "https://a.example/?q=100%&u=%u20ac",
            ),
            ("https://a.example/?a\\b?c", "https://a.example/?a%5Cb?c"),
        ] {
            assert_eq!(url(written).as_deref(), Ok(normal), "{written}");
            assert_eq!(url(normal).as_deref(), Ok(normal), "{written}");
        }
    }

    #[test]
    fn f5_what_may_be_read_in_several_ways_is_refused() {
        for (written, error) in [
            ("a.example/", NormalError::Scheme),
            ("ftp://a.example/", NormalError::Scheme),
            ("https:///", NormalError::Host),
            ("https://a..example/", NormalError::Host),
            ("https://a%2eexample/", NormalError::Host),
            ("https://[fe80::1%25eth0]/", NormalError::Host),
            ("https://[::1]x/", NormalError::Host),
            ("https://127.1/", NormalError::Host),
            ("https://0x7f.0.0.1/", NormalError::Host),
            ("https://2130706433/", NormalError::Host),
            ("https://a.0X1/", NormalError::Host),
            ("https://010.0.0.1/", NormalError::Host),
            ("https://u:p@a.example/", NormalError::UserInfo),
            ("https://a.example:0/", NormalError::Port),
            ("https://a.example:+1/", NormalError::Port),
            ("https://a.example:65536/", NormalError::Port),
            ("https://a.example:80:80/", NormalError::Port),
            ("https://a.example/#x", NormalError::Fragment),
            ("https://a.example/?#x", NormalError::Fragment),
            ("https://a.example/a b", NormalError::Character),
            ("https://a.example/\0", NormalError::Character),
            ("https://a.example/?a\rb", NormalError::Character),
            ("https://a.example/a\\..\\b", NormalError::Character),
            ("https://a.example/a%00.png", NormalError::Nul),
            ("https://a.example/100%", NormalError::Percent),
            ("https://a.example/%zz", NormalError::Percent),
            ("https://a.example/%%36%31", NormalError::Percent),
            ("https://a.example/x/..%2fadmin", NormalError::Dots),
            ("https://a.example/x/%2e%2e%5Cadmin", NormalError::Dots),
            ("https://a.example/x%2F../y%2f.", NormalError::Dots),
            ("https://a.example/x/..;/admin", NormalError::Dots),
            ("https://a.example/x/..%3bv=1/admin", NormalError::Dots),
        ] {
            assert_eq!(url(written), Err(error), "{written}");
        }
    }

    #[test]
    fn a_percent_sign_that_encodes_nothing_does_not_come_to_encode() {
        for (written, normal) in [
            ("/?%%36%31", "/?%%361"),
            ("/?%4%31", "/?%4%31"),
            ("/?%4x%31", "/?%4x1"),
            ("/?%%2e", "/?%."),
        ] {
            assert_eq!(path_and_query(written).as_deref(), Ok(normal));
            assert_eq!(path_and_query(normal).as_deref(), Ok(normal));
        }
    }

    #[test]
    fn what_a_path_begins_with_is_compared_in_the_same_form() {
        assert_eq!(beginning("/%7Ejoe/a b"), Err(NormalError::Character));
        assert_eq!(beginning("/%7Ejoe/..pub").as_deref(), Ok("/~joe/..pub"));
        assert_eq!(beginning("/a/.").as_deref(), Ok("/a/."));
        assert_eq!(beginning("/a/../b"), Err(NormalError::Dots));
        assert_eq!(beginning("/a/..?x"), Err(NormalError::Dots));
        assert_eq!(beginning("/%4"), Err(NormalError::Percent));
        assert_eq!(beginning("/m\u{fc}?%61").as_deref(), Ok("/m%C3%BC?a"));
    }

    #[test]
    fn an_authority_knows_its_parts() {
        let read = |text: &str| Authority::parse(text, Scheme::Https).unwrap();
        let name = read("A.example:8443");
        assert_eq!((name.host(), name.port()), ("a.example", 8443));
        assert_eq!(name.address(), None);
        let six = read("[2001:db8::1]");
        assert_eq!((six.host(), six.port()), ("2001:db8::1", 443));
        assert_eq!(six.address(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(
            Authority::of_address("2001:db8::1".parse().unwrap(), 443, Scheme::Https),
            six
        );
    }
}
