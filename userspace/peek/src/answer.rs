//! From the bytes of an origin's stream to its ServerHello, whatever the segments and records.

use alloc::vec::Vec;

use crate::first::{HANDSHAKE, MAJOR, RECORD_HEADER};
use crate::no_agreement::NoAgreement;
use crate::offer::Offer;
use crate::record::{End, MESSAGE_HEADER};
use crate::server_hello::Chosen;
use crate::version::Version;

/// The content type of records that carry alerts.
const ALERT: u8 = 21;
/// The most content that a record of any version may have (RFC 5246 section 6.2.3).
const RECORD_MAX: usize = (1 << 14) + 2048;
const HELLO_REQUEST: u8 = 0;
const SERVER_HELLO: u8 = 2;
/// The longest body that the fields of a ServerHello can add up to: version, random, session,
/// cipher, compression, extensions.
const BODY_MAX: usize = 2 + 32 + (1 + 255) + 2 + 1 + (2 + 65_535);

/// What the bytes so far say of an origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Nothing yet: read on.
    Incomplete,
    /// The origin answered with a ServerHello, or a HelloRetryRequest, that fits the offer.
    Negotiated(Chosen),
    /// The origin does not take up the client's TLS.
    Not {
        /// In which way.
        why: NoAgreement,
        /// The code of the alert that says so (RFC 8446 section 6), where one does.
        alert: Option<u8>,
    },
}

impl Answer {
    const INCONSISTENT: Self = Self::not(NoAgreement::Inconsistent);

    const fn not(why: NoAgreement) -> Self {
        Self::Not { why, alert: None }
    }
}

/// Reads the ServerHello at the beginning of an origin's stream, where a ClientHello went to it
/// untouched.
///
/// The caller keeps all bytes the origin sent, from the first on, shows them after each read and
/// hands them on unchanged. Every byte is looked at once, the message is gathered in a buffer that
/// grows with what has arrived, and what follows the message is not looked at.
///
/// The outcome is a function of the bytes alone, not of their segments, and later bytes do not
/// change it.
#[derive(Debug)]
pub struct ServerHelloReader {
    offer: Offer,
    limit: usize,
    /// How many bytes of the stream were taken.
    at: usize,
    /// How many bytes of the current record are not taken yet.
    left: usize,
    /// Whether the current record carries alerts.
    in_alert: bool,
    /// The level of an alert whose code is still to come.
    level: Option<u8>,
    /// The handshake message so far, with its header.
    message: Vec<u8>,
    decided: Option<Answer>,
}

impl ServerHelloReader {
    /// A reader for a new stream that answers this offer. A ServerHello that does not end within
    /// `limit` bytes of the stream, with all before it, is [`NoAgreement::Oversize`], and is so as
    /// soon as its length is known.
    #[must_use]
    pub const fn new(offer: Offer, limit: usize) -> Self {
        Self {
            offer,
            limit,
            at: 0,
            left: 0,
            in_alert: false,
            level: None,
            message: Vec::new(),
            decided: None,
        }
    }

    /// What the origin answers, given everything it sent so far.
    ///
    /// `bytes` begins with the bytes of the call before. After an answer other than
    /// [`Answer::Incomplete`], further calls give the same answer.
    pub fn advance(&mut self, bytes: &[u8]) -> Answer {
        if let Some(decided) = self.decided {
            return decided;
        }
        let answer = match self.read(bytes) {
            Ok(None) => return Answer::Incomplete,
            Ok(Some(chosen)) => Answer::Negotiated(chosen),
            Err(not) => not,
        };
        self.decided = Some(answer);
        answer
    }

