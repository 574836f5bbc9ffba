//! The number by which a page and its access record are found together.

use std::fmt;

use super::RandomError;

/// Digits that cannot be taken for one another when read aloud (Crockford's base 32).
const DIGITS: [u8; 32] = *b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What a client quotes when asking about a page: ten characters such as `7QK2M-X4D9T`, fifty bits
/// from the random source, so that nobody guesses somebody else's.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Reference([u8; 10]);

impl Reference {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`RandomError`], where the system gives no random bytes.
    pub fn random() -> Result<Self, RandomError> {
        let mut bytes = [0; 10];
        super::random(&mut bytes)?;
        Ok(Self::from_bytes(bytes))
    }

    /// The one that some random bytes make: five bits of each.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        let digit = |byte: u8| DIGITS.get(usize::from(byte & 31)).copied();
        Self(bytes.map(|byte| digit(byte).unwrap_or(b'0')))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = std::str::from_utf8(&self.0).map_err(|_| fmt::Error)?;
        let (first, second) = text.split_at_checked(5).ok_or(fmt::Error)?;
        write!(f, "{first}-{second}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_short_legible_and_differ() {
        let fixed = Reference::from_bytes([0, 1, 2, 31, 32, 10, 18, 19, 20, 255]);
        assert_eq!(fixed.to_string(), "012Z0-AJKMZ");
        let made: std::collections::HashSet<_> =
            (0..1000).map(|_| Reference::random().unwrap()).collect();
        assert_eq!(made.len(), 1000);
    }
}
