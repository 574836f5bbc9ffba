//! One flow, from its arrival to its end.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use sluice_abi::Reason;
use sluice_peek::{End as PeekEnd, FirstReader, foreign};
use sluice_policy::{BlockKind, Decided, Decision, Fact, Outcome, RuleId, Stage};
use sluice_splice::Progress;
use tokio::net::TcpStream;

use super::answer::{self, Heard, ask};
use super::block::block;
use super::generation::Generation;
use super::guard::Reach;
use super::known::Known;
use super::leg::Leg;
use super::metrics::Verdict;
use super::peek::{First, Limits, read_first, read_host};
use super::proof::{Because, Inspected};
use super::reach::Candidates;
use super::worker::Worker;

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
pub async fn serve(worker: &Rc<Worker>, arrived: Arrived) {
    let known = Known::new(
        canonical(arrived.client),
        canonical(arrived.destination),
        unix_seconds(SystemTime::now()),
    );
    let mut flow = Flow::begin(worker, worker.generation(), known);
    let client = Leg::new(arrived.stream);
    let generation = Arc::clone(&flow.generation);
    let place = worker.shared.limits.admit(
        flow.known.client.ip(),
        generation.flow_limit,
        generation.flow_limit_per_client,
    );
    let _place = match place {
        Ok(place) => place,
        Err(reason) => return flow.refuse(reason),
    };
    if let Some(reason) = worker
        .shared
        .guard
        .refuses(Reach::Steered, flow.known.destination)
    {
        return flow.refuse(reason);
    }
    if worker.shared.access.refuses() {
        return flow.refuse(Reason::AuditUnavailable);
    }
    flow.run(client, BytesMut::new()).await;
}

/// Counts and records a flow that no rule was asked about.
pub(crate) fn refuse(worker: &Rc<Worker>, known: Known, reason: Reason) {
    Flow::begin(worker, worker.generation(), known).refuse(reason);
}

/// The present, in seconds since 1970.
pub(crate) fn now() -> i64 {
    unix_seconds(SystemTime::now())
}

/// What is to be done with a flow.
enum Judgement {
    /// It is let through, to the origin that was asked already if one was.
    Allow(Option<Box<Asked>>),
    Block(BlockKind),
    /// TLS is ended on both sides, or cleartext HTTP read, and requests are judged.
    Intercept,
    /// The client is shown a page, and no origin asked.
    Page,
    /// Whatever it was to be, one of the sides has gone away.
    Over(Reason),
}

/// An origin that has answered the hello.
struct Asked {
    origin: Leg,
    /// How many of the client's bytes it was sent.
    sent: usize,
    /// What it sent, of which the client has nothing yet.
    held: Bytes,
    /// It asks for a second hello.
    retry: bool,
}

/// A flow that is being served; tells of itself when it is dropped.
struct Flow<'a> {
    worker: &'a Rc<Worker>,
    generation: Arc<Generation>,
    known: Rc<Known>,
    began: Instant,
    verdict: Verdict,
    reason: Reason,
    rule: Option<RuleId>,
    inspected: Option<Inspected>,
    warned_by: Option<RuleId>,
    /// Whether what was decided rests on the name of the server.
    rests_on_host: bool,
    /// What the policy said, be it that it can be done or not.
    outcome: Option<Outcome>,
    stage: Stage,
    /// Whether the policy was asked at all.
    judged: bool,
    /// What the policy said before any byte was read, where it was asked then: an outcome, or that
    /// there must be more.
    opened: Option<Option<Outcome>>,
    /// Where it may be dialled, where that is not only the destination.
    candidates: Option<Box<Candidates>>,
    /// How far the policy has come with it, while it is undecided.
    settled: Option<Box<sluice_policy::Progress>>,
    /// In microseconds.
    peeked: u64,
    /// In microseconds.
    connected: u64,
    /// In microseconds.
    waited: u64,
    /// What there is to say of it where it was decrypted or shown a page.
    decrypted: Option<Box<Decrypted>>,
    /// Bytes that the origin took before the relay began, and bytes that the client took.
    before: (u64, u64),
    progress: Progress,
    /// `None` until the flow is over: what ends without a reason was cut off.
    end: Option<Reason>,
}

