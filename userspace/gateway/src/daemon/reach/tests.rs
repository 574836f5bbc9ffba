use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::config::Config;
use crate::daemon::metrics::WorkerMetrics;
use crate::daemon::record::AccessLog;
use crate::daemon::worker::Shared;

#[expect(dead_code, reason = "some of it is for the tests of names alone")]
#[path = "../../../tests/dns/mod.rs"]
mod dns;

use dns::{Dns, Said};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn generation(dns: Option<&Dns>, more: &str) -> Generation {
    let resolver = dns.map_or_else(String::new, |dns| {
        format!(
            "[steer]\nsni_truth = \"dial\"\n[resolver]\nservers = [\"{}\"]\n\
             attempt_delay = \"2s\"\n",
            dns.address
        )
    });
    let text = format!("[gateway]\nlan = [\"lan0\"]\n{resolver}{more}");
    Generation::new(1, &Config::parse(&text, "test").unwrap()).unwrap()
}

fn worker() -> Worker {
    let shared = Shared {
        capacity: 10,
        ready: AtomicBool::new(true),
        ..Shared::new(
            generation(None, ""),
            Guard::allowing_loopback(1),
            AccessLog::new(Vec::new()),
        )
        .unwrap()
    };
    let metrics = WorkerMetrics::default();
    Worker::new(Arc::new(shared), Arc::new(metrics))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap()
        .block_on(future)
}

/// An address on loopback where connections are neither taken nor refused: the queue of its listener
/// is full.
struct Deaf {
    address: SocketAddr,
    _listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl Deaf {
    fn new() -> Self {
        use socket2::{Domain, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        // More than a queue of none holds; what comes now is not answered.
        let waiting = (0..4)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&address);
                socket
            })
            .collect();
        Self {
            address: address.as_socket().unwrap(),
            _listener: listener,
            _waiting: waiting,
        }
    }
}

#[test]
fn targets_are_names_or_addresses_and_nothing_between() {
    for (text, expected) in [
        ("News.Example.", Ok(Target::Name("news.example".into()))),
        ("192.0.2.1", Ok(Target::Address(ip("192.0.2.1")))),
        ("[2001:db8::1]", Ok(Target::Address(ip("2001:db8::1")))),
        ("2001:db8::1", Ok(Target::Address(ip("2001:db8::1")))),
        ("[::ffff:192.0.2.1]", Ok(Target::Address(ip("192.0.2.1")))),
    ] {
        assert_eq!(Target::parse(text), expected, "{text}");
    }
    for text in [
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "0x7f000001",
        "127.0.0.1.",
        "127.0.0.0x1",
        "[192.0.2.1]",
        "[fe80::1%eth0]",
        "fe80::1%eth0",
        "[::1",
        "::1]",
        "",
        "a b.example",
    ] {
        assert_eq!(Target::parse(text), Err(NameError::NotAName), "{text}");
    }
}

#[test]
fn families_take_turns() {
    let found = [
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
        "2001:db8::1",
        "192.0.2.1",
        "::ffff:192.0.2.2",
    ]
    .map(ip);
    let expected = ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"].map(ip);
    assert_eq!(interleaved(&found, true), expected);
    let expected = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"].map(ip);
    assert_eq!(interleaved(&found, false), expected);
}

#[test]
fn c8_what_the_guard_refuses_is_no_candidate() {
    let guard = Guard::new(5143);
    let candidates = |found: &[&str]| {
        let found: Vec<_> = found.iter().map(|text| ip(text)).collect();
        let candidates = Candidates::new(&found, 443, true, &guard);
        candidates.map(|some| some.iter().map(|one| one.ip()).collect::<Vec<_>>())
    };
    assert_eq!(
        candidates(&["10.0.0.1", "198.51.100.1", "fd00::1", "127.0.0.1"]),
        Ok(vec![ip("198.51.100.1")])
    );
    for (found, reason) in [
        (&["10.0.0.1"][..], Reason::PrivateDestination),
        (&["127.0.0.1", "169.254.169.254"], Reason::NeverConnect),
        (&["64:ff9b::7f00:1"], Reason::NeverConnect),
    ] {
        assert_eq!(candidates(found), Err(reason), "{found:?}");
    }
    let many: Vec<_> = (0..100)
        .map(|host| IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)))
        .collect();
    let candidates = Candidates::new(&many, 443, true, &guard).unwrap();
    assert_eq!(candidates.iter().count(), MOST);
}

