//! The requests of one connection: each judged, then forwarded or answered with a page.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, Version, http};
use hyper_util::rt::TokioIo;
use sluice_abi::Reason;
use sluice_policy::{BlockKind, Decided, Decision, FactSet, Facts, Outcome, RuleId, Scheme, Stage};
use tokio::io::copy_bidirectional;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::forward::{Passing, Upstream};
use super::pages::Told;
use super::rewind::{Rewind, Traffic};
use super::strict::Gate;
use crate::daemon::flow::{WHO, dial_origin};
use crate::daemon::generation::Generation;
use crate::daemon::known::Known;
use crate::daemon::worker::Worker;
use crate::page::PROCEED_PATH;
use crate::proxy::Routes;
use crate::request::wire::Bad;
use crate::request::{self, Examined, Expected, Prepared, Refusal};

/// The body of an answer: the origin's as it comes, or a page.
pub(crate) type Reply = Either<Passing, Full<Bytes>>;

/// The connection is cut off in place of an answer.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is cut off")
    }
}

impl std::error::Error for Cut {}

/// What the requests of one connection of a client's have in common.
#[derive(Default)]
pub(crate) struct Link {
    /// How the client's connection is read, where it is one of HTTP/1.
    gate: RefCell<Option<Arc<Gate>>>,
    upstream: RefCell<Option<Rc<Upstream>>>,
    to_origin: RefCell<Option<Arc<Traffic>>>,
    to_client: RefCell<Option<Arc<Traffic>>>,
    /// Told when the connection should end: the origin's is over, or the last answer was a page that
    /// leads elsewhere.
    pub(crate) over: Rc<Notify>,
    /// Bytes of connections to the origin that are over.
    gone: Cell<u64>,
    pub(crate) relay: RefCell<Option<JoinHandle<()>>>,
    judged: Cell<u64>,
    /// Why the connection was cut off, where it was.
    pub(crate) cut: Cell<Option<Reason>>,
}

impl Link {
    /// Gives it the connection that requests are sent over.
    pub(crate) fn set_upstream(&self, upstream: Rc<Upstream>, traffic: Arc<Traffic>) {
        self.upstream.replace(Some(upstream));
        if let Some(before) = self.to_origin.replace(Some(traffic)) {
            self.gone.set(self.gone.get() + before.written());
        }
    }

    /// Tells it what counts the client's bytes.
    pub(crate) fn set_client(&self, traffic: Arc<Traffic>) {
        self.to_client.replace(Some(traffic));
    }

    /// Tells it how the client's connection is read.
    pub(crate) fn set_gate(&self, gate: Arc<Gate>) {
        self.gate.replace(Some(gate));
    }

    /// Tells the reader of the client's connection that a request was answered, and whether protocols
    /// are switched.
    pub(crate) fn answered(&self, switched: bool) {
        if let Some(gate) = &*self.gate.borrow() {
            gate.answered(switched);
        }
    }

    /// Why the client's connection is not read on, where it is not.
    pub(crate) fn bad(&self) -> Option<Bad> {
        self.gate.borrow().as_ref()?.bad()
    }

    /// A number that grows while anything moves.
    pub(crate) fn moving(&self) -> u64 {
        let sum = |traffic: &RefCell<Option<Arc<Traffic>>>| {
            traffic.borrow().as_ref().map_or(0, |traffic| traffic.sum())
        };
        self.gone.get() + sum(&self.to_origin) + sum(&self.to_client)
    }

    /// Ends what goes on beside the requests; returns why.
    pub(crate) fn cut_off(&self, why: Reason) -> Reason {
        if let Some(relay) = self.relay.take() {
            relay.abort();
        }
        why
    }
}

/// A client's connection and its requests, or one request of those that name their server each.
pub(crate) struct Exchange {
    pub(super) worker: Rc<Worker>,
    pub(super) generation: Arc<Generation>,
    pub(super) known: Rc<Known>,
    pub(super) scheme: Scheme,
    /// What was decided for every request before any was read.
    pub(super) fixed: Option<Judged>,
    pub(super) link: Rc<Link>,
    /// Who connects to the servers that requests name; `None`: the connection is for one server.
    routes: Option<Rc<Routes>>,
}

impl Exchange {
    pub(crate) fn new(
        (worker, generation, known): (&Rc<Worker>, &Arc<Generation>, &Rc<Known>),
        scheme: Scheme,
        fixed: Option<Judged>,
    ) -> Self {
        Self {
            worker: Rc::clone(worker),
            generation: Arc::clone(generation),
            known: Rc::clone(known),
            scheme,
            fixed,
            link: Rc::default(),
            routes: None,
        }
    }

