//! Listeners that take connections addressed to anybody.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// How a listener is made.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Accept connections to addresses that the machine does not have (`IP_TRANSPARENT`). Needs
    /// CAP_NET_ADMIN.
    pub transparent: bool,
    /// Mark on every packet of the accepted connections. Needs CAP_NET_ADMIN; 0 sets none.
    pub mark: u32,
    /// Connections that may wait to be accepted.
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            transparent: true,
            mark: 0,
            backlog: 4096,
        }
    }
}

/// A listener that shares its address with those of the other workers.
///
/// What it sets is inherited by every accepted connection, which saves as many calls per flow:
/// no delay, urgent data in line (it would be lost to a relay otherwise) and the mark.
/// An IPv6 listener takes IPv6 only: an IPv4 client never appears under a mapped address.
///
/// # Errors
///
/// What the kernel says: `EPERM` without CAP_NET_ADMIN, `EADDRINUSE` where a listener that does not
/// share has the port.
pub fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<std::net::TcpListener> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if options.transparent {
        if address.is_ipv6() {
            socket.set_ip_transparent_v6(true)?;
        } else {
            socket.set_ip_transparent_v4(true)?;
        }
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    prepare(&SockRef::from(&socket), options.mark)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// A listener as [`bind`] makes it, for the tokio runtime that it is called in.
///
/// # Errors
///
/// Those of [`bind`]. Must be called inside a tokio runtime with IO enabled.
pub fn listen(address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    TcpListener::from_std(bind(address, options)?)
}

/// What both sockets of a flow have in common.
pub(crate) fn prepare(socket: &SockRef<'_>, mark: u32) -> io::Result<()> {
    if mark != 0 {
        socket.set_mark(mark)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)
}

/// Has the kernel ask after a quiet peer: one that vanished without a word is noticed within a few
/// minutes. Left to flows that last, because it takes four calls.
pub(crate) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(120))
        .with_interval(Duration::from_secs(20))
        .with_retries(6);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The address that the client of a transparently accepted connection dialled.
///
/// # Errors
///
/// `ENOTCONN` where the connection is gone already.
pub fn original_destination(accepted: &TcpStream) -> io::Result<SocketAddr> {
    let address = accepted.local_addr()?;
    Ok(match address.ip() {
        IpAddr::V6(v6) => SocketAddr::new(v6.to_canonical(), address.port()),
        IpAddr::V4(_) => address,
    })
}
