//! Both families are judged alike.

use std::net::SocketAddr;

use sluice_tests::{
    family::Family,
    packet::{Icmp, Packet, Tcp, Udp, flag},
};

use crate::{
    bench::{Outcome, both},
    world::{LISTENER, PARTNER, member, origin, other},
};

/// Packets of every kind that has a like in the other family, in an order in which some begin
/// flows that others belong to; `true`: from a client.
fn packets(family: Family) -> Vec<(bool, Packet)> {
    let mut packets = Vec::new();
    for port in [
        1, 22, 53, 80, 123, 443, 853, 1023, 1024, 5000, 8443, 65535, LISTENER,
    ] {
        for client in [member(family), other(family)] {
            for remote in [origin(family, port), family.origin_at(PARTNER, port)] {
                for flags in [flag::SYN, flag::SYN | flag::ACK, flag::ACK, flag::RST, 0] {
                    packets.push((true, Tcp::new(client, remote, flags).packet()));
                    packets.push((false, Tcp::new(remote, client, flags).packet()));
                }
                packets.push((true, Udp::new(client, remote, &[0x40; 90]).packet()));
                packets.push((false, Udp::new(remote, client, &[0x40; 90]).packet()));
                let parts = Udp::new(client, remote, &[9; 300])
                    .packet()
                    .fragments(&[160]);
                packets.extend(parts.into_iter().map(|part| (true, part)));
            }
            let gateway = SocketAddr::new(family.gateway_lan(), port);
            packets.push((true, Tcp::syn(client, gateway).packet()));
            packets.push((false, Tcp::syn(gateway, client).packet()));
            let called = SocketAddr::new(client.ip(), port);
            packets.push((false, Tcp::syn(origin(family, 700), called).packet()));
            packets.push((
                false,
                Udp::new(origin(family, 700), called, b"call").packet(),
            ));
        }
    }
    let (client, remote) = (family.member(), family.origin(5));
    packets.push((true, Icmp::echo_request(client, remote, 1, 1).packet()));
    packets.push((false, Icmp::echo_reply(remote, client, 1, 1).packet()));
    packets.push((false, Icmp::echo_request(remote, client, 1, 1).packet()));
    packets.push((true, Icmp::echo_reply(client, remote, 2, 1).packet()));
    let known = Udp::new(member(family), origin(family, 123), &[0x40; 90]).packet();
    let unknown = Udp::new(member(family), origin(family, 124), &[0x40; 90]).packet();
    for quoted in [known, unknown] {
        packets.push((
            false,
            Icmp::port_unreachable(family.origin(9), client, &quoted).packet(),
        ));
        packets.push((
            true,
            Icmp::port_unreachable(client, family.origin(9), &quoted).packet(),
        ));
    }
    for number in [4, 33, 41, 47, 50, 59, 132, 136, 253] {
        packets.push((true, Packet::raw(client, remote, number, &[3; 40])));
        packets.push((
            true,
            Packet::raw(client, family.origin(PARTNER), number, &[3; 40]),
        ));
        packets.push((false, Packet::raw(remote, client, number, &[3; 40])));
    }
    packets
}

both! {
    fn a17_every_packet_gets_the_verdict_of_its_like_in_the_other_family(bench) {
        let [v4, v6] = Family::ALL.map(|family| -> Vec<Outcome> {
            let judge = |(out, packet): &(bool, Packet)| {
                if *out { bench.out(packet) } else { bench.back(packet) }
            };
            packets(family).iter().map(judge).collect()
        });
        assert_eq!(v4.len(), v6.len());
        let pairs = packets(Family::V4).into_iter().zip(v4.into_iter().zip(v6));
        for ((_, packet), (v4, v6)) in pairs {
            assert_eq!(v4, v6, "{packet:?}");
        }
    }
}
