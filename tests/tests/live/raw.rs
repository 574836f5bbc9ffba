//! A client whose segments are made by hand, in any order and as often as wanted.

use std::{
    io::Read,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use sluice_tests::{
    lab::Lab,
    packet::{Packet, Tcp, flag},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::{PATIENCE, said};

/// The number of the client's first byte.
const FIRST: u32 = 1001;

/// Sends a packet that no socket of the client's would, from its namespace.
pub(crate) fn send(lab: &Lab, to: SocketAddr, packet: &Packet) {
    put(&sender(lab, to), to, packet);
}

fn sender(lab: &Lab, to: SocketAddr) -> Socket {
    // IPPROTO_RAW: what is written begins with the IP header.
    let raw = || Socket::new(Domain::for_address(to), Type::RAW, Some(255.into()));
    lab.client().run(raw).unwrap()
}

fn put(socket: &Socket, to: SocketAddr, packet: &Packet) {
    let to = SocketAddr::new(to.ip(), 0);
    socket.send_to(&packet.datagram(), &to.into()).unwrap();
}

/// A connection that stands.
pub(crate) struct RawClient {
    socket: Socket,
    from: SocketAddr,
    to: SocketAddr,
    /// The number of the server's first byte.
    theirs: u32,
}

impl RawClient {
    pub(crate) fn connect(lab: &Lab, from: SocketAddr, to: SocketAddr) -> Self {
        // The client's own kernel knows nothing of the connection and would reset it.
        for rules in [
            "add table inet raw",
            "add chain inet raw output { type filter hook output priority 0; }",
            "add rule inet raw output tcp flags rst drop",
        ] {
            let output = lab.client().output(Command::new("nft").arg(rules));
            assert!(output.status.success(), "{}", said(&output));
        }
        let mut listening = lab
            .client()
            .run(|| Socket::new(Domain::for_address(to), Type::RAW, Some(Protocol::TCP)))
            .unwrap();
        let glance = Duration::from_millis(100);
        listening.set_read_timeout(Some(glance)).unwrap();
        let socket = sender(lab, to);
        put(&socket, to, &Tcp::syn(from, to).seq(FIRST - 1).packet());
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = [0; 2048];
        let theirs = loop {
            assert!(Instant::now() < deadline, "{to} does not answer");
            let Ok(length) = listening.read(&mut bytes) else {
                continue;
            };
            // IPv4 sockets of this kind see the IP header, IPv6 ones do not.
            let skip = if to.is_ipv4() {
                usize::from(bytes[0] & 15) * 4
            } else {
                0
            };
            let segment = &bytes[skip..length];
            let ports = [to.port().to_be_bytes(), from.port().to_be_bytes()].concat();
            if segment.starts_with(&ports) && segment[13] == flag::SYN | flag::ACK {
                break u32::from_be_bytes(segment[4..8].try_into().unwrap()) + 1;
            }
        };
        let client = Self {
            socket,
            from,
            to,
            theirs,
        };
        client.say_at(0, b"");
        client
    }

    /// Sends a segment that begins so many bytes behind the stream's beginning.
    pub(crate) fn say_at(&self, offset: usize, bytes: &[u8]) {
        let at = FIRST + u32::try_from(offset).unwrap();
        let segment = Tcp::ack(self.from, self.to)
            .seq(at)
            .ack_number(self.theirs)
            .payload(bytes);
        put(&self.socket, self.to, &segment.packet());
    }
}
