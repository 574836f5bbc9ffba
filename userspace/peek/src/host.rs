//! Host names in the one form that rules, logs and certificates share.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;
use core::str::FromStr;

/// The longest name that DNS can carry, without its final dot (RFC 1035 section 2.3.4).
const NAME_MAX: usize = 253;
/// The longest label (RFC 1035 section 2.3.4).
const LABEL_MAX: usize = 63;

/// A DNS name in canonical form: lower case, no final dot, at most 253 bytes, stored inline.
///
/// Labels have 1 to 63 of the characters `a-z`, `0-9`, `-` and `_`. The underscore and a hyphen at
/// the edge of a label are no host name by RFC 952, but resolve, are used, and have one form only.
/// Internationalised names are taken in their A-label form alone. What could be read as an address
/// is not a name: the last label is never a number (WHATWG URL section 3.5, "ends in a number").
#[derive(Clone)]
pub struct HostName {
    len: u8,
    bytes: [u8; NAME_MAX],
}

/// Why bytes are not a [`HostName`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum HostNameError {
    /// There is no name, or it is a lone dot.
    Empty,
    /// The name has more than 253 bytes.
    TooLong,
    /// A label is empty or has more than 63 bytes.
    Label,
    /// A character that no name has: NUL, space, `*`, `:`, bytes beyond ASCII and so on.
    Character,
    /// The last label is a number, so the whole can be read as an IPv4 address.
    Address,
}

impl fmt::Display for HostNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name is empty",
            Self::TooLong => "the name is longer than 253 bytes",
            Self::Label => "a label is empty or longer than 63 bytes",
            Self::Character => "the name has a character that no host name has",
            Self::Address => "the last label is a number, as in an IPv4 address",
        })
    }
}

impl core::error::Error for HostNameError {}

impl HostName {
    /// The canonical form of a name, which may be in any case and end with one dot.
    ///
    /// # Errors
    /// [`HostNameError`] says what keeps the bytes from being a name.
    pub fn parse(name: &[u8]) -> Result<Self, HostNameError> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() {
            return Err(HostNameError::Empty);
        }
        let mut bytes = [0; NAME_MAX];
        let (Some(room), Ok(len)) = (bytes.get_mut(..name.len()), u8::try_from(name.len())) else {
            return Err(HostNameError::TooLong);
        };
        let mut label = 0;
        for (to, from) in room.iter_mut().zip(name) {
            label = match *from {
                b'.' if label == 0 => return Err(HostNameError::Label),
                b'.' => 0,
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label + 1,
                _ => return Err(HostNameError::Character),
            };
            if label > LABEL_MAX {
                return Err(HostNameError::Label);
            }
            *to = from.to_ascii_lowercase();
        }
        if label == 0 {
            return Err(HostNameError::Label);
        }
        let last = room.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        if is_number(last) {
            return Err(HostNameError::Address);
        }
        Ok(Self { len, bytes })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let name = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        // Every byte passed the check for characters, so this is ASCII.
        core::str::from_utf8(name).unwrap_or_default()
    }
}

/// Decimal, octal and hexadecimal numbers of URL and inet_aton syntax.
fn is_number(label: &[u8]) -> bool {
    match label.strip_prefix(b"0x") {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
        None => label.iter().all(u8::is_ascii_digit),
    }
}

impl Deref for HostName {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for HostName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for HostName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for HostName {}

impl PartialEq<str> for HostName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl Hash for HostName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(name: &str) -> Result<Self, HostNameError> {
        Self::parse(name.as_bytes())
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    fn name_of(len: usize) -> String {
        let mut name = ["a"; 127].join(".");
        name.push_str("bb");
        name.split_off(name.len() - len)
    }

    #[test]
    fn one_form_for_every_spelling() {
        for (spelling, form) in [
            ("www.example.com", "www.example.com"),
            ("WWW.Example.COM.", "www.example.com"),
            ("_dmarc.my_host.example", "_dmarc.my_host.example"),
            ("localhost", "localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("r3---sn-4g5e6nez.example", "r3---sn-4g5e6nez.example"),
            ("1.0x7g", "1.0x7g"),
        ] {
            assert_eq!(HostName::parse(spelling.as_bytes()).unwrap().as_str(), form);
        }
    }

    #[test]
    fn refusals_say_why() {
        use HostNameError::{Address, Character, Empty, Label, TooLong};
        let long_label = [&[b'a'; 64][..], b".example"].concat();
        let cases: &[(&[u8], HostNameError)] = &[
            (b"", Empty),
            (b".", Empty),
            (b"..", Label),
            (b".a", Label),
            (b"a..b", Label),
            (b"a..", Label),
            (&long_label, Label),
            (b"a\0b", Character),
            (b"a b", Character),
            (b"*.example", Character),
            ("b\u{fc}cher.example".as_bytes(), Character),
            (b"::1", Character),
            (b"[::1]", Character),
            (b"a:443", Character),
            (b"192.0.2.1", Address),
            (b"192.0.2.1.", Address),
            (b"127.1", Address),
            (b"2130706433", Address),
            (b"0x7F000001", Address),
            (b"host.0x", Address),
        ];
        for (bytes, error) in cases {
            assert_eq!(HostName::parse(bytes), Err(*error), "{bytes:?}");
        }
        assert_eq!(HostName::parse(&[b'a'; 300]), Err(TooLong));
    }

    #[test]
    fn length_is_counted_without_the_final_dot() {
        assert!(name_of(253).parse::<HostName>().is_ok());
        let mut dotted = name_of(253).into_bytes();
        dotted.push(b'.');
        assert!(HostName::parse(&dotted).is_ok());
        assert_eq!(
            name_of(254).parse::<HostName>(),
            Err(HostNameError::TooLong)
        );
        let labels: Vec<&str> = ["a"; 3].to_vec();
        assert!(labels.join(".").parse::<HostName>().is_ok());
    }
}
