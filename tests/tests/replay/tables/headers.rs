//! Link and IP headers that hide the ports, and packets that no stack sends.

use sluice_tests::{
    family::Family,
    hello,
    packet::{Extension, Packet, TPID_CUSTOMER, TPID_SERVICE, Tcp, Udp, flag},
};

use crate::{
    expect::{Line, SKYPE},
    story::{Cast, Story, at, data},
};

pub(crate) fn stories(cast: &Cast) -> Vec<Story> {
    let mut stories = tags(cast);
    stories.extend(frames(cast));
    stories.extend(match cast.family {
        Family::V4 => options(cast),
        Family::V6 => extensions(cast),
    });
    stories.extend(broken(cast));
    stories
}

fn tags(cast: &Cast) -> Vec<Story> {
    let sslv2 = hello::sslv2();
    let tags: [(_, &[(u16, u16)]); 4] = [
        ("a VLAN", &[(TPID_CUSTOMER, 7)]),
        ("a priority tag", &[(TPID_CUSTOMER, 0xe000)]),
        (
            "a VLAN within a service VLAN",
            &[(TPID_SERVICE, 100), (TPID_CUSTOMER, 7)],
        ),
        ("old QinQ", &[(0x9100, 100), (TPID_CUSTOMER, 7)]),
    ];
    let tagged = |packet, tags: &[(u16, u16)]| {
        let add = |packet: Packet, tag: &(u16, u16)| packet.tag(tag.0, tag.1);
        tags.iter().fold(packet, add).frame()
    };
    let story = |(name, tags)| {
        cast.tell(name, |story, client, origin| {
            let native = at(origin, 40_000);
            story
                .frame(tagged(Tcp::syn(client, origin).packet(), tags))
                .frame(tagged(data(client, origin, 1001, &sslv2), tags))
                .frame(tagged(Udp::new(client, native, &[5; 30]).packet(), tags))
                .expect(
                    Line::new("tcp", client, origin, 2)
                        .steered(SKYPE)
                        .state("sslv2-hello"),
                )
                .expect(Line::new("udp", client, native, 1).kernel("reject", "native-udp"))
        })
    };
    tags.map(story).into()
}

fn frames(cast: &Cast) -> Vec<Story> {
    vec![
        cast.tell("three tags", |story, client, origin| {
            let packet = Tcp::syn(client, origin).packet().vlan(1).vlan(2).vlan(3);
            story
                .frame(packet.frame())
                .expect(Line::new("tcp", client, origin, 1).kernel("drop", "vlan-depth"))
        }),
        cast.tell("a jumbo frame on a VLAN", |story, client, origin| {
            let native = at(origin, 40_000);
            story
                .frame(data(client, native, 9000, &[1; 9000]).vlan(7).frame())
                .expect(Line::new("tcp", client, native, 1).kernel("reject", "native-tcp"))
        }),
        cast.tell(
            "a frame with far more than its packet",
            |story, client, origin| {
                let native = at(origin, 40_000);
                let mut padded = Tcp::syn(client, native).packet().frame();
                padded.resize(4000, 0xee);
                story.frame(padded).expect(
                    Line::new("tcp", client, native, 1)
                        .kernel("reject", "native-tcp")
                        .state("none"),
                )
            },
        ),
    ]
}

fn options(cast: &Cast) -> Vec<Story> {
    let alert = [0x94, 4, 0, 0];
    let route = [0x83, 7, 4, 10, 0, 0, 1];
    vec![
        cast.tell("router alert", |story, client, origin| {
            story
                .packet(Tcp::syn(client, origin).packet().options(&alert))
                .packet(data(client, origin, 1001, &hello::sslv2()).options(&alert))
                .expect(
                    Line::new("tcp", client, origin, 2)
                        .steered(SKYPE)
                        .state("sslv2-hello"),
                )
        }),
        cast.tell("a source route", |story, client, origin| {
            story
                .packet(Tcp::syn(client, origin).packet().options(&route))
                .expect(Line::new("tcp", client, origin, 1).kernel("drop", "source-route"))
        }),
        cast.tell("a header shorter than any", |story, client, origin| {
            story
                .packet(Tcp::syn(client, origin).packet().header_words(4))
                .expect(Line::new("tcp", client, origin, 1).kernel("drop", "bad-header"))
        }),
    ]
}

fn extensions(cast: &Cast) -> Vec<Story> {
    let wrapped = |packet: Packet| {
        packet
            .extension(Extension::hop_by_hop(1))
            .extension(Extension::routing(2, 0))
            .extension(Extension::authentication(3))
            .extension(Extension::destination(2))
    };
    vec![
        cast.tell("a chain of extension headers", |story, client, origin| {
            let native = at(origin, 40_000);
            story
                .packet(wrapped(Tcp::syn(client, origin).packet()))
                .packet(wrapped(data(client, origin, 1001, &hello::sslv2())))
                .packet(wrapped(Udp::new(client, native, &[5; 30]).packet()))
                .expect(
                    Line::new("tcp", client, origin, 2)
                        .steered(SKYPE)
                        .state("sslv2-hello"),
                )
                .expect(Line::new("udp", client, native, 1).kernel("reject", "native-udp"))
        }),
        cast.tell("a chain that is too long", |story, client, origin| {
            let syn = Tcp::syn(client, origin).packet();
            let long = (0..9).fold(syn, |packet, _| packet.extension(Extension::destination(1)));
            story
                .packet(long)
                .expect(Line::new("tcp", client, origin, 1).kernel("drop", "extension-chain"))
        }),
        cast.tell(
            "a routing header with a way to go",
            |story, client, origin| {
                story
                    .packet(
                        Tcp::syn(client, origin)
                            .packet()
                            .extension(Extension::routing(0, 1)),
                    )
                    .expect(Line::new("tcp", client, origin, 1).kernel("drop", "source-route"))
            },
        ),
    ]
}

fn broken(cast: &Cast) -> Vec<Story> {
    let xmas = flag::FIN | flag::SYN | flag::PSH | flag::URG;
    let too_much = if cast.family == Family::V4 { 220 } else { 200 };
    let dropped =
        |client, origin, reason| Line::new("tcp", client, origin, 1).kernel("drop", reason);
    vec![
        cast.tell("flags that no stack sends", |story, client, origin| {
            story
                .packet(Tcp::new(client, origin, xmas).packet())
                .expect(dropped(client, origin, "tcp-flags"))
        }),
        cast.tell("a decoy belongs to its flow", |story, client, origin| {
            story
                .packet(Tcp::new(client, origin, xmas).packet())
                .says(client, origin, &hello::sslv2())
                .expect(
                    Line::new("tcp", client, origin, 5)
                        .kernel("drop", "tcp-flags")
                        .state("sslv2-hello"),
                )
        }),
        cast.tell("a TCP header shorter than any", |story, client, origin| {
            story
                .packet(Tcp::syn(client, origin).data_offset(4).packet())
                .expect(dropped(client, origin, "bad-header"))
        }),
        cast.tell(
            "a packet that ends before its length",
            |story, client, origin| {
                story
                    .packet(Tcp::syn(client, origin).packet().length(too_much))
                    .expect(dropped(client, origin, "packet-truncated"))
            },
        ),
        cast.tell("nothing behind the IP header", |story, client, _| {
            let (client, origin) = (client.ip(), cast.family.origin(223));
            story
                .packet(Packet::raw(client, origin, 6, &[]))
                .expect(Line::new("tcp", client, origin, 1).kernel("drop", "packet-truncated"))
        }),
    ]
}