    /// What the origin answered when no more bytes come; never [`Answer::Incomplete`].
    ///
    /// A ServerHello that is not whole is [`NoAgreement::OriginClosed`] at the end of the stream
    /// and [`NoAgreement::Timeout`] at a deadline.
    pub fn finish(&mut self, bytes: &[u8], end: End) -> Answer {
        match (self.advance(bytes), end) {
            (Answer::Incomplete, End::Eof) => Answer::not(NoAgreement::OriginClosed),
            (Answer::Incomplete, End::Deadline | End::SilentDeadline) => {
                Answer::not(NoAgreement::Timeout)
            }
            (decided, _) => decided,
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<Option<Chosen>, Answer> {
        loop {
            if self.left == 0 && !self.open_record(bytes)? {
                return Ok(None);
            }
            let there = bytes.get(self.at..).unwrap_or_default();
            let there = there.get(..self.left).unwrap_or(there);
            let Some(&next) = there.first() else {
                return Ok(None);
            };
            if self.in_alert {
                self.taken(1);
                self.take_alert(next)?;
            } else if let Some(chosen) = self.take_message(there)? {
                return Ok(Some(chosen));
            }
        }
    }

    /// Reads the header of the next record, and says whether it was there.
    ///
    /// Until the ServerHello is whole, only alerts come beside it: its successors, a change of
    /// ciphers among them, follow it (RFC 8446 appendix D.4).
    fn open_record(&mut self, bytes: &[u8]) -> Result<bool, Answer> {
        let rest = bytes.get(self.at..).unwrap_or_default();
        if rest
            .first()
            .is_some_and(|kind| ![ALERT, HANDSHAKE].contains(kind))
            || rest.get(1).is_some_and(|major| *major != MAJOR)
        {
            return Err(Answer::INCONSISTENT);
        }
        let Some([kind, _, _, high, low]) = rest.first_chunk::<RECORD_HEADER>() else {
            return Ok(false);
        };
        self.in_alert = *kind == ALERT;
        let length = u16::from_be_bytes([*high, *low]).into();
        // An alert begun in one record may end in the next one, but nothing comes between.
        let cut_alert = self.level.is_some() && !self.in_alert;
        if length == 0 || length > RECORD_MAX || cut_alert {
            return Err(Answer::INCONSISTENT);
        }
        self.at += RECORD_HEADER;
        self.left = length;
        self.check_room()?;
        Ok(true)
    }

    const fn taken(&mut self, count: usize) {
        self.at += count;
        self.left -= count;
    }

    /// Takes one byte of an alert (RFC 8446 section 6).
    ///
    /// One that does not end the connection is passed over, such as the warning unrecognized_name
    /// before a ServerHello (RFC 6066 section 3).
    fn take_alert(&mut self, byte: u8) -> Result<(), Answer> {
        const WARNING: u8 = 1;
        const FATAL: u8 = 2;
        const CLOSE_NOTIFY: u8 = 0;
        match (self.level.take(), byte) {
            (None, WARNING | FATAL) => self.level = Some(byte),
            (None, _) => return Err(Answer::INCONSISTENT),
            (Some(FATAL), code) | (Some(_), code @ CLOSE_NOTIFY) => {
                return Err(Answer::Not {
                    why: NoAgreement::of_alert(code),
                    alert: Some(code),
                });
            }
            (Some(_), _) => {}
        }
        Ok(())
    }

    /// Takes what is there of the header, or else of the body, of a handshake message.
    fn take_message(&mut self, there: &[u8]) -> Result<Option<Chosen>, Answer> {
        let count = self.missing().min(there.len());
        self.message.extend(there.iter().take(count));
        self.taken(count);
        let kind = self.message.first().copied();
        if ![Some(HELLO_REQUEST), Some(SERVER_HELLO)].contains(&kind) {
            return Err(Answer::INCONSISTENT);
        }
        let Some(length) = self.body_length() else {
            return Ok(None);
        };
        match kind {
            // A client that is in the middle of a handshake ignores it (RFC 5246 section 7.4.1.1).
            Some(HELLO_REQUEST) if length == 0 => {
                self.message.clear();
                return Ok(None);
            }
            Some(SERVER_HELLO) if length <= BODY_MAX => {}
            _ => return Err(Answer::INCONSISTENT),
        }
        self.check_room()?;
        if self.missing() > 0 {
            return Ok(None);
        }
        self.judge().map(Some).ok_or(Answer::INCONSISTENT)
    }

    /// How many bytes the message, or while its length is not known its header, still lacks.
    fn missing(&self) -> usize {
        let body = self.body_length().unwrap_or(0);
        (MESSAGE_HEADER + body).saturating_sub(self.message.len())
    }

    /// How long the body of the message is, once its header is there.
    fn body_length(&self) -> Option<usize> {
        let [_, high, middle, low] = *self.message.first_chunk::<MESSAGE_HEADER>()?;
        usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()
    }

    fn judge(&self) -> Option<Chosen> {
        let chosen = Chosen::parse(self.message.get(MESSAGE_HEADER..)?, &self.offer)?;
        // What follows is encrypted, so no record holds both (RFC 8446 section 5.1).
        let keys_change = chosen.version == Version::Tls13.code() && !chosen.hello_retry;
        (self.left == 0 || !keys_change).then_some(chosen)
    }

    /// Checks that the message can end within the limit.
    fn check_room(&self) -> Result<(), Answer> {
        if self.at.saturating_add(self.missing()) > self.limit {
            return Err(Answer::not(NoAgreement::Oversize));
        }
        Ok(())
    }
}
