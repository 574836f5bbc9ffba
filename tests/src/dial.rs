//! What a client meets when it tries to get out.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Netns;

/// What became of an attempt, from where the client stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The connection stands, or the datagram was answered; with the answer.
    Answered(Vec<u8>),
    /// A TCP reset came, or "port unreachable".
    Refused,
    /// ICMP said that an administrator prohibits it, or that there is no way.
    Prohibited,
    /// The connection stood and was reset.
    Reset,
    /// The connection stood and was closed without a byte.
    Closed,
    /// Nothing came within the time.
    Silence,
    /// Another error.
    Failed(String),
}

impl Outcome {
    /// What an error of a socket tells.
    #[must_use]
    pub fn of_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            // "Administratively prohibited" is EHOSTUNREACH for IPv4 and EACCES for IPv6.
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::PermissionDenied => Self::Prohibited,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Silence,
            _ => Self::Failed(error.to_string()),
        }
    }

    /// Whether the attempt came through.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(self, Self::Answered(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(bytes) if bytes.is_empty() => f.write_str("connected"),
            Self::Answered(bytes) => write!(f, "answered, {} bytes", bytes.len()),
            Self::Refused => f.write_str("refused"),
            Self::Prohibited => f.write_str("prohibited"),
            Self::Reset => f.write_str("reset"),
            Self::Closed => f.write_str("closed"),
            Self::Silence => f.write_str("no answer"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Connects by TCP from one address of a namespace.
///
/// # Errors
///
/// What the client's kernel says; `TimedOut` when nothing came.
pub fn tcp(
    netns: &Netns,
    from: IpAddr,
    to: SocketAddr,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let socket = netns.run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), timeout)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// A UDP socket of a namespace, connected, so that ICMP errors reach it.
///
/// # Errors
///
/// When the address is not the namespace's, or there is no route.
pub fn udp(
    netns: &Netns,
    from: SocketAddr,
    to: SocketAddr,
    timeout: Duration,
) -> io::Result<UdpSocket> {
    let socket =
        netns.run(|| Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP)))?;
    socket.bind(&from.into())?;
    socket.connect(&to.into())?;
    socket.set_read_timeout(Some(timeout))?;
    Ok(socket.into())
}

/// Sends one datagram and waits for the answer; tells what came and after how long.
#[must_use]
pub fn ask(
    netns: &Netns,
    from: IpAddr,
    to: SocketAddr,
    datagram: &[u8],
    timeout: Duration,
) -> (Outcome, Duration) {
    let begin = Instant::now();
    let outcome = udp(netns, SocketAddr::new(from, 0), to, timeout).and_then(|socket| {
        socket.send(datagram)?;
        let mut bytes = vec![0; 65_536];
        let length = socket.recv(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    });
    (
        outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Answered),
        begin.elapsed(),
    )
}

/// Connects, says something (or nothing) and waits for the first bytes that come back.
#[must_use]
pub fn say(
    netns: &Netns,
    from: IpAddr,
    to: SocketAddr,
    bytes: &[u8],
    timeout: Duration,
) -> (Outcome, Duration) {
    use std::io::{Read, Write};
    let begin = Instant::now();
    let outcome = tcp(netns, from, to, timeout).and_then(|mut stream| {
        if bytes.is_empty() {
            return Ok(Outcome::Answered(Vec::new()));
        }
        stream.write_all(bytes)?;
        let mut answer = vec![0; 16_384];
        let length = stream.read(&mut answer)?;
        answer.truncate(length);
        Ok(if length == 0 {
            Outcome::Closed
        } else {
            Outcome::Answered(answer)
        })
    });
    (
        outcome.unwrap_or_else(|error| Outcome::of_error(&error)),
        begin.elapsed(),
    )
}
