//! Handing flows to the daemon: SYN cookies, ports used again, and where no flow may lead.

use std::{
    fs,
    io::Write,
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use rustls::version::TLS13;
use sluice_tests::{
    dial::{self, Outcome},
    family::Family,
    lab::Lab,
    netns::Netns,
    packet::{Tcp, flag},
    peer::Peer,
    pki::Pki,
};
use socket2::{Domain, Socket, Type};

use crate::{
    exchange::{End, Heard, Then, echoed, hear, say},
    leaks::Leaks,
    raw,
    support::{self, OPEN, PATIENCE, connect, eventually, ip6, packets},
    tools,
};

/// A file below `/proc/net`, as a namespace sees it.
fn proc_net(netns: &Netns, file: &str) -> String {
    netns
        .run(|| fs::read_to_string(format!("/proc/thread-self/net/{file}")))
        .unwrap()
}

/// A counter of TcpExt, both families together.
fn tcp_ext(netns: &Netns, name: &str) -> u64 {
    let text = proc_net(netns, "netstat");
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    let value = pairs.find_map(|(found, value)| (found == name).then_some(value));
    value.unwrap().parse().unwrap()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn transfers_are_whole_while_every_syn_gets_a_cookie() {
    const ROUNDS: u64 = 20;
    let (lab, pki) = (Lab::new(), Pki::new());
    lab.gateway().sysctl("net.ipv4.tcp_syncookies", "2");
    let _daemon = lab.run_sluice(OPEN);
    let config = pki.server(&[tools::NAME], &[&TLS13]);
    let body = "all of it ".repeat(20_000);
    let before = tcp_ext(lab.gateway(), "SyncookiesRecv");
    for family in Family::ALL {
        let origin = family.origin_at(5, 443);
        let _server = Peer::https(lab.internet(), origin, &config, &body);
        for _ in 0..ROUNDS {
            let answer = tools::rustls(&lab, family.other(), origin, &pki, &[&TLS13]).unwrap();
            assert!(answer.ends_with(&body), "{family:?}");
        }
    }
    assert!(tcp_ext(lab.gateway(), "SyncookiesRecv") >= before + 2 * ROUNDS);
}

/// Connects from a port that may have been used before.
fn connect_from(lab: &Lab, from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = lab
        .client()
        .run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))
        .unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&from.into()).unwrap();
    let connected = socket.connect_timeout(&to.into(), PATIENCE);
    connected.unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether the gateway keeps a connection from this client's port in TIME_WAIT.
