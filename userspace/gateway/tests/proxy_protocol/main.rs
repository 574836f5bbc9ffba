//! Headers of the PROXY protocol: those of a real balancer, those that rules allow, and all others.
#![cfg(test)]

mod check;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use check::check;
use proptest::prelude::*;
use sluice_gateway::proxy_protocol::{Bad, Parsed, parse, read};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn whole(length: usize, client: &str) -> Parsed {
    Parsed::Whole {
        length,
        client: Some(client.parse().unwrap()),
    }
}

const NOBODY: fn(usize) -> Parsed = |length| Parsed::Whole {
    length,
    client: None,
};

/// A header of version 2, from its second half: version and command, family, what stands behind.
fn v2(version: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[version, family], &length, body].concat()
}

/// What HAProxy 3 sends with `send-proxy`, and with `send-proxy-v2 proxy-v2-options
/// crc32c,unique-id`; five bytes of the client's follow.
#[test]
fn the_headers_of_a_balancer_are_read() {
    let v4 = bytes(
        "0d0a0d0a000d0a515549540a211100257f0000017f000001874c46a2030004f9a8a6bc05000f3132372e30\
         2e302e312d333436333648454c4c4f",
    );
    let v6 = bytes(
        "0d0a0d0a000d0a515549540a212100370000000000000000000000000000000100000000000000000000000\
         000000001d9ec46a30300043aae5ab20500093a3a312d353537383848454c4c4f",
    );
    assert_eq!(parse(&v4), whole(v4.len() - 5, "127.0.0.1:34636"));
    assert_eq!(parse(&v6), whole(v6.len() - 5, "[::1]:55788"));
    for header in [v4, v6] {
        // The checksum covers the addresses, and what stands behind it.
        for at in [16, 27, header.len() - 6] {
            let mut other = header.clone();
            other[at] ^= 1;
            assert_eq!(parse(&other), Parsed::Bad(Bad::Checksum), "{at}");
        }
    }
    let line = b"PROXY TCP4 127.0.0.1 127.0.0.1 57212 18081\r\nHELLO";
    assert_eq!(parse(line), whole(line.len() - 5, "127.0.0.1:57212"));
    let line = b"PROXY TCP6 ::1 ::1 41838 18084\r\nHELLO";
    assert_eq!(parse(line), whole(line.len() - 5, "[::1]:41838"));
}

#[test]
fn lines_of_version_1_are_read_by_the_letter() {
    for (line, expected) in [
        // The examples and the longest lines of section 2.1.
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            whole(56, "255.255.255.255:65535"),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
             ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            whole(104, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        ("PROXY UNKNOWN\r\n", NOBODY(15)),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
             ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            NOBODY(107),
        ),
        ("PROXY UNKNOWN any thing\r\nGET", NOBODY(25)),
        (
            "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
            whole(37, "192.0.2.1:1"),
        ),
    ] {
        assert_eq!(parse(line.as_bytes()), expected, "{line}");
        check(line.as_bytes());
    }
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 fe80::1%lan0 ::1 1 2\r\n",
        "PROXY TCP6 [::1] [::1] 1 2\r\n",
    ] {
        assert_eq!(
            parse(line.as_bytes()),
            Parsed::Bad(Bad::Malformed),
            "{line}"
        );
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(endless.len(), 107);
    assert_eq!(parse(endless.as_bytes()), Parsed::Bad(Bad::TooLong));
    assert_eq!(parse(&endless.as_bytes()[..106]), Parsed::Partial);
    for other in [
        "GET / HTTP/1.1\r\n",
        "PROXX",
        "proxy tcp4",
        "\r\n\r\n\r\n",
        "\x16\x03\x01",
    ] {
        assert_eq!(parse(other.as_bytes()), Parsed::Bad(Bad::Absent), "{other}");
    }
}

