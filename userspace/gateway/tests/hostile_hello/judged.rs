//! First bytes that are blocked, and how the client is told.

use std::time::{Duration, Instant};

use sluice_splice::abort;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::bytes::{Hello, record, records, server_names, sslv2};
use crate::lab::{NAMES_PASS, Setup, flow, sends};

const UNEXPECTED_MESSAGE: u8 = 10;
const RECORD_OVERFLOW: u8 = 22;
const ACCESS_DENIED: u8 = 49;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;

const NOTHING_PASSES: &str = "[policy]\ndefault = \"block\"\n";

#[test]
fn b5_hellos_above_the_limit_are_blocked_with_an_alert() {
    let too_long = Hello::named("www.example.org").padded_to(65_530).bytes();
    let endless = [&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff][..], &[0; 1000]].concat();
    for bytes in [too_long, endless] {
        let seen = sends(NAMES_PASS, &bytes);
        seen.assert_blocked("oversize");
        seen.assert_alert(RECORD_OVERFLOW);
    }
}

#[test]
fn b6_a_hello_without_a_name_is_not_what_default_stands_for() {
    let seen = sends(NAMES_PASS, &Hello::new().bytes());
    seen.assert_blocked("hello");
    seen.assert_alert(ACCESS_DENIED);
    assert_eq!(seen.text("reason"), "default-unidentified");
}

#[test]
fn b7_names_have_one_form_or_are_blocked() {
    let policy = r#"
[policy]
default = "block"
default_unidentified = "block"
[[rule]]
name = "that one"
when = { host = "www.example.org" }
action = "allow"
"#;
    for name in [
        &b"www.example.org"[..],
        b"WWW.Example.ORG",
        b"www.example.org.",
    ] {
        let hello = Hello::new().with(0, server_names(&[name])).bytes();
        let seen = sends(policy, &hello);
        seen.assert_spliced(&hello);
        assert_eq!(
            (seen.text("sni"), seen.text("rule")),
            ("www.example.org", "that one")
        );
    }
    let long = [&[b'a'; 64][..], b".example.org"].concat();
    let longer = b"abcdefg.".repeat(40);
    for name in [
        &b""[..],
        b".",
        b"www.example.org..",
        b"www.example.org\0",
        b"\0www.example.org",
        b"www.example.org\0.evil.example",
        b"www.ex ample.org",
        b"*.example.org",
        "www.ex\u{e4}mple.org".as_bytes(),
        &long,
        &longer,
    ] {
        let hello = Hello::new().with(0, server_names(&[name])).bytes();
        let seen = sends(policy, &hello);
        assert_eq!(seen.text("verdict"), "block", "{name:?}: {}", seen.record);
        assert_eq!(seen.at_origin, None);
    }
    let twice = Hello::named("www.example.org").with(0, server_names(&[b"other.example"]));
    let two = Hello::new().with(0, server_names(&[b"www.example.org", b"other.example"]));
    for hello in [twice, two] {
        let seen = sends(policy, &hello.bytes());
        seen.assert_blocked("malformed-hello");
        seen.assert_alert(DECODE_ERROR);
    }
    // An address is no name, and a punycode name is not the one that it looks like.
    for name in ["192.0.2.1", "xn--www-example.org"] {
        let seen = sends(policy, &Hello::named(name).bytes());
        assert_eq!(
            (seen.text("verdict"), seen.at_origin.is_none()),
            ("block", true)
        );
    }
}

#[test]
fn b10_old_hellos_are_typed() {
    let seen = sends(NAMES_PASS, &sslv2());
    seen.assert_blocked("sslv2-hello");
    seen.assert_alert(PROTOCOL_VERSION);
    // SSL 3.0 and TLS 1.0 are judged as any hello: by name.
    for version in [0x0300, 0x0301, 0x0302] {
        let hello = Hello::named("www.example.org")
            .without(0x2b)
            .with_version(version)
            .bytes();
        sends(NAMES_PASS, &hello).assert_spliced(&hello);
        sends(NOTHING_PASSES, &hello).assert_alert(ACCESS_DENIED);
    }
}