fn waits(lab: &Lab, family: Family, port: u16) -> bool {
    let file = match family {
        Family::V4 => "tcp",
        Family::V6 => "tcp6",
    };
    let peer = format!(":{port:04X}");
    proc_net(lab.gateway(), file).lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() > 3
            && words[1].ends_with(":01BB")
            && words[2].ends_with(&peer)
            && words[3] == "06"
    })
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_syn_into_time_wait_begins_a_flow() {
    let lab = Lab::new();
    let _daemon = lab.run_sluice(OPEN);
    for family in Family::ALL {
        let to = family.origin_at(5, 443);
        // An origin that closes first leaves TIME_WAIT on the gateway.
        let _origin = Peer::tcp(lab.internet(), to, |mut stream, _| {
            let mut word = [0; 4];
            std::io::Read::read_exact(&mut stream, &mut word).unwrap();
            stream.write_all(&word).unwrap();
        });
        let from = SocketAddr::new(family.other(), 51_000);
        for round in 0..4 {
            let mut stream = connect_from(&lab, from, to);
            stream.write_all(b"word").unwrap();
            assert_eq!(hear(&mut stream), Heard::bytes(b"word"), "round {round}");
            drop(stream);
            eventually("the gateway waits for stray packets", || {
                waits(&lab, family, from.port())
            });
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a16_the_gateway_is_no_origin() {
    let lab = Lab::new();
    let _daemon = lab.run_sluice(OPEN);
    let _wan_service = Family::ALL.map(|family| {
        let admin = SocketAddr::new(family.gateway_wan(), 9443);
        Peer::echo(lab.gateway(), admin)
    });
    let refused = |from: IpAddr, to: SocketAddr| {
        let (outcome, _) = dial::say(lab.client(), from, to, b"GET / HTTP/1.0\r\n\r\n", PATIENCE);
        assert_eq!(outcome, Outcome::Refused, "{to}");
    };
    for family in Family::ALL {
        for gateway in [family.gateway_lan(), family.gateway_wan()] {
            // The transparent listener, the steered port on the gateway's own address.
            refused(family.other(), SocketAddr::new(gateway, 5143));
            refused(family.other(), SocketAddr::new(gateway, 443));
        }
        // The metrics are on loopback only.
        refused(family.other(), SocketAddr::new(family.gateway_lan(), 9443));
    }
    assert!(packets(&lab, "lan_ingress", "listener-port") >= 4);
}

/// Makes the clients send what is for loopback to the gateway, as a hostile client can.
fn misroute(lab: &Lab) {
    lab.client().ip("rule add pref 20 lookup local
         rule del pref 0
         rule add pref 5 to 127.0.0.0/8 lookup 100
         rule add pref 6 to 169.254.0.0/16 lookup 100
         route add 127.0.0.0/8 via 10.77.0.1 dev eth0 table 100
         route add 169.254.0.0/16 via 10.77.0.1 dev eth0 table 100
         route add ::1 via fd77::1 dev eth0 table 100");
    for rule in [
        "rule add pref 20 lookup local",
        "rule del pref 0",
        "rule add pref 5 to ::1 lookup 100",
    ] {
        ip6(lab.client(), rule);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a16_neither_loopback_nor_metadata_can_be_reached_through_it() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(OPEN);
    let metadata: SocketAddr = "169.254.169.254:443".parse().unwrap();
    lab.internet().ip("addr add 169.254.169.254/32 dev lo");
    lab.gateway().ip("route add 169.254.169.254 via 192.0.2.2");
    let _metadata = Peer::echo(lab.internet(), metadata);
    // As container engines set it: the kernel itself takes packets for loopback then.
    lab.gateway()
        .sysctl("net.ipv4.conf.all.route_localnet", "1");
    misroute(&lab);
    let leaks = Leaks::watch(&lab);
    for (from, to) in [
        (Family::V4.other(), "127.0.0.1:9443"),
        (Family::V4.other(), "127.0.0.1:443"),
        (Family::V4.other(), "127.0.0.1:5143"),
        (Family::V4.other(), "169.254.169.254:443"),
        (Family::V4.other(), "169.254.169.254:80"),
        (Family::V6.other(), "[::1]:443"),
        (Family::V6.other(), "[::1]:5143"),
    ] {
        let patience = Duration::from_millis(500);
        let to = to.parse().unwrap();
        let (outcome, _) = dial::say(lab.client(), from, to, b"GET / HTTP/1.0\r\n\r\n", patience);
        assert!(
            matches!(outcome, Outcome::Silence | Outcome::Refused),
            "{to}: {outcome}"
        );
    }
    assert!(packets(&lab, "lan_ingress", "bad-destination") >= 7);
    assert_eq!(leaks.leaked(), 0);
    let metrics = daemon.metrics();
    assert_eq!(
        metrics.sum("sluice_flows_total", &[("verdict", "splice")]),
        0.0
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a10_stray_packets_reach_no_origin() {
    let lab = Lab::new();
    let config = OPEN.replace("[steer]", "[egress]\npass_tcp = [\"22\"]\n[steer]");
    let _daemon = lab.run_sluice(&config);
    let leaks = Leaks::watch(&lab);
    for family in Family::ALL {
        let from = SocketAddr::new(family.other(), 45_000);
        let [open, steered] = [22, 443].map(|port| family.origin_at(5, port));
        for flags in [
            flag::ACK,
            flag::ACK | flag::PSH,
            flag::FIN | flag::ACK,
            flag::RST,
        ] {
            for to in [open, steered] {
                let segment = Tcp::new(from, to, flags).payload(b"stray").packet();
                raw::send(&lab, to, &segment);
            }
        }
    }
    eventually("every stray packet of the open port is counted", || {
        packets(&lab, "lan_ingress", "midstream") == 8
    });
    assert!(packets(&lab, "lan_ingress", "steered") >= 8);
    assert_eq!(leaks.leaked(), 0);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a10_a_passing_flow_survives_a_restart_but_not_the_loss_of_its_state() {
    let lab = Lab::new();
    let config = OPEN.replace("[steer]", "[egress]\npass_tcp = [\"22\"]\n[steer]");
    let daemon = lab.run_sluice(&config);
    let _origins = Family::ALL.map(|family| Peer::echo(lab.internet(), family.origin_at(5, 22)));
    let mut flows = Family::ALL.map(|family| {
        let mut stream = connect(&lab, family.other(), family.origin_at(5, 22));
        echoed(&mut stream, b"begun");
        stream
    });
    drop(daemon);
    let daemon = lab.run_sluice(&config);
    for stream in &mut flows {
        echoed(stream, b"goes on");
    }
    drop(daemon);
    support::sluice(&lab, "unload");
    support::sluice(&lab, "load");
    for stream in &mut flows {
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        say(stream, b"stray", Then::Wait);
        assert_ne!(hear(stream).end, End::Finished);
    }
    assert!(packets(&lab, "lan_ingress", "midstream") >= 2);
}
