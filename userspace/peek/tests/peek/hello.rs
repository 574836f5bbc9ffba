//! Builds hellos byte by byte, right and wrong ones.

use sluice_peek::{HELLO_LIMIT, Hello, HelloReader, NotTls, Peek};

const RECORD_MAX: usize = 1 << 14;

#[derive(Clone, Debug)]
pub(crate) struct Builder {
    version: u16,
    ciphers: Vec<u16>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            version: 0x0303,
            ciphers: vec![0x1301, 0xc02f],
            extensions: Vec::new(),
        }
    }

    pub(crate) fn legacy_version(mut self, version: u16) -> Self {
        self.version = version;
        self
    }

    pub(crate) fn ciphers(mut self, ciphers: &[u16]) -> Self {
        self.ciphers = ciphers.to_vec();
        self
    }

    pub(crate) fn extension(mut self, kind: u16, content: &[u8]) -> Self {
        self.extensions.push((kind, content.to_vec()));
        self
    }

    /// A list of one host name, whatever its bytes.
    pub(crate) fn sni(self, name: &[u8]) -> Self {
        let entry = [&[0], &vec16(name)[..]].concat();
        self.extension(0, &vec16(&entry))
    }

    pub(crate) fn alpn(self, names: &[&[u8]]) -> Self {
        let list: Vec<u8> = names.iter().flat_map(|name| vec8(name)).collect();
        self.extension(16, &vec16(&list))
    }

    pub(crate) fn versions(self, versions: &[u16]) -> Self {
        self.extension(43, &vec8(&codes(versions)))
    }

    pub(crate) fn signature_algorithms(self, algorithms: &[u16]) -> Self {
        self.extension(13, &vec16(&codes(algorithms)))
    }

    /// The handshake message.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend([0x5a; 32]);
        body.extend(vec8(&[0xa5; 32]));
        body.extend(vec16(&codes(&self.ciphers)));
        body.extend(vec8(&[0]));
        if !self.extensions.is_empty() {
            let mut block = Vec::new();
            for (kind, content) in &self.extensions {
                block.extend(kind.to_be_bytes());
                block.extend(vec16(content));
            }
            body.extend(vec16(&block));
        }
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1], &len[1..], &body].concat()
    }

    /// The message in as few records as it fits in.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        records(&self.message(), RECORD_MAX)
    }

    pub(crate) fn peek(&self) -> Peek {
        peek(&self.bytes())
    }

    pub(crate) fn hello(&self) -> Hello {
        hello(&self.bytes())
    }
}

/// A message in records of so many bytes.
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(record).collect()
}

pub(crate) fn record(content: &[u8]) -> Vec<u8> {
    [&[22, 3, 1], &vec16(content)[..]].concat()
}

pub(crate) fn peek(bytes: &[u8]) -> Peek {
    HelloReader::new(HELLO_LIMIT).advance(bytes)
}

pub(crate) fn hello(bytes: &[u8]) -> Hello {
    match peek(bytes) {
        Peek::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

/// The answer to a stream that arrives in segments of so many bytes, and where it was given.
pub(crate) fn peek_segments(bytes: &[u8], size: usize) -> (Peek, usize) {
    let mut reader = HelloReader::new(HELLO_LIMIT);
    let mut seen = 0;
    while seen < bytes.len() {
        seen = (seen + size).min(bytes.len());
        match reader.advance(&bytes[..seen]) {
            Peek::NeedMore => {}
            decided => return (decided, seen),
        }
    }
    (Peek::NeedMore, seen)
}

pub(crate) const MALFORMED: Peek = Peek::NotTls(NotTls::Malformed);

pub(crate) fn vec8(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap()], content].concat()
}

pub(crate) fn vec16(content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap();
    [&len.to_be_bytes(), content].concat()
}

fn codes(codes: &[u16]) -> Vec<u8> {
    codes.iter().flat_map(|code| code.to_be_bytes()).collect()
}
