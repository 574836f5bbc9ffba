//! JA4, the fingerprint of a TLS client.
//!
//! Written after the specification in FoxIO's repository `ja4` (technical_details/JA4.md), which
//! is under the BSD 3-clause licence; of the suite, JA4 alone is free to use.

use core::fmt;
use core::ops::Deref;

use sha2::{Digest, Sha256};

use crate::extension::kind;
use crate::is_grease;

const LEN: usize = 36;
const NO_VALUES: [u8; 12] = *b"000000000000";

/// A JA4 fingerprint: 36 characters of ASCII, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Ja4([u8; LEN]);

/// What goes into a fingerprint, GREASE included: it is left out here.
pub(crate) struct Input<'a> {
    /// The highest version listed, or else the legacy version.
    pub(crate) version: u16,
    /// In ascending order.
    pub(crate) ciphers: &'a [u16],
    /// The types of the extensions in ascending order.
    pub(crate) extensions: &'a [u16],
    pub(crate) first_alpn: Option<&'a [u8]>,
    /// As on the wire.
    pub(crate) signature_algorithms: &'a [u8],
}

impl Ja4 {
    pub(crate) fn new(input: &Input<'_>) -> Self {
        let sni = input.extensions.contains(&kind::SERVER_NAME);
        let mut out = Writer::default();
        out.put(b"t");
        out.put(version(input.version));
        out.put(if sni { b"d" } else { b"i" });
        out.put(&two_digits(significant(input.ciphers).count()));
        out.put(&two_digits(significant(input.extensions).count()));
        out.put(&ends(input.first_alpn.unwrap_or_default()));
        out.put(b"_");
        out.put(&cipher_hash(input.ciphers));
        out.put(b"_");
        out.put(&extension_hash(
            input.extensions,
            input.signature_algorithms,
        ));
        Self(out.bytes)
    }

    /// The fingerprint.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever written to it.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Deref for Ja4 {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Ja4 {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

struct Writer {
    bytes: [u8; LEN],
    at: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            bytes: [b'0'; LEN],
            at: 0,
        }
    }
}

impl Writer {
    fn put(&mut self, part: &[u8]) {
        let end = self.at + part.len();
        if let Some(room) = self.bytes.get_mut(self.at..end) {
            room.copy_from_slice(part);
            self.at = end;
        }
    }
}

fn significant(codes: &[u16]) -> impl Iterator<Item = u16> {
    codes.iter().copied().filter(|code| !is_grease(*code))
}

const fn version(code: u16) -> &'static [u8; 2] {
    match code {
        0x0304 => b"13",
        0x0303 => b"12",
        0x0302 => b"11",
        0x0301 => b"10",
        0x0300 => b"s3",
        0x0002 => b"s2",
        _ => b"00",
    }
}

fn two_digits(count: usize) -> [u8; 2] {
    let count = u8::try_from(count).unwrap_or(u8::MAX).min(99);
    [b'0' + count / 10, b'0' + count % 10]
}

/// The ends of the first protocol: of its text, or of its hexadecimal form where an end of the
/// text is not alphanumeric.
fn ends(alpn: &[u8]) -> [u8; 2] {
    let (Some(&first), Some(&last)) = (alpn.first(), alpn.last()) else {
        return *b"00";
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        [first, last]
    } else {
        [digit(first >> 4), digit(last & 15)]
    }
}

const fn digit(nibble: u8) -> u8 {
    match nibble {
        0..10 => b'0' + nibble,
        _ => b'a' - 10 + nibble,
    }
}

fn cipher_hash(sorted: &[u16]) -> [u8; 12] {
    let mut hash = ListHash::default();
    for cipher in significant(sorted) {
        hash.code(cipher);
    }
    hash.finish()
}

fn extension_hash(sorted: &[u16], signature_algorithms: &[u8]) -> [u8; 12] {
    let mut hash = ListHash::default();
    for extension in significant(sorted) {
        if extension != kind::SERVER_NAME && extension != kind::ALPN {
            hash.code(extension);
        }
    }
    if hash.is_empty {
        return NO_VALUES;
    }
    hash.separator = Some(b'_');
    let (algorithms, _) = signature_algorithms.as_chunks();
    for algorithm in algorithms {
        let code = u16::from_be_bytes(*algorithm);
        if !is_grease(code) {
            hash.code(code);
        }
    }
    hash.finish()
}

/// The hash of a list of codes as text: four digits each, with separators between them.
struct ListHash {
    sha: Sha256,
    separator: Option<u8>,
    is_empty: bool,
}

impl Default for ListHash {
    fn default() -> Self {
        Self {
            sha: Sha256::new(),
            separator: None,
            is_empty: true,
        }
    }
}

impl ListHash {
    fn code(&mut self, code: u16) {
        let [high, low] = code.to_be_bytes();
        if let Some(separator) = self.separator {
            self.sha.update([separator]);
        }
        self.sha.update([
            digit(high >> 4),
            digit(high & 15),
            digit(low >> 4),
            digit(low & 15),
        ]);
        self.separator = Some(b',');
        self.is_empty = false;
    }

    fn finish(self) -> [u8; 12] {
        if self.is_empty {
            return NO_VALUES;
        }
        let hash = self.sha.finalize();
        let mut text = NO_VALUES;
        let (pairs, _) = text.as_chunks_mut();
        for ([high, low], byte) in pairs.iter_mut().zip(hash) {
            *high = digit(byte >> 4);
            *low = digit(byte & 15);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_the_first_protocol() {
        let cases: [(&[u8], &[u8; 2]); 9] = [
            (b"", b"00"),
            (b"h2", b"h2"),
            (b"http/1.1", b"h1"),
            (b"h", b"hh"),
            (b"\xab", b"ab"),
            (b"\xab\xcd", b"ad"),
            (b"\x30\xab", b"3b"),
            (b"\x30\x31\xab\xcd", b"3d"),
            (b"\x30\xab\xcd\x31", b"01"),
        ];
        for (alpn, expected) in cases {
            assert_eq!(&ends(alpn), expected, "{alpn:?}");
        }
    }

    #[test]
    fn counts_end_at_99() {
        assert_eq!(&two_digits(7), b"07");
        assert_eq!(&two_digits(99), b"99");
        assert_eq!(&two_digits(40_000), b"99");
    }

    #[test]
    fn lists_without_values_are_zeros() {
        assert_eq!(cipher_hash(&[0x0a0a, 0xfafa]), NO_VALUES);
        assert_eq!(extension_hash(&[0, 16, 0x1a1a], &[4, 3]), NO_VALUES);
    }
}
