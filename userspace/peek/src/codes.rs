//! A list of 16-bit code points that stays off the heap while it has the size real clients use.

use alloc::vec::Vec;

/// Clients offer some twenty cipher suites and as many extensions; OpenSSL with everything
/// switched on stays below 128.
const INLINE: usize = 128;

pub(crate) struct Codes {
    inline: [u16; INLINE],
    len: usize,
    spilled: Vec<u16>,
}

impl Codes {
    pub(crate) const fn new() -> Self {
        Self {
            inline: [0; INLINE],
            len: 0,
            spilled: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, code: u16) {
        if let Some(slot) = self.inline.get_mut(self.len) {
            *slot = code;
            self.len += 1;
            return;
        }
        if self.spilled.is_empty() {
            self.spilled.extend_from_slice(&self.inline);
        }
        self.spilled.push(code);
    }

    /// The codes in ascending order, repeated ones as often as they were pushed.
    pub(crate) fn sorted(&mut self) -> &[u16] {
        let codes = if self.spilled.is_empty() {
            self.inline.get_mut(..self.len).unwrap_or_default()
        } else {
            &mut self.spilled
        };
        codes.sort_unstable();
        codes
    }

    pub(crate) fn any_repeated(&mut self) -> bool {
        self.sorted().windows(2).any(|pair| match pair {
            [a, b] => a == b,
            _ => false,
        })
    }
}

impl Extend<u16> for Codes {
    fn extend<I: IntoIterator<Item = u16>>(&mut self, codes: I) {
        for code in codes {
            self.push(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_every_code_beyond_the_inline_room() {
        for count in [0, 1, 127, 128, 129, 1000_u16] {
            let mut codes = Codes::new();
            codes.extend((0..count).rev());
            assert!(codes.sorted().iter().copied().eq(0..count));
        }
    }
}
