//! ICMP and ICMPv6: echo within its rate, and errors.

use std::{net::IpAddr, time::Duration};

use sluice_abi::Reason;
use sluice_tests::{
    family::Family,
    packet::{Icmp, Packet, Tcp, Udp, protocol},
};

use crate::{
    bench::{both, discard, pass},
    world::{member, origin},
};

/// Types of error messages: RFC 792, RFC 4443 section 2.1.
fn errors(family: Family) -> &'static [u8] {
    match family {
        Family::V4 => &[3, 11, 12],
        Family::V6 => &[1, 2, 3, 4],
    }
}

/// An error about a packet, with this type.
fn error(kind: u8, from: IpAddr, to: IpAddr, quoted: &Packet) -> Packet {
    let mut datagram = quoted.datagram();
    datagram.truncate(120);
    Icmp::new(from, to, kind, 0, [0; 4])
        .payload(&datagram)
        .packet()
}

both! {
    fn an_echo_passes_and_its_answer_comes_back(bench) {
        for family in Family::ALL {
            let (client, remote) = (family.member(), family.origin(5));
            let request = |id| Icmp::echo_request(client, remote, id, 1).packet();
            let reply = |id| Icmp::echo_reply(remote, client, id, 1).packet();
            bench.expect_back("unasked", &reply(7), discard(Reason::InboundOther));
            bench.expect_out("request", &request(7), pass(Reason::Icmp));
            bench.expect_back("reply", &reply(7), pass(Reason::Flow));
            bench.expect_back("of another", &reply(8), discard(Reason::InboundOther));
            bench.expect_out("next", &request(7), pass(Reason::Flow));
            let call = Icmp::echo_request(remote, client, 9, 1).packet();
            bench.expect_back("request from outside", &call, discard(Reason::InboundOther));
            let unasked = Icmp::echo_reply(client, remote, 9, 1).packet();
            bench.expect_out("reply to nobody", &unasked, discard(Reason::IcmpType));
            bench.later(Duration::from_secs(61));
            bench.expect_back("too late", &reply(7), discard(Reason::InboundOther));
        }
    }

    fn echo_is_limited_whether_it_uses_one_identifier_or_many(bench) {
        for family in Family::ALL {
            let (client, remote) = (family.member(), family.origin(5));
            for many in [false, true] {
                let mut passed = 0;
                for number in 0..500 {
                    let id = if many { number } else { 1 };
                    let packet = Icmp::echo_request(client, remote, id, number).packet();
                    match bench.out(&packet) {
                        (sluice_abi::Verdict::Pass, _) => passed += 1,
                        outcome => assert_eq!(outcome, discard(Reason::IcmpRate)),
                    }
                }
                assert_eq!(passed, 50, "the burst, at one moment");
                let request = Icmp::echo_request(family.other(), remote, 1, 1).packet();
                assert!(matches!(bench.out(&request).0, sluice_abi::Verdict::Pass), "another client");
                let request = || Icmp::echo_request(client, remote, 1, 1).packet();
                bench.later(Duration::from_millis(10));
                assert!(matches!(bench.out(&request()).0, sluice_abi::Verdict::Pass), "100 a second");
                bench.expect_out("not more", &request(), discard(Reason::IcmpRate));
                bench.later(Duration::from_secs(2));
            }
        }
    }

    fn an_echo_between_two_lans_is_answered(bench) {
        for family in Family::ALL {
            let (near, far) = (family.on_lan(0, 0x10), family.on_lan(1, 0x20));
            let request = Icmp::echo_request(near, far, 3, 1).packet();
            let reply = Icmp::echo_reply(far, near, 3, 1).packet();
            bench.expect_out("request", &request, pass(Reason::Icmp));
            bench.expect_back("request", &request, pass(Reason::Flow));
            bench.expect_out("reply", &reply, pass(Reason::Flow));
            bench.expect_back("reply", &reply, pass(Reason::Flow));
        }
    }

    fn errors_come_in_for_known_flows_alone(bench) {
        for family in Family::ALL {
            let (client, router) = (family.member(), family.origin(9));
            let known = Udp::new(member(family), origin(family, 123), b"time").packet();
            let unknown = Udp::new(member(family), origin(family, 124), b"time").packet();
            bench.expect_out("question", &known, pass(Reason::Listed));
            let syn = Tcp::syn(member(family), origin(family, 22)).packet();
            bench.expect_out("SYN", &syn, pass(Reason::Listed));
            let ping = Icmp::echo_request(client, family.origin(5), 77, 1).packet();
            bench.expect_out("ping", &ping, pass(Reason::Icmp));
            for &kind in errors(family) {
                for quoted in [&known, &syn, &ping] {
                    let packet = error(kind, router, client, quoted);
                    bench.expect_back("known", &packet, pass(Reason::Icmp));
                }
                let packet = error(kind, router, client, &unknown);
                bench.expect_back("unknown", &packet, discard(Reason::InboundOther));
                let empty = Icmp::new(router, client, kind, 0, [0; 4]).packet();
                bench.expect_back("quotes nothing", &empty, discard(Reason::InboundOther));
                let short = Icmp::new(router, client, kind, 0, [0; 4])
                    .payload(&known.datagram()[..20])
                    .packet();
                bench.expect_back("quotes too little", &short, discard(Reason::InboundOther));
            }
            bench.later(Duration::from_secs(31));
            let packet = error(errors(family)[0], router, client, &known);
            bench.expect_back("of a flow long gone", &packet, discard(Reason::InboundOther));
        }
    }

    fn errors_go_out_within_the_rate(bench) {
        for family in Family::ALL {
            let (client, remote) = (family.member(), family.origin(5));
            let quoted = Udp::new(origin(family, 123), member(family), b"x").packet();
            for &kind in errors(family) {
                bench.expect_out("error", &error(kind, client, remote, &quoted), pass(Reason::Icmp));
            }
            let packet = error(errors(family)[0], client, remote, &quoted);
            for _ in 0..100 {
                let _spent = bench.out(&packet);
            }
            bench.expect_out("flood", &packet, discard(Reason::IcmpRate));
            bench.later(Duration::from_secs(1));
        }
    }

    fn other_types_stay_on_their_link(bench) {
        for family in Family::ALL {
            // Redirect, timestamp, address mask; neighbour and router discovery, node information.
            let kinds: &[u8] = match family {
                Family::V4 => &[5, 9, 10, 13, 14, 15, 17, 40, 42, 255],
                Family::V6 => &[0, 100, 130, 133, 134, 135, 136, 137, 139, 160, 255],
            };
            for &kind in kinds {
                let (client, remote) = (family.member(), family.origin(5));
                let packet = Icmp::new(client, remote, kind, 0, [0; 4]).payload(&[0; 40]).packet();
                bench.expect_out("out", &packet, discard(Reason::IcmpType));
                let packet = Icmp::new(remote, client, kind, 0, [0; 4]).payload(&[0; 40]).packet();
                bench.expect_back("in", &packet, discard(Reason::InboundOther));
            }
        }
        let everyone: IpAddr = "ff02::1".parse().unwrap();
        let discovery = Icmp::new(Family::V6.member(), everyone, 135, 0, [0; 4]).payload(&[0; 20]);
        bench.expect_out("neighbour discovery", &discovery.packet(), pass(Reason::Unforwarded));
        for family in Family::ALL {
            let number = if family == Family::V4 { protocol::ICMP } else { protocol::ICMPV6 };
            let short = Packet::raw(family.member(), family.origin(5), number, &[8, 0, 0, 0]);
            bench.expect_out("half a header", &short, discard(Reason::PacketTruncated));
        }
    }

    fn a_large_echo_passes_in_fragments(bench) {
        for family in Family::ALL {
            let (client, remote) = (family.member(), family.origin(5));
            let request = Icmp::echo_request(client, remote, 3, 1).payload(&[0x61; 2000]).packet();
            let parts = request.fragments(&[1000]);
            bench.expect_out("later", &parts[1], discard(Reason::FragmentUnknown));
            bench.expect_out("first", &parts[0], pass(Reason::Icmp));
            bench.expect_out("later", &parts[1], pass(Reason::Fragment));
        }
    }
}
