//! Origins and clients that stop in the middle of a handshake.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, pki_types::ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::{INSPECT, Lab, NAME, Origin};
use crate::part::Part;

const SOON: &str = "answer_timeout = \"300ms\"\nhandshake_timeout = \"600ms\"";
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn d13_an_origin_that_stops_ends_both_sides_in_time() {
    let slow = || {
        Part::of_bytes(
            vec![22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3],
            Duration::from_millis(100),
        )
    };
    for (what, version, part) in [
        ("silent", &TLS13, Part::of_handshake(0)),
        ("in a record", &TLS13, Part::of_handshake(7)),
        ("in its hello", &TLS13, Part::of_handshake(60)),
        ("behind its hello", &TLS13, Part::of_handshake(140)),
        ("in its flight", &TLS13, Part::of_handshake(500)),
        ("behind its hello", &TLS12, Part::of_handshake(110)),
        ("in its certificate", &TLS12, Part::of_handshake(300)),
        // The client's part is over then; the origin's last is not.
        ("before its end", &TLS12, Part::of_one_flight()),
        ("slow", &TLS13, slow()),
    ] {
        let origin = Origin {
            part: Some(part),
            versions: vec![version],
            upstream: SOON.to_owned(),
            ..Origin::default()
        };
        let lab = Lab::before(&origin, INSPECT);
        let begin = Instant::now();
        let error = lab.run(lab.trusting_gateway().connect(&lab)).unwrap_err();
        let took = begin.elapsed();
        assert!(
            error.to_string().contains("AccessDenied"),
            "{what}: {error}"
        );
        assert!(took < PATIENCE, "{what}: {took:?}");
        lab.over(1);
        while part.closed.load(Ordering::SeqCst) == 0 {
            assert!(
                begin.elapsed() < PATIENCE,
                "{what}: the origin's side is open"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let (flows, _) = lab.end();
        assert_eq!(flows[0]["end"], "origin-timeout", "{what}: {}", flows[0]);
        assert_eq!(flows[0]["verdict"], "block");
    }
}

#[test]
fn d13_a_client_that_stops_ends_both_sides_in_time() {
    let rules = format!("[intercept]\nhandshake_timeout = \"300ms\"\n{INSPECT}");
    let lab = Lab::new(&rules);
    let config = lab.trusting_gateway().config;
    let name = ServerName::try_from(NAME).unwrap();
    let mut tls = ClientConnection::new(config.into(), name).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let begin = Instant::now();
    lab.run(async {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        let mut heard = Vec::new();
        // Whether it is closed or reset does not matter.
        match stream.read_to_end(&mut heard).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert!(heard.len() > 500, "{}", heard.len());
    });
    assert!(begin.elapsed() < PATIENCE);
    lab.over(1);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["end"], "client-handshake-timeout");
    assert_eq!(flows[0]["decrypted"], false);
}
