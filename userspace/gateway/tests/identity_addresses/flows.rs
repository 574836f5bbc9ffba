//! Flows of clients whose address stands for somebody.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use sluice_gateway::{
    config::Config,
    daemon::{
        flow::{Arrived, serve},
        metrics::WorkerMetrics,
        worker::{Shared, Worker},
    },
    identity::Identity,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
};

use crate::lab::{HOUR, POLICY, share, told};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A worker whose flows come from wherever a test says.
struct Lab {
    kept: Kept,
    shared: Arc<Shared>,
    worker: Rc<Worker>,
}

impl Lab {
    fn new() -> Self {
        let kept = Kept::default();
        let text = format!("[gateway]\nlan = [\"lan0\"]\n{POLICY}");
        let config = Config::parse(&text, "test").unwrap();
        let shared = Arc::new(share(&config, vec![Box::new(kept.clone())]));
        let metrics = Arc::new(WorkerMetrics::default());
        let worker = Rc::new(Worker::new(Arc::clone(&shared), metrics));
        Self {
            kept,
            shared,
            worker,
        }
    }

    fn tell(&self, address: &str, identity: Identity, time: Duration) {
        let address: IpAddr = address.parse().unwrap();
        let now = Instant::now();
        self.shared.addresses.tell(address, identity, (now, time));
    }

    /// Serves a flow of a client with this address, and returns what the client was answered.
    async fn flow(&self, from: &str) -> Vec<u8> {
        let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(gateway.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = gateway.accept().await.unwrap();
        let arrived = Arrived {
            stream,
            client: SocketAddr::new(from.parse().unwrap(), 1024),
            destination: origin.local_addr().unwrap(),
        };
        let served = async {
            let (mut stream, _) = origin.accept().await.unwrap();
            let mut asked = [0; 1];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(b"served").await.unwrap();
        };
        let asking = async {
            // Who is refused may be so before it has said anything.
            let _ = client.write_all(b"?").await;
            let _ = client.shutdown().await;
            let mut heard = Vec::new();
            let _ = client.read_to_end(&mut heard).await;
            heard
        };
        let flow = async { tokio::join!(serve(&self.worker, arrived), asking).1 };
        tokio::pin!(flow);
        let both = async {
            tokio::select! {
                heard = &mut flow => heard,
                () = served => flow.await,
            }
        };
        tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .unwrap()
    }

    fn end(self) -> Vec<Value> {
        self.shared.access.close();
        let written = self.kept.0.lock().unwrap().clone();
        let written = String::from_utf8(written).unwrap();
        let records = written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        records.collect()
    }
}

/// What the records of a lab say of users, verdicts and rules.
fn told_of(records: &[Value]) -> Vec<(Option<&str>, &str, Option<&str>)> {
    let records = records.iter().map(|record| {
        (
            record["user"].as_str(),
            record["verdict"].as_str().unwrap(),
            record["rule"].as_str(),
        )
    });
    records.collect()
}

fn run(flows: impl AsyncFnOnce(&Lab)) -> Vec<Value> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    let lab = Lab::new();
    runtime.block_on(flows(&lab));
    lab.end()
}

#[test]
fn a_flow_is_judged_by_whom_its_address_stands_for() {
    let records = run(async |lab| {
        assert_eq!(lab.flow("10.20.4.7").await, b"");
        lab.tell("10.20.4.7", told("alice", &[]), HOUR);
        // As a socket of both families has it.
        assert_eq!(lab.flow("::ffff:10.20.4.7").await, b"served");
        lab.tell("10.20.4.7", told("carol", &["interns"]), HOUR);
        assert_eq!(lab.flow("10.20.4.7").await, b"served");
        lab.tell("10.20.4.7", told("carol", &["nothing that is known"]), HOUR);
        assert_eq!(lab.flow("10.20.4.7").await, b"");
        let address = "10.20.4.7".parse().unwrap();
        lab.shared.addresses.forget(address, None, Instant::now());
        assert_eq!(lab.flow("10.20.4.7").await, b"");
    });
    assert_eq!(
        told_of(&records),
        [
            (None, "block", None),
            (Some("alice"), "splice", Some("staff")),
            (Some("carol"), "splice", Some("interns")),
            (Some("carol"), "block", None),
            (None, "block", None),
        ]
    );
    assert_eq!(records[0]["reason"], "default-unidentified");
    assert_eq!(records[3]["reason"], "default-unidentified");
}

#[test]
fn who_was_told_goes_before_whom_the_configuration_knows_until_it_is_over() {
    let records = run(async |lab| {
        assert_eq!(lab.flow("10.20.4.8").await, b"");
        lab.tell("10.20.4.8", told("alice", &[]), HOUR);
        assert_eq!(lab.flow("10.20.4.8").await, b"served");
        lab.tell("10.20.4.8", told("alice", &[]), Duration::from_nanos(1));
        assert_eq!(lab.flow("10.20.4.8").await, b"");
        // What the policy says of the address itself holds whoever has it.
        lab.tell("10.20.5.1", told("carol", &[]), HOUR);
        assert_eq!(lab.flow("10.20.5.1").await, b"served");
    });
    assert_eq!(
        told_of(&records),
        [
            (Some("bob"), "block", None),
            (Some("alice"), "splice", Some("staff")),
            (Some("bob"), "block", None),
            (Some("carol"), "splice", Some("staff")),
        ]
    );
}
