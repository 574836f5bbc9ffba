//! What a ClientHello offers, as far as an origin's answer is judged by it.

use alloc::vec::Vec;

use crate::client_hello::Fields;
use crate::cursor::{Cursor, code_list};
use crate::extension::{kind, version_list};
use crate::is_grease;
use crate::record::HelloReader;
use crate::version::Version;

/// Code points in the list of cipher suites that stand for no suite, so that no server may choose
/// them: the null suite of a new connection (RFC 5246 appendix A.5) and the signals
/// TLS_EMPTY_RENEGOTIATION_INFO_SCSV (RFC 5746 section 3.3) and TLS_FALLBACK_SCSV (RFC 7507).
const NO_CIPHERS: [u16; 3] = [0x0000, 0x00ff, 0x5600];

/// What a client leaves its server to choose from.
///
/// This is read from the client's bytes when a ServerHello is to be judged, not with every
/// [`Hello`](crate::Hello), so that flows decided earlier carry none of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Offer {
    legacy_version: u16,
    session_id: Vec<u8>,
    ciphers: Vec<u16>,
    compressions: Vec<u8>,
    /// All of `supported_versions`, known or not; empty without that extension.
    versions: Vec<u16>,
}

impl Offer {
    /// The offer in the bytes of a client's stream, in records as they came. `None` where they do
    /// not begin with a whole ClientHello; where [`HelloReader`] finds one, there is an offer.
    #[must_use]
    pub fn of(client_bytes: &[u8]) -> Option<Self> {
        let mut reader = HelloReader::new(client_bytes.len());
        if !reader.gather(client_bytes).ok()? {
            return None;
        }
        Self::parse(reader.body(client_bytes))
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let fields = Fields::parse(body)?;
        let mut versions = Vec::new();
        let mut extensions = Cursor::new(fields.extensions.unwrap_or_default());
        while !extensions.is_empty() {
            if let (kind::SUPPORTED_VERSIONS, content) = extensions.extension()? {
                versions.extend(version_list(content)?);
            }
        }
        Some(Self {
            legacy_version: fields.legacy_version,
            session_id: fields.session_id.to_vec(),
            ciphers: code_list(fields.ciphers)?.collect(),
            compressions: fields.compressions.to_vec(),
            versions,
        })
    }

    /// Whether a server may choose this cipher suite: the client listed it, and it is a suite.
    pub(crate) fn has_cipher(&self, cipher: u16) -> bool {
        !is_grease(cipher) && !NO_CIPHERS.contains(&cipher) && self.ciphers.contains(&cipher)
    }

    /// Whether a server may name this version in `supported_versions`: none before TLS 1.3 is
    /// named there (RFC 8446 section 4.2.1), and any later one is the client's own business.
    pub(crate) fn lists_version(&self, version: u16) -> bool {
        !is_grease(version) && version >= Version::Tls13.code() && self.versions.contains(&version)
    }

    /// Whether a server may name this version in the field of its hello. Later ones than TLS 1.2
    /// are never negotiated by it (RFC 8446 section 4.1.3).
    pub(crate) fn has_legacy_version(&self, version: u16) -> bool {
        (Version::Ssl30.code()..=Version::Tls12.code()).contains(&version)
            && (version <= self.legacy_version || self.versions.contains(&version))
    }

    /// Whether a server may choose this compression method before TLS 1.3. Not to compress is
    /// always possible (RFC 5246 section 7.4.1.2).
    pub(crate) fn has_compression(&self, method: u8) -> bool {
        method == 0 || self.compressions.contains(&method)
    }

    pub(crate) fn session_id(&self) -> &[u8] {
        &self.session_id
    }
}
