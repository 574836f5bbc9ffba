//! A client, the flow code and an origin.

use std::future::Future;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use sluice_gateway::config::Config;
use sluice_gateway::daemon::flow::{Arrived, serve};
use sluice_gateway::daemon::generation::Generation;
use sluice_gateway::daemon::guard::Guard;
use sluice_gateway::daemon::metrics::WorkerMetrics;
use sluice_gateway::daemon::record::AccessLog;
use sluice_gateway::daemon::worker::{Shared, Worker};
use sluice_splice::{ListenOptions, listen};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Names pass, what is no TLS or names nobody does not.
pub(crate) const NAMES_PASS: &str = r#"
[policy]
default = "allow"
default_unidentified = "block"
"#;

/// Only what is no TLS passes.
pub(crate) const NOT_TLS_PASSES: &str = r#"
[policy]
default = "block"
default_unidentified = "block"
[[rule]]
name = "members"
when = { tls = "not-negotiated", client = ["127.0.0.0/8", "::1"] }
action = "allow"
"#;

/// Short enough to be waited for, long enough for a loaded machine.
const TIMES: &str = r#"
[gateway]
lan = ["lan0"]
[steer]
hello_timeout = "1s"
silent_timeout = "500ms"
"#;

/// Keeps the tests of this process apart: they count its descriptors.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
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

/// One flow and what came of it.
pub(crate) struct Seen {
    /// The flow's record.
    pub(crate) record: Value,
    /// What the origin received; `None` where nobody connected to it.
    pub(crate) at_origin: Option<Vec<u8>>,
    /// What the client received, and whether its connection ended in order.
    pub(crate) at_client: Vec<u8>,
    pub(crate) orderly: bool,
}

impl Seen {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.record[key].as_str().unwrap_or_default()
    }

    /// Blocked, unseen by any origin, for what the client sent.
    #[track_caller]
    pub(crate) fn assert_blocked(&self, tls: &str) {
        assert_eq!(
            (self.text("verdict"), self.text("tls")),
            ("block", tls),
            "{}",
            self.record
        );
        assert_eq!(
            self.at_origin, None,
            "an origin was reached: {}",
            self.record
        );
    }

    /// The client got this fatal alert, and could read it.
    #[track_caller]
    pub(crate) fn assert_alert(&self, description: u8) {
        assert_eq!(
            self.at_client,
            [21, 3, 3, 0, 2, 2, description],
            "{}",
            self.record
        );
        assert!(self.orderly);
    }

    /// Let through under this name, every byte as the client sent it.
    #[track_caller]
    pub(crate) fn assert_spliced(&self, sent: &[u8]) {
        assert_eq!(self.text("verdict"), "splice", "{}", self.record);
        assert_eq!(self.at_origin.as_deref(), Some(sent), "{}", self.record);
        assert_eq!(self.at_client, ANSWER);
        assert_eq!(self.record["to_origin"], sent.len());
        assert_eq!(self.record["end"], "finished");
    }
}

/// What the origin answers once the client has finished.
pub(crate) const ANSWER: &[u8] = b"the origin's answer";

/// How the lab is set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) policy: &'static str,
    pub(crate) receive_buffer: Option<usize>,
}

impl Setup {
    pub(crate) const fn policy(policy: &'static str) -> Self {
        Self {
            policy,
            receive_buffer: None,
        }
    }
}

/// Serves one flow in each family; `play` is the client. The flows must end alike.
#[track_caller]
pub(crate) fn flow<P, F>(setup: Setup, play: P) -> Seen
where
    P: Fn(TcpStream) -> F,
    F: Future<Output = TcpStream>,
{
    let v4 = one(setup, false, &play);
    let v6 = one(setup, true, &play);
    assert_eq!(v4.record["verdict"], v6.record["verdict"]);
    assert_eq!(v4.record["tls"], v6.record["tls"]);
    assert_eq!(v4.at_origin, v6.at_origin);
    v6
}

