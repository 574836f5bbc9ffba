//! What a client meets when it asks a proxy for a tunnel.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    dial::{self, Outcome},
    netns::Netns,
};

/// Bytes of an answer that are read.
const LIMIT: u64 = 1 << 16;

/// A request for a tunnel.
#[derive(Clone, Debug, Default)]
pub struct Connect {
    /// Where to: a name or an address, with its port.
    pub to: String,
    /// The software that asks, if it says so.
    pub user_agent: Option<&'static str>,
    /// Name and password, as the Basic scheme shows them.
    pub credentials: Option<&'static str>,
}

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// The tunnel stands, and this came of what was said in it.
    Tunnel(Outcome),
    /// The proxy refused it, with this status and this answer, whole.
    Answer(u16, String),
    /// There was no answer.
    Nothing(Outcome),
}

impl Connect {
    /// The request as bytes. Skype speaks HTTP/1.0.
    #[must_use]
    pub fn head(&self) -> String {
        let mut head = format!("CONNECT {} HTTP/1.0\r\n", self.to);
        for (name, value) in [
            ("User-Agent: ", self.user_agent),
            ("Proxy-Authorization: Basic ", self.credentials),
        ] {
            if let Some(value) = value {
                // Writing to a text never fails.
                let _written = write!(head, "{name}{value}\r\n");
            }
        }
        head + "\r\n"
    }

    /// Asks a proxy, says something in the tunnel where there is one, and waits for the first bytes
    /// that come back.
    #[must_use]
    pub fn attempt(
        &self,
        netns: &Netns,
        (from, proxy): (IpAddr, SocketAddr),
        say: &[u8],
        timeout: Duration,
    ) -> (Told, Duration) {
        let begin = Instant::now();
        let told = dial::tcp(netns, from, proxy, timeout)
            .and_then(|stream| self.ask(stream, say))
            .unwrap_or_else(|error| Told::Nothing(Outcome::of_error(&error)));
        (told, begin.elapsed())
    }

    fn ask(&self, mut stream: TcpStream, say: &[u8]) -> io::Result<Told> {
        stream.write_all(self.head().as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte)? == 0 {
                return Ok(Told::Nothing(Outcome::Closed));
            }
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status: u16 = status.ok_or(io::ErrorKind::InvalidData)?;
        if status != 200 {
            // What speaks HTTP/1.0 is told by the end of the connection where a page ends.
            let mut body = Vec::new();
            stream.take(LIMIT).read_to_end(&mut body)?;
            return Ok(Told::Answer(status, head + &String::from_utf8_lossy(&body)));
        }
        Ok(Told::Tunnel(
            said(stream, say).unwrap_or_else(|error| Outcome::of_error(&error)),
        ))
    }
}

fn said(mut stream: TcpStream, say: &[u8]) -> io::Result<Outcome> {
    stream.write_all(say)?;
    let mut answer = vec![0; 16_384];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(if length == 0 {
        Outcome::Closed
    } else {
        Outcome::Answered(answer)
    })
}
