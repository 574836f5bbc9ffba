//! Any bytes: neither side fails on them, and both agree.

use std::{net::SocketAddr, time::Duration};

use sluice_abi::Hook;
use sluice_programs::Link;
use sluice_tests::{
    family::Family,
    packet::{Extension, Icmp, Packet, Tcp, Udp, flag},
};

use crate::{
    bench::{Bench, both},
    world::{LISTENER, PARTNER, World},
};

/// Frames of one run.
const FRAMES: u32 = 20_000;

/// A generator of numbers: xorshift64*, the same at every run.
pub(crate) struct Dice(u64);

impl Dice {
    /// A generator for a seed other than 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % limit
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A valid packet, of few enough ends that flows meet their answers.
fn valid(dice: &mut Dice, family: Family) -> Packet {
    let ports = [22, 80, 123, 443, 5000, 5001, 4500, LISTENER, 40000, 40001];
    let inside = [
        family.member(),
        family.other(),
        family.on_lan(1, 0x20),
        family.gateway_lan(),
    ];
    let outside = [family.origin(5), family.origin(6), family.origin(PARTNER)];
    let mut ends = [dice.one(&inside), dice.one(&outside)];
    if dice.chance(40) {
        ends.reverse();
    }
    let [src, dst] = ends.map(|address| SocketAddr::new(address, dice.one(&ports)));
    let length = dice.one(&[0, 1, 8, 60, 1200, 1400]);
    let payload: Vec<u8> = (0..length).map(|_| dice.next().to_le_bytes()[0]).collect();
    let flags = [
        flag::SYN,
        flag::SYN | flag::ACK,
        flag::ACK,
        flag::RST,
        flag::FIN | flag::ACK,
    ];
    let mut packet = match dice.below(10) {
        0..4 => Tcp::new(src, dst, dice.one(&flags))
            .payload(&payload)
            .packet(),
        4..7 => Udp::new(src, dst, &payload).packet(),
        7 => Icmp::echo_request(src.ip(), dst.ip(), dice.one(&[1, 2]), 1).packet(),
        8 => {
            let quoted = Udp::new(dst, src, &payload).packet();
            Icmp::port_unreachable(src.ip(), dst.ip(), &quoted).packet()
        }
        _ => Packet::raw(src.ip(), dst.ip(), dice.next().to_le_bytes()[0], &payload),
    };
    if dice.chance(20) {
        packet = packet.vlan(7);
    }
    if family == Family::V4 && dice.chance(20) {
        let options: Vec<u8> = (0..dice.one(&[4, 12, 40]))
            .map(|_| dice.one(&[1, 1, 7, 131, 4, 0]))
            .collect();
        packet = packet.options(&options);
    }
    while family == Family::V6 && dice.chance(25) {
        packet = packet.extension(match dice.below(6) {
            0 => Extension::hop_by_hop(1),
            1 => Extension::destination(2),
            2 => Extension::routing(0, 0),
            3 => Extension::authentication(3),
            4 => Extension::mobility(),
            _ => Extension::fragment(0, false, 1),
        });
    }
    if dice.chance(15) {
        let offset = dice.one(&[0, 8, 64, 512]);
        packet = packet
            .identification(dice.one(&[1, 2]))
            .fragment(offset, offset == 0);
    }
    packet
}

/// Spoils some bytes, mostly of the headers, and sometimes the length.
fn spoil(dice: &mut Dice, frame: &mut Vec<u8>) {
    for _ in 0..dice.one(&[0, 1, 1, 2, 4, 8]) {
        let reach = if dice.chance(90) {
            frame.len().min(100)
        } else {
            frame.len()
        };
        let at = dice.below(reach);
        frame[at] = match dice.below(4) {
            0 => dice.one(&[0, 1, 4, 6, 17, 44, 51, 0x45, 0x60, 0x7f, 0x80, 0xff]),
            1 => frame[at] ^ (1 << dice.below(8)),
            2 => frame[at].wrapping_add(1),
            _ => dice.next().to_le_bytes()[0],
        };
    }
    if dice.chance(10) {
        let length = dice.below(frame.len()) + 1;
        frame.truncate(length);
    } else if dice.chance(10) {
        let more = dice.below(64);
        frame.resize(frame.len() + more, 0xa5);
    }
}

/// Whether the kernel's test run takes the frame: it wants an IP header where the bytes at an
/// Ethernet header's place promise one.
fn runs(frame: &[u8]) -> bool {
    let least = match frame.get(12..14) {
        Some([0x08, 0x00]) => 34,
        Some([0x86, 0xdd]) => 54,
        _ => 15,
    };
    frame.len() >= least
}

fn judge_many(bench: &mut Bench, link: Link, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut unlike = std::collections::BTreeSet::new();
    for _ in 0..FRAMES {
        let family = dice.one(&Family::ALL);
        let packet = valid(&mut dice, family);
        let mut frame = match link {
            Link::Ethernet => packet.frame(),
            Link::Layer3 => packet.datagram(),
        };
        spoil(&mut dice, &mut frame);
        let hook = dice.one(&Hook::ALL);
        let (verdict, reason) = if runs(&frame) {
            bench.judge(hook, &frame)
        } else {
            bench.judge_unrunnable(hook, &frame)
        };
        unlike.insert((verdict as u8, reason));
        if dice.chance(5) {
            bench.later(Duration::from_millis(
                u64::try_from(dice.below(40_000)).unwrap(),
            ));
        }
        if dice.chance(1) {
            let midstream = dice.chance(30);
            bench.publish(|world| world.midstream_pass = midstream);
        }
    }
    // A run that met few outcomes would not have tested much.
    assert!(unlike.len() > 30, "{unlike:?}");
    bench.check_counters();
}

both! {
    fn any_ethernet_frame_is_judged_alike(bench) {
        judge_many(bench, Link::Ethernet, 0x5eed_0001);
    }

    fn any_datagram_is_judged_alike(bench) {
        let mut bench = bench.again(Link::Layer3, World::default());
        judge_many(&mut bench, Link::Layer3, 0x5eed_0002);
    }
}
