//! The application protocols that a hello offers.

use alloc::boxed::Box;
use core::fmt;

use crate::cursor::Cursor;

/// Browsers send 12 bytes ("h2", "http/1.1"), with GREASE 15.
const INLINE: usize = 62;

/// The protocols offered in the extension ALPN (RFC 7301), in the client's order.
///
/// Empty where the hello has no such extension: an extension that offers nothing is malformed.
#[derive(Clone, Eq, PartialEq)]
pub struct Alpn(Store);

#[derive(Clone, Eq, PartialEq)]
enum Store {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

impl Alpn {
    pub(crate) const fn empty() -> Self {
        Self(Store::Inline {
            len: 0,
            bytes: [0; INLINE],
        })
    }

    /// The content of the extension, or `None` where it is malformed.
    pub(crate) fn parse(extension: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(extension);
        let list = cursor.vec16()?;
        let list = cursor.end(list)?;
        let mut names = Cursor::new(list);
        while !names.is_empty() {
            if names.vec8()?.is_empty() {
                return None;
            }
        }
        (!list.is_empty()).then(|| Self::store(list))
    }

    fn store(list: &[u8]) -> Self {
        let mut bytes = [0; INLINE];
        let stored = match (bytes.get_mut(..list.len()), u8::try_from(list.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(list);
                Store::Inline { len, bytes }
            }
            _ => Store::Heap(list.into()),
        };
        Self(stored)
    }

    /// The protocols offered, each as the bytes the client sent.
    #[must_use]
    pub fn iter(&self) -> AlpnIter<'_> {
        AlpnIter(Cursor::new(self.as_wire()))
    }

    /// The names as they stand on the wire, each behind one byte of length; empty where nothing is
    /// offered.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        match &self.0 {
            Store::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Store::Heap(bytes) => bytes,
        }
    }

    /// Whether nothing is offered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl<'a> IntoIterator for &'a Alpn {
    type Item = &'a [u8];
    type IntoIter = AlpnIter<'a>;

    fn into_iter(self) -> AlpnIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Alpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|name| name.escape_ascii());
        f.debug_list().entries(names.map(DisplayAsDebug)).finish()
    }
}

struct DisplayAsDebug<T>(T);

impl<T: fmt::Display> fmt::Debug for DisplayAsDebug<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// The protocols of an [`Alpn`].
#[derive(Clone)]
pub struct AlpnIter<'a>(Cursor<'a>);

impl<'a> Iterator for AlpnIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.vec8()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec::Vec;

    use super::*;

    fn extension(names: &[&[u8]]) -> Vec<u8> {
        let mut list = Vec::new();
        for name in names {
            list.push(u8::try_from(name.len()).unwrap());
            list.extend_from_slice(name);
        }
        let mut bytes = u16::try_from(list.len()).unwrap().to_be_bytes().to_vec();
        bytes.append(&mut list);
        bytes
    }

    #[test]
    fn keeps_order_and_bytes_inline_and_on_the_heap() {
        let long = [b'x'; 255];
        for names in [
            &[&b"h2"[..], b"http/1.1"][..],
            &[b"\xca\xfe"],
            &[b"h2", &long, b"y"],
        ] {
            let alpn = Alpn::parse(&extension(names)).unwrap();
            assert!(alpn.iter().eq(names.iter().copied()));
            assert!(!alpn.is_empty());
        }
    }

    #[test]
    fn refuses_empty_lists_empty_names_and_wrong_lengths() {
        let cases: [&[u8]; 6] = [
            b"",
            b"\0\0",
            b"\0\x01\0",
            b"\0\x03\x01h\0",
            b"\0\x03\x05h2",
            b"\0\x03\x02h2x",
        ];
        for bytes in cases {
            assert!(Alpn::parse(bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn prints_names_readably() {
        let alpn = Alpn::parse(&extension(&[b"h2", b"\n"])).unwrap();
        assert_eq!(format!("{alpn:?}"), r#"["h2", "\n"]"#);
    }
}
