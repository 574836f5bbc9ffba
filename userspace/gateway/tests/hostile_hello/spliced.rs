//! Hellos that are let through, whatever pieces they come in, and what comes behind them.

use std::time::Duration;

use sluice_splice::abort;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::bytes::{Hello, record, records};
use crate::lab::{NAMES_PASS, NOT_TLS_PASSES, Setup, flow, sends};

const NAME: &str = "www.example.org";

/// A flow whose client sends these bytes in pieces, with a pause now and then.
fn in_pieces(setup: Setup, bytes: &[u8], piece: usize, pause_every: usize) -> crate::lab::Seen {
    flow(setup, |mut client| async move {
        for (number, part) in bytes.chunks(piece).enumerate() {
            client.write_all(part).await.unwrap();
            if number % pause_every == pause_every - 1 {
                sleep(Duration::from_millis(5)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        client.shutdown().await.unwrap();
        client
    })
}

#[test]
fn b1_a_hello_in_segments_of_one_byte() {
    let hello = Hello::named(NAME).bytes();
    let seen = in_pieces(Setup::policy(NAMES_PASS), &hello, 1, 16);
    seen.assert_spliced(&hello);
    assert_eq!(seen.text("sni"), NAME);
}

#[test]
fn an_application_in_segments_of_one_byte_is_the_same() {
    let policy = |default, action| -> &'static str {
        format!(
            "[policy]\ndefault = \"{default}\"\ndefault_unidentified = \"{default}\"\n[[rule]]\n\
             name = \"known\"\n\
             when = {{ application = [\"http\", \"ssh\", \"skype\", \"bittorrent\", \"rdp\"] }}\n\
             action = \"{action}\"\n"
        )
        .leak()
    };
    let allows = policy("block", "allow");
    let blocks = policy("allow", "block");
    for (bytes, tls) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "not-tls"),
        (b"SSH-2.0-x\r\n", "not-tls"),
        (b"\x80\x46\x01\x03\x01\0\x2d\0\0\0\x10\x01", "sslv2-hello"),
        (b"\x13BitTorrent protocol\0", "not-tls"),
        (b"\x03\0\0\x13\x0e\xe0\0", "not-tls"),
    ] {
        let seen = in_pieces(Setup::policy(allows), bytes, 1, 1);
        seen.assert_spliced(bytes);
        assert_eq!((seen.text("rule"), seen.text("tls")), ("known", tls));
        let seen = sends(blocks, bytes);
        seen.assert_blocked(tls);
        assert_eq!(seen.text("rule"), "known");
        // The client that stops in the middle is not waited for longer than its time.
        let seen = sends(blocks, &bytes[..3]);
        assert_eq!(seen.text("rule"), "");
        assert_eq!(seen.text("verdict"), "splice");
    }
}

#[test]
fn b2_a_hello_in_many_records_is_forwarded_as_it_came() {
    for hello in [Hello::named(NAME), Hello::named(NAME).post_quantum()] {
        let message = hello.message();
        let in_name = message.windows(3).position(|part| part == b"www").unwrap() + 5;
        for size in [1, 2, 16, in_name, message.len() / 2] {
            let bytes = records(&message, size);
            let seen = sends(NAMES_PASS, &bytes);
            seen.assert_spliced(&bytes);
            assert_eq!(seen.text("sni"), NAME, "records of {size}");
        }
    }
}

#[test]
fn b3_small_records_in_small_segments_with_pauses() {
    let bytes = records(&Hello::named(NAME).message(), 1);
    // More than a thousand bytes, with a pause after every twentieth segment of three.
    let seen = in_pieces(Setup::policy(NAMES_PASS), &bytes, 3, 20);
    seen.assert_spliced(&bytes);
    assert_eq!(seen.text("sni"), NAME);
}

#[test]
fn b4_a_post_quantum_hello_through_a_small_buffer() {
    let hello = Hello::named(NAME).post_quantum().padded_to(2100).bytes();
    let setup = Setup {
        receive_buffer: Some(4096),
        ..Setup::policy(NAMES_PASS)
    };
    in_pieces(setup, &hello, 700, 1).assert_spliced(&hello);
    // Larger than any buffer of that size can hold at once.
    let hello = Hello::named(NAME).padded_to(40_000).bytes();
    let seen = in_pieces(setup, &hello, 1400, 4);
    seen.assert_spliced(&hello);
    assert_eq!(seen.text("sni"), NAME);
}

#[test]
fn b5_hellos_up_to_the_limit_are_read() {
    for length in [16_384, 16_385, 60_000] {
        let hello = Hello::named(NAME).padded_to(length).bytes();
        let seen = sends(NAMES_PASS, &hello);
        seen.assert_spliced(&hello);
        assert_eq!(seen.text("sni"), NAME);
    }
}