#[test]
fn b11_silence_and_half_a_hello_are_closed_in_their_time() {
    for (bytes, tls, at_least) in [
        (&b""[..], "silent", Duration::from_millis(450)),
        (
            &Hello::named("www.example.org").bytes()[..60],
            "timeout",
            Duration::from_millis(950),
        ),
    ] {
        let began = Instant::now();
        let seen = flow(Setup::policy(NAMES_PASS), |mut client| async move {
            client.write_all(bytes).await.unwrap();
            let mut nothing = Vec::new();
            // The client waits for the other side to end it.
            let _ = timeout(Duration::from_secs(5), client.read_to_end(&mut nothing))
                .await
                .unwrap();
            assert_eq!(nothing, b"");
            client
        });
        seen.assert_blocked(tls);
        assert!(
            began.elapsed() >= 2 * at_least,
            "both families within {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn b11_a_byte_now_and_then_buys_no_time() {
    let hello = &Hello::named("www.example.org").bytes();
    let seen = flow(Setup::policy(NAMES_PASS), |mut client| async move {
        for byte in hello {
            if client.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        client
    });
    seen.assert_blocked("timeout");
    let lasted = seen.record["duration_ms"].as_u64().unwrap();
    assert!((900..3000).contains(&lasted), "{lasted} ms");
}

#[test]
fn b12_what_is_no_hello_is_blocked() {
    for (bytes, tls) in [
        (record(21, &[2, 40]), "not-tls"),
        (record(20, &[1]), "not-tls"),
        (record(24, &[1, 0, 1, 0]), "not-tls"),
        (record(23, &[0; 20]), "not-tls"),
        (record(22, &[]), "zero-length-record"),
        (record(21, &[]), "zero-length-record"),
        (record(22, &[2, 0, 0, 1, 0]), "not-tls"),
        (vec![22, 4, 1, 0, 5, 1, 0, 0, 1, 0], "not-tls"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not-tls"),
        (b"SSH-2.0-x\r\n".to_vec(), "not-tls"),
        (vec![5, 1, 0], "not-tls"),
    ] {
        let seen = sends(NAMES_PASS, &bytes);
        seen.assert_blocked(tls);
        if tls == "zero-length-record" {
            seen.assert_alert(UNEXPECTED_MESSAGE);
        } else {
            assert_eq!(
                (seen.at_client.len(), seen.orderly),
                (0, false),
                "{}",
                seen.record
            );
        }
    }
}

#[test]
fn b13_half_a_hello_then_an_end() {
    let hello = Hello::named("www.example.org").bytes();
    let seen = sends(NAMES_PASS, &hello[..100]);
    seen.assert_blocked("truncated");
    seen.assert_alert(DECODE_ERROR);
    let half = &hello[..100];
    let seen = flow(Setup::policy(NAMES_PASS), |mut client| async move {
        client.write_all(half).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        abort(&client).unwrap();
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        drop(client);
        tokio::net::TcpStream::connect(other.local_addr().unwrap())
            .await
            .unwrap()
    });
    seen.assert_blocked("truncated");
}

#[test]
fn a_hello_in_pieces_is_blocked_as_a_whole_one_is() {
    let message = Hello::named("www.example.org").message();
    for size in [1, 7, message.len()] {
        let seen = sends(NOTHING_PASSES, &records(&message, size));
        seen.assert_blocked("hello");
        seen.assert_alert(ACCESS_DENIED);
        assert_eq!(
            (seen.text("sni"), seen.text("reason")),
            ("www.example.org", "default")
        );
    }
}

#[test]
fn a_block_may_be_a_reset() {
    let policy = "[policy]\ndefault = \"block\"\nblock = \"reset\"\n";
    let seen = flow(Setup::policy(policy), |client| async move { client });
    // A reset says nothing that would need the client's bytes.
    seen.assert_blocked("");
    assert_eq!(
        (seen.text("stage"), seen.at_client.len(), seen.orderly),
        ("open", 0, false)
    );
}
