//! Transport protocols, QUIC, and ports that are not what they seem.

use sluice_abi::Reason;
use sluice_policy::{kernel::EgressAction, port::PortRange};
use sluice_tests::{
    family::Family,
    packet::{Packet, Tcp, Udp, protocol},
};

use crate::{
    bench::{STEER, both, discard, pass, reject},
    world::{PARTNER, World, member, origin, other},
};

/// Datagram Congestion Control Protocol, IP within IP of its own kind, L2TP, IGMP.
const DCCP: u8 = 33;
const L2TP: u8 = 115;
const IGMP: u8 = 2;

const TUNNELS: [u8; 8] = [
    protocol::IPIP,
    protocol::IPV6,
    protocol::GRE,
    protocol::ESP,
    protocol::SCTP,
    protocol::UDPLITE,
    DCCP,
    L2TP,
];

/// The first datagram of a QUIC connection: long header, this version, a connection ID of eight
/// bytes.
fn initial(version: u32) -> Vec<u8> {
    let kind = if version == 0x6b33_43cf { 0xd0 } else { 0xc0 };
    let mut bytes = vec![kind];
    bytes.extend(version.to_be_bytes());
    bytes.extend([8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x96]);
    bytes.resize(1200, 0x5a);
    bytes
}

fn udp(family: Family, port: u16, payload: &[u8]) -> Packet {
    Udp::new(member(family), origin(family, port), payload).packet()
}