impl<'a> Flow<'a> {
    fn begin(worker: &'a Rc<Worker>, generation: Arc<Generation>, known: Known) -> Self {
        worker.active.set(worker.active.get() + 1);
        let began = Instant::now();
        let mut known = known;
        if known.identity.is_none() {
            known.identity = worker.shared.addresses.at(known.client.ip(), began);
        }
        Self {
            worker,
            generation,
            known: Rc::new(known),
            began,
            verdict: Verdict::Block,
            reason: Reason::Internal,
            rule: None,
            inspected: None,
            warned_by: None,
            rests_on_host: false,
            outcome: None,
            stage: Stage::Open,
            judged: false,
            opened: None,
            candidates: None,
            settled: None,
            peeked: 0,
            connected: 0,
            waited: 0,
            decrypted: None,
            before: (0, 0),
            progress: Progress::default(),
            end: None,
        }
    }

    /// Serves it until it is over; `bytes` are the client's that were read already.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function keeps what it is given twice, in every flow"
    )]
    fn run(&mut self, client: Leg, mut bytes: BytesMut) -> impl Future<Output = ()> {
        async move {
            let judgement = match self.judge(&client, &mut bytes).await {
                Some(judgement) => judgement,
                // Apart, so that the flows that last do not carry what asking takes.
                None => Box::pin(self.ask_origin(&client, &mut bytes)).await,
            };
            let bytes = bytes.freeze();
            self.end = Some(match judgement {
                Judgement::Allow(asked) => self.carry(client, bytes, asked).await,
                // Apart, so that the flows that last do not carry what the others take.
                judgement => Box::pin(self.settle(client, bytes, judgement)).await,
            });
        }
    }

    /// What is known, to be added to.
    fn learn(&mut self) -> &mut Known {
        Rc::make_mut(&mut self.known)
    }

    /// Ends a flow that no rule was asked about.
    fn refuse(mut self, reason: Reason) {
        self.reason = reason;
        self.end = Some(reason);
    }

    /// Finds out what the policy says, looking no deeper than it must; `None` where the origin has
    /// to be asked.
    async fn judge(&mut self, client: &TcpStream, bytes: &mut BytesMut) -> Option<Judgement> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => self.decide().ok(),
        };
        let decided = match opened {
            Some(Outcome::Allow | Outcome::Splice) => return Some(Judgement::Allow(None)),
            Some(Outcome::Block(BlockKind::Reset)) => {
                return Some(Judgement::Block(BlockKind::Reset));
            }
            // An alert is for clients that speak TLS, so the first bytes are read nevertheless.
            decided => decided,
        };
        let limits = Limits {
            hello: self.generation.hello_limit,
            hello_timeout: self.generation.hello_timeout,
            silent_timeout: self.generation.silent_timeout,
        };
        let first = read_first(client, bytes, &limits).await;
        let peeked = self.began.elapsed();
        self.peeked = micros(peeked);
        self.worker.metrics.peek.note(peeked);
        let gone = first.is_err();
        // What came before the reset may tell already that it is no TLS.
        let reset = || FirstReader::new(limits.hello).finish(bytes, PeekEnd::Eof);
        let first = first.unwrap_or_else(|_| First::NotTls(reset()));
        let is_hello = matches!(first, First::Hello(_));
        if !is_hello {
            self.learn().application = foreign::application(bytes);
        }
        if self.known.is_http() && !gone {
            let limit = self.generation.requests.fields_size + self.generation.requests.url;
            let host = read_host(client, bytes, limit, limits.hello_timeout);
            let host = Box::pin(host).await;
            self.learn().http_host = host;
        }
        self.learn().first = Some(first);
        if let Err(judgement) = Box::pin(self.find_truth()).await {
            return Some(judgement);
        }
        if is_hello {
            let rejected = &self.worker.shared.memory.rejected;
            let (host, destination) = (self.known.sni(), self.known.destination);
            self.learn().rejected_ca = rejected.knows(
                || self.known.who(&self.generation.policy),
                host,
                destination,
                Instant::now(),
            );
        }
        let stage = self.stage;
        let mut outcome = self.decide();
        if let Some(decided) = decided {
            // What was decided stays; which default stands for it may only be known now.
            self.stage = stage;
            outcome = Ok(outcome.unwrap_or(decided));
        }
        match outcome {
            Ok(Outcome::Allow | Outcome::Splice) if gone => {
                Some(Judgement::Over(Reason::ClientReset))
            }
            Ok(outcome) => Some(self.conclude(outcome)),
            // What a certificate says is judged together with what the origin chose.
            Err(Some(Stage::ServerHello | Stage::Certificate)) if is_hello => None,
            Err(Some(Stage::Request)) => Some(self.look_into()),
            Err(_) => Some(self.give_up()),
        }
    }

    /// Sends the hello to the origin, and finds out what the policy says of its answer.
    async fn ask_origin(&mut self, client: &TcpStream, bytes: &mut BytesMut) -> Judgement {
        // Until the policy says something.
        self.reason = Reason::StageUnavailable;
        let origin = match self.dial(true).await {
            Ok(origin) => origin,
            Err(reason) => return Judgement::Over(reason),
        };
        let mut held = BytesMut::new();
        let Some(heard) = self.hear(client, &origin, bytes, &mut held).await else {
            return Judgement::Over(Reason::ClientReset);
        };
        self.learn().answered = Some(heard.answered);
        let mut outcome = self.decide();
        if outcome == Err(Some(Stage::Certificate)) {
            outcome = self.probe().await;
        }
        let judgement = match outcome {
            Ok(outcome) => self.conclude(outcome),
            Err(Some(Stage::Request)) => self.look_into(),
            Err(_) => self.give_up(),
        };
        match judgement {
            Judgement::Allow(_) if heard.broken => {
                // What came before the connection broke may still reach the client.
                self.before.1 = client.try_write(&held).unwrap_or_default() as u64;
                Judgement::Over(Reason::OriginReset)
            }
            Judgement::Allow(_) => Judgement::Allow(Some(Box::new(Asked {
                origin,
                sent: heard.sent,
                held: held.freeze(),
                retry: heard.retry,
            }))),
            judgement => judgement,
        }
    }

    /// Sends the hello that `bytes` begin with to the origin, and reads its answer into `held`;
    /// `None` where the client has gone away.
    async fn hear(
        &mut self,
        client: &TcpStream,
        origin: &TcpStream,
        bytes: &[u8],
        held: &mut BytesMut,
    ) -> Option<Heard> {
        let limits = answer::Limits {
            bytes: self.generation.hello_limit,
            timeout: self.generation.hello_timeout,
        };
        let consumed = match &self.known.first {
            Some(First::Hello(hello)) => hello.consumed,
            _ => bytes.len(),
        };
        let hello = bytes.get(..consumed).unwrap_or(bytes);
        let began = Instant::now();
        let heard = ask(client, origin, hello, held, &limits).await;
        let waited = began.elapsed();
        self.waited = micros(waited);
        let heard = heard?;
        self.worker.metrics.server_hello.note(waited);
        self.before.0 = heard.sent as u64;
        Some(heard)
    }

    /// What an outcome comes to.
    fn conclude(&mut self, outcome: Outcome) -> Judgement {
        match outcome {
            // The next request on the connection may name another host.
            Outcome::Allow if self.known.is_http() && self.rests_on_host => self.look_into(),
            Outcome::Allow | Outcome::Splice => Judgement::Allow(None),
            Outcome::Block(BlockKind::Page) if self.can_show_page() => Judgement::Page,
            Outcome::Block(kind) => Judgement::Block(kind),
            Outcome::Warn if self.has_continued() => {
                self.verdict = Verdict::Splice;
                Judgement::Allow(None)
            }
            Outcome::Warn if self.can_show_page() => {
                self.reason = Reason::Warned;
                Judgement::Page
            }
            Outcome::AllowDecrypted | Outcome::Warn | Outcome::WarnDecrypted => self.look_into(),
        }
    }

    /// Goes on to requests, where they can be read.
    fn look_into(&mut self) -> Judgement {
        let readable = if self.known.is_hello() {
            self.generation.means.leaves.is_some()
        } else {
            self.known.is_http()
        };
        if readable {
            if self.outcome.is_none() {
                self.reason = Reason::NeedsRequests;
                self.note_asking();
            }
            Judgement::Intercept
        } else {
            self.give_up()
        }
    }

    /// Notes which rule has requests read.
    fn note_asking(&mut self) {
        if self.known.is_hello() {
            let policy = &self.generation.policy;
            let facts = self.known.facts(policy);
            let by = policy.hangs_on(&facts, &mut self.worker.scratch.borrow_mut());
            let because = Because::Requests;
            self.inspected = Some(Inspected { by, because });
        }
    }

    /// Does what was judged; returns why the flow ended.
    async fn settle(&mut self, client: Leg, bytes: Bytes, judgement: Judgement) -> Reason {
        match judgement {
            Judgement::Allow(asked) => self.carry(client, bytes, asked).await,
            Judgement::Block(kind) => {
                block(client, kind, self.known.first.as_ref()).await;
                self.reason
            }
            Judgement::Intercept => Box::pin(self.intercept(client, bytes)).await,
            Judgement::Page => Box::pin(self.show_page(client, bytes)).await,
            Judgement::Over(reason) => reason,
        }
    }

    /// Nothing deeper can be known here, and what is not decided is not let through.
    const fn give_up(&mut self) -> Judgement {
        self.deny(Reason::StageUnavailable)
    }

    /// Refuses a flow for a reason that is no rule's.
    const fn deny(&mut self, reason: Reason) -> Judgement {
        self.verdict = Verdict::Block;
        self.reason = reason;
        Judgement::Block(BlockKind::Alert)
    }

    /// Asks the policy, and notes what it says; where it cannot tell yet, the stage that tells
    /// more.
    fn decide(&mut self) -> Result<Outcome, Option<Stage>> {
        let generation = Arc::clone(&self.generation);
        let mut settled = self.settled.take().unwrap_or_default();
        let facts = self.known.facts(&generation.policy);
        let stage = facts.stage;
        let began = Instant::now();
        let mut scratch = self.worker.scratch.borrow_mut();
        let decision = generation
            .policy
            .advance(&mut settled, &facts, &mut scratch);
        let taken = began.elapsed();
        self.worker.metrics.decision.of(stage).note(taken);
        self.stage = stage;
        self.judged = true;
        match decision {
            Decision::Decided(decided) => Ok(self.note(&decided)),
            Decision::Undecided(undecided) => {
                self.settled = Some(settled);
                Err(undecided.next)
            }
        }
    }

    /// Notes what the policy says.
    fn note(&mut self, decided: &Decided) -> Outcome {
        self.verdict = match decided.outcome {
            Outcome::Allow | Outcome::Splice => Verdict::Splice,
            _ => Verdict::Block,
        };
        self.reason = decided.cause.reason();
        self.rule = decided.cause.rule();
        self.inspected = decided.inspected_by.map(|by| Inspected {
            by: Some(by),
            because: Because::Action,
        });
        self.rests_on_host = [Fact::Host, Fact::HostIsIp]
            .into_iter()
            .any(|fact| decided.support.contains(fact));
        self.warned_by = decided.warned_by;
        self.outcome = Some(decided.outcome);
        decided.outcome
    }
}

pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

mod carry;
mod inner;
mod intercept;
mod retry;
mod tell;
mod truth;
mod tunnel;

pub(crate) use carry::{dial_origin, dial_reason};
use intercept::Decrypted;
use tell::micros;
pub(crate) use tunnel::{Opened, Tunnel, WHO};

#[cfg(test)]
mod tests;