#[test]
fn headers_of_version_2_are_read_by_the_letter() {
    let v4 = [&[192, 0, 2, 1, 192, 0, 2, 2][..], &[0x1f, 0x90, 1, 187]].concat();
    let v6: Vec<u8> = [
        "2001:db8::1"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
        [0; 16],
    ]
    .concat()
    .into_iter()
    .chain([0x1f, 0x90, 1, 187])
    .collect();
    let with = |body: &[u8], more: &[u8]| [body, more].concat();
    for (header, expected) in [
        (v2(0x21, 0x11, &v4), whole(28, "192.0.2.1:8080")),
        (v2(0x21, 0x21, &v6), whole(52, "[2001:db8::1]:8080")),
        // Values that nobody here knows, and one that is there to be skipped.
        (
            v2(0x21, 0x11, &with(&v4, &[0xee, 0, 2, 1, 2, 4, 0, 0])),
            whole(36, "192.0.2.1:8080"),
        ),
        // On its own behalf, whatever it says.
        (v2(0x20, 0x00, &[]), NOBODY(16)),
        (v2(0x20, 0x11, &v4), NOBODY(28)),
        (v2(0x20, 0xff, &[1, 2, 3]), NOBODY(19)),
        (v2(0x21, 0x00, &[1, 2, 3]), NOBODY(19)),
        (v2(0x21, 0x31, &[0; 216]), NOBODY(232)),
    ] {
        assert_eq!(parse(&header), expected, "{header:x?}");
        check(&with(&header, b"GET /"));
    }
    for (header, bad) in [
        (v2(0x11, 0x11, &v4), Bad::Malformed),
        (v2(0x22, 0x11, &v4), Bad::Malformed),
        (v2(0x31, 0x11, &v4), Bad::Malformed),
        (v2(0x21, 0x12, &v4), Bad::Malformed),
        (v2(0x21, 0x22, &v6), Bad::Malformed),
        (v2(0x21, 0x41, &v6), Bad::Malformed),
        (v2(0x21, 0x11, &v4[..11]), Bad::Malformed),
        (v2(0x21, 0x21, &v4), Bad::Malformed),
        (v2(0x21, 0x31, &[0; 215]), Bad::Malformed),
        // A value that reaches beyond the header, and half a head of one.
        (
            v2(0x21, 0x11, &with(&v4, &[0xee, 0, 3, 1, 2])),
            Bad::Malformed,
        ),
        (v2(0x21, 0x11, &with(&v4, &[0xee, 0])), Bad::Malformed),
        (
            v2(0x21, 0x11, &with(&v4, &[3, 0, 3, 1, 2, 3])),
            Bad::Malformed,
        ),
        (
            v2(0x21, 0x11, &with(&v4, &[3, 0, 4, 1, 2, 3, 4])),
            Bad::Checksum,
        ),
        (v2(0x21, 0x11, &[0; 16_385]), Bad::TooLong),
    ] {
        assert_eq!(parse(&header), Parsed::Bad(bad), "{header:x?}");
    }
    // Told before it has come.
    let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(parse(&long), Parsed::Bad(Bad::TooLong));
}

/// What a value's checksum must be, by another way than the parser's: a table.
fn crc32c(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256_u32)
        .map(|index| {
            (0..8).fold(index, |sum, _| {
                if sum & 1 == 1 {
                    sum >> 1 ^ 0x82f6_3b78
                } else {
                    sum >> 1
                }
            })
        })
        .collect();
    let sum = bytes.iter().fold(u32::MAX, |sum, &byte| {
        table[usize::from((sum as u8) ^ byte)] ^ sum >> 8
    });
    !sum
}

#[test]
fn the_table_has_the_checksum_of_the_standard() {
    // RFC 3720 section B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

fn values() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let value = prop::collection::vec(any::<u8>(), 0..40);
    prop::collection::vec((4_u8.., value), 0..4)
}

