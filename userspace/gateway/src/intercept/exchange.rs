//! The requests of one connection: each judged, then forwarded or answered with a page.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_LANGUAGE, CONNECTION, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version, http};
use hyper_util::rt::TokioIo;
use sluice_abi::Reason;
use sluice_policy::{
    Action, BlockKind, Decided, Decision, Outcome, RuleId, RuleInfo, Scheme, Stage,
};
use sluice_splice::{DialOptions, dial};
use tokio::io::copy_bidirectional;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::forward::Upstream;
use super::rewind::{Rewind, Traffic};
use super::serve::idle;
use crate::daemon::flow::{dial_reason, unix_seconds};
use crate::daemon::generation::Generation;
use crate::daemon::known::Known;
use crate::daemon::leg::Leg;
use crate::daemon::record::{RequestRecord, rfc3339};
use crate::daemon::worker::Worker;
use crate::page::{
    About, Continuation, FORM_LIMIT, PROCEED_PATH, Preference, Problem, Reference, Visitor, Warned,
};
use crate::request::{self, Expected, Prepared, Refusal};

/// The body of an answer: the origin's as it comes, or a page.
pub(super) type Reply = Either<Incoming, Full<Bytes>>;

/// The connection is cut off in place of an answer.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is cut off")
    }
}

impl std::error::Error for Cut {}

