//! From the bytes of a stream to its ClientHello, whatever the segments and records.

use alloc::vec::Vec;

use crate::client_hello::Hello;
use crate::first::{RECORD_HEADER, first_record, next_record};
use crate::not_tls::NotTls;

/// The most content that a record may have (RFC 8446 section 5.1).
const RECORD_MAX: usize = 1 << 14;
/// Type and length of a handshake message (RFC 8446 section 4).
pub(crate) const MESSAGE_HEADER: usize = 4;
const CLIENT_HELLO: u8 = 1;

/// What the bytes so far say of a flow.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once a flow and taken apart at once; a box would be the only allocation"
)]
pub enum Peek {
    /// Nothing yet: read on.
    NeedMore,
    /// The flow begins with this hello.
    Hello(Hello),
    /// The flow is not TLS.
    NotTls(NotTls),
}

/// Why no more bytes come.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum End {
    /// The sender ended its stream.
    Eof,
    /// The deadline for the whole message passed.
    Deadline,
    /// The deadline for the first byte passed.
    SilentDeadline,
}

/// Reads the ClientHello at the beginning of a stream.
///
/// The caller keeps all bytes the client sent, from the first on, and shows them after each read.
/// Every byte is looked at once, however small the pieces: the work is linear in the bytes, and a
/// call that brings nothing new returns at once. A hello whose handshake bytes lie in one record
/// is parsed where it lies. One that spans records is copied together into a buffer that grows
/// with what has arrived and stays below the limit.
///
/// The outcome is a function of the bytes alone, not of their segments, and later bytes do not
/// change it.
#[derive(Debug)]
pub struct HelloReader {
    limit: usize,
    /// How many bytes of the stream were taken.
    at: usize,
    /// How many bytes of the current record are not taken yet.
    left: usize,
    /// How many bytes of the message were taken, its header included.
    have: usize,
    /// How long the message is with its header, once that is known.
    total: Option<usize>,
    header: [u8; MESSAGE_HEADER],
    /// The message so far, where it does not lie in the first record.
    gathered: Option<Vec<u8>>,
    not_tls: Option<NotTls>,
}

impl HelloReader {
    /// A reader for a new stream. A hello that does not end within `limit` bytes of the stream,
    /// record headers included, is [`NotTls::Oversize`], and is so as soon as its length is known.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            at: 0,
            left: 0,
            have: 0,
            total: None,
            header: [0; MESSAGE_HEADER],
            gathered: None,
            not_tls: None,
        }
    }

    /// What the stream is, given everything the client sent so far.
    ///
    /// `bytes` begins with the bytes of the call before. After an answer other than
    /// [`Peek::NeedMore`], further calls give the same answer.
    pub fn advance(&mut self, bytes: &[u8]) -> Peek {
        if let Some(why) = self.not_tls {
            return Peek::NotTls(why);
        }
        match self.read(bytes) {
            Ok(None) => Peek::NeedMore,
            Ok(Some(hello)) => Peek::Hello(hello),
            Err(why) => {
                self.not_tls = Some(why);
                Peek::NotTls(why)
            }
        }
    }

    /// What the stream is when no more bytes come and [`Self::advance`] still needs more for the
    /// same `bytes`.
    ///
    /// Without any byte that is [`NotTls::Silent`], else [`NotTls::Truncated`] at the end of the
    /// stream and [`NotTls::Timeout`] at a deadline.
    pub fn finish(&mut self, bytes: &[u8], end: End) -> NotTls {
        if let Peek::NotTls(why) = self.advance(bytes) {
            return why;
        }
        match end {
            _ if bytes.is_empty() => NotTls::Silent,
            End::Eof => NotTls::Truncated,
            End::Deadline | End::SilentDeadline => NotTls::Timeout,
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<Option<Hello>, NotTls> {
        if !self.gather(bytes)? {
            return Ok(None);
        }
        let hello = Hello::parse(self.body(bytes), self.at);
        hello.map(Some).ok_or(NotTls::Malformed)
    }

    /// Takes what is there of the message, and says whether it is whole.
    pub(crate) fn gather(&mut self, bytes: &[u8]) -> Result<bool, NotTls> {
        while self.needs() > 0 {
            if self.left == 0 && !self.open_record(bytes)? {
                return Ok(false);
            }
            if !self.take(bytes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The body of the message, once [`Self::gather`] has all of it.
    pub(crate) fn body<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        let message = match &self.gathered {
            Some(gathered) => gathered,
            None => bytes.get(RECORD_HEADER..self.at).unwrap_or_default(),
        };
        message.get(MESSAGE_HEADER..).unwrap_or_default()
    }

    /// How many bytes the message, or while its length is not known its header, still lacks.
    fn needs(&self) -> usize {
        self.total.unwrap_or(MESSAGE_HEADER) - self.have
    }

    /// Reads the header of the next record, and says whether it was there.
    fn open_record(&mut self, bytes: &[u8]) -> Result<bool, NotTls> {
        let rest = bytes.get(self.at..).unwrap_or_default();
        let length = match self.at {
            0 => first_record(rest)?,
            _ => next_record(rest)?,
        };
        let Some(length) = length else {
            return Ok(false);
        };
        if length > RECORD_MAX {
            return Err(NotTls::Oversize);
        }
        if self.at > 0 && self.gathered.is_none() {
            let first = bytes.get(RECORD_HEADER..self.at).unwrap_or_default();
            self.gathered = Some(first.to_vec());
        }
        self.at += RECORD_HEADER;
        self.left = length;
        self.check_room()?;
        Ok(true)
    }

    /// Takes what is there of the current record, and says whether that was anything.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, NotTls> {
        let there = bytes.get(self.at..).unwrap_or_default();
        let count = self.left.min(self.needs()).min(there.len());
        let taken = there.get(..count).unwrap_or_default();
        if taken.is_empty() {
            return Ok(false);
        }
        if self.have == 0 && taken.first() != Some(&CLIENT_HELLO) {
            return Err(NotTls::NotTls);
        }
        if let Some(gathered) = &mut self.gathered {
            gathered.extend_from_slice(taken);
        }
        if self.total.is_none() {
            let header = self.header.get_mut(self.have..).unwrap_or_default();
            for (to, from) in header.iter_mut().zip(taken) {
                *to = *from;
            }
        }
        self.at += count;
        self.left -= count;
        self.have += count;
        if self.total.is_none() && self.have == MESSAGE_HEADER {
            let [_, length @ ..] = self.header;
            let length = length
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            self.total = Some(MESSAGE_HEADER + length);
            self.check_room()?;
        }
        Ok(true)
    }

    /// Checks that the message can end within the limit and where its record ends.
    ///
    /// A client has nothing to add to its hello before it is answered. What comes behind it in the
    /// same record could only be a second hello for whoever reads on.
    fn check_room(&self) -> Result<(), NotTls> {
        if self.at.saturating_add(self.needs()) > self.limit {
            Err(NotTls::Oversize)
        } else if self.total.is_some() && self.left > self.needs() {
            Err(NotTls::Malformed)
        } else {
            Ok(())
        }
    }
}
