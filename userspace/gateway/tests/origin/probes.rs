//! Probes: made once, remembered, bounded.

use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sluice_gateway::origin::{
    Cause, Certificate, Connector, Fault, Faults, HandshakeFailure, HelloClass, KeyKind, Leaf,
    Negotiated, Outcome, ProbeError, ProbeKey, ProbeLimits, Probes, Rate, Report, Revocation,
    Unavailable,
};
use sluice_policy::{Alpn, TlsVersion, TlsVersions};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::pki::*;
use crate::served::{Served, trusting};

fn report(faults: Faults) -> Report {
    Report {
        certificate: Certificate {
            faults,
            revocation: Revocation::NotChecked,
            leaf: Some(Leaf {
                subject: "CN=leaf".to_owned(),
                issuer: "CN=root".to_owned(),
                names: Vec::new(),
                not_before: NOW - 100,
                not_after: NOW + 100,
                fingerprint: [0; 32],
                key: KeyKind::P256,
            }),
            chain: Vec::new(),
            staple: Vec::new(),
            judged_at: NOW as u64,
        },
        negotiated: Negotiated {
            version: rustls::ProtocolVersion::TLSv1_3,
            cipher: rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
            group: None,
            alpn: None,
            client_certificate_requested: false,
            stapled: false,
            resumed: false,
        },
    }
}

fn probe_key(name: &str) -> ProbeKey {
    ProbeKey {
        hello: HelloClass::of(
            TlsVersions::of([TlsVersion::Tls13]),
            Alpn::from_wire(b"\x02h2"),
        ),
        address: "192.0.2.1:443".parse().unwrap(),
        name: Some(name.into()),
    }
}

/// Counts how often it is asked, waits a little, and answers.
fn counting(
    answer: impl Fn(&ProbeKey) -> Result<Report, ProbeError> + Send + Sync + 'static,
) -> (impl Connector, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let connector = move |key: ProbeKey| {
        counted.fetch_add(1, Ordering::SeqCst);
        let answer = answer(&key);
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer
        }
    };
    (connector, count)
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

#[tokio::test]
async fn however_many_ask_one_probe_is_made() {
    let (connector, count) = counting(|_| Ok(report(Faults::NONE)));
    let probes = Probes::new(connector, ProbeLimits::default());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let probes = Arc::clone(&probes);
        asking.spawn(async move { probes.ask(&probe_key("a"), CLIENT, now()).await });
    }
    while let Some(outcome) = asking.join_next().await {
        assert!(matches!(outcome.unwrap(), Outcome::Report(r) if r.is_valid()));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(matches!(
        probes.ask(&probe_key("a"), CLIENT, now()).await,
        Outcome::Report(_)
    ));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    // Another name, another address, another class are other questions.
    let mut others = [
        probe_key("b"),
        probe_key("a"),
        probe_key("a"),
        probe_key("a"),
    ];
    others[1].address.set_port(8443);
    others[2].hello = HelloClass::of(TlsVersions::of([TlsVersion::Tls13]), Alpn::ABSENT);
    others[3].name = None;
    for key in others {
        let _outcome = probes.ask(&key, CLIENT, now()).await;
    }
    assert_eq!(count.load(Ordering::SeqCst), 5);
    assert_eq!(probes.len(), 5);
}

