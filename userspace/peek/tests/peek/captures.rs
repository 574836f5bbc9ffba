//! Real traffic: captures that `SLUICE_CAPTURES` names the folder of.

use std::path::PathBuf;

use sluice_peek::{
    Answer, Chosen, End, HELLO_LIMIT, Hello, HelloReader, NoAgreement, NotTls, Offer, Peek,
    ServerHelloReader, Version, foreign,
};

use crate::pcap::{Flow, flows};

/// The file, or `None` after saying that the test has nothing to read.
fn file(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("SLUICE_CAPTURES") else {
        eprintln!("skipped: SLUICE_CAPTURES is not set, {name} is not read");
        return None;
    };
    let path = PathBuf::from(folder).join(name);
    // Tests run in the folder of their package, people name folders from that of the workspace.
    let from_root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(&path);
    let found = [path, from_root].into_iter().find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: SLUICE_CAPTURES has no {name}");
    }
    found
}

fn capture(name: &str) -> Option<Vec<Flow>> {
    Some(flows(&std::fs::read(file(name)?).unwrap()))
}

fn hellos(flows: &[Flow]) -> Vec<Hello> {
    let peeked = flows.iter().map(|flow| peek(&flow.sent));
    peeked
        .filter_map(|peek| match peek {
            Peek::Hello(hello) => Some(hello),
            _ => None,
        })
        .collect()
}

fn peek(sent: &[u8]) -> Peek {
    HelloReader::new(HELLO_LIMIT).advance(sent)
}

/// The word for a client's first bytes in the table that comes with the Skype capture.
fn word(sent: &[u8]) -> String {
    let mut reader = HelloReader::new(HELLO_LIMIT);
    match reader.advance(sent) {
        Peek::Hello(hello) => match hello.sni {
            Some(name) => format!("hello:{name}"),
            None => "hello:no-sni".into(),
        },
        _ => match reader.finish(sent, End::Eof) {
            NotTls::Silent => "no-payload".into(),
            why => why.name().into(),
        },
    }
}

#[test]
fn skype_line_by_line() {
    let (Some(flows), Some(table)) = (capture("skype.pcap"), file("skype.expected.tsv")) else {
        return;
    };
    let table = std::fs::read_to_string(table).unwrap();
    let (mut lines, mut lone_headers) = (0, 0);
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let ["tcp", client, client_port, server, server_port, expected, _] = fields[..] else {
            continue;
        };
        let client = (client.parse().unwrap(), client_port.parse().unwrap());
        let server = (server.parse().unwrap(), server_port.parse().unwrap());
        let flow = flows
            .iter()
            .find(|flow| (flow.client, flow.server) == (client, server))
            .unwrap_or_else(|| panic!("no flow for {line}"));
        // Two clients send the header of an empty record and nothing else. The parser behind the
        // table wants a sixth byte and says not-tls; but the client waits for an answer first.
        let lone_header = flow.sent == b"\x16\x03\x01\0\0" && expected == "not-tls";
        let expected = if lone_header {
            "zero-length-record"
        } else {
            expected
        };
        assert_eq!(word(&flow.sent), expected, "{line}");
        lone_headers += u32::from(lone_header);
        lines += 1;
    }
    assert_eq!((lines, lone_headers), (95, 2));
}

#[test]
fn skype_imitations_are_told_from_genuine_sslv2_hellos() {
    let (Some(skype), Some(genuine)) =
        (capture("skype.pcap"), capture("sslv2-tls-upgrade-01.pcap"))
    else {
        return;
    };
    let sslv2 = |flow: &&Flow| peek(&flow.sent) == Peek::NotTls(NotTls::Sslv2Hello);
    let imitations: Vec<&Flow> = skype.iter().filter(sslv2).collect();
    assert_eq!(imitations.len(), 26);
    for flow in imitations {
        assert_eq!(foreign::application(&flow.sent), Some("skype"));
    }
    let genuine: Vec<&Flow> = genuine.iter().filter(sslv2).collect();
    assert_eq!(genuine.len(), 1);
    assert_eq!(foreign::application(&genuine[0].sent), None);
}

#[test]
fn sslv2_session() {
    let Some(flows) = capture("ssl-v2.pcap") else {
        return;
    };
    assert_eq!(word(&flows[0].sent), "sslv2-hello");
}

#[test]
fn post_quantum_hello_of_chrome() {
    let Some(flows) = capture("chrome-1250-tls-x25519-kyber.pcap") else {
        return;
    };
    let [hello] = &hellos(&flows)[..] else {
        panic!("one hello");
    };
    assert_eq!(hello.consumed, 1756);
    assert!(hello.alpn.iter().eq([&b"h2"[..], b"http/1.1"]));
    assert!(hello.versions.iter().eq([Version::Tls12, Version::Tls13]));
    assert!(hello.ech, "Chrome sends GREASE ECH");
    assert_eq!(hello.ja4.as_str(), "t13d1516h2_8daaf6152771_02713d6af862");
}

#[test]
fn hello_before_a_retry_request() {
    let Some(flows) = capture("hrr.pcap") else {
        return;
    };
    let [hello] = &hellos(&flows)[..] else {
        panic!("one hello");
    };
    assert!(hello.versions.contains(Version::Tls13));
    assert!(
        hello.consumed < flows[0].sent.len(),
        "a second hello follows"
    );
}

