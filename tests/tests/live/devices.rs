//! Devices of the LAN: several, later ones, ones that go and come back, and what passes between.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use sluice_tests::{
    dial::{self, Outcome},
    family::Family,
    hello,
    lab::Lab,
    netns::{Netns, veth},
    peer::{Peer, Recorder},
};

use crate::{
    exchange::{Heard, Then, hear, say},
    leaks::Leaks,
    socket::Wire,
    support::{PATIENCE, eventually, ip6, recipe, status},
};

/// How long a new device may be without programs.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Whether both programs are on a device.
fn is_judged(lab: &Lab, device: &str) -> bool {
    let status = status(lab);
    status["devices"]
        .as_array()
        .unwrap()
        .iter()
        .any(|found| found["name"] == device && found["ingress"] == true && found["egress"] == true)
}

/// The recipe holds for a client: native ports and foreign bytes are refused, TLS is served.
fn is_policed(lab: &Lab, client: &Netns, from: IpAddr) {
    let family = Family::of(from);
    let native = family.origin_at(66, 33_033);
    let (outcome, _) = dial::ask(client, from, native, b"native", PATIENCE);
    assert!(
        matches!(outcome, Outcome::Refused | Outcome::Prohibited),
        "{from}: {outcome}"
    );
    let origin = Recorder::new(lab.internet(), family.origin_at(5, 443), &hello::answer());
    let exchange = |bytes: &[u8]| {
        let mut stream = dial::tcp(client, from, origin.address(), PATIENCE).unwrap();
        say(&mut stream, bytes, Then::Finish);
        hear(&mut stream)
    };
    assert_eq!(exchange(b"not tls\r\n"), Heard::reset(), "{from}");
    let named = hello::genuine("news.example", &[]);
    assert_eq!(exchange(&named), Heard::bytes(&hello::answer()), "{from}");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn every_lan_is_policed_and_so_is_what_passes_between_them() {
    let lab = Lab::builder().lans(3).build();
    let _daemon = lab.run_sluice(&recipe());
    for family in Family::ALL {
        for lan in 0..3 {
            let client = lab.client_on(lan.into());
            is_policed(&lab, client, family.on_lan(lan, 0x20));
        }
        let (near, far) = (family.on_lan(0, 0x20), family.on_lan(1, 0x20));
        let neighbour = lab.client_on(1);
        let ask = |port| {
            let to = SocketAddr::new(far, port);
            let _echo = Peer::udp(neighbour, to, |bytes, _| Some(bytes.to_vec()));
            dial::ask(lab.client(), near, to, b"neighbour", PATIENCE).0
        };
        assert!(!ask(33_033).is_answered(), "{family:?}: a closed port");
        assert!(ask(123).is_answered(), "{family:?}: an open port");

        let origin = Recorder::new(neighbour, SocketAddr::new(far, 443), &hello::answer());
        let exchange = |bytes: &[u8]| {
            let mut stream = dial::tcp(lab.client(), near, origin.address(), PATIENCE).unwrap();
            say(&mut stream, bytes, Then::Finish);
            hear(&mut stream)
        };
        let named = hello::genuine("printer.example", &[]);
        assert_eq!(exchange(&named), Heard::bytes(&hello::answer()));
        assert_eq!(exchange(&hello::sslv2()), Heard::alert(70));
        assert_eq!(origin.recordings().len(), 1);
    }
}

/// A LAN that is plugged in while everything runs.
struct Plugged<'a> {
    lab: &'a Lab,
}

impl<'a> Plugged<'a> {
    /// Devices `lan7` of the gateway and `eth7` of the client, down and without addresses.
    fn new(lab: &'a Lab) -> Self {
        veth((lab.gateway(), "lan7"), (lab.client(), "eth7"));
        Self { lab }
    }

    /// The way that its clients' packets take.
    fn route(&self) {
        let ([v4, v6], [c4, c6]) = (
            Family::ALL.map(|family| family.on_lan(7, 1)),
            Family::ALL.map(Self::client),
        );
        self.lab.gateway().ip(&format!(
            "addr add {v4}/24 dev lan7\naddr add {v6}/64 dev lan7 nodad"
        ));
        self.lab.client().ip(&format!(
            "addr add {c4}/24 dev eth7
             addr add {c6}/64 dev eth7 nodad
             rule add from {c4} lookup 7
             route add default via {v4} dev eth7 table 7
             route add ::/0 via {v6} dev eth7 table 7"
        ));
        ip6(self.lab.client(), &format!("rule add from {c6} lookup 7"));
    }

