//! Connections of HTTP/2 whose frames are written by hand.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{Lab, Pipe};
use crate::raw::site;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A frame (RFC 9113 section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field as HPACK has it: literal, never indexed, without Huffman coding.
pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x10];
    for text in [name, value] {
        integer(&mut bytes, text.len());
        bytes.extend(text);
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn integer(bytes: &mut Vec<u8>, number: usize) {
    if number < 127 {
        bytes.push(u8::try_from(number).unwrap());
        return;
    }
    bytes.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).unwrap());
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// The fields of a request, those of `more` behind what every request has.
pub(crate) fn fields(lab: &Lab, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let site = site(lab);
    let usual = [
        (":method", method),
        (":scheme", "https"),
        (":authority", site.as_str()),
        (":path", path),
    ];
    let all = usual.iter().chain(more);
    all.flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes()))
        .collect()
}

/// A connection of HTTP/2 inside TLS.
pub(crate) struct H2 {
    pipe: Pipe,
}

impl H2 {
    /// Connects, and sends the preface with these settings.
    pub(crate) async fn connect(lab: &Lab, settings: &[u8]) -> Self {
        let client = lab.trusting_gateway().offering(&[b"h2"]);
        let pipe = Box::new(client.connect(lab).await.unwrap());
        let mut h2 = Self { pipe };
        let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        preface.extend(frame(SETTINGS, 0, 0, settings));
        assert!(h2.send(&preface).await);
        h2
    }

    /// The connection itself.
    pub(crate) fn into_pipe(self) -> Pipe {
        self.pipe
    }

    /// Sends bytes; false where the other side has closed.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.pipe.write_all(bytes).await.is_ok() && self.pipe.flush().await.is_ok()
    }

    /// The next frame that came; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.pipe.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.pipe.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(rest) & 0x7fff_ffff;
        Some(Frame {
            kind,
            flags,
            stream,
            payload,
        })
    }

    /// The next frame of a stream that is its answer, its end, or the connection's.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            match self.next().await {
                None => return Outcome::Closed,
                Some(frame) if frame.kind == GOAWAY && code(&frame.payload[4..]) != 0 => {
                    return Outcome::Over(code(&frame.payload[4..]));
                }
                Some(frame) if frame.stream == stream && frame.kind == RST_STREAM => {
                    return Outcome::Reset(code(&frame.payload));
                }
                Some(frame) if frame.stream == stream && frame.kind == HEADERS => {
                    return Outcome::Answer(status(&frame.payload));
                }
                Some(_) => {}
            }
        }
    }

    /// Whether the gateway ends the connection while this is sent over and over, up to so often.
    pub(crate) async fn is_ended_by(&mut self, bytes: &[u8], times: usize) -> bool {
        for _ in 0..times {
            if !self.send(bytes).await {
                return true;
            }
        }
        // What it has to say of that may wait to be read; then a ping tells whether it lives.
        self.send(&frame(PING, 0, 0, b"alive?!!")).await;
        loop {
            match self.next().await {
                None => return true,
                Some(frame) if frame.kind == GOAWAY => return true,
                Some(frame) if frame.kind == PING && frame.payload == b"alive?!!" => return false,
                Some(_) => {}
            }
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Answer(u16),
    Reset(u32),
    /// The connection was ended by this error.
    Over(u32),
    Closed,
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

/// The status at the beginning of an answer's fields, as HPACK's static table has it or as literal
/// digits.
fn status(block: &[u8]) -> u16 {
    // A change of the table's size may come first.
    let block = &block[block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap()..];
    match block[0] {
        0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(block[0] - 0x88)],
        _ => {
            let length = usize::from(block[1] & 0x7f);
            let text = &block[2..2 + length];
            if block[1] & 0x80 == 0 {
                return String::from_utf8_lossy(text).parse().unwrap();
            }
            huffman(text)
        }
    }
}

/// Three digits in the code of RFC 7541 appendix B: 0, 1 and 2 take five bits, the others six.
fn huffman(text: &[u8]) -> u16 {
    let bits: Vec<_> = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
        .collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let take = |count: usize| {
            bits[at..at + count]
                .iter()
                .fold(0, |sum, bit| sum * 2 + u16::from(*bit))
        };
        let digit = if take(5) < 3 {
            let digit = take(5);
            at += 5;
            digit
        } else {
            let digit = take(6) - 0x19 + 3;
            at += 6;
            digit
        };
        number = number * 10 + digit;
    }
    number
}

#[test]
fn digits_are_read_in_huffman_s_code() {
    // 403 and 421 as encoders write them.
    assert_eq!(huffman(&[0x68, 0x0c, 0xff]), 403);
}
