//! One flow, from its arrival to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use sluice_abi::Reason;
use sluice_peek::NotTls;
use sluice_policy::{BlockKind, Decision, Facts, Outcome, RuleId, Stage};
use sluice_splice::{DialError, DialOptions, End, Progress, dial, relay};
use tokio::net::TcpStream;

use super::block::block;
use super::generation::Generation;
use super::leg::Leg;
use super::metrics::{Tls, Verdict};
use super::peek::{First, Limits, read_first};
use super::record::{Record, rfc3339};
use super::worker::Worker;
use crate::facts;

/// A connection of a client's, however its socket came to be.
#[derive(Debug)]
pub struct Arrived {
    /// The connection to the client.
    pub stream: TcpStream,
    /// The client's address.
    pub client: SocketAddr,
    /// The address that the client dialled.
    pub destination: SocketAddr,
}

/// Serves a flow until it is over. Its record is written then, also where the task is cut off.
pub async fn serve(worker: &Worker, arrived: Arrived) {
    let mut flow = Flow::begin(worker, &arrived);
    let client = Leg::new(arrived.stream);
    let generation = Arc::clone(&flow.generation);
    let place = worker.shared.limits.admit(
        flow.client.ip(),
        generation.flow_limit,
        generation.flow_limit_per_client,
    );
    let _place = match place {
        Ok(place) => place,
        Err(reason) => return flow.refuse(reason),
    };
    if let Some(reason) = worker.shared.guard.refuses(flow.destination) {
        return flow.refuse(reason);
    }
    let mut bytes = BytesMut::new();
    match flow.judge(&client, &mut bytes).await {
        Judgement::Block(kind) => {
            // Apart, so that the flows that last do not carry its buffer.
            Box::pin(block(client, kind, flow.first.as_ref())).await;
            flow.end = Some(flow.reason);
        }
        Judgement::Allow => {
            flow.end = Some(flow.carry(client, bytes.freeze()).await);
        }
        Judgement::Gone => flow.end = Some(Reason::ClientReset),
    }
}

/// What is to be done with a flow.
enum Judgement {
    Allow,
    Block(BlockKind),
    /// It would be allowed, but the client has reset the connection.
    Gone,
}

/// A flow that is being served; tells of itself when it is dropped.
struct Flow<'a> {
    worker: &'a Worker,
    generation: Arc<Generation>,
    client: SocketAddr,
    destination: SocketAddr,
    began: Instant,
    verdict: Verdict,
    reason: Reason,
    rule: Option<RuleId>,
    stage: Stage,
    first: Option<First>,
    peeked: Duration,
    connected: Duration,
    progress: Progress,
    /// `None` until the flow is over: what ends without a reason was cut off.
    end: Option<Reason>,
}

impl<'a> Flow<'a> {
    fn begin(worker: &'a Worker, arrived: &Arrived) -> Self {
        worker.active.set(worker.active.get() + 1);
        Self {
            worker,
            generation: worker.generation(),
            client: canonical(arrived.client),
            destination: canonical(arrived.destination),
            began: Instant::now(),
            verdict: Verdict::Block,
            reason: Reason::Internal,
            rule: None,
            stage: Stage::Open,
            first: None,
            peeked: Duration::ZERO,
            connected: Duration::ZERO,
            progress: Progress::default(),
            end: None,
        }
    }

    /// Ends a flow that no rule was asked about.
    fn refuse(mut self, reason: Reason) {
        self.reason = reason;
        self.end = Some(reason);
    }

    /// Finds out what the policy says, looking no deeper than it must.
    async fn judge(&mut self, client: &TcpStream, bytes: &mut BytesMut) -> Judgement {
        let generation = Arc::clone(&self.generation);
        let opened = Facts::opened(
            self.client.ip(),
            self.destination.ip(),
            self.destination.port(),
        );
        let decided = match self.decide(&generation, &opened) {
            Some(Outcome::Allow | Outcome::Splice) => return Judgement::Allow,
            Some(Outcome::Block(BlockKind::Reset)) => return Judgement::Block(BlockKind::Reset),
            // An alert is for clients that speak TLS, so the first bytes are read nevertheless.
            decided => decided,
        };
        let limits = Limits {
            hello: generation.hello_limit,
            hello_timeout: generation.hello_timeout,
            silent_timeout: generation.silent_timeout,
        };
        let first = read_first(client, bytes, &limits).await;
        self.peeked = self.began.elapsed();
        self.worker.metrics.peek.note(self.peeked);
        let gone = first.is_err();
        let first = first.unwrap_or(First::NotTls(if bytes.is_empty() {
            NotTls::Silent
        } else {
            NotTls::Truncated
        }));
        let known = match &first {
            First::Hello(hello) => facts::of_hello(opened, hello),
            First::NotTls(why) => facts::of_not_tls(opened, *why),
        };
        // What was decided stays; which default stands for it may only be known now.
        let stage = self.stage;
        let outcome = self.decide(&generation, &known).or(decided);
        if decided.is_some() {
            self.stage = stage;
        }
        self.first = Some(first);
        match outcome {
            Some(Outcome::Block(kind)) => Judgement::Block(kind),
            Some(Outcome::Allow | Outcome::Splice) if gone => Judgement::Gone,
            Some(Outcome::Allow | Outcome::Splice) => Judgement::Allow,
            // Nothing deeper can be known here, and what is not decided is not let through.
            None => {
                self.verdict = Verdict::Block;
                self.reason = Reason::Internal;
                Judgement::Block(BlockKind::Alert)
            }
        }
    }

