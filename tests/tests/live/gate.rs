//! The gate stays closed whatever becomes of the daemon, and only `unload` opens it.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sluice_tests::{
    dial::{self, Outcome},
    family::Family,
    hello,
    lab::Lab,
    peer::{Peer, Recorder},
    skype,
};

use crate::{
    exchange::{End, Heard, Then, hear, say},
    leaks::Leaks,
    support::{
        OPEN, PATIENCE, connect, eventually, packets, recipe, said, sluice, status, try_sluice,
    },
};

/// A port of the recipe's closed range.
const NATIVE: u16 = 33_033;
/// What a refusal may take; a silent drop would take a client's whole patience.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Something that goes on in the background until it is dropped.
struct Background {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            count: Arc::default(),
            threads: Vec::new(),
        }
    }

    /// Repeats something at most every `pace`, in the clients' namespace.
    fn repeat(&mut self, lab: &Lab, pace: Duration, mut act: impl FnMut() + Send + 'static) {
        let (stop, count) = (Arc::clone(&self.stop), Arc::clone(&self.count));
        self.threads.push(lab.client().spawn(move || {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                act();
                count.fetch_add(1, Ordering::Relaxed);
                next += pace;
                // One that is late does not catch up in a burst.
                next = next.max(Instant::now());
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }));
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until it has gone on for so many more times.
    fn goes_on(&self, times: u64) {
        let before = self.count();
        eventually("the background goes on", || self.count() >= before + times);
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(
                ended.is_ok() || thread::panicking(),
                "the background panicked"
            );
        }
    }
}

/// A thousand datagrams a second to a closed port, half of them by IPv6.
fn canary(lab: &Lab) -> Background {
    let mut canary = Background::new();
    for family in Family::ALL {
        let from = SocketAddr::new(family.other(), 0);
        let socket = lab.client().run(|| UdpSocket::bind(from)).unwrap();
        let to = family.origin_at(66, NATIVE);
        canary.repeat(lab, Duration::from_millis(2), move || {
            // The socket is told of refusals, which are what is wanted.
            let _refused = socket.send_to(&skype::native_datagram(), to);
        });
    }
    canary
}

/// Clients that go on trying a steered port, whatever they meet: with a hello that may pass, and
/// with bytes that may not.
fn load(lab: &Lab) -> Background {
    let mut load = Background::new();
    for family in Family::ALL {
        let to = family.origin_at(5, 443);
        for (from, bytes) in [
            (family.member(), hello::genuine("news.example", &[])),
            (family.other(), hello::sslv2()),
        ] {
            let client = lab.client().clone();
            load.repeat(lab, Duration::from_millis(2), move || {
                if let Ok(mut stream) = dial::tcp(&client, from, to, PATIENCE) {
                    say(&mut stream, &bytes, Then::Finish);
                    hear(&mut stream);
                }
            });
        }
    }
    load
}

fn knock(lab: &Lab, family: Family) -> (Outcome, Duration) {
    dial::say(
        lab.client(),
        // Not one of those that use up their share of answers.
        family.on_lan(0, 0x30),
        family.origin_at(5, 443),
        b"",
        PATIENCE,
    )
}

fn native(lab: &Lab, family: Family) -> Outcome {
    let to = family.origin_at(66, NATIVE);
    dial::ask(lab.client(), family.other(), to, b"native", PATIENCE).0
}