fn encoded(values: &[(u8, Vec<u8>)]) -> Vec<u8> {
    values.iter().fold(Vec::new(), |mut bytes, (kind, value)| {
        bytes.push(*kind);
        bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend(value);
        bytes
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        client: (IpAddr, u16),
        server: (u128, u16),
        (before, after) in (values(), values()),
        follows in prop::collection::vec(any::<u8>(), 0..50),
        summed: bool,
        flip in 0_usize..12,
    ) {
        let (ip, client_port) = client;
        let mut addresses = Vec::new();
        let family = match ip {
            IpAddr::V4(v4) => {
                addresses.extend(v4.octets());
                addresses.extend(&server.0.to_be_bytes()[..4]);
                0x11
            }
            IpAddr::V6(v6) => {
                addresses.extend(v6.octets());
                addresses.extend(server.0.to_be_bytes());
                0x21
            }
        };
        addresses.extend(client_port.to_be_bytes());
        addresses.extend(server.1.to_be_bytes());
        let mut body = [addresses, encoded(&before)].concat();
        let sum_at = 16 + body.len() + 3;
        if summed {
            body.extend([3, 0, 4, 0, 0, 0, 0]);
        }
        body.extend(encoded(&after));
        let mut header = v2(0x21, family, &body);
        if summed {
            let sum = crc32c(&header).to_be_bytes();
            header[sum_at..sum_at + 4].copy_from_slice(&sum);
        }
        let length = header.len();
        let client = SocketAddr::new(ip.to_canonical(), client_port);
        let expected = Parsed::Whole { length, client: Some(client) };
        let all = [header.clone(), follows.clone()].concat();
        prop_assert_eq!(parse(&all), expected);
        check(&all);
        if summed {
            header[16 + flip] ^= 0x10;
            prop_assert_eq!(parse(&header), Parsed::Bad(Bad::Checksum));
        }
        let kind = if ip.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {kind} {ip} {ip} {client_port} {}\r\n", server.1);
        let expected = Parsed::Whole { length: line.len(), client: Some(client) };
        let all = [line.into_bytes(), follows].concat();
        prop_assert_eq!(parse(&all), expected);
        check(&all);
    }

    #[test]
    fn any_bytes_are_read_in_one_way(
        start in prop::sample::select(vec![b"".as_slice(), b"PROXY ", b"PROXY TCP4 1.2.3.4 ", SIGNATURE]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        check(&[start, &rest].concat());
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let balancer = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (balancer, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn what_follows_a_header_is_left() {
    let (mut balancer, stream) = pair().await;
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nCONNECT";
    let writing = tokio::spawn(async move {
        for byte in header {
            balancer.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        balancer
    });
    let mut buf = BytesMut::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let client = read(&stream, &mut buf, deadline).await;
    assert_eq!(client, Ok(Some("192.0.2.1:1".parse().unwrap())));
    let balancer = writing.await.unwrap();
    while buf.len() < 7 {
        stream.readable().await.unwrap();
        let _ = stream.try_read_buf(&mut buf);
    }
    assert_eq!(&buf[..], b"CONNECT");
    drop(balancer);
}

#[tokio::test]
async fn what_is_no_header_or_not_whole_is_refused() {
    for (sent, bad) in [
        (&b"PROXY TCP4 192.0.2.1"[..], Bad::Ended),
        (b"", Bad::Ended),
        (b"GET / HTTP/1.1\r\n", Bad::Absent),
    ] {
        let (mut balancer, stream) = pair().await;
        balancer.write_all(sent).await.unwrap();
        balancer.shutdown().await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let refused = read(&stream, &mut BytesMut::new(), deadline).await;
        assert_eq!(refused, Err(bad));
    }
    let (_balancer, stream) = pair().await;
    let deadline = Instant::now() + Duration::from_millis(50);
    let refused = read(&stream, &mut BytesMut::new(), deadline).await;
    assert_eq!(refused, Err(Bad::TimedOut));
}
