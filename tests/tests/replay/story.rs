//! Captures as stories: who sends what when, and what is to be said of each flow.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
};

use sluice_tests::{
    family::Family,
    packet::{Packet, Tcp, Udp, flag},
    pcap::{Capture, Format, Link},
};

use crate::expect::Line;

/// When the first story begins, in microseconds since the epoch.
const START: u64 = 1_772_400_000_000_000;
/// How far apart stories are: beyond every silence of an unanswered flow.
const APART: u64 = 400_000_000;

/// A packet of a story.
#[derive(Clone, Debug)]
enum Bytes {
    Ip(Box<Packet>),
    Frame(Vec<u8>),
}

/// Who plays in the stories of one family: every story has a client port of its own, so that no
/// flow of one is taken for a flow of another.
pub(crate) struct Cast {
    pub(crate) family: Family,
    port: Cell<u16>,
}

impl Cast {
    pub(crate) fn new(family: Family) -> Self {
        Self {
            family,
            port: Cell::new(20_000),
        }
    }

    /// A client that is in no group, at a port that nobody else has.
    pub(crate) fn client(&self) -> SocketAddr {
        self.port.set(self.port.get() + 1);
        SocketAddr::new(self.family.other(), self.port.get())
    }

    /// A client of the group "Allow Skype".
    pub(crate) fn member(&self) -> SocketAddr {
        let addr: IpAddr = match self.family {
            Family::V4 => [10, 20, 4, 7].into(),
            Family::V6 => [0xfd00, 0x20, 4, 0, 0, 0, 0, 7].into(),
        };
        SocketAddr::new(addr, self.client().port())
    }

    /// The origin of most stories, at a port.
    pub(crate) fn origin(&self, port: u16) -> SocketAddr {
        self.family.origin_at(5, port)
    }

    /// Begins a story that names its people itself.
    pub(crate) fn story(&self, name: &'static str) -> Story {
        Story {
            name,
            family: self.family,
            now: 0,
            packets: Vec::new(),
            lines: Vec::new(),
            tagged: false,
        }
    }

    /// A story of a client and of an origin's steered port.
    pub(crate) fn tell(
        &self,
        name: &'static str,
        plot: impl FnOnce(Story, SocketAddr, SocketAddr) -> Story,
    ) -> Story {
        plot(self.story(name), self.client(), self.origin(443))
    }
}

/// The same host at another port.
pub(crate) fn at(host: SocketAddr, port: u16) -> SocketAddr {
    SocketAddr::new(host.ip(), port)
}

/// Packets, and the lines that are to come of them.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    name: &'static str,
    family: Family,
    now: u64,
    packets: Vec<(u64, Bytes)>,
    lines: Vec<Line>,
    tagged: bool,
}

impl Story {
    /// The next packet comes so much later.
    pub(crate) fn later(mut self, millis: u64) -> Self {
        self.now += millis * 1000;
        self
    }

    /// An IP packet.
    pub(crate) fn packet(mut self, packet: Packet) -> Self {
        self.packets.push((self.now, Bytes::Ip(Box::new(packet))));
        self.now += 1000;
        self
    }

    /// A frame that has no meaning without its Ethernet header.
    pub(crate) fn frame(mut self, frame: Vec<u8>) -> Self {
        self.packets.push((self.now, Bytes::Frame(frame)));
        self.now += 1000;
        self.tagged = true;
        self
    }

    pub(crate) fn packets(self, packets: impl IntoIterator<Item = Packet>) -> Self {
        packets.into_iter().fold(self, Self::packet)
    }

    /// SYN of sequence number 1000, its answer, and the client's acknowledgement.
    pub(crate) fn handshake(self, client: SocketAddr, origin: SocketAddr) -> Self {
        self.packet(Tcp::syn(client, origin).packet())
            .packet(
                Tcp::syn_ack(origin, client)
                    .seq(5000)
                    .ack_number(1001)
                    .packet(),
            )
            .packet(Tcp::ack(client, origin).seq(1001).ack_number(5001).packet())
    }

    /// A handshake, then what the client says first in segments of at most 1400 bytes; four packets
    /// where that is enough.
    pub(crate) fn says(self, client: SocketAddr, origin: SocketAddr, bytes: &[u8]) -> Self {
        let mut at = 0;
        let segments: Vec<_> = bytes
            .chunks(1400)
            .map(|part| {
                let segment = data(client, origin, 1001 + at, part);
                at += u32::try_from(part.len()).unwrap();
                segment
            })
            .collect();
        self.handshake(client, origin).packets(segments)
    }

    /// A datagram.
    pub(crate) fn datagram(self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Self {
        self.packet(Udp::new(from, to, bytes).packet())
    }

    /// A line that is to come of this; lines stand in the order of their flows' first packets.
    pub(crate) fn expect(mut self, line: Line) -> Self {
        self.lines.push(line);
        self
    }

    /// The lines with the story's name.
    fn lines(&self) -> impl Iterator<Item = (String, Line)> {
        self.lines
            .iter()
            .map(|line| (format!("{} {:?}", self.name, self.family), line.clone()))
    }
}

/// A segment with data, and an acknowledgement as every segment of a connection has.
pub(crate) fn data(from: SocketAddr, to: SocketAddr, seq: u32, bytes: &[u8]) -> Packet {
    Tcp::new(from, to, flag::ACK | flag::PSH)
        .seq(seq)
        .ack_number(5001)
        .payload(bytes)
        .packet()
}

/// Writes stories one after another into a capture, those left out that the link cannot carry, and
/// returns the lines that are to come of it.
pub(crate) fn tell(
    stories: &[Story],
    format: Format,
    link: Link,
) -> (Capture, Vec<(String, Line)>) {
    let mut capture = Capture::new(format, link);
    let mut lines = Vec::new();
    let mut start = START;
    for story in stories
        .iter()
        .filter(|story| link == Link::Ethernet || !story.tagged)
    {
        for (time, packet) in &story.packets {
            let bytes = match packet {
                Bytes::Ip(packet) if link == Link::Ip => packet.datagram(),
                Bytes::Ip(packet) => packet.frame(),
                Bytes::Frame(frame) => frame.clone(),
            };
            capture.push(start + time, &bytes);
        }
        lines.extend(story.lines());
        start += APART;
    }
    (capture, lines)
}
