//! ClientHellos, record by record.

/// The largest content of a record.
const RECORD: usize = 1 << 14;

/// A ClientHello under construction.
#[derive(Clone)]
pub(crate) struct Hello {
    version: u16,
    ciphers: Vec<u16>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    /// What a browser of today sends, without a name: TLS 1.3, and 1.2 as the last resort.
    pub(crate) fn new() -> Self {
        Self {
            version: 0x0303,
            ciphers: vec![0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f],
            extensions: vec![
                (0x000a, vec![0, 4, 0, 0x1d, 0, 0x17]),
                (0x000d, vec![0, 4, 4, 3, 8, 4]),
                (0x0010, b"\x00\x0c\x02h2\x08http/1.1".to_vec()),
                (0x002b, vec![4, 3, 4, 3, 3]),
                (0x0033, key_share(0x001d, 32)),
            ],
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::new().with(0, server_names(&[name.as_bytes()]))
    }

    /// Adds an extension in front of the others.
    pub(crate) fn with(mut self, kind: u16, content: Vec<u8>) -> Self {
        self.extensions.insert(0, (kind, content));
        self
    }

    pub(crate) fn without(mut self, kind: u16) -> Self {
        self.extensions.retain(|(other, _)| *other != kind);
        self
    }

    pub(crate) fn with_cipher(mut self, cipher: u16) -> Self {
        self.ciphers.insert(0, cipher);
        self
    }

    pub(crate) fn with_version(mut self, version: u16) -> Self {
        self.version = version;
        self
    }

    /// A hello with a post-quantum key share, which spans segments.
    pub(crate) fn post_quantum(self) -> Self {
        self.without(0x33).with(0x33, key_share(0x11ec, 1216))
    }

    /// Padded (RFC 7685) so that the handshake message has so many bytes.
    pub(crate) fn padded_to(self, length: usize) -> Self {
        let missing = length - self.message().len() - 4;
        self.with(0x15, vec![0; missing])
    }

    /// The handshake message.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([0x5a; 32]);
        body.push(32);
        body.extend([0xa5; 32]);
        let ciphers: Vec<u8> = self
            .ciphers
            .iter()
            .flat_map(|code| code.to_be_bytes())
            .collect();
        body.extend(sized(&ciphers));
        body.extend([1, 0]);
        let mut extensions = Vec::new();
        for (kind, content) in &self.extensions {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(sized(content));
        }
        body.extend(sized(&extensions));
        let mut message = vec![1];
        message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        message.extend(body);
        message
    }

    /// The message in records as large as may be.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        records(&self.message(), RECORD)
    }
}

/// A message in records with at most `size` bytes of it each.
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|part| record(22, part))
        .collect()
}

pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 1];
    record.extend(sized(content));
    record
}

/// The content of a server_name extension (RFC 6066 section 3).
pub(crate) fn server_names(names: &[&[u8]]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        list.push(0);
        list.extend(sized(name));
    }
    sized(&list)
}

fn key_share(group: u16, length: usize) -> Vec<u8> {
    let mut share = group.to_be_bytes().to_vec();
    share.extend(sized(&vec![0x77; length]));
    sized(&share)
}

fn sized(content: &[u8]) -> Vec<u8> {
    let mut sized = u16::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    sized.extend(content);
    sized
}

/// The head of the hello that Skype sends: SSL 2.0's format, offering TLS 1.0.
pub(crate) fn sslv2() -> Vec<u8> {
    let mut hello = vec![0x80, 0x46, 1, 3, 1, 0, 0x2d, 0, 0, 0, 0x10];
    hello.extend([0x11; 0x3d]);
    hello
}