fn is_closed(lab: &Lab) {
    for family in Family::ALL {
        let (outcome, took) = knock(lab, family);
        assert_eq!(outcome, Outcome::Refused, "{family:?}");
        assert!(took < AT_ONCE, "{family:?}: {took:?}");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn h1_h3_a_canary_never_gets_out_whatever_becomes_of_the_daemon() {
    let lab = Lab::new();
    let mut daemon = lab.run_sluice(&recipe());
    let leaks = Leaks::watch(&lab);
    let _origins =
        Family::ALL.map(|family| Recorder::new(lab.internet(), family.origin_at(5, 443), b"reply"));
    let (canary, load) = (canary(&lab), load(&lab));

    canary.goes_on(500);
    for _ in 0..5 {
        let before = status(&lab)["generation"].as_u64();
        daemon.reload();
        eventually("another generation", || {
            status(&lab)["generation"].as_u64() > before
        });
    }
    for _ in 0..3 {
        // As `kill -9` does it.
        drop(daemon);
        let refused = packets(&lab, "lan_ingress", "fail-closed");
        is_closed(&lab);
        assert!(packets(&lab, "lan_ingress", "fail-closed") > refused);
        canary.goes_on(300);
        daemon = lab.run_sluice(&recipe());
        load.goes_on(50);
    }
    drop(daemon);
    for _ in 0..20 {
        sluice(&lab, "load");
    }
    is_closed(&lab);
    let daemon = lab.run_sluice(&recipe());
    load.goes_on(50);
    assert!(daemon.stop().success());
    is_closed(&lab);
    canary.goes_on(300);

    let sent = canary.count();
    drop((canary, load));
    for family in Family::ALL {
        let ntp = family.origin_at(66, 123);
        let from = SocketAddr::new(family.other(), 0);
        let socket = dial::udp(lab.client(), from, ntp, PATIENCE).unwrap();
        socket.send(&[0x23; 48]).unwrap();
    }
    eventually("what may pass is counted", || leaks.open() == 2);
    assert_eq!(
        leaks.leaked(),
        0,
        "packets of clients were forwarded, of {sent} sent"
    );
    let refused = packets(&lab, "lan_ingress", "native-udp");
    let unanswered = packets(&lab, "lan_ingress", "reject-rate");
    assert!(
        refused + unanswered >= sent,
        "{refused} + {unanswered} of {sent}"
    );
}

/// An origin that tells everybody from where they come.
fn whoami(lab: &Lab, family: Family) -> Peer {
    Peer::tcp(
        lab.internet(),
        family.origin_at(5, 443),
        |mut stream, peer| {
            let mut byte = [0];
            while let Ok(1) = stream.read(&mut byte) {
                let text = format!("{}\n", peer.ip());
                if stream.write_all(text.as_bytes()).is_err() {
                    return;
                }
            }
        },
    )
}

fn line(stream: &mut impl Read) -> IpAddr {
    let mut text = String::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        text.push(byte[0].into());
    }
    text.parse().unwrap()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn h1_open_forwards_without_a_daemon_and_resets_when_it_is_back() {
    let lab = Lab::new();
    let config = OPEN.replace("[gateway]", "[gateway]\non_failure = \"open\"");
    let daemon = lab.run_sluice(&config);
    let _origins = Family::ALL.map(|family| whoami(&lab, family));
    let ask = |family: Family| {
        let mut stream = connect(&lab, family.other(), family.origin_at(5, 443));
        stream.write_all(b"?").unwrap();
        (line(&mut stream), stream)
    };
    for family in Family::ALL {
        assert_eq!(ask(family).0, family.gateway_wan());
    }
    drop(daemon);
    let native_flows = Family::ALL.map(|family| {
        let (from, stream) = ask(family);
        assert_eq!(from, family.other(), "forwarded as it is");
        assert!(!native(&lab, family).is_answered());
        (family, stream)
    });
    assert!(packets(&lab, "lan_ingress", "fail-open") > 0);
    assert!(packets(&lab, "lan_ingress", "native-udp") > 0);
    let _daemon = lab.run_sluice(&config);
    for (family, mut stream) in native_flows {
        say(&mut stream, b"?", Then::Wait);
        assert_eq!(hear(&mut stream), Heard::reset(), "{family:?}");
        assert_eq!(ask(family).0, family.gateway_wan());
    }
}

/// What is left of sluice on the gateway, for people to read; empty where there is nothing.
fn remains(lab: &Lab) -> String {
    let mut found = String::new();
    for list in [
        &["rule", "show"][..],
        &["-6", "rule", "show"],
        &["route", "show", "table", "5100"],
        &["-6", "route", "show", "table", "5100"],
    ] {
        let output = lab.gateway().output(Command::new("ip").args(list));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let routes = list.contains(&"table");
        found.extend(
            text.lines()
                .filter(|line| routes || line.contains("5100"))
                .map(|line| format!("{line}\n")),
        );
    }
    if lab.bpffs().exists() {
        found += &format!("{}\n", lab.bpffs().display());
    }
    found
}

fn is_open(lab: &Lab) {
    assert_eq!(remains(lab), "");
    for family in Family::ALL {
        let to = family.origin_at(66, NATIVE);
        let _echo = Peer::udp(lab.internet(), to, |bytes, _| Some(bytes.to_vec()));
        // The kernel lets go of a program a moment after its link.
        eventually("what was closed is open", || {
            native(lab, family).is_answered()
        });
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn load_closes_without_a_daemon_and_unload_opens() {
    let lab = Lab::new();
    let _config = lab.write_config(&recipe());
    is_open(&lab);
    for _ in 0..2 {
        let text = sluice(&lab, "load");
        assert!(text.contains("lan0"), "{text}");
        is_closed(&lab);
        for family in Family::ALL {
            assert!(!native(&lab, family).is_answered());
        }
        assert_eq!(status(&lab)["daemon"], false);
    }
    let text = sluice(&lab, "unload");
    assert!(text.starts_with("open: removed 2 attachments"), "{text}");
    is_open(&lab);
    let text = sluice(&lab, "unload");
    assert!(text.contains("nothing was loaded"), "{text}");
    assert!(!try_sluice(&lab, &["status"]).status.success());
}

#[test]
#[ignore = "root: cargo xtask test"]
fn unload_works_after_a_crash_and_asks_twice_before() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(&recipe());
    let refused = try_sluice(&lab, &["unload"]);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("--force"), "{}", said(&refused));
    assert_eq!(status(&lab)["daemon"], true);
    drop(daemon);
    assert_ne!(remains(&lab), "");
    sluice(&lab, "unload");
    is_open(&lab);

    let daemon = lab.run_sluice(&recipe());
    let forced = try_sluice(&lab, &["unload", "--force"]);
    assert!(forced.status.success(), "{}", said(&forced));
    drop(daemon);
    sluice(&lab, "unload");
    is_open(&lab);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn h7_flows_in_flight_are_reset_when_their_daemon_is_killed() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(OPEN);
    let flows = Family::ALL.map(|family| {
        let origin = Peer::echo(lab.internet(), family.origin_at(5, 443));
        let mut stream = connect(&lab, family.other(), origin.address());
        crate::exchange::echoed(&mut stream, b"still here");
        (origin, stream)
    });
    drop(daemon);
    for (_origin, mut stream) in flows {
        say(&mut stream, b"gone?", Then::Wait);
        assert_ne!(hear(&mut stream).end, End::Open);
    }
    is_closed(&lab);
}