#[test]
fn c8_every_way_of_a_name_into_private_networks_is_closed() {
    let dns = Dns::saying(|name| match name {
        "rebound.example" => Said::Addresses(vec![ip("10.0.0.1"), ip("fd00::1")], 0),
        "both.example" => Said::Addresses(vec![ip("192.168.0.1"), ip("198.51.100.1")], 0),
        "alias.example" => Said::Alias("meta.example", vec![ip("169.254.169.254")]),
        "mapped.example" => Said::Addresses(vec![ip("::ffff:127.0.0.1")], 0),
        _ => Said::Code(3),
    });
    let generation = generation(Some(&dns), "");
    let guard = Guard::new(5143);
    run(async {
        for (name, expected) in [
            ("rebound.example", Err(Reason::PrivateDestination)),
            (
                "both.example",
                Ok(vec!["198.51.100.1:443".parse().unwrap()]),
            ),
            ("alias.example", Err(Reason::NeverConnect)),
            ("mapped.example", Err(Reason::NeverConnect)),
            ("missing.example", Err(Reason::UnresolvedName)),
        ] {
            let target = Target::parse(name).unwrap();
            let found = addresses(&generation, &guard, &target, 443).await;
            let found = found.map(|some| some.iter().collect::<Vec<_>>());
            assert_eq!(found, expected, "{name}");
        }
        let missing = Target::parse("missing.example").unwrap();
        let found = find(&generation, &guard, &missing, 443).await;
        assert_eq!(found, Err(Unfound::Name(NameError::NotFound)));
        let address = Target::Address(ip("10.0.0.1"));
        let found = addresses(&generation, &guard, &address, 443).await;
        assert_eq!(found, Err(Reason::PrivateDestination));
    });
}

#[test]
fn c7_what_was_judged_is_dialled_whatever_the_name_says_later() {
    // The first answer leads to the origin; every later one somewhere else.
    let turn = AtomicUsize::new(0);
    let dns = Dns::saying(move |_| {
        let last = if turn.fetch_add(1, Ordering::SeqCst) < 2 {
            1
        } else {
            9
        };
        Said::Addresses(vec![IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))], 0)
    });
    let generation = generation(Some(&dns), "");
    let worker = worker();
    run(async {
        let judged = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = judged.local_addr().unwrap().port();
        let later = TcpListener::bind(("127.0.0.9", port)).await.unwrap();
        let target = Target::parse("turns.example").unwrap();
        let guard = &worker.shared.guard;
        let candidates = addresses(&generation, guard, &target, port).await.unwrap();
        assert_eq!(candidates.first(), judged.local_addr().ok());
        // The name has moved on.
        let again = addresses(&generation, guard, &target, port).await.unwrap();
        assert_eq!(again.first(), later.local_addr().ok());
        let asked = dns.asked();
        let (leg, dialled, _) = dial_first(&worker, &generation, &candidates, false)
            .await
            .unwrap();
        assert_eq!(Some(dialled), candidates.first());
        assert_eq!(leg.peer_addr().ok(), candidates.first());
        assert_eq!(dns.asked(), asked);
        let (_, from) = judged.accept().await.unwrap();
        assert_eq!(leg.local_addr().ok(), Some(from));
    });
}

