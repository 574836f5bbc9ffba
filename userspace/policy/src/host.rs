//! Server names and patterns of them.

use std::{borrow::Cow, fmt, str::FromStr};

/// One server name, all names below one, or both.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostPattern {
    /// Every name below the name, and not the name itself: written `*.name`.
    Below(Box<str>),
    /// The name itself.
    Exact(Box<str>),
    /// The name and every name below it: written `.name`.
    Within(Box<str>),
}

impl HostPattern {
    /// The name, in lower case and without a dot at its end.
    #[must_use]
    pub const fn name(&self) -> &str {
        match self {
            Self::Below(name) | Self::Exact(name) | Self::Within(name) => name,
        }
    }

    /// Whether the pattern means a name; letter case and one dot at its end do not matter.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let name = self.name();
        let is_below = || {
            let dot = host.len().checked_sub(name.len() + 1);
            dot.and_then(|dot| host.get(dot..)).is_some_and(|end| {
                end.strip_prefix('.')
                    .is_some_and(|end| end.eq_ignore_ascii_case(name))
            })
        };
        match self {
            Self::Below(_) => is_below(),
            Self::Exact(_) => host.eq_ignore_ascii_case(name),
            Self::Within(_) => host.eq_ignore_ascii_case(name) || is_below(),
        }
    }
}

/// Why a text is no pattern of server names.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The text is an IP address.
    #[error("an address is no server name: use `destination`, or `host-is-ip = true`")]
    Address,
    /// The list is larger than its offsets can tell.
    #[error("a list holds at most 4 GiB of names: split it")]
    ListTooLong,
    /// Not letters, digits, hyphens and underscores in labels joined by dots.
    #[error(
        "expected a server name such as \"www.example.com\", \"*.example.com\" or \".example.com\""
    )]
    NotAName,
    /// The text has letters for which there is no `xn--` form.
    #[error("the name has no xn-- form: look for letters that domain names cannot have")]
    NotIdna,
    /// A `*` that does not stand for whole leading labels.
    #[error("`*` stands only at the front, as in \"*.example.com\"")]
    Wildcard,
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let (make, name): (fn(Box<str>) -> Self, _) = if let Some(name) = text.strip_prefix("*.") {
            (Self::Below, name)
        } else if let Some(name) = text.strip_prefix('.') {
            (Self::Within, name)
        } else {
            (Self::Exact, text)
        };
        Ok(make(canonical(name)?.to_ascii_lowercase().into()))
    }
}

/// A name as a hello would carry it, but for letter case: in ASCII, without a dot at its end.
///
/// # Errors
///
/// [`HostError`], where the text is no name.
pub fn canonical(name: &str) -> Result<Cow<'_, str>, HostError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if is_name(name.as_bytes()) {
        // Every text that may be an address ends in a digit; few names do.
        if name.ends_with(|c: char| c.is_ascii_digit()) && name.parse::<std::net::IpAddr>().is_ok()
        {
            return Err(HostError::Address);
        }
        return Ok(name.into());
    }
    if name.is_ascii() {
        return Err(if name.contains('*') {
            HostError::Wildcard
        } else if name.parse::<std::net::IpAddr>().is_ok() {
            HostError::Address
        } else {
            HostError::NotAName
        });
    }
    // UTS 46, as browsers do it; its result is checked like every other name.
    let ascii = idna::domain_to_ascii(name).map_err(|_| HostError::NotIdna)?;
    if is_name(ascii.as_bytes()) {
        Ok(ascii.into())
    } else {
        Err(HostError::NotIdna)
    }
}

/// Labels of letters, digits, hyphens and underscores, joined by dots (RFC 1035 section 2.3.4).
fn is_name(name: &[u8]) -> bool {
    let mut label = 0;
    for &byte in name {
        match byte {
            b'.' if label == 0 => return false,
            b'.' => label = 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' if label < 63 => label += 1,
            _ => return false,
        }
    }
    label > 0 && name.len() <= 253
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Exact(name) => f.write_str(name),
            Self::Within(name) => write!(f, ".{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_the_names_below_it_are_apart() {
        let matches =
            |pattern: &str, host: &str| pattern.parse::<HostPattern>().unwrap().matches(host);
        assert!(matches("bank.example", "BANK.example."));
        assert!(!matches("bank.example", "www.bank.example"));
        assert!(!matches("bank.example", "notbank.example"));
        assert!(matches("*.shop.example", "a.b.shop.example"));
        assert!(!matches("*.shop.example", "shop.example"));
        assert!(!matches("*.shop.example", "eshop.example"));
        assert!(matches(".shop.example", "shop.example"));
        assert!(matches(".shop.example", "www.shop.example"));
        assert!(!matches(".shop.example", ""));
    }

    #[test]
    fn mistakes_are_told_apart() {
        let error = |text: &str| text.parse::<HostPattern>().unwrap_err();
        assert_eq!(error("192.0.2.1"), HostError::Address);
        assert_eq!(error("2001:db8::1"), HostError::Address);
        assert_eq!(error("www.*.example"), HostError::Wildcard);
        assert_eq!(error("*"), HostError::Wildcard);
        assert_eq!(error("b\u{fc}cher..example"), HostError::NotIdna);
        for text in [
            "",
            ".",
            "..example",
            "a..example",
            "https://a.example/",
            "a b",
        ] {
            assert_eq!(error(text), HostError::NotAName, "{text}");
        }
    }

    #[test]
    fn names_beyond_ascii_are_taken_in_their_wire_form() {
        let pattern: HostPattern = "*.B\u{fc}cher.example".parse().unwrap();
        assert_eq!(pattern.to_string(), "*.xn--bcher-kva.example");
    }
}