    /// Asks the policy, and notes what it says.
    fn decide(&mut self, generation: &Generation, facts: &Facts<'_>) -> Option<Outcome> {
        let began = Instant::now();
        let decision = generation.policy.decide(facts);
        self.worker.metrics.decision.note(began.elapsed());
        let Decision::Decided(decided) = decision else {
            return None;
        };
        self.verdict = match decided.outcome {
            Outcome::Block(_) => Verdict::Block,
            Outcome::Allow | Outcome::Splice => Verdict::Splice,
        };
        self.reason = decided.cause.reason();
        self.rule = decided.cause.rule();
        self.stage = facts.stage();
        Some(decided.outcome)
    }

    /// Connects to the origin and relays; returns why it ended.
    async fn carry(&mut self, client: Leg, bytes: Bytes) -> Reason {
        let began = Instant::now();
        let options = DialOptions {
            mark: self.worker.shared.mark,
            timeout: self.generation.connect_timeout,
            bytes_follow: !bytes.is_empty(),
        };
        let origin = match dial(self.destination, &options).await {
            Ok(origin) => Leg::new(origin),
            Err(error) => {
                if let DialError::Local(error) = &error {
                    tracing::warn!(%error, "cannot dial");
                }
                return dial_reason(&error);
            }
        };
        self.connected = began.elapsed();
        self.worker.metrics.connect.note(self.connected);
        let pool = &self.worker.metrics.pool;
        let relayed = relay(
            &client,
            &origin,
            bytes,
            pool,
            &self.generation.relay,
            &self.progress,
        )
        .await;
        if !relayed.end.is_abrupt() {
            client.finish();
            origin.finish();
        }
        end_reason(relayed.end)
    }

    /// What the client's first bytes were.
    fn tls(&self) -> Tls {
        match &self.first {
            None => Tls::Unread,
            Some(First::Hello(_)) => Tls::Hello,
            Some(First::NotTls(why)) => Tls::Not(facts::not_negotiated(*why)),
        }
    }

    fn write_record(&self, end: Reason) {
        let hello = match &self.first {
            Some(First::Hello(hello)) => Some(hello),
            _ => None,
        };
        let lasted = self.began.elapsed();
        let rule = self.rule.and_then(|id| self.generation.policy.rule(id));
        self.worker.shared.access.put(&Record {
            time: rfc3339(
                SystemTime::now()
                    .checked_sub(lasted)
                    .unwrap_or(SystemTime::UNIX_EPOCH),
            ),
            client: self.client,
            destination: self.destination,
            verdict: self.verdict.name(),
            rule: rule.map(|rule| rule.name.as_str()),
            stage: self.stage.name(),
            reason: self.reason.name(),
            tls: self.tls().read_name(),
            sni: hello
                .and_then(|hello| hello.sni.as_ref())
                .map(|name| name.as_str()),
            alpn: hello.map_or_else(Vec::new, |hello| {
                hello
                    .alpn
                    .iter()
                    .map(|name| name.escape_ascii().to_string())
                    .collect()
            }),
            ja4: hello.map(|hello| hello.ja4.as_str()),
            ech: hello.is_some_and(|hello| hello.ech),
            end: end.name(),
            to_origin: self.progress.to_origin(),
            to_client: self.progress.to_client(),
            spliced: self.progress.spliced(),
            peek_us: micros(self.peeked),
            connect_us: micros(self.connected),
            duration_ms: micros(lasted) / 1000,
            generation: self.generation.number,
            decrypted: false,
        });
    }
}

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        let metrics = &self.worker.metrics;
        let end = self.end.unwrap_or_else(|| {
            if std::thread::panicking() {
                metrics.panics.fetch_add(1, Ordering::Relaxed);
                Reason::Internal
            } else {
                Reason::Drained
            }
        });
        metrics.note_flow(self.verdict, self.reason, self.tls());
        metrics.note_end(end, &self.progress);
        self.write_record(end);
        self.worker.active.set(self.worker.active.get() - 1);
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

