//! The programs over frames, attached to nothing.

use sluice_abi::{Hook, Reason, Verdict};
use sluice_steer::{AddressKind, LinkType, TestBench, monotonic_ns};

use crate::support::{address, policy};

/// An IPv4 packet with a transport header of 20 bytes whose first words are the ports, behind an
/// Ethernet header where `link_type` has one.
fn packet(link_type: LinkType, protocol: u8, dst: [u8; 4], dport: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    if link_type == LinkType::Ethernet {
        frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    }
    let transport: u16 = 20;
    let mut ip = vec![
        0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 20, 0, 2,
    ];
    ip[2..4].copy_from_slice(&(20 + transport).to_be_bytes());
    ip.extend(dst);
    let sum: u32 = ip
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame.extend(ip);
    frame.extend(40_000_u16.to_be_bytes());
    frame.extend(dport.to_be_bytes());
    if protocol == 6 {
        // Sequence number, no acknowledgement, five words, SYN, window.
        frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        frame.extend(transport.to_be_bytes());
        frame.extend([0; 14]);
    }
    frame
}

const ORIGIN: [u8; 4] = [203, 0, 113, 9];

#[test]
#[ignore = "root: cargo xtask test"]
fn a_replay_gives_the_verdict_and_its_reason_on_both_kinds_of_device() {
    for link_type in [LinkType::Ethernet, LinkType::L3] {
        let mut bench = TestBench::new(link_type).unwrap();
        assert!(bench.is_replay());
        let steered = packet(link_type, 6, ORIGIN, 443);
        let (hook, now) = (Hook::LanIngress, 1_000_000_000);
        let before = bench.run(hook, &steered, 0, now).unwrap();
        assert_eq!(before, (Verdict::Drop, Reason::NoPolicy));
        bench.publish(&policy()).unwrap();
        bench
            .set_gateway([(address("10.20.0.1"), AddressKind::Unicast)])
            .unwrap();

        let (verdict, _) = bench.run(hook, &steered, 0, now).unwrap();
        assert_eq!(verdict, Verdict::Steer);
        let native = packet(link_type, 6, ORIGIN, 5000);
        let (verdict, reason) = bench.run(hook, &native, 0, now).unwrap();
        assert_eq!(verdict, Verdict::Reject);
        let ntp = packet(link_type, 17, ORIGIN, 123);
        assert_eq!(
            bench.run(hook, &ntp, 0, now).unwrap(),
            (Verdict::Pass, Reason::Listed)
        );
        let dns = packet(link_type, 17, [10, 20, 0, 1], 53);
        assert_eq!(
            bench.run(hook, &dns, 0, now).unwrap(),
            (Verdict::Pass, Reason::ToGateway)
        );

        let counters = bench.counters().unwrap();
        assert_eq!(
            counters.packets_of(hook, Verdict::Reject, reason),
            1,
            "{counters:?}"
        );
        assert!(bench.flow_fill().unwrap().embryonic >= 1);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_live_run_shows_what_becomes_of_the_frame_and_what_it_costs() {
    let mut bench = TestBench::live(LinkType::Ethernet).unwrap();
    bench.publish(&policy()).unwrap();
    let ntp = packet(LinkType::Ethernet, 17, ORIGIN, 123);
    // Neither a daemon that has given a sign of life nor, then, one that listens.
    let steered = packet(LinkType::Ethernet, 6, ORIGIN, 443);
    for (beat, refused) in [(0, 1), (monotonic_ns(), 2)] {
        bench.set_heartbeat(beat).unwrap();
        let run = bench.run_raw(Hook::LanIngress, &steered, 0, 1).unwrap();
        assert_ne!(run.code, -1);
        let counters = bench.counters().unwrap();
        let count = counters.packets_of(Hook::LanIngress, Verdict::Reject, Reason::FailClosed);
        assert_eq!(count, refused);
    }

    let run = bench.run_raw(Hook::LanIngress, &ntp, 0, 1000).unwrap();
    assert_eq!((run.code, &run.frame), (-1, &ntp));
    assert!(
        run.duration.as_nanos() > 0 && run.duration.as_micros() < 1000,
        "{:?}",
        run.duration
    );
    for hook in Hook::ALL {
        assert!(bench.verified_instructions(hook).unwrap() > 100);
    }
}
