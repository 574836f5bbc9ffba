//! As much of DER (X.690 section 10) as taking signed things apart needs.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// The tag of a constructed, context-specific element.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With tag and length.
    pub(super) whole: &'a [u8],
}

/// Reads elements one after another. What is not DER ends the reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever it is.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, after) = self.rest.split_first()?;
        // Tags of more than one byte are in nothing that is read here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, after) = after.split_first()?;
        let (length, after) = match first {
            0..=0x7f => (usize::from(first), after),
            0x81..=0x84 => {
                let (bytes, after) = after.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
                let shortest = bytes.first() != Some(&0) && length > 0x7f;
                (usize::try_from(length).ok().filter(|_| shortest)?, after)
            }
            _ => return None,
        };
        let (content, rest) = after.split_at_checked(length)?;
        let whole = self.rest.get(..self.rest.len() - rest.len())?;
        self.rest = rest;
        Some(Element {
            tag,
            content,
            whole,
        })
    }

    /// The next element, which has to be of this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        self.optional(tag)
    }

    /// The next element where it is of this tag; else nothing is read.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.any().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }

    /// What is in the next element, which has to be of this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        Some(Reader::new(self.take(tag)?.content))
    }
}

/// Something signed, as certificates (RFC 5280 section 4.1) and OCSP answers (RFC 6960
/// section 4.2.1) are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    /// What is signed, with its tag.
    pub(super) message: &'a [u8],
    /// The AlgorithmIdentifier without its tag.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    /// What follows the signature.
    pub(super) rest: Reader<'a>,
}

impl<'a> Signed<'a> {
    /// Takes one whole signed thing apart.
    pub(super) fn of(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader::new(der);
        let mut inner = outer.enter(SEQUENCE)?;
        let message = inner.take(SEQUENCE)?.whole;
        let algorithm = inner.take(SEQUENCE)?.content;
        let (&unused, signature) = inner.take(BIT_STRING)?.content.split_first()?;
        (outer.is_empty() && unused == 0).then_some(Self {
            message,
            algorithm,
            signature,
            rest: inner,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_in_order_and_whole() {
        let mut reader = Reader::new(&[0x30, 3, 0x02, 1, 5, 0x04, 0x81, 0x80]);
        let mut inner = reader.enter(SEQUENCE).unwrap();
        let element = inner.take(INTEGER).unwrap();
        assert_eq!(element.content, [5]);
        assert_eq!(element.whole, [2, 1, 5]);
        assert!(inner.is_empty());
        // Longer than what is there.
        assert!(reader.any().is_none());
    }

    #[test]
    fn only_the_shortest_length_is_der() {
        for bytes in [
            &[0x04u8, 0x81, 0x01, 0][..],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x82, 0, 0x80],
            &[0x1f, 0x81, 0],
            &[0x04],
        ] {
            assert!(Reader::new(bytes).any().is_none(), "{bytes:x?}");
        }
        let mut long = vec![0x04, 0x81, 0x80];
        long.resize(3 + 0x80, 7);
        assert_eq!(Reader::new(&long).any().unwrap().content.len(), 0x80);
    }
}
