//! Fragments of both families, and IPv6 extension headers.

use std::time::Duration;

use sluice_abi::Reason;
use sluice_tests::{
    family::Family,
    packet::{Extension, Packet, Tcp, Udp, flag},
};

use crate::{
    bench::{STEER, both, discard, pass, reject},
    world::{member, origin, other},
};

/// A datagram large enough to be cut.
fn datagram(family: Family, port: u16) -> Packet {
    Udp::new(member(family), origin(family, port), &[0x5a; 1600]).packet()
}

/// Bytes that would be the ports of an open service if somebody took them for a header.
fn disguised(family: Family, port: u16) -> Packet {
    let ntp: Vec<u8> = [0x9c, 0x40, 0x00, 0x7b]
        .into_iter()
        .cycle()
        .take(1600)
        .collect();
    Udp::new(member(family), origin(family, port), &ntp).packet()
}

/// A chain of headers that changes nothing.
fn every_kind() -> [Extension; 5] {
    [
        Extension::hop_by_hop(1),
        Extension::destination(2),
        Extension::routing(0, 0),
        Extension::authentication(3),
        Extension::mobility(),
    ]
}

both! {
    fn a1_a_later_fragment_follows_the_verdict_of_its_first_and_not_its_payload(bench) {
        for family in Family::ALL {
            let parts = disguised(family, 5000).fragments(&[800]);
            bench.expect_out("before its first", &parts[1], discard(Reason::FragmentUnknown));
            bench.expect_out("blocked first", &parts[0], reject(Reason::NativeUdp));
            bench.expect_out("behind a blocked first", &parts[1], discard(Reason::FragmentUnknown));

            let parts = datagram(family, 123).identification(2).fragments(&[800, 1200]);
            bench.expect_out("passed first", &parts[0], pass(Reason::Listed));
            bench.expect_out("behind a passed first", &parts[1], pass(Reason::Fragment));
            bench.expect_out("the last", &parts[2], pass(Reason::Fragment));
            let stranger = datagram(family, 123).identification(3).fragments(&[800]);
            bench.expect_out("another datagram's", &stranger[1], discard(Reason::FragmentUnknown));
        }
    }

    fn a1_a_first_fragment_is_forgotten_after_half_a_minute_and_with_its_generation(bench) {
        for family in Family::ALL {
            let parts = datagram(family, 123).fragments(&[800]);
            bench.expect_out("first", &parts[0], pass(Reason::Listed));
            bench.later(Duration::from_secs(29));
            bench.expect_out("in time", &parts[1], pass(Reason::Fragment));
            bench.later(Duration::from_secs(2));
            bench.expect_out("too late", &parts[1], discard(Reason::FragmentUnknown));
            bench.later(Duration::from_secs(60));
            bench.expect_out("first again", &parts[0], pass(Reason::Listed));
            bench.publish(|world| world.egress.pass_udp.clear());
            bench.expect_out("other policy", &parts[1], discard(Reason::FragmentUnknown));
            bench.publish(|world| *world = crate::world::World::default());
        }
    }

    fn a1_fragments_from_outside_follow_the_same_way(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 123));
            let answer = Udp::new(remote, client, &[7; 1600]).packet().fragments(&[800]);
            bench.expect_back("unasked", &answer[0], discard(Reason::InboundUdp));
            bench.expect_back("unasked", &answer[1], discard(Reason::FragmentUnknown));
            bench.expect_out("question", &datagram(family, 123), pass(Reason::Listed));
            let answer =
                Udp::new(remote, client, &[7; 1600]).packet().identification(9).fragments(&[800]);
            bench.expect_back("before its first", &answer[1], discard(Reason::FragmentUnknown));
            bench.expect_back("first", &answer[0], pass(Reason::Flow));
            bench.expect_back("later", &answer[1], pass(Reason::Fragment));
        }
    }

    fn a2_tiny_and_overlapping_fragments_are_dropped(bench) {
        for family in Family::ALL {
            let syn = Tcp::syn(member(family), origin(family, 22)).packet();
            for cut in [8, 16] {
                let parts = syn.fragments(&[cut]);
                bench.expect_out("without the whole header", &parts[0], discard(Reason::FragmentShort));
                bench.expect_out("with its rest", &parts[1], discard(Reason::FragmentOverlap));
            }
            let udp = datagram(family, 123).fragments(&[8]);
            bench.expect_out("UDP header alone", &udp[0], pass(Reason::Listed));
            bench.expect_out("right behind it", &udp[1], discard(Reason::FragmentOverlap));
            let over = Packet::raw(family.member(), family.origin(5), 17, &[0; 64]).fragment(16, false);
            bench.expect_out("over the header", &over, discard(Reason::FragmentOverlap));
        }
    }

    fn a2_a_second_first_fragment_poisons_the_datagram(bench) {
        for family in Family::ALL {
            let good = datagram(family, 123).fragments(&[800]);
            let bad = datagram(family, 5000).fragments(&[800]);
            bench.expect_out("good first", &good[0], pass(Reason::Listed));
            bench.expect_out("its duplicate", &good[0], pass(Reason::Flow));
            bench.expect_out("later", &good[1], pass(Reason::Fragment));
            bench.expect_out("blocked first", &bad[0], reject(Reason::NativeUdp));
            bench.expect_out("later", &good[1], discard(Reason::FragmentUnknown));
            bench.expect_out("good first once more", &good[0], pass(Reason::Flow));
            bench.expect_out("not forgiven", &good[1], discard(Reason::FragmentUnknown));
            bench.later(Duration::from_secs(31));
        }
    }

    fn a2_fragments_out_of_order_pass_only_behind_their_first(bench) {
        for family in Family::ALL {
            let parts = datagram(family, 123).fragments(&[400, 800, 1200]);
            bench.expect_out("last", &parts[3], discard(Reason::FragmentUnknown));
            bench.expect_out("second", &parts[1], discard(Reason::FragmentUnknown));
            bench.expect_out("first", &parts[0], pass(Reason::Listed));
            bench.expect_out("third", &parts[2], pass(Reason::Fragment));
            bench.expect_out("last", &parts[3], pass(Reason::Fragment));
            bench.expect_out("second, twice", &parts[1], pass(Reason::Fragment));
        }
    }

    fn a2_a_fragment_towards_a_steered_port_is_dropped(bench) {
        for family in Family::ALL {
            let hello = Tcp::syn(member(family), origin(family, 443)).payload(&[0x16; 400]).packet();
            let parts = hello.fragments(&[64]);
            bench.expect_out("first", &parts[0], discard(Reason::FragmentSteered));
            bench.expect_out("later", &parts[1], discard(Reason::FragmentUnknown));
            let data = Tcp::ack(member(family), origin(family, 443)).payload(&[0x16; 400]).packet();
            let parts = data.identification(77).fragments(&[64]);
            bench.expect_out("of data", &parts[0], discard(Reason::FragmentSteered));
        }
    }

    fn a3_an_atomic_fragment_is_judged_like_the_whole_packet(bench) {
        for family in Family::ALL {
            let atomic = |packet: Packet| packet.fragment(0, false);
            let tcp = |port| Tcp::syn(member(family), origin(family, port)).packet();
            bench.expect_out("steered", &atomic(tcp(443)), STEER);
            bench.expect_out("blocked", &atomic(tcp(5000)), reject(Reason::NativeTcp));
            bench.expect_out("open", &atomic(tcp(22)), pass(Reason::Listed));
            bench.expect_out("the same flow, whole", &tcp(22), pass(Reason::Flow));
            bench.expect_out("open", &atomic(datagram(family, 123)), pass(Reason::Listed));
            // It did not make a later fragment of the same number known.
            let later = datagram(family, 123).fragments(&[800]);
            bench.expect_out("later", &later[1], discard(Reason::FragmentUnknown));
        }
        let twice = Tcp::syn(member(Family::V6), origin(Family::V6, 22))
            .packet()
            .fragment(0, true)
            .fragment(0, false);
        bench.expect_out("a fragment of a fragment", &twice, discard(Reason::ExtensionChain));
    }

    fn a4_extension_headers_do_not_change_the_verdict(bench) {
        for (port, expected) in [(443, STEER), (5000, reject(Reason::NativeTcp))] {
            let syn = || Tcp::syn(member(Family::V6), origin(Family::V6, port)).packet();
            for extension in every_kind() {
                bench.expect_out("one", &syn().extension(extension), expected);
            }
            let chain = every_kind().into_iter().fold(syn(), Packet::extension);
            bench.expect_out("one of each", &chain, expected);
            let twice = syn().extension(Extension::destination(1)).extension(Extension::destination(31));
            bench.expect_out("one kind twice", &twice, expected);
            let eight = (0..8).fold(syn(), |packet, _| packet.extension(Extension::destination(1)));
            bench.expect_out("as many as are walked", &eight, expected);
            let nine = eight.extension(Extension::destination(1));
            bench.expect_out("one more", &nine, discard(Reason::ExtensionChain));
        }
        let (client, remote) = (member(Family::V6), origin(Family::V6, 123));
        let question = Udp::new(client, remote, b"time").packet();
        let answer = Udp::new(remote, client, b"it is").packet();
        bench.expect_out("open", &every_kind().into_iter().fold(question, Packet::extension), pass(Reason::Listed));
        bench.expect_back("answer", &every_kind().into_iter().fold(answer, Packet::extension), pass(Reason::Flow));
        // What IPv6 walks is a protocol of its own in IPv4.
        for number in [0, 43, 44, 51, 60, 135] {
            let packet = Packet::raw(Family::V4.member(), Family::V4.origin(5), number, &[6, 0, 0, 0, 0, 0, 0, 0]);
            bench.expect_out("IPv4", &packet, reject(Reason::Protocol));
        }
    }

    fn a4_a_chain_that_cannot_be_walked_is_dropped(bench) {
        let syn = || Tcp::syn(member(Family::V6), origin(Family::V6, 22)).packet();
        let cases = [
            ("hop-by-hop not in front",
                syn().extension(Extension::destination(1)).extension(Extension::hop_by_hop(1)),
                Reason::ExtensionChain),
            ("hop-by-hop twice",
                syn().extension(Extension::hop_by_hop(1)).extension(Extension::hop_by_hop(1)),
                Reason::ExtensionChain),
            ("longer than the packet",
                syn().extension(Extension::destination(1).length(200)),
                Reason::PacketTruncated),
            ("AH longer than the packet",
                syn().extension(Extension::authentication(3).length(255)),
                Reason::PacketTruncated),
            ("a chain that ends in a header",
                Packet::raw(Family::V6.member(), Family::V6.origin(5), 60, &[]),
                Reason::PacketTruncated),
            ("segments left", syn().extension(Extension::routing(0, 1)), Reason::SourceRoute),
            ("segment routing", syn().extension(Extension::routing(4, 1)), Reason::SourceRoute),
        ];
        for (what, packet, reason) in cases {
            bench.expect_out(what, &packet, discard(reason));
            bench.expect_back(what, &packet, discard(reason));
        }
        // Its length is in units of four bytes: read as eight, the rest would be another header.
        let ah = syn().extension(Extension::authentication(1));
        bench.expect_out("AH of 16 bytes", &ah, pass(Reason::Listed));
        let lies = syn().extension(Extension::authentication(2).length(3).length(2));
        bench.expect_out("AH that is cut short", &lies, discard(Reason::BadHeader));
        // "No next header" and ESP end the chain.
        let none = Packet::raw(Family::V6.member(), Family::V6.origin(5), 59, &[0; 8]);
        bench.expect_out("nothing inside", &none, reject(Reason::Protocol));
    }

    fn a5_a_first_fragment_holds_the_whole_chain(bench) {
        let chain = |packet: Packet| packet.extension(Extension::destination(2));
        let syn = chain(Tcp::syn(member(Family::V6), origin(Family::V6, 22)).packet());
        for cut in [8, 16, 24, 32] {
            let parts = syn.fragments(&[cut]);
            bench.expect_out("first", &parts[0], discard(Reason::FragmentShort));
        }
        let udp = chain(datagram(Family::V6, 123));
        let parts = udp.fragments(&[16]);
        bench.expect_out("chain alone", &parts[0], discard(Reason::FragmentShort));
        let parts = udp.fragments(&[48]);
        bench.expect_out("chain and header", &parts[0], pass(Reason::Listed));
        bench.expect_out("the rest", &parts[1], pass(Reason::Fragment));
        // IPv4 has no chain: its like is the tiny fragment.
        let syn = Tcp::syn(member(Family::V4), origin(Family::V4, 22)).packet();
        bench.expect_out("first", &syn.fragments(&[8])[0], discard(Reason::FragmentShort));
    }

    fn a_fragment_of_a_known_flow_still_needs_its_first(bench) {
        for family in Family::ALL {
            let (client, remote) = (other(family), origin(family, 22));
            bench.expect_out("SYN", &Tcp::syn(client, remote).packet(), pass(Reason::Listed));
            bench.expect_back("SYN-ACK", &Tcp::syn_ack(remote, client).packet(), pass(Reason::Flow));
            let data = Tcp::new(client, remote, flag::ACK | flag::PSH).payload(&[1; 800]).packet();
            let parts = data.identification(4).fragments(&[400]);
            bench.expect_out("later", &parts[1], discard(Reason::FragmentUnknown));
            bench.expect_out("first", &parts[0], pass(Reason::Flow));
            bench.expect_out("later", &parts[1], pass(Reason::Fragment));
        }
    }
}
