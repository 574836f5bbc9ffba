//! Mutated hellos, read by this crate, by rustls and by tls-parser: whoever calls them hellos
//! agrees on the name and the protocols.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};
use sluice_peek::{HELLO_LIMIT, HelloReader, Peek};
use tls_parser::{TlsExtension, TlsMessage, TlsMessageHandshake};

use crate::hello::{record, records};

/// `SLUICE_MUTATIONS` sets another number for a long run.
const MUTATIONS_PER_HELLO: usize = 200;

/// What matters for a decision, in the form of this crate.
#[derive(Debug, Eq, PartialEq)]
struct Identity {
    sni: Option<String>,
    alpn: Vec<Vec<u8>>,
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn ours(bytes: &[u8]) -> Option<Identity> {
    match HelloReader::new(HELLO_LIMIT).advance(bytes) {
        Peek::Hello(hello) => Some(Identity {
            sni: hello.sni.as_deref().map(String::from),
            alpn: hello.alpn.iter().map(<[u8]>::to_vec).collect(),
        }),
        Peek::NotTls(_) => None,
        Peek::NeedMore => panic!("whole records leave nothing to wait for: {bytes:02x?}"),
    }
}

fn of_rustls(bytes: &[u8]) -> Option<Identity> {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let alpn = hello.alpn().into_iter().flatten();
            return Some(Identity {
                sni: hello.server_name().map(canonical),
                alpn: alpn.map(<[u8]>::to_vec).collect(),
            });
        }
    }
    None
}

fn of_tls_parser(message: &[u8]) -> Option<Identity> {
    let (_, parsed) = tls_parser::parse_tls_message_handshake(message).ok()?;
    let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = parsed else {
        return None;
    };
    let mut identity = Identity {
        sni: None,
        alpn: Vec::new(),
    };
    let (rest, extensions) =
        tls_parser::parse_tls_client_hello_extensions(hello.ext.unwrap_or_default()).ok()?;
    if !rest.is_empty() {
        return None;
    }
    for extension in extensions {
        match extension {
            TlsExtension::SNI(names) => {
                let [(_, name)] = names[..] else { return None };
                identity.sni = Some(canonical(std::str::from_utf8(name).ok()?));
            }
            TlsExtension::ALPN(names) => {
                identity.alpn = names.into_iter().map(<[u8]>::to_vec).collect();
            }
            _ => {}
        }
    }
    Some(identity)
}

/// A generator that gives the same numbers in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound).unwrap();
        usize::try_from((bits ^ (bits >> 31)) % bound).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// The messages of hellos that rustls sends, over names, protocols and versions.
fn genuine() -> Vec<Vec<u8>> {
    let versions: [&[&SupportedProtocolVersion]; 3] = [
        &[&version::TLS13, &version::TLS12],
        &[&version::TLS13],
        &[&version::TLS12],
    ];
    let names = [
        "www.example.com",
        "a.b",
        "localhost",
        "xn--bcher-kva.example",
        "my_host.example",
        "192.0.2.1",
        &["a"; 120].join("."),
    ];
    let alpn: [&[&[u8]]; 5] = [
        &[],
        &[b"h2", b"http/1.1"],
        &[b"http/1.1"],
        &[b"\x0a\x0a", b"h2"],
        &[&[b'x'; 255], b"acme-tls/1", &[0; 90]],
    ];
    let mut messages = Vec::new();
    for versions in versions {
        for name in names {
            for alpn in alpn {
                messages.push(genuine_one(versions, name, alpn));
            }
        }
    }
    messages
}

fn genuine_one(
    versions: &[&'static SupportedProtocolVersion],
    name: &str,
    alpn: &[&[u8]],
) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut sent = Vec::new();
    client.write_tls(&mut sent).unwrap();
    let len = usize::from(u16::from_be_bytes([sent[3], sent[4]]));
    assert_eq!(sent.len(), 5 + len, "one record");
    sent.split_off(5)
}

