//! What a rejected packet is answered with: TCP RST, and ICMP administratively prohibited.
//!
//! The programs build the answer in the packet's own buffer, so these tests need the kernel.

use std::net::SocketAddr;

use sluice_abi::{Hook, Reason, Verdict};
use sluice_steer::{LinkType, TestBench};
use sluice_tests::{
    family::Family,
    packet::{Extension, Icmp, Packet, Tcp, Udp, View, checksum, flag, protocol},
};

use crate::{
    bench::own_addresses,
    world::{World, member, origin, other},
};

/// `enum tcx_action_base`.
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;
const TCX_REDIRECT: i32 = 7;

/// The device of a test run is the loopback, whose address is zero.
const GATEWAY_MAC: [u8; 6] = [0; 6];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

fn bench(link_type: LinkType) -> TestBench {
    let mut bench = TestBench::live(link_type).unwrap();
    bench.set_gateway(own_addresses()).unwrap();
    bench.publish(&World::default().compile(0)).unwrap();
    bench
}

fn arrived(packet: Packet) -> Packet {
    packet.macs(CLIENT_MAC, GATEWAY_MAC)
}

/// The answer to a packet, with all that every answer has.
#[track_caller]
fn answer(bench: &mut TestBench, packet: &Packet) -> (View, Vec<u8>) {
    let frame = packet.frame();
    let asked = View::frame(&frame);
    let run = bench.run_raw(Hook::LanIngress, &frame, 0, 1).unwrap();
    assert_eq!(run.code, TCX_REDIRECT, "{packet:?}");
    assert_eq!(
        run.mark & 0xff00_0000,
        0x5000_0000,
        "marked as sluice's own"
    );
    let view = View::frame(&run.frame).expect("the answer is an IP packet");
    assert_eq!(run.frame[..6], CLIENT_MAC);
    assert_eq!(run.frame[6..12], GATEWAY_MAC);
    assert_eq!(view.hops, 64);
    assert!(view.header_checksum);
    if let Some(asked) = asked {
        assert_eq!((view.src, view.dst), (asked.dst, asked.src));
        assert_eq!(view.vlans, asked.vlans);
    }
    (view, run.frame)
}

/// Checks that a packet is discarded without an answer.
#[track_caller]
fn silence(bench: &mut TestBench, packet: &Packet) {
    let run = bench
        .run_raw(Hook::LanIngress, &packet.frame(), 0, 1)
        .unwrap();
    assert_eq!(run.code, TCX_DROP, "{packet:?}");
}

/// Header bytes of a packet, from IP up to the transport header.
fn header_length(family: Family) -> usize {
    if family == Family::V4 { 20 } else { 40 }
}

type Dress = fn(Packet) -> Packet;

/// The link headers that a packet may come in.
const DRESSES: [Dress; 3] = [
    arrived,
    |packet| arrived(packet).vlan(7),
    |packet| arrived(packet).tag(0x88a8, 9).vlan(7),
];

