//! TCP segments that begin, continue, end or fake a connection.

use std::time::Duration;

use sluice_abi::Reason;
use sluice_tests::{
    family::Family,
    packet::{Tcp, flag},
};

use crate::{
    bench::{STEER, both, discard, pass, reject},
    world::{World, member, origin},
};

/// Segments that no connection begins with.
const STRAYS: [(&str, u8); 6] = [
    ("ACK", flag::ACK),
    ("data", flag::ACK | flag::PSH),
    ("SYN-ACK", flag::SYN | flag::ACK),
    ("FIN", flag::FIN | flag::ACK),
    ("RST", flag::RST),
    ("RST-ACK", flag::RST | flag::ACK),
];

/// Combinations that no stack sends.
const IMPOSSIBLE: [(&str, u8); 9] = [
    ("nothing", 0),
    ("FIN alone", flag::FIN),
    ("PSH alone", flag::PSH),
    ("Xmas", flag::FIN | flag::PSH | flag::URG),
    ("SYN and FIN", flag::SYN | flag::FIN),
    ("SYN and RST", flag::SYN | flag::RST),
    ("FIN and RST", flag::FIN | flag::RST | flag::ACK),
    ("SYN, FIN and ACK", flag::SYN | flag::FIN | flag::ACK),
    ("everything", 0x3f),
];