#[tokio::test]
async fn a_probe_goes_on_when_its_asker_goes_away() {
    let (connector, count) = counting(|_| Ok(report(Faults::NONE)));
    let probes = Probes::new(connector, ProbeLimits::default());
    let asker = Arc::clone(&probes);
    let first = tokio::spawn(async move { asker.ask(&probe_key("a"), CLIENT, now()).await });
    tokio::task::yield_now().await;
    first.abort();
    let outcome = probes.ask(&probe_key("a"), CLIENT, now()).await;
    assert!(matches!(outcome, Outcome::Report(_)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_runtime_that_ends_leaves_nobody_waiting() {
    let probes = Probes::new(|_| pending(), ProbeLimits::default());
    let asker = Arc::clone(&probes);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let key = probe_key("a");
            let ask = asker.ask(&key, CLIENT, now());
            let _slow = tokio::time::timeout(Duration::from_millis(50), ask).await;
        });
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let outcome = probes.ask(&probe_key("a"), CLIENT, now()).await;
    assert!(matches!(
        outcome,
        Outcome::Unavailable(Unavailable::Aborted)
    ));
    thread.join().unwrap();
}

#[tokio::test]
async fn what_is_not_valid_is_believed_for_shorter() {
    let (connector, count) = counting(|key| match key.name.as_deref() {
        Some("valid") => Ok(report(Faults::NONE)),
        Some("invalid") => Ok(report(Faults::of([Fault::UnknownIssuer]))),
        Some("failing") => Err(ProbeError::Handshake(HandshakeFailure {
            cause: Cause::NoCommonVersion,
            certificate: None,
            client_certificate_requested: false,
        })),
        _ => Err(ProbeError::Unreachable(io::ErrorKind::ConnectionRefused)),
    });
    let limits = ProbeLimits {
        negative_ttl: Duration::from_millis(200),
        ..ProbeLimits::default()
    };
    let probes = Probes::new(connector, limits);
    let ask = async |name: &str| {
        let outcome = probes.ask(&probe_key(name), CLIENT, now()).await;
        (outcome, count.swap(0, Ordering::SeqCst))
    };
    for round in [1, 0] {
        assert!(matches!(ask("valid").await, (Outcome::Report(_), n) if n == round));
        assert!(matches!(ask("invalid").await, (Outcome::Report(_), n) if n == round));
        let (failing, made) = ask("failing").await;
        assert!(matches!(failing, Outcome::Failure(f) if f.cause == Cause::NoCommonVersion));
        assert_eq!(made, round);
        let (gone, made) = ask("gone").await;
        let refused = Unavailable::Unreachable(io::ErrorKind::ConnectionRefused);
        assert!(matches!(gone, Outcome::Unavailable(why) if why == refused));
        assert_eq!(made, round);
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(ask("valid").await.1, 0);
    assert_eq!(ask("invalid").await.1, 1);
    assert_eq!(ask("failing").await.1, 1);
    assert_eq!(ask("gone").await.1, 1);
}

#[tokio::test]
async fn no_certificate_is_believed_beyond_its_time() {
    let (connector, count) = counting(|_| Ok(report(Faults::NONE)));
    let probes = Probes::new(connector, ProbeLimits::default());
    for (time, made) in [(NOW, 1), (NOW + 100, 1), (NOW + 101, 2), (NOW + 102, 2)] {
        let _outcome = probes.ask(&probe_key("a"), CLIENT, at(time)).await;
        assert_eq!(count.load(Ordering::SeqCst), made, "{time}");
    }
    // What had expired then is not what it is when the clock goes back.
    assert!(probes.known(&probe_key("a"), at(NOW + 103)).is_some());
    assert!(probes.known(&probe_key("a"), now()).is_none());
}

#[tokio::test]
async fn probes_are_bounded_in_number() {
    let (connector, _) = counting(|_| Ok(report(Faults::NONE)));
    let limits = ProbeLimits {
        entries: NonZeroUsize::new(3).unwrap(),
        ..ProbeLimits::default()
    };
    let probes = Probes::new(connector, limits);
    for n in 0..8 {
        let _outcome = probes.ask(&probe_key(&n.to_string()), CLIENT, now()).await;
    }
    assert_eq!(probes.len(), 3);
    assert!(probes.known(&probe_key("7"), now()).is_some());
    assert!(probes.known(&probe_key("0"), now()).is_none());
}

#[tokio::test]
async fn clients_that_cause_too_many_are_refused_and_others_are_not() {
    let (connector, count) = counting(|_| Ok(report(Faults::NONE)));
    let hour = Duration::from_secs(3600);
    let rate = |burst| Rate {
        burst,
        interval: hour,
    };
    let limits = ProbeLimits {
        client_rate: rate(2),
        rate: rate(3),
        ..ProbeLimits::default()
    };
    let probes = Probes::new(connector, limits);
    let ask = async |name: &str, client: IpAddr| match probes
        .ask(&probe_key(name), client, now())
        .await
    {
        Outcome::Unavailable(why) => Some(why),
        Outcome::Report(_) | Outcome::Failure(_) => None,
    };
    let other: IpAddr = [10, 0, 0, 2].into();
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(ask("a", CLIENT).await, None);
    assert_eq!(ask("b", CLIENT).await, None);
    assert_eq!(ask("c", CLIENT).await, Some(Unavailable::ClientRate));
    assert_eq!(ask("c", mapped).await, Some(Unavailable::ClientRate));
    // What is known costs nothing.
    assert_eq!(ask("a", CLIENT).await, None);
    assert_eq!(ask("c", other).await, None);
    assert_eq!(ask("d", other).await, Some(Unavailable::Rate));
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn at_most_so_many_are_under_way_and_each_has_an_end() {
    let limits = ProbeLimits {
        at_once: 1,
        deadline: Duration::from_millis(150),
        ..ProbeLimits::default()
    };
    let probes = Probes::new(|_| pending(), limits);
    let asker = Arc::clone(&probes);
    let first = tokio::spawn(async move { asker.ask(&probe_key("a"), CLIENT, now()).await });
    tokio::task::yield_now().await;
    let second = probes.ask(&probe_key("b"), CLIENT, now()).await;
    assert!(matches!(second, Outcome::Unavailable(Unavailable::Busy)));
    let first = first.await.unwrap();
    assert!(matches!(first, Outcome::Unavailable(Unavailable::Deadline)));
    // Its place is free, and what it came to is remembered for a while.
    assert!(probes.known(&probe_key("a"), now()).is_some());
    let third = probes.ask(&probe_key("b"), CLIENT, now()).await;
    assert!(matches!(third, Outcome::Unavailable(Unavailable::Deadline)));
}

#[tokio::test]
async fn a_probe_of_an_origin_ends_in_order() {
    let root = Authority::root("root");
    let key = key();
    let leaf = root.leaf(&key).sign(&root.key);
    let mut served = Served::new(&[&leaf], &key);
    served.alpn = vec![b"h2".to_vec()];
    let config = served.config();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origin = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        let mut stream = acceptor.accept(socket).await.unwrap();
        let mut bytes = Vec::new();
        // Without a word of the end this is an error.
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    });
    let origins = Arc::new(trusting(&root));
    let connector = move |key: ProbeKey| {
        let origins = Arc::clone(&origins);
        async move {
            let stream = TcpStream::connect(key.address).await;
            let stream = stream.map_err(|error| ProbeError::Unreachable(error.kind()))?;
            Ok(origins.probe(stream, &key, now()).await?)
        }
    };
    let probes = Probes::new(connector, ProbeLimits::default());
    let mut question = probe_key(NAME);
    question.address = address;
    let outcome = probes.ask(&question, CLIENT, now()).await;
    let Outcome::Report(report) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(report.is_valid());
    assert_eq!(report.negotiated.alpn.as_deref(), Some(&b"h2"[..]));
    assert!(origin.await.unwrap().is_empty());
    // The origin is gone; what it was is remembered.
    let again = probes.ask(&question, CLIENT, now()).await;
    assert!(matches!(again, Outcome::Report(_)));
    question.name = Some("other.example".into());
    let gone = probes.ask(&question, CLIENT, now()).await;
    let refused = Unavailable::Unreachable(io::ErrorKind::ConnectionRefused);
    assert!(matches!(gone, Outcome::Unavailable(why) if why == refused));
}

#[test]
fn a_class_is_what_the_origin_can_tell_apart() {
    let both = TlsVersions::of([TlsVersion::Tls12, TlsVersion::Tls13]);
    let old = TlsVersions::of([TlsVersion::Tls10, TlsVersion::Tls12, TlsVersion::Tls13]);
    let class = |versions, alpn| HelloClass::of(versions, Alpn::from_wire(alpn));
    assert_eq!(class(both, b"\x02h2\x01x"), class(old, b"\x01x\x02h2\x01x"));
    assert_ne!(class(both, b"\x02h2"), class(both, b"\x01x"));
    assert_ne!(
        class(both, b""),
        class(TlsVersions::of([TlsVersion::Tls12]), b"")
    );
    // A client cannot make a class as large, or as many, as it likes.
    let many: Vec<u8> = (0..200).flat_map(|n| [1, n]).collect();
    assert_eq!(class(both, &many).alpn().len(), 8);
    let mut long = vec![200];
    long.extend([b'x'; 200]);
    assert!(class(both, &long).alpn().is_empty());
    assert!(class(both, b"").offers(TlsVersion::Tls13));
    assert!(!class(old, b"").offers(TlsVersion::Tls10));
}
