//! Who stands where: inbound, within the LAN, the gateway itself.

use std::net::{IpAddr, SocketAddr};

use sluice_tests::{
    family::Family,
    hello,
    packet::{Icmp, Packet, Tcp, arp_request},
    skype,
};

use crate::{
    expect::Line,
    story::{Cast, Story, at, data},
};

pub(crate) fn stories(cast: &Cast) -> Vec<Story> {
    let mut stories = inbound(cast);
    stories.extend(within(cast));
    stories.extend(gateway(cast));
    if cast.family == Family::V4 {
        stories.extend(only_v4(cast));
    }
    stories
}

fn inbound(cast: &Cast) -> Vec<Story> {
    let family = cast.family;
    let named = hello::genuine("news.example", &[]);
    vec![
        cast.tell(
            "UDP to the client's listening port",
            |story, client, origin| {
                let peer = at(origin, 33_033);
                story
                    .datagram(peer, client, &skype::native_datagram())
                    .datagram(peer, client, &skype::native_datagram())
                    .expect(
                        Line::new("udp", peer, client, 2)
                            .remote()
                            .kernel("drop", "inbound-udp"),
                    )
            },
        ),
        cast.tell("TCP from outside", |story, client, origin| {
            let peer = at(origin, 33_033);
            story
                .packet(Tcp::syn(peer, client).packet())
                .packet(Tcp::syn_ack(client, peer).ack_number(1001).packet())
                .packet(data(peer, client, 1001, b"hello there"))
                .expect(
                    Line::new("tcp", peer, client, 3)
                        .remote()
                        .kernel("drop", "inbound-tcp")
                        .state("not-tls"),
                )
        }),
        cast.tell(
            "an answer to a SYN that was not captured",
            |story, client, origin| {
                story
                    .packet(
                        Tcp::syn_ack(origin, client)
                            .seq(5000)
                            .ack_number(1001)
                            .packet(),
                    )
                    .packet(data(client, origin, 1001, &named))
                    .expect(
                        Line::new("tcp", origin, client, 2)
                            .remote()
                            .kernel("drop", "midstream")
                            .hello(Some("news.example"), &[]),
                    )
            },
        ),
        cast.tell("an error about nothing known", |story, client, _| {
            let peer = family.origin(210);
            let quoted = Tcp::syn(client, SocketAddr::new(peer, 443)).packet();
            let proto = if family == Family::V4 {
                "icmp"
            } else {
                "icmpv6"
            };
            story
                .packet(Icmp::port_unreachable(peer, client.ip(), &quoted).packet())
                .expect(
                    Line::new(proto, peer, client.ip(), 1)
                        .remote()
                        .kernel("drop", "inbound-other"),
                )
        }),
        cast.tell("an error about a flow", |story, client, _| {
            let peer = family.origin(211);
            let clock = SocketAddr::new(peer, 123);
            let sent = sluice_tests::packet::Udp::new(client, clock, &[0x23; 48]).packet();
            let proto = if family == Family::V4 {
                "icmp"
            } else {
                "icmpv6"
            };
            story
                .packet(sent.clone())
                .packet(Icmp::port_unreachable(peer, client.ip(), &sent).packet())
                .expect(Line::new("udp", client, clock, 1).kernel("pass", "listed"))
                .expect(
                    Line::new(proto, peer, client.ip(), 1)
                        .remote()
                        .kernel("pass", "icmp"),
                )
        }),
    ]
}

fn within(cast: &Cast) -> Vec<Story> {
    let printer = SocketAddr::new(cast.family.on_lan(1, 0x20), 443);
    let named = hello::genuine("printer.example", &[]);
    vec![
        cast.tell("from LAN to LAN", |story, client, _| {
            story
                .says(client, printer, &named)
                .datagram(client, printer, &skype::native_datagram())
                .expect(Line::new("tcp", client, printer, 4).hello(Some("printer.example"), &[]))
                .expect(Line::new("udp", client, printer, 1))
        }),
        cast.tell("between two outsiders", |story, _, origin| {
            let outsider = cast.family.origin_at(1, 40_000);
            story
                .packet(Tcp::syn(outsider, origin).packet())
                .expect(Line::new("tcp", outsider, origin, 1).remote().state("none"))
        }),
    ]
}

fn gateway(cast: &Cast) -> Vec<Story> {
    let family = cast.family;
    let (lan, wan) = (family.gateway_lan(), family.gateway_wan());
    let [dns, logs] = [53, 5000].map(|port| SocketAddr::new(lan, port));
    let multicast: IpAddr = match family {
        Family::V4 => [239, 255, 255, 250].into(),
        Family::V6 => [0xff02, 0, 0, 0, 0, 0, 0, 0xfb].into(),
    };
    let multicast = SocketAddr::new(multicast, 5353);
    vec![
        cast.tell("to and from the gateway", |story, client, _| {
            story
                .datagram(client, dns, &[0; 30])
                .datagram(dns, client, &[0; 90])
                .datagram(logs, client, b"from the gateway")
                .expect(Line::new("udp", client, dns, 2).kernel("pass", "to-gateway"))
                .expect(
                    Line::new("udp", logs, client, 1)
                        .remote()
                        .kernel("pass", "from-gateway"),
                )
        }),
        cast.tell("the gateway's own traffic", |story, _, origin| {
            let (own, resolver) = (SocketAddr::new(wan, 40_000), at(origin, 53));
            story
                .datagram(own, resolver, &[0; 30])
                .datagram(resolver, own, &[0; 90])
                .expect(Line::new("udp", own, resolver, 2).remote())
        }),
        cast.tell("multicast", |story, client, _| {
            story
                .datagram(client, multicast, &[0; 30])
                .expect(Line::new("udp", client, multicast, 1).kernel("pass", "unforwarded"))
        }),
    ]
}

fn only_v4(cast: &Cast) -> Vec<Story> {
    let (client, gateway) = (cast.client(), cast.family.gateway_lan());
    let (IpAddr::V4(sender), IpAddr::V4(target)) = (client.ip(), gateway) else {
        panic!("{client} and {gateway} are not of IPv4");
    };
    let dns = SocketAddr::new(gateway, 53);
    let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
    let group = IpAddr::from([224, 0, 0, 251]);
    let report = [0x16, 0, 0, 0, 224, 0, 0, 251];
    vec![
        cast.story("ARP is no flow")
            .frame(arp_request(sender, target))
            .datagram(client, dns, &[0; 30])
            .expect(Line::new("udp", client, dns, 1).kernel("pass", "to-gateway")),
        cast.story("a cloud's metadata service")
            .packet(Tcp::syn(client, metadata).packet())
            .expect(
                Line::new("tcp", client, metadata, 1)
                    .kernel("drop", "bad-destination")
                    .state("none"),
            ),
        cast.story("membership")
            .packet(Packet::raw(client.ip(), group, 2, &report))
            .expect(Line::new("igmp", client.ip(), group, 1).kernel("pass", "unforwarded")),
    ]
}
