//! A reload of a million names beside the flows of a worker.
//!
//! Origins are on loopback and nothing is steered: a flow's original destination is told to it.
#![cfg(test)]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use sluice_gateway::config::Config;
use sluice_gateway::daemon::flow::{Arrived, serve};
use sluice_gateway::daemon::generation::Generation;
use sluice_gateway::daemon::guard::Guard;
use sluice_gateway::daemon::metrics::WorkerMetrics;
use sluice_gateway::daemon::record::AccessLog;
use sluice_gateway::daemon::reload::load;
use sluice_gateway::daemon::worker::{Shared, Worker};
use tokio::sync::oneshot;

const NAMES: usize = 1_000_000;

/// Flows that must begin and end while the names are read and compiled.
const MEANWHILE: usize = 10;

const POLICY: &str = r#"
[gateway]
lan = ["lan0"]
[policy]
default = "block"
default_unidentified = "block"
[[list]]
name = "known"
kind = "domains"
files = ["names.txt"]
[[rule]]
name = "known"
when = { host = "list:known" }
action = "splice"
"#;

/// A ClientHello for www.example.com.
const HELLO: &[u8] = include_bytes!("../../../tests/fuzz/seeds/client_hello/tls13");
const NAME: &str = "www.example.com";
const ANSWER: &[u8] = b"the origin's answer";
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

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

/// A worker on a thread of its own, whose flows all lead to one origin.
struct Gateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    kept: Kept,
    until: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Gateway {
    fn start(config: &Config, origin: SocketAddr) -> Self {
        let kept = Kept::default();
        let shared = Arc::new(Shared {
            capacity: 100,
            ready: AtomicBool::new(true),
            ..Shared::new(
                Generation::new(1, config).unwrap(),
                Guard::allowing_loopback(1),
                AccessLog::new(vec![Box::new(kept.clone())]),
            )
            .unwrap()
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (until, mut ended) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
                .unwrap();
            let metrics = WorkerMetrics::default();
            let worker = Rc::new(Worker::new(theirs, Arc::new(metrics)));
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, client) = tokio::select! {
                        accepted = listener.accept() => accepted.unwrap(),
                        _ = &mut ended => break,
                    };
                    let arrived = Arrived {
                        stream,
                        client,
                        destination: origin,
                    };
                    let worker = Rc::clone(&worker);
                    tokio::task::spawn_local(async move { serve(&worker, arrived).await });
                }
            });
        });
        Self {
            address,
            shared,
            kept,
            until,
            thread,
        }
    }

    /// A connection that has said its hello.
    fn greet(&self) -> TcpStream {
        let mut client = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(20));
        client.set_read_timeout(patience).unwrap();
        client.write_all(HELLO).unwrap();
        client
    }

    /// A whole flow: all that its client is answered.
    fn flow(&self) -> Vec<u8> {
        hear(self.greet())
    }

    /// Ends the worker once its flows are over, and returns their records.
    fn end(self) -> Vec<Value> {
        while self.shared.limits.active() > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.until.send(()).unwrap();
        self.thread.join().unwrap();
        self.shared.access.close();
        let written = String::from_utf8(self.kept.0.lock().unwrap().clone()).unwrap();
        written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn hear(mut client: TcpStream) -> Vec<u8> {
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    heard
}

/// Takes everything from every client, and answers; returns its address.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || {
                let mut client = client.unwrap();
                let mut heard = Vec::new();
                client.read_to_end(&mut heard).unwrap();
                assert_eq!(heard, HELLO);
                client.write_all(ANSWER).unwrap();
            });
        }
    });
    address
}

/// Writes a million names, and one more.
fn write_names(path: &Path, word: &str, one: &str) {
    let mut text = String::with_capacity(NAMES * 24);
    for number in 0..NAMES {
        writeln!(text, "{word}-{number}.example").unwrap();
    }
    text.push_str(one);
    fs::write(path, text).unwrap();
}

fn of_generation(records: &[Value], number: u64) -> Vec<&Value> {
    let found = records.iter();
    found
        .filter(|record| record["generation"] == number)
        .collect()
}

#[test]
fn flows_go_on_while_a_million_names_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (file, names) = (
        folder.path().join("x.toml"),
        folder.path().join("names.txt"),
    );
    fs::write(&file, POLICY).unwrap();
    write_names(&names, "old", NAME);
    let before = Config::load(&file).unwrap();
    let gateway = Gateway::start(&before, origin());
    let lasting = gateway.greet();
    assert_eq!(gateway.flow(), ANSWER);

    write_names(&names, "new", "other.example");
    let ended = AtomicUsize::new(0);
    let (loading, loaded) = (AtomicBool::new(false), AtomicBool::new(false));
    let (stop, stopped) = mpsc::channel::<()>();
    let (during, meanwhile) = std::thread::scope(|scope| {
        // Dropped where a flow fails too.
        let stop = stop;
        // As the daemon's main thread does it, beside the workers' threads.
        let (gateway, before, file) = (&gateway, &before, &file);
        let (ended, loading, loaded) = (&ended, &loading, &loaded);
        let reloading = scope.spawn(move || {
            loading.store(true, Ordering::SeqCst);
            let mut during = 0;
            let new = load(file, before, &gateway.shared).unwrap();
            let config = new.put_in_force(&gateway.shared, |_| {
                // Read and compiled, and not yet in force.
                during = ended.load(Ordering::SeqCst);
                loaded.store(true, Ordering::SeqCst);
                // No flow may begin on either side of the change.
                let _ = stopped.recv();
                Ok::<_, Infallible>(1)
            });
            assert_eq!(config.unwrap().rules.lists.len(), 1);
            during
        });
        while !loading.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let mut meanwhile = 0;
        while !loaded.load(Ordering::SeqCst) && !reloading.is_finished() {
            assert_eq!(gateway.flow(), ANSWER, "flow {meanwhile}");
            meanwhile += 1;
            // Only what ended before the names were loaded is counted by the reload.
            ended.store(meanwhile, Ordering::SeqCst);
        }
        drop(stop);
        (reloading.join().unwrap(), meanwhile)
    });
    assert!(
        during >= MEANWHILE,
        "{during} flows went on while {NAMES} names were loaded"
    );
    assert_eq!(gateway.shared.current.number(), 2);

    // The name is on the list no more, and new flows are told so; one that lasts is not.
    assert_eq!(gateway.flow(), ACCESS_DENIED);
    assert_eq!(hear(lasting), ANSWER);
    let records = gateway.end();
    let of_old = of_generation(&records, 1);
    let of_new = of_generation(&records, 2);
    assert!(of_old.len() > meanwhile, "{} of {meanwhile}", of_old.len());
    assert_eq!(records.len(), of_old.len() + of_new.len());
    for record in of_old {
        assert_eq!(record["verdict"], "splice", "{record}");
        assert_eq!(record["rule"], "known", "{record}");
        assert_eq!(record["end"], "finished", "{record}");
    }
    assert_eq!(of_new.len(), 1);
    assert_eq!(of_new[0]["verdict"], "block", "{}", of_new[0]);
}
