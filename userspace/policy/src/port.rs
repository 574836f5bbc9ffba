//! Ports and ranges of ports.

use std::{fmt, str::FromStr};

/// A range of ports, both ends included; a single port is a range of one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is no port or range of ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The range ends before it begins.
    #[error("the range ends before it begins: write \"{last}-{first}\"")]
    Backwards {
        /// The first number written.
        first: u16,
        /// The second number written.
        last: u16,
    },
    /// Not a number from 1 to 65535, nor two of them joined by a hyphen.
    #[error("expected a port from 1 to 65535, or a range such as \"1024-65535\"")]
    NotAPort,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self {
        first: 1,
        last: u16::MAX,
    };

    /// The range of one port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// The range from `first` to `last`, both included.
    ///
    /// # Errors
    ///
    /// [`PortError::Backwards`] where `last` is below `first`, [`PortError::NotAPort`] for port 0,
    /// which no flow can have.
    pub const fn new(first: u16, last: u16) -> Result<Self, PortError> {
        if first == 0 || last == 0 {
            return Err(PortError::NotAPort);
        }
        if last < first {
            return Err(PortError::Backwards { first, last });
        }
        Ok(Self { first, last })
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether the port is in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether the two ranges have a port in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for PortRange {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(number(first)?, number(last)?)
    }
}

fn number(text: &str) -> Result<u16, PortError> {
    let text = text.trim();
    // `parse` would take a sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PortError::NotAPort);
    }
    text.parse().map_err(|_| PortError::NotAPort)
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_are_read() {
        assert_eq!("443".parse(), Ok(PortRange::single(443)));
        assert_eq!("1024-65535".parse(), PortRange::new(1024, 65535));
        assert_eq!(
            "9-3".parse::<PortRange>(),
            Err(PortError::Backwards { first: 9, last: 3 })
        );
        for text in [
            "", "0", "-", "1-", "-1", "+1", "65536", "http", "1-2-3", "0-5",
        ] {
            assert_eq!(
                text.parse::<PortRange>(),
                Err(PortError::NotAPort),
                "{text}"
            );
        }
    }

    #[test]
    fn ranges_know_their_members() {
        let range = PortRange::new(10, 20).unwrap();
        assert!(range.contains(10) && range.contains(20));
        assert!(!range.contains(9) && !range.contains(21));
        assert!(range.overlaps(PortRange::single(20)));
        assert!(!range.overlaps(PortRange::single(21)));
    }
}
