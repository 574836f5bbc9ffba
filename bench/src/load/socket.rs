//! Sockets as the load tools want them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How long anything may take that takes a millisecond when all is well.
pub const PATIENCE: Duration = Duration::from_secs(10);

fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    sockopt::set_tcp_congestion(&socket, "reno")?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// Where flows come from: each from a pair of address and port that no flow before it had.
///
/// A pair used again within a minute may meet what its last flow left behind, and costs something
/// else than a new one. The kernel's own choice runs through its ports in a few seconds.
#[derive(Debug, Default)]
pub struct Source {
    first: Option<Ipv4Addr>,
    used: AtomicU32,
}

impl Source {
    const FIRST_PORT: u16 = 2000;
    const PORTS: u32 = 60_000;

    /// From `first` and as many addresses behind it as are needed, one for every 60,000 flows;
    /// none: whatever the kernel chooses.
    #[must_use]
    pub fn new(first: Option<Ipv4Addr>) -> Self {
        Self {
            first,
            used: AtomicU32::new(0),
        }
    }

    fn next(&self) -> Option<SocketAddr> {
        let first = self.first?;
        let at = self.used.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::from_bits(first.to_bits().wrapping_add(at / Self::PORTS));
        let port = u16::try_from(at % Self::PORTS).unwrap_or(0) + Self::FIRST_PORT;
        Some((address, port).into())
    }
}

fn client(to: SocketAddr, source: &Source) -> io::Result<Socket> {
    let socket = tcp(to)?;
    if let Some(from) = source.next() {
        socket.bind(&SockAddr::from(from))?;
    }
    Ok(socket)
}

/// A listener of its own among those on the same address: the kernel spreads flows over them.
///
/// # Errors
///
/// The address is taken by something else, or is not one of this network namespace.
pub fn listener(address: SocketAddr) -> io::Result<Socket> {
    let socket = tcp(address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A connected blocking socket.
///
/// # Errors
///
/// The connection failed, or took longer than [`PATIENCE`].
pub fn connect(address: SocketAddr, source: &Source) -> io::Result<Socket> {
    let socket = client(address, source)?;
    socket.connect_timeout(&SockAddr::from(address), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A non-blocking socket on its way.
///
/// # Errors
///
/// The kernel refused at once.
pub fn begin_connect(address: SocketAddr, source: &Source) -> io::Result<Socket> {
    let socket = client(address, source)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(address)) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_flows_come_from_the_same_place() {
        let source = Source::new(Some(Ipv4Addr::new(10, 73, 0, 255)));
        let all: Vec<SocketAddr> = (0..60_002).filter_map(|_| source.next()).collect();
        assert_eq!(all[0], "10.73.0.255:2000".parse().unwrap());
        assert_eq!(all[59_999], "10.73.0.255:61999".parse().unwrap());
        assert_eq!(all[60_001], "10.73.1.0:2001".parse().unwrap());
        assert_eq!(Source::default().next(), None);
    }
}
