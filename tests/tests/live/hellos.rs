//! Hostile and odd hellos, through the whole gateway.

use std::{
    fs,
    io::{ErrorKind, Write},
    net::{Shutdown, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use sluice_tests::{
    family::Family,
    hello,
    lab::Lab,
    peer::{Peer, Recorder},
    sluice::Sluice,
};
use socket2::{Domain, SockRef, Socket, Type};

use crate::{
    craft::{self, ALPN, ECH, Hello, SERVER_NAME, VERSIONS, outer_ech, prefixed, server_names},
    exchange::{Heard, Then, hear, say},
    raw::RawClient,
    support::{PATIENCE, connect, eventually, flows},
};

const UNEXPECTED_MESSAGE: u8 = 10;
const RECORD_OVERFLOW: u8 = 22;
const ACCESS_DENIED: u8 = 49;
const DECODE_ERROR: u8 = 50;

/// TLS for named servers passes, all else is blocked; one name is, too.
const CONFIG: &str = r#"
[gateway]
[steer]
hello_timeout = "800ms"
silent_timeout = "800ms"
[policy]
default = "allow"
default_unidentified = "block"
[[rule]]
name = "one name"
when = { host = "blocked.example" }
action = "block"
"#;

const REPLY: &[u8] = b"served";

struct World {
    daemon: Sluice,
    origins: [Recorder; 2],
    lab: Lab,
}

impl World {
    fn new() -> Self {
        Self::with(CONFIG)
    }

    fn with(config: &str) -> Self {
        let lab = Lab::new();
        Self {
            daemon: lab.run_sluice(config),
            origins: Family::ALL
                .map(|family| Recorder::new(lab.internet(), family.origin_at(5, 443), REPLY)),
            lab,
        }
    }

    /// Says something in pieces and returns what came back.
    fn exchange(&self, origin: &Recorder, pieces: &[&[u8]], pause: Duration, then: Then) -> Heard {
        let to = origin.address();
        let mut client = connect(&self.lab, Family::of(to.ip()).other(), to);
        client.set_nodelay(true).unwrap();
        for piece in pieces {
            match client.write_all(piece) {
                Ok(()) => {}
                // Told to whoever writes, a reset is not told again to whoever reads.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Heard::reset(),
                Err(_) => break,
            }
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
        say(&mut client, b"", then);
        hear(&mut client)
    }

    /// The origin gets exactly these bytes, however they were cut.
    fn passes(&self, what: &str, pieces: &[&[u8]], pause: Duration) {
        for origin in &self.origins {
            let known = origin.recordings().len();
            let heard = self.exchange(origin, pieces, pause, Then::Finish);
            assert_eq!(heard, Heard::bytes(REPLY), "{what}");
            let all =
                origin.wait_until(PATIENCE, |all| all.get(known).is_some_and(|one| one.ended));
            assert_eq!(all.len(), known + 1, "{what}");
            assert!(all[known].bytes == pieces.concat(), "{what}: other bytes");
        }
    }

    /// The client is told so, and the origin hears nothing.
    fn stops(&self, what: &str, bytes: &[u8], told: &Heard) {
        for origin in &self.origins {
            let known = origin.recordings().len();
            let heard = self.exchange(origin, &[bytes], Duration::ZERO, Then::Wait);
            assert_eq!(&heard, told, "{what}");
            assert_eq!(origin.recordings().len(), known, "{what}");
        }
    }

    fn flows(&self, verdict: &str, tls: &str) -> f64 {
        flows(&self.daemon, verdict, ("tls", tls))
    }

    /// Waits until no flow is left, and then counts what the daemon holds open.
    fn open_files(&self) -> usize {
        eventually("no flow is left", || {
            self.daemon.metrics().sum("sluice_active_flows", &[]) == 0.0
        });
        let fds = format!("/proc/{}/fd", self.daemon.pid());
        fs::read_dir(fds).unwrap().count()
    }
}

fn singly(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(1).collect()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b1_a_hello_in_segments_of_one_byte() {
    let world = World::new();
    let named = hello::genuine("news.example", &["h2"]);
    world.passes("one byte at a time", &singly(&named), Duration::ZERO);
    let blocked = hello::genuine("blocked.example", &[]);
    for origin in &world.origins {
        let heard = world.exchange(origin, &singly(&blocked), Duration::ZERO, Then::Wait);
        assert_eq!(heard, Heard::alert(ACCESS_DENIED));
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b1_segments_out_of_order_and_again() {
    let world = World::new();
    let named = hello::genuine("news.example", &["h2"]);
    for origin in &world.origins {
        let to = origin.address();
        for (round, size) in [1, 7, 100, 400].into_iter().enumerate() {
            let port = 50_000 + u16::try_from(round).unwrap();
            let from = SocketAddr::new(Family::of(to.ip()).other(), port);
            let client = RawClient::connect(&world.lab, from, to);
            let pieces: Vec<(usize, &[u8])> = named
                .chunks(size)
                .enumerate()
                .map(|(number, piece)| (number * size, piece))
                .collect();
            // The last first, every third again, and some that overlap.
            for (number, (at, piece)) in pieces.iter().enumerate().rev() {
                client.say_at(*at, piece);
                if number % 3 == 0 {
                    client.say_at(*at, piece);
                    let end = named.len().min(at + 2 * size);
                    client.say_at(*at, &named[*at..end]);
                }
            }
            let all = origin.wait_until(PATIENCE, |all| {
                all.get(round)
                    .is_some_and(|one| one.bytes.len() >= named.len())
            });
            assert_eq!(all.len(), round + 1, "segments of {size}");
            assert!(all[round].bytes == named, "segments of {size}: other bytes");
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b2_a_hello_in_many_records() {
    let world = World::new();
    let named = hello::genuine("news.example", &["h2"]);
    let sni = named.windows(12).position(|part| part == b"news.example");
    // A cut within the name; five bytes are the record's header.
    let within_name = sni.unwrap() - 5 + 6;
    for size in [1, 2, 16, 100, within_name] {
        let cut = hello::in_records_of(&named, size);
        world.passes(&format!("records of {size}"), &[&cut], Duration::ZERO);
        let blocked = hello::in_records_of(&hello::genuine("blocked.example", &[]), size);
        world.stops(
            &format!("blocked, records of {size}"),
            &blocked,
            &Heard::alert(ACCESS_DENIED),
        );
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b3_records_and_segments_of_one_byte_with_pauses() {
    let world = World::new();
    let small = Hello::named("news.example").without(VERSIONS).bytes();
    let cut = hello::in_records_of(&small, 1);
    world.passes("ones of ones", &singly(&cut), Duration::ZERO);
    let halves: Vec<&[u8]> = cut.chunks(cut.len().div_ceil(6)).collect();
    world.passes("with pauses", &halves, Duration::from_millis(90));
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b4_a_post_quantum_hello_with_small_buffers() {
    let world = World::new();
    // The buffers of accepted connections come from here.
    let sysctls = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];
    for sysctl in sysctls {
        world.lab.gateway().sysctl(sysctl, "4096 4096 4096");
    }
    let plain = hello::genuine("news.example", &["h2"]);
    let quantum = Hello::named("news.example").padded_to(2100).bytes();
    let large = Hello::named("news.example").padded_to(12_000).bytes();
    for (what, bytes) in [("plain", plain), ("quantum", quantum), ("large", large)] {
        world.passes(what, &[&bytes], Duration::ZERO);
        let pieces: Vec<&[u8]> = bytes.chunks(700).collect();
        world.passes(what, &pieces, Duration::from_millis(2));
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b5_the_size_of_a_hello_has_a_limit() {
    let world = World::new();
    for size in [16_384, 16_385, 60_000] {
        let bytes = Hello::named("news.example").padded_to(size).bytes();
        world.passes(&format!("{size} bytes"), &[&bytes], Duration::ZERO);
    }
    let overflow = Heard::alert(RECORD_OVERFLOW);
    let beyond = craft::records(0x0301, &long_message(0xffff), 16_384);
    world.stops("65535 bytes", &beyond, &overflow);
    let endless = [22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    world.stops("2^24 - 1 bytes, announced", &endless, &overflow);
    world.stops(
        "a record beyond its limit",
        &[22, 3, 1, 0x48, 1, 1, 0],
        &overflow,
    );
    eventually("all are oversize", || {
        world.flows("block", "oversize") == 6.0
    });
    assert_eq!(world.flows("block", "not-tls"), 0.0);
}

/// A message of that many bytes behind its header.
fn long_message(length: u32) -> Vec<u8> {
    let header = length.to_be_bytes();
    [&[1][..], &header[1..], &vec![0; length as usize]].concat()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b6_a_hello_without_a_name_is_not_the_default() {
    let world = World::new();
    let denied = Heard::alert(ACCESS_DENIED);
    world.stops("by hand", &Hello::bare().bytes(), &denied);
    for family in Family::ALL {
        let genuine = hello::genuine(&family.origin(5).to_string(), &[]);
        world.stops("by a library", &genuine, &denied);
    }
    assert_eq!(
        world.daemon.metrics().sum("sluice_flow_bytes_total", &[]),
        0.0
    );
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b7_a_name_has_one_form_or_none() {
    let world = World::new();
    for name in [
        "NEWS.Example",
        "news.example.",
        "_sip.news.example",
        "xn--bcher-kva.example",
    ] {
        world.passes(name, &[&Hello::named(name).bytes()], Duration::ZERO);
    }
    let denied = Heard::alert(ACCESS_DENIED);
    for name in ["BLOCKED.example", "blocked.EXAMPLE.", "blocked.example"] {
        world.stops(name, &Hello::named(name).bytes(), &denied);
    }
    let long = format!("{}.example", "a.".repeat(130));
    let label = format!("{}.example", "a".repeat(64));
    for (what, name) in [
        ("a NUL", &b"news.example\0.evil.example"[..]),
        ("a blank", b"news .example"),
        ("only a dot", b"."),
        ("two dots", b"news..example"),
        ("a star", b"*.example"),
        ("raw UTF-8", "b\u{fc}cher.example".as_bytes()),
        ("more than 255 bytes", long.as_bytes()),
        ("a label of 64 bytes", label.as_bytes()),
        ("an empty name", b""),
    ] {
        let odd = Hello::bare().with(SERVER_NAME, server_names(&[(0, name)]));
        is_blocked(&world, what, &odd);
    }
    for (what, body) in [
        (
            "two names",
            server_names(&[(0, b"news.example"), (0, b"blocked.example")]),
        ),
        ("no names", vec![0, 0]),
        ("an empty extension", Vec::new()),
    ] {
        is_blocked(&world, what, &Hello::bare().with(SERVER_NAME, body));
    }
    let twice =
        Hello::named("news.example").with(SERVER_NAME, server_names(&[(0, b"blocked.example")]));
    is_blocked(&world, "two extensions", &twice);
    is_blocked(&world, "an address", &Hello::named("203.0.113.5"));
}

/// Whichever alert it is told by.
fn is_blocked(world: &World, what: &str, hello: &Hello) {
    let bytes = hello.bytes();
    for origin in &world.origins {
        let known = origin.recordings().len();
        let heard = world.exchange(origin, &[&bytes], Duration::ZERO, Then::Wait);
        assert!(
            [ACCESS_DENIED, DECODE_ERROR]
                .map(Heard::alert)
                .contains(&heard),
            "{what}: {heard:?}"
        );
        assert_eq!(origin.recordings().len(), known, "{what}");
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b8_what_is_new_passes() {
    let world = World::new();
    let mut grease = Hello::named("news.example");
    grease.ciphers.insert(0, 0x3a3a);
    grease.extensions.insert(0, (0x1a1a, Vec::new()));
    grease = grease.with(0xfafa, vec![0]);
    let mut unknown = Hello::named("news.example").with(0x7777, vec![1; 40]);
    unknown.ciphers.extend([0x7001, 0x7002]);
    let later = Hello::named("news.example")
        .without(VERSIONS)
        .with(VERSIONS, vec![6, 0x8a, 0x8a, 3, 5, 3, 4]);
    let mut shuffled = Hello::named("news.example").with(ALPN, prefixed(b"\x02h2"));
    shuffled.extensions.reverse();
    let mut record = Hello::named("news.example");
    record.record_version = 0x0303;
    for (what, hello) in [
        ("grease", grease),
        ("unknown values", unknown),
        ("a later version", later),
        ("shuffled extensions", shuffled),
        ("a record of TLS 1.2", record),
        ("TLS 1.3 only", Hello::named("news.example")),
    ] {
        world.passes(what, &[&hello.bytes()], Duration::ZERO);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b9_encrypted_hellos_are_judged_by_their_outer_name() {
    let world = World::new();
    let offers = |name| Hello::named(name).with(ECH, outer_ech()).bytes();
    world.passes("ech", &[&offers("public.example")], Duration::ZERO);
    world.stops(
        "ech to a blocked name",
        &offers("blocked.example"),
        &Heard::alert(ACCESS_DENIED),
    );
    eventually("it is in the records", || {
        let log = world.daemon.log();
        let tells = |line: &str| line.contains("\"ech\":true") && line.contains("public.example");
        log.lines().any(tells)
    });
    let closed = CONFIG.replace(
        "[[rule]]",
        "[[rule]]\nname = \"no hidden names\"\nwhen = { ech = true }\naction = { block = \"reset\" }\n[[rule]]",
    );
    drop(world);
    let world = World::with(&closed);
    world.stops("ech by a rule", &offers("public.example"), &Heard::reset());
    let plain = Hello::named("public.example").bytes();
    world.passes("without ech", &[&plain], Duration::ZERO);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b10_old_versions_are_what_rules_make_of_them() {
    let world = World::new();
    world.stops("ssl 2 format", &hello::sslv2(), &Heard::alert(70));
    let mut old = Hello::named("news.example").without(VERSIONS);
    for version in [0x0301, 0x0302, 0x0303] {
        old.version = version;
        world.passes("an old version", &[&old.bytes()], Duration::ZERO);
    }
    drop(world);
    let strict = CONFIG.replace(
        "[[rule]]",
        "[[rule]]\nname = \"old\"\nwhen = { ja4 = [\"t10*\", \"t11*\", \"ts3*\"] }\naction = \"block\"\n[[rule]]",
    );
    let world = World::with(&strict);
    for (version, passes) in [
        (0x0300, false),
        (0x0301, false),
        (0x0302, false),
        (0x0303, true),
    ] {
        old.version = version;
        if passes {
            world.passes("TLS 1.2", &[&old.bytes()], Duration::ZERO);
        } else {
            is_blocked(&world, "an old version", &old);
        }
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b11_a_timeout_closes_and_never_passes_on() {
    let world = World::new();
    let named = hello::genuine("news.example", &[]);
    let begin = Instant::now();
    world.stops("half a hello", &named[..named.len() / 2], &Heard::reset());
    world.stops("not a byte", b"", &Heard::reset());
    let each = begin.elapsed() / 4;
    assert!(
        each > Duration::from_millis(700) && each < Duration::from_secs(3),
        "{each:?}"
    );
    // One byte now and then buys no time.
    for origin in &world.origins {
        let pieces: Vec<&[u8]> = named.chunks(8).collect();
        let begin = Instant::now();
        let heard = world.exchange(origin, &pieces, Duration::from_millis(60), Then::Wait);
        assert_eq!(heard, Heard::reset());
        assert!(begin.elapsed() < Duration::from_secs(4));
        assert!(origin.recordings().is_empty());
    }
    eventually("all are counted", || {
        world.flows("block", "timeout") == 4.0 && world.flows("block", "silent") == 2.0
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b12_only_a_handshake_record_begins_a_connection() {
    let world = World::new();
    let message = Hello::named("news.example").message();
    let record =
        |kind: u8, version: [u8; 2], body: &[u8]| [&[kind][..], &version, &prefixed(body)].concat();
    let unexpected = Heard::alert(UNEXPECTED_MESSAGE);
    for (what, bytes, told) in [
        ("an alert", record(21, [3, 3], &[2, 40]), Heard::reset()),
        (
            "change cipher spec",
            record(20, [3, 3], &[1]),
            Heard::reset(),
        ),
        (
            "a heartbeat",
            record(24, [3, 3], &[1, 0, 1, 0]),
            Heard::reset(),
        ),
        (
            "application data",
            record(23, [3, 3], &message),
            Heard::reset(),
        ),
        ("version 2", record(22, [2, 0], &message), Heard::reset()),
        ("version 4", record(22, [4, 0], &message), Heard::reset()),
        (
            "an empty handshake record",
            record(22, [3, 1], &[]),
            unexpected,
        ),
        (
            "a ServerHello",
            record(22, [3, 3], &[2, 0, 0, 2, 3, 3]),
            Heard::reset(),
        ),
    ] {
        world.stops(what, &bytes, &told);
    }
    let behind = [&message[..10], &[0; 0]].concat();
    let spoiled = [
        record(22, [3, 1], &behind),
        record(23, [3, 1], &message[10..]),
    ]
    .concat();
    world.stops(
        "half in another type",
        &spoiled,
        &Heard::alert(DECODE_ERROR),
    );
}

/// Ends a connection by a reset.
fn reset(socket: Socket) {
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b13_clients_that_end_at_once_leave_nothing_behind() {
    const ROUNDS: usize = 60;
    let world = World::new();
    let named = hello::genuine("news.example", &[]);
    let begin = |to: SocketAddr| connect(&world.lab, Family::of(to.ip()).other(), to);
    let round = |to: SocketAddr| {
        for bytes in [&named[..], &named[..100], b"", &hello::sslv2()] {
            // FIN right behind what was said, and wait.
            let mut stream = begin(to);
            say(&mut stream, bytes, Then::Finish);
            hear(&mut stream);
            // The whole connection closed at once.
            let mut stream = begin(to);
            say(&mut stream, bytes, Then::Wait);
            let _gone = stream.shutdown(Shutdown::Both);
            // A reset.
            let mut stream = begin(to);
            say(&mut stream, bytes, Then::Wait);
            reset(stream.into());
        }
    };
    // What is made once and kept is not a leak.
    for origin in &world.origins {
        round(origin.address());
    }
    let before = world.open_files();
    for _ in 0..ROUNDS / 2 {
        for origin in &world.origins {
            round(origin.address());
        }
    }
    let after = world.open_files();
    assert!(after <= before + 8, "{before} files before, {after} after");
    let metrics = world.daemon.metrics();
    assert_eq!(metrics.sum("sluice_pipes", &[("state", "lent")]), 0.0);
    assert_eq!(metrics.sum("sluice_flow_panics_total", &[]), 0.0);
    world.passes("it still serves", &[&named], Duration::ZERO);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn b13_a_half_closed_client_hears_the_whole_answer() {
    const SIZE: usize = 3 << 20;
    let lab = Lab::new();
    let _daemon = lab.run_sluice(CONFIG);
    let named = hello::genuine("news.example", &[]);
    for family in Family::ALL {
        let _origin = Peer::tcp(lab.internet(), family.origin_at(5, 443), |mut stream, _| {
            // Answers only once the client has finished.
            let mut asked = Vec::new();
            std::io::Read::read_to_end(&mut stream, &mut asked).unwrap();
            stream.write_all(&vec![0x61; SIZE]).unwrap();
        });
        let to = family.origin_at(5, 443);
        let socket = lab
            .client()
            .run(|| Socket::new(Domain::for_address(to), Type::STREAM, None))
            .unwrap();
        SockRef::from(&socket).set_recv_buffer_size(16_384).unwrap();
        socket.connect_timeout(&to.into(), PATIENCE).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = socket.into();
        say(&mut client, &named, Then::Finish);
        let heard = hear(&mut client);
        assert_eq!(heard, Heard::bytes(&vec![0x61; SIZE]));
    }
}
