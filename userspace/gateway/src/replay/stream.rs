//! The first bytes of a TCP client, whatever order its segments were captured in.

use std::{collections::BTreeMap, time::Duration};

use sluice_peek::{End, FirstReader, Hello, NotTls, Offer, Peek, foreign};

use crate::facts;

/// Bytes beyond the hello limit that wait for a gap to close.
const SLACK: usize = 1 << 20;

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
    limit: usize,
    /// Sequence number of the first byte, or of the first that was captured.
    base: Option<u32>,
    /// Whether the capture shows where the client's bytes begin.
    anchored: bool,
    /// Whether any segment of the client was captured.
    present: bool,
    bytes: Vec<u8>,
    /// Segments behind a gap, by their distance from `base`.
    waiting: BTreeMap<usize, Vec<u8>>,
    reader: FirstReader,
    found: Option<First>,
    /// What a genuine hello offers.
    offer: Option<Offer>,
    /// The application that first bytes other than TLS show.
    application: Option<&'static str>,
    /// The host that a request in the clear names.
    http_host: Option<Box<str>>,
    /// Whether anything follows where an empty record ends.
    followed: bool,
    began: Option<Duration>,
    ended: bool,
}

impl Stream {
    /// A stream whose hello may have `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            base: None,
            anchored: false,
            present: false,
            bytes: Vec::new(),
            waiting: BTreeMap::new(),
            reader: FirstReader::new(limit),
            found: None,
            offer: None,
            application: None,
            http_host: None,
            followed: false,
            began: None,
            ended: false,
        }
    }

    /// The handshake says that the client's first byte has this sequence number.
    ///
    /// Segments that were captured before it are counted from there too.
    pub(super) fn begin(&mut self, sequence: u32) {
        if self.anchored {
            return;
        }
        let before = std::mem::replace(self, Self::new(self.limit));
        self.anchored = true;
        self.base = Some(sequence);
        self.present = before.present;
        self.ended = before.ended;
        let (Some(base), Some(began)) = (before.base, before.began) else {
            return;
        };
        for (offset, segment) in std::iter::once((0, before.bytes)).chain(before.waiting) {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            self.segment(began, base.wrapping_add(offset), &segment);
        }
    }

    /// The client will send no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// A segment of the client's, captured at `time`.
    pub(super) fn segment(&mut self, time: Duration, sequence: u32, payload: &[u8]) {
        self.present = true;
        if payload.is_empty() {
            return;
        }
        // A capture that begins inside the connection: its first payload stands for the first.
        let base = *self.base.get_or_insert(sequence);
        let (offset, payload) = placed(base, sequence, payload);
        let end = offset + payload.len();
        if payload.is_empty() || end > self.limit + SLACK {
            return;
        }
        self.began.get_or_insert(time);
        self.followed |= end > EMPTY_RECORD;
        if self.found.is_some() || end <= self.bytes.len() {
            return;
        }
        if offset > self.bytes.len() {
            let held = self.waiting.entry(offset).or_default();
            let known = held.len();
            held.extend_from_slice(payload.get(known..).unwrap_or_default());
            return;
        }
        self.append(offset, payload);
        self.gather();
    }

    /// Takes what a segment adds to the bytes without a gap; what came first stays.
    fn append(&mut self, offset: usize, payload: &[u8]) {
        let known = self.bytes.len() - offset;
        self.bytes
            .extend_from_slice(payload.get(known..).unwrap_or_default());
    }

    /// Takes the waiting segments that follow without a gap, and peeks.
    fn gather(&mut self) {
        while let Some(entry) = self.waiting.first_entry() {
            let offset = *entry.key();
            if offset > self.bytes.len() {
                break;
            }
            let segment = entry.remove();
            self.append(offset, &segment);
        }
        self.found = match self.reader.advance(&self.bytes) {
            Peek::NeedMore => return,
            Peek::Hello(hello) => {
                self.offer = Offer::of(&self.bytes);
                Some(First::Hello(Box::new(hello)))
            }
            Peek::NotTls(why) => {
                self.application = foreign::application(&self.bytes);
                self.http_host = facts::http_host(&self.bytes, self.bytes.len());
                Some(First::NotTls(why))
            }
        };
        self.waiting.clear();
        if self.anchored {
            self.bytes = Vec::new();
        }
    }

    /// What the client offers, once its hello is known.
    pub(super) const fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref()
    }

    /// The application that the client's first bytes show, be it that there are no more of them.
    pub(super) fn application(&self) -> Option<&'static str> {
        match self.found {
            None => foreign::application(&self.bytes),
            Some(_) => self.application,
        }
    }

    /// The host that a request in the clear names.
    pub(super) fn http_host(&self) -> Option<Box<str>> {
        self.http_host.clone()
    }

    /// What the stream is, now that the capture ends at `now`, and whether a daemon that waits for
    /// a hello until `timeout` after its first byte would have met it from its beginning.
    ///
    /// `None` where the capture does not hold the client's first bytes. Without the handshake that
    /// is taken for granted only of a hello, which stands nowhere else.
    pub(super) fn finish(mut self, now: Duration, timeout: Duration) -> (Option<First>, bool) {
        if !self.present {
            return (None, false);
        }
        let Some(began) = self.began else {
            return (Some(First::Nothing), self.anchored);
        };
        if self.found.is_none() && self.bytes.is_empty() {
            // What was captured lies behind a gap.
            return (None, false);
        }
        let first = match self.found {
            Some(First::NotTls(NotTls::ZeroLengthRecord)) if !self.followed => {
                First::EmptyRecordAlone
            }
            Some(first) => first,
            None if self.ended || now.saturating_sub(began) < timeout => {
                First::NotTls(self.reader.finish(&self.bytes, End::Eof))
            }
            None => First::NotTls(self.reader.finish(&self.bytes, End::Deadline)),
        };
        match first {
            First::Hello(_) | First::NotTls(NotTls::Sslv2Hello) => (Some(first), true),
            _ if self.anchored => (Some(first), true),
            _ => (None, false),
        }
    }
}

