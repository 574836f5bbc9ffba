//! Flows whose policy asks what the origin answers, against the flow code that serves them.
//!
//! Origins are on loopback and nothing is steered: a flow's original destination is told to it.
#![cfg(test)]

#[path = "shared/schema.rs"]
mod schema;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_gateway::config::Config;
use sluice_gateway::daemon::flow::{Arrived, serve};
use sluice_gateway::daemon::generation::Generation;
use sluice_gateway::daemon::guard::Guard;
use sluice_gateway::daemon::metrics::WorkerMetrics;
use sluice_gateway::daemon::record::AccessLog;
use sluice_gateway::daemon::worker::{Shared, Worker};
use socket2::SockRef;

/// What is not negotiated is blocked, and everything else passes.
const BLOCKED: &str = r#"
[policy]
default = "allow"
default_unidentified = "allow"
[[rule]]
name = "no tls"
when = { tls = "not-negotiated" }
action = "block"
"#;

/// What is not negotiated passes for a group, which clients on loopback are in, by another outcome
/// than what is.
const MEMBERS: &str = r#"
[policy]
default = "allow"
default_unidentified = "block"
[[group]]
name = "members"
members = ["127.0.0.0/8"]
[[rule]]
name = "no tls"
when = { tls = "not-negotiated" }
unless = { group = "members" }
action = "block"
[[rule]]
name = "members may"
when = { tls = "not-negotiated", group = "members" }
action = "splice"
"#;

/// No rule speaks of the negotiation.
const NAMES_PASS: &str = r#"
[policy]
default = "allow"
default_unidentified = "block"
"#;

const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];
const FAKE: &[u8] = b"as you say";
const EARLY: &[u8] = b"what the client does not wait to say";
const LATER: &[u8] = b"and what the origin says later";
const PATIENCE: Duration = Duration::from_secs(10);

/// A ClientHello of TLS 1.2 for a.example with one cipher suite, in two records.
fn hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    // server_name: RFC 6066 section 3.
    body.extend([0, 18, 0, 0, 0, 14, 0, 12, 0, 0, 9]);
    body.extend(b"a.example");
    let mut message = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
    message.extend(body);
    let (first, second) = message.split_at(30);
    let mut bytes = Vec::new();
    for part in [first, second] {
        bytes.extend([22, 3, 1, 0, u8::try_from(part.len()).unwrap()]);
        bytes.extend(part);
    }
    bytes
}

/// A ServerHello that fits.
fn server_hello() -> Vec<u8> {
    let mut bytes = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
    bytes.extend([8; 32]);
    bytes.extend([0, 0xc0, 0x2f, 0]);
    bytes
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that came on a connection, and whether it ended in order.
#[derive(Debug, Eq, PartialEq)]
struct Heard {
    bytes: Vec<u8>,
    orderly: bool,
}

impl Heard {
    fn all(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            orderly: true,
        }
    }
}

fn hear(stream: &mut TcpStream) -> Heard {
    let mut bytes = Vec::new();
    let orderly = stream.read_to_end(&mut bytes).is_ok();
    Heard { bytes, orderly }
}

/// One flow and what came of it.
struct Seen<C, O> {
    /// The flow's record; null where none was written.
    record: Value,
    client: C,
    /// `None` where nobody connected to the origin.
    origin: Option<O>,
    metrics: Arc<WorkerMetrics>,
    took: Duration,
}

impl<C, O> Seen<C, O> {
    #[track_caller]
    fn assert(&self, wanted: &[(&str, &str)]) {
        for (key, value) in wanted {
            assert_eq!(self.record[key], *value, "{key} of {}", self.record);
        }
    }
}

fn config(rules: &str) -> Config {
    let times = "[steer]\nhello_timeout = \"1s\"\nsilent_timeout = \"500ms\"\n";
    let text = format!("[gateway]\nlan = [\"lan0\"]\n{times}{rules}");
    Config::parse(&text, "test").unwrap()
}

