//! What origins answer to a ClientHello: right, wrong and merely new.

use proptest::collection::vec;
use proptest::prelude::*;
use sluice_peek::{Answer, Chosen, End, HELLO_LIMIT, NoAgreement, Offer, ServerHelloReader};

use crate::hello::{Builder, record, records, vec8, vec16};

const SESSION: [u8; 32] = [0xa5; 32];
const RETRY: [u8; 32] =
    *b"\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\
       \x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c";
/// A version, a draft in truth, that this crate does not know.
const UNKNOWN: u16 = 0x7f1c;

/// A hello as browsers send it, with an unknown version and an unknown cipher suite.
pub(crate) fn client() -> Builder {
    Builder::new()
        .ciphers(&[0x0a0a, 0x1301, 0xc02f, 0x00ff, 0x5600, 0x0000, 0xfe7a])
        .versions(&[0x1a1a, UNKNOWN, 0x0304, 0x0303, 0x0302])
}

pub(crate) fn offer() -> Offer {
    Offer::of(&client().bytes()).unwrap()
}

/// A ServerHello field by field.
#[derive(Clone, Debug)]
struct Server {
    version: u16,
    random: [u8; 32],
    session: Vec<u8>,
    cipher: u16,
    compression: u8,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Server {
    fn tls12() -> Self {
        Self {
            version: 0x0303,
            random: [0x3c; 32],
            session: vec![1; 32],
            cipher: 0xc02f,
            compression: 0,
            extensions: vec![(0xff01, vec![0])],
        }
    }

    fn tls13() -> Self {
        Self::selects(0x0304)
    }

    fn selects(version: u16) -> Self {
        Self {
            session: SESSION.to_vec(),
            cipher: 0x1301,
            extensions: vec![(51, vec![7; 36]), (43, version.to_be_bytes().to_vec())],
            ..Self::tls12()
        }
    }

    fn version(self, version: u16) -> Self {
        Self { version, ..self }
    }

    fn cipher(self, cipher: u16) -> Self {
        Self { cipher, ..self }
    }

    fn compression(self, compression: u8) -> Self {
        Self {
            compression,
            ..self
        }
    }

    fn session(self, session: &[u8]) -> Self {
        let session = session.to_vec();
        Self { session, ..self }
    }

    fn retry(self) -> Self {
        Self {
            random: RETRY,
            ..self
        }
    }

    fn extension(mut self, kind: u16, content: &[u8]) -> Self {
        self.extensions.push((kind, content.to_vec()));
        self
    }

    fn body(&self) -> Vec<u8> {
        let block: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(kind, content)| [kind.to_be_bytes().to_vec(), vec16(content)].concat())
            .collect();
        [
            &self.version.to_be_bytes()[..],
            &self.random,
            &vec8(&self.session),
            &self.cipher.to_be_bytes(),
            &[self.compression],
            &vec16(&block),
        ]
        .concat()
    }

    fn message(&self) -> Vec<u8> {
        message(2, &self.body())
    }

