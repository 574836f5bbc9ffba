//! The admin thread of a daemon, and whoever asks it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    process::{Command, Output},
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use sluice_gateway::{
    config::{AdminListener, Config},
    daemon::{
        admin::{self, Socket},
        export::Sources,
        generation::Generation,
        guard::Guard,
        record::AccessLog,
        worker::Shared,
    },
    identity::{Identity, Source},
};
use tokio::sync::oneshot;

/// A policy that tells users and groups apart.
pub(crate) const POLICY: &str = r#"
[policy]
default = "block"
default_unidentified = "block"

[[user]]
name = "bob"
addresses = ["10.20.4.8", "127.0.0.2"]

[[group]]
name = "staff"
members = ["10.20.5.0/24", "group:heads"]

[[group]]
name = "heads"
members = ["alice"]

[[group]]
name = "interns"
members = []

[[rule]]
name = "staff"
when = { group = "staff" }
action = "allow"

[[rule]]
name = "interns"
when = { group = "interns" }
action = "allow"
"#;

/// A daemon without flows.
pub(crate) struct Daemon {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) shared: Arc<Shared>,
    pub(crate) sources: Sources,
    tcp: SocketAddr,
    until: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Daemon {
    pub(crate) fn start(identity: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let text = format!(
            "[gateway]\nlan = [\"lan0\"]\n[admin]\nlisten = [\"unix:{}\"]\n{POLICY}\n[identity]\n{identity}\n",
            socket.display()
        );
        std::fs::write(folder.path().join("sluice.toml"), &text).unwrap();
        let config = Config::parse(&text, "test").unwrap();
        let shared = Arc::new(share(&config, Vec::new()));
        let sources = Sources {
            shared: Arc::clone(&shared),
            workers: Vec::new(),
            steering: None,
            reloads: Arc::default(),
        };
        let listen = [
            AdminListener::Tcp("127.0.0.1:0".parse().unwrap()),
            AdminListener::Unix(socket),
        ];
        let sockets = admin::open(&listen).unwrap();
        let tcp = sockets.iter().find_map(|socket| match socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        });
        let (until, ended) = oneshot::channel();
        let theirs = sources.clone();
        let thread = std::thread::spawn(move || admin::serve(sockets, theirs, ended));
        Self {
            folder,
            shared,
            sources,
            tcp: tcp.unwrap(),
            until: Some(until),
            thread: Some(thread),
        }
    }

    pub(crate) fn config(&self) -> String {
        self.folder.path().join("sluice.toml").display().to_string()
    }

    /// Asks on the Unix socket.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let socket = self.folder.path().join("admin.sock");
        exchange(UnixStream::connect(socket).unwrap(), method, path, body)
    }

    /// Asks on the loopback address.
    pub(crate) fn ask_by_tcp(&self, method: &str, path: &str, body: &str) -> Answer {
        exchange(TcpStream::connect(self.tcp).unwrap(), method, path, body)
    }

    /// Runs `sluice` with the configuration of this daemon.
    pub(crate) fn sluice(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let config = self.config();
        let mut all = arguments.to_vec();
        all.extend(["--config", &config]);
        sluice(&all)
    }

    /// Ends the daemon; its folder stays.
    pub(crate) fn stop(&mut self) {
        drop(self.until.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.until.take());
    }
}

pub(crate) fn share(config: &Config, sinks: Vec<Box<dyn Write + Send>>) -> Shared {
    Shared {
        capacity: 100,
        ready: AtomicBool::new(true),
        ..Shared::new(
            Generation::new(1, config).unwrap(),
            Guard::allowing_loopback(1),
            AccessLog::new(sinks),
        )
        .unwrap()
    }
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str, body: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // What is refused by its length is not read to its end.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

pub(crate) fn sluice(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn told(user: &str, groups: &[&str]) -> Identity {
    identity(user, groups, Source::Address)
}

pub(crate) fn identity(user: &str, groups: &[&str], source: Source) -> Identity {
    Identity {
        user: user.into(),
        groups: groups.iter().map(|group| (*group).into()).collect(),
        source,
    }
}
