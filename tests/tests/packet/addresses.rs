//! Addresses that a gateway must not forward to, or from.

use std::net::{IpAddr, SocketAddr};

use sluice_abi::Reason;
use sluice_tests::{
    family::Family,
    packet::{Icmp, Tcp, Udp},
};

use crate::{
    bench::{STEER, both, discard, pass, reject},
    world::{LISTENER, member, origin, other},
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Destinations that lead to the gateway's own host, or to no host.
const FORBIDDEN: [&str; 11] = [
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "0.0.0.0",
    "0.1.2.3",
    "240.0.0.1",
    "255.255.255.254",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:203.0.113.5",
];

/// Destinations that are not forwarded by any router.
const LOCAL: [&str; 8] = [
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "10.77.0.255",
    "192.0.2.255",
    "ff02::1",
    "ff0e::1",
    "fe80::1",
];

fn source(to: IpAddr) -> IpAddr {
    if to.is_ipv4() {
        Family::V4.member()
    } else {
        Family::V6.member()
    }
}

both! {
    fn a16_the_gateway_is_reached_for_itself_but_not_its_listener(bench) {
        for family in Family::ALL {
            for own in [family.gateway_lan(), family.gateway_wan(), family.on_lan(1, 1)] {
                let to = |port| SocketAddr::new(own, port);
                let syn = Tcp::syn(member(family), to(LISTENER)).packet();
                bench.expect_out("listener", &syn, reject(Reason::ListenerPort));
                let data = Tcp::ack(member(family), to(LISTENER)).packet();
                bench.expect_out("listener, midstream", &data, reject(Reason::ListenerPort));
                for port in [22, 443, 9443] {
                    let syn = Tcp::syn(member(family), to(port)).packet();
                    bench.expect_out("the host's firewall decides", &syn, pass(Reason::ToGateway));
                }
                let udp = Udp::new(member(family), to(LISTENER), b"dns").packet();
                bench.expect_out("UDP", &udp, pass(Reason::ToGateway));
                bench.publish(|_| {});
                bench.expect_out("UDP, whatever the policy", &udp, pass(Reason::Flow));
                let ping = Icmp::echo_request(family.member(), own, 1, 1).packet();
                bench.expect_out("ping", &ping, pass(Reason::ToGateway));
                let answer = Udp::new(to(53), member(family), b"answer").packet();
                bench.expect_back("what it says itself", &answer, pass(Reason::FromGateway));
            }
            assert_eq!(bench.flows().0, 0);
        }
    }

    fn a16_nothing_is_forwarded_to_addresses_of_no_other_host(bench) {
        for text in FORBIDDEN {
            let to = ip(text);
            for port in [22, 80, 443, LISTENER] {
                let from = SocketAddr::new(source(to), 40000);
                let syn = Tcp::syn(from, SocketAddr::new(to, port)).packet();
                bench.expect_out(text, &syn, discard(Reason::BadDestination));
            }
            let from = SocketAddr::new(source(to), 40000);
            let udp = Udp::new(from, SocketAddr::new(to, 123), b"x").packet();
            bench.expect_out(text, &udp, discard(Reason::BadDestination));
            let ping = Icmp::echo_request(source(to), to, 1, 1).packet();
            bench.expect_out(text, &ping, discard(Reason::BadDestination));
        }
        for text in LOCAL {
            let to = ip(text);
            for port in [123, 443, 5000] {
                let from = SocketAddr::new(source(to), 40000);
                let udp = Udp::new(from, SocketAddr::new(to, port), b"x").packet();
                bench.expect_out(text, &udp, pass(Reason::Unforwarded));
            }
        }
    }

    fn a16_nothing_comes_from_addresses_that_no_client_has(bench) {
        let sources = [
            "127.0.0.1", "0.0.0.0", "169.254.7.7", "224.0.0.1", "255.255.255.255", "240.1.1.1",
            "::", "::1", "ff02::1", "::ffff:10.77.0.10",
        ];
        for text in sources {
            let from = SocketAddr::new(ip(text), 40000);
            let family = Family::of(from.ip());
            for port in [22, 443] {
                let syn = Tcp::syn(from, origin(family, port)).packet();
                bench.expect_out(text, &syn, discard(Reason::BadSource));
            }
            let call = Udp::new(from, SocketAddr::new(family.member(), 5000), b"x").packet();
            bench.expect_back(text, &call, discard(Reason::BadSource));
        }
        for family in Family::ALL {
            for own in [family.gateway_lan(), family.gateway_wan()] {
                let syn = Tcp::syn(SocketAddr::new(own, 40000), origin(family, 443)).packet();
                bench.expect_out("the gateway's own", &syn, discard(Reason::BadSource));
            }
        }
    }

    fn a16_the_same_ports_lead_elsewhere_as_the_policy_says(bench) {
        for family in Family::ALL {
            let syn = |port| Tcp::syn(other(family), origin(family, port)).packet();
            bench.expect_out("steered", &syn(443), STEER);
            bench.expect_out("an origin's own port of that number", &syn(LISTENER), reject(Reason::NativeTcp));
            let broadcast = Udp::new(other(family), SocketAddr::new(family.on_lan(1, 0x20), 138), b"x");
            bench.expect_out("a neighbouring LAN", &broadcast.packet(), reject(Reason::EgressDefault));
        }
    }
}
