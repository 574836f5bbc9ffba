//! The rule that everything began with: block where TLS is not negotiated, except for a group.

use std::{
    io::{Read, Write},
    net::Shutdown,
};

use sluice_tests::{
    family::Family,
    hello,
    lab::Lab,
    peer::{Peer, Recorder},
    sluice::Sluice,
};

use crate::{
    exchange::{Heard, Then, hear, say},
    support::{PATIENCE, connect, eventually, flows, recipe},
};

const REPLY: &[u8] = b"as you say";
const LATER: &[u8] = b"and more";

/// One way of not negotiating TLS, as far as the client's bytes tell.
struct Way {
    what: &'static str,
    reason: &'static str,
    bytes: Vec<u8>,
    then: Then,
    /// How somebody outside the group is told.
    told: Heard,
}

impl Way {
    fn new(what: &'static str, reason: &'static str, bytes: &[u8], told: Heard) -> Self {
        Self {
            what,
            reason,
            bytes: bytes.to_vec(),
            then: Then::Wait,
            told,
        }
    }

    fn and_finish(mut self) -> Self {
        self.then = Then::Finish;
        self
    }
}

fn ways() -> Vec<Way> {
    const PROTOCOL_VERSION: u8 = 70;
    const UNEXPECTED_MESSAGE: u8 = 10;
    const DECODE_ERROR: u8 = 50;
    const RECORD_OVERFLOW: u8 = 22;
    let genuine = hello::genuine("news.example", &["h2"]);
    let half = &genuine[..genuine.len() / 2];
    let mut malformed = genuine.clone();
    // The length of the session identifier: RFC 8446 section 4.1.2 allows 32 at most.
    malformed[43] = 33;
    vec![
        Way::new(
            "a greeting of ssh",
            "not-tls",
            b"SSH-2.0-client\r\n",
            Heard::reset(),
        ),
        Way::new(
            "http without tls",
            "not-tls",
            b"GET / HTTP/1.1\r\nHost: news.example:443\r\n\r\n",
            // The beginning of a page, which needs no CA here.
            Heard::bytes(b"HTTP/1.1 403 Forbidden\r\n"),
        )
        .and_finish(),
        Way::new("noise", "not-tls", &[0x5a; 300], Heard::reset()),
        Way::new(
            "a hello in the format of ssl 2",
            "sslv2-hello",
            &hello::sslv2(),
            Heard::alert(PROTOCOL_VERSION),
        ),
        Way::new(
            "records of no length",
            "zero-length-record",
            &hello::zero_length_records(3),
            Heard::alert(UNEXPECTED_MESSAGE),
        ),
        Way::new(
            "half a hello and no more",
            "truncated",
            half,
            Heard::alert(DECODE_ERROR),
        )
        .and_finish(),
        Way::new(
            "a hello that says it is larger than the limit",
            "oversize",
            &hello_of(70_000),
            Heard::alert(RECORD_OVERFLOW),
        ),
        Way::new("half a hello and a pause", "timeout", half, Heard::reset()),
        Way::new("not a word", "silent", b"", Heard::reset()),
        Way::new(
            "a hello that cannot be decoded",
            "malformed-hello",
            &malformed,
            Heard::alert(DECODE_ERROR),
        ),
    ]
}

