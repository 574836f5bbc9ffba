//! What comes from outside unasked does not reach a client.

use std::net::SocketAddr;

use sluice_abi::{Hook, Reason, Verdict};
use sluice_tests::{
    family::Family,
    packet::{Icmp, Tcp, Udp, flag},
};

use crate::{
    gate::{Gate, PATIENCE, SILENCE, ghost},
    world::origin,
};

#[test]
#[ignore = "root: cargo xtask test"]
fn callers_get_no_further_than_the_gateway_unless_a_rule_lets_them() {
    let gate = Gate::new();
    for family in Family::ALL {
        let client = SocketAddr::new(ghost(family), 40000);
        let remote = origin(family, 700);
        let unasked = [
            Tcp::syn(remote, client).packet(),
            Tcp::ack(remote, client).packet(),
            Tcp::new(remote, client, flag::RST).packet(),
            Udp::new(remote, client, b"call").packet(),
            Icmp::echo_request(remote.ip(), client.ip(), 1, 1).packet(),
            sluice_tests::packet::Packet::raw(remote.ip(), client.ip(), 47, &[0; 40]),
        ];
        for packet in &unasked {
            gate.send_in(packet);
        }
        assert!(gate.answer(ghost(family), SILENCE).is_none());
        let to_member = Udp::new(remote, SocketAddr::new(family.member(), 5000), b"call").packet();
        gate.send_in(&to_member);
        let (called, _) = gate.answer(family.member(), PATIENCE).unwrap();
        assert_eq!(called.payload, b"call");
        // A question opens the way back for its answer, and for nobody else's.
        gate.send(&Udp::new(client, origin(family, 123), b"time").packet());
        assert!(gate.forwarded(ghost(family), PATIENCE).is_some());
        gate.send_in(&Udp::new(family.origin_at(6, 123), client, b"no").packet());
        gate.send_in(&Udp::new(origin(family, 123), client, b"it is").packet());
        let (answer, _) = gate.answer(ghost(family), PATIENCE).unwrap();
        assert_eq!(answer.payload, b"it is");
    }
    let dropped = |reason, value| gate.expect_count(Hook::LanEgress, Verdict::Drop, reason, value);
    dropped(Reason::InboundTcp, 2);
    dropped(Reason::Midstream, 4);
    dropped(Reason::InboundUdp, 4);
    dropped(Reason::InboundOther, 4);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a16_the_gateways_own_address_opens_nothing_to_who_borrows_it() {
    let gate = Gate::new();
    for family in Family::ALL {
        let client = SocketAddr::new(ghost(family), 40000);
        for own in [family.gateway_lan(), family.gateway_wan()] {
            let from = SocketAddr::new(own, 700);
            gate.send_in(&Tcp::syn(from, client).packet());
            gate.send_in(&Udp::new(from, client, b"trust me").packet());
        }
        let came = gate.answer(ghost(family), SILENCE);
        assert!(came.is_none(), "{came:?}");
        // The host may hand a question on, and the answer then comes from elsewhere.
        let service = SocketAddr::new(family.gateway_wan(), 53);
        gate.send(&Udp::new(client, service, b"question").packet());
        // Nobody is there to hand it on; the gateway says so once it has seen it.
        let (refusal, _) = gate.answer(ghost(family), PATIENCE).unwrap();
        assert!(refusal.icmp.is_some(), "{refusal:?}");
        gate.send_in(&Udp::new(service, client, b"answer").packet());
        // Of IPv4 the stack itself takes no packet from its own address.
        let answer = gate.answer(
            ghost(family),
            if family == Family::V6 {
                PATIENCE
            } else {
                SILENCE
            },
        );
        let payload = answer.map(|(view, _)| view.payload);
        let expected = (family == Family::V6).then(|| b"answer".to_vec());
        assert_eq!(payload, expected);
    }
    gate.expect_count(Hook::LanEgress, Verdict::Drop, Reason::BadSource, 4);
}