/// How far behind the byte of sequence number `base` a segment lies, without what lies before it.
pub(super) fn placed(base: u32, sequence: u32, payload: &[u8]) -> (usize, &[u8]) {
    let ahead = sequence.wrapping_sub(base);
    if ahead <= u32::MAX / 2 {
        return (ahead as usize, payload);
    }
    let behind = base.wrapping_sub(sequence) as usize;
    (0, payload.get(behind..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1_000);
    const TIMEOUT: Duration = Duration::from_secs(5);
    const SSLV2: [u8; 11] = [0x80, 0x46, 1, 3, 1, 0, 0x2d, 0, 0, 0, 0x10];

    fn stream(segments: &[(u32, &[u8])]) -> Stream {
        let mut stream = Stream::new(65536);
        stream.begin(1000);
        for (sequence, payload) in segments {
            stream.segment(AT, *sequence, payload);
        }
        stream
    }

    fn finish(mut stream: Stream) -> Option<First> {
        stream.end();
        stream.finish(AT, TIMEOUT).0
    }

    fn first(segments: &[(u32, &[u8])]) -> Option<First> {
        finish(stream(segments))
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let (a, rest) = SSLV2.split_at(1);
        let (b, c) = rest.split_at(3);
        for order in [
            [(1000, a), (1001, b), (1004, c)],
            [(1004, c), (1001, b), (1000, a)],
            [(1001, b), (1000, a), (1004, c)],
        ] {
            let doubled: Vec<_> = order.iter().chain(&order).copied().collect();
            let got = first(&doubled);
            assert!(
                matches!(got, Some(First::NotTls(NotTls::Sslv2Hello))),
                "{order:?}"
            );
        }
    }

    #[test]
    fn segments_do_not_hide_an_application() {
        let ssh = b"SSH-2.0-x\r\n";
        for first in 1..ssh.len() {
            let (a, b) = ssh.split_at(first);
            let sequence = 1000 + u32::try_from(first).unwrap();
            let whole = stream(&[(1000, a), (sequence, b)]);
            assert_eq!(whole.application(), Some("ssh"), "{first}");
            let got = finish(whole);
            assert!(
                matches!(got, Some(First::NotTls(NotTls::NotTls))),
                "{got:?}"
            );
        }
        let mut ended = stream(&[(1000, b"S")]);
        ended.end();
        assert_eq!(ended.application(), None);
        let (got, _) = ended.finish(AT + TIMEOUT, TIMEOUT);
        assert!(
            matches!(got, Some(First::NotTls(NotTls::NotTls))),
            "{got:?}"
        );
    }

    #[test]
    fn a_longer_repetition_of_what_waits_counts() {
        let (_, b) = SSLV2.split_at(1);
        let got = first(&[(1001, &b[..1]), (1001, b), (1000, &SSLV2[..1])]);
        assert!(
            matches!(got, Some(First::NotTls(NotTls::Sslv2Hello))),
            "{got:?}"
        );
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut wrapping = Stream::new(65536);
        wrapping.begin(u32::MAX - 1);
        wrapping.segment(AT, 1, &SSLV2[3..]);
        wrapping.segment(AT, u32::MAX - 1, &SSLV2[..3]);
        let got = finish(wrapping);
        assert!(
            matches!(got, Some(First::NotTls(NotTls::Sslv2Hello))),
            "{got:?}"
        );
    }

    #[test]
    fn bytes_captured_before_the_syn_count_from_there() {
        let mut late = Stream::new(65536);
        late.segment(AT, 1004, &SSLV2[4..]);
        late.begin(1000);
        late.segment(AT, 1000, &SSLV2[..4]);
        let got = finish(late);
        assert!(
            matches!(got, Some(First::NotTls(NotTls::Sslv2Hello))),
            "{got:?}"
        );
    }

    #[test]
    fn a_gap_leaves_the_hello_unfinished() {
        let got = first(&[(1000, &[0x16, 3, 1]), (1004, &[1])]);
        assert!(
            matches!(got, Some(First::NotTls(NotTls::Truncated))),
            "{got:?}"
        );
        assert!(matches!(first(&[(1000, &[])]), Some(First::Nothing)));
        assert!(first(&[]).is_none());
        assert!(first(&[(1001, &SSLV2)]).is_none());
    }

    #[test]
    fn half_a_hello_is_late_once_its_time_is_up() {
        let half = || stream(&[(1000, &[0x16, 3, 1])]);
        let (got, _) = half().finish(AT + TIMEOUT, TIMEOUT);
        assert!(
            matches!(got, Some(First::NotTls(NotTls::Timeout))),
            "{got:?}"
        );
        let (got, _) = half().finish(AT + TIMEOUT / 2, TIMEOUT);
        assert!(
            matches!(got, Some(First::NotTls(NotTls::Truncated))),
            "{got:?}"
        );
    }

    #[test]
    fn an_empty_record_counts_when_something_follows() {
        let empty = [0x16, 3, 1, 0, 0];
        assert!(matches!(
            first(&[(1000, &empty)]),
            Some(First::EmptyRecordAlone)
        ));
        let got = first(&[(1000, &empty), (1005, &empty)]);
        assert!(
            matches!(got, Some(First::NotTls(NotTls::ZeroLengthRecord))),
            "{got:?}"
        );
    }

    #[test]
    fn without_a_handshake_only_a_hello_is_taken_for_the_beginning() {
        let midstream = |payload: &[u8]| {
            let mut stream = Stream::new(65536);
            stream.segment(AT, 77, payload);
            stream.finish(AT, TIMEOUT)
        };
        assert!(matches!(midstream(b"GET / HTTP/1.1"), (None, false)));
        assert!(matches!(midstream(&[0x17, 3, 3, 0, 40]), (None, false)));
        assert!(matches!(midstream(&[]), (Some(First::Nothing), false)));
        let got = midstream(&SSLV2);
        assert!(
            matches!(got, (Some(First::NotTls(NotTls::Sslv2Hello)), true)),
            "{got:?}"
        );
    }
}
