//! Where one flow ends and the next begins, and what comes in the middle of one.

use std::net::SocketAddr;

use sluice_tests::{
    family::Family,
    hello,
    packet::{Packet, Tcp, flag},
};

use crate::{
    expect::{Line, SKYPE, UNANSWERED},
    story::{Cast, Story, at, data},
};

const NAME: &str = "news.example";

pub(crate) fn stories(cast: &Cast) -> Vec<Story> {
    let mut stories = ended(cast);
    stories.extend(silent(cast));
    stories.extend(midstream(cast));
    stories.extend(large(cast));
    stories
}

fn fin(from: SocketAddr, to: SocketAddr) -> Packet {
    Tcp::new(from, to, flag::FIN | flag::ACK).seq(1073).packet()
}

fn refused(origin: SocketAddr, client: SocketAddr) -> Packet {
    Tcp::new(origin, client, flag::RST | flag::ACK)
        .seq(0)
        .ack_number(1001)
        .packet()
}

fn nothing(client: SocketAddr, origin: SocketAddr, packets: u64) -> Line {
    Line::new("tcp", client, origin, packets)
        .steered(SKYPE)
        .state("none")
}

/// Two connections between the same ports, one after the other.
fn ended(cast: &Cast) -> Vec<Story> {
    let sslv2 = hello::sslv2();
    let named = hello::genuine(NAME, &[]);
    let first = |client, origin, packets| {
        Line::new("tcp", client, origin, packets)
            .steered(SKYPE)
            .state("sslv2-hello")
    };
    let second = |client, origin| {
        Line::new("tcp", client, origin, 4)
            .steered(UNANSWERED)
            .hello(Some(NAME), &[])
    };
    vec![
        cast.tell(
            "a SYN after both sides finished",
            |story, client, origin| {
                story
                    .says(client, origin, &sslv2)
                    .packets([fin(client, origin), fin(origin, client)])
                    .packet(Tcp::ack(client, origin).seq(1074).packet())
                    .says(client, origin, &named)
                    .expect(first(client, origin, 7))
                    .expect(second(client, origin))
            },
        ),
        cast.tell("a SYN after one side finished", |story, client, origin| {
            story
                .says(client, origin, &sslv2)
                .packet(fin(origin, client))
                .says(client, origin, &named)
                .expect(first(client, origin, 5))
                .expect(second(client, origin))
        }),
        cast.tell("a SYN after a reset", |story, client, origin| {
            story
                .says(client, origin, &sslv2)
                .packet(Tcp::new(origin, client, flag::RST).seq(5001).packet())
                .says(client, origin, &named)
                .expect(first(client, origin, 5))
                .expect(second(client, origin))
        }),
        cast.tell(
            "what comes late belongs to the newest",
            |story, client, origin| {
                story
                    .packets([Tcp::syn(client, origin).packet(), refused(origin, client)])
                    .packets([Tcp::syn(client, origin).packet(), refused(origin, client)])
                    .packet(refused(origin, client))
                    .expect(nothing(client, origin, 2))
                    .expect(nothing(client, origin, 3))
            },
        ),
        cast.tell(
            "a SYN the other way after a reset",
            |story, client, origin| {
                story
                    .packets([Tcp::syn(client, origin).packet(), refused(origin, client)])
                    .packet(Tcp::syn(origin, client).packet())
                    .expect(nothing(client, origin, 2))
                    .expect(
                        Line::new("tcp", origin, client, 1)
                            .remote()
                            .kernel("drop", "inbound-tcp")
                            .state("none"),
                    )
            },
        ),
    ]
}

fn silent(cast: &Cast) -> Vec<Story> {
    vec![
        cast.tell("a SYN again and again", |story, client, origin| {
            story
                .packet(Tcp::syn(client, origin).packet())
                .later(1_000)
                .packet(Tcp::syn(client, origin).packet())
                .later(2_000)
                .packet(Tcp::syn(client, origin).packet())
                .expect(nothing(client, origin, 3))
        }),
        cast.tell(
            "a SYN long after one that nobody answered",
            |story, client, origin| {
                story
                    .packet(Tcp::syn(client, origin).packet())
                    .later(31_000)
                    .packet(Tcp::syn(client, origin).packet())
                    .expect(nothing(client, origin, 1))
                    .expect(nothing(client, origin, 1))
            },
        ),
        cast.tell(
            "a SYN while an answered flow is only quiet",
            |story, client, origin| {
                story
                    .handshake(client, origin)
                    .later(60_000)
                    .packet(Tcp::syn(client, origin).packet())
                    .expect(nothing(client, origin, 4))
            },
        ),
        cast.tell(
            "packets long after, without a SYN",
            |story, client, origin| {
                story
                    .handshake(client, origin)
                    .packet(Tcp::new(client, origin, flag::RST).seq(1001).packet())
                    .later(100_000)
                    .packet(Tcp::ack(client, origin).seq(1001).packet())
                    .expect(nothing(client, origin, 5))
            },
        ),
    ]
}