#[test]
fn b8_grease_and_shuffled_extensions() {
    let hello = Hello::named(NAME)
        .with_cipher(0x1a1a)
        .with(0x2a2a, vec![])
        .with(0x0a0a, vec![0])
        .without(0x2b)
        .with(0x2b, vec![6, 0x3a, 0x3a, 3, 4, 3, 3]);
    sends(NAMES_PASS, &hello.bytes()).assert_spliced(&hello.bytes());
    // TLS 1.3 and nothing else.
    let hello = Hello::named(NAME).without(0x2b).with(0x2b, vec![2, 3, 4]);
    let seen = sends(NAMES_PASS, &hello.bytes());
    seen.assert_spliced(&hello.bytes());
    assert!(seen.text("ja4").starts_with("t13d"), "{}", seen.record);
}

#[test]
fn b9_encrypted_client_hello_is_let_through_and_said() {
    let mut ech = vec![0, 0, 1, 0, 1, 7, 0, 32];
    ech.extend([9; 32]);
    ech.extend([0, 16]);
    ech.extend([8; 16]);
    let hello = Hello::named(NAME).with(0xfe0d, ech).bytes();
    let seen = sends(NAMES_PASS, &hello);
    seen.assert_spliced(&hello);
    assert_eq!(seen.record["ech"], true);
    assert_eq!(seen.text("sni"), NAME);
}

#[test]
fn b13_hello_then_an_end() {
    let hello = Hello::named(NAME).bytes();
    sends(NAMES_PASS, &hello).assert_spliced(&hello);
    let hello = &hello;
    let seen = flow(Setup::policy(NAMES_PASS), |mut client| async move {
        client.write_all(hello).await.unwrap();
        // The origin has it before the client goes.
        sleep(Duration::from_millis(100)).await;
        abort(&client).unwrap();
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        drop(client);
        tokio::net::TcpStream::connect(other.local_addr().unwrap())
            .await
            .unwrap()
    });
    assert_eq!(
        (seen.text("verdict"), seen.text("end")),
        ("splice", "client-reset")
    );
    assert_eq!(seen.at_origin.as_deref(), Some(&hello[..]));
}

#[test]
fn b14_a_second_hello_with_another_name_is_forwarded() {
    let mut bytes = Hello::named(NAME).bytes();
    bytes.extend(record(20, &[1]));
    bytes.extend(Hello::named("other.example.org").bytes());
    let seen = sends(NAMES_PASS, &bytes);
    seen.assert_spliced(&bytes);
    assert_eq!(seen.text("sni"), NAME);
}

#[test]
fn b15_early_data_behind_the_hello_is_forwarded() {
    let mut bytes = Hello::named(NAME).with(0x2a, vec![]).bytes();
    bytes.extend(record(20, &[1]));
    for _ in 0..8 {
        bytes.extend(record(23, &[0xee; 9000]));
    }
    sends(NAMES_PASS, &bytes).assert_spliced(&bytes);
}

#[test]
fn a_member_may_send_what_is_not_tls() {
    for (bytes, tls) in [
        (&b"SSH-2.0-client\r\nand what follows"[..], "not-tls"),
        (&crate::bytes::sslv2(), "sslv2-hello"),
        (&[22, 3, 1, 0, 0, 1, 2, 3], "zero-length-record"),
        (&Hello::named(NAME).bytes()[..40], "truncated"),
        (b"", "silent"),
        (&[22, 3, 1, 0x40, 1, 0, 0], "oversize"),
        (&[22, 3, 1, 0, 4, 1, 0, 0, 0], "malformed-hello"),
    ] {
        let seen = sends(NOT_TLS_PASSES, bytes);
        assert_eq!(
            (seen.text("tls"), seen.text("rule")),
            (tls, "members"),
            "{}",
            seen.record
        );
        seen.assert_spliced(bytes);
    }
}

#[test]
fn a_member_that_is_slow_is_let_through_with_what_it_sent() {
    for bytes in [&b""[..], &Hello::named(NAME).bytes()[..40]] {
        let seen = flow(Setup::policy(NOT_TLS_PASSES), |mut client| async move {
            client.write_all(bytes).await.unwrap();
            sleep(Duration::from_millis(1300)).await;
            client.write_all(b"and the rest").await.unwrap();
            client.shutdown().await.unwrap();
            client
        });
        assert_eq!(
            seen.text("tls"),
            if bytes.is_empty() {
                "silent"
            } else {
                "timeout"
            }
        );
        seen.assert_spliced(&[bytes, b"and the rest"].concat());
    }
}

#[test]
fn a_flow_that_its_address_decides_is_not_read() {
    let policy = r#"
[[rule]]
name = "by address"
when = { destination = ["127.0.0.0/8", "::1"] }
action = "splice"
"#;
    let seen = flow(Setup::policy(policy), |mut client| async move {
        SockRef::from(&client).send(b"x").unwrap();
        client.shutdown().await.unwrap();
        client
    });
    seen.assert_spliced(b"x");
    assert_eq!(
        (seen.text("stage"), &seen.record["tls"]),
        ("open", &serde_json::Value::Null)
    );
}
