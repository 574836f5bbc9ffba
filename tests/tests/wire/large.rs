//! Buffers larger than a frame, and buffers in pieces.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use sluice_abi::{Hook, Reason, Verdict};
use sluice_tests::{
    dial,
    family::Family,
    packet::{Tcp, Udp, flag},
};

use crate::{
    gate::{CLIENT_MAC, Gate, LAN_MAC, PATIENCE, ghost},
    socket::Wire,
    world::origin,
};

#[test]
#[ignore = "root: cargo xtask test"]
fn a12_headers_outside_the_linear_part_are_read_all_the_same() {
    let gate = Gate::with_mtu(9000);
    let scattered = Wire::scattered(gate.lab.client(), "eth0");
    for family in Family::ALL {
        let client = SocketAddr::new(ghost(family), 40000);
        let payload: Vec<u8> = (0..7000u16).map(|number| number.to_le_bytes()[0]).collect();
        let send = |packet: sluice_tests::packet::Packet| {
            scattered.send(&packet.macs(CLIENT_MAC, LAN_MAC).frame());
        };
        send(Udp::new(client, origin(family, 123), &payload).packet());
        let came = gate.forwarded(ghost(family), PATIENCE).unwrap();
        assert!(came.payload == payload && came.transport_checksum);

        let udp = Udp::new(client, origin(family, 5000), &payload).packet();
        send(udp.clone());
        let (icmp, _) = gate.answer(ghost(family), PATIENCE).unwrap();
        assert!(icmp.icmp.is_some() && icmp.transport_checksum && icmp.header_checksum);
        assert_eq!(icmp.payload, udp.datagram()[..icmp.payload.len()]);

        for port in [5000, 443] {
            send(
                Tcp::syn(client, origin(family, port))
                    .payload(&payload)
                    .packet(),
            );
            let (rst, _) = gate.answer(ghost(family), PATIENCE).unwrap();
            assert_eq!(
                (rst.flags, rst.sequence),
                (flag::RST | flag::ACK, Some((0, 8001)))
            );
            assert!(rst.transport_checksum && rst.header_checksum);
        }
    }
    let count = |verdict, reason| gate.count(Hook::LanIngress, verdict, reason);
    assert_eq!(count(Verdict::Pass, Reason::Listed), 2);
    assert_eq!(count(Verdict::Reject, Reason::NativeUdp), 2);
    assert_eq!(count(Verdict::Reject, Reason::NativeTcp), 2);
    assert_eq!(count(Verdict::Reject, Reason::FailClosed), 2);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a12_joined_segments_pass_as_their_flow_does() {
    const BYTES: usize = 16 << 20;
    // As usual, and beyond 64 KiB, which is for IPv6 alone unless told otherwise.
    for limit in [65_536, 180_000] {
        let gate = Gate::new();
        for (netns, devices) in [
            (gate.lab.client(), &["eth0"][..]),
            (gate.lab.gateway(), &["lan0", "wan0"]),
            (gate.lab.internet(), &["eth0"]),
        ] {
            for device in devices {
                netns.ip(&format!(
                    "link set {device} gso_max_size {limit} gro_max_size {limit}"
                ));
            }
        }
        for family in Family::ALL {
            let ssh = origin(family, 22);
            let server = gate.lab.internet().run(|| TcpListener::bind(ssh)).unwrap();
            let served = thread::spawn(move || {
                let (mut stream, _) = server.accept().unwrap();
                let mut heard = 0;
                let mut buffer = vec![0; 1 << 20];
                while heard < BYTES {
                    heard += stream.read(&mut buffer).unwrap();
                }
                stream.write_all(&vec![1; BYTES]).unwrap();
            });
            let mut stream = dial::tcp(gate.lab.client(), family.member(), ssh, PATIENCE).unwrap();
            stream.write_all(&vec![2; BYTES]).unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            assert_eq!(heard.len(), BYTES);
            served.join().unwrap();
        }
        let counters = gate.steering.counters().unwrap().packets;
        for hook in Hook::ALL {
            let largest = counters
                .iter()
                .filter(|counter| counter.hook == hook && counter.reason == Reason::Flow)
                .map(|counter| counter.bytes / counter.packets)
                .max();
            assert!(largest.unwrap() > 4000, "nothing was joined: {counters:?}");
        }
        let refused = |counter: &&sluice_steer::Counter| {
            matches!(counter.verdict, Verdict::Drop | Verdict::Reject)
        };
        assert_eq!(counters.iter().find(refused), None);
    }
}
