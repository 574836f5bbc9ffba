//! Frames as the link layer makes them: short, tagged, for others, or without a link header.

use std::net::SocketAddr;

use sluice_abi::{Hook, Reason, Verdict};
use sluice_tests::{
    family::Family,
    packet::{Packet, TPID_SERVICE, Tcp, Udp, View, arp_request, flag, protocol},
};

use crate::{
    gate::{CLIENT_MAC, Gate, LAN_MAC, PATIENCE, SILENCE, ghost, remote_worker},
    world::{PARTNER, member, origin, other},
};

fn closed(family: Family, port: u16) -> Packet {
    let client = SocketAddr::new(ghost(family), port);
    Tcp::syn(client, origin(family, 5000)).packet()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a6_runts_are_dropped_and_counted() {
    let gate = Gate::new();
    let dropped = |reason| gate.count(Hook::LanIngress, Verdict::Drop, reason);
    let mut sent = 0;
    for family in Family::ALL {
        let frame = closed(family, 1).macs(CLIENT_MAC, LAN_MAC).frame();
        for length in 14..frame.len() {
            gate.near.send(&frame[..length]);
            sent += 1;
        }
    }
    gate.expect_count(
        Hook::LanIngress,
        Verdict::Drop,
        Reason::PacketTruncated,
        sent,
    );
    assert_eq!(dropped(Reason::BadHeader), 0);
    let arp = arp_request("10.77.0.200".parse().unwrap(), "10.77.0.1".parse().unwrap());
    let before = gate.count(Hook::LanIngress, Verdict::Pass, Reason::NotIp);
    gate.near.send(&arp);
    gate.expect_count(Hook::LanIngress, Verdict::Pass, Reason::NotIp, before + 1);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a7_a_tag_that_the_device_took_off_comes_back_with_the_answer() {
    let gate = Gate::new();
    for family in Family::ALL {
        let cases = [
            (closed(family, 1), None, vec![]),
            (closed(family, 2).vlan(7), Some(7), vec![]),
            (closed(family, 3).tag(TPID_SERVICE, 9), Some(9), vec![]),
            (
                closed(family, 4).tag(TPID_SERVICE, 9).vlan(7),
                Some(9),
                vec![7],
            ),
            (
                closed(family, 5).vlan(1).vlan(2).vlan(3),
                Some(1),
                vec![2, 3],
            ),
        ];
        for (packet, outer, inner) in cases {
            gate.send(&packet);
            let (rst, tag) = gate.answer(ghost(family), PATIENCE).unwrap();
            assert_eq!(rst.flags, flag::RST | flag::ACK, "{packet:?}");
            assert!(rst.header_checksum && rst.transport_checksum);
            assert_eq!((tag, rst.vlans), (outer, inner), "{packet:?}");
        }
        // The outermost tag is off before the programs see the frame: four are three here.
        gate.send(&closed(family, 6).vlan(1).vlan(2).vlan(3).vlan(4));
    }
    gate.expect_count(Hook::LanIngress, Verdict::Drop, Reason::VlanDepth, 2);
    gate.expect_count(Hook::LanIngress, Verdict::Reject, Reason::NativeTcp, 10);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn what_a_promiscuous_device_overhears_is_not_answered() {
    let gate = Gate::new();
    gate.lab.gateway().ip("link set lan0 promisc on");
    for family in Family::ALL {
        for mac in [[2, 0, 0, 0, 0, 0x99], [0xff; 6], [1, 0, 0x5e, 0, 0, 9]] {
            gate.near
                .send(&closed(family, 1).macs(CLIENT_MAC, mac).frame());
        }
        assert!(gate.answer(ghost(family), SILENCE).is_none());
        gate.send(&closed(family, 2));
        assert!(gate.answer(ghost(family), PATIENCE).is_some());
    }
    gate.expect_count(Hook::LanIngress, Verdict::Drop, Reason::RejectFailed, 6);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn l3_devices_are_policed_the_same() {
    let gate = Gate::new();
    let listeners = gate.daemon();
    for family in Family::ALL {
        let worker = remote_worker(family);
        let client = SocketAddr::new(worker, 40000);
        let hear = |patience| {
            gate.tun.find(patience, |arrived| {
                View::datagram(&arrived.frame).filter(|view| view.dst == worker)
            })
        };
        let syn = |port| Tcp::syn(client, origin(family, port)).packet();
        gate.tun.send(&syn(5000).datagram());
        let rst = hear(PATIENCE).unwrap();
        assert_eq!(
            (rst.flags, rst.sequence),
            (flag::RST | flag::ACK, Some((0, 1001)))
        );
        assert!(rst.header_checksum && rst.transport_checksum);

        gate.tun.send(
            &Udp::new(client, origin(family, 5000), &[1; 90])
                .packet()
                .datagram(),
        );
        let icmp = hear(PATIENCE).unwrap();
        assert!(matches!(icmp.protocol, protocol::ICMP | protocol::ICMPV6));
        assert!(icmp.header_checksum && icmp.transport_checksum);

        gate.tun.send(
            &Udp::new(client, origin(family, 123), b"time")
                .packet()
                .datagram(),
        );
        assert_eq!(gate.forwarded(worker, PATIENCE).unwrap().payload, b"time");
        gate.send_in(&Udp::new(origin(family, 123), client, b"it is").packet());
        let answer = hear(PATIENCE).unwrap();
        assert_eq!(answer.payload, b"it is");
        gate.send_in(&Udp::new(family.origin_at(PARTNER, 123), client, b"no").packet());
        assert!(hear(SILENCE).is_none(), "unasked");

        gate.tun.send(&syn(443).datagram());
        let answer = hear(PATIENCE).unwrap();
        assert_eq!(
            (answer.src, answer.flags),
            (origin(family, 443).ip(), flag::SYN | flag::ACK)
        );
        assert!(
            gate.forwarded(worker, SILENCE).is_none(),
            "nothing but NTP came out"
        );
    }
    drop(listeners);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a1_fragments_pass_or_stop_with_their_first() {
    let gate = Gate::new();
    for family in Family::ALL {
        let client = SocketAddr::new(ghost(family), 40000);
        let datagram = |port, id| {
            let udp = Udp::new(client, origin(family, port), &[7; 1000]).packet();
            udp.identification(id).fragments(&[400, 800])
        };
        for part in datagram(5000, 1) {
            gate.send(&part);
        }
        let good = datagram(123, 2);
        for at in [2, 0, 1, 2] {
            gate.send(&good[at]);
        }
        let came = |_| gate.forwarded(ghost(family), PATIENCE).is_some();
        assert_eq!((0..3).filter(|&part| came(part)).count(), 3);
        assert!(gate.forwarded(ghost(family), SILENCE).is_none());
    }
    gate.expect_count(
        Hook::LanIngress,
        Verdict::Drop,
        Reason::FragmentUnknown,
        2 * 3,
    );
    gate.expect_count(Hook::LanIngress, Verdict::Pass, Reason::Fragment, 2 * 2);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a8_a_tunnel_does_not_come_out() {
    let gate = Gate::new();
    for family in Family::ALL {
        for number in [4, 41, 47, 50, 132, 136, 253] {
            let inner = Tcp::syn(member(family), origin(family, 22))
                .packet()
                .datagram();
            gate.send(&Packet::raw(
                ghost(family),
                family.origin(5),
                number,
                &inner,
            ));
        }
        for port in [4789, 51820, 443] {
            let from = SocketAddr::new(ghost(family), other(family).port());
            gate.send(&Udp::new(from, origin(family, port), &[4; 148]).packet());
        }
        assert!(gate.forwarded(ghost(family), SILENCE).is_none());
    }
    gate.expect_count(Hook::LanIngress, Verdict::Reject, Reason::Protocol, 14);
    gate.expect_count(Hook::LanIngress, Verdict::Reject, Reason::NativeUdp, 4);
    gate.expect_count(Hook::LanIngress, Verdict::Reject, Reason::NotQuic, 2);
}