both! {
    fn a8_other_transport_protocols_are_closed_unless_named(bench) {
        for family in Family::ALL {
            for number in (0..=255).filter(|&number| !known(family, number)) {
                let packet = Packet::raw(family.member(), family.origin(5), number, &[0x45; 40]);
                bench.expect_out("out", &packet, reject(Reason::Protocol));
                let packet = Packet::raw(family.origin(5), family.member(), number, &[0x45; 40]);
                bench.expect_back("in", &packet, discard(Reason::InboundOther));
            }
            assert!(TUNNELS.iter().all(|&number| !known(family, number)));
        }
    }

    fn a8_what_only_looks_like_a_control_protocol_is_closed_too(bench) {
        for family in Family::ALL {
            let foreign = if family == Family::V4 { protocol::ICMPV6 } else { protocol::ICMP };
            for number in [foreign, IGMP] {
                let packet = Packet::raw(family.member(), family.origin(5), number, &[8; 64]);
                bench.expect_out("out", &packet, discard(Reason::Protocol));
                let packet = Packet::raw(family.origin(5), family.member(), number, &[8; 64]);
                bench.expect_back("in", &packet, discard(Reason::InboundOther));
            }
        }
        let report = Packet::raw(
            Family::V4.member(),
            "224.0.0.22".parse().unwrap(),
            IGMP,
            &[0x22, 0, 0, 0, 0, 0, 0, 0],
        );
        bench.expect_out("a membership report", &report, pass(Reason::Unforwarded));
    }

    fn a8_a_protocol_that_a_rule_names_passes_both_ways_for_whom_it_names(bench) {
        for family in Family::ALL {
            for number in [protocol::ESP, protocol::SCTP] {
                let partner = family.origin(PARTNER);
                let (there, here) = (
                    Packet::raw(family.member(), partner, number, &[1; 40]),
                    Packet::raw(partner, family.member(), number, &[2; 40]),
                );
                bench.expect_back("unasked", &here, discard(Reason::InboundOther));
                bench.expect_out("the member", &there, pass(Reason::EgressRule));
                bench.expect_back("answer", &here, pass(Reason::Flow));
                let stranger = Packet::raw(family.other(), partner, number, &[1; 40]);
                bench.expect_out("another client", &stranger, reject(Reason::Protocol));
                let elsewhere = Packet::raw(family.member(), family.origin(5), number, &[1; 40]);
                bench.expect_out("another origin", &elsewhere, reject(Reason::Protocol));
            }
            let ike = Udp::new(member(family), family.origin_at(PARTNER, 4500), b"ike").packet();
            bench.expect_out("a port in the closed range", &ike, pass(Reason::EgressRule));
            let ike = Udp::new(other(family), family.origin_at(PARTNER, 4500), b"ike").packet();
            bench.expect_out("of another client", &ike, reject(Reason::NativeUdp));
        }
    }

    fn a8_tunnels_over_udp_are_native_udp(bench) {
        for family in Family::ALL {
            // Teredo, IPsec, VXLAN, OpenVPN, GENEVE, WireGuard.
            for port in [3544, 4500, 4789, 1194, 6081, 51820] {
                bench.expect_out("out", &udp(family, port, &[1; 148]), reject(Reason::NativeUdp));
                let call = Udp::new(origin(family, port), member(family), &[1; 148]).packet();
                bench.expect_back("in", &call, discard(Reason::InboundUdp));
            }
            let l2tp = Udp::new(member(family), origin(family, 1701), b"l2tp").packet();
            bench.expect_out("L2TP", &l2tp, reject(Reason::NativeUdp));
        }
    }

    fn a9_quic_and_dns_over_tls_are_refused_so_that_clients_fall_back(bench) {
        for family in Family::ALL {
            for version in [1, 0x6b33_43cf, 0x0a1a_2a3a, 0xfafa_fafa] {
                bench.expect_out("QUIC", &udp(family, 443, &initial(version)), reject(Reason::Quic));
            }
            bench.expect_out("DNS over QUIC", &udp(family, 853, &initial(1)), reject(Reason::EgressDefault));
            bench.expect_out("HTTP/3 elsewhere", &udp(family, 8443, &initial(1)), reject(Reason::NativeUdp));
            let dot = Tcp::syn(member(family), origin(family, 853)).packet();
            bench.expect_out("DNS over TLS", &dot, reject(Reason::EgressDefault));
            let dns = udp(family, 53, b"query");
            bench.expect_out("DNS to the outside", &dns, reject(Reason::EgressDefault));
        }
    }

    fn a9_a_datagram_that_is_not_quic_is_native_udp_whatever_quic_may(bench) {
        let good = initial(1);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let not_quic = [
            ("nothing", vec![]),
            ("short header", with(0, 0x40)),
            ("fixed bit clear", with(0, 0x80)),
            ("handshake packet", with(0, 0xe0)),
            ("version negotiation", with(4, 0)),
            ("draft 29", [&[0xc0, 0xff, 0, 0, 29][..], &good[5..]].concat()),
            ("connection ID of seven bytes", with(5, 7)),
            ("connection ID of 21 bytes", with(5, 21)),
            ("one byte short", good[..1199].to_vec()),
            ("Skype", vec![0x5f; 40]),
        ];
        for quic in [EgressAction::Reject, EgressAction::Drop, EgressAction::Pass] {
            bench.publish(|world| world.egress.quic = quic);
            for family in Family::ALL {
                for (what, payload) in &not_quic {
                    bench.expect_out(what, &udp(family, 443, payload), reject(Reason::NotQuic));
                }
                assert_eq!(bench.out(&udp(family, 443, &good)), (quic.verdict(), Reason::Quic));
            }
        }
        for family in Family::ALL {
            bench.expect_out("next of its flow", &udp(family, 443, &[0x40; 60]), pass(Reason::Flow));
            let answer = Udp::new(origin(family, 443), member(family), &[0x40; 60]).packet();
            bench.expect_back("answer", &answer, pass(Reason::Flow));
        }
        bench.publish(|world| world.egress.default = EgressAction::Drop);
        for family in Family::ALL {
            let skype = Udp::new(other(family), origin(family, 443), &[0x5f; 40]).packet();
            bench.expect_out("silent where the default is", &skype, discard(Reason::NotQuic));
        }
    }

    fn a13_ports_decide_here_and_what_is_said_on_them_later(bench) {
        let hello = [0x16, 3, 1, 0, 0xff, 1, 0, 0, 0xfb, 3, 3];
        for family in Family::ALL {
            let syn = |port| Tcp::syn(member(family), origin(family, port)).payload(&hello).packet();
            for port in [8443, 9001, 5223] {
                bench.expect_out("TLS on a closed port", &syn(port), reject(Reason::NativeTcp));
            }
            for port in [465, 993, 853] {
                bench.expect_out("TLS on a port nobody named", &syn(port), reject(Reason::EgressDefault));
            }
            let ssh = Tcp::syn(member(family), origin(family, 443)).payload(b"SSH-2.0-x\r\n").packet();
            bench.expect_out("SSH on 443 is the daemon's", &ssh, STEER);
        }
        bench.publish(|world| world.steer.tls.push(PortRange::single(8443)));
        for family in Family::ALL {
            let syn = Tcp::syn(member(family), origin(family, 8443)).packet();
            bench.expect_out("a second steered port", &syn, STEER);
        }
        bench.publish(|world| *world = World::default());
    }
}

/// The protocols that have tests of their own, and for IPv6 its extension headers.
fn known(family: Family, number: u8) -> bool {
    let everywhere = matches!(number, 1 | 2 | 6 | 17 | 58);
    everywhere || family == Family::V6 && matches!(number, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}
