//! Which server a request is for, and which tickets and leaves are for whom.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::client::ClientSessionMemoryCache;
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, HandshakeKind, NamedGroup};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::h2::{END_HEADERS, END_STREAM, H2, HEADERS, Outcome, field, fields, frame};
use crate::lab::{Client, INSPECT, Lab, NAME, Origin, Pipe, shown};
use crate::raw::{answer, connect, site, statuses, talk};

/// The status of a lone request of HTTP/1.1, `{s}` in which stands for the server.
fn status(lab: &Lab, tls: bool, text: &str) -> u16 {
    let text = text
        .replace("{s}", &site(lab))
        .replace("{p}", &lab.origin.port().to_string());
    let read = lab.run(async {
        let mut pipe = connect(lab, tls).await;
        pipe.write_all(text.as_bytes()).await.unwrap();
        answer(&mut pipe).await.0
    });
    statuses(&read)[0]
}

#[test]
fn c2_a_request_for_another_server_than_the_hello_s_is_misdirected() {
    let lab = Lab::before(&Origin::default().speaking(b"http/1.1"), INSPECT);
    for host in [
        "other.example:{p}",
        "a.origin.example:{p}",
        "127.0.0.1:{p}",
        "origin.example",
        "origin.example:1",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(status(&lab, true, &text), 421, "{host}");
    }
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
    // However it is written, the same one is the same.
    for host in ["{s}", "ORIGIN.example:{p}", "origin.example.:{p}"] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(status(&lab, true, &text), 200, "{host}");
    }
    lab.over(8);
    let (_, requests) = lab.end();
    assert_eq!(
        requests
            .iter()
            .filter(|one| one["reason"] == "misdirected-request")
            .count(),
        5
    );
}

#[test]
fn c4_each_request_of_a_connection_of_http_2_is_for_the_hello_s_server() {
    let lab = Lab::new(INSPECT);
    lab.run(async {
        let mut h2 = H2::connect(&lab, &[0, 1, 0, 0, 0, 0]).await;
        let whole = END_STREAM | END_HEADERS;
        let port = lab.origin.port();
        for (stream, name, status) in [
            (1, NAME, 200),
            (3, "a.origin.example", 421),
            (5, "other.example", 421),
            (7, NAME, 200),
        ] {
            let server = format!("{name}:{port}");
            let block: Vec<_> = [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", server.as_str()),
                (":path", "/"),
            ]
            .iter()
            .flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes()))
            .collect();
            h2.send(&frame(HEADERS, whole, stream, &block)).await;
            assert_eq!(h2.outcome(stream).await, Outcome::Answer(status), "{name}");
        }
        // The scheme belongs to the server.
        let http = fields(&lab, "GET", "/", &[]);
        let at = http.windows(5).position(|five| five == b"https").unwrap();
        let mut http = http;
        http.remove(at + 4);
        http[at - 1] = 4;
        h2.send(&frame(HEADERS, whole, 9, &http)).await;
        assert_eq!(h2.outcome(9).await, Outcome::Answer(421));
    });
    assert_eq!(lab.requests.load(Ordering::SeqCst), 2);
}

