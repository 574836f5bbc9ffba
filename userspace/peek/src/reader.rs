//! From a client's first bytes to what it speaks.

use crate::foreign;
use crate::not_tls::NotTls;
use crate::record::{End, HelloReader, Peek};

/// Reads the first bytes of a client until they tell what it speaks: a ClientHello, or else which
/// application, if any that is known.
///
/// A [`HelloReader`] that asks for more also while bytes that are no TLS may still show an
/// application ([`foreign::may_show_more`]), which takes some twenty bytes at the most. Once it
/// answers, more bytes change neither its answer nor that of [`foreign::application`].
#[derive(Debug)]
pub struct FirstReader(HelloReader);

impl FirstReader {
    /// A reader for a new stream; `limit` is that of [`HelloReader::new`].
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self(HelloReader::new(limit))
    }

    /// What the stream is, given everything the client sent so far.
    ///
    /// `bytes` begins with the bytes of the call before. After an answer other than
    /// [`Peek::NeedMore`], further calls give the same answer.
    pub fn advance(&mut self, bytes: &[u8]) -> Peek {
        match self.0.advance(bytes) {
            Peek::NotTls(_) if foreign::may_show_more(bytes) => Peek::NeedMore,
            peek => peek,
        }
    }

    /// What the stream is when no more bytes come and [`Self::advance`] still needs more for the
    /// same `bytes`: what [`HelloReader::finish`] says.
    pub fn finish(&mut self, bytes: &[u8], end: End) -> NotTls {
        self.0.finish(bytes, end)
    }
}
