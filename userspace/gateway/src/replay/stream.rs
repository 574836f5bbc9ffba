//! The first bytes of a TCP client, whatever order its segments were captured in.

use std::collections::BTreeMap;

use sluice_peek::{End, Hello, HelloReader, NotTls, Peek};

/// Bytes beyond the hello limit that wait for a gap to close.
const SLACK: u32 = 1 << 20;

/// Bytes of a TLS record that holds nothing.
const EMPTY_RECORD: usize = 5;

/// What a client's first bytes are.
#[derive(Clone, Debug)]
pub enum First {
    /// A genuine ClientHello.
    Hello(Box<Hello>),
    /// Something else.
    NotTls(NotTls),
    /// The header of one empty record and then nothing, ever: the daemon, which cannot know what
    /// will follow, decides on a zero-length record; looking back there never was any TLS.
    EmptyRecordAlone,
    /// The capture holds no byte of the client.
    Nothing,
}

/// Gathers a client's bytes until they say what the flow is.
pub(super) struct Stream {
    next: Option<u32>,
    bytes: Vec<u8>,
    waiting: BTreeMap<u32, Vec<u8>>,
    reader: HelloReader,
    first: Option<First>,
    ended: bool,
}

impl Stream {
    /// A stream whose hello may have `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            next: None,
            bytes: Vec::new(),
            waiting: BTreeMap::new(),
            reader: HelloReader::new(limit),
            first: None,
            ended: false,
        }
    }

    /// The client's SYN: its data begins behind `sequence`.
    pub(super) fn begin(&mut self, sequence: u32) {
        self.next.get_or_insert(sequence.wrapping_add(1));
    }

    /// The client finished.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// A segment's payload.
    pub(super) fn segment(&mut self, sequence: u32, payload: &[u8]) {
        if payload.is_empty() || self.first.is_some() && self.bytes.len() > EMPTY_RECORD {
            return;
        }
        // A capture that begins inside the connection: its first payload stands for the first.
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next);
        if ahead < SLACK {
            self.waiting.entry(ahead).or_insert_with(|| payload.to_vec());
        } else {
            let behind = next.wrapping_sub(sequence);
            let Some(fresh) = payload.get(behind as usize..) else { return };
            if fresh.is_empty() {
                return;
            }
            self.waiting.entry(0).or_insert_with(|| fresh.to_vec());
        }
        self.gather();
    }

    /// Takes what is contiguous from the waiting segments.
    fn gather(&mut self) {
        let mut taken = 0;
        while let Some(entry) = self.waiting.first_entry() {
            let offset = *entry.key();
            if offset > taken {
                break;
            }
            let segment = entry.remove();
            if let Some(fresh) = segment.get((taken - offset) as usize..) {
                self.bytes.extend_from_slice(fresh);
                taken += u32::try_from(fresh.len()).unwrap_or(0);
            }
        }
        if taken == 0 {
            return;
        }
        self.next = self.next.map(|next| next.wrapping_add(taken));
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = waiting.into_iter().map(|(at, bytes)| (at - taken, bytes)).collect();
        match self.reader.advance(&self.bytes) {
            Peek::NeedMore => {}
            Peek::Hello(hello) => self.first = Some(First::Hello(Box::new(hello))),
            Peek::NotTls(why) => self.first = Some(First::NotTls(why)),
        }
    }

    /// What the stream is, now that no more will come.
    pub(super) fn finish(mut self) -> First {
        match self.first {
            Some(First::NotTls(NotTls::ZeroLengthRecord)) if self.bytes.len() == EMPTY_RECORD => {
                return First::EmptyRecordAlone;
            }
            Some(first) => return first,
            None => {}
        }
        if self.bytes.is_empty() {
            return First::Nothing;
        }
        let end = if self.ended { End::Eof } else { End::Deadline };
        First::NotTls(self.reader.finish(&self.bytes, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(segments: &[(u32, &[u8])]) -> First {
        let mut stream = Stream::new(65536);
        stream.begin(999);
        for (sequence, payload) in segments {
            stream.segment(*sequence, payload);
        }
        stream.end();
        stream.finish()
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let sslv2 = [0x80, 0x46, 1, 3, 1, 0, 0x2d, 0, 0, 0, 0x10];
        let (a, rest) = sslv2.split_at(1);
        let (b, c) = rest.split_at(3);
        for order in [
            [(1000, a), (1001, b), (1004, c)],
            [(1004, c), (1001, b), (1000, a)],
            [(1001, b), (1000, a), (1004, c)],
        ] {
            let doubled: Vec<_> = order.iter().chain(&order).copied().collect();
            assert!(matches!(first(&doubled), First::NotTls(NotTls::Sslv2Hello)), "{order:?}");
        }
    }

    #[test]
    fn a_gap_leaves_the_hello_unfinished() {
        let got = first(&[(1000, &[0x16, 3, 1]), (1004, &[1])]);
        assert!(matches!(got, First::NotTls(NotTls::Truncated)), "{got:?}");
        assert!(matches!(first(&[]), First::Nothing));
    }

    #[test]
    fn an_empty_record_counts_when_something_follows() {
        let empty = [0x16, 3, 1, 0, 0];
        assert!(matches!(first(&[(1000, &empty)]), First::EmptyRecordAlone));
        let got = first(&[(1000, &empty), (1005, &empty)]);
        assert!(matches!(got, First::NotTls(NotTls::ZeroLengthRecord)), "{got:?}");
    }
}
