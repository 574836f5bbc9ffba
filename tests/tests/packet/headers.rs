//! IP, link and transport headers, good and bad.

use sluice_abi::{Hook, Reason};
use sluice_programs::Link;
use sluice_tests::{
    family::Family,
    packet::{Packet, TPID_CUSTOMER, TPID_SERVICE, Tcp, Udp, arp_request},
};

use crate::{
    bench::{STEER, both, discard, pass, reject},
    world::{World, member, origin},
};

fn syn(family: Family, port: u16) -> Packet {
    Tcp::syn(member(family), origin(family, port)).packet()
}

both! {
    fn a6_options_do_not_change_the_verdict(bench) {
        let router_alert: &[u8] = &[148, 4, 0, 0];
        let timestamps: &[u8] = &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let record_route: &[u8] = &[7, 39, 4];
        for (port, expected) in [(443, STEER), (5000, reject(Reason::NativeTcp))] {
            for family in Family::ALL {
                bench.expect_out("none", &syn(family, port), expected);
            }
            for words in 1..=10 {
                let packet = syn(Family::V4, port).options(&vec![1; words * 4]);
                bench.expect_out("padding", &packet, expected);
                let packet = syn(Family::V4, port).options(&vec![0; words * 4]);
                bench.expect_out("end of list", &packet, expected);
            }
            for options in [router_alert, timestamps] {
                bench.expect_out("known", &syn(Family::V4, port).options(options), expected);
            }
            let mut full = record_route.to_vec();
            full.resize(40, 0);
            bench.expect_out("record route", &syn(Family::V4, port).options(&full), expected);
        }
    }

    fn a6_source_routes_and_broken_options_are_dropped(bench) {
        let cases: [(&[u8], Reason); 6] = [
            (&[131, 7, 4, 203, 0, 113, 9, 0], Reason::SourceRoute),
            (&[137, 7, 4, 203, 0, 113, 9, 0], Reason::SourceRoute),
            (&[1, 1, 1, 131, 7, 4, 203, 0, 113, 9, 0, 0], Reason::SourceRoute),
            (&[7, 0, 0, 0], Reason::BadHeader),
            (&[7, 1, 0, 0], Reason::BadHeader),
            (&[7, 9, 4, 0], Reason::BadHeader),
        ];
        for (options, reason) in cases {
            let packet = syn(Family::V4, 22).options(options);
            bench.expect_out("out", &packet, discard(reason));
            bench.expect_back("in", &packet, discard(reason));
        }
        // The kind in the last byte has no room for its size.
        let packet = syn(Family::V4, 22).options(&[1, 1, 1, 7]);
        bench.expect_out("cut", &packet, discard(Reason::BadHeader));
    }

    fn a6_lengths_that_contradict_each_other_are_dropped(bench) {
        for words in 0..5 {
            let packet = syn(Family::V4, 22).header_words(words);
            bench.expect_out("short IPv4 header", &packet, discard(Reason::BadHeader));
        }
        for length in [1, 10, 19] {
            let packet = syn(Family::V4, 22).length(length);
            bench.expect_out("length below the header", &packet, discard(Reason::PacketTruncated));
        }
        for family in Family::ALL {
            let cases = [
                ("length 0", syn(family, 22).length(0), Reason::PacketTruncated),
                ("longer than the frame", syn(family, 22).length(1400), Reason::PacketTruncated),
                ("version 5", syn(family, 22).version(5), Reason::BadHeader),
                ("version 15", syn(family, 22).version(15), Reason::BadHeader),
            ];
            for (what, packet, reason) in cases {
                bench.expect_out(what, &packet, discard(reason));
                bench.expect_back(what, &packet, discard(reason));
            }
            let shorter = if family == Family::V4 { 20 + 19 } else { 19 };
            let packet = syn(family, 22).length(shorter);
            bench.expect_out("TCP header outside", &packet, discard(Reason::PacketTruncated));
            for words in 0..5 {
                let tcp = Tcp::syn(member(family), origin(family, 22)).data_offset(words).packet();
                bench.expect_out("short TCP header", &tcp, discard(Reason::BadHeader));
            }
            let tcp = Tcp::syn(member(family), origin(family, 22)).data_offset(15).packet();
            bench.expect_out("TCP options outside", &tcp, discard(Reason::PacketTruncated));
            for length in 0..8 {
                let udp = Udp::new(member(family), origin(family, 123), b"x").length(length).packet();
                bench.expect_out("short UDP", &udp, discard(Reason::BadHeader));
            }
            let udp = Packet::raw(family.member(), family.origin(5), 17, &[0; 7]);
            bench.expect_out("no room for UDP", &udp, discard(Reason::PacketTruncated));
        }
    }

    fn a6_a_decoy_in_the_link_padding_is_not_read(bench) {
        for family in Family::ALL {
            // The IP packet ends within the TCP header; what completes it is padding.
            let length = if family == Family::V4 { 32 } else { 12 };
            let packet = syn(family, 22).length(length);
            bench.expect_out("padding as header", &packet, discard(Reason::PacketTruncated));
            let mut frame = syn(family, 22).frame();
            frame.resize(frame.len() + 200, 0xff);
            let outcome = bench.judge(Hook::LanIngress, &frame);
            assert_eq!(outcome, pass(Reason::Listed), "padding behind the packet");
        }
    }

    fn a7_vlan_tags_do_not_change_the_verdict(bench) {
        for family in Family::ALL {
            for (port, expected) in [(443, STEER), (5000, reject(Reason::NativeTcp))] {
                let cases = [
                    ("802.1Q", syn(family, port).vlan(7)),
                    ("802.1ad", syn(family, port).tag(TPID_SERVICE, 9)),
                    ("QinQ", syn(family, port).tag(TPID_SERVICE, 9).vlan(7)),
                    ("802.1Q twice", syn(family, port).vlan(9).vlan(7)),
                    ("old QinQ", syn(family, port).tag(0x9100, 9).vlan(7)),
                    ("priority tag", syn(family, port).tag(TPID_CUSTOMER, 0xe000)),
                    ("802.1ad priority tag", syn(family, port).tag(TPID_SERVICE, 0xe000)),
                ];
                for (what, packet) in cases {
                    bench.expect_out(what, &packet, expected);
                }
            }
            let triple = syn(family, 22).vlan(1).vlan(2).vlan(3);
            bench.expect_out("three tags", &triple, discard(Reason::VlanDepth));
            bench.expect_back("three tags", &triple, discard(Reason::VlanDepth));
            // A flow is one flow, whatever the tag that its packets bear.
            let (client, remote) = (member(family), origin(family, 22));
            bench.expect_out("SYN", &syn(family, 22).vlan(7), pass(Reason::Listed));
            let answer = Tcp::syn_ack(remote, client).packet();
            bench.expect_back("SYN-ACK", &answer.vlan(7), pass(Reason::Flow));
        }
    }

    fn a7_a_tag_may_hide_anything_but_ip_only_what_is_not_ip_passes(bench) {
        for family in Family::ALL {
            let lie = syn(family, 5000).ethertype(0x0806);
            bench.expect_out("called ARP", &lie, pass(Reason::NotIp));
            let other_family = if family == Family::V4 { 0x86dd } else { 0x0800 };
            let lie = syn(family, 5000).ethertype(other_family);
            bench.expect_out("called the other family", &lie, discard(Reason::BadHeader));
            bench.expect_out("in a tag", &lie.vlan(7), discard(Reason::BadHeader));
        }
        let arp = arp_request("10.77.0.10".parse().unwrap(), "10.77.0.1".parse().unwrap());
        for hook in Hook::ALL {
            assert_eq!(bench.judge(hook, &arp), pass(Reason::NotIp));
        }
    }

    fn l3_devices_carry_the_same_packets_without_a_link_header(bench) {
        let mut bench = bench.again(Link::Layer3, World::default());
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            bench.expect_out("steered", &syn(family, 443), STEER);
            bench.expect_out("blocked", &syn(family, 5000), reject(Reason::NativeTcp));
            bench.expect_out("open", &syn(family, 22), pass(Reason::Listed));
            bench.expect_back("answer", &Tcp::syn_ack(remote, client).packet(), pass(Reason::Flow));
            bench.expect_out("fragment", &syn(family, 22).fragments(&[8])[0], discard(Reason::FragmentShort));
            for version in [0, 5, 7, 15] {
                let packet = syn(family, 22).version(version);
                bench.expect_out("no IP", &packet, discard(Reason::BadHeader));
            }
        }
        bench.check_counters();
    }
}

