//! What sluice itself offers to origins.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use sluice_gateway::origin::{Offer, Origins, Target};
use sluice_policy::{TlsVersion, TlsVersions};
use tokio::io::AsyncReadExt;

use crate::pki::*;
use crate::served::{client, offering, trusting};

/// The body of each extension of a ClientHello by its number, and its list of cipher suites.
#[derive(Debug)]
struct Offered {
    suites: Vec<u16>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Offered {
    fn of(record: &[u8]) -> Self {
        let mut rest = &record[5 + 4 + 2 + 32..];
        let session = usize::from(rest[0]);
        rest = &rest[1 + session..];
        let (suites, after) = vector(rest);
        let compression = usize::from(after[0]);
        let (mut list, end) = vector(&after[1 + compression..]);
        assert!(end.is_empty());
        let mut extensions = Vec::new();
        while !list.is_empty() {
            let (body, after) = vector(&list[2..]);
            extensions.push((u16::from_be_bytes([list[0], list[1]]), body.to_vec()));
            list = after;
        }
        extensions.sort_unstable();
        Self {
            suites: words(suites),
            extensions,
        }
    }

    fn body(&self, number: u16) -> Option<&[u8]> {
        let found = self.extensions.iter().find(|(known, _)| *known == number);
        found.map(|(_, body)| body.as_slice())
    }

    fn list(&self, number: u16) -> Vec<u16> {
        words(vector(self.body(number).unwrap()).0)
    }

    fn numbers(&self) -> Vec<u16> {
        self.extensions.iter().map(|(number, _)| *number).collect()
    }
}

fn vector(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes[2..].split_at(length)
}

fn words(bytes: &[u8]) -> Vec<u16> {
    let pairs = bytes.chunks(2);
    pairs
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .collect()
}

/// The hello that is sent, read by an origin that never answers.
async fn sent(origins: &Origins, name: Option<&str>, alpn: &[&[u8]]) -> Vec<u8> {
    sent_for(origins, name, offering(alpn)).await
}

async fn sent_for(origins: &Origins, name: Option<&str>, offer: Offer<'_>) -> Vec<u8> {
    let (near, mut far) = tokio::io::duplex(16_384);
    let target = Target::new(name, "192.0.2.1:443".parse().unwrap()).unwrap();
    let client = client();
    let met = origins.connect(near, &target, Some(&client), offer, now());
    let read = async {
        let mut bytes = vec![0; 5];
        far.read_exact(&mut bytes).await.unwrap();
        let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        bytes.resize(5 + length, 0);
        far.read_exact(&mut bytes[5..]).await.unwrap();
        bytes
    };
    tokio::select! {
        bytes = read => bytes,
        met = met => panic!("{met:?}"),
    }
}

#[tokio::test]
async fn d14_origins_are_offered_no_less_than_rustls_offers() {
    let origins = trusting(&Authority::root("root"));
    let ours = sent(&origins, Some(NAME), &[b"h2", b"http/1.1"]).await;
    let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(NAME).unwrap();
    let mut plain = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut theirs = Vec::new();
    plain.write_tls(&mut theirs).unwrap();

    let (ours, theirs) = (Offered::of(&ours), Offered::of(&theirs));
    let sorted = |suites: &[u16]| {
        let mut suites = suites.to_vec();
        suites.sort_unstable();
        suites
    };
    assert_eq!(sorted(&ours.suites), sorted(&theirs.suites));
    // TLS_AES_128_GCM_SHA256, as browsers have it.
    assert_eq!(ours.suites[0], 0x1301);
    assert_eq!(ours.numbers(), theirs.numbers());
    // server_name, status_request, signature_algorithms, ALPN, extended_master_secret,
    // supported_versions, psk_key_exchange_modes.
    for number in [0, 5, 13, 16, 23, 43, 45] {
        assert!(ours.body(number).is_some(), "{number}");
        assert_eq!(ours.body(number), theirs.body(number), "{number}");
    }
    assert_eq!(ours.body(43).unwrap(), [4, 3, 4, 3, 3]);
    // Groups: the same, with the post-quantum one first, and a share of it.
    const X25519MLKEM768: u16 = 0x11ec;
    let (mut groups, mut default) = (ours.list(10), theirs.list(10));
    assert_eq!(groups[0], X25519MLKEM768);
    groups.sort_unstable();
    default.sort_unstable();
    assert_eq!(groups, default);
    let shares = vector(ours.body(51).unwrap()).0;
    assert_eq!(words(&shares[..2]), [X25519MLKEM768]);
}

#[tokio::test]
async fn the_name_is_sent_as_the_client_sent_it_and_no_protocol_unasked() {
    let origins = trusting(&Authority::root("root"));
    let named = Offered::of(&sent(&origins, Some(NAME), &[]).await);
    assert!(named.body(0).unwrap().ends_with(NAME.as_bytes()));
    assert_eq!(named.body(16), None);
    let nameless = Offered::of(&sent(&origins, None, &[b"http/1.1"]).await);
    assert_eq!(nameless.body(0), None);
    assert_eq!(nameless.body(16).unwrap(), b"\0\x09\x08http/1.1");
}

#[tokio::test]
async fn no_version_is_offered_that_the_client_does_not_offer() {
    use TlsVersion::{Tls10, Tls12, Tls13};
    let origins = trusting(&Authority::root("root"));
    for (client, offered) in [
        (&[Tls10, Tls12][..], &[3u8, 3][..]),
        (&[Tls13], &[3, 4]),
        (&[Tls12, Tls13], &[3, 4, 3, 3]),
        (&[Tls10], &[3, 4, 3, 3]),
    ] {
        let offer = Offer {
            versions: TlsVersions::of(client.iter().copied()),
            alpn: &[],
        };
        let hello = Offered::of(&sent_for(&origins, Some(NAME), offer).await);
        assert_eq!(hello.body(43).unwrap()[1..], *offered, "{client:?}");
    }
}

#[tokio::test]
async fn names_that_cannot_be_protocols_are_not_offered() {
    let origins = trusting(&Authority::root("root"));
    let long = [b'x'; 256];
    let hello = Offered::of(&sent(&origins, Some(NAME), &[b"", &long, b"h2"]).await);
    assert_eq!(hello.body(16).unwrap(), b"\0\x03\x02h2");
}

#[tokio::test]
async fn peek_reads_it_as_a_hello() {
    let origins = trusting(&Authority::root("root"));
    let bytes = sent(&origins, Some(NAME), &[b"h2"]).await;
    let mut reader = sluice_peek::HelloReader::new(sluice_peek::HELLO_LIMIT);
    let sluice_peek::Peek::Hello(hello) = reader.advance(&bytes) else {
        panic!("no hello");
    };
    assert!(hello.sni.is_some_and(|name| name.as_str() == NAME));
}