#[test]
fn c5_a_request_names_one_server_in_one_way() {
    let cases = [
        ("GET https://{s}/a HTTP/1.1\r\nHost: {s}\r\n\r\n", 200, 421),
        ("GET http://{s}/a HTTP/1.1\r\nHost: {s}\r\n\r\n", 421, 200),
        ("GET ftp://{s}/a HTTP/1.1\r\nHost: {s}\r\n\r\n", 400, 400),
        (
            "GET /a HTTP/1.1\r\nHost: {s}\r\nHost: {s}\r\n\r\n",
            400,
            400,
        ),
        (
            "GET /a HTTP/1.1\r\nHost: {s}\r\nHost: other.example\r\n\r\n",
            400,
            400,
        ),
        ("GET /a HTTP/1.1\r\nHost: {s}, {s}\r\n\r\n", 400, 400),
        ("GET /a HTTP/1.1\r\n\r\n", 400, 400),
        ("GET /a HTTP/1.1\r\nHost:\r\n\r\n", 400, 400),
        ("GET /a HTTP/1.1\r\nHost: user@{s}\r\n\r\n", 400, 400),
        ("GET /a HTTP/1.1\r\nHost: {s}/a\r\n\r\n", 400, 400),
        ("GET /a HTTP/1.1\r\nHost: {s}:{p}\r\n\r\n", 400, 400),
        (
            "GET /a HTTP/1.1\r\nHost: origin.example:x\r\n\r\n",
            400,
            400,
        ),
        (
            "GET /a HTTP/1.1\r\nHost: origin.example:99999\r\n\r\n",
            400,
            400,
        ),
        ("CONNECT {s} HTTP/1.1\r\nHost: {s}\r\n\r\n", 501, 501),
        ("TRACE /a HTTP/1.1\r\nHost: {s}\r\n\r\n", 501, 501),
        ("GET * HTTP/1.1\r\nHost: {s}\r\n\r\n", 400, 400),
        (
            "GET /a HTTP/1.1\r\nHost: {s}\r\nConnection: Host\r\n\r\n",
            400,
            400,
        ),
    ];
    for (tls, origin) in [
        (true, Origin::default().speaking(b"http/1.1")),
        (false, Origin::plain()),
    ] {
        let rules = if tls { INSPECT } else { crate::requests::READ };
        let lab = Lab::before(&origin, rules);
        for (text, inside, clear) in cases {
            let before = lab.requests.load(Ordering::SeqCst);
            let wanted = if tls { inside } else { clear };
            assert_eq!(status(&lab, tls, text), wanted, "TLS {tls}: {text}");
            let came = lab.requests.load(Ordering::SeqCst) - before;
            assert_eq!(came, usize::from(wanted == 200), "TLS {tls}: {text}");
        }
    }
}

#[test]
fn c5_an_upgrade_to_http_2_in_the_clear_is_not_asked_for() {
    let seen = |mut pipe: Pipe, _| async move {
        let head = crate::raw::until(&mut pipe, "\r\n\r\n")
            .await
            .to_lowercase();
        let clean = !head.contains("upgrade") && !head.contains("http2-settings");
        let text = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{clean}",
            clean.to_string().len()
        );
        let _ = pipe.write_all(text.as_bytes()).await;
        let _ = pipe.flush().await;
        let _ = crate::raw::rest(&mut pipe).await;
    };
    let lab = Lab::before(&Origin::plain().scripted(seen), crate::requests::READ);
    let text = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        site(&lab)
    );
    lab.run(async {
        let mut pipe = connect(&lab, false).await;
        pipe.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut pipe).await.1, "true");
    });
}

#[test]
fn c7_requests_go_to_the_address_that_was_judged() {
    let lab = Lab::before(&Origin::plain(), crate::requests::READ);
    // Somebody else, whom a name in the request leads to.
    let other = std::net::TcpListener::bind(("127.0.0.2", lab.origin.port())).unwrap();
    other.set_nonblocking(true).unwrap();
    assert_eq!(
        status(&lab, false, "GET / HTTP/1.1\r\nHost: 127.0.0.2:{p}\r\n\r\n"),
        421
    );
    assert_eq!(
        status(&lab, false, "GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n"),
        421
    );
    assert_eq!(
        status(
            &lab,
            false,
            "GET / HTTP/1.1\r\nHost: nowhere.example:{p}\r\n\r\n"
        ),
        200
    );
    let close = "GET / HTTP/1.1\r\nHost: nowhere.example:{p}\r\nConnection: close\r\n\r\n";
    let close = close.replace("{p}", &lab.origin.port().to_string());
    assert_eq!(
        statuses(&lab.run(talk(&lab, false, close.as_bytes()))),
        [200]
    );
    assert_eq!(
        other.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    lab.over(4);
    let origin = lab.origin.to_string();
    let (flows, requests) = lab.end();
    for record in flows.iter().chain(&requests) {
        assert_eq!(record["destination"], origin.as_str(), "{record}");
    }
}

/// Makes a handshake and a request, behind which tickets have come; returns how the handshake went.
fn visit(lab: &Lab, client: &Client) -> HandshakeKind {
    lab.run(async {
        let stream = client.connect(lab).await.unwrap();
        let kind = stream.get_ref().1.handshake_kind().unwrap();
        let asks = format!(
            "GET / HTTP/1.1\r\nHost: {}:{}\r\n\r\n",
            client.name,
            lab.origin.port()
        );
        let mut pipe: Pipe = Box::new(stream);
        pipe.write_all(asks.as_bytes()).await.unwrap();
        assert_eq!(statuses(&answer(&mut pipe).await.0), [200]);
        kind
    })
}

/// Keeps the tickets of all servers as one.
#[derive(Debug)]
struct Mixed(ClientSessionMemoryCache);

impl Mixed {
    fn one() -> ServerName<'static> {
        ServerName::try_from(NAME).unwrap()
    }
}