/// What is refused, and the sequence and acknowledgment number and flags of its RST.
fn refused(family: Family) -> Vec<(&'static str, Tcp, (u32, u32), u8)> {
    let tcp = |flags| {
        Tcp::new(member(family), origin(family, 5000), flags)
            .seq(1000)
            .ack_number(9000)
    };
    vec![
        ("SYN", tcp(flag::SYN), (0, 1001), flag::RST | flag::ACK),
        (
            "SYN with options",
            tcp(flag::SYN).options(&[2, 4, 5, 0xb4, 4, 2]),
            (0, 1001),
            flag::RST | flag::ACK,
        ),
        (
            "SYN with data",
            tcp(flag::SYN).payload(b"12345"),
            (0, 1006),
            flag::RST | flag::ACK,
        ),
        (
            "SYN before the numbers wrap",
            tcp(flag::SYN).seq(u32::MAX),
            (0, 0),
            flag::RST | flag::ACK,
        ),
        ("SYN-ACK", tcp(flag::SYN | flag::ACK), (9000, 0), flag::RST),
        ("ACK", tcp(flag::ACK), (9000, 0), flag::RST),
        (
            "data",
            tcp(flag::ACK | flag::PSH).payload(&[7; 700]),
            (9000, 0),
            flag::RST,
        ),
        ("FIN-ACK", tcp(flag::FIN | flag::ACK), (9000, 0), flag::RST),
    ]
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_segment_is_refused_by_the_rst_that_rfc_9293_asks_for() {
    let mut bench = bench(LinkType::Ethernet);
    for family in Family::ALL {
        for dress in DRESSES {
            for (what, tcp, numbers, flags) in refused(family) {
                let packet = dress(tcp.packet());
                let (rst, frame) = answer(&mut bench, &packet);
                assert_eq!((rst.protocol, rst.flags), (protocol::TCP, flags), "{what}");
                assert_eq!(rst.sequence, Some(numbers), "{what}");
                assert_eq!(rst.ports, Some((5000, 40000)));
                assert!(rst.transport_checksum, "{what}: {frame:02x?}");
                assert!(rst.payload.is_empty());
                let link = 14 + 4 * rst.vlans.len();
                assert_eq!(frame.len(), link + header_length(family) + 20, "{what}");
                assert_eq!(frame[frame.len() - 6..frame.len() - 4], [0, 0], "no window");
                assert_eq!(frame[link + header_length(family) + 12], 0x50, "no options");
            }
        }
    }
}

/// Puts the folded sum of the pseudo header where the checksum belongs, as a stack does that
/// leaves the rest to the device.
fn unfinished(frame: &mut [u8], transport: usize, field: usize, view: &View) {
    let length = frame.len() - transport;
    let sum = !checksum::transport(view.src, view.dst, view.protocol, &vec![0; length]);
    frame[transport + field..transport + field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Does what a device, or the kernel in its place, does to a packet whose checksum is unfinished:
/// sums everything from the transport header on, the field included.
fn finish(frame: &mut [u8], transport: usize, field: usize) {
    let sum = checksum::internet(&[&frame[transport..]]);
    frame[transport + field..transport + field + 2].copy_from_slice(&sum.to_be_bytes());
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_rst_leaves_an_unfinished_checksum_to_the_device_too() {
    let mut bench = bench(LinkType::Ethernet);
    for family in Family::ALL {
        for dress in DRESSES {
            for (what, tcp, numbers, flags) in refused(family) {
                let mut frame = dress(tcp.packet()).frame();
                let asked = View::frame(&frame).unwrap();
                let transport = 14 + 4 * asked.vlans.len() + header_length(family);
                unfinished(&mut frame, transport, 16, &asked);
                let run = bench.run_raw(Hook::LanIngress, &frame, 0, 1).unwrap();
                assert_eq!(run.code, TCX_REDIRECT);
                let mut sent = run.frame;
                finish(&mut sent, transport, 16);
                let rst = View::frame(&sent).unwrap();
                assert!(
                    rst.transport_checksum && rst.header_checksum,
                    "{what}: {sent:02x?}"
                );
                assert_eq!((rst.sequence, rst.flags), (Some(numbers), flags), "{what}");
            }
        }
    }
}

/// The type and code of "administratively prohibited".
fn prohibited(family: Family) -> (u8, (u8, u8)) {
    match family {
        Family::V4 => (protocol::ICMP, (3, 13)),
        Family::V6 => (protocol::ICMPV6, (1, 1)),
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_datagram_is_refused_by_an_icmp_error_that_quotes_it() {
    let mut bench = bench(LinkType::Ethernet);
    for family in Family::ALL {
        for dress in DRESSES {
            for payload in [0, 1, 60, 1400] {
                let udp = Udp::new(other(family), origin(family, 5000), &vec![3; payload]).packet();
                let packet = dress(udp.clone());
                let (icmp, frame) = answer(&mut bench, &packet);
                assert_eq!((icmp.protocol, icmp.icmp.unwrap()), prohibited(family));
                assert!(icmp.transport_checksum, "{frame:02x?}");
                assert_eq!(icmp.payload, udp.datagram()[..header_length(family) + 8]);
                let link = 14 + 4 * icmp.vlans.len();
                assert_eq!(frame.len(), link + 2 * header_length(family) + 16);
            }
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn an_icmp_error_stays_right_when_the_device_finishes_what_it_quotes() {
    let mut bench = bench(LinkType::Ethernet);
    for family in Family::ALL {
        for payload in [0, 1, 2, 61, 1400] {
            let udp = Udp::new(other(family), origin(family, 5000), &vec![3; payload]).packet();
            let mut frame = arrived(udp).frame();
            let asked = View::frame(&frame).unwrap();
            let transport = 14 + header_length(family);
            unfinished(&mut frame, transport, 6, &asked);
            let run = bench.run_raw(Hook::LanIngress, &frame, 0, 1).unwrap();
            assert_eq!(run.code, TCX_REDIRECT);
            // The device still means the datagram's header, which is now the quoted one.
            let mut sent = run.frame;
            finish(&mut sent, transport + header_length(family) + 8, 6);
            let icmp = View::frame(&sent).unwrap();
            assert!(
                icmp.transport_checksum && icmp.header_checksum,
                "{sent:02x?}"
            );
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn other_protocols_and_segments_behind_other_headers_are_refused_by_icmp() {
    let mut bench = bench(LinkType::Ethernet);
    for family in Family::ALL {
        let sctp = Packet::raw(family.member(), family.origin(5), protocol::SCTP, &[1; 32]);
        let (icmp, _) = answer(&mut bench, &arrived(sctp.clone()));
        assert_eq!((icmp.protocol, icmp.icmp.unwrap()), prohibited(family));
        assert_eq!(icmp.payload, sctp.datagram()[..header_length(family) + 8]);
        assert!(icmp.transport_checksum);
        let syn = Tcp::syn(member(family), origin(family, 5000)).packet();
        let syn = match family {
            Family::V4 => syn.options(&[148, 4, 0, 0]),
            Family::V6 => syn.extension(Extension::destination(1)),
        };
        let (icmp, _) = answer(&mut bench, &arrived(syn.clone()));
        assert_eq!((icmp.protocol, icmp.icmp.unwrap()), prohibited(family));
        assert!(icmp.transport_checksum);
        let quoted = syn.datagram();
        assert_eq!(icmp.payload, quoted[..quoted.len() - 4]);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn l3_devices_get_a_rst_without_a_link_header() {
    // A test run keeps the offsets of an Ethernet header, which an ICMP error's room depends on:
    // that one is met on a real device.
    let mut bench = bench(LinkType::L3);
    for family in Family::ALL {
        let syn = Tcp::syn(member(family), origin(family, 5000))
            .packet()
            .datagram();
        let run = bench.run_raw(Hook::LanIngress, &syn, 0, 1).unwrap();
        assert_eq!(run.code, TCX_REDIRECT);
        let rst = View::datagram(&run.frame).unwrap();
        assert_eq!(
            (rst.flags, rst.sequence),
            (flag::RST | flag::ACK, Some((0, 1001)))
        );
        assert!(rst.transport_checksum && rst.header_checksum);
        assert_eq!(run.frame.len(), header_length(family) + 20);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn what_must_not_be_answered_is_not() {
    let mut bench = bench(LinkType::Ethernet);
    for family in Family::ALL {
        let (client, closed) = (member(family), origin(family, 5000));
        for flags in [flag::RST, flag::RST | flag::ACK] {
            let rst = Tcp::new(client, closed, flags).packet();
            silence(&mut bench, &arrived(rst.clone()));
            let behind = match family {
                Family::V4 => rst.options(&[148, 4, 0, 0]),
                Family::V6 => rst.extension(Extension::destination(1)),
            };
            silence(&mut bench, &arrived(behind));
        }
        let echo = Icmp::echo_reply(client.ip(), closed.ip(), 1, 1).packet();
        silence(&mut bench, &arrived(echo));
        let later = Udp::new(client, closed, &[1; 600])
            .packet()
            .fragments(&[400]);
        silence(&mut bench, &arrived(later[1].clone()));
        // RFC 1122 section 3.2.2: what the link sent to many is answered by none of them.
        for mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 5], [2, 0, 0, 0, 0, 0x99]] {
            silence(
                &mut bench,
                &Tcp::syn(client, closed).packet().macs(CLIENT_MAC, mac),
            );
            silence(
                &mut bench,
                &Udp::new(client, closed, b"x")
                    .packet()
                    .macs(CLIENT_MAC, mac),
            );
        }
        let long = match family {
            Family::V4 => continue,
            Family::V6 => Tcp::syn(client, closed)
                .packet()
                .extension(Extension::destination(12)),
        };
        silence(&mut bench, &arrived(long));
    }
    let failed = bench.counters().unwrap();
    let failed = failed.packets_of(Hook::LanIngress, Verdict::Drop, Reason::RejectFailed);
    assert_eq!(failed, 2 * (4 + 6) + 1);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_packet_that_passes_is_left_as_it_is() {
    let mut bench = bench(LinkType::Ethernet);
    for family in Family::ALL {
        for dress in DRESSES {
            let frame = dress(Tcp::syn(member(family), origin(family, 22)).packet()).frame();
            let run = bench.run_raw(Hook::LanIngress, &frame, 0, 1).unwrap();
            assert_eq!((run.code, run.frame, run.mark), (TCX_NEXT, frame, 0));
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn answers_are_a_hundred_a_second_for_each_client() {
    let mut bench = bench(LinkType::Ethernet);
    for family in Family::ALL {
        let mut answered = 0;
        for port in 0..1000 {
            let from = SocketAddr::new(family.member(), 10_000 + port);
            let syn = arrived(Tcp::syn(from, origin(family, 5000)).packet());
            let run = bench.run_raw(Hook::LanIngress, &syn.frame(), 0, 1).unwrap();
            match run.code {
                TCX_REDIRECT => answered += 1,
                code => assert_eq!(code, TCX_DROP),
            }
        }
        // The burst, and what became due while the test ran, of one each ten milliseconds.
        assert!((100..200).contains(&answered), "{answered}");
        let (rst, _) = answer(
            &mut bench,
            &arrived(Tcp::syn(other(family), origin(family, 5000)).packet()),
        );
        assert_eq!(rst.flags, flag::RST | flag::ACK);
    }
    let counters = bench.counters().unwrap();
    let limited = counters.packets_of(Hook::LanIngress, Verdict::Drop, Reason::RejectRate);
    let refused = counters.packets_of(Hook::LanIngress, Verdict::Reject, Reason::NativeTcp);
    assert_eq!(refused, 2002, "refused all the same");
    assert!((1600..=1800).contains(&limited), "{limited}");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn without_a_daemon_steered_packets_are_refused_or_forwarded_as_configured() {
    let mut bench = bench(LinkType::Ethernet);
    let open = World {
        fail_open: true,
        ..World::default()
    };
    let closed = World::default();
    for family in Family::ALL {
        bench.publish(&closed.compile(0)).unwrap();
        let syn = arrived(Tcp::syn(member(family), origin(family, 443)).packet());
        let (rst, _) = answer(&mut bench, &syn);
        assert_eq!(rst.flags, flag::RST | flag::ACK);
        bench.publish(&open.compile(0)).unwrap();
        let run = bench.run_raw(Hook::LanIngress, &syn.frame(), 0, 1).unwrap();
        assert_eq!(run.code, TCX_NEXT);
        let data = arrived(Tcp::ack(member(family), origin(family, 443)).packet());
        let run = bench
            .run_raw(Hook::LanIngress, &data.frame(), 0, 1)
            .unwrap();
        assert_eq!(run.code, TCX_NEXT);
        let stray = arrived(Tcp::ack(other(family), origin(family, 443)).packet());
        let (rst, _) = answer(&mut bench, &stray);
        assert_eq!(rst.flags, flag::RST);
    }
    let counters = bench.counters().unwrap();
    let count = |verdict, reason| counters.packets_of(Hook::LanIngress, verdict, reason);
    assert_eq!(count(Verdict::Reject, Reason::FailClosed), 2);
    assert_eq!(count(Verdict::Pass, Reason::FailOpen), 4);
    assert_eq!(count(Verdict::Reject, Reason::Midstream), 2);
}
