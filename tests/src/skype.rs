//! A client that behaves as captures of Skype show it: its own ports first, then whatever port of
//! the web lets it out.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    dial::{self, Outcome},
    hello,
    netns::Netns,
};

/// One thing that the client tries.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What it is, for people.
    pub what: &'static str,
    /// Where to.
    pub to: SocketAddr,
    /// How.
    pub kind: Kind,
}

/// How an attempt is made.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Connect, and send these bytes if any.
    Tcp(Vec<u8>),
    /// Send one datagram.
    Udp(Vec<u8>),
}

impl Attempt {
    /// Makes the attempt from an address of a namespace.
    #[must_use]
    pub fn make(&self, netns: &Netns, from: IpAddr, timeout: Duration) -> (Outcome, Duration) {
        match &self.kind {
            Kind::Tcp(bytes) => dial::say(netns, from, self.to, bytes, timeout),
            Kind::Udp(bytes) => dial::ask(netns, from, self.to, bytes, timeout),
        }
    }
}

/// The attempts at the client's own ports, in the order in which it makes them.
#[must_use]
pub fn native(peer: IpAddr) -> Vec<Attempt> {
    vec![
        Attempt {
            what: "TCP to a peer's high port",
            to: SocketAddr::new(peer, 40_017),
            kind: Kind::Tcp(Vec::new()),
        },
        Attempt {
            what: "UDP to a peer's high port",
            to: SocketAddr::new(peer, 33_033),
            kind: Kind::Udp(native_datagram()),
        },
        Attempt {
            what: "UDP 443 that is not QUIC",
            to: SocketAddr::new(peer, 443),
            kind: Kind::Udp(native_datagram()),
        },
    ]
}

/// The attempts at TCP 443, once nothing else has worked.
#[must_use]
pub fn fallback(peer: IpAddr) -> Vec<Attempt> {
    let to = SocketAddr::new(peer, 443);
    let tcp = |what, bytes| Attempt {
        what,
        to,
        kind: Kind::Tcp(bytes),
    };
    vec![
        tcp("SSLv2-format hello on TCP 443", hello::sslv2()),
        tcp(
            "zero-length records on TCP 443",
            hello::zero_length_records(3),
        ),
        tcp(
            "hello without SNI on TCP 443",
            hello::genuine(&peer.to_string(), &[]),
        ),
    ]
}

/// A datagram of the client's own protocol: no QUIC, nor anything else that is known.
#[must_use]
pub fn native_datagram() -> Vec<u8> {
    vec![
        0x1f, 0x60, 0x02, 0x9a, 0x41, 0x7c, 0x3e, 0x08, 0xb1, 0x55, 0xe0, 0x13, 0x77, 0x2d, 0x90,
        0x66, 0xcb, 0x04, 0xfa, 0x39, 0x8e, 0x51, 0xaf,
    ]
}