/// One client's connection and its requests.
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    generation: Arc<Generation>,
    known: Rc<Known>,
    scheme: Scheme,
    /// What was decided for every request before any was read.
    fixed: Option<Judged>,
    upstream: RefCell<Option<Rc<Upstream>>>,
    to_origin: RefCell<Option<Arc<Traffic>>>,
    to_client: RefCell<Option<Arc<Traffic>>>,
    /// Told when the connection should end: the origin's is over, or the last answer was a page that
    /// leads elsewhere.
    pub(super) over: Rc<Notify>,
    /// Bytes of connections to the origin that are over.
    gone: Cell<u64>,
    pub(super) relay: RefCell<Option<JoinHandle<()>>>,
    judged: Cell<u64>,
    /// Why the connection was cut off, where it was.
    pub(super) cut: Cell<Option<Reason>>,
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
            upstream: RefCell::new(None),
            to_origin: RefCell::new(None),
            to_client: RefCell::new(None),
            over: Rc::default(),
            gone: Cell::new(0),
            relay: RefCell::new(None),
            judged: Cell::new(0),
            cut: Cell::new(None),
        }
    }

    /// What a connection to the origin tells when it ends.
    pub(crate) fn over(&self) -> Rc<Notify> {
        Rc::clone(&self.over)
    }

    /// Gives it the connection that requests are sent over.
    pub(crate) fn set_upstream(&self, upstream: Upstream, traffic: Arc<Traffic>) {
        self.upstream.replace(Some(Rc::new(upstream)));
        if let Some(before) = self.to_origin.replace(Some(traffic)) {
            self.gone.set(self.gone.get() + before.written());
        }
    }

    /// Tells it what counts the client's bytes.
    pub(crate) fn set_client(&self, traffic: Arc<Traffic>) {
        self.to_client.replace(Some(traffic));
    }

    /// Bytes that the origin took, and that the client took.
    pub(crate) fn moved(&self) -> (u64, u64) {
        let written = |traffic: &RefCell<Option<Arc<Traffic>>>| {
            traffic
                .borrow()
                .as_ref()
                .map_or(0, |traffic| traffic.written())
        };
        (
            self.gone.get() + written(&self.to_origin),
            written(&self.to_client),
        )
    }

    /// Requests that were judged.
    pub(crate) fn judged(&self) -> u64 {
        self.judged.get()
    }

    fn moving(&self) -> u64 {
        let sum = |traffic: &RefCell<Option<Arc<Traffic>>>| {
            traffic.borrow().as_ref().map_or(0, |traffic| traffic.sum())
        };
        self.gone.get() + sum(&self.to_origin) + sum(&self.to_client)
    }

    /// Answers a request.
    pub(super) async fn answer(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Cut> {
        self.judged.set(self.judged.get() + 1);
        let (parts, body) = request.into_parts();
        let version = parts.version;
        let mut told = Told::of(&parts);
        let (scheme, expected) = (self.scheme, self.expected());
        let prepared = match request::prepare(parts, scheme, &expected, &self.generation.requests) {
            Ok(prepared) => prepared,
            Err(refusal) => return Ok(self.refuse(told, &refusal)),
        };
        prepared.url().clone_into(&mut told.url);
        told.host = Some(prepared.authority().host().to_owned());
        if prepared.path() == PROCEED_PATH {
            return Ok(self.proceed(told, &prepared, body).await);
        }
        let judged = self.judge(&prepared);
        (told.rule, told.reason) = (judged.rule, judged.reason);
        match judged.outcome {
            Some(Outcome::Allow | Outcome::AllowDecrypted | Outcome::Splice) => {}
            Some(Outcome::Warn | Outcome::WarnDecrypted) => {
                if let Some(page) = self.warning(&mut told, &prepared, judged.warned_by) {
                    return Ok(self.page(&told, "warn", page));
                }
            }
            Some(Outcome::Block(BlockKind::Reset)) => {
                self.cut.set(Some(told.reason));
                self.record(&told, "block", None);
                return Err(Cut);
            }
            Some(Outcome::Block(_)) | None => {
                let page = self.blocked(&told);
                return Ok(self.page(&told, "block", page));
            }
        }
        self.forward(told, prepared, body, version).await
    }

    fn expected(&self) -> Expected<'_> {
        Expected::Origin {
            host: self.known.sni(),
            address: self.known.destination.ip(),
            port: self.known.destination.port(),
        }
    }

    /// What the policy says of a request.
    fn judge(&self, prepared: &Prepared) -> Judged {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let policy = &self.generation.policy;
        let fields = prepared.fields();
        let mut facts = self.known.facts(policy);
        facts.stage = Stage::Request;
        facts.request = prepared.facts(&fields);
        if self.scheme == Scheme::Http {
            facts.host = Some(prepared.authority().host());
        }
        let began = Instant::now();
        let decision = policy.decide(&facts, &mut self.worker.scratch.borrow_mut());
        self.worker.metrics.decision.note(began.elapsed());
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
        let upstream = match self.upstream().await {
            Ok(Some(upstream)) => upstream,
            // What the origin has ended the client may ask for anew.
            Ok(None) => {
                self.cut.set(Some(Reason::OriginReset));
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
        let mut request = Request::from_parts(prepared.into_parts(spoken), body);
        let client = asked.map(|_| hyper::upgrade::on(&mut request));
        let mut answer = match upstream.send(request).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, url = told.url, "the origin does not answer");
                return Ok(self.unreachable(told, Reason::OriginReset));
            }
        };
        let origin = hyper::upgrade::on(&mut answer);
        let (mut parts, body) = answer.into_parts();
        if let Err(fault) = request::prepare_response(&mut parts, asked) {
            tracing::debug!(%fault, url = told.url, "the answer is not passed on");
            self.over.notify_one();
            return Ok(self.unreachable(told, Reason::OriginReset));
        }
        if version == Version::HTTP_2 {
            parts.version = Version::HTTP_2;
        }
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
            self.relay.replace(Some(relay));
        }
        Ok(Response::from_parts(parts, Either::Left(body)))
    }

    /// The connection to the origin; `None` where there was one that cannot be made anew without
    /// showing the client another certificate.
    async fn upstream(&self) -> Result<Option<Rc<Upstream>>, Reason> {
        let there = self.upstream.borrow().clone();
        match there {
            Some(upstream) if !upstream.is_over() => return Ok(Some(upstream)),
            Some(_) if self.scheme == Scheme::Https => return Ok(None),
            None if self.scheme == Scheme::Https => return Err(Reason::Internal),
            _ => {}
        }
        let options = DialOptions {
            mark: self.worker.shared.mark,
            timeout: self.generation.connect_timeout,
            bytes_follow: true,
        };
        let began = Instant::now();
        let origin = dial(self.known.destination, &options).await;
        let origin = origin.map_err(|error| dial_reason(&error))?;
        self.worker.metrics.connect.note(began.elapsed());
        let stream = Rewind::new(Bytes::new(), Leg::new(origin));
        let traffic = stream.traffic();
        let upstream = Upstream::begin(stream, false, Rc::clone(&self.over)).await;
        self.set_upstream(upstream.map_err(|_| Reason::OriginReset)?, traffic);
        Ok(self.upstream.borrow().clone())
    }

    /// The answer in place of a request that cannot be forwarded as it is.
    fn refuse(&self, mut told: Told, refusal: &Refusal) -> Response<Reply> {
        told.reason = match refusal {
            Refusal::Misdirected => Reason::MisdirectedRequest,
            _ => Reason::BadRequest,
        };
        let problem = Problem::of(refusal.status());
        let mut answer = self.problem(&told, problem, &refusal.to_string());
        // What follows on the connection may not be what it seems, but for a name in HTTP/2 that the
        // client has taken for another of the same connection.
        if *refusal != Refusal::Misdirected {
            self.over.notify_one();
            if told.version != Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
        }
        answer
    }

    /// The answer in place of an origin's.
    fn unreachable(&self, mut told: Told, reason: Reason) -> Response<Reply> {
        told.reason = reason;
        let problem = match reason {
            Reason::OriginTimeout => Problem::GatewayTimeout,
            _ => Problem::BadGateway,
        };
        self.problem(&told, problem, reason.description())
    }

    fn problem(&self, told: &Told, problem: Problem, why: &str) -> Response<Reply> {
        let about = self.about(told, None);
        let pages = &self.generation.pages;
        let page = pages.problem(problem, Some(why), &about, told.preference());
        self.page(told, "block", page)
    }

    fn about<'a>(&'a self, told: &'a Told, rule: Option<&'a RuleInfo>) -> About<'a> {
        About {
            url: (!told.url.is_empty()).then_some(&told.url),
            host: told.host.as_deref().or(self.known.sni()),
            rule: rule.map(|rule| rule.name.as_str()),
            message: rule.and_then(|rule| rule.message.as_deref()),
            reference: told.reference,
            user: self.generation.policy.user_at(self.known.client.ip()),
            time: unix_seconds(told.time),
        }
    }

    /// The page in place of what is blocked.
    fn blocked(&self, told: &Told) -> Response<Bytes> {
        let rule = told.rule.and_then(|id| self.generation.policy.rule(id));
        let about = self.about(told, rule);
        self.generation.pages.blocked(&about, told.preference())
    }

    /// The page of a warning; `None` where the visitor has gone on behind it.
    fn warning(
        &self,
        told: &mut Told,
        prepared: &Prepared,
        by: Option<RuleId>,
    ) -> Option<Response<Bytes>> {
        let rule = self.generation.policy.rule(by?)?;
        let Action::Warn(period) = rule.action else {
            return None;
        };
        let warned = Warned {
            visitor: self.visitor(),
            site: prepared.authority().as_str(),
            rule: &rule.name,
        };
        let now = unix_seconds(told.time);
        let warnings = &self.worker.shared.memory.warnings;
        if warnings.has_continued(&warned, now) {
            return None;
        }
        told.rule = by;
        told.reason = Reason::Warned;
        let (method, headers) = (prepared.method(), prepared.headers());
        let offer = warnings.offer(
            &warned,
            period,
            method,
            headers,
            prepared.path_and_query(),
            now,
        );
        let about = self.about(told, Some(rule));
        let pages = &self.generation.pages;
        Some(pages.warning(&about, offer.as_ref(), told.preference()))
    }

    /// Lets a visitor go on behind a warning.
    async fn proceed(
        &self,
        mut told: Told,
        prepared: &Prepared,
        body: Incoming,
    ) -> Response<Reply> {
        told.reason = Reason::Warned;
        let body = Limited::new(body, FORM_LIMIT).collect().await;
        // What is longer than a form may be is told from one that is as long.
        let body = body.map_or_else(|_| vec![0; FORM_LIMIT + 1].into(), Collected::to_bytes);
        let asked = Continuation {
            method: prepared.method(),
            headers: prepared.headers(),
            body: &body,
            scheme: self.scheme,
            authority: prepared.authority(),
            visitor: self.visitor(),
        };
        let now = unix_seconds(told.time);
        match self.worker.shared.memory.warnings.proceed(&asked, now) {
            Ok(page) => {
                if self.fixed.is_some() {
                    // This connection shows nothing but the page.
                    self.over.notify_one();
                }
                self.page(&told, "warn", page)
            }
            Err(denied) => self.problem(&told, denied.problem(), &denied.to_string()),
        }
    }

    fn visitor(&self) -> Visitor<'_> {
        let address = self.known.client.ip();
        match self.generation.policy.user_at(address) {
            Some(user) => Visitor::User(user),
            None => Visitor::Address(address),
        }
    }

    /// Passes a page on, and records it.
    fn page(&self, told: &Told, verdict: &'static str, page: Response<Bytes>) -> Response<Reply> {
        self.record(told, verdict, Some(page.status()));
        let (parts, body) = page.into_parts();
        let body = if told.method == Method::HEAD {
            Bytes::new()
        } else {
            body
        };
        Response::from_parts(parts, Either::Right(Full::new(body)))
    }

    fn record(&self, told: &Told, verdict: &'static str, status: Option<StatusCode>) {
        let metrics = &self.worker.metrics;
        metrics.note_request((verdict, told.reason));
        metrics.request.note(told.began.elapsed());
        let policy = &self.generation.policy;
        let rule = told.rule.and_then(|id| policy.rule(id));
        self.worker.shared.access.put_request(&RequestRecord {
            time: rfc3339(told.time),
            client: self.known.client,
            destination: self.known.destination,
            user: policy.user_at(self.known.client.ip()),
            method: told.method.as_str(),
            url: &told.url,
            verdict,
            rule: rule.map(|rule| rule.name.as_str()),
            reason: told.reason.name(),
            status: status.map(|status| status.as_u16()),
            reference: (verdict != "allow").then(|| told.reference.to_string()),
            decrypted: self.scheme == Scheme::Https,
            generation: self.generation.number,
        });
    }

    /// Waits until nothing has moved for the idle time.
    pub(super) async fn idle(&self) {
        idle(self.generation.relay.idle_timeout, || self.moving()).await;
    }
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

/// What there is to tell of a request.
struct Told {
    began: Instant,
    time: SystemTime,
    method: Method,
    version: Version,
    url: String,
    host: Option<String>,
    rule: Option<RuleId>,
    reason: Reason,
    reference: Reference,
    language: Option<HeaderValue>,
    accept: Option<HeaderValue>,
}

impl Told {
    fn of(parts: &http::request::Parts) -> Self {
        Self {
            began: Instant::now(),
            time: SystemTime::now(),
            method: parts.method.clone(),
            version: parts.version,
            url: String::new(),
            rule: None,
            reason: Reason::Internal,
            host: None,
            // Without random bytes pages are told apart by nothing; that is no reason to show none.
            reference: Reference::random().unwrap_or_else(|_| Reference::from_bytes([0; 10])),
            language: parts.headers.get(ACCEPT_LANGUAGE).cloned(),
            accept: parts.headers.get(ACCEPT).cloned(),
        }
    }

    fn preference(&self) -> Preference<'_> {
        Preference {
            accept: self.accept.as_ref().map(HeaderValue::as_bytes),
            accept_language: self.language.as_ref().map(HeaderValue::as_bytes),
        }
    }
}
