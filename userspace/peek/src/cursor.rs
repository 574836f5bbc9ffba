//! Reading fields of network bytes without ever going past their end.

/// The part of a message that is not read yet. `None` from a method means that too little is left.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (&value, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(value)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*value))
    }

    /// A vector with a length of one byte (RFC 8446 section 3.4).
    pub(crate) fn vec8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// A vector with a length of two bytes (RFC 8446 section 3.4).
    pub(crate) fn vec16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// The block of extensions that ends a hello, `None` within where the hello ends before it
    /// (RFC 5246 section 7.4.1.2).
    pub(crate) fn extension_block(mut self) -> Option<Option<&'a [u8]>> {
        if self.is_empty() {
            return Some(None);
        }
        let block = self.vec16()?;
        self.end(Some(block))
    }

    /// Type and content of the next extension of a block (RFC 8446 section 4.2).
    pub(crate) fn extension(&mut self) -> Option<(u16, &'a [u8])> {
        Some((self.u16()?, self.vec16()?))
    }

    /// What the last read returned, if it left nothing behind.
    pub(crate) fn end<T>(self, last: T) -> Option<T> {
        self.0.is_empty().then_some(last)
    }
}

/// The 16-bit code points of a list, or `None` where it is empty or cut within one.
pub(crate) fn code_list(bytes: &[u8]) -> Option<impl Iterator<Item = u16>> {
    let (pairs, rest) = bytes.as_chunks();
    let whole = !pairs.is_empty() && rest.is_empty();
    whole.then(|| pairs.iter().map(|pair| u16::from_be_bytes(*pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_at_the_end() {
        let mut cursor = Cursor::new(&[0, 2, 7, 8, 3, 1]);
        assert_eq!(cursor.vec16(), Some(&[7, 8][..]));
        assert_eq!(cursor.vec8(), None);
        assert_eq!(Cursor::new(&[1]).u16(), None);
        assert_eq!(Cursor::new(&[1]).end(5), None);
    }

    #[test]
    fn lists_of_codes_are_whole() {
        assert!(code_list(&[]).is_none());
        assert!(code_list(&[1, 2, 3]).is_none());
        assert!(code_list(&[1, 2, 3, 4]).unwrap().eq([0x0102, 0x0304]));
    }
}
