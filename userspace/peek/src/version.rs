//! Protocol versions that a client offers.

use core::fmt;

/// A version of the protocol that a client can offer in a TLS record.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// SSL 3.0 (RFC 6101).
    Ssl30,
    /// TLS 1.0 (RFC 2246).
    Tls10,
    /// TLS 1.1 (RFC 4346).
    Tls11,
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 5] = [
        Self::Ssl30,
        Self::Tls10,
        Self::Tls11,
        Self::Tls12,
        Self::Tls13,
    ];

    /// The version with this code on the wire, or `None` for drafts, GREASE and what is not known.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0x0300 => Self::Ssl30,
            0x0301 => Self::Tls10,
            0x0302 => Self::Tls11,
            0x0303 => Self::Tls12,
            0x0304 => Self::Tls13,
            _ => return None,
        })
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        0x0300 + self as u16
    }

    /// The word used in rules and logs: "1.2", and "ssl3" for SSL 3.0.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssl30 => "ssl3",
            Self::Tls10 => "1.0",
            Self::Tls11 => "1.1",
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The versions that a hello offers.
///
/// With the extension `supported_versions` these are the known ones it lists. Without it a hello
/// names one version only, the highest the client speaks, and that one is the set; a legacy
/// version beyond TLS 1.2 counts as TLS 1.2 there (RFC 8446 section 4.2.1 and appendix D.2).
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Versions {
    legacy: u16,
    known: u8,
}

impl Versions {
    pub(crate) fn from_legacy(legacy: u16) -> Self {
        let version = Version::from_code(legacy.min(Version::Tls12.code()));
        Self {
            legacy,
            known: version.map_or(0, Version::bit),
        }
    }

    pub(crate) fn from_list(legacy: u16, listed: impl Iterator<Item = u16>) -> Self {
        let known = listed
            .filter_map(Version::from_code)
            .fold(0, |known, version| known | version.bit());
        Self { legacy, known }
    }

    /// The field `legacy_version` of the hello, as it is on the wire.
    #[must_use]
    pub const fn legacy(self) -> u16 {
        self.legacy
    }

    /// Whether the hello offers this version.
    #[must_use]
    pub const fn contains(self, version: Version) -> bool {
        self.known & version.bit() != 0
    }

    /// The known versions offered, oldest first.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Version> {
        Version::ALL
            .into_iter()
            .filter(move |version| self.contains(*version))
    }

    /// The highest known version offered; `None` where a hello lists only unknown ones.
    #[must_use]
    pub fn max(self) -> Option<Version> {
        self.iter().next_back()
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_both_ways() {
        for version in Version::ALL {
            assert_eq!(Version::from_code(version.code()), Some(version));
        }
        assert_eq!(Version::from_code(0x7f1c), None);
    }

    #[test]
    fn a_legacy_version_is_at_most_tls_1_2() {
        let cases = [
            (0x0300, Version::Ssl30),
            (0x0303, Version::Tls12),
            (0x0304, Version::Tls12),
            (0xfafa, Version::Tls12),
        ];
        for (legacy, version) in cases {
            assert!(Versions::from_legacy(legacy).iter().eq([version]));
        }
    }

    #[test]
    fn unknown_listed_versions_are_no_versions() {
        let offered = Versions::from_list(0x0303, [0x1a1a, 0x0304, 0x0303].into_iter());
        assert!(offered.iter().eq([Version::Tls12, Version::Tls13]));
        assert_eq!(offered.max(), Some(Version::Tls13));
        assert_eq!(
            Versions::from_list(0x0303, [0x7f1c].into_iter()).max(),
            None
        );
    }
}
