//! The message ClientHello (RFC 8446 section 4.1.2; RFC 5246 section 7.4.1.2).

use crate::alpn::Alpn;
use crate::codes::Codes;
use crate::cursor::{Cursor, code_list};
use crate::extension::Extensions;
use crate::fingerprint::{Input, Ja4};
use crate::host::HostName;
use crate::version::Versions;

pub(crate) const RANDOM_LEN: usize = 32;
pub(crate) const SESSION_ID_MAX: usize = 32;
pub(crate) const SSL30: u16 = 0x0300;

/// What a client says of itself and of the server it wants, before anything is encrypted.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Hello {
    /// The server's name, where the client gave one. With ECH this is the outer name.
    pub sni: Option<HostName>,
    /// The protocol versions offered.
    pub versions: Versions,
    /// The application protocols offered.
    pub alpn: Alpn,
    /// Whether the hello carries Encrypted Client Hello. GREASE ECH, which browsers send to every
    /// server, looks the same on the wire (RFC 9849 section 6.2).
    pub ech: bool,
    /// Whether data of the client's may follow at once, before the server's answer.
    pub early_data: bool,
    /// Whether the client offers to resume a session by a ticket or a pre-shared key.
    pub session_offered: bool,
    /// The fingerprint of the client.
    pub ja4: Ja4,
    /// How many bytes of the stream the hello takes, record headers included. More may follow.
    pub consumed: usize,
}

impl Hello {
    /// The hello in the body of a message, or `None` where it is malformed.
    pub(crate) fn parse(body: &[u8], consumed: usize) -> Option<Self> {
        let fields = Fields::parse(body)?;
        let legacy_version = fields.legacy_version;
        let mut ciphers = Codes::new();
        ciphers.extend(code_list(fields.ciphers)?);
        let mut extensions = match fields.extensions {
            None => Extensions::none(legacy_version),
            Some(block) => Extensions::parse(legacy_version, block)?,
        };
        let ja4 = Ja4::new(&Input {
            version: extensions.highest_listed.unwrap_or(legacy_version),
            ciphers: ciphers.sorted(),
            extensions: extensions.kinds.sorted(),
            first_alpn: extensions.alpn.iter().next(),
            signature_algorithms: extensions.signature_algorithms,
        });
        Some(Self {
            sni: extensions.sni,
            versions: extensions.versions,
            alpn: extensions.alpn,
            ech: extensions.ech,
            early_data: extensions.early_data,
            session_offered: extensions.session_offered,
            ja4,
            consumed,
        })
    }
}

/// A hello taken apart, its lists as they are on the wire.
pub(crate) struct Fields<'a> {
    pub(crate) legacy_version: u16,
    pub(crate) session_id: &'a [u8],
    pub(crate) ciphers: &'a [u8],
    pub(crate) compressions: &'a [u8],
    /// `None` where the hello ends before them.
    pub(crate) extensions: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// The fields in the body of a message, or `None` where it is malformed.
    pub(crate) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let legacy_version = cursor.u16()?;
        cursor.take(RANDOM_LEN)?;
        let session_id = cursor.vec8()?;
        let ciphers = cursor.vec16()?;
        let compressions = cursor.vec8()?;
        let extensions = cursor.extension_block()?;
        let valid = legacy_version >= SSL30
            && session_id.len() <= SESSION_ID_MAX
            && !compressions.is_empty();
        valid.then_some(Self {
            legacy_version,
            session_id,
            ciphers,
            compressions,
            extensions,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn body(version: [u8; 2], session_id: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut body = version.to_vec();
        body.extend([7; RANDOM_LEN]);
        body.push(u8::try_from(session_id.len()).unwrap());
        body.extend_from_slice(session_id);
        body.extend_from_slice(rest);
        body
    }

    #[test]
    fn the_least_hello_has_no_extensions() {
        let least = body([3, 0], &[], b"\0\x02\0\x2f\x01\0");
        let hello = Hello::parse(&least, 99).unwrap();
        assert_eq!((hello.sni, hello.consumed), (None, 99));
        assert!(hello.ja4.starts_with("ts3i010000_"));
        assert!(hello.ja4.ends_with("_000000000000"));
    }

    #[test]
    fn every_cut_and_every_tail_is_malformed() {
        let whole = body([3, 3], b"id", b"\0\x02\0\x2f\x01\0\0\x04\0\x17\0\0");
        assert!(Hello::parse(&whole, 0).is_some());
        // A hello may end before its extensions.
        let without_extensions = whole.len() - 6;
        for cut in 0..whole.len() {
            let parsed = Hello::parse(&whole[..cut], 0);
            assert_eq!(parsed.is_some(), cut == without_extensions, "{cut}");
        }
        let tail = [&whole[..], b"\0"].concat();
        assert!(Hello::parse(&tail, 0).is_none());
    }

    #[test]
    fn fields_out_of_range_are_malformed() {
        let rest = b"\0\x02\0\x2f\x01\0";
        assert!(Hello::parse(&body([3, 3], &[1; 32], rest), 0).is_some());
        assert!(Hello::parse(&body([3, 3], &[1; 33], rest), 0).is_none());
        assert!(Hello::parse(&body([2, 0xff], &[], rest), 0).is_none());
        assert!(Hello::parse(&body([0x1a, 0x1a], &[], rest), 0).is_some());
        for rest in [&b"\0\0\x01\0"[..], b"\0\x01\0\x01\0", b"\0\x02\0\x2f\0"] {
            assert!(Hello::parse(&body([3, 3], &[], rest), 0).is_none());
        }
    }
}