#[test]
fn what_rules_take_out_is_not_dialled() {
    let worker = worker();
    let generation = generation(None, "");
    run(async {
        let mut candidates = Candidates(vec!["127.0.0.1:9".parse().unwrap()]);
        candidates.retain(|_| false);
        assert_eq!(candidates.first(), None);
        let dialled = dial_first(&worker, &generation, &candidates, false).await;
        assert_eq!(dialled.map(|_| ()), Err(Reason::OriginUnreachable));
    });
}

#[test]
fn the_first_that_answers_is_taken() {
    let worker = worker();
    let deaf = Deaf::new();
    run(async {
        let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin_address = origin.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = closed.local_addr().unwrap();
        drop(closed);
        // Far beyond what the test may take: only a failure brings the next attempt on.
        let patient = generation(
            None,
            "[splice]\nconnect_timeout = \"60s\"\n[resolver]\nattempt_delay = \"2s\"\n",
        );
        let candidates = Candidates(vec![refusing, origin_address]);
        let dialled = dial_first(&worker, &patient, &candidates, false).await;
        assert_eq!(dialled.unwrap().1, origin_address);
        let hasty = generation(
            None,
            "[splice]\nconnect_timeout = \"60s\"\n[resolver]\nattempt_delay = \"10ms\"\n",
        );
        let candidates = Candidates(vec![deaf.address, refusing, origin_address]);
        let dialled = dial_first(&worker, &hasty, &candidates, false).await;
        assert_eq!(dialled.unwrap().1, origin_address);
    });
    // Once for each connection, and not for those that came to nothing.
    let mut connected = crate::daemon::metrics::latency::Noted::default();
    worker.metrics.connect.add_to(&mut connected);
    assert_eq!(connected.count(), 2);
}

#[test]
fn the_first_is_dialled_before_anything_is_waited_for() {
    let worker = worker();
    run(async {
        let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        origin.set_nonblocking(true).unwrap();
        let candidates = Candidates(vec![origin.local_addr().unwrap()]);
        let generation = generation(None, "");
        let mut dialled = Box::pin(dial_first(&worker, &generation, &candidates, false));
        // Once, and no timer can have run out.
        poll_fn(|context| {
            drop(dialled.as_mut().poll(context));
            Poll::Ready(())
        })
        .await;
        origin.accept().expect("loopback connects within the call");
    });
}

#[test]
fn the_time_to_connect_holds_for_all_together() {
    let worker = worker();
    let deaf = Deaf::new();
    run(async {
        let short = generation(
            None,
            "[splice]\nconnect_timeout = \"300ms\"\n[resolver]\nattempt_delay = \"10ms\"\n",
        );
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = closed.local_addr().unwrap();
        drop(closed);
        let candidates = Candidates(vec![deaf.address; MOST]);
        let dialled = dial_first(&worker, &short, &candidates, false).await;
        assert_eq!(dialled.map(|_| ()), Err(Reason::OriginTimeout));
        let patient = generation(None, "[splice]\nconnect_timeout = \"60s\"\n");
        let candidates = Candidates(vec![refusing; 3]);
        let dialled = dial_first(&worker, &patient, &candidates, false).await;
        assert_eq!(dialled.map(|_| ()), Err(Reason::OriginRefused));
    });
}

#[test]
fn the_failure_that_came_closest_is_told() {
    use Reason::{Internal, OriginRefused, OriginTimeout, OriginUnreachable};
    for (failures, told) in [
        (&[OriginUnreachable, OriginRefused][..], OriginRefused),
        (&[OriginRefused, OriginUnreachable], OriginRefused),
        (&[OriginUnreachable, OriginTimeout], OriginTimeout),
        (&[Internal, OriginUnreachable], OriginUnreachable),
        (&[Internal], Internal),
    ] {
        let closest = failures
            .iter()
            .fold(None, |before, &now| closest(before, now));
        assert_eq!(closest, Some(told), "{failures:?}");
    }
}
