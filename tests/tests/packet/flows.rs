//! Flow state: what belongs to a flow that was let through, and for how long.

use std::{net::SocketAddr, time::Duration};

use sluice_abi::{FlowEntry, Reason};
use sluice_policy::port::PortRange;
use sluice_tests::{
    family::Family,
    packet::{Packet, Tcp, Udp, flag},
};

use crate::{
    bench::{Bench, STEER, both, discard, pass, reject},
    world::{World, member, origin, other},
};

/// A second more, or less, than so many nanoseconds.
fn after(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds) + Duration::from_secs(1)
}

fn before(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds) - Duration::from_secs(1)
}

fn data(from: SocketAddr, to: SocketAddr) -> Packet {
    Tcp::ack(from, to).payload(b"data").packet()
}

fn with(flags: u8, from: SocketAddr, to: SocketAddr) -> Packet {
    Tcp::new(from, to, flags).packet()
}

/// Opens a connection from a client.
fn open(bench: &mut Bench, client: SocketAddr, remote: SocketAddr) {
    bench.expect_out(
        "SYN",
        &Tcp::syn(client, remote).packet(),
        pass(Reason::Listed),
    );
    bench.expect_back(
        "SYN-ACK",
        &Tcp::syn_ack(remote, client).packet(),
        pass(Reason::Flow),
    );
    bench.expect_out(
        "ACK",
        &Tcp::ack(client, remote).packet(),
        pass(Reason::Flow),
    );
}