    /// One request to a proxy, which names its server.
    pub(crate) fn proxied(
        (worker, generation, known): (&Rc<Worker>, &Arc<Generation>, &Rc<Known>),
        link: &Rc<Link>,
        routes: &Rc<Routes>,
    ) -> Self {
        Self {
            link: Rc::clone(link),
            routes: Some(Rc::clone(routes)),
            ..Self::new((worker, generation, known), Scheme::Http, None)
        }
    }

    /// Whether the client sees a proxy, which answers for itself.
    pub(super) const fn is_proxied(&self) -> bool {
        self.routes.is_some()
    }

    /// What a connection to the origin tells when it ends.
    pub(crate) fn over(&self) -> Rc<Notify> {
        Rc::clone(&self.link.over)
    }

    /// Gives it the connection that requests are sent over.
    pub(crate) fn set_upstream(&self, upstream: Upstream, traffic: Arc<Traffic>) {
        self.link.set_upstream(Rc::new(upstream), traffic);
    }

    /// Tells it what counts the client's bytes.
    pub(crate) fn set_client(&self, traffic: Arc<Traffic>) {
        self.link.set_client(traffic);
    }

    fn bad(&self) -> Option<Bad> {
        self.link.bad()
    }

    /// Bytes that the origin took, and that the client took.
    pub(crate) fn moved(&self) -> (u64, u64) {
        let written = |traffic: &RefCell<Option<Arc<Traffic>>>| {
            traffic
                .borrow()
                .as_ref()
                .map_or(0, |traffic| traffic.written())
        };
        let link = &self.link;
        (
            link.gone.get() + written(&link.to_origin),
            written(&link.to_client),
        )
    }

    /// Requests that were judged.
    pub(crate) fn judged(&self) -> u64 {
        self.link.judged.get()
    }

    /// Answers a request.
    pub(super) async fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Cut> {
        let answer = self.answer_to(request).await?;
        let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        self.link.answered(switched);
        Ok(answer)
    }

    async fn answer_to(
        self: &Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Cut> {
        let (parts, body) = request.into_parts();
        let version = parts.version;
        let mut told = Told::of(&parts);
        if let Some(bad) = self.unreadable(&parts, &mut told) {
            self.count();
            return Ok(self.refuse(told, &bad.into()));
        }
        let (scheme, expected) = (self.scheme, self.expected());
        let examined = request::examine(parts, scheme, &expected, &self.generation.requests);
        let prepared = match examined {
            Ok(Examined::Expected(prepared)) => prepared,
            Ok(Examined::Misdirected(prepared)) => {
                self.count();
                return self.misdirected(told, &prepared);
            }
            Err(refusal) => {
                self.count();
                return Ok(self.refuse(told, &refusal));
            }
        };
        self.answer_prepared(told, prepared, body, version).await
    }

    fn count(&self) {
        self.link.judged.set(self.link.judged.get() + 1);
    }

    /// What is wrong with the bytes in place of which the parser was shown this request; what was asked
    /// for nobody knows.
    pub(crate) fn unreadable(&self, parts: &http::request::Parts, told: &mut Told) -> Option<Bad> {
        let bad = self.bad().filter(|_| is_substitute(parts))?;
        told.method = Method::from_bytes(b"-").unwrap_or_default();
        Some(bad)
    }

    /// Answers a request that may be judged.
    pub(crate) async fn answer_prepared(
        self: &Rc<Self>,
        mut told: Told,
        prepared: Prepared,
        body: Incoming,
        version: Version,
    ) -> Result<Response<Reply>, Cut> {
        self.count();
        told.name(&prepared);
        if self.worker.shared.access.refuses() {
            return Ok(self.unreachable(told, Reason::AuditUnavailable));
        }
        if prepared.path() == PROCEED_PATH {
            self.annotate(&mut told, &self.known.facts(&self.generation.policy));
            return Ok(self.proceed(told, &prepared, body).await);
        }
        let judged = self.judge(&prepared, &mut told);
        (told.rule, told.reason) = (judged.rule, judged.reason);
        match judged.outcome {
            Some(Outcome::Allow | Outcome::AllowDecrypted | Outcome::Splice) => {}
            Some(Outcome::Warn | Outcome::WarnDecrypted) => {
                if let Some(page) = self.warning(&mut told, &prepared, judged.warned_by) {
                    return Ok(self.page(&told, "warn", page));
                }
                if self.fixed.is_some() && self.scheme == Scheme::Https {
                    // The origin has not been met on this connection; on the next one it is.
                    self.link.over.notify_one();
                    return Ok(self.refuse(told, &Refusal::Misdirected));
                }
            }
            Some(Outcome::Block(kind)) => return self.block(&told, kind),
            None => return self.block(&told, BlockKind::Page),
        }
        self.forward(told, prepared, body, version).await
    }

    /// Answers a request that names another server than the connection is for: what is blocked
    /// anyway, as what is blocked, and the rest by 421, so that the client may ask elsewhere.
    fn misdirected(&self, mut told: Told, prepared: &Prepared) -> Result<Response<Reply>, Cut> {
        told.name(prepared);
        let judged = self.judge(prepared, &mut told);
        // What was decided of a connection inside TLS is for the server of its hello.
        if self.fixed.is_some() && self.scheme == Scheme::Https {
            return Ok(self.refuse(told, &Refusal::Misdirected));
        }
        match judged.outcome {
            Some(Outcome::Block(kind)) => {
                (told.rule, told.reason) = (judged.rule, judged.reason);
                self.block(&told, kind)
            }
            _ => Ok(self.refuse(told, &Refusal::Misdirected)),
        }
    }

    /// Shows a page in place of what is blocked, or cuts the connection off.
    fn block(&self, told: &Told, kind: BlockKind) -> Result<Response<Reply>, Cut> {
        if kind == BlockKind::Reset {
            self.link.cut.set(Some(told.reason));
            self.record(told, "block", None);
            return Err(Cut);
        }
        Ok(self.page(told, "block", self.blocked(told)))
    }

    fn expected(&self) -> Expected<'_> {
        Expected::Origin {
            host: self.known.name(),
            address: self.known.destination.ip(),
            port: self.known.destination.port(),
        }
    }