impl ClientSessionStore for Mixed {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(Self::one(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&Self::one())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::one(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::one())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::one());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::one(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::one())
    }
}

#[test]
fn e7_tickets_resume_for_the_same_client_server_and_policy_alone() {
    const FULL: HandshakeKind = HandshakeKind::Full;
    const RESUMED: HandshakeKind = HandshakeKind::Resumed;
    for version in [&TLS12, &TLS13] {
        let origin = Origin {
            versions: vec![version],
            ..Origin::default().speaking(b"http/1.1")
        };
        let mut lab = Lab::before(&origin, INSPECT);
        let mut client = lab.trusting_gateway().offering(&[b"http/1.1"]);
        client.config.resumption =
            Resumption::store(Arc::new(Mixed(ClientSessionMemoryCache::new(32))));
        let kind = |lab: &Lab, client: &Client| match visit(lab, client) {
            HandshakeKind::FullWithHelloRetryRequest => FULL,
            kind => kind,
        };
        assert_eq!(kind(&lab, &client), FULL);
        assert_eq!(kind(&lab, &client), RESUMED, "the same client");
        // Whoever else presents what the client was given begins anew, and is served.
        let other = client.clone().from([127, 0, 0, 2]);
        assert_eq!(kind(&lab, &other), FULL, "another client");
        assert_eq!(kind(&lab, &other), RESUMED);
        let elsewhere = client.clone().asking_for("a.origin.example");
        assert_eq!(kind(&lab, &client), FULL);
        assert_eq!(kind(&lab, &elsewhere), FULL, "another server");
        assert_eq!(kind(&lab, &client), FULL);
        assert_eq!(kind(&lab, &client), RESUMED);
        lab.reload().unwrap();
        assert_eq!(kind(&lab, &client), FULL, "another policy");
        assert_eq!(kind(&lab, &client), RESUMED);
        lab.restart();
        assert_eq!(kind(&lab, &client), FULL, "another process");
        assert_eq!(kind(&lab, &client), RESUMED);
    }
}

#[test]
fn e7_no_early_data_is_offered() {
    let lab = Lab::before(&Origin::default().speaking(b"http/1.1"), INSPECT);
    let mut client = lab.trusting_gateway().offering(&[b"http/1.1"]);
    client.config.enable_early_data = true;
    visit(&lab, &client);
    let name = ServerName::try_from(NAME).unwrap();
    let mut next = ClientConnection::new(Arc::new(client.config.clone()), name).unwrap();
    assert!(next.early_data().is_none());
    assert_eq!(visit(&lab, &client), HandshakeKind::Resumed);
}

/// Names of servers below the origin's.
fn name(number: usize) -> &'static str {
    Box::leak(format!("n{number}.origin.example").into_boxed_str())
}

fn minted(lab: &Lab) -> sluice_mint::MinterCounts {
    lab.shared
        .current
        .get()
        .means
        .leaves
        .as_ref()
        .unwrap()
        .minter
        .counts()
}

#[test]
fn e6_many_names_leave_a_bounded_number_of_leaves() {
    let lab = Lab::new(&format!("leaf_cache = 50\nmint_burst = 1000\n{INSPECT}"));
    for number in 0..200 {
        let client = lab.trusting_gateway().asking_for(name(number));
        drop(lab.run(client.connect(&lab)).unwrap());
    }
    let counts = minted(&lab);
    assert_eq!(counts.minted, 200);
    assert!(counts.cached <= 50, "{counts:?}");
}

#[test]
fn e6_a_client_that_asks_for_too_many_names_is_refused_and_no_other() {
    let lab = Lab::new(&format!("mint_rate = \"1/s\"\nmint_burst = 3\n{INSPECT}"));
    let client = lab.trusting_gateway();
    // Faster than one a second.
    let refused = (0..40).filter(|number| {
        let client = client.clone().asking_for(name(*number));
        lab.run(client.connect(&lab)).is_err()
    });
    let refused = refused.count() as u64;
    assert!(refused > 0);
    assert_eq!(minted(&lab).limited, refused);
    let other = client.asking_for(name(100)).from([127, 0, 0, 2]);
    lab.run(other.connect(&lab)).unwrap();
    lab.over(41);
    let (flows, _) = lab.end();
    let blocked = flows
        .iter()
        .filter(|flow| flow["reason"] == "leaf-unavailable");
    assert_eq!(blocked.count() as u64, refused);
}