/// Serves one flow between a client and an origin, each in a thread of its own.
fn flow<C: Send + 'static, O: Send + 'static>(
    config: &Config,
    client: impl FnOnce(TcpStream) -> C + Send + 'static,
    origin: impl FnOnce(TcpStream) -> O + Send + 'static,
) -> Seen<C, O> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = listener.local_addr().unwrap();
    let origin = std::thread::spawn(move || {
        let (stream, from) = listener.accept().unwrap();
        // The last one only says that nobody else will come.
        (from.ip() != SocketAddr::from(([127, 0, 0, 9], 0)).ip()).then(|| {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            origin(stream)
        })
    });
    let kept = Kept::default();
    let shared = Arc::new(Shared {
        capacity: 100,
        ready: AtomicBool::new(true),
        ..Shared::new(
            Generation::new(1, config).unwrap(),
            Guard::allowing_loopback(5143),
            AccessLog::new(vec![Box::new(kept.clone())]),
        )
        .unwrap()
    });
    let metrics = Arc::new(WorkerMetrics::default());
    let worker = Rc::new(Worker::new(Arc::clone(&shared), Arc::clone(&metrics)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (client, took) = runtime.block_on(async {
        let gateway = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = gateway.local_addr().unwrap();
        let client = std::thread::spawn(move || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            client(stream)
        });
        let (stream, address) = gateway.accept().await.unwrap();
        let arrived = Arrived {
            stream,
            client: address,
            destination,
        };
        let began = Instant::now();
        tokio::time::timeout(2 * PATIENCE, serve(&worker, arrived))
            .await
            .expect("the flow hangs");
        (client, began.elapsed())
    });
    let client = client.join().unwrap();
    end_waiting(destination);
    let origin = origin.join().unwrap();
    shared.access.close();
    let written = kept.0.lock().unwrap().clone();
    let record = serde_json::from_slice(&written).unwrap_or_default();
    if record != Value::Null {
        schema::assert_follows(&record);
    }
    Seen {
        record,
        client,
        origin,
        metrics,
        took,
    }
}

/// Tells an origin that waits for a flow that there is none.
fn end_waiting(origin: SocketAddr) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::from(([127, 0, 0, 9], 0));
    socket.bind(&from.into()).unwrap();
    let _nobody_waits = socket.connect(&origin.into());
}

/// A client that says its hello and more, and listens.
fn speaks(mut stream: TcpStream) -> Heard {
    let mut bytes = hello();
    bytes.extend(EARLY);
    stream.write_all(&bytes).unwrap();
    hear(&mut stream)
}

