//! The message ServerHello (RFC 8446 section 4.1.3; RFC 5246 section 7.4.1.3).

use crate::client_hello::{RANDOM_LEN, SESSION_ID_MAX};
use crate::codes::Codes;
use crate::cursor::Cursor;
use crate::extension::kind;
use crate::offer::Offer;
use crate::version::Version;

/// The random that makes a ServerHello a HelloRetryRequest (RFC 8446 section 4.1.3).
const RETRY: [u8; RANDOM_LEN] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What an origin chose of a client's offer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Chosen {
    /// The code of the version: that of `supported_versions`, or without it the legacy one. It may
    /// be one that [`Version`] does not know, where the client offered it.
    pub version: u16,
    /// The code of the cipher suite.
    pub cipher: u16,
    /// Whether the origin asks for a second ClientHello (RFC 8446 section 4.1.4). Its ServerHello
    /// proper then follows, and may only choose the same.
    pub hello_retry: bool,
}

impl Chosen {
    /// What the body of a message chooses, or `None` where no version of TLS allows it.
    pub(crate) fn parse(body: &[u8], offer: &Offer) -> Option<Self> {
        let mut cursor = Cursor::new(body);
        let legacy_version = cursor.u16()?;
        let random = cursor.take(RANDOM_LEN)?;
        let session_id = cursor.vec8()?;
        let cipher = cursor.u16()?;
        let compression = cursor.u8()?;
        let selected = selected_version(cursor.extension_block()?.unwrap_or_default())?;
        let chosen = Self {
            version: selected.unwrap_or(legacy_version),
            cipher,
            hello_retry: random == RETRY,
        };
        let tls13 = chosen.version == Version::Tls13.code();
        let allowed = match selected {
            None => {
                // Only TLS 1.3 asks for another hello.
                offer.has_legacy_version(legacy_version)
                    && session_id.len() <= SESSION_ID_MAX
                    && offer.has_compression(compression)
                    && !chosen.hello_retry
            }
            Some(version) if tls13 => {
                offer.lists_version(version) && session_id == offer.session_id() && compression == 0
            }
            // What later versions mean by the other fields is not known.
            Some(version) => return offer.lists_version(version).then_some(chosen),
        };
        (allowed && offer.has_cipher(cipher)).then_some(chosen)
    }
}

/// The version in the extension `supported_versions` of a server's block of extensions, `None`
/// within where it is not there.
fn selected_version(block: &[u8]) -> Option<Option<u16>> {
    let mut kinds = Codes::new();
    let mut selected = None;
    let mut cursor = Cursor::new(block);
    while !cursor.is_empty() {
        let (kind, content) = cursor.extension()?;
        kinds.push(kind);
        if kind == kind::SUPPORTED_VERSIONS {
            let mut content = Cursor::new(content);
            let version = content.u16()?;
            selected = Some(content.end(version)?);
        }
    }
    // RFC 8446 section 4.2, RFC 5246 section 7.4.1.4: not two of one type.
    (!kinds.any_repeated()).then_some(selected)
}