fn midstream(cast: &Cast) -> Vec<Story> {
    let bytes = [0x17, 3, 3, 0, 40];
    // The listener's kernel answers what begins nothing, so the daemon has nothing to decide.
    let unseen = |client, origin| Line::new("tcp", client, origin, 2).kernel("steer", "steered");
    vec![
        cast.tell(
            "data in the middle of a steered flow",
            |story, client, origin| {
                story
                    .packet(data(client, origin, 9000, &bytes))
                    .packet(data(origin, client, 5001, &bytes))
                    .expect(unseen(client, origin))
            },
        ),
        cast.tell("the end of a steered flow", |story, client, origin| {
            story
                .packets([fin(client, origin), fin(origin, client)])
                .expect(unseen(client, origin).state("none"))
        }),
        cast.tell(
            "data in the middle of a native flow",
            |story, client, origin| {
                let native = at(origin, 40_017);
                story
                    .packet(data(client, native, 9000, &bytes))
                    .expect(Line::new("tcp", client, native, 1).kernel("reject", "native-tcp"))
            },
        ),
        cast.tell(
            "an origin's data in the middle of a flow",
            |story, client, origin| {
                story
                    .packet(data(origin, client, 5001, &bytes))
                    .packet(data(client, origin, 9000, &bytes))
                    .expect(
                        Line::new("tcp", origin, client, 2)
                            .remote()
                            .kernel("drop", "midstream"),
                    )
            },
        ),
        cast.tell(
            "a SYN that comes late says who began",
            |story, client, origin| {
                story
                    .packet(Tcp::ack(origin, client).seq(5001).packet())
                    .packet(Tcp::syn(client, origin).packet())
                    .expect(
                        Line::new("tcp", client, origin, 2)
                            .kernel("drop", "midstream")
                            .state("none"),
                    )
            },
        ),
    ]
}

/// What segmentation offload puts together is longer than a test run takes.
fn large(cast: &Cast) -> Vec<Story> {
    // The length field counts the IPv4 header too.
    let most = if cast.family == Family::V4 {
        65_535 - 40
    } else {
        65_535 - 20
    };
    let mut early = hello::genuine(NAME, &[]);
    early.resize(most, 0xda);
    vec![
        // The origin sends a ClientHello back, which no version of TLS allows.
        cast.tell("a hello with 64 KiB behind it", |story, client, origin| {
            story
                .handshake(client, origin)
                .packet(data(client, origin, 1001, &early))
                .packet(data(origin, client, 5001, &early))
                .expect(
                    Line::new("tcp", client, origin, 5)
                        .steered(SKYPE)
                        .hello(Some(NAME), &[]),
                )
        }),
        cast.tell("64 KiB first", |story, client, origin| {
            let native = at(origin, 40_017);
            story
                .packet(data(client, native, 9000, &early[1000..]))
                .expect(Line::new("tcp", client, native, 1).kernel("reject", "native-tcp"))
        }),
        cast.tell("a datagram of 60 KB", |story, client, origin| {
            let native = at(origin, 40_017);
            story
                .datagram(client, native, &[0x55; 60_000])
                .expect(Line::new("udp", client, native, 1).kernel("reject", "native-udp"))
        }),
        cast.tell("an Initial with more behind it", |story, client, origin| {
            story
                .datagram(
                    client,
                    origin,
                    &[hello::quic_initial(), vec![0; 5000]].concat(),
                )
                .expect(Line::new("udp", client, origin, 1).kernel("reject", "quic"))
        }),
        cast.tell(
            "a large listed datagram and its answer",
            |story, client, origin| {
                let clock = at(origin, 123);
                story
                    .datagram(client, clock, &[1; 5000])
                    .datagram(clock, client, &[1; 5000])
                    .expect(Line::new("udp", client, clock, 2).kernel("pass", "listed"))
            },
        ),
    ]
}
