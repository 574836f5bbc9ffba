//! Where flows lead, and how they get there: straight, or through a tunnel of an explicit proxy.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
};

use anyhow::{Context, Result, bail};
use socket2::Socket;

use super::socket::{self, Source};

/// The longest head that a proxy may answer a CONNECT with, in bytes.
const LONGEST: usize = 4096;

/// Where flows lead.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The sink, or the gateway before it.
    pub to: SocketAddr,
    /// The explicit proxy that is asked for a tunnel there.
    pub via: Option<SocketAddr>,
}

/// How far the answer to a CONNECT has been read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// More must come.
    Partly,
    /// The tunnel stands.
    Open,
    /// There is none, or something came that the origin cannot have said.
    Refused,
}

impl Route {
    /// Whom a flow connects to.
    #[must_use]
    pub fn first(&self) -> SocketAddr {
        self.via.unwrap_or(self.to)
    }

    /// What a flow says first where it leads through a proxy.
    #[must_use]
    pub fn request(&self) -> Option<Vec<u8>> {
        let Self { to, via } = self;
        via.map(|_| {
            format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: load/1\r\n\r\n")
                .into_bytes()
        })
    }

    /// A blocking socket that leads all the way, through a tunnel where there is to be one.
    ///
    /// # Errors
    ///
    /// The connection failed, or the proxy refused the tunnel.
    pub fn connect(&self, source: &Source) -> Result<Socket> {
        let mut socket = socket::connect(self.first(), source).context("connecting")?;
        let Some(request) = self.request() else {
            return Ok(socket);
        };
        socket
            .write_all(&request)
            .context("asking for the tunnel")?;
        let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
        loop {
            let length = socket.read(&mut buffer).context("the proxy's answer")?;
            if length == 0 {
                bail!("the proxy hung up on a CONNECT");
            }
            head.extend_from_slice(buffer.get(..length).unwrap_or_default());
            match answer(&head) {
                Answer::Partly => {}
                Answer::Open => return Ok(socket),
                Answer::Refused => bail!(
                    "the proxy answered a CONNECT with {:?}",
                    String::from_utf8_lossy(&head)
                ),
            }
        }
    }
}

/// Reads what a proxy has answered a CONNECT so far (RFC 9110 section 9.3.6). Behind the head comes
/// nothing: the sink waits for the client.
#[must_use]
pub fn answer(bytes: &[u8]) -> Answer {
    if !bytes.ends_with(b"\r\n\r\n") {
        let over = bytes.len() > LONGEST || bytes.windows(4).any(|four| four == b"\r\n\r\n");
        return if over {
            Answer::Refused
        } else {
            Answer::Partly
        };
    }
    let mut words = bytes.splitn(3, |byte| *byte == b' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().unwrap_or_default();
    if version.starts_with(b"HTTP/1.") && status == b"200" {
        Answer::Open
    } else {
        Answer::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_stands_when_the_whole_head_says_so() {
        for (bytes, expected) in [
            ("", Answer::Partly),
            ("HTTP/1.1 200 OK\r\n", Answer::Partly),
            ("HTTP/1.1 200 OK\r\n\r\n", Answer::Open),
            (
                "HTTP/1.0 200 Connection established\r\nVia: a\r\n\r\n",
                Answer::Open,
            ),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", Answer::Refused),
            ("HTTP/1.1 200 OK\r\n\r\nx", Answer::Refused),
            ("\r\n\r\n", Answer::Refused),
        ] {
            assert_eq!(answer(bytes.as_bytes()), expected, "{bytes:?}");
        }
        assert_eq!(answer(&[b'a'; LONGEST + 1]), Answer::Refused);
    }

    #[test]
    fn only_a_proxy_is_asked() {
        let to: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let straight = Route { to, via: None };
        assert_eq!((straight.first(), straight.request()), (to, None));
        let via: SocketAddr = "192.0.2.2:3128".parse().unwrap();
        let tunnel = Route { to, via: Some(via) };
        assert_eq!(tunnel.first(), via);
        let request = String::from_utf8(tunnel.request().unwrap()).unwrap();
        assert!(request.starts_with("CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n"));
        assert!(request.ends_with("\r\n\r\n"));
    }
}
