//! Headers between IP and the transport: IPv6 extension headers (RFC 8200 section 4), and the
//! Authentication Header in either family.

/// One header between IP and the transport.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extension {
    protocol: u8,
    /// The whole header; its first byte is replaced by the number of what follows.
    bytes: Vec<u8>,
    per_fragment: bool,
}

impl Extension {
    /// Hop-by-Hop options: `units` of eight bytes (at least one), filled with PadN.
    #[must_use]
    pub fn hop_by_hop(units: u8) -> Self {
        Self {
            per_fragment: true,
            ..Self::options(0, units)
        }
    }

    /// Destination options: `units` of eight bytes (at least one), filled with PadN.
    #[must_use]
    pub fn destination(units: u8) -> Self {
        Self::options(60, units)
    }

    /// A Routing header of this type with so many segments left, eight bytes long.
    #[must_use]
    pub fn routing(kind: u8, segments_left: u8) -> Self {
        Self {
            protocol: 43,
            bytes: vec![0, 0, kind, segments_left, 0, 0, 0, 0],
            per_fragment: true,
        }
    }

    /// A Mobility header (RFC 6275), eight bytes long.
    #[must_use]
    pub fn mobility() -> Self {
        Self {
            protocol: 135,
            bytes: vec![0, 0, 0, 0, 0, 0, 0, 0],
            per_fragment: false,
        }
    }

    /// An Authentication Header (RFC 4302) with an integrity value of `words` words of four bytes.
    #[must_use]
    pub fn authentication(words: u8) -> Self {
        let mut bytes = vec![0, words + 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
        bytes.resize(12 + usize::from(words) * 4, 0xaa);
        Self {
            protocol: 51,
            bytes,
            per_fragment: false,
        }
    }

    /// A Fragment header; `offset` is in bytes and a multiple of eight.
    #[must_use]
    pub fn fragment(offset: u16, more: bool, id: u32) -> Self {
        let mut bytes = vec![0, 0];
        bytes.extend(((offset & 0xfff8) | u16::from(more)).to_be_bytes());
        bytes.extend(id.to_be_bytes());
        Self {
            protocol: 44,
            bytes,
            per_fragment: false,
        }
    }

    /// Any header; the first byte of `bytes` becomes the number of what follows.
    #[must_use]
    pub fn other(protocol: u8, bytes: &[u8]) -> Self {
        Self {
            protocol,
            bytes: bytes.to_vec(),
            per_fragment: false,
        }
    }

    /// Lies about the header's own length: the second byte.
    #[must_use]
    pub fn length(mut self, length: u8) -> Self {
        self.bytes[1] = length;
        self
    }

    /// The number by which the header before names this one.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether the header is repeated in front of every fragment (RFC 8200 section 4.5).
    pub(super) fn is_per_fragment(&self) -> bool {
        self.per_fragment
    }

    fn options(protocol: u8, units: u8) -> Self {
        let length = usize::from(units) * 8;
        let mut bytes = vec![0, units - 1];
        while bytes.len() < length {
            let fill = (length - bytes.len()).min(257);
            match fill {
                1 => bytes.push(0),
                _ => {
                    bytes.extend([1, u8::try_from(fill - 2).unwrap_or(u8::MAX)]);
                    bytes.resize(bytes.len() + fill - 2, 0);
                }
            }
        }
        Self {
            protocol,
            bytes,
            per_fragment: false,
        }
    }
}

/// The bytes of a chain that ends in a header numbered `last`, and the number of its first.
pub(super) fn chain(extensions: &[Extension], last: u8) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    for (index, extension) in extensions.iter().enumerate() {
        let next = extensions.get(index + 1).map_or(last, Extension::protocol);
        bytes.push(next);
        bytes.extend(extension.bytes.iter().skip(1));
    }
    (extensions.first().map_or(last, Extension::protocol), bytes)
}