    fn client(family: Family) -> IpAddr {
        family.on_lan(7, 0x20)
    }

    fn unplug(self) {
        self.lab.gateway().ip("link del lan7");
        let [c4, c6] = Family::ALL.map(Self::client);
        self.lab.client().ip(&format!("rule del from {c4}"));
        ip6(self.lab.client(), &format!("rule del from {c6}"));
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn h6_a_device_is_policed_when_it_appears_and_when_it_comes_back() {
    let lab = Lab::new();
    let config = recipe().replace("[gateway]", "[gateway]\nlan = [\"lan*\"]");
    let _daemon = lab.run_sluice(&config);
    let leaks = Leaks::watch(&lab);
    for _ in 0..3 {
        let plugged = Plugged::new(&lab);
        let took = eventually("the programs are on the device", || is_judged(&lab, "lan7"));
        assert!(took < AT_ONCE, "{took:?}");
        plugged.route();
        for family in Family::ALL {
            is_policed(&lab, lab.client(), Plugged::client(family));
            is_policed(&lab, lab.client(), family.other());
        }
        plugged.unplug();
        eventually("the device is forgotten", || !is_judged(&lab, "lan7"));
    }
    assert_eq!(leaks.leaked(), 0);
}

/// A link without link headers, from one namespace to another.
struct Tunnel {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Tunnel {
    /// Makes devices of this name in both.
    fn new(near: &Netns, far: &Netns, device: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let [near, far] = [near, far].map(|netns| {
            let wire = Arc::new(Wire::tun(netns, device));
            // One that is down takes nothing: both are up before anything is carried.
            netns.ip(&format!("link set {device} up"));
            wire
        });
        let carry = |from: &Arc<Wire>, to: &Arc<Wire>| {
            let (from, to, stop) = (Arc::clone(from), Arc::clone(to), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let glance = Duration::from_millis(20);
                    if let Some(packet) = from.find(glance, |found| Some(found.frame.clone())) {
                        to.send(&packet);
                    }
                }
            })
        };
        let threads = vec![carry(&near, &far), carry(&far, &near)];
        Self { stop, threads }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the tunnel broke");
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_device_without_link_headers_is_policed_like_any_other() {
    let lab = Lab::new();
    let _tunnel = Tunnel::new(lab.gateway(), lab.client(), "tun0");
    let config = recipe().replace("[gateway]", "[gateway]\nlan = [\"lan0\", \"tun0\"]");
    let _daemon = lab.run_sluice(&config);
    let leaks = Leaks::watch(&lab);
    assert!(is_judged(&lab, "tun0"));
    let [g4, g6] = Family::ALL.map(|family| family.on_lan(9, 1));
    let [c4, c6] = Family::ALL.map(|family| family.on_lan(9, 0x20));
    for (netns, v4, v6) in [(lab.gateway(), g4, g6), (lab.client(), c4, c6)] {
        netns.ip(&format!(
            "addr add {v4}/24 dev tun0
             addr add {v6}/64 dev tun0 nodad"
        ));
    }
    lab.client().ip(&format!(
        "rule add from {c4} lookup 9
         route add default dev tun0 table 9
         route add ::/0 dev tun0 table 9"
    ));
    ip6(lab.client(), &format!("rule add from {c6} lookup 9"));
    for client in [c4, c6] {
        is_policed(&lab, lab.client(), client);
    }
    assert_eq!(leaks.leaked(), 0);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn an_address_that_comes_later_is_the_gateway_own() {
    let lab = Lab::new();
    let _daemon = lab.run_sluice(&recipe());
    for family in Family::ALL {
        let late = family.on_lan(0, 2);
        let length = if late.is_ipv4() { 24 } else { 64 };
        let nodad = if late.is_ipv4() { "" } else { "nodad" };
        lab.gateway()
            .ip(&format!("addr add {late}/{length} dev lan0 {nodad}"));
        // DNS to the gateway: a port that would be rejected anywhere else.
        let to = SocketAddr::new(late, 53);
        let _dns = Peer::udp(lab.gateway(), to, |bytes, _| Some(bytes.to_vec()));
        eventually("the address is known", || {
            dial::ask(lab.client(), family.other(), to, b"dns", PATIENCE)
                .0
                .is_answered()
        });
    }
}
