//! URLs as rules see them, and entries of lists of URLs. [`crate::normal`] has their normal form.

use std::{fmt, str::FromStr};

use crate::{
    host::{HostError, HostPattern},
    normal::{self, NormalError},
};

/// The parts of a URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UrlParts<'u> {
    /// The scheme, as it is written; empty where there is none.
    pub scheme: &'u str,
    /// The host, without a port and without the brackets of an IPv6 address.
    pub host: &'u str,
    /// The port, where one is written.
    pub port: Option<u16>,
    /// Path and query, from the first `/`; empty where there is none.
    pub path: &'u str,
}

impl<'u> UrlParts<'u> {
    /// Takes a URL apart (RFC 3986 section 3); nothing is decoded, and user information is left
    /// out.
    #[must_use]
    pub fn split(url: &'u str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let authority = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) = bracketed.split_once(']').unwrap_or((bracketed, ""));
                (host, after.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        Self {
            scheme,
            host,
            port: port.and_then(|port| port.parse().ok()),
            path,
        }
    }

    /// The port, also where the scheme alone says it.
    #[must_use]
    pub fn effective_port(&self) -> Option<u16> {
        self.port.or_else(|| {
            if self.scheme.eq_ignore_ascii_case("https") {
                Some(443)
            } else if self.scheme.eq_ignore_ascii_case("http") {
                Some(80)
            } else {
                None
            }
        })
    }

    /// The path and query, of which no URL with a host has none.
    #[must_use]
    pub const fn effective_path(&self) -> &'u str {
        if self.path.is_empty() { "/" } else { self.path }
    }
}

/// An entry of a list of URLs: `[scheme://]host[:port][/path]`. The path is what the path of a URL
/// begins with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UrlEntry {
    /// The scheme in lower case, where one is written.
    pub scheme: Option<Box<str>>,
    /// The host, as a pattern of a list of domains.
    pub host: HostPattern,
    /// The port, where one is written.
    pub port: Option<u16>,
    /// What the path begins with, in its normal form; empty where any does.
    pub path: Box<str>,
}

/// Why a text is no entry of a list of URLs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The host is none.
    #[error("{0}")]
    Host(#[from] HostError),
    /// No path in its normal form begins so.
    #[error("{0}")]
    Path(#[from] NormalError),
    /// The port is none.
    #[error("expected a port from 1 to 65535 behind the host")]
    Port,
    /// The scheme is none that requests have.
    #[error("expected http:// or https://, or no scheme at all")]
    Scheme,
}

impl UrlEntry {
    /// Whether a URL whose host matches is meant.
    pub(crate) fn matches_beyond_host(&self, url: &UrlParts<'_>) -> bool {
        self.scheme
            .as_ref()
            .is_none_or(|scheme| scheme.eq_ignore_ascii_case(url.scheme))
            && (self.port.is_none() || self.port == url.effective_port())
            && url.effective_path().starts_with(&*self.path)
    }
}

impl FromStr for UrlEntry {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
            None => (None, text),
        };
        if scheme
            .as_ref()
            .is_some_and(|s| !matches!(s.as_str(), "http" | "https"))
        {
            return Err(UrlError::Scheme);
        }
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => {
                let port = port.parse().ok().filter(|&port: &u16| port > 0);
                (host, Some(port.ok_or(UrlError::Port)?))
            }
            None => (authority, None),
        };
        let path = match path {
            "" => String::new(),
            path => normal::beginning(path)?,
        };
        Ok(Self {
            scheme: scheme.map(Into::into),
            host: host.parse()?,
            port,
            path: path.into(),
        })
    }
}

impl fmt::Display for UrlEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        write!(f, "{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let parts = UrlParts::split("https://u:p@Shop.example:8443/a/b?c#d");
        assert_eq!((parts.scheme, parts.host), ("https", "Shop.example"));
        assert_eq!((parts.port, parts.path), (Some(8443), "/a/b?c#d"));
        let parts = UrlParts::split("http://[2001:db8::1]?q");
        assert_eq!((parts.host, parts.path), ("2001:db8::1", "?q"));
        assert_eq!(parts.effective_port(), Some(80));
        assert_eq!(UrlParts::split("a.example").effective_path(), "/");
    }

    #[test]
    fn entries_match_by_host_port_scheme_and_the_path_s_beginning() {
        let matches = |entry: &str, url: &str| {
            let entry: UrlEntry = entry.parse().unwrap();
            entry.matches_beyond_host(&UrlParts::split(url))
        };
        assert!(matches("a.example", "https://a.example/x"));
        assert!(matches("a.example/x", "https://a.example/xy"));
        assert!(!matches("a.example/x", "https://a.example/"));
        assert!(!matches("http://a.example", "https://a.example/"));
        assert!(matches("a.example:443", "https://a.example/"));
        assert!(!matches("a.example:80", "https://a.example/"));
        assert_eq!("ftp://a.example".parse::<UrlEntry>(), Err(UrlError::Scheme));
        assert_eq!("a.example:x".parse::<UrlEntry>(), Err(UrlError::Port));
        let entry: UrlEntry = "https://*.a.example:8443/x".parse().unwrap();
        assert_eq!(entry.to_string(), "https://*.a.example:8443/x");
        assert!(matches("a.example/%7ejoe", "https://a.example/~joe/"));
        assert_eq!(
            "a.example/x/../y".parse::<UrlEntry>(),
            Err(UrlError::Path(NormalError::Dots))
        );
    }
}