    /// What a policy is told of a request; `fields` are those of the request.
    fn facts<'f>(
        &'f self,
        known: &'f Known,
        prepared: &'f Prepared,
        fields: &'f [(&'f str, &'f str)],
    ) -> Facts<'f> {
        let mut facts = known.facts(&self.generation.policy);
        facts.stage = Stage::Request;
        facts.request = prepared.facts(fields);
        if self.scheme == Scheme::Http {
            facts.host = Some(prepared.authority().host());
        }
        facts
    }

    /// What the policy says of a request while some facts are not known; otherwise whether it may
    /// hang on who the client is.
    pub(crate) fn weigh(&self, prepared: &Prepared, unknown: FactSet) -> Result<Outcome, bool> {
        let policy = &self.generation.policy;
        let fields = prepared.fields();
        let mut facts = self.facts(&self.known, prepared, &fields);
        facts.unknown = unknown;
        let mut scratch = self.worker.scratch.borrow_mut();
        match policy.decide(&facts, &mut scratch) {
            Decision::Decided(decided) => Ok(decided.outcome),
            Decision::Undecided(_) => Err(policy.may_hang_on(WHO, &facts, &mut scratch)),
        }
    }

    /// Whether a request that was let through would have been at another address of its server, too.
    fn is_same_at(&self, address: SocketAddr, prepared: &Prepared) -> bool {
        let policy = &self.generation.policy;
        let fields = prepared.fields();
        let mut known = Known::clone(&self.known);
        let mut outcomes = [self.known.destination, address].into_iter().map(|at| {
            known.destination = at;
            let facts = self.facts(&known, prepared, &fields);
            let mut scratch = self.worker.scratch.borrow_mut();
            match policy.decide(&facts, &mut scratch) {
                Decision::Decided(decided) => Some(decided.outcome),
                Decision::Undecided(_) => None,
            }
        });
        let (before, after) = (outcomes.next().flatten(), outcomes.next().flatten());
        before.is_some() && before == after
    }

    /// What the policy says of a request.
    fn judge(&self, prepared: &Prepared, told: &mut Told) -> Judged {
        let policy = &self.generation.policy;
        let fields = prepared.fields();
        let facts = self.facts(&self.known, prepared, &fields);
        self.annotate(told, &facts);
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let began = Instant::now();
        let decision = policy.decide(&facts, &mut self.worker.scratch.borrow_mut());
        let taken = began.elapsed();
        self.worker.metrics.decision.of(Stage::Request).note(taken);
        match decision {
            Decision::Decided(decided) => Judged::of(&decided),
            Decision::Undecided(_) => Judged {
                outcome: None,
                rule: None,
                reason: Reason::StageUnavailable,
                warned_by: None,
            },
        }
    }

    /// Sends a request on, and passes the answer back.
    async fn forward(
        self: &Rc<Self>,
        told: Told,
        prepared: Prepared,
        body: Incoming,
        version: Version,
    ) -> Result<Response<Reply>, Cut> {
        let upstream = match self.upstream(&prepared).await {
            Ok(Some(upstream)) => upstream,
            // What the origin has ended the client may ask for anew.
            Ok(None) => {
                self.link.cut.set(Some(Reason::OriginReset));
                self.record(&told, "block", None);
                return Err(Cut);
            }
            Err(reason) => return Ok(self.unreachable(told, reason)),
        };
        let asked = prepared.upgrade();
        let spoken = if version == Version::HTTP_2 {
            version
        } else {
            Version::HTTP_11
        };
        let mut request = Request::from_parts(prepared.into_parts(spoken), Passing(body));
        let client = asked.map(|_| hyper::upgrade::on(&mut request));
        let mut answer = match upstream.send(request).await {
            Ok(answer) => answer,
            Err(error) => {
                if let Some(bad) = self.bad() {
                    // The body ends in what is none, so that the origin was not told its end.
                    return Ok(self.refuse(told, &bad.into()));
                }
                let bad = upstream.bad();
                tracing::debug!(%error, ?bad, url = told.url, "the origin does not answer");
                return Ok(self.broken(told));
            }
        };
        let origin = hyper::upgrade::on(&mut answer);
        let (mut parts, body) = answer.into_parts();
        if let Err(fault) = request::prepare_response(&mut parts, asked) {
            tracing::debug!(%fault, url = told.url, "the answer is not passed on");
            return Ok(self.broken(told));
        }
        // The version is that of whoever sends, and not of whom the answer is from.
        parts.version = spoken;
        self.record(&told, "allow", Some(parts.status));
        if parts.status == StatusCode::SWITCHING_PROTOCOLS
            && let Some(client) = client
        {
            let relay = tokio::task::spawn_local(async move {
                if let (Ok(client), Ok(origin)) = tokio::join!(client, origin) {
                    let (mut client, mut origin) = (TokioIo::new(client), TokioIo::new(origin));
                    // Whichever side breaks off, both are closed with it.
                    let _ = copy_bidirectional(&mut client, &mut origin).await;
                }
            });
            self.link.relay.replace(Some(relay));
        }
        Ok(Response::from_parts(parts, Either::Left(Passing(body))))
    }

    /// The connection to the origin; `None` where there was one that cannot be made anew without
    /// showing the client another certificate.
    async fn upstream(&self, prepared: &Prepared) -> Result<Option<Rc<Upstream>>, Reason> {
        if let Some(routes) = &self.routes {
            let parts = (&*self.worker, &*self.generation);
            let judged = self.known.destination;
            let may = |address| address == judged || self.is_same_at(address, prepared);
            return routes.upstream(parts, &self.link, may).await.map(Some);
        }
        let there = self.link.upstream.borrow().clone();
        match there {
            Some(upstream) if !upstream.is_over() => return Ok(Some(upstream)),
            Some(_) if self.scheme == Scheme::Https => return Ok(None),
            None if self.scheme == Scheme::Https => return Err(Reason::Internal),
            _ => {}
        }
        let to = self.known.destination;
        let (origin, _) = dial_origin(&self.worker, &self.generation, to, true).await?;
        let stream = Rewind::new(Bytes::new(), origin);
        let traffic = stream.traffic();
        let upstream = Upstream::begin(stream, false, self.over()).await;
        self.set_upstream(upstream.map_err(|_| Reason::OriginReset)?, traffic);
        Ok(self.link.upstream.borrow().clone())
    }
}

/// Whether a request is the one that stands for what could not be read.
fn is_substitute(parts: &http::request::Parts) -> bool {
    parts.method.as_str() == "REFUSED" && parts.uri.path() == "*"
}

/// What the policy says of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    /// `None` where that hangs on what cannot be known.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) rule: Option<RuleId>,
    pub(crate) reason: Reason,
    pub(crate) warned_by: Option<RuleId>,
}

impl Judged {
    /// What was decided.
    const fn of(decided: &Decided) -> Self {
        Self {
            outcome: Some(decided.outcome),
            rule: decided.cause.rule(),
            reason: decided.cause.reason(),
            warned_by: decided.warned_by,
        }
    }
}