/// A flow whose client sends these bytes, and ends its stream once it is answered or refused.
#[track_caller]
pub(crate) fn sends(policy: &'static str, bytes: &[u8]) -> Seen {
    flow(Setup::policy(policy), |mut client| async move {
        // What is refused early may not take all of it.
        let _ = client.write_all(bytes).await;
        let _ = client.shutdown().await;
        client
    })
}

fn one<P, F>(setup: Setup, ipv6: bool, play: &P) -> Seen
where
    P: Fn(TcpStream) -> F,
    F: Future<Output = TcpStream>,
{
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let kept = Kept::default();
    let config = Config::parse(&format!("{TIMES}{}", setup.policy), "test").unwrap();
    let shared = Arc::new(Shared {
        capacity: 100,
        ready: AtomicBool::new(true),
        ..Shared::new(
            Generation::new(1, &config).unwrap(),
            Guard::allowing_loopback(5143),
            AccessLog::new(vec![Box::new(kept.clone())]),
        )
        .unwrap()
    });
    let metrics = Arc::new(WorkerMetrics::default());
    let worker = Rc::new(Worker::new(Arc::clone(&shared), Arc::clone(&metrics)));
    let before = descriptors();
    let (at_origin, (at_client, orderly)) = runtime.block_on(async {
        let work = async {
            let origin = listener(ipv6);
            let gateway = listener(ipv6);
            if let Some(bytes) = setup.receive_buffer {
                SockRef::from(&gateway).set_recv_buffer_size(bytes).unwrap();
            }
            let client = TcpStream::connect(gateway.local_addr().unwrap())
                .await
                .unwrap();
            client.set_nodelay(true).unwrap();
            let (stream, address) = gateway.accept().await.unwrap();
            let destination = origin.local_addr().unwrap();
            let arrived = Arrived {
                stream,
                client: address,
                destination,
            };
            let flow = serve(&worker, arrived);
            let client = async { hear(play(client).await).await };
            let origin = origin_side(&origin);
            tokio::pin!(origin);
            let both = async { tokio::join!(flow, client).1 };
            tokio::pin!(both);
            tokio::select! {
                biased;
                heard = &mut origin => (Some(heard), both.await),
                // A flow that was let through is over only after the origin has been served.
                heard = &mut both => (None, heard),
            }
        };
        tokio::time::timeout(Duration::from_secs(20), work)
            .await
            .expect("the flow hangs")
    });
    assert_eq!((worker.active(), shared.limits.active()), (0, 0));
    assert_eq!(metrics.pool.counters().lent, 0);
    assert_eq!(metrics.kinds().values().sum::<u64>(), 1);
    let kept_pipes = 2 * metrics.pool.counters().kept;
    assert_eq!(descriptors(), before + kept_pipes, "descriptors are left");
    shared.access.close();
    let written = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
    let records: Vec<Value> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 1, "{written}");
    crate::schema::assert_follows(&records[0]);
    Seen {
        record: records[0].clone(),
        at_origin,
        at_client,
        orderly,
    }
}

fn listener(ipv6: bool) -> TcpListener {
    let address = if ipv6 { "[::1]:0" } else { "127.0.0.1:0" }
        .parse()
        .unwrap();
    listen(
        address,
        &ListenOptions {
            transparent: false,
            ..ListenOptions::default()
        },
    )
    .unwrap()
}

/// Takes everything from one client, and answers.
async fn origin_side(listener: &TcpListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = Vec::new();
    let whole = stream.read_to_end(&mut heard).await.is_ok();
    if whole {
        // A client that reset its connection hears nothing.
        let _ = stream.write_all(ANSWER).await;
    }
    heard
}

/// Everything until the end, and whether that was an orderly one.
async fn hear(mut stream: TcpStream) -> (Vec<u8>, bool) {
    let mut heard = Vec::new();
    let orderly = stream.read_to_end(&mut heard).await.is_ok();
    (heard, orderly)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
