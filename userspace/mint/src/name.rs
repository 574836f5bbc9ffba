//! The names that a leaf may bear.

use std::{fmt, net::IpAddr};

/// Longest name in the form that people write, without a dot at its end (RFC 1035 section 2.3.4).
const NAME_LIMIT: usize = 253;

/// Longest label (RFC 1035 section 2.3.4).
const LABEL_LIMIT: usize = 63;

/// The server that a client asked for, in the one form that is compared and written into leaves: a
/// name in lower case without a dot at its end, or an address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct LeafName(Kind);

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Kind {
    Dns(Box<str>),
    Ip(IpAddr),
}

/// Why a text names no server that a leaf could be for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing, or nothing between two dots.
    #[error("the name has an empty part")]
    Empty,
    /// The name or a part of it is longer than DNS can carry.
    #[error("the name or a part of it is too long: at most 253 characters, 63 between dots")]
    TooLong,
    /// A character that host names do not have; names in other scripts are given in their A-label
    /// form (RFC 5890 section 2.3.2.1), and wildcards name no server.
    #[error("only letters, digits, `-` and `_` are allowed, and no `-` at either end of a part")]
    Character,
    /// The last part is a number, so that programs would take the name for an address (WHATWG URL
    /// section 3.5), and it is none.
    #[error("a name whose last part is a number is an address, and this one is none")]
    Number,
}

impl LeafName {
    /// Reads a name or an address; of IPv6 without brackets or zone.
    ///
    /// # Errors
    ///
    /// [`NameError`]: a leaf for it would mean different servers to different clients, or none.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::from(address));
        }
        Ok(Self(Kind::Dns(canonical(text)?)))
    }

    /// The name, where it is no address.
    #[must_use]
    pub fn dns(&self) -> Option<&str> {
        match &self.0 {
            Kind::Dns(name) => Some(name),
            Kind::Ip(_) => None,
        }
    }

    /// The address, where it is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self.0 {
            Kind::Dns(_) => None,
            Kind::Ip(address) => Some(address),
        }
    }
}

impl From<IpAddr> for LeafName {
    fn from(address: IpAddr) -> Self {
        Self(Kind::Ip(address.to_canonical()))
    }
}

impl fmt::Display for LeafName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Dns(name) => f.write_str(name),
            Kind::Ip(address) => write!(f, "{address}"),
        }
    }
}

fn canonical(text: &str) -> Result<Box<str>, NameError> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > NAME_LIMIT {
        return Err(NameError::TooLong);
    }
    let mut last = "";
    for label in name.split('.') {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match label.len() {
            0 => return Err(NameError::Empty),
            1..=LABEL_LIMIT => {}
            _ => return Err(NameError::TooLong),
        }
        if !label.bytes().all(allowed) || label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::Character);
        }
        last = label;
    }
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NameError::Number);
    }
    Ok(name.to_ascii_lowercase().into_boxed_str())
}

/// A name that an origin's certificate bears: that of one server, or `*.` and what servers of one
/// part more are below.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PresentedName {
    wildcard: bool,
    name: LeafName,
}

impl PresentedName {
    /// Reads an entry of a subject alternative name: a DNS name, with `*` for its whole first part
    /// or without (RFC 9525 section 6.3), or an address.
    ///
    /// # Errors
    ///
    /// [`NameError`]: no client would take the entry for any server.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix("*.") {
            Some(below) => Ok(Self {
                wildcard: true,
                name: LeafName(Kind::Dns(canonical(below)?)),
            }),
            None => Ok(Self::from(LeafName::parse(text)?)),
        }
    }

    /// Whether a client that asked for this server would take the entry for it (RFC 9525
    /// section 6.3: the star stands for one part).
    #[must_use]
    pub fn covers(&self, asked: &LeafName) -> bool {
        if !self.wildcard {
            return self.name == *asked;
        }
        let below = asked.dns().and_then(|asked| asked.split_once('.'));
        below.is_some_and(|(_, below)| self.name.dns() == Some(below))
    }

    /// The name, or what the star stands below.
    pub(crate) fn base(&self) -> &LeafName {
        &self.name
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        self.wildcard
    }
}

impl From<LeafName> for PresentedName {
    fn from(name: LeafName) -> Self {
        Self {
            wildcard: false,
            name,
        }
    }
}

impl fmt::Display for PresentedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        let name = LeafName::parse("WWW.Example.COM.").unwrap();
        assert_eq!(name.to_string(), "www.example.com");
        assert_eq!(name, LeafName::parse("www.example.com").unwrap());
        let mapped = LeafName::parse("::ffff:192.0.2.1").unwrap();
        assert_eq!(mapped.ip(), "192.0.2.1".parse().ok());
        assert!(LeafName::parse("_dmarc.x--y.example").is_ok());
    }

    #[test]
    fn what_names_no_server_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["abcdefg"; 32].join(".");
        for (text, error) in [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("a..b", NameError::Empty),
            ("a.b..", NameError::Empty),
            (".a", NameError::Empty),
            (long.as_str(), NameError::TooLong),
            (longer.as_str(), NameError::TooLong),
            ("*.example", NameError::Character),
            ("a b.example", NameError::Character),
            ("a\0.example", NameError::Character),
            ("b\u{fc}cher.example", NameError::Character),
            ("-a.example", NameError::Character),
            ("a-.example", NameError::Character),
            ("[::1]", NameError::Character),
            ("1.2.3", NameError::Number),
            ("192.0.2.256", NameError::Number),
        ] {
            assert_eq!(LeafName::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_star_stands_for_one_part() {
        let star = PresentedName::parse("*.Example.com").unwrap();
        let asked = |text| LeafName::parse(text).unwrap();
        assert!(star.covers(&asked("a.example.com")));
        for other in [
            "example.com",
            "a.b.example.com",
            "aexample.com",
            "192.0.2.1",
        ] {
            assert!(!star.covers(&asked(other)), "{other}");
        }
        assert_eq!(star.to_string(), "*.example.com");
        for text in ["*", "*.", "a.*.example", "*a.example", "*.*.example"] {
            assert!(PresentedName::parse(text).is_err(), "{text}");
        }
    }
}
