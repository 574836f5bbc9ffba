//! Fragments: the later ones are their first one's, in verdict and in flow.

use std::net::SocketAddr;

use sluice_tests::{
    family::Family,
    hello,
    packet::{Packet, Tcp, Udp},
};

use crate::{
    expect::{Line, SKYPE},
    story::{Cast, Story, at, data},
};

const NAME: &str = "news.example";

pub(crate) fn stories(cast: &Cast) -> Vec<Story> {
    let mut stories = udp(cast);
    stories.extend(tcp(cast));
    stories.extend(refused(cast));
    if cast.family == Family::V6 {
        stories.push(atomic(cast));
    }
    stories
}

/// A datagram of 900 bytes in three fragments.
fn datagram(client: SocketAddr, to: SocketAddr, id: u16) -> Vec<Packet> {
    Udp::new(client, to, &[5; 900])
        .packet()
        .identification(id)
        .fragments(&[256, 512])
}

fn udp(cast: &Cast) -> Vec<Story> {
    let unported = |client: SocketAddr, to: SocketAddr, packets| {
        Line::new("udp", client.ip(), to.ip(), packets).kernel("drop", "fragment-unknown")
    };
    vec![
        cast.tell(
            "a fragmented datagram that may pass",
            |story, client, origin| {
                let clock = at(origin, 123);
                story
                    .packets(datagram(client, clock, 1))
                    .expect(Line::new("udp", client, clock, 3).kernel("pass", "listed"))
            },
        ),
        cast.tell(
            "a fragmented datagram that may not",
            |story, client, origin| {
                let native = at(origin, 40_000);
                story
                    .packets(datagram(client, native, 2))
                    .expect(Line::new("udp", client, native, 3).kernel("reject", "native-udp"))
            },
        ),
        cast.tell("later fragments alone", |story, client, _| {
            let clock = cast.family.origin_at(220, 123);
            story
                .packets(datagram(client, clock, 3).split_off(1))
                .expect(unported(client, clock, 2))
        }),
        cast.tell(
            "a later fragment long after its first",
            |story, client, _| {
                let clock = cast.family.origin_at(221, 123);
                let [first, second, third] = datagram(client, clock, 4).try_into().unwrap();
                story
                    .packets([first, second])
                    .later(31_000)
                    .packet(third)
                    .expect(Line::new("udp", client, clock, 2).kernel("pass", "listed"))
                    .expect(unported(client, clock, 1))
            },
        ),
        cast.tell("fragments of an answer", |story, client, origin| {
            let clock = at(origin, 123);
            story
                .datagram(client, clock, &[0x23; 48])
                .packets(datagram(clock, client, 5))
                .expect(Line::new("udp", client, clock, 4).kernel("pass", "listed"))
        }),
    ]
}

fn tcp(cast: &Cast) -> Vec<Story> {
    let named = hello::genuine(NAME, &[]);
    let pieces = |client, to| {
        data(client, to, 1001, &named)
            .identification(77)
            .fragments(&[64, 128])
    };
    vec![
        cast.tell(
            "a hello in fragments, for a native port",
            |story, client, origin| {
                let native = at(origin, 40_000);
                story
                    .handshake(client, native)
                    .packets(pieces(client, native))
                    .expect(
                        Line::new("tcp", client, native, 6)
                            .kernel("reject", "native-tcp")
                            .hello(Some(NAME), &[]),
                    )
            },
        ),
        cast.tell(
            "nothing but fragments towards a steered port",
            |story, client, origin| {
                story.packets(pieces(client, origin)).expect(
                    Line::new("tcp", client, origin, 3)
                        .kernel("drop", "fragment-steered")
                        .hello(Some(NAME), &[]),
                )
            },
        ),
    ]
}

fn refused(cast: &Cast) -> Vec<Story> {
    vec![
        cast.tell(
            "a first fragment without the whole header",
            |story, client, origin| {
                story
                    .packets(
                        Tcp::syn(client, origin)
                            .packet()
                            .identification(78)
                            .fragments(&[8]),
                    )
                    .expect(Line::new("tcp", client, origin, 2).kernel("drop", "fragment-short"))
            },
        ),
        cast.tell("a later fragment that reaches back", |story, client, _| {
            let (client, origin) = (client.ip(), cast.family.origin(222));
            let packet = Packet::raw(client, origin, 6, &[0; 32]).identification(79);
            story
                .packet(packet.fragment(8, false))
                .expect(Line::new("tcp", client, origin, 1).kernel("drop", "fragment-overlap"))
        }),
    ]
}

/// RFC 6946: a Fragment header around a whole packet.
fn atomic(cast: &Cast) -> Story {
    cast.tell("atomic fragments are whole", |story, client, origin| {
        story
            .packet(Tcp::syn(client, origin).packet().fragment(0, false))
            .packet(data(client, origin, 1001, &hello::sslv2()).fragment(0, false))
            .expect(
                Line::new("tcp", client, origin, 2)
                    .steered(SKYPE)
                    .state("sslv2-hello"),
            )
    })
}
