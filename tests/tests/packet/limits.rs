//! Limits on flows: in all, per client, and under a flood.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use sluice_abi::Reason;
use sluice_tests::{
    family::Family,
    packet::{Tcp, Udp, flag},
};

use crate::{
    bench::{Bench, Outcome, both, discard, pass, reject},
    world::{World, member, origin},
};

/// A question and its answer, from a port of a client.
fn exchange(bench: &mut Bench, client: SocketAddr, remote: SocketAddr, expected: Outcome) {
    bench.expect_out(
        "question",
        &Udp::new(client, remote, b"time").packet(),
        pass(Reason::Listed),
    );
    bench.expect_back(
        "answer",
        &Udp::new(remote, client, b"it is").packet(),
        expected,
    );
}

fn from_port(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// A client in a range of its own, for floods.
fn stranger(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(0x0a64_0000 + number).into(),
        Family::V6 => Ipv6Addr::from_bits((0xfd64u128 << 112) + u128::from(number)).into(),
    }
}

both! {
    fn a14_a_full_table_refuses_new_flows_and_keeps_the_old(bench) {
        for family in Family::ALL {
            let mut bench = bench.again(sluice_programs::Link::Ethernet, World::default());
            bench.publish(|world| world.egress.flow_limit = 4);
            let remote = origin(family, 123);
            for port in 0..4 {
                exchange(&mut bench, from_port(family.member(), 40000 + port), remote, pass(Reason::Flow));
            }
            for port in 4..40 {
                let client = from_port(family.member(), 40000 + port);
                exchange(&mut bench, client, remote, discard(Reason::FlowLimit));
            }
            let (client, ssh) = (member(family), origin(family, 22));
            bench.expect_out("SYN", &Tcp::syn(client, ssh).packet(), pass(Reason::Listed));
            bench.expect_back("SYN-ACK", &Tcp::syn_ack(ssh, client).packet(), discard(Reason::FlowLimit));
            for port in 0..4 {
                let client = from_port(family.member(), 40000 + port);
                bench.expect_out("old", &Udp::new(client, remote, b"x").packet(), pass(Reason::Flow));
                bench.expect_back("old", &Udp::new(remote, client, b"x").packet(), pass(Reason::Flow));
            }
            let blocked = Tcp::syn(client, origin(family, 5000)).packet();
            bench.expect_out("blocked before", &blocked, reject(Reason::NativeTcp));
            assert_eq!(bench.flows().0, 4);
            // What has expired makes room, and refusing has used none up.
            bench.later(Duration::from_secs(301));
            for port in 0..4 {
                exchange(&mut bench, from_port(family.other(), 40000 + port), remote, pass(Reason::Flow));
            }
            exchange(&mut bench, from_port(family.other(), 1), remote, discard(Reason::FlowLimit));
            assert_eq!(bench.flows().0, 4);
            bench.check_counters();
        }
    }

    fn a14_one_client_cannot_take_the_room_of_others(bench) {
        for family in Family::ALL {
            let mut bench = bench.again(sluice_programs::Link::Ethernet, World::default());
            bench.publish(|world| world.egress.flow_limit_per_client = 3);
            let remote = origin(family, 123);
            let client = |port: u16| from_port(family.member(), 40000 + port);
            for port in 0..3 {
                exchange(&mut bench, client(port), remote, pass(Reason::Flow));
            }
            for port in 3..20 {
                exchange(&mut bench, client(port), remote, discard(Reason::ClientFlowLimit));
            }
            let another = from_port(family.other(), 40000);
            exchange(&mut bench, another, remote, pass(Reason::Flow));
            // The client of a call from outside is who was called, not who called.
            let caller = origin(family, 700);
            let called = from_port(family.member(), 5000);
            let call = Udp::new(caller, called, b"call").packet();
            bench.expect_back("call", &call, pass(Reason::EgressRule));
            let answer = Udp::new(called, caller, b"yes").packet();
            bench.expect_out("answer", &answer, discard(Reason::ClientFlowLimit));
            bench.later(Duration::from_secs(301));
            for port in 20..23 {
                exchange(&mut bench, client(port), remote, pass(Reason::Flow));
            }
            exchange(&mut bench, client(23), remote, discard(Reason::ClientFlowLimit));
            bench.check_counters();
        }
    }

    fn a14_ended_connections_give_their_room_back(bench) {
        bench.publish(|world| world.egress.flow_limit_per_client = 2);
        for family in Family::ALL {
            let remote = origin(family, 22);
            for port in 0..50 {
                let client = from_port(family.member(), 40000 + port);
                bench.expect_out("SYN", &Tcp::syn(client, remote).packet(), pass(Reason::Listed));
                let answer = Tcp::syn_ack(remote, client).packet();
                bench.expect_back("SYN-ACK", &answer, pass(Reason::Flow));
                let reset = Tcp::new(client, remote, flag::RST).packet();
                bench.expect_out("RST", &reset, pass(Reason::Flow));
                bench.later(Duration::from_secs(16));
            }
            assert!(bench.flows().0 <= 4);
        }
    }

    fn a14_a_flood_of_openings_neither_ends_nor_opens_anything(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            bench.expect_out("SYN", &Tcp::syn(client, remote).packet(), pass(Reason::Listed));
            bench.expect_back("SYN-ACK", &Tcp::syn_ack(remote, client).packet(), pass(Reason::Flow));
            // More than the kernel's table of unanswered flows holds.
            for number in 0..70_000 {
                let from = from_port(stranger(family, number), 1024);
                bench.expect_out("flood", &Tcp::syn(from, remote).packet(), pass(Reason::Listed));
            }
            bench.expect_out("old", &Tcp::ack(client, remote).packet(), pass(Reason::Flow));
            bench.expect_back("old", &Tcp::ack(remote, client).packet(), pass(Reason::Flow));
            let blocked = Tcp::syn(client, origin(family, 5000)).packet();
            bench.expect_out("blocked", &blocked, reject(Reason::NativeTcp));
            let newcomer = from_port(family.other(), 40000);
            bench.expect_out("SYN", &Tcp::syn(newcomer, remote).packet(), pass(Reason::Listed));
            let answer = Tcp::syn_ack(remote, newcomer).packet();
            bench.expect_back("SYN-ACK", &answer, pass(Reason::Flow));
            let call = Tcp::syn(origin(family, 700), client).packet();
            bench.expect_back("unasked", &call, discard(Reason::InboundTcp));
        }
    }
}