/// A hello taken apart at its extensions, so that mutations reach what matters and lengths can be
/// kept right or made wrong on purpose.
struct Parts {
    /// Version, random, session, ciphers, compression.
    fixed: Vec<u8>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Parts {
    fn of(message: &[u8]) -> Self {
        let length_at = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
        let ciphers = 4 + 2 + 32 + 1 + usize::from(message[38]);
        let compression = ciphers + 2 + length_at(ciphers);
        let block = compression + 1 + usize::from(message[compression]);
        let mut extensions = Vec::new();
        let mut at = block + 2;
        while at < message.len() {
            let len = length_at(at + 2);
            let kind = u16::from_be_bytes([message[at], message[at + 1]]);
            extensions.push((kind, message[at + 4..at + 4 + len].to_vec()));
            at += 4 + len;
        }
        Self {
            fixed: message[4..block].to_vec(),
            extensions,
        }
    }

    fn message(&self) -> Vec<u8> {
        let mut block = Vec::new();
        for (kind, content) in &self.extensions {
            block.extend(kind.to_be_bytes());
            block.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            block.extend(content);
        }
        let mut body = self.fixed.clone();
        body.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        body.extend(block);
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1], &len[1..], &body].concat()
    }

    /// One of the extensions, most often one that is compared.
    fn pick(&self, random: &mut Random) -> usize {
        let compared = [0, 16][random.below(2)];
        let found = self
            .extensions
            .iter()
            .position(|(kind, _)| *kind == compared);
        match found {
            Some(found) if random.below(4) > 0 => found,
            _ => random.below(self.extensions.len()),
        }
    }

    fn mutate(&mut self, random: &mut Random) {
        let picked = self.pick(random);
        let other = random.below(self.extensions.len());
        match random.below(9) {
            0 => self.extensions.swap(picked, other),
            1 => {
                let copy = self.extensions[picked].clone();
                self.extensions.insert(other, copy);
            }
            2 if self.extensions.len() > 1 => drop(self.extensions.remove(picked)),
            3 => self.extensions[picked].0 = [0, 16, 0x2a2a, 0x1234][random.below(4)],
            4 => {
                let entry = random.below(16);
                let code = u16::try_from(entry * 0x1010 + 0x0a0a).unwrap();
                self.extensions
                    .insert(other, (code, vec![0; random.below(3)]));
            }
            5 => {
                let at = random.below(self.fixed.len());
                self.fixed[at] = random.byte();
            }
            _ => mutate_bytes(&mut self.extensions[picked].1, random),
        }
    }
}

fn mutate_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    const TELLING: &[u8] = b"\0.-_* A9\xff\x01\x02:@";
    let at = random.below(bytes.len() + 1);
    let byte = match random.below(2) {
        0 => TELLING[random.below(TELLING.len())],
        _ => random.byte(),
    };
    match random.below(4) {
        0 => bytes.insert(at, byte),
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        _ if at < bytes.len() => bytes[at] = byte,
        _ => bytes.push(byte),
    }
}

fn mutated(message: &[u8], random: &mut Random) -> Vec<u8> {
    let mut parts = Parts::of(message);
    for _ in 0..=random.below(3) {
        parts.mutate(random);
    }
    let mut message = parts.message();
    if random.below(8) == 0 {
        // The type stays: anything else is no hello to anyone.
        let mut tail = message.split_off(1);
        mutate_bytes(&mut tail, random);
        message.append(&mut tail);
        let len = u32::try_from(message.len() - 4).unwrap().to_be_bytes();
        message[1..4].copy_from_slice(&len[1..]);
    }
    message
}

#[derive(Debug, Default)]
struct Tally {
    hellos: u32,
    refused: u32,
    by_rustls: u32,
    by_tls_parser: u32,
}

impl Tally {
    fn compare(&mut self, message: &[u8], random: &mut Random) {
        let whole = record(message);
        let cut = records(message, 1 + random.below(message.len()));
        let told = ours(&whole);
        assert_eq!(ours(&cut), told, "records matter: {message:02x?}");
        let Some(told) = told else {
            self.refused += 1;
            return;
        };
        self.hellos += 1;
        for bytes in [&whole, &cut] {
            if let Some(rustls) = of_rustls(bytes) {
                assert_eq!(told, rustls, "rustls differs: {message:02x?}");
                self.by_rustls += 1;
            }
        }
        if let Some(parsed) = of_tls_parser(message) {
            assert_eq!(told, parsed, "tls-parser differs: {message:02x?}");
            self.by_tls_parser += 1;
        }
    }
}

#[test]
fn b16_genuine_hellos_agree() {
    let mut random = Random(1);
    let mut tally = Tally::default();
    let messages = genuine();
    for message in &messages {
        assert_eq!(Parts::of(message).message(), *message);
        tally.compare(message, &mut random);
    }
    let count = u32::try_from(messages.len()).unwrap();
    assert_eq!(tally.refused, 0);
    assert_eq!(tally.by_rustls, 2 * count);
    assert_eq!(tally.by_tls_parser, count);
}

#[test]
fn b16_mutated_hellos_agree_or_are_refused() {
    let mut random = Random(2);
    let mut tally = Tally::default();
    let count = std::env::var("SLUICE_MUTATIONS")
        .map_or(MUTATIONS_PER_HELLO, |count| count.parse().unwrap());
    for message in genuine() {
        for _ in 0..count {
            tally.compare(&mutated(&message, &mut random), &mut random);
        }
    }
    eprintln!("{tally:?}");
    assert!(tally.hellos + tally.refused >= 20_000);
    // Neither reader refuses or accepts so much that little is compared.
    assert!(tally.hellos > 5_000 && tally.refused > 2_000);
    assert!(tally.by_rustls > 5_000 && tally.by_tls_parser > 5_000);
}