both! {
    fn a10_a_segment_of_no_known_flow_is_not_forwarded(bench) {
        for family in Family::ALL {
            for (what, flags) in STRAYS {
                let (client, remote) = (member(family), origin(family, 22));
                let packet = Tcp::new(client, remote, flags).payload(b"stray").packet();
                bench.expect_out(what, &packet, discard(Reason::Midstream));
                let packet = Tcp::new(remote, client, flags).payload(b"stray").packet();
                bench.expect_back(what, &packet, discard(Reason::Midstream));
                let packet = Tcp::new(client, origin(family, 5000), flags).packet();
                bench.expect_out(what, &packet, reject(Reason::NativeTcp));
                let packet = Tcp::new(client, origin(family, 443), flags).packet();
                bench.expect_out(what, &packet, STEER);
            }
            assert_eq!(bench.flows(), (0, 0));
        }
    }

    fn a10_on_a_first_load_the_rest_of_older_flows_is_adopted_where_the_policy_would_let_them_begin(bench) {
        bench.publish(|world| world.midstream_pass = true);
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            let (there, here) = (Tcp::ack(client, remote).packet(), Tcp::ack(remote, client).packet());
            bench.expect_out("client first", &there, pass(Reason::MidstreamAdopted));
            bench.expect_back("answer", &here, pass(Reason::Flow));
            bench.later(Duration::from_secs(3 * 3600));
            bench.expect_back("remote first", &here, pass(Reason::MidstreamAdopted));
            bench.expect_out("answer", &there, pass(Reason::Flow));
            let blocked = origin(family, 5000);
            bench.expect_out("blocked", &Tcp::ack(client, blocked).packet(), reject(Reason::NativeTcp));
            bench.expect_back("blocked", &Tcp::ack(blocked, client).packet(), discard(Reason::Midstream));
            let steered = origin(family, 443);
            bench.expect_back("steered", &Tcp::ack(steered, client).packet(), discard(Reason::Midstream));
            bench.publish(|world| world.midstream_pass = false);
            bench.expect_out("after the first load", &there, pass(Reason::Flow));
            let late = Tcp::ack(member(family), family.origin_at(6, 22)).packet();
            bench.expect_out("too late", &late, discard(Reason::Midstream));
            bench.publish(|world| world.midstream_pass = true);
        }
        bench.publish(|world| *world = World::default());
    }

    fn a11_flags_that_no_stack_sends_are_dropped(bench) {
        for family in Family::ALL {
            for (what, flags) in IMPOSSIBLE {
                for port in [22, 443, 5000] {
                    let packet = Tcp::new(member(family), origin(family, port), flags).packet();
                    bench.expect_out(what, &packet, discard(Reason::TcpFlags));
                    let packet = Tcp::new(origin(family, port), member(family), flags).packet();
                    bench.expect_back(what, &packet, discard(Reason::TcpFlags));
                }
            }
            // Explicit congestion notification uses bits of the same byte (RFC 3168).
            let ecn = Tcp::new(member(family), origin(family, 22), flag::SYN | 0xc0).packet();
            bench.expect_out("ECN", &ecn, pass(Reason::Listed));
        }
    }

    fn a11_data_in_a_syn_does_not_change_its_verdict(bench) {
        let cookie: &[u8] = &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
        for family in Family::ALL {
            let expected = [(443, STEER), (5000, reject(Reason::NativeTcp)), (22, pass(Reason::Listed))];
            for (port, expected) in expected {
                let syn = Tcp::syn(member(family), origin(family, port)).payload(b"\x16\x03\x01\x00\x01");
                bench.expect_out("data", &syn.packet(), expected);
                bench.later(Duration::from_secs(31));
                bench.expect_out("Fast Open", &syn.options(cookie).packet(), expected);
            }
        }
    }

    fn a11_decoys_get_the_verdict_of_their_flow(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            bench.expect_out("SYN", &Tcp::syn(client, remote).packet(), pass(Reason::Listed));
            bench.expect_back("SYN-ACK", &Tcp::syn_ack(remote, client).packet(), pass(Reason::Flow));
            let data = || Tcp::ack(client, remote).payload(b"GET / HTTP/1.1\r\n");
            let decoys = [
                ("dies on the way", data().packet().hops(1)),
                ("wrong checksum", data().bad_checksum().packet()),
                ("wrong header checksum", data().packet().bad_header_checksum()),
                ("out of the window", data().seq(0x8000_0000).packet()),
                ("retransmitted", data().packet()),
            ];
            for (what, packet) in decoys {
                bench.expect_out(what, &packet, pass(Reason::Flow));
            }
            // The same decoys open nothing.
            let closed = origin(family, 5000);
            let data = || Tcp::syn(client, closed);
            bench.expect_out("dies on the way", &data().packet().hops(1), reject(Reason::NativeTcp));
            bench.expect_out("wrong checksum", &data().bad_checksum().packet(), reject(Reason::NativeTcp));
        }
    }

    fn a11_a_forged_reset_does_not_end_a_flow_that_goes_on(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            bench.expect_out("SYN", &Tcp::syn(client, remote).packet(), pass(Reason::Listed));
            bench.expect_back("SYN-ACK", &Tcp::syn_ack(remote, client).packet(), pass(Reason::Flow));
            let forged = Tcp::new(remote, client, flag::RST).seq(0xdead_beef).packet();
            bench.expect_back("forged RST", &forged, pass(Reason::Flow));
            for _ in 0..10 {
                bench.later(Duration::from_secs(20));
                bench.expect_out("data", &Tcp::ack(client, remote).packet(), pass(Reason::Flow));
                bench.expect_back("data", &Tcp::ack(remote, client).packet(), pass(Reason::Flow));
            }
        }
    }

    fn a15_a_multipath_join_is_refused(bench) {
        let capable: &[u8] = &[30, 4, 0x01, 0x81];
        let join: &[u8] = &[30, 12, 0x10, 1, 0, 0, 0, 1, 0, 0, 0, 2];
        let behind: &[u8] = &[1, 1, 2, 4, 5, 0xb4, 30, 12, 0x11, 1, 0, 0, 0, 1, 0, 0, 0, 2];
        for family in Family::ALL {
            let syn = |port, options: &[u8]| {
                Tcp::new(member(family), origin(family, port), flag::SYN).options(options).packet()
            };
            bench.expect_out("join", &syn(22, join), reject(Reason::MptcpJoin));
            bench.expect_out("join behind others", &syn(22, behind), reject(Reason::MptcpJoin));
            bench.expect_out("join to a closed port", &syn(5000, join), reject(Reason::NativeTcp));
            // The listener speaks plain TCP and leaves the option unanswered.
            bench.expect_out("steered join", &syn(443, join), STEER);
            bench.expect_out("steered first path", &syn(443, capable), STEER);
            bench.expect_out("first path", &syn(22, capable), pass(Reason::Listed));
            bench.later(Duration::from_secs(31));
            for broken in [&[30, 1, 0x10, 0][..], &[30, 2, 0x10, 0], &[0, 30, 12, 0x10], &[2, 0, 30, 12]] {
                bench.expect_out("no option", &syn(22, broken), pass(Reason::Listed));
                bench.later(Duration::from_secs(31));
            }
            let call = |options| {
                Tcp::new(origin(family, 700), std::net::SocketAddr::new(family.member(), 5001), flag::SYN)
                    .options(options)
                    .packet()
            };
            bench.expect_back("join from outside", &call(join), discard(Reason::MptcpJoin));
            bench.expect_back("call from outside", &call(capable), pass(Reason::EgressRule));
        }
    }
}
