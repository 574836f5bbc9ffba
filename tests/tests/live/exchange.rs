//! What a client says on a connection, and how the connection ends for it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// In order.
    Finished,
    /// By a reset.
    Reset,
    /// Not within the socket's timeout.
    Open,
}

/// All that came on a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: End,
}

impl Heard {
    /// A reset and not a byte before it.
    pub(crate) fn reset() -> Self {
        Self {
            bytes: Vec::new(),
            end: End::Reset,
        }
    }

    /// A fatal alert of TLS (RFC 8446 section 6) and an orderly end.
    pub(crate) fn alert(description: u8) -> Self {
        Self {
            bytes: vec![21, 3, 3, 0, 2, 2, description],
            end: End::Finished,
        }
    }

    /// These bytes and an orderly end.
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            end: End::Finished,
        }
    }
}

/// Whether the client keeps its side open after what it said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    Wait,
    Finish,
}

/// Says something. A peer that has closed before everything was said is no error: what it answered
/// is still to be read.
pub(crate) fn say(stream: &mut TcpStream, bytes: &[u8], then: Then) {
    let said = stream.write_all(bytes);
    if said.is_ok() && then == Then::Finish {
        let _gone = stream.shutdown(Shutdown::Write);
    }
}

/// Reads until the connection ends.
pub(crate) fn hear(stream: &mut TcpStream) -> Heard {
    let mut heard = Heard {
        bytes: Vec::new(),
        end: End::Finished,
    };
    let mut chunk = [0; 16_384];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return heard,
            Ok(length) => heard.bytes.extend(&chunk[..length]),
            Err(error) => {
                heard.end = match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => End::Open,
                    _ => End::Reset,
                };
                return heard;
            }
        }
    }
}

/// Says something on a connection of which an echo sends everything back, and waits for it.
pub(crate) fn echoed(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
}