/// Reads the hello, and makes sure that nothing more comes.
fn hello_alone(stream: &mut TcpStream) {
    let mut bytes = vec![0; hello().len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, hello());
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert_eq!(
        stream.read(&mut [0; 1]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

/// An origin that reads the hello, answers this, and reads what comes then.
fn answers(bytes: Vec<u8>) -> impl FnOnce(TcpStream) -> Heard {
    move |mut stream| {
        hello_alone(&mut stream);
        stream.write_all(&bytes).unwrap();
        hear(&mut stream)
    }
}

/// An origin that reads the hello, answers this, and hears what the client said beside it.
fn converses(bytes: Vec<u8>, pause: Duration) -> impl FnOnce(TcpStream) -> Vec<u8> {
    move |mut stream| {
        hello_alone(&mut stream);
        stream.write_all(&bytes).unwrap();
        let mut early = vec![0; EARLY.len()];
        stream.read_exact(&mut early).unwrap();
        std::thread::sleep(pause);
        stream.write_all(LATER).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        early
    }
}

#[test]
fn a_genuine_answer_passes_with_all_that_was_said() {
    for rules in [BLOCKED, MEMBERS] {
        let seen = flow(
            &config(rules),
            speaks,
            converses(server_hello(), Duration::ZERO),
        );
        seen.assert(&[
            ("verdict", "splice"),
            ("tls", "negotiated"),
            ("stage", "server_hello"),
            ("reason", "default"),
            ("end", "finished"),
        ]);
        let wanted = [server_hello(), LATER.to_vec()].concat();
        assert_eq!(seen.client, Heard::all(&wanted));
        assert_eq!(seen.origin.as_deref(), Some(EARLY));
        assert_eq!(seen.record["to_origin"], hello().len() + EARLY.len());
        assert_eq!(seen.record["to_client"], wanted.len());
        let kinds = seen.metrics.kinds();
        assert_eq!(kinds.keys().next().unwrap().2, "negotiated");
    }
}

#[test]
fn what_is_no_server_hello_is_blocked_for_others() {
    for (answer, tls) in [
        (FAKE, "inconsistent-server-hello"),
        (&HANDSHAKE_FAILURE, "no-common-cipher"),
        (&[21, 3, 1, 0, 2, 2, 70], "no-common-version"),
        (&[], "origin-closed"),
    ] {
        let seen = flow(&config(BLOCKED), speaks, answers(answer.to_vec()));
        seen.assert(&[
            ("verdict", "block"),
            ("tls", tls),
            ("stage", "server_hello"),
            ("reason", "rule"),
            ("rule", "no tls"),
        ]);
        assert_eq!(seen.client, Heard::all(&ACCESS_DENIED), "{tls}");
        let origin = seen.origin.unwrap();
        assert_eq!((origin.bytes, origin.orderly), (vec![], false), "{tls}");
    }
}

#[test]
fn an_origin_that_closes_at_once_has_negotiated_nothing() {
    let seen = flow(&config(BLOCKED), speaks, drop);
    seen.assert(&[("verdict", "block"), ("tls", "origin-closed")]);
    assert_eq!(seen.client, Heard::all(&ACCESS_DENIED));
    assert!(seen.took < Duration::from_millis(900), "{:?}", seen.took);
}

#[test]
fn a_member_gets_what_the_origin_said_whatever_it_is() {
    for (answer, tls) in [
        (FAKE, "inconsistent-server-hello"),
        (&HANDSHAKE_FAILURE, "no-common-cipher"),
    ] {
        let origin = converses(answer.to_vec(), Duration::ZERO);
        let seen = flow(&config(MEMBERS), speaks, origin);
        seen.assert(&[
            ("verdict", "splice"),
            ("tls", tls),
            ("rule", "members may"),
            ("end", "finished"),
        ]);
        let wanted = [answer, LATER].concat();
        assert_eq!(seen.client, Heard::all(&wanted));
        assert_eq!(seen.origin.as_deref(), Some(EARLY));
    }
}

#[test]
fn a_member_gets_what_a_slow_origin_says_in_the_end() {
    let seen = flow(
        &config(MEMBERS),
        speaks,
        converses(Vec::new(), Duration::from_millis(300)),
    );
    // The hello alone was on its way for the whole hello_timeout.
    assert!(seen.took > Duration::from_secs(1), "{:?}", seen.took);
    seen.assert(&[("verdict", "splice"), ("tls", "origin-closed")]);
    assert_eq!(seen.client, Heard::all(LATER));
    assert_eq!(seen.origin.as_deref(), Some(EARLY));
}

#[test]
fn a_member_gets_the_end_of_an_origin_that_closes() {
    let origin = |mut stream: TcpStream| {
        hello_alone(&mut stream);
        stream.write_all(FAKE).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        hear(&mut stream)
    };
    let client = |mut stream: TcpStream| {
        stream.write_all(&hello()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        // The other direction is open still.
        stream.write_all(EARLY).unwrap();
        bytes
    };
    let seen = flow(&config(MEMBERS), client, origin);
    seen.assert(&[("verdict", "splice"), ("end", "finished")]);
    assert_eq!(seen.client, FAKE);
    assert_eq!(seen.origin, Some(Heard::all(EARLY)));
}

#[test]
fn a_member_learns_that_the_origin_has_reset() {
    let origin = |mut stream: TcpStream| {
        hello_alone(&mut stream);
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    };
    let seen = flow(&config(MEMBERS), speaks, origin);
    seen.assert(&[
        ("verdict", "splice"),
        ("tls", "origin-closed"),
        ("end", "origin-reset"),
    ]);
    assert!(!seen.client.orderly);
}

#[test]
fn an_origin_that_is_silent_is_waited_for_no_longer_than_a_hello() {
    let seen = flow(&config(BLOCKED), speaks, answers(Vec::new()));
    seen.assert(&[("verdict", "block"), ("tls", "origin-closed")]);
    assert_eq!(seen.client, Heard::all(&ACCESS_DENIED));
    assert!(seen.took > Duration::from_secs(1), "{:?}", seen.took);
    assert!(seen.took < Duration::from_secs(4), "{:?}", seen.took);
}

#[test]
fn where_it_makes_no_difference_nothing_waits_for_the_origin() {
    let exempt = MEMBERS.replace("\"splice\"", "\"allow\"");
    for rules in [NAMES_PASS, &exempt] {
        passes_at_once(rules);
    }
}

#[track_caller]
fn passes_at_once(rules: &str) {
    let origin = |mut stream: TcpStream| {
        let mut bytes = vec![0; hello().len() + EARLY.len()];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(FAKE).unwrap();
        bytes
    };
    let seen = flow(&config(rules), speaks, origin);
    seen.assert(&[("verdict", "splice"), ("tls", "hello"), ("stage", "hello")]);
    assert_eq!(seen.record["server_hello_us"], 0);
    assert_eq!(seen.client, Heard::all(FAKE));
    assert_eq!(seen.origin, Some([hello(), EARLY.to_vec()].concat()));
}

#[test]
fn a_client_that_goes_away_is_not_waited_for() {
    let client = |mut stream: TcpStream| {
        stream.write_all(&hello()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    };
    let seen = flow(&config(BLOCKED), client, |mut stream| hear(&mut stream));
    seen.assert(&[
        ("verdict", "block"),
        ("reason", "stage-unavailable"),
        ("end", "client-reset"),
    ]);
    assert!(seen.took < Duration::from_millis(900), "{:?}", seen.took);
    let origin = seen.origin.unwrap();
    assert_eq!((origin.bytes, origin.orderly), (hello(), false));
}

#[test]
fn what_needs_a_deeper_look_than_there_is_is_blocked() {
    for (rules, asked) in [
        (
            "when = { certificate = \"invalid\" }\naction = \"block\"",
            true,
        ),
        ("when = { method = \"POST\" }\naction = \"block\"", false),
        ("action = \"inspect\"", false),
        ("action = { warn = \"1h\" }", false),
    ] {
        let rules = format!("{NAMES_PASS}[[rule]]\nname = \"deep\"\n{rules}\n");
        let seen = flow(&config(&rules), speaks, answers(server_hello()));
        seen.assert(&[("verdict", "block"), ("reason", "stage-unavailable")]);
        assert_eq!(seen.client, Heard::all(&ACCESS_DENIED), "{rules}");
        assert_eq!(seen.origin.is_some(), asked, "{rules}");
    }
}

#[test]
fn records_have_tags_and_users_and_may_be_left_out() {
    let rules = r#"
[[user]]
name = "ann"
addresses = ["127.0.0.1"]
[[rule]]
name = "seen"
when = { user = "ann" }
action = { tag = "known" }
"#;
    let origin = || converses(server_hello(), Duration::ZERO);
    let tagged = config(&format!("{BLOCKED}{rules}"));
    let seen = flow(&tagged, speaks, origin());
    seen.assert(&[("user", "ann")]);
    assert_eq!(seen.record["tags"], serde_json::json!(["known"]));
    let unlogged = "[[rule]]\nname = \"quiet\"\naction = \"no-log\"\n";
    let unlogged = config(&format!("{BLOCKED}{rules}{unlogged}"));
    let seen = flow(&unlogged, speaks, origin());
    assert_eq!(seen.record, Value::Null);
    assert_eq!(seen.metrics.kinds().values().sum::<u64>(), 1);
}

#[test]
fn a_shadow_is_compared_and_never_acts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shadow.toml");
    for (shadow, result) in [
        (BLOCKED, "same"),
        ("[[rule]]\nname = \"nobody\"\naction = \"block\"", "differs"),
        (
            "[policy]\ndefault = \"allow\"\n[[rule]]\nname = \"deep\"\n\
             when = { method = \"GET\" }\naction = \"block\"",
            "undecided",
        ),
    ] {
        std::fs::write(&path, format!("[gateway]\nlan = [\"lan0\"]\n{shadow}")).unwrap();
        let mut config = config(BLOCKED);
        config.shadow = Some(path.clone());
        let origin = converses(server_hello(), Duration::ZERO);
        let seen = flow(&config, speaks, origin);
        seen.assert(&[("verdict", "splice")]);
        let counted: Vec<_> = seen
            .metrics
            .shadows()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(shadow, count)| (shadow.name(), count))
            .collect();
        assert_eq!(counted, [(result, 1)]);
        if result == "differs" {
            assert_eq!(seen.record["shadow"]["rule"], "nobody");
            assert_eq!(seen.record["shadow"]["outcome"], "block-alert");
        } else {
            assert_eq!(seen.record.get("shadow"), None);
        }
    }
    std::fs::write(&path, "nonsense").unwrap();
    let mut config = config(BLOCKED);
    config.shadow = Some(path);
    let error = format!("{:#}", Generation::new(1, &config).unwrap_err());
    assert!(error.contains("shadow.toml"), "{error}");
}
