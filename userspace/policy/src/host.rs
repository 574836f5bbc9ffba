//! Server names, patterns of them, and sets of patterns that are fast to ask.

use std::{fmt, str::FromStr};

/// One server name, or all names below one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HostPattern {
    /// The name itself.
    Exact(Box<str>),
    /// Every name below the name, and not the name itself: written `*.name`.
    Below(Box<str>),
}

/// Why a text is no pattern of server names.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The text is an IP address.
    #[error("an address is no server name: use `destination`, or `host-is-ip = true`")]
    Address,
    /// Not letters, digits, hyphens and underscores in labels joined by dots.
    #[error("expected a server name such as \"www.example.com\", or \"*.example.com\"")]
    NotAName,
    /// The text has letters that a hello cannot carry.
    #[error("a hello carries names in ASCII only: write the name as its xn-- form")]
    NotAscii,
    /// A `*` that does not stand for whole leading labels.
    #[error("`*` stands only at the front, as in \"*.example.com\"")]
    Wildcard,
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if !text.is_ascii() {
            return Err(HostError::NotAscii);
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(HostError::Address);
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(HostError::Wildcard);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(HostError::NotAName);
        }
        let name = name.to_ascii_lowercase().into();
        Ok(if below {
            Self::Below(name)
        } else {
            Self::Exact(name)
        })
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(allowed)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// A set of patterns: one hash look-up for each label of the name that is asked for, whatever the
/// size of the set.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostSet {
    entries: Box<[Entry]>,
    /// Open addressing, at most half full: `entries` index plus one, 0 for an empty slot.
    slots: Box<[u32]>,
}

#[derive(Clone, Debug)]
struct Entry {
    hash: u64,
    name: Box<str>,
    exact: bool,
    below: bool,
}

impl HostSet {
    pub(crate) fn new<'a>(patterns: impl IntoIterator<Item = &'a HostPattern>) -> Self {
        let mut names = std::collections::BTreeMap::<&str, (bool, bool)>::new();
        for pattern in patterns {
            match pattern {
                HostPattern::Exact(name) => names.entry(name).or_default().0 = true,
                HostPattern::Below(name) => names.entry(name).or_default().1 = true,
            }
        }
        let entries: Box<[_]> = names
            .into_iter()
            .map(|(name, (exact, below))| Entry {
                hash: name.bytes().rev().fold(SEED, mix),
                name: name.into(),
                exact,
                below,
            })
            .collect();
        if entries.is_empty() {
            return Self::default();
        }
        let mut slots = vec![0; (entries.len() * 2).next_power_of_two()].into_boxed_slice();
        for (number, entry) in (1..).zip(&entries) {
            let mut at = start(entry.hash, slots.len());
            while let Some(slot) = slots.get_mut(at) {
                if *slot == 0 {
                    *slot = number;
                    break;
                }
                at = (at + 1) & (slots.len() - 1);
            }
        }
        Self { entries, slots }
    }

    pub(crate) fn contains(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut hash = SEED;
        for (at, byte) in host.bytes().enumerate().rev() {
            if byte == b'.' && self.find(hash, host.get(at + 1..)).is_some_and(|e| e.below) {
                return true;
            }
            hash = mix(hash, byte);
        }
        self.find(hash, Some(host)).is_some_and(|entry| entry.exact)
    }

    fn find(&self, hash: u64, name: Option<&str>) -> Option<&Entry> {
        let name = name?;
        let mut at = start(hash, self.slots.len());
        loop {
            let number = *self.slots.get(at)?;
            let entry = self.entries.get((number as usize).checked_sub(1)?)?;
            if entry.hash == hash && entry.name.eq_ignore_ascii_case(name) {
                return Some(entry);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a over the name from its end, so that every suffix of a name is hashed on the way.
///
/// The administrator alone fills the set, so that nobody else can make its slots collide.
const fn mix(hash: u64, byte: u8) -> u64 {
    (hash ^ byte.to_ascii_lowercase() as u64).wrapping_mul(0x0100_0000_01b3)
}

const fn start(hash: u64, slots: usize) -> usize {
    // The upper half is the better mixed one.
    (hash >> 32) as usize & slots.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(patterns: &[&str]) -> HostSet {
        let patterns: Vec<HostPattern> = patterns.iter().map(|p| p.parse().unwrap()).collect();
        HostSet::new(&patterns)
    }

    #[test]
    fn a_name_and_the_names_below_it_are_apart() {
        let set = set(&["bank.example", "*.shop.example"]);
        assert!(set.contains("bank.example"));
        assert!(set.contains("BANK.example."));
        assert!(!set.contains("www.bank.example"));
        assert!(!set.contains("notbank.example"));
        assert!(set.contains("a.b.shop.example"));
        assert!(!set.contains("shop.example"));
        assert!(!set.contains("eshop.example"));
        assert!(!set.contains(""));
        assert!(!HostSet::default().contains("bank.example"));
    }

    #[test]
    fn mistakes_are_told_apart() {
        let error = |text: &str| text.parse::<HostPattern>().unwrap_err();
        assert_eq!(error("192.0.2.1"), HostError::Address);
        assert_eq!(error("www.*.example"), HostError::Wildcard);
        assert_eq!(error("*"), HostError::Wildcard);
        assert_eq!(error("bücher.example"), HostError::NotAscii);
        for text in [
            "",
            ".",
            ".example",
            "a..example",
            "https://a.example/",
            "a b",
        ] {
            assert_eq!(error(text), HostError::NotAName, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_set_agrees_with_its_patterns(
            names in proptest::collection::vec("(\\*\\.)?[ab](\\.[ab]){0,3}", 0..30),
            host in "[abAB](\\.[ab]){0,4}",
        ) {
            let patterns: Vec<HostPattern> = names.iter().map(|n| n.parse().unwrap()).collect();
            let lower = host.to_ascii_lowercase();
            let expected = patterns.iter().any(|pattern| match pattern {
                HostPattern::Exact(name) => **name == *lower,
                HostPattern::Below(name) => lower.ends_with(&format!(".{name}")),
            });
            prop_assert_eq!(HostSet::new(&patterns).contains(&host), expected);
        }
    }
}
