//! A worker with a proxy listener before the origin of the lab, and clients that speak to it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::HeaderValue;
use serde_json::Value;
use sluice_gateway::daemon::generation::Generation;
use sluice_gateway::daemon::worker::{Listening, Phase, Worker};
use sluice_gateway::identity::authenticate::Authenticated;
use sluice_gateway::identity::{Identity, Source};
use sluice_gateway::proxy::Asker;
use sluice_splice::{ListenOptions, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::dns::Dns;
use crate::lab::{Lab, Origin, Pipe};

/// Everything is let through unread.
pub(crate) const ALLOW: &str = "[policy]\ndefault = \"allow\"\ndefault_unidentified = \"allow\"\n";

/// Somebody to ask, whose place a [`Porter`] takes.
const PROVIDER: &str = concat!(
    "[[identity.provider]]\nname = \"test\"\nkind = \"htpasswd\"\nfile = \"",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/proxy/test.htpasswd\"\n"
);

/// Names with their addresses.
pub(crate) type Names<'n> = &'n [(&'n str, &'n [&'n str])];

/// A worker with one proxy listener.
pub(crate) struct Gateway {
    pub(crate) lab: Lab,
    pub(crate) address: SocketAddr,
    phase: watch::Sender<Phase>,
    thread: Option<JoinHandle<io::Result<()>>>,
    _dns: Dns,
}

impl Gateway {
    /// A proxy with these keys, which may tunnel to every port, and these rules.
    pub(crate) fn new(origin: &Origin, keys: &str, rules: &str) -> Self {
        Self::strict(
            origin,
            &format!("connect_ports = [\"1-65535\"]\n{keys}"),
            rules,
        )
    }

    /// A proxy with these keys.
    pub(crate) fn strict(origin: &Origin, keys: &str, rules: &str) -> Self {
        let names: Names<'_> = &[
            ("origin.example", &["127.0.0.1"]),
            ("other.example", &["127.0.0.1"]),
            ("loop.example", &["127.0.0.1"]),
            ("gateway.example", &["0.0.0.0"]),
        ];
        Self::knowing(names, origin, keys, rules)
    }

    /// A proxy with these keys, to which there are these names alone.
    pub(crate) fn knowing(names: Names<'_>, origin: &Origin, keys: &str, rules: &str) -> Self {
        let dns = Dns::new(names);
        let text = format!(
            "[resolver]\nservers = [\"{}\"]\n{rules}\n{PROVIDER}\n[[proxy]]\nlisten = \
             [\"127.0.0.1:3128\"]\n{keys}\n",
            dns.address
        );
        let lab = Lab::before(origin, &text);
        let options = ListenOptions {
            transparent: false,
            ..ListenOptions::default()
        };
        let socket = bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let address = socket.local_addr().unwrap();
        let (phase, phases) = watch::channel(Phase::Serving);
        let (shared, metrics) = (Arc::clone(&lab.shared), Arc::clone(&lab.metrics));
        let listening = vec![Listening::proxy(socket, "proxy".into())];
        let thread =
            std::thread::spawn(move || Worker::new(shared, metrics).run(listening, phases));
        Self {
            lab,
            address,
            phase,
            thread: Some(thread),
            _dns: dns,
        }
    }

    /// Has somebody look at credentials.
    pub(crate) fn asking(self) -> Self {
        let mut generation = Generation::new(2, &self.lab.config).unwrap();
        let asker: Arc<dyn Asker> = Arc::new(Porter);
        generation.askers.insert("proxy".into(), asker);
        self.lab.shared.current.replace(generation);
        self
    }

    pub(crate) async fn dial(&self) -> Client<TcpStream> {
        Client::over(TcpStream::connect(self.address).await.unwrap())
    }

    /// A connection from another address of this machine.
    pub(crate) async fn dial_from(&self, from: [u8; 4]) -> Client<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        Client::over(socket.connect(self.address).await.unwrap())
    }

    /// A name of the origin's with its port.
    pub(crate) fn site(&self, name: &str) -> String {
        format!("{name}:{}", self.lab.origin.port())
    }

    /// Waits until nothing is served any more.
    pub(crate) fn settled(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.lab.shared.limits.active() > 0 {
            assert!(Instant::now() < until, "{:?}", self.lab.shared.limits);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it, and returns the records of flows and those of requests.
    pub(crate) fn end(mut self) -> (Vec<Value>, Vec<Value>) {
        self.settled();
        self.phase.send_replace(Phase::Ending);
        self.thread.take().unwrap().join().unwrap().unwrap();
        self.lab.end()
    }
}

/// Knows whoever says its name in the scheme `Test`.
#[derive(Debug)]
struct Porter;

impl Asker for Porter {
    fn challenges(&self) -> Vec<HeaderValue> {
        ["Better realm=\"lab\"", "Test realm=\"lab\""]
            .map(HeaderValue::from_static)
            .into()
    }

    fn authenticate<'a>(
        &'a self,
        from: std::net::IpAddr,
        credentials: Option<&'a HeaderValue>,
    ) -> Pin<Box<dyn Future<Output = Authenticated> + 'a>> {
        assert!(from.is_loopback());
        Box::pin(async move {
            // Whoever can tell may be far away.
            tokio::task::yield_now().await;
            let Some(credentials) = credentials else {
                return Authenticated::Absent;
            };
            match credentials.to_str().unwrap_or_default() {
                "Test again" => Authenticated::Continue(HeaderValue::from_static("Test more")),
                "Test slow" => Authenticated::Slowed(Duration::from_secs(30)),
                "Test down" => Authenticated::Unavailable,
                text => match text.strip_prefix("Test ") {
                    Some(user @ ("alice" | "bob")) => Authenticated::Known(Arc::new(Identity {
                        user: user.into(),
                        groups: if user == "bob" {
                            Box::from([Box::from("staff")])
                        } else {
                            Box::default()
                        },
                        source: Source::Credentials("test".into()),
                    })),
                    _ => Authenticated::Refused,
                },
            }
        })
    }
}

/// A client that says what it is told to, byte for byte.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    /// What was read and not asked for yet.
    ahead: Vec<u8>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Every value of a field.
    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads on; false at the end, orderly or not.
    async fn more(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.ahead).await;
        read.is_ok_and(|read| read > 0)
    }

    /// Reads up to the end of a part.
    async fn until(&mut self, end: &str) -> String {
        loop {
            let found = self
                .ahead
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let rest = self.ahead.split_off(at + end.len());
                let part = std::mem::replace(&mut self.ahead, rest);
                return String::from_utf8(part).unwrap();
            }
            let seen = String::from_utf8_lossy(&self.ahead).into_owned();
            assert!(self.more().await, "ended after {seen:?}");
        }
    }

    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            let seen = self.ahead.len();
            assert!(self.more().await, "ended after {seen} of {count} bytes");
        }
        let rest = self.ahead.split_off(count);
        std::mem::replace(&mut self.ahead, rest)
    }

    /// The head of an answer.
    pub(crate) async fn head(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head,
            body: String::new(),
        }
    }

    /// An answer with its body.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if !answer.fields("transfer-encoding").is_empty() {
            loop {
                let size = self.until("\r\n").await;
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                if size == 0 {
                    // What stands behind the last chunk belongs to the body here.
                    let mut line = self.until("\r\n").await;
                    while line != "\r\n" {
                        answer.body.push_str(&line);
                        line = self.until("\r\n").await;
                    }
                    break;
                }
                let chunk = self.bytes(size + 2).await;
                answer.body += std::str::from_utf8(&chunk[..size]).unwrap();
            }
        } else if let [length] = answer.fields("content-length")[..] {
            let body = self.bytes(length.parse().unwrap()).await;
            answer.body = String::from_utf8(body).unwrap();
        }
        answer
    }

    /// Asks, and returns the answer.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// Asks for a tunnel, and returns the answer's head.
    pub(crate) async fn connect(&mut self, site: &str) -> Answer {
        self.ask(format!(
            "CONNECT {site} HTTP/1.1\r\nHost: {site}\r\nUser-Agent: test\r\n\r\n"
        ))
        .await
    }

    /// Everything up to the end, which is an orderly one or not.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, bool) {
        loop {
            match self.stream.read_buf(&mut self.ahead).await {
                Ok(0) => return (std::mem::take(&mut self.ahead), true),
                Ok(_) => {}
                Err(_) => return (std::mem::take(&mut self.ahead), false),
            }
        }
    }

    /// What was read ahead must be nothing.
    pub(crate) fn into_stream(self) -> S {
        assert_eq!(self.ahead, b"");
        self.stream
    }
}

/// Gives every byte back, and then its own end.
pub(crate) async fn echo(pipe: Pipe) {
    let (mut read, mut write) = tokio::io::split(pipe);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

/// An origin that answers every request with its bytes, heads of bodies of a length alone.
pub(crate) async fn mirror(mut pipe: Pipe) {
    let mut bytes = Vec::new();
    loop {
        while let Some(end) = find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end + 4].to_vec()).unwrap();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse::<usize>().unwrap())
            });
            let whole = end + 4 + length.unwrap_or_default();
            if bytes.len() < whole {
                break;
            }
            let shown = String::from_utf8(bytes.drain(..whole).collect()).unwrap();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: x-mine\r\nX-Mine: 1\r\n\
                 Proxy-Connection: keep-alive\r\nX-Theirs: 1\r\n\r\n{shown}",
                shown.len()
            );
            if pipe.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        match pipe.read_buf(&mut bytes).await {
            Ok(1..) => {}
            _ => return,
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