both! {
    fn answers_pass_and_nothing_else_does(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 123));
            let question = Udp::new(client, remote, b"time").packet();
            let answer = Udp::new(remote, client, b"it is").packet();
            bench.expect_back("unasked", &answer, discard(Reason::InboundUdp));
            bench.expect_out("question", &question, pass(Reason::Listed));
            bench.expect_out("asked again", &question, pass(Reason::Flow));
            bench.expect_back("answer", &answer, pass(Reason::Flow));
            bench.expect_back("another answer", &answer, pass(Reason::Flow));
            let strangers = [
                (family.origin_at(6, 123), client),
                (origin(family, 124), client),
                (remote, SocketAddr::new(client.ip(), 40001)),
                (remote, other(family)),
            ];
            for (from, to) in strangers {
                let packet = Udp::new(from, to, b"it is not").packet();
                bench.expect_back("somebody else", &packet, discard(Reason::InboundUdp));
            }
            let tcp = Tcp::syn(remote, client).packet();
            bench.expect_back("another protocol", &tcp, discard(Reason::InboundTcp));
        }
    }

    fn a_connection_passes_both_ways_from_syn_to_fin(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            open(bench, client, remote);
            bench.later(Duration::from_secs(2 * 3600));
            bench.expect_out("keep-alive", &data(client, remote), pass(Reason::Flow));
            bench.later(Duration::from_secs(2 * 3600));
            bench.expect_back("data", &data(remote, client), pass(Reason::Flow));
            bench.expect_out("FIN", &with(flag::FIN | flag::ACK, client, remote), pass(Reason::Flow));
            bench.later(Duration::from_secs(2 * 3600));
            bench.expect_back("half closed", &data(remote, client), pass(Reason::Flow));
            bench.expect_back("FIN", &with(flag::FIN | flag::ACK, remote, client), pass(Reason::Flow));
            bench.expect_out("last ACK", &data(client, remote), pass(Reason::Flow));
            bench.later(after(FlowEntry::TCP_CLOSING_NS));
            bench.expect_out("too late", &data(client, remote), discard(Reason::Midstream));
            assert_eq!(bench.flows(), (0, 0));
        }
    }

    fn a_new_connection_may_use_the_ports_of_an_ended_one(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            open(bench, client, remote);
            bench.expect_out("a second SYN", &Tcp::syn(client, remote).packet(), pass(Reason::Flow));
            bench.expect_back("RST", &with(flag::RST, remote, client), pass(Reason::Flow));
            open(bench, client, remote);
            bench.expect_out("FIN", &with(flag::FIN | flag::ACK, client, remote), pass(Reason::Flow));
            bench.expect_back("FIN", &with(flag::FIN | flag::ACK, remote, client), pass(Reason::Flow));
            let call = Tcp::syn(remote, client).packet();
            bench.expect_back("SYN from outside", &call, discard(Reason::InboundTcp));
            open(bench, client, remote);
            assert_eq!(bench.flows().0, if family == Family::V4 { 1 } else { 2 });
        }
    }

    fn a_refused_connection_ends_at_once(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            bench.expect_out("SYN", &Tcp::syn(client, remote).packet(), pass(Reason::Listed));
            let refused = with(flag::RST | flag::ACK, remote, client);
            bench.expect_back("RST", &refused, pass(Reason::Flow));
            bench.later(after(FlowEntry::TCP_RESET_NS));
            bench.expect_back("data", &data(remote, client), discard(Reason::Midstream));
        }
    }

    fn silence_ends_a_flow(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            let syn = Tcp::syn(client, remote).packet();
            let syn_ack = Tcp::syn_ack(remote, client).packet();
            bench.expect_out("SYN", &syn, pass(Reason::Listed));
            bench.later(after(FlowEntry::TCP_EMBRYONIC_NS));
            bench.expect_back("late answer", &syn_ack, discard(Reason::Midstream));
            open(bench, client, remote);
            bench.later(before(FlowEntry::TCP_ESTABLISHED_NS));
            bench.expect_back("in time", &data(remote, client), pass(Reason::Flow));
            bench.later(after(FlowEntry::TCP_ESTABLISHED_NS));
            bench.expect_back("too late", &data(remote, client), discard(Reason::Midstream));

            let (client, remote) = (member(family), origin(family, 123));
            let question = Udp::new(client, remote, b"time").packet();
            let answer = Udp::new(remote, client, b"it is").packet();
            bench.expect_out("question", &question, pass(Reason::Listed));
            bench.later(after(FlowEntry::UDP_EMBRYONIC_NS));
            bench.expect_back("late answer", &answer, discard(Reason::InboundUdp));
            bench.expect_out("question", &question, pass(Reason::Listed));
            bench.later(before(FlowEntry::UDP_EMBRYONIC_NS));
            bench.expect_back("answer", &answer, pass(Reason::Flow));
            bench.later(before(FlowEntry::UDP_ESTABLISHED_NS));
            bench.expect_back("answer", &answer, pass(Reason::Flow));
            bench.later(after(FlowEntry::UDP_ESTABLISHED_NS));
            bench.expect_back("too late", &answer, discard(Reason::InboundUdp));

            let esp = |from, to| Packet::raw(from, to, 50, &[1; 40]);
            let partner = family.origin(crate::world::PARTNER);
            bench.expect_out("ESP", &esp(family.member(), partner), pass(Reason::EgressRule));
            bench.later(before(FlowEntry::OTHER_NS));
            bench.expect_back("answer", &esp(partner, family.member()), pass(Reason::Flow));
            bench.later(after(FlowEntry::OTHER_NS));
            let late = esp(partner, family.member());
            bench.expect_back("too late", &late, discard(Reason::InboundOther));
        }
    }

    fn a_new_generation_judges_known_flows_again(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            let half = SocketAddr::new(client.ip(), 40007);
            open(bench, client, remote);
            bench.expect_out("SYN", &Tcp::syn(half, remote).packet(), pass(Reason::Listed));
            bench.publish(|_| {});
            bench.expect_out("the same policy", &data(client, remote), pass(Reason::Flow));
            bench.expect_back("and back", &data(remote, client), pass(Reason::Flow));
            bench.expect_back("embryonic", &Tcp::syn_ack(remote, half).packet(), pass(Reason::Flow));
            bench.publish(|world| world.egress.pass_tcp.clear());
            bench.expect_out("closed", &data(client, remote), reject(Reason::EgressDefault));
            bench.expect_back("closed", &data(remote, half), discard(Reason::EgressDefault));
            assert_eq!(bench.flows(), (0, 0));
            bench.publish(|world| *world = World::default());
            bench.expect_out("not revived", &data(client, remote), discard(Reason::Midstream));
        }
    }

    fn a_port_that_is_steered_from_now_on_ends_the_flows_that_passed(bench) {
        for family in Family::ALL {
            let (client, remote) = (member(family), origin(family, 22));
            open(bench, client, remote);
            bench.publish(|world| world.steer.tls.push(PortRange::single(22)));
            bench.expect_back("from outside", &data(remote, client), discard(Reason::Midstream));
            bench.expect_out("from the client", &data(client, remote), STEER);
            bench.publish(|world| *world = World::default());
        }
    }

    fn a_rule_lets_callers_in_and_their_answers_out(bench) {
        for family in Family::ALL {
            let (caller, client) = (origin(family, 700), SocketAddr::new(family.member(), 5001));
            let syn = Tcp::syn(caller, client).packet();
            let syn_ack = Tcp::syn_ack(client, caller).packet();
            bench.expect_out("unasked answer", &syn_ack, reject(Reason::EgressDefault));
            bench.expect_back("call", &syn, pass(Reason::EgressRule));
            bench.expect_out("answer", &syn_ack, pass(Reason::Flow));
            bench.expect_back("data", &data(caller, client), pass(Reason::Flow));
            let stranger = Tcp::syn(caller, SocketAddr::new(family.other(), 5001)).packet();
            bench.expect_back("to another client", &stranger, discard(Reason::InboundTcp));
            let elsewhere = Tcp::syn(caller, SocketAddr::new(family.member(), 5002)).packet();
            bench.expect_back("to another port", &elsewhere, discard(Reason::InboundTcp));
            let called = SocketAddr::new(family.member(), 5000);
            let datagram = Udp::new(caller, called, b"call").packet();
            bench.expect_back("UDP", &datagram, pass(Reason::EgressRule));
            bench.expect_out("answer", &Udp::new(called, caller, b"yes").packet(), pass(Reason::Flow));
            bench.publish(|world| world.egress.rules.clear());
            bench.expect_back("no longer", &data(caller, client), discard(Reason::InboundTcp));
            let no = Udp::new(called, caller, b"yes").packet();
            bench.expect_out("no longer", &no, discard(Reason::InboundUdp));
            bench.publish(|world| *world = World::default());
        }
    }

    fn flows_between_two_lans_are_judged_where_they_begin(bench) {
        for family in Family::ALL {
            let near = SocketAddr::new(family.on_lan(0, 0x10), 40000);
            let far = |port| SocketAddr::new(family.on_lan(1, 0x20), port);
            let syn = Tcp::syn(near, far(22)).packet();
            bench.expect_out("from one LAN", &syn, pass(Reason::Listed));
            bench.expect_back("to the other", &syn, pass(Reason::Flow));
            let syn_ack = Tcp::syn_ack(far(22), near).packet();
            bench.expect_out("answer", &syn_ack, pass(Reason::Flow));
            bench.expect_back("answer", &syn_ack, pass(Reason::Flow));
            for from_far in [false, true] {
                let packet = if from_far { data(far(22), near) } else { data(near, far(22)) };
                bench.expect_out("data", &packet, pass(Reason::Flow));
                bench.expect_back("data", &packet, pass(Reason::Flow));
            }
            bench.expect_out("native port", &Tcp::syn(near, far(5000)).packet(), reject(Reason::NativeTcp));
            bench.expect_out("web port", &Tcp::syn(near, far(443)).packet(), STEER);
            // The one who was called may call back only as the policy lets him.
            let back = Tcp::syn(far(22), SocketAddr::new(near.ip(), 40001)).packet();
            bench.expect_out("the other way", &back, reject(Reason::NativeTcp));
        }
    }

    fn the_order_of_the_two_ends_does_not_matter(bench) {
        for family in Family::ALL {
            // Both orders of address and of port, and equal addresses.
            let hosts = [family.on_lan(0, 0x10), family.on_lan(0, 0x20), family.on_lan(1, 0x10)];
            for (number, client) in (0..).zip(hosts) {
                for remote in hosts {
                    for port in [5, 60_000] {
                        let near = SocketAddr::new(client, port);
                        let far = SocketAddr::new(remote, 123);
                        let there = Udp::new(near, far, b"question").packet();
                        let here = Udp::new(far, near, b"answer").packet();
                        bench.expect_out("question", &there, pass(Reason::Listed));
                        bench.expect_out("answer", &here, pass(Reason::Flow));
                        bench.expect_out("question", &there, pass(Reason::Flow));
                        bench.later(Duration::from_secs(400 + number));
                    }
                }
            }
        }
    }
}