/// Frames that the kernel's test run refuses: shorter than a header, or larger than it takes.
mod unrunnable {
    use super::*;
    use crate::bench::{Bench, Judges};

    #[test]
    fn a6_frames_that_end_inside_a_header_are_dropped() {
        let mut bench = Bench::new(Judges::Host);
        for family in Family::ALL {
            let header = if family == Family::V4 { 20 } else { 40 };
            for packet in [
                syn(family, 22),
                syn(family, 443),
                syn(family, 22).vlan(3).vlan(4),
            ] {
                let frame = packet.frame();
                for length in 0..frame.len() {
                    let outcome = bench.judge_unrunnable(Hook::LanIngress, &frame[..length]);
                    assert_eq!(outcome, discard(Reason::PacketTruncated), "{length} bytes");
                }
            }
            let mut bench = bench.again(Link::Layer3, World::default());
            for length in 0..header + 20 {
                let datagram = syn(family, 22).datagram();
                let outcome = bench.judge_unrunnable(Hook::LanEgress, &datagram[..length]);
                assert_eq!(outcome, discard(Reason::PacketTruncated), "{length} bytes");
            }
        }
    }

    #[test]
    fn a12_segments_that_gro_joined_get_the_verdict_of_one() {
        let mut bench = Bench::new(Judges::Host);
        for family in Family::ALL {
            for payload in [60_000, 65_000, 190_000] {
                for (port, expected) in [(443, STEER), (5000, reject(Reason::NativeTcp))] {
                    let bytes = vec![0x17; payload];
                    let segment = Tcp::ack(member(family), origin(family, port)).payload(&bytes);
                    // Beyond 64 KiB the kernel leaves no length in the header.
                    let packet = segment.packet();
                    let packet = if payload > 65_500 {
                        packet.length(0)
                    } else {
                        packet
                    };
                    let outcome = bench.judge_unrunnable(Hook::LanIngress, &packet.frame());
                    assert_eq!(outcome, expected, "{payload} bytes to port {port}");
                }
            }
        }
    }
}
