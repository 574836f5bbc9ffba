//! ClientHellos that no library would send, put together by hand.

/// A ClientHello (RFC 8446 section 4.1.2) with everything that may vary.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) record_version: u16,
    pub(crate) version: u16,
    pub(crate) session: Vec<u8>,
    pub(crate) ciphers: Vec<u16>,
    pub(crate) extensions: Vec<(u16, Vec<u8>)>,
}

pub(crate) const SERVER_NAME: u16 = 0;
const GROUPS: u16 = 10;
const SIGNATURES: u16 = 13;
pub(crate) const ALPN: u16 = 16;
pub(crate) const PADDING: u16 = 21;
pub(crate) const VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
pub(crate) const ECH: u16 = 0xfe0d;

impl Hello {
    /// A hello of TLS 1.3 for a server's name.
    pub(crate) fn named(name: &str) -> Self {
        Self::bare().with(SERVER_NAME, server_names(&[(0, name.as_bytes())]))
    }

    /// A hello of TLS 1.3 that names nobody.
    pub(crate) fn bare() -> Self {
        let share = [&[0, 36, 0, 29, 0, 32][..], &[0x5b; 32]].concat();
        Self {
            record_version: 0x0301,
            version: 0x0303,
            session: vec![0x5e; 32],
            ciphers: vec![0x1301, 0x1302, 0x1303],
            extensions: vec![
                (GROUPS, vec![0, 2, 0, 29]),
                (SIGNATURES, vec![0, 4, 4, 3, 8, 4]),
                (VERSIONS, vec![2, 3, 4]),
                (KEY_SHARE, share),
            ],
        }
    }

    /// Adds an extension behind those that are there.
    pub(crate) fn with(mut self, kind: u16, body: Vec<u8>) -> Self {
        self.extensions.push((kind, body));
        self
    }

    /// Takes an extension out.
    pub(crate) fn without(mut self, kind: u16) -> Self {
        self.extensions.retain(|(found, _)| *found != kind);
        self
    }

    /// The handshake message.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        for (kind, body) in &self.extensions {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(prefixed(body));
        }
        let ciphers: Vec<u8> = self
            .ciphers
            .iter()
            .flat_map(|cipher| cipher.to_be_bytes())
            .collect();
        let body = [
            &self.version.to_be_bytes()[..],
            &[0x42; 32],
            &[u8::try_from(self.session.len()).unwrap()],
            &self.session,
            &prefixed(&ciphers),
            &[1, 0],
            &prefixed(&extensions),
        ]
        .concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1][..], &length[1..], &body].concat()
    }

    /// The message in as few records as can hold it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        records(self.record_version, &self.message(), 16_384)
    }

    /// The same hello with a message of exactly this length, by padding (RFC 7685).
    pub(crate) fn padded_to(self, length: usize) -> Self {
        let own = self.message().len() + 4;
        self.with(PADDING, vec![0; length - own])
    }
}

/// Handshake bytes in records of at most `size`.
pub(crate) fn records(version: u16, message: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in message.chunks(size) {
        bytes.push(22);
        bytes.extend(version.to_be_bytes());
        bytes.extend(prefixed(part));
    }
    bytes
}

/// The body of a server_name extension (RFC 6066 section 3): names by their type.
pub(crate) fn server_names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let list: Vec<u8> = names
        .iter()
        .flat_map(|(kind, name)| [&[*kind][..], &prefixed(name)].concat())
        .collect();
    prefixed(&list)
}

/// The body of an encrypted_client_hello extension of the outer kind (RFC 9849 section 5).
pub(crate) fn outer_ech() -> Vec<u8> {
    [
        &[0, 0, 1, 0, 1, 7][..],
        &prefixed(&[0x77; 32]),
        &prefixed(&[0x99; 208]),
    ]
    .concat()
}

/// Bytes behind their length, as two bytes.
pub(crate) fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}