#[test]
fn e9_first_connections_at_once_share_one_leaf() {
    let lab = Lab::new(INSPECT);
    let client = lab.trusting_gateway();
    let leaves = lab.run(async {
        let mut tasks = JoinSet::new();
        for _ in 0..16 {
            let connector = TlsConnector::from(Arc::new(client.config.clone()));
            let address = lab.address;
            tasks.spawn(async move {
                let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                let name = ServerName::try_from(NAME).unwrap();
                shown(&connector.connect(name, stream).await.unwrap())
            });
        }
        tasks.join_all().await
    });
    assert!(leaves.iter().all(|leaf| *leaf == leaves[0]));
    assert_eq!(minted(&lab).minted, 1);
}

/// Rules that block by name, by URL, and by the name of a request that is not the hello's.
const BLOCKED: &str = r#"
[steer]
http = ["1-65535"]
[policy]
default = "allow"
block = "page"
[[rule]]
name = "games"
when = { host = "games.example" }
action = "block"
[[rule]]
name = "no slots"
when = { url = 're:^https?://slots\.example[:/]' }
action = "block"
[[rule]]
name = "cut off"
when = { url = 're:^https?://cards\.example[:/]' }
action = { block = "reset" }
[[rule]]
name = "look into it"
when = { host = "origin.example" }
action = "inspect"
"#;

#[test]
fn c2_what_is_blocked_is_shown_its_page_whatever_port_it_names() {
    // In the clear, on a port that the Host field does not say.
    let lab = Lab::before(&Origin::plain(), BLOCKED);
    for (host, status) in [
        ("games.example", "403"),
        ("games.example:{p}", "403"),
        ("slots.example", "403"),
        ("slots.example:8081", "403"),
        // A page, if the rules say nothing of it, would be wrong: it can be asked for elsewhere.
        ("origin.example", "421"),
        ("origin.example:8081", "421"),
        ("cards.example", ""),
    ] {
        let host = host.replace("{p}", &lab.origin.port().to_string());
        let text = format!("GET /a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let read = lab.run(talk(&lab, false, text.as_bytes()));
        let found = read.strip_prefix("HTTP/1.1 ").map_or("", |read| &read[..3]);
        assert_eq!(found, status, "{host}: {read}");
    }
    // Behind a request that passes, too.
    let text = format!(
        "GET /a HTTP/1.1\r\nHost: {}\r\n\r\nGET /b HTTP/1.1\r\nHost: games.example\r\n\r\n\
         GET /c HTTP/1.1\r\nHost: origin.example\r\nConnection: close\r\n\r\n",
        site(&lab)
    );
    let read = lab.run(talk(&lab, false, text.as_bytes()));
    assert_eq!(statuses(&read), [200, 403, 421], "{read}");
    assert_eq!(lab.requests.load(Ordering::SeqCst), 1);
    lab.over(8);
    let (_, requests) = lab.end();
    let told: Vec<_> = requests
        .iter()
        .map(|one| [&one["url"], &one["rule"], &one["reason"]].map(|text| text.as_str()))
        .collect();
    for wanted in [
        [Some("http://games.example/a"), Some("games"), Some("rule")],
        [
            Some("http://slots.example:8081/a"),
            Some("no slots"),
            Some("rule"),
        ],
        [
            Some("http://cards.example/a"),
            Some("cut off"),
            Some("rule"),
        ],
        [
            Some("http://origin.example/a"),
            None,
            Some("misdirected-request"),
        ],
    ] {
        assert!(told.contains(&wanted), "{wanted:?}: {told:?}");
    }
}

#[test]
fn c2_inside_tls_a_blocked_name_is_blocked_and_another_misdirected() {
    let lab = Lab::before(&Origin::default().speaking(b"http/1.1"), BLOCKED);
    for (host, wanted) in [
        ("slots.example", 403),
        ("slots.example:{p}", 403),
        ("other.example:{p}", 421),
        ("{s}", 200),
    ] {
        let text = format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(status(&lab, true, &text), wanted, "{host}");
    }
    assert_eq!(lab.requests.load(Ordering::SeqCst), 1);
}