/// A handshake message of that length, in as many records as it takes.
fn hello_of(length: u32) -> Vec<u8> {
    let mut message = vec![1];
    message.extend(&length.to_be_bytes()[1..]);
    message.resize(4 + length as usize, 0x61);
    let mut bytes = Vec::new();
    for part in message.chunks(16_384) {
        bytes.extend([22, 3, 1]);
        bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

#[test]
#[ignore = "root: cargo xtask test"]
fn what_is_not_tls_reaches_the_origin_for_a_member_and_nobody_else() {
    let lab = Lab::new();
    let sluice = lab.run_sluice(&recipe());
    for family in Family::ALL {
        let origin = Recorder::new(lab.internet(), family.origin_at(5, 443), REPLY);
        for way in ways() {
            a_member_is_served(&lab, &sluice, family, &origin, &way);
            another_is_blocked(&lab, &sluice, family, &origin, &way);
        }
    }
}

fn a_member_is_served(lab: &Lab, sluice: &Sluice, family: Family, origin: &Recorder, way: &Way) {
    let what = format!("{}, {family:?}, member", way.what);
    let (known, before) = (
        origin.recordings().len(),
        flows(sluice, "splice", ("tls", way.reason)),
    );
    let mut client = connect(lab, family.member(), origin.address());
    say(&mut client, &way.bytes, way.then);
    let arrived = |wanted: &[u8]| {
        let all = origin.wait_until(PATIENCE, |all| {
            all.get(known)
                .is_some_and(|one| one.bytes.len() >= wanted.len())
        });
        assert_eq!(all.len(), known + 1, "{what}");
        assert!(all[known].bytes == wanted, "{what}: other bytes arrived");
    };
    arrived(&way.bytes);
    let mut all = way.bytes.clone();
    if way.then == Then::Wait {
        client.write_all(LATER).unwrap();
        all.extend(LATER);
        arrived(&all);
        client.shutdown(Shutdown::Write).unwrap();
    }
    assert_eq!(hear(&mut client), Heard::bytes(REPLY), "{what}");
    let recordings = origin.wait_until(PATIENCE, |all| all[known].ended);
    assert!(recordings[known].ended, "{what}");
    assert!(
        recordings[known].bytes == all,
        "{what}: other bytes arrived"
    );
    eventually(&what, || {
        flows(sluice, "splice", ("tls", way.reason)) == before + 1.0
    });
}

fn another_is_blocked(lab: &Lab, sluice: &Sluice, family: Family, origin: &Recorder, way: &Way) {
    let what = format!("{}, {family:?}, other", way.what);
    let (known, before) = (
        origin.recordings().len(),
        flows(sluice, "block", ("tls", way.reason)),
    );
    let mut client = connect(lab, family.other(), origin.address());
    say(&mut client, &way.bytes, way.then);
    let mut heard = hear(&mut client);
    if heard.bytes.starts_with(b"HTTP/1.1 ") {
        heard.bytes.truncate(way.told.bytes.len());
    }
    assert_eq!(heard, way.told, "{what}");
    drop(client);
    eventually(&what, || {
        flows(sluice, "block", ("tls", way.reason)) == before + 1.0
    });
    assert_eq!(origin.recordings().len(), known, "{what}");
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_member_hears_an_origin_that_speaks_first() {
    let lab = Lab::new();
    let sluice = lab.run_sluice(&recipe());
    for family in Family::ALL {
        let _origin = Peer::tcp(lab.internet(), family.origin_at(5, 443), |mut stream, _| {
            let mut answer = [0; 4];
            stream.write_all(b"220 ready\r\n").unwrap();
            stream.read_exact(&mut answer).unwrap();
            stream.write_all(&answer).unwrap();
        });
        let mut client = connect(&lab, family.member(), family.origin_at(5, 443));
        let mut greeting = [0; 11];
        client.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 ready\r\n");
        say(&mut client, b"EHLO", Then::Finish);
        assert_eq!(hear(&mut client), Heard::bytes(b"EHLO"));

        let mut client = connect(&lab, family.other(), family.origin_at(5, 443));
        assert_eq!(hear(&mut client), Heard::reset());
    }
    eventually("two silent clients blocked", || {
        flows(&sluice, "block", ("tls", "silent")) == 2.0
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_hello_that_no_server_hello_answers_is_for_members_only() {
    let lab = Lab::new();
    let sluice = lab.run_sluice(&recipe());
    let named = hello::genuine("news.example", &["h2"]);
    for family in Family::ALL {
        let address = family.origin_at(5, 443);
        let fake = Recorder::new(lab.internet(), address, REPLY);
        let mut client = connect(&lab, family.other(), address);
        say(&mut client, &named, Then::Wait);
        assert_eq!(hear(&mut client), Heard::alert(49), "access denied");
        let mut client = connect(&lab, family.member(), address);
        say(&mut client, &named, Then::Finish);
        assert_eq!(hear(&mut client), Heard::bytes(REPLY));
        let recordings = fake.wait_until(PATIENCE, |all| all.iter().all(|one| one.ended));
        assert_eq!(recordings.len(), 2, "{family:?}");
        assert!(recordings.iter().all(|one| one.bytes == named));

        let address = family.origin_at(6, 443);
        let _genuine = Recorder::new(lab.internet(), address, &hello::answer());
        let mut client = connect(&lab, family.other(), address);
        say(&mut client, &named, Then::Finish);
        assert_eq!(hear(&mut client), Heard::bytes(&hello::answer()));
    }
    eventually("what was said of every flow", || {
        let said = |verdict, word| flows(&sluice, verdict, ("tls", word));
        said("block", "inconsistent-server-hello") == 2.0 && said("splice", "negotiated") == 2.0
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_hello_without_a_name_is_for_members_only() {
    let lab = Lab::new();
    let sluice = lab.run_sluice(&recipe());
    for family in Family::ALL {
        let origin = Recorder::new(lab.internet(), family.origin_at(5, 443), REPLY);
        let bare = hello::genuine(&family.origin(5).to_string(), &[]);
        let mut client = connect(&lab, family.other(), origin.address());
        say(&mut client, &bare, Then::Wait);
        assert_eq!(hear(&mut client), Heard::alert(49), "access denied");
        assert!(origin.recordings().is_empty());

        let mut client = connect(&lab, family.member(), origin.address());
        say(&mut client, &bare, Then::Finish);
        assert_eq!(hear(&mut client), Heard::bytes(REPLY));
        let seen = origin.wait_until(PATIENCE, |all| all.first().is_some_and(|one| one.ended));
        assert!(seen.len() == 1 && seen[0].bytes == bare);
    }
    eventually("two blocked", || {
        flows(&sluice, "block", ("reason", "default-unidentified")) == 2.0
    });
}
