//! A worker thread and the admin thread, as the daemon runs them, on loopback.
#![cfg(test)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_abi::Reason;
use sluice_gateway::config::{AdminListener, Config};
use sluice_gateway::daemon::admin;
use sluice_gateway::daemon::export::{Reloads, Sources};
use sluice_gateway::daemon::generation::Generation;
use sluice_gateway::daemon::guard::Guard;
use sluice_gateway::daemon::metrics::WorkerMetrics;
use sluice_gateway::daemon::record::AccessLog;
use sluice_gateway::daemon::worker::{Phase, Shared, Worker};
use sluice_splice::{ListenOptions, bind};
use tokio::sync::{oneshot, watch};

struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    metrics: Arc<WorkerMetrics>,
    phase: watch::Sender<Phase>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// A worker whose clients dial it directly: what they dial is its own listener.
    fn start(gateway: &str, capacity: usize, guarded: bool) -> Self {
        let text =
            format!("[gateway]\nlan = [\"lan0\"]\n{gateway}\n[steer]\nsilent_timeout = \"1s\"");
        let config = Config::parse(&text, "test").unwrap();
        let options = ListenOptions {
            transparent: false,
            ..ListenOptions::default()
        };
        let listener = bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            capacity,
            ready: AtomicBool::new(true),
            ..Shared::new(
                Generation::new(1, &config).unwrap(),
                Guard::allowing_loopback(if guarded { address.port() } else { 1 }),
                AccessLog::new(Vec::new()),
            )
            .unwrap()
        });
        let metrics = Arc::new(WorkerMetrics::default());
        let (phase, phases) = watch::channel(Phase::Serving);
        let (worker_shared, worker_metrics) = (Arc::clone(&shared), Arc::clone(&metrics));
        let thread = std::thread::spawn(move || {
            Worker::new(worker_shared, worker_metrics).run(vec![listener], phases)
        });
        Self {
            address,
            shared,
            metrics,
            phase,
            thread,
        }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn ended_for(&self, reason: Reason) -> u64 {
        self.metrics
            .ends()
            .get(&reason)
            .copied()
            .unwrap_or_default()
    }

    #[track_caller]
    fn wait_until(&self, what: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !what(self) {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{:?}",
                self.metrics
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(self) {
        self.phase.send_replace(Phase::Ending);
        self.thread.join().unwrap().unwrap();
        assert_eq!(self.shared.limits.active(), 0);
    }
}

#[track_caller]
fn assert_reset(mut stream: TcpStream) {
    assert_eq!(
        stream.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn a16_a_client_that_dials_the_listener_itself_is_refused() {
    let running = Running::start("", 100, true);
    assert_reset(running.dial());
    running.wait_until(|running| running.ended_for(Reason::SelfConnect) == 1);
    running.end();
}

#[test]
fn the_newest_flow_loses_at_a_limit() {
    let running = Running::start("flow_limit = 3\nflow_limit_per_client = 2", 100, false);
    let first = running.dial();
    let second = running.dial();
    running.wait_until(|running| running.shared.limits.active() == 2);
    assert_reset(running.dial());
    running.wait_until(|running| running.ended_for(Reason::GatewayClientLimit) == 1);
    assert_eq!(running.shared.limits.active(), 2);
    drop((first, second));
    running.wait_until(|running| running.shared.limits.active() == 0);
    running.end();
}

#[test]
fn g3_accepting_pauses_while_flows_have_all_files() {
    let running = Running::start("", 1, false);
    let first = running.dial();
    running.wait_until(|running| running.shared.limits.active() == 1);
    // The one that may be accepted already, and one that waits in the backlog.
    let others = [running.dial(), running.dial()];
    running.wait_until(|running| running.metrics.accept_pauses.load(Ordering::Relaxed) > 1);
    assert!(running.shared.limits.active() <= 2);
    drop(first);
    // The silent ones are judged in their turn.
    running.wait_until(|running| running.metrics.ends().values().sum::<u64>() == 3);
    drop(others);
    running.end();
}

#[test]
fn draining_accepts_no_more_and_ends_when_the_last_flow_has() {
    let running = Running::start("", 100, false);
    let mut silent = running.dial();
    running.wait_until(|running| running.shared.limits.active() == 1);
    running.phase.send_replace(Phase::Draining);
    let began = Instant::now();
    while let Ok(stream) = TcpStream::connect(running.address) {
        drop(stream);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "the listener is still open"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    // Its time to speak passes, and then it is blocked as any other.
    assert!(silent.read(&mut [0; 1]).is_err());
    running.wait_until(|running| running.thread.is_finished());
    assert_eq!(running.ended_for(Reason::Drained), 0);
    running.end();
}

#[test]
fn the_end_cuts_off_what_is_left() {
    let running = Running::start("", 100, false);
    let silent = running.dial();
    running.wait_until(|running| running.shared.limits.active() == 1);
    let metrics = Arc::clone(&running.metrics);
    running.end();
    assert_eq!(metrics.ends().get(&Reason::Drained), Some(&1));
    assert_reset(silent);
}

fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

#[test]
fn questions_are_answered() {
    let running = Running::start("", 100, true);
    assert_reset(running.dial());
    running.wait_until(|running| running.ended_for(Reason::SelfConnect) == 1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/admin.sock");
    let listen = [
        AdminListener::Tcp("127.0.0.1:0".parse().unwrap()),
        AdminListener::Unix(path.clone()),
    ];
    let sockets = admin::open(&listen).unwrap();
    let Some(admin::Socket::Tcp(tcp)) = sockets.first() else {
        panic!("no TCP socket")
    };
    let address = tcp.local_addr().unwrap();
    let reloads = Reloads::default();
    reloads.note_taken();
    reloads.note_taken();
    reloads.note_refused();
    let sources = Sources {
        shared: Arc::clone(&running.shared),
        workers: vec![Arc::clone(&running.metrics)],
        steering: None,
        reloads: Arc::new(reloads),
    };
    let (until, ended) = oneshot::channel();
    let answering = std::thread::spawn(move || admin::serve(sockets, sources, ended));

    let (status, page) = ask(address, "GET", "/metrics");
    assert_eq!(status, 200);
    for line in [
        "sluice_flows_total{verdict=\"block\",reason=\"self-connect\",tls=\"unread\"} 1",
        "sluice_flow_ends_total{reason=\"self-connect\"} 1",
        "sluice_reload_total{result=\"taken\"} 2",
        "sluice_active_flows 0",
        "sluice_generation 1",
        "sluice_peek_seconds_count 0",
        "# TYPE sluice_decision_seconds histogram",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "no {line} in\n{page}"
        );
    }
    let mut open = TcpStream::connect(address).unwrap();
    open.write_all(b"GET /metrics HTTP/1.0\r\nAccept: text/plain;q=0.5\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let kind = "\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(kind), "{head}");
    assert!(body.ends_with("\n# EOF\n"), "{body}");
    let mut told = String::new();
    for line in page.lines() {
        if let Some(type_of) = line.strip_prefix("# TYPE ") {
            told = type_of.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&told), "{line} without a type");
        }
    }
    assert_eq!(ask(address, "GET", "/healthz"), (200, "ok\n".into()));
    assert_eq!(ask(address, "GET", "/readyz").0, 200);
    running.shared.ready.store(false, Ordering::Relaxed);
    assert_eq!(ask(address, "GET", "/readyz").0, 503);
    assert_eq!(ask(address, "GET", "/nothing").0, 404);
    assert_eq!(ask(address, "POST", "/metrics").0, 405);
    let mut unix = std::os::unix::net::UnixStream::connect(&path).unwrap();
    unix.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    unix.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
    drop(until);
    answering.join().unwrap().unwrap();
    assert!(TcpStream::connect(address).is_err());
    // What a daemon before left does not keep the next one from its socket.
    admin::open(&listen[1..]).unwrap();
    running.end();
}
