//! Answers of the gateway's own, and what is told of every request.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_LANGUAGE, CONNECTION, HeaderValue};
use hyper::{Method, Response, StatusCode, Version, http};
use sluice_abi::Reason;
use sluice_policy::{Action, Facts, RuleId, RuleInfo, Scheme};

use super::exchange::{Exchange, Reply};
use crate::daemon::flow::unix_seconds;
use crate::daemon::record::{RequestRecord, rfc3339};
use crate::page::{
    About, Continuation, FORM_LIMIT, Preference, Problem, Reference, Visitor, Warned,
};
use crate::proxy::status_of;
use crate::request::{Prepared, Refusal};

impl Exchange {
    /// The answer in place of a request that cannot be forwarded as it is.
    pub(crate) fn refuse(&self, mut told: Told, refusal: &Refusal) -> Response<Reply> {
        told.reason = match refusal {
            Refusal::Misdirected => Reason::MisdirectedRequest,
            _ => Reason::BadRequest,
        };
        if told.url.is_empty() {
            self.annotate(&mut told, &self.known.facts(&self.generation.policy));
        }
        let problem = Problem::of(refusal.status());
        let mut answer = self.problem(&told, problem, &refusal.to_string());
        // What follows on the connection may not be what it seems; in HTTP/2 it is, and the client may
        // have taken the server for another of the same connection.
        if *refusal != Refusal::Misdirected {
            self.close_behind(told.version, &mut answer);
        }
        answer
    }

    /// Lets no request of a connection of HTTP/1 come behind an answer.
    pub(crate) fn close_behind(&self, version: Version, answer: &mut Response<Reply>) {
        if version != Version::HTTP_2 {
            self.link.over.notify_one();
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
    }

    /// The answer in place of an origin's that broke HTTP, or off: what it has sent still may be
    /// taken for the answer to the next request.
    pub(super) fn broken(&self, told: Told) -> Response<Reply> {
        let version = told.version;
        let mut answer = self.unreachable(told, Reason::OriginReset);
        self.close_behind(version, &mut answer);
        answer
    }

    /// Notes what rules say of the record of a request.
    pub(crate) fn annotate(&self, told: &mut Told, facts: &Facts<'_>) {
        let mut scratch = self.worker.scratch.borrow_mut();
        let annotations = self.generation.policy.annotations(facts, &mut scratch);
        told.no_log = annotations.no_log;
        told.tags = annotations.tags.into_iter().map(str::to_owned).collect();
    }

    /// The answer in place of an origin's.
    pub(crate) fn unreachable(&self, mut told: Told, reason: Reason) -> Response<Reply> {
        told.reason = reason;
        let problem = match reason {
            Reason::OriginTimeout => Problem::GatewayTimeout,
            Reason::AuditUnavailable => Problem::Unavailable,
            Reason::SelfConnect | Reason::NeverConnect | Reason::PrivateDestination => {
                Problem::Prohibited
            }
            _ => Problem::BadGateway,
        };
        self.problem(&told, problem, reason.description())
    }

    /// The answer that tells of a problem.
    pub(crate) fn problem(&self, told: &Told, problem: Problem, why: &str) -> Response<Reply> {
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
            user: self.known.user(&self.generation.policy),
            time: unix_seconds(told.time),
        }
    }

    /// The page in place of what is blocked.
    pub(crate) fn blocked(&self, told: &Told) -> Response<Bytes> {
        let rule = told.rule.and_then(|id| self.generation.policy.rule(id));
        let about = self.about(told, rule);
        self.generation.pages.blocked(&about, told.preference())
    }

    /// The page of a warning; `None` where the visitor has gone on behind it.
    pub(super) fn warning(
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
    pub(super) async fn proceed(
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
                let version = told.version;
                let mut answer = self.page(&told, "warn", page);
                if self.fixed.is_some() {
                    // This connection shows nothing but the page.
                    self.link.over.notify_one();
                    self.close_behind(version, &mut answer);
                }
                answer
            }
            Err(denied) => self.problem(&told, denied.problem(), &denied.to_string()),
        }
    }

    fn visitor(&self) -> Visitor<'_> {
        self.known.visitor(&self.generation.policy)
    }

    /// Passes a page on, and records it.
    pub(crate) fn page(
        &self,
        told: &Told,
        verdict: &'static str,
        page: Response<Bytes>,
    ) -> Response<Reply> {
        self.record(told, verdict, Some(page.status()));
        let (mut parts, body) = page.into_parts();
        if self.is_proxied() {
            let pseudonym = &self.worker.shared.memory.pseudonym;
            parts
                .headers
                .extend(status_of(pseudonym, told.reason, parts.status));
        }
        let body = if told.method == Method::HEAD {
            Bytes::new()
        } else {
            body
        };
        Response::from_parts(parts, Either::Right(Full::new(body)))
    }

    pub(crate) fn record(&self, told: &Told, verdict: &'static str, status: Option<StatusCode>) {
        let metrics = &self.worker.metrics;
        metrics.note_request((verdict, told.reason));
        metrics.request.note(told.began.elapsed());
        if let Some(rule) = told.rule {
            self.generation.hits.note_request(rule, metrics.lane);
        }
        if told.no_log {
            return;
        }
        let policy = &self.generation.policy;
        let rule = told.rule.and_then(|id| policy.rule(id));
        self.worker.shared.access.put_request(&RequestRecord {
            time: rfc3339(told.time),
            client: self.known.client,
            destination: self.known.destination,
            user: self.known.user(policy),
            listener: self.known.listener(),
            method: told.method.as_str(),
            url: &told.url,
            verdict,
            rule: rule.map(|rule| rule.name.as_str()),
            reason: told.reason.name(),
            tags: &told.tags,
            status: status.map(|status| status.as_u16()),
            reference: (verdict != "allow").then(|| told.reference.to_string()),
            decrypted: self.scheme == Scheme::Https,
            generation: self.generation.number,
        });
    }
}

/// What there is to tell of a request.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) began: Instant,
    pub(crate) time: SystemTime,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) url: String,
    pub(crate) host: Option<String>,
    pub(crate) rule: Option<RuleId>,
    pub(crate) reason: Reason,
    /// The words that rules put down for it.
    pub(crate) tags: Vec<String>,
    /// Whether a rule says that nothing is written of it.
    pub(crate) no_log: bool,
    pub(crate) reference: Reference,
    pub(crate) language: Option<HeaderValue>,
    pub(crate) accept: Option<HeaderValue>,
}

impl Told {
    pub(crate) fn of(parts: &http::request::Parts) -> Self {
        Self {
            began: Instant::now(),
            time: SystemTime::now(),
            method: parts.method.clone(),
            version: parts.version,
            url: String::new(),
            rule: None,
            reason: Reason::Internal,
            tags: Vec::new(),
            no_log: false,
            host: None,
            // Without random bytes pages are told apart by nothing; that is no reason to show none.
            reference: Reference::random().unwrap_or_else(|_| Reference::from_bytes([0; 10])),
            language: parts.headers.get(ACCEPT_LANGUAGE).cloned(),
            accept: parts.headers.get(ACCEPT).cloned(),
        }
    }

    /// Notes which URL is asked for.
    pub(super) fn name(&mut self, prepared: &Prepared) {
        prepared.url().clone_into(&mut self.url);
        self.host = Some(prepared.authority().host().to_owned());
    }

    pub(super) fn preference(&self) -> Preference<'_> {
        Preference {
            accept: self.accept.as_ref().map(HeaderValue::as_bytes),
            accept_language: self.language.as_ref().map(HeaderValue::as_bytes),
        }
    }
}
