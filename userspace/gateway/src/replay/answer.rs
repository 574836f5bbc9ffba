//! The first bytes of a TCP server, as the answer to a ClientHello.

use std::collections::BTreeMap;

use sluice_peek::{Answer, End, Offer, ServerHelloReader};

use super::stream::placed;
use crate::facts::Answered;

/// Bytes beyond the limit that wait for a gap to close.
const SLACK: usize = 64 << 10;

/// Gathers a server's bytes until they say what it answers.
pub(super) struct Answers {
    limit: usize,
    /// Sequence number of the first byte, or of the first that was captured.
    base: Option<u32>,
    /// Whether the capture shows where the server's bytes begin.
    anchored: bool,
    bytes: Vec<u8>,
    /// Segments behind a gap, by their distance from `base`.
    waiting: BTreeMap<usize, Vec<u8>>,
    /// There once the client's hello is known.
    reader: Option<ServerHelloReader>,
    found: Option<Answered>,
    ended: bool,
}

impl Answers {
    /// An answer that may have `limit` bytes.
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            limit,
            base: None,
            anchored: false,
            bytes: Vec::new(),
            waiting: BTreeMap::new(),
            reader: None,
            found: None,
            ended: false,
        }
    }

    /// The handshake says that the server's first byte has this sequence number.
    pub(super) fn begin(&mut self, sequence: u32) {
        if !self.anchored {
            *self = Self::new(self.limit);
            self.anchored = true;
            self.base = Some(sequence);
        }
    }

    /// A segment of the server's, with what the client is known to offer.
    pub(super) fn segment(&mut self, sequence: u32, payload: &[u8], offer: Option<&Offer>) {
        if payload.is_empty() || self.found.is_some() {
            return;
        }
        let base = *self.base.get_or_insert(sequence);
        let (offset, payload) = placed(base, sequence, payload);
        let end = offset + payload.len();
        if end > self.bytes.len() && end <= self.limit + SLACK {
            let held = self.waiting.entry(offset).or_default();
            let known = held.len();
            held.extend_from_slice(payload.get(known..).unwrap_or_default());
        }
        while let Some(entry) = self.waiting.first_entry() {
            let Some(known) = self.bytes.len().checked_sub(*entry.key()) else {
                break;
            };
            let segment = entry.remove();
            self.bytes
                .extend_from_slice(segment.get(known..).unwrap_or_default());
        }
        self.read(offer);
    }

    /// The server will send no more.
    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    fn read(&mut self, offer: Option<&Offer>) {
        if self.reader.is_none() {
            self.reader = offer.map(|offer| ServerHelloReader::new(offer.clone(), self.limit));
        }
        if let Some(reader) = &mut self.reader {
            self.found = Answered::of(reader.advance(&self.bytes));
        }
        if self.found.is_some() {
            (self.bytes, self.waiting) = (Vec::new(), BTreeMap::new());
        }
    }

    /// What the server answered; `None` where the capture does not hold the answer.
    pub(super) fn finish(mut self, offer: Option<&Offer>) -> Option<Answered> {
        if self.found.is_none() {
            self.read(offer);
        }
        if self.found.is_none() && self.ended && self.anchored && self.waiting.is_empty() {
            let answer = self.reader.as_mut()?.finish(&self.bytes, End::Eof);
            self.found = match answer {
                Answer::Incomplete => None,
                answer => Answered::of(answer),
            };
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use sluice_policy::{NotNegotiated, Tls};

    use super::*;

    /// A ClientHello of TLS 1.2 with one cipher suite.
    fn offer() -> Offer {
        let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
        Offer::of(&hello).unwrap()
    }

    fn answer() -> Vec<u8> {
        let mut answer = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
        answer.extend([8; 32]);
        answer.extend([0, 0xc0, 0x2f, 0]);
        answer
    }

    #[test]
    fn order_and_the_moment_of_the_hello_do_not_matter() {
        let (offer, bytes) = (offer(), answer());
        let (a, b) = bytes.split_at(20);
        for (early, late) in [(None, Some(&offer)), (Some(&offer), Some(&offer))] {
            let mut answers = Answers::new(65_536);
            answers.begin(5);
            answers.segment(25, b, early);
            answers.segment(5, a, early);
            let answered = answers.finish(late).unwrap();
            assert_eq!(answered.tls, Tls::Negotiated);
        }
    }

    #[test]
    fn without_bytes_only_an_end_says_something() {
        let offer = offer();
        let mut answers = Answers::new(65_536);
        answers.begin(5);
        assert_eq!(answers.finish(Some(&offer)), None);
        let mut answers = Answers::new(65_536);
        answers.begin(5);
        answers.end();
        let closed = Answered::not(NotNegotiated::OriginClosed);
        assert_eq!(answers.finish(Some(&offer)), Some(closed));
    }

    #[test]
    fn other_bytes_are_no_server_hello() {
        let mut answers = Answers::new(65_536);
        answers.segment(77, b"as you say", Some(&offer()));
        let wanted = Answered::not(NotNegotiated::InconsistentServerHello);
        assert_eq!(answers.finish(None), Some(wanted));
    }
}
