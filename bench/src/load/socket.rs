//! Sockets as the load tools want them.

use std::{io, net::SocketAddr, time::Duration};

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
pub fn connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = tcp(address)?;
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
pub fn begin_connect(address: SocketAddr) -> io::Result<Socket> {
    let socket = tcp(address)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(address)) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();