    fn bytes(&self) -> Vec<u8> {
        record(&self.message())
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

fn alerts(content: &[u8]) -> Vec<u8> {
    [&[21, 3, 3], &vec16(content)[..]].concat()
}

fn alert(level: u8, code: u8) -> Vec<u8> {
    alerts(&[level, code])
}

fn answer_to(offer: Offer, bytes: &[u8]) -> Answer {
    ServerHelloReader::new(offer, HELLO_LIMIT).advance(bytes)
}

/// The answer to [`client`], whole and in segments of one byte.
#[track_caller]
fn answer(bytes: &[u8]) -> Answer {
    let whole = answer_to(offer(), bytes);
    assert_eq!(in_segments(bytes, &[1]), whole, "{bytes:02x?}");
    whole
}

fn in_segments(bytes: &[u8], lengths: &[usize]) -> Answer {
    let mut reader = ServerHelloReader::new(offer(), HELLO_LIMIT);
    let mut seen = 0;
    for length in lengths.iter().cycle() {
        seen = bytes.len().min(seen + length);
        let answer = reader.advance(&bytes[..seen]);
        if answer != Answer::Incomplete || seen == bytes.len() {
            return answer;
        }
    }
    unreachable!("lengths are given")
}

const fn negotiated(version: u16, cipher: u16) -> Answer {
    Answer::Negotiated(Chosen {
        version,
        cipher,
        hello_retry: false,
    })
}

const fn not(why: NoAgreement) -> Answer {
    Answer::Not { why, alert: None }
}

const fn by_alert(why: NoAgreement, code: u8) -> Answer {
    let alert = Some(code);
    Answer::Not { why, alert }
}

const INCONSISTENT: Answer = not(NoAgreement::Inconsistent);

#[track_caller]
fn assert_inconsistent(bytes: &[u8]) {
    assert_eq!(answer(bytes), INCONSISTENT, "{bytes:02x?}");
}

#[test]
fn ordinary_answers() {
    assert_eq!(answer(&Server::tls12().bytes()), negotiated(0x0303, 0xc02f));
    assert_eq!(answer(&Server::tls13().bytes()), negotiated(0x0304, 0x1301));
    let retry = Chosen {
        version: 0x0304,
        cipher: 0x1301,
        hello_retry: true,
    };
    let bytes = Server::tls13().retry().bytes();
    assert_eq!(answer(&bytes), Answer::Negotiated(retry));
}

#[test]
fn the_least_answer_has_no_session_and_no_extensions() {
    for version in 0x0300..=0x0303 {
        let mut body = Server::tls12().version(version).session(&[]).body();
        body.truncate(body.len() - 7);
        let bytes = record(&message(2, &body));
        assert_eq!(answer(&bytes), negotiated(version, 0xc02f));
    }
}

#[test]
fn what_follows_the_message_is_left_alone() {
    let certificate = message(11, &[0; 40]);
    let together = record(&[Server::tls12().message(), certificate].concat());
    assert_eq!(answer(&together), negotiated(0x0303, 0xc02f));
    let change = [&Server::tls13().bytes()[..], b"\x14\x03\x03\0\x01\x01junk"].concat();
    assert_eq!(answer(&change), negotiated(0x0304, 0x1301));
}

#[test]
fn what_is_new_is_fine_where_the_client_offers_it() {
    let unknown_extension = Server::tls13().extension(0x5555, &[9; 300]);
    assert_eq!(
        answer(&unknown_extension.bytes()),
        negotiated(0x0304, 0x1301)
    );
    let unknown_cipher = Server::tls13().cipher(0xfe7a);
    assert_eq!(answer(&unknown_cipher.bytes()), negotiated(0x0304, 0xfe7a));
    // Nothing else of a version that is not known is judged.
    let unknown_version = Server::selects(UNKNOWN)
        .version(0x0399)
        .session(&[8; 40])
        .cipher(0xabcd)
        .compression(7);
    assert_eq!(
        answer(&unknown_version.bytes()),
        negotiated(UNKNOWN, 0xabcd)
    );
    // The list counts, not the field that middleboxes see (RFC 8446 section 4.2.1).
    let any_field = Server::tls13().version(0x0301);
    assert_eq!(answer(&any_field.bytes()), negotiated(0x0304, 0x1301));
}

#[test]
fn an_older_version_is_the_servers_choice() {
    // A server that does not know supported_versions does not read what is missing in it.
    let only_13 = Builder::new().ciphers(&[0xc02f]).versions(&[0x0304]);
    let offer = Offer::of(&only_13.bytes()).unwrap();
    let bytes = Server::tls12().bytes();
    assert_eq!(answer_to(offer, &bytes), negotiated(0x0303, 0xc02f));
    // One that does, does not read the field.
    let low_field = only_13.legacy_version(0x0301).versions(&[0x0303]);
    let offer = Offer::of(&low_field.bytes()).unwrap();
    assert_eq!(answer_to(offer, &bytes), negotiated(0x0303, 0xc02f));
}

#[test]
fn compression_is_what_the_client_offers() {
    let mut hello = client().bytes();
    // The only method comes before the extension with the versions and its three lengths.
    let method = hello.len() - (2 + 4 + 1 + 2 * 5) - 1;
    assert_eq!(hello[method - 1..=method], [1, 0]);
    hello[method] = 1;
    let offer = Offer::of(&hello).unwrap();
    let deflate = Server::tls12().compression(1).bytes();
    assert_eq!(
        answer_to(offer.clone(), &deflate),
        negotiated(0x0303, 0xc02f)
    );
    let none = Server::tls12().bytes();
    assert_eq!(answer_to(offer.clone(), &none), negotiated(0x0303, 0xc02f));
    let deflate = Server::tls13().compression(1).bytes();
    assert_eq!(answer_to(offer, &deflate), INCONSISTENT);
}

#[test]
fn first_records_of_other_kinds() {
    for start in [
        &b"\x14\x03\x03\0\x01\x01"[..],
        b"\x17\x03\x03\0\x05hello",
        b"\x18\x03\x03\0\x03\x01\0\0",
        b"\x83\xb4\x04\0\x01\0\x02",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"<!DOCTYPE HTML>",
        b"\0",
    ] {
        assert_inconsistent(start);
        let after_alert = [&alert(1, 112), start].concat();
        assert_inconsistent(&after_alert);
        let within = [&record(&Server::tls12().message()[..20]), start].concat();
        assert_inconsistent(&within);
    }
}

#[test]
fn record_headers_out_of_range() {
    assert_inconsistent(b"\x16\x02");
    assert_inconsistent(b"\x16\xfe\xfd");
    assert_inconsistent(b"\x15\x04");
    assert_inconsistent(b"\x16\x03\x03\0\0");
    assert_inconsistent(b"\x15\x03\x03\0\0");
    assert_inconsistent(b"\x16\x03\x03\x48\x01");
    assert_eq!(answer(b"\x16\x03\x03\x48\0"), Answer::Incomplete);
    assert_eq!(answer(b"\x16\x03\xff\0\x01"), Answer::Incomplete);
}

#[test]
fn messages_of_other_types() {
    for kind in [1, 3, 4, 6, 8, 11, 14, 20, 24, 254] {
        assert_inconsistent(&[22, 3, 3, 0, 90, kind]);
    }
}

#[test]
fn hello_requests_are_passed_over() {
    let request = message(0, &[]);
    let hello = Server::tls12().message();
    let chosen = negotiated(0x0303, 0xc02f);
    let alone = [record(&request), record(&hello)].concat();
    assert_eq!(answer(&alone), chosen);
    let together = [&request[..], &request, &hello].concat();
    for size in [1, 3, 5, together.len()] {
        assert_eq!(answer(&records(&together, size)), chosen);
    }
    assert_inconsistent(&record(&message(0, &[0])));
}

#[test]
fn lengths_that_contradict_each_other() {
    let body = Server::tls12().body();
    for cut in 0..body.len() {
        // A ServerHello may end before its extensions.
        if cut != body.len() - 7 {
            assert_inconsistent(&record(&message(2, &body[..cut])));
        }
    }
    assert_inconsistent(&record(&message(2, &[&body[..], &[0]].concat())));
    assert_inconsistent(b"\x16\x03\x03\0\x40\x02\xff\xff\xff");
    assert_inconsistent(&Server::tls12().session(&[1; 33]).bytes());
    for versions in [&[][..], &[3], &[3, 4, 0], &[2, 3, 4]] {
        assert_inconsistent(&Server::tls12().extension(43, versions).bytes());
    }
}

#[test]
fn ciphers_that_were_not_offered() {
    for server in [Server::tls12(), Server::tls13(), Server::tls13().retry()] {
        assert_inconsistent(&server.cipher(0xc030).bytes());
    }
}

#[test]
fn ciphers_that_are_none() {
    for cipher in [0x0a0a, 0x00ff, 0x5600, 0x0000] {
        for server in [Server::tls12(), Server::tls13()] {
            assert_inconsistent(&server.cipher(cipher).bytes());
        }
    }
}

#[test]
fn versions_that_were_not_offered() {
    assert_inconsistent(&Server::selects(0x0305).bytes());
    assert_inconsistent(&Server::selects(0x7f1d).bytes());
    let no_list = Offer::of(&Builder::new().bytes()).unwrap();
    let bytes = Server::tls13().bytes();
    assert_eq!(answer_to(no_list, &bytes), INCONSISTENT);
}

#[test]
fn versions_that_are_none() {
    assert_inconsistent(&Server::selects(0x1a1a).bytes());
    // RFC 8446 section 4.2.1: those before TLS 1.3 stand in the field.
    assert_inconsistent(&Server::selects(0x0303).bytes());
    assert_inconsistent(&Server::selects(0x0302).bytes());
}

#[test]
fn legacy_versions_out_of_range() {
    for version in [0x0002, 0x02ff, 0x0304, UNKNOWN, 0x1a1a, 0xffff] {
        assert_inconsistent(&Server::tls12().version(version).bytes());
    }
    let tls10 = Builder::new().legacy_version(0x0301);
    let offer = Offer::of(&tls10.bytes()).unwrap();
    let to_tls10 = |version| answer_to(offer.clone(), &Server::tls12().version(version).bytes());
    assert_eq!(to_tls10(0x0300), negotiated(0x0300, 0xc02f));
    assert_eq!(to_tls10(0x0301), negotiated(0x0301, 0xc02f));
    assert_eq!(to_tls10(0x0302), INCONSISTENT);
    assert_eq!(to_tls10(0x0303), INCONSISTENT);
}

#[test]
fn compression_that_was_not_offered() {
    assert_inconsistent(&Server::tls12().compression(1).bytes());
    assert_inconsistent(&Server::tls13().compression(1).bytes());
}

#[test]
fn the_session_of_tls13_is_the_clients() {
    for session in [&SESSION[..31], &[], &[1; 32]] {
        assert_inconsistent(&Server::tls13().session(session).bytes());
        assert_inconsistent(&Server::tls13().session(session).retry().bytes());
    }
}

#[test]
fn extensions_come_once() {
    assert_inconsistent(&Server::tls12().extension(0xff01, &[0]).bytes());
    assert_inconsistent(&Server::tls13().extension(43, &[3, 4]).bytes());
}

#[test]
fn tls12_has_no_retry() {
    assert_inconsistent(&Server::tls12().retry().bytes());
}

#[test]
fn the_keys_of_tls13_change_between_records() {
    let more = |server: Server| record(&[server.message(), message(8, &[0, 0])].concat());
    assert_inconsistent(&more(Server::tls13()));
    assert!(matches!(
        answer(&more(Server::tls13().retry())),
        Answer::Negotiated(_)
    ));
}

#[test]
fn every_alert() {
    let hello = Server::tls12().bytes();
    for code in 0..=255 {
        let why = match code {
            70 | 86 => NoAgreement::NoCommonVersion,
            40 | 71 => NoAgreement::NoCommonCipher,
            _ => NoAgreement::OriginClosed,
        };
        let fatal = by_alert(why, code);
        assert_eq!(answer(&alert(2, code)), fatal);
        assert_eq!(answer(&[&alert(2, code), &hello[..]].concat()), fatal);
        let warned = answer(&[&alert(1, code), &hello[..]].concat());
        // A closure is one at any level (RFC 8446 section 6.1).
        let expected = match code {
            0 => fatal,
            _ => negotiated(0x0303, 0xc02f),
        };
        assert_eq!(warned, expected, "{code}");
    }
    for level in [0, 3, 255] {
        assert_inconsistent(&alerts(&[level]));
    }
}

#[test]
fn alerts_in_parts() {
    let no_cipher = by_alert(NoAgreement::NoCommonCipher, 40);
    assert_eq!(answer(&[alerts(&[2]), alerts(&[40])].concat()), no_cipher);
    assert_eq!(answer(&alerts(&[1, 112, 1, 90, 2, 40])), no_cipher);
    let between = [alerts(&[1]), Server::tls12().bytes()].concat();
    assert_inconsistent(&between);
    // TLS 1.2 lets records of other types come between (RFC 5246 section 6.2.1).
    let hello = Server::tls12().message();
    let (head, tail) = hello.split_at(30);
    let within = [record(head), alert(1, 112), record(tail)].concat();
    assert_eq!(answer(&within), negotiated(0x0303, 0xc02f));
    let ended = [record(head), alert(2, 40)].concat();
    assert_eq!(answer(&ended), no_cipher);
}

#[test]
fn every_cut_is_incomplete() {
    let warned = [alert(1, 112), Server::tls13().bytes()].concat();
    let cut_up = records(&Server::tls12().message(), 7);
    for bytes in [warned, cut_up] {
        for cut in 0..bytes.len() {
            let part = &bytes[..cut];
            assert_eq!(answer(part), Answer::Incomplete);
            for (end, why) in [
                (End::Eof, NoAgreement::OriginClosed),
                (End::Deadline, NoAgreement::Timeout),
                (End::SilentDeadline, NoAgreement::Timeout),
            ] {
                let mut reader = ServerHelloReader::new(offer(), HELLO_LIMIT);
                assert_eq!(reader.finish(part, end), not(why));
            }
        }
        let decided = answer(&bytes);
        assert!(matches!(decided, Answer::Negotiated(_)));
        let mut reader = ServerHelloReader::new(offer(), HELLO_LIMIT);
        assert_eq!(reader.finish(&bytes, End::Eof), decided);
    }
}

#[test]
fn the_limit_counts_all_bytes() {
    let hello = Server::tls13().bytes();
    let long = Server::tls13().extension(0x5555, &[0; 20_000]).message();
    for bytes in [
        hello.clone(),
        [alert(1, 112), hello].concat(),
        records(&Server::tls12().message(), 3),
        records(&long, 1 << 14),
    ] {
        let enough = ServerHelloReader::new(offer(), bytes.len()).advance(&bytes);
        assert!(matches!(enough, Answer::Negotiated(_)));
        let mut short = ServerHelloReader::new(offer(), bytes.len() - 1);
        assert_eq!(short.advance(&bytes), not(NoAgreement::Oversize));
    }
    let warnings = alert(1, 112).repeat(HELLO_LIMIT / 7 + 1);
    assert_eq!(answer(&warnings), not(NoAgreement::Oversize));
    let mut announced = ServerHelloReader::new(offer(), 1000);
    let start = announced.advance(b"\x16\x03\x03\x10\0\x02\0\x0f\xfc");
    assert_eq!(start, not(NoAgreement::Oversize));
}

#[test]
fn an_answer_stays() {
    for bytes in [Server::tls13().bytes(), alert(2, 40), b"SSH-".to_vec()] {
        let mut reader = ServerHelloReader::new(offer(), HELLO_LIMIT);
        let first = reader.advance(&bytes);
        assert_ne!(first, Answer::Incomplete);
        let more = [&bytes[..], &alert(2, 70)].concat();
        assert_eq!(reader.advance(&more), first);
        assert_eq!(reader.finish(&[], End::Eof), first);
    }
}

fn servers() -> impl Strategy<Value = Vec<u8>> {
    let base = prop_oneof![
        Just(Server::tls12()),
        Just(Server::tls13()),
        Just(Server::tls13().retry()),
        Just(Server::selects(UNKNOWN)),
    ];
    (base, vec(1..200_usize, 1..8), any::<bool>()).prop_map(|(server, sizes, warned)| {
        let message = server.message();
        let mut rest = &message[..];
        let mut bytes = if warned { alert(1, 112) } else { Vec::new() };
        for size in sizes.iter().cycle() {
            let (piece, more) = rest.split_at(rest.len().min(*size));
            bytes.extend(record(piece));
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn records_and_segments_change_nothing(
        mut bytes in servers(),
        tail in vec(any::<u8>(), 0..20),
        segments in vec(1..100_usize, 1..8),
    ) {
        let whole = answer_to(offer(), &bytes);
        prop_assert!(matches!(whole, Answer::Negotiated(_)));
        bytes.extend(tail);
        prop_assert_eq!(in_segments(&bytes, &segments), whole);
    }

    #[test]
    fn segments_change_nothing_of_mutated_bytes(
        mut bytes in servers(),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        segments in vec(1..30_usize, 1..8),
    ) {
        for (at, byte) in mutations {
            *at.get_mut(&mut bytes) = byte;
        }
        let whole = answer_to(offer(), &bytes);
        prop_assert_eq!(in_segments(&bytes, &segments), whole);
    }

    #[test]
    fn segments_change_nothing_of_arbitrary_bytes(
        start in prop_oneof![
            Just(&b""[..]),
            Just(&b"\x16\x03\x03"[..]),
            Just(&b"\x16\x03\x03\0\x40\x02\0\0\x3c\x03\x03"[..]),
            Just(&b"\x15\x03\x03\0\x06\x01"[..]),
        ],
        rest in vec(any::<u8>(), 1..100),
        segments in vec(1..20_usize, 1..8),
    ) {
        let bytes = [start, &rest].concat();
        prop_assert_eq!(in_segments(&bytes, &segments), answer_to(offer(), &bytes));
    }
}
