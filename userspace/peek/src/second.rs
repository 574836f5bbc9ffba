//! From a client's bytes behind its ClientHello to the one that a HelloRetryRequest asks for.

use crate::first::{HANDSHAKE, MAJOR, RECORD_HEADER};
use crate::not_tls::NotTls;
use crate::record::{End, HelloReader, Peek};

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;
/// The most content that an encrypted record may have (RFC 8446 section 5.2).
const ENCRYPTED_MAX: usize = (1 << 14) + 256;

/// Reads the second ClientHello of a stream, where the first was answered by a HelloRetryRequest
/// (RFC 8446 section 4.1.4).
///
/// Passed over is what a client may send before it, and a server skips: a change of ciphers
/// (appendix D.4) and early data (section 4.2.10), and alerts, of which some end nothing. Whatever
/// else is no second hello. As with [`HelloReader`], the caller keeps all bytes from the end of the
/// first hello on, each of them is looked at once, and the outcome is a function of the bytes alone.
#[derive(Debug)]
pub struct SecondHelloReader {
    limit: usize,
    /// Where the record that is not passed over yet begins.
    at: usize,
    /// Reads the hello that begins there.
    hello: Option<HelloReader>,
    decided: Option<NotTls>,
}

impl SecondHelloReader {
    /// A reader for the bytes behind the first hello. A second one that does not end within `limit`
    /// bytes, with all before it, is [`NotTls::Oversize`], and is so as soon as its length is known.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            at: 0,
            hello: None,
            decided: None,
        }
    }

    /// What follows, given everything the client sent behind its first hello.
    ///
    /// `bytes` begins with the bytes of the call before. After an answer other than
    /// [`Peek::NeedMore`], further calls give the same answer. Of a hello,
    /// [`consumed`](crate::Hello::consumed) counts what was passed over, too.
    pub fn advance(&mut self, bytes: &[u8]) -> Peek {
        if let Some(why) = self.decided {
            return Peek::NotTls(why);
        }
        match self.read(bytes) {
            Ok(peek) => peek,
            Err(why) => {
                self.decided = Some(why);
                Peek::NotTls(why)
            }
        }
    }

    /// What followed when no more bytes come; as [`HelloReader::finish`].
    pub fn finish(&mut self, bytes: &[u8], end: End) -> NotTls {
        match (self.advance(bytes), end) {
            (Peek::NotTls(why), _) => why,
            _ if bytes.is_empty() => NotTls::Silent,
            (_, End::Eof) => NotTls::Truncated,
            (_, End::Deadline | End::SilentDeadline) => NotTls::Timeout,
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<Peek, NotTls> {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            if let Some(reader) = &mut self.hello {
                return match reader.advance(rest) {
                    Peek::Hello(mut hello) => {
                        hello.consumed += self.at;
                        Ok(Peek::Hello(hello))
                    }
                    Peek::NotTls(why) => Err(why),
                    Peek::NeedMore => Ok(Peek::NeedMore),
                };
            }
            let room = self.limit.saturating_sub(self.at);
            match rest.first() {
                None => return Ok(Peek::NeedMore),
                Some(&HANDSHAKE) => {
                    self.hello = Some(HelloReader::new(room));
                    continue;
                }
                Some(&(CHANGE_CIPHER_SPEC | ALERT | APPLICATION_DATA)) => {}
                Some(_) => return Err(NotTls::NotTls),
            }
            if rest.get(1).is_some_and(|major| *major != MAJOR) {
                return Err(NotTls::NotTls);
            }
            let Some([_, _, _, high, low]) = rest.first_chunk::<RECORD_HEADER>() else {
                return Ok(Peek::NeedMore);
            };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length == 0 {
                return Err(NotTls::ZeroLengthRecord);
            }
            let record = RECORD_HEADER + length;
            if length > ENCRYPTED_MAX || record > room {
                return Err(NotTls::Oversize);
            }
            if rest.len() < record {
                return Ok(Peek::NeedMore);
            }
            self.at += record;
        }
    }
}