const fn dial_reason(error: &DialError) -> Reason {
    match error {
        DialError::Refused => Reason::OriginRefused,
        DialError::TimedOut => Reason::OriginTimeout,
        DialError::Unreachable(_) => Reason::OriginUnreachable,
        _ => Reason::Internal,
    }
}

const fn end_reason(end: End) -> Reason {
    match end {
        End::Finished => Reason::Finished,
        // A peer that the kernel gave up on is as gone as one that said so.
        End::ClientReset | End::ClientLost(_) => Reason::ClientReset,
        End::OriginReset | End::OriginLost(_) => Reason::OriginReset,
        End::IdleTimeout => Reason::IdleTimeout,
        End::TotalTimeout => Reason::TotalTimeout,
        _ => Reason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use sluice_splice::{PipePool, PoolOptions};
    use tokio::net::TcpListener;
    use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

    use super::*;
    use crate::config::Config;
    use crate::daemon::generation::Current;
    use crate::daemon::guard::Guard;
    use crate::daemon::limits::Limits as FlowLimits;
    use crate::daemon::metrics::WorkerMetrics;
    use crate::daemon::record::AccessLog;
    use crate::daemon::worker::Shared;

    fn worker() -> std::rc::Rc<Worker> {
        let config = Config::parse("[gateway]\nlan = [\"lan0\"]\n", "test").unwrap();
        let shared = Shared {
            current: Current::new(Generation::new(1, &config)),
            limits: Arc::new(FlowLimits::default()),
            guard: Guard::allowing_loopback(1),
            access: AccessLog::new(Vec::new()),
            mark: 0,
            capacity: 10,
            began: Instant::now(),
            ready: AtomicBool::new(true),
        };
        let metrics = WorkerMetrics::new(PipePool::new(PoolOptions::default()));
        std::rc::Rc::new(Worker::new(Arc::new(shared), Arc::new(metrics)))
    }

    fn runtime() -> LocalRuntime {
        Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap()
    }

    async fn arrived() -> (Arrived, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = listener.local_addr().unwrap();
        let client = TcpStream::connect(destination).await.unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let arrived = Arrived {
            stream,
            client: address,
            destination,
        };
        (arrived, client)
    }

    #[test]
    fn h12_a_panic_ends_one_flow_and_resets_it() {
        let worker = worker();
        runtime().block_on(async {
            let (arrived, client) = arrived().await;
            let mine = std::rc::Rc::clone(&worker);
            let task = tokio::task::spawn_local(async move {
                let _flow = Flow::begin(&mine, &arrived);
                let _leg = Leg::new(arrived.stream);
                let limits = &mine.shared.limits;
                let _place = limits.admit([127, 0, 0, 1].into(), 9, 9).unwrap();
                panic!("injected");
            });
            assert!(task.await.unwrap_err().is_panic());
            client.readable().await.unwrap();
            let error = client.try_read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        });
        assert_eq!(worker.metrics.panics.load(Ordering::Relaxed), 1);
        assert_eq!(worker.metrics.ends().get(&Reason::Internal), Some(&1));
        assert_eq!((worker.active(), worker.shared.limits.active()), (0, 0));
    }

    #[test]
    fn what_is_cut_off_is_reset_and_recorded_as_drained() {
        let worker = worker();
        let runtime = runtime();
        let client = runtime.block_on(async {
            let (arrived, client) = arrived().await;
            let mine = std::rc::Rc::clone(&worker);
            tokio::task::spawn_local(async move { serve(&mine, arrived).await });
            tokio::task::yield_now().await;
            client.into_std().unwrap()
        });
        assert_eq!(worker.active(), 1);
        drop(runtime);
        assert_eq!(worker.metrics.ends().get(&Reason::Drained), Some(&1));
        assert_eq!((worker.active(), worker.shared.limits.active()), (0, 0));
        client.set_nonblocking(false).unwrap();
        let error = std::io::Read::read(&mut &client, &mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_flow_is_small() {
        let worker = worker();
        let size = runtime().block_on(async {
            let (arrived, _client) = arrived().await;
            size_of_val(&serve(&worker, arrived))
        });
        assert!(size <= 1536, "the state of a flow takes {size} bytes");
    }
}
