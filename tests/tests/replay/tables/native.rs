//! What the kernel closes or opens by port and protocol.

use sluice_tests::{
    family::Family,
    hello,
    packet::{Icmp, Packet, Tcp, protocol},
    skype,
};

use crate::{
    expect::{BLOCK, Line, SKYPE},
    story::{Cast, Story, at},
};

pub(crate) fn stories(cast: &Cast) -> Vec<Story> {
    let mut stories = vec![fallback(cast)];
    stories.extend(udp(cast));
    stories.extend(icmp(cast));
    stories.extend(protocols(cast));
    stories
}

/// The client's own ports first, then what lets it out.
fn fallback(cast: &Cast) -> Story {
    let noise = skype::native_datagram();
    let steered = cast.origin(443);
    let [native, high] = [40_017, 33_033].map(|port| cast.origin(port));
    let [first, second, third, fourth, fifth] = [(); 5].map(|()| cast.client());
    let bare = hello::genuine(&steered.ip().to_string(), &[]);
    cast.story("as Skype does")
        .packet(Tcp::syn(first, native).packet())
        .datagram(second, high, &noise)
        .datagram(second, steered, &noise)
        .says(third, native, &noise)
        .says(third, steered, &hello::sslv2())
        .says(fourth, steered, &hello::zero_length_records(3))
        .says(fifth, steered, &bare)
        .expect(
            Line::new("tcp", first, native, 1)
                .kernel("reject", "native-tcp")
                .state("none"),
        )
        .expect(Line::new("udp", second, high, 1).kernel("reject", "native-udp"))
        .expect(Line::new("udp", second, steered, 1).kernel("reject", "not-quic"))
        .expect(
            Line::new("tcp", third, native, 4)
                .kernel("reject", "native-tcp")
                .state("not-tls"),
        )
        .expect(
            Line::new("tcp", third, steered, 4)
                .steered(SKYPE)
                .state("sslv2-hello"),
        )
        .expect(
            Line::new("tcp", fourth, steered, 4)
                .steered(SKYPE)
                .state("zero-length-record"),
        )
        .expect(
            Line::new("tcp", fifth, steered, 4)
                .steered(BLOCK)
                .hello(None, &[]),
        )
}

fn udp(cast: &Cast) -> Vec<Story> {
    let mut small = hello::quic_initial();
    small.truncate(1199);
    let mut short_header = hello::quic_initial();
    short_header[0] = 0x43;
    let mut handshake = hello::quic_initial();
    handshake[0] = 0xe3;
    let mut unknown = hello::quic_initial();
    unknown[1..5].copy_from_slice(&0xff00_0020u32.to_be_bytes());
    let mut greased = hello::quic_initial();
    greased[1..5].copy_from_slice(&0x1a2a_3a4au32.to_be_bytes());
    let mut second = hello::quic_initial();
    second[0] = 0xd3;
    second[1..5].copy_from_slice(&0x6b33_43cfu32.to_be_bytes());
    let mut stories: Vec<_> = [
        ("a QUIC Initial", hello::quic_initial(), "quic"),
        ("an Initial of version 2", second, "quic"),
        ("a version that only greases", greased, "quic"),
        ("a draft's version", unknown, "not-quic"),
        ("an Initial that is too small", small, "not-quic"),
        (
            "a QUIC packet that begins nothing",
            short_header,
            "not-quic",
        ),
        ("a QUIC Handshake first", handshake, "not-quic"),
        ("nothing at all on UDP 443", Vec::new(), "not-quic"),
    ]
    .into_iter()
    .map(|(name, bytes, reason)| {
        cast.tell(name, |story, client, origin| {
            story
                .datagram(client, origin, &bytes)
                .expect(Line::new("udp", client, origin, 1).kernel("reject", reason))
        })
    })
    .collect();
    stories.push(cast.tell("NTP and its answer", |story, client, origin| {
        let clock = at(origin, 123);
        story
            .datagram(client, clock, &[0x23; 48])
            .later(20_000)
            .datagram(clock, client, &[0x24; 48])
            .expect(Line::new("udp", client, clock, 2).kernel("pass", "listed"))
    }));
    stories.push(cast.tell("DNS past the gateway", |story, client, origin| {
        let resolver = at(origin, 53);
        story
            .datagram(client, resolver, &[0; 30])
            .datagram(client, resolver, &[0; 30])
            .expect(Line::new("udp", client, resolver, 2).kernel("reject", "egress-default"))
    }));
    stories
}

fn icmp(cast: &Cast) -> Vec<Story> {
    let family = cast.family;
    let proto = if family == Family::V4 {
        "icmp"
    } else {
        "icmpv6"
    };
    let client = family.other();
    let [pinged, pinging, other] = [201, 202, 203].map(|number| family.origin(number));
    let mut many = cast.story("more echoes at once than the rate allows");
    for number in 0..200 {
        let to = family.origin(number);
        many = many
            .packet(Icmp::echo_request(client, to, 1, 1).packet())
            .expect(Line::new(proto, client, to, 1).kernel("pass", "icmp"));
    }
    // A timestamp request; a node information query.
    let kind = if family == Family::V4 { 13 } else { 139 };
    vec![
        cast.story("echo and reply")
            .packet(Icmp::echo_request(client, pinged, 7, 1).packet())
            .packet(Icmp::echo_reply(pinged, client, 7, 1).packet())
            .packet(Icmp::echo_request(client, pinged, 7, 2).packet())
            .expect(Line::new(proto, client, pinged, 3).kernel("pass", "icmp")),
        cast.story("echo from outside")
            .packet(Icmp::echo_request(pinging, client, 8, 1).packet())
            .expect(
                Line::new(proto, pinging, client, 1)
                    .remote()
                    .kernel("drop", "inbound-other"),
            ),
        cast.story("ICMP that is neither echo nor error")
            .packet(Icmp::new(client, other, kind, 0, [0; 4]).packet())
            .expect(Line::new(proto, client, other, 1).kernel("drop", "icmp-type")),
        many,
    ]
}

fn protocols(cast: &Cast) -> Vec<Story> {
    let (client, origin) = (cast.client(), cast.origin(443));
    let ports = [client.port().to_be_bytes(), origin.port().to_be_bytes()].concat();
    let header = [ports, vec![0; 24]].concat();
    let packet = |number| Packet::raw(client.ip(), origin.ip(), number, &header);
    let mut stories = Vec::new();
    for (name, number) in [
        ("ipip", protocol::IPIP),
        ("6in4", protocol::IPV6),
        ("gre", protocol::GRE),
        ("esp", protocol::ESP),
    ] {
        stories.push(
            cast.story(name)
                .packets([packet(number), packet(number)])
                .expect(Line::new(name, client.ip(), origin.ip(), 2).kernel("reject", "protocol")),
        );
    }
    for (name, number) in [("sctp", protocol::SCTP), ("udplite", protocol::UDPLITE)] {
        stories.push(
            cast.story(name)
                .packet(packet(number))
                .expect(Line::new(name, client, origin, 1).kernel("reject", "protocol")),
        );
    }
    stories
}
