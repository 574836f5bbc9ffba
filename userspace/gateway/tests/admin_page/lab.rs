//! The admin thread of a daemon without flows, and whoever asks it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;
use sluice_gateway::{
    config::{AdminListener, Config},
    daemon::{
        admin::{self, Socket, gate::Gate},
        export::Sources,
        generation::Generation,
        guard::Guard,
        metrics::WorkerMetrics,
        record::{AccessLog, Record, RequestRecord},
        worker::Shared,
    },
};
use tokio::sync::oneshot;

/// A policy that has something to explain.
pub(crate) const POLICY: &str = r#"
[policy]
default = "allow"

[[rule]]
name = "no <b>games</b>"
when = { host = "games.example" }
unless = { client = "10.0.0.9" }
action = "block"

[[rule]]
name = "no secrets"
when = { path = "/secret" }
action = { block = "page" }
"#;

pub(crate) struct Daemon {
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) address: SocketAddr,
    until: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.body);
        parsed.unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }
}

pub(crate) fn parsed(text: &str) -> Config {
    Config::parse(&format!("[gateway]\nlan = [\"lan0\"]\n{text}"), "test").unwrap()
}

impl Daemon {
    /// Serves at a loopback address.
    pub(crate) fn start(text: &str) -> Self {
        Self::behind(&parsed(&format!("{POLICY}{text}")), "127.0.0.1:0")
    }

    /// Serves at an address, behind the gate that the configuration asks for.
    pub(crate) fn behind(config: &Config, address: &str) -> Self {
        let access = AccessLog::with(&config.log, Vec::new());
        access.keep_recent(config.admin.recent);
        let shared = Arc::new(Shared {
            capacity: 100,
            ready: AtomicBool::new(true),
            ..Shared::new(
                Generation::new(1, config).unwrap(),
                Guard::allowing_loopback(1),
                access,
            )
            .unwrap()
        });
        let metrics = Arc::new(WorkerMetrics::default());
        let sources = Sources {
            shared: Arc::clone(&shared),
            workers: vec![Arc::clone(&metrics)],
            steering: None,
            reloads: Arc::default(),
        };
        let listen = [AdminListener::Tcp(address.parse().unwrap())];
        let sockets = admin::open(&listen).unwrap();
        let Some(Socket::Tcp(socket)) = sockets.first() else {
            panic!("no TCP socket")
        };
        let port = socket.local_addr().unwrap().port();
        let gate = Gate::new(&config.admin).unwrap();
        let (until, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || admin::serve_behind(gate, sockets, sources, ended));
        Self {
            shared,
            metrics,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            until: Some(until),
            thread: Some(thread),
        }
    }

    /// Puts another policy into force.
    pub(crate) fn reload(&self, text: &str) {
        let next = self.shared.current.get().next(&parsed(text)).unwrap();
        self.shared.current.replace(next);
    }

    pub(crate) fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "")
    }

    /// Asks with more header lines and a body.
    pub(crate) fn ask(&self, method: &str, path: &str, more: &str, body: &str) -> Answer {
        let host = if more.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        exchange(self.dial(), method, path, &format!("{host}{more}"), body)
    }

    /// Waits until so many records were kept.
    #[track_caller]
    pub(crate) fn wait_kept(&self, number: u64) {
        eventually("records are kept", || {
            self.shared.access.recent().fill().latest == number
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.until.take());
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap().unwrap();
        }
    }
}

#[track_caller]
pub(crate) fn exchange(
    stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    try_exchange(stream, method, path, headers, body).expect("an answer")
}

/// Asks; `None` where there is no answer.
pub(crate) fn try_exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<Answer> {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    // What is refused by its length is not read to its end.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The record of a flow that a rule blocked.
pub(crate) fn flow<'a>(host: &'a str, client: &str) -> Record<'a> {
    Record {
        time: "2026-03-02T10:00:00.000Z".into(),
        client: client.parse().unwrap(),
        destination: "192.0.2.1:443".parse().unwrap(),
        user: Some("alice"),
        listener: None,
        connect: None,
        inspected_because: None,
        verdict: "block",
        rule: Some("no <b>games</b>"),
        stage: "hello",
        reason: "rule",
        tls: Some("hello"),
        sni: Some(host),
        alpn: vec!["h2".into()],
        ja4: None,
        ech: false,
        tags: Vec::new(),
        shadow: None,
        end: "finished",
        to_origin: 1,
        to_client: 2,
        spliced: 0,
        peek_us: 1,
        connect_us: 0,
        server_hello_us: 0,
        duration_ms: 3,
        generation: 1,
        decrypted: false,
        inspected_by: None,
        interception: None,
    }
}

/// The record of a decrypted request.
pub(crate) fn request<'a>(url: &'a str, tags: &'a [String]) -> RequestRecord<'a> {
    RequestRecord {
        time: "2026-03-02T10:00:01.000Z".into(),
        client: "10.0.0.2:5000".parse().unwrap(),
        destination: "192.0.2.2:443".parse().unwrap(),
        user: None,
        listener: None,
        method: "GET",
        url,
        verdict: "block",
        rule: Some("no secrets"),
        reason: "rule",
        tags,
        status: Some(403),
        reference: None,
        decrypted: true,
        generation: 1,
    }
}
