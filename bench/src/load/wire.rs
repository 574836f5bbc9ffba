//! What client and sink say to each other.

use sluice_guard::hello;

/// The name that every hello carries.
pub const SERVER_NAME: &str = "load.bench.test";

/// The length of the answer to [`Wish::Answer`] in bytes.
pub const ANSWER: usize = 1024;

/// The length of one write or read of a bulk flow in bytes.
pub const CHUNK: usize = 256 * 1024;

/// What a client wants of the sink; the byte behind its hello.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// Bytes from the sink until the client goes.
    Download,
    /// The sink swallows bytes until the client goes.
    Upload,
    /// [`ANSWER`] bytes, then the sink closes.
    Answer,
    /// One byte; then silence until the client goes.
    Hold,
}

impl Wish {
    const ALL: [Self; 4] = [Self::Download, Self::Upload, Self::Answer, Self::Hold];

    const fn byte(self) -> u8 {
        match self {
            Self::Download => b'd',
            Self::Upload => b'u',
            Self::Answer => b'a',
            Self::Hold => b'h',
        }
    }
}

/// A hello and a wish.
#[must_use]
pub fn opening(wish: Wish) -> Vec<u8> {
    let mut bytes = hello::small(SERVER_NAME);
    bytes.push(wish.byte());
    bytes
}

/// How far an opening has been read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Read {
    /// More must come.
    Partly,
    /// Whole, with this many bytes.
    Whole(Wish, usize),
    /// No client of ours says this.
    Foreign,
}

/// Reads an opening from the first bytes of a flow.
#[must_use]
pub fn read(bytes: &[u8]) -> Read {
    let &[kind, _, _, high, low, ref rest @ ..] = bytes else {
        return Read::Partly;
    };
    if kind != 0x16 {
        return Read::Foreign;
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let Some(&byte) = rest.get(length) else {
        return Read::Partly;
    };
    let wish = Wish::ALL.into_iter().find(|wish| wish.byte() == byte);
    wish.map_or(Read::Foreign, |wish| Read::Whole(wish, length + 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sink_understands_the_client() {
        for wish in Wish::ALL {
            let bytes = opening(wish);
            let whole = bytes.len();
            assert_eq!(read(&bytes), Read::Whole(wish, whole));
            assert_eq!(read(&bytes[..whole - 1]), Read::Partly);
            assert_eq!(read(&bytes[..3]), Read::Partly);
        }
        assert_eq!(read(b"GET / HTTP/1.1"), Read::Foreign);
    }
}
