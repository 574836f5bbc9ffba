//! Connections to origins.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::listen::prepare;

/// How an origin is dialled.
#[derive(Clone, Copy, Debug)]
pub struct DialOptions {
    /// Mark on every packet of the connection. Needs CAP_NET_ADMIN; 0 sets none.
    pub mark: u32,
    /// How long the origin may take to answer.
    pub timeout: Duration,
    /// Bytes will be sent as soon as the connection stands: they carry the handshake's last
    /// acknowledgement, which saves a packet.
    pub bytes_follow: bool,
}

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            mark: 0,
            timeout: Duration::from_secs(15),
            bytes_follow: false,
        }
    }
}

/// Why there is no connection to the origin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No socket could be made: descriptors or memory ran out, or a right is missing.
    #[error("no socket for the connection to the origin")]
    Local(#[source] io::Error),
    /// The origin, or something before it, refused.
    #[error("the origin refused the connection")]
    Refused,
    /// The origin did not answer in time.
    #[error("the origin did not answer in time")]
    TimedOut,
    /// No way leads to the origin.
    #[error("the origin cannot be reached")]
    Unreachable(#[source] io::Error),
}

/// Connects to an origin from the machine's own address.
///
/// # Errors
///
/// [`DialError`] says whose fault it is. Must be called inside a tokio runtime with IO and time
/// enabled.
pub async fn dial(address: SocketAddr, options: &DialOptions) -> Result<TcpStream, DialError> {
    let socket = socket(address, options).map_err(DialError::Local)?;
    match tokio::time::timeout(options.timeout, socket.connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(classify(error)),
        Err(_) => Err(DialError::TimedOut),
    }
}

fn socket(address: SocketAddr, options: &DialOptions) -> io::Result<TcpSocket> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    prepare(&SockRef::from(&socket), options.mark)?;
    if options.bytes_follow {
        rustix::net::sockopt::set_tcp_quickack(&socket, false)?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

fn classify(error: io::Error) -> DialError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => DialError::Refused,
        io::ErrorKind::TimedOut => DialError::TimedOut,
        // No port left towards this origin, or a local rule forbids it.
        io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::OutOfMemory => DialError::Local(error),
        _ => DialError::Unreachable(error),
    }
}

/// Makes the close of a connection a reset: what is still to be sent is dropped, and the peer
/// learns that the stream is not whole.
///
/// # Errors
///
/// None in practice; the kernel takes the option on any TCP socket.
pub fn abort(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
