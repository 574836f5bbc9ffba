//! Origins that are slow, silent, or go away.

use std::time::{Duration, Instant};

use sluice_gateway::origin::{Cause, HandshakeFailure, Origins, Phase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::hostile::server_hello;
use crate::pki::*;
use crate::served::{client, connect, settings};

/// Meets an origin that reads the hello, sends these bytes one at a time, and then waits, or ends.
async fn meet(bytes: Vec<u8>, pause: Duration, ends: bool) -> (HandshakeFailure, Duration) {
    let (mut settings, _folder) = settings(&[&Authority::root("root").certificate]);
    settings.answer_timeout = Duration::from_millis(150);
    settings.handshake_timeout = Duration::from_millis(400);
    let origins = Origins::new(&settings).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origin = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut chunk = [0; 16_384];
        let mut read = socket.read(&mut chunk).await.unwrap();
        for byte in bytes {
            tokio::time::sleep(pause).await;
            if socket.write_all(&[byte]).await.is_err() {
                return;
            }
        }
        while !ends && read > 0 {
            // The other side has to be closed, too.
            read = socket.read(&mut chunk).await.unwrap_or(0);
        }
        if ends {
            let _ = TcpStream::shutdown(&mut socket).await;
        }
    });
    let start = Instant::now();
    let met = connect(&origins, address, Some(NAME), Some(&client()), &[], now()).await;
    let took = start.elapsed();
    let failure = met.unwrap_err();
    origin.await.unwrap();
    (failure, took)
}

#[tokio::test]
async fn d13_every_state_has_an_end_and_both_sides_are_closed() {
    let quick = Duration::ZERO;
    let hello = server_hello(0x0303, 0xc02f, 0);
    for (what, bytes, pause, phase) in [
        ("silent", Vec::new(), quick, Phase::Answer),
        (
            "half a record",
            hello[..7].to_vec(),
            quick,
            Phase::Handshake,
        ),
        (
            "silent after its hello",
            hello.clone(),
            quick,
            Phase::Handshake,
        ),
        // Each byte comes in time, the whole does not.
        (
            "slow",
            hello.clone(),
            Duration::from_millis(50),
            Phase::Handshake,
        ),
    ] {
        let (failure, took) = meet(bytes, pause, false).await;
        assert_eq!(failure.cause, Cause::Timeout(phase), "{what}");
        assert_eq!(failure.not_negotiated(), None, "{what}");
        assert!(took < Duration::from_secs(3), "{what}: {took:?}");
    }
}

#[tokio::test]
async fn d13_an_origin_that_ends_is_told_from_a_slow_one() {
    for (bytes, heard) in [(Vec::new(), false), (server_hello(0x0303, 0xc02f, 0), true)] {
        let (failure, _) = meet(bytes, Duration::ZERO, true).await;
        assert_eq!(failure.cause, Cause::Closed { heard });
        let reason = failure.not_negotiated().unwrap().name();
        let expected = ["origin-closed", "origin-handshake-failed"][usize::from(heard)];
        assert_eq!(reason, expected);
    }
}
