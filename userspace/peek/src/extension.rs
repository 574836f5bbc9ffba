//! The extensions of a ClientHello that say what a rule can ask for.

use crate::alpn::Alpn;
use crate::codes::Codes;
use crate::cursor::{Cursor, code_list};
use crate::host::HostName;
use crate::is_grease;
use crate::version::Versions;

/// Extension types (the registry of RFC 8446 section 11; ECH is RFC 9849).
pub(crate) mod kind {
    pub(crate) const SERVER_NAME: u16 = 0;
    pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(crate) const ALPN: u16 = 16;
    pub(crate) const SESSION_TICKET: u16 = 35;
    pub(crate) const PRE_SHARED_KEY: u16 = 41;
    pub(crate) const EARLY_DATA: u16 = 42;
    pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
    pub(crate) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

/// What the extensions of one hello say.
pub(crate) struct Extensions<'a> {
    pub(crate) sni: Option<HostName>,
    pub(crate) alpn: Alpn,
    pub(crate) versions: Versions,
    /// The highest version in `supported_versions`, known or not, zero where all are GREASE.
    /// `None` without that extension.
    pub(crate) highest_listed: Option<u16>,
    /// The signature algorithms as on the wire, two bytes each.
    pub(crate) signature_algorithms: &'a [u8],
    pub(crate) ech: bool,
    pub(crate) early_data: bool,
    pub(crate) session_offered: bool,
    /// The type of every extension.
    pub(crate) kinds: Codes,
}

impl<'a> Extensions<'a> {
    pub(crate) fn none(legacy_version: u16) -> Self {
        Self {
            sni: None,
            alpn: Alpn::empty(),
            versions: Versions::from_legacy(legacy_version),
            highest_listed: None,
            signature_algorithms: &[],
            ech: false,
            early_data: false,
            session_offered: false,
            kinds: Codes::new(),
        }
    }

    /// What a block of extensions says, or `None` where it is malformed.
    pub(crate) fn parse(legacy_version: u16, block: &'a [u8]) -> Option<Self> {
        let mut all = Self::none(legacy_version);
        let mut cursor = Cursor::new(block);
        while !cursor.is_empty() {
            let (kind, content) = cursor.extension()?;
            all.kinds.push(kind);
            all.read(kind, content)?;
            // RFC 8446 section 4.2.11: nothing comes after it.
            if kind == kind::PRE_SHARED_KEY && !cursor.is_empty() {
                return None;
            }
        }
        // RFC 8446 section 4.2: not two of one type. Readers differ in which of two they believe.
        (!all.kinds.any_repeated()).then_some(all)
    }

    fn read(&mut self, kind: u16, content: &'a [u8]) -> Option<()> {
        match kind {
            kind::SERVER_NAME => self.sni = Some(server_name(content)?),
            kind::ALPN => self.alpn = Alpn::parse(content)?,
            kind::SUPPORTED_VERSIONS => self.read_versions(content)?,
            kind::SIGNATURE_ALGORITHMS => {
                let mut cursor = Cursor::new(content);
                let list = cursor.vec16()?;
                let list = cursor.end(list)?;
                self.signature_algorithms = code_list(list).is_some().then_some(list)?;
            }
            kind::ENCRYPTED_CLIENT_HELLO => self.ech = true,
            kind::EARLY_DATA if !content.is_empty() => return None,
            kind::EARLY_DATA => self.early_data = true,
            kind::PRE_SHARED_KEY => self.session_offered = true,
            kind::SESSION_TICKET => self.session_offered |= !content.is_empty(),
            _ => {}
        }
        Some(())
    }

    fn read_versions(&mut self, content: &[u8]) -> Option<()> {
        self.versions = Versions::from_list(self.versions.legacy(), version_list(content)?);
        let listed = version_list(content)?.filter(|version| !is_grease(*version));
        self.highest_listed = Some(listed.max().unwrap_or(0));
        Some(())
    }
}

/// The versions in a client's extension supported_versions (RFC 8446 section 4.2.1).
pub(crate) fn version_list(content: &[u8]) -> Option<impl Iterator<Item = u16>> {
    let mut cursor = Cursor::new(content);
    let list = cursor.vec8()?;
    code_list(cursor.end(list)?)
}

/// The one name of the extension server_name (RFC 6066 section 3).
///
/// A list of two names, or of a type that no RFC defines, has no meaning that all servers share.
fn server_name(content: &[u8]) -> Option<HostName> {
    const HOST_NAME: u8 = 0;
    let mut cursor = Cursor::new(content);
    let list = cursor.vec16()?;
    let mut entry = Cursor::new(cursor.end(list)?);
    if entry.u8()? != HOST_NAME {
        return None;
    }
    let name = entry.vec16()?;
    HostName::parse(entry.end(name)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_is_one_whole_host_name() {
        assert_eq!(server_name(b"\0\x06\0\0\x03a.B").unwrap().as_str(), "a.b");
        let cases: [&[u8]; 8] = [
            b"",
            b"\0\0",
            b"\0\x03\0\0\0",
            b"\0\x04\x01\0\x01a",
            b"\0\x04\0\0\x02a",
            b"\0\x05\0\0\x01a",
            b"\0\x04\0\0\x01ab",
            b"\0\x08\0\0\x01a\0\0\x01b",
        ];
        for content in cases {
            assert!(server_name(content).is_none(), "{content:?}");
        }
    }

    #[test]
    fn a_pre_shared_key_comes_last() {
        assert!(Extensions::parse(0x0303, b"\0\x17\0\0\0\x29\0\0").is_some());
        assert!(Extensions::parse(0x0303, b"\0\x29\0\0\0\x17\0\0").is_none());
    }

    #[test]
    fn only_a_ticket_with_content_offers_a_session() {
        let offered = |block| Extensions::parse(0x0303, block).unwrap().session_offered;
        assert!(!offered(b"\0\x23\0\0"));
        assert!(offered(b"\0\x23\0\x01x"));
        assert!(offered(b"\0\x29\0\0"));
    }

    #[test]
    fn no_type_comes_twice() {
        assert!(Extensions::parse(0x0303, b"\x1a\x1a\0\0\x2a\x2a\0\0").is_some());
        assert!(Extensions::parse(0x0303, b"\x1a\x1a\0\0\0\x17\0\0\x1a\x1a\0\0").is_none());
    }
}