#[test]
fn encrypted_client_hello() {
    let Some(flows) = capture("tls13-ech.pcap") else {
        return;
    };
    let hellos = hellos(&flows);
    let ech: Vec<&Hello> = hellos.iter().filter(|hello| hello.ech).collect();
    assert!(!ech.is_empty());
    assert!(ech.iter().all(|hello| hello.sni.is_some()));
}

#[test]
fn hello_cut_by_a_small_mtu() {
    let Some(flows) = capture("tls-client-hello-frag-01.pcap") else {
        return;
    };
    let [hello] = &hellos(&flows)[..] else {
        panic!("one hello");
    };
    assert_eq!(hello.sni.as_deref(), Some("www.google.com"));
}

#[test]
fn hello_to_a_cleartext_server() {
    let Some(flows) = capture("https-to-http.pcap") else {
        return;
    };
    assert_eq!(hellos(&flows).len(), 1);
}

/// What the origin's first bytes are as an answer to the client's, `None` where those are no hello.
fn answer(flow: &Flow) -> Option<Answer> {
    let offer = Offer::of(&flow.sent)?;
    let mut reader = ServerHelloReader::new(offer, HELLO_LIMIT);
    Some(reader.finish(&flow.answered, End::Eof))
}

fn answers(flows: &[Flow]) -> Vec<Answer> {
    flows.iter().filter_map(answer).collect()
}

fn negotiated(version: Version, cipher: u16, hello_retry: bool) -> Answer {
    let version = version.code();
    Answer::Negotiated(Chosen {
        version,
        cipher,
        hello_retry,
    })
}

const fn not(why: NoAgreement) -> Answer {
    Answer::Not { why, alert: None }
}

#[test]
fn answers_of_tls_servers() {
    for (name, expected) in [
        ("hrr.pcap", negotiated(Version::Tls13, 0x1302, true)),
        (
            "chrome-1250-tls-x25519-kyber.pcap",
            negotiated(Version::Tls13, 0x1301, false),
        ),
        (
            "tls-client-hello-frag-01.pcap",
            negotiated(Version::Tls12, 0xc02b, false),
        ),
    ] {
        if let Some(flows) = capture(name) {
            assert_eq!(answers(&flows), [expected], "{name}");
        }
    }
    if let Some(flows) = capture("tls13-ech.pcap") {
        let answers = answers(&flows);
        assert!(!answers.is_empty());
        for answer in answers {
            assert_eq!(answer, negotiated(Version::Tls13, 0x1301, false));
        }
    }
}

#[test]
fn answer_of_a_cleartext_server() {
    if let Some(flows) = capture("https-to-http.pcap") {
        assert_eq!(answers(&flows), [not(NoAgreement::Inconsistent)]);
    }
}

#[test]
fn skype_answers_to_genuine_hellos() {
    let Some(flows) = capture("skype.pcap") else {
        return;
    };
    let genuine: Vec<_> = flows
        .iter()
        .filter(|flow| flow.server.1 == 443)
        .filter_map(|flow| Some((flow.client.1, answer(flow)?)))
        .collect();
    // Three origins, or the network before them, never answer and let the client give up.
    let silent = not(NoAgreement::OriginClosed);
    assert_eq!(
        genuine,
        [
            (50027, silent),
            (50028, negotiated(Version::Tls10, 0xc014, false)),
            (50029, silent),
            (50090, silent),
            (50128, negotiated(Version::Tls12, 0x0004, false)),
        ]
    );
}

/// Peers that are no TLS servers, held against the hello of a browser: such a client's flow would
/// be relayed for the answer, while what Skype sends them is told by itself.
#[test]
fn skype_answers_of_peers() {
    let (Some(skype), Some(chrome)) = (
        capture("skype.pcap"),
        capture("chrome-1250-tls-x25519-kyber.pcap"),
    ) else {
        return;
    };
    let browser = Offer::of(&chrome[0].sent).unwrap();
    let held_against = |offer: &Offer, flow: &Flow| {
        ServerHelloReader::new(offer.clone(), HELLO_LIMIT).finish(&flow.answered, End::Eof)
    };
    let answered = skype
        .iter()
        .filter(|flow| flow.server.1 == 443 && !flow.answered.is_empty());
    let typed = |why: NotTls| {
        let flows = answered.clone();
        flows.filter(move |flow| peek(&flow.sent) == Peek::NotTls(why))
    };

    // Of the other peers' answers the capture has noise at most, and lacks what came before it.
    let heads: Vec<&Flow> = typed(NotTls::Sslv2Hello).collect();
    assert_eq!(heads.len(), 9);
    for flow in &heads {
        assert_eq!(flow.answered, heads[0].answered, "random and session too");
        let answer = held_against(&browser, flow);
        assert_eq!(answer, not(NoAgreement::Inconsistent), "RC4");
    }
    // The imitation breaks no rule of TLS 1.0, so an offer of RC4 does not show what it is.
    let genuine = skype.iter().find(|flow| flow.client.1 == 50028).unwrap();
    let rc4 = Offer::of(&genuine.sent).unwrap();
    let answer = held_against(&rc4, heads[0]);
    assert_eq!(answer, negotiated(Version::Tls10, 0x0005, false));

    // Records without content are answered in kind.
    let empty: Vec<&Flow> = typed(NotTls::ZeroLengthRecord).collect();
    assert_eq!(empty.len(), 1);
    assert_eq!(empty[0].answered[..5], *b"\x17\x03\x01\0\0");
    let answer = held_against(&browser, empty[0]);
    assert_eq!(answer, not(NoAgreement::Inconsistent));
}
