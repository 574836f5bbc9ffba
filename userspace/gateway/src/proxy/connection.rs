//! One connection of a client's to a proxy listener: requests, or one tunnel in the end.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PROXY_AUTHENTICATE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, http};
use hyper_util::rt::TokioIo;
use sluice_abi::Reason;
use sluice_policy::{Fact, FactSet, Outcome, Scheme};
use tokio::io::AsyncWriteExt;

use super::identify::{Who, identify};
use super::routes::{Key, Routes};
use super::said::{add_via, came_through, forward_for};
use super::{Door, connect};
use crate::config::Proxy;
use crate::daemon::flow::{Tunnel, WHO, now};
use crate::daemon::generation::Generation;
use crate::daemon::known::{Known, Proxied};
use crate::daemon::leg::Leg;
use crate::daemon::reach::{self, Target};
use crate::daemon::worker::Worker;
use crate::identity::Identity;
use crate::intercept::rewind::Rewind;
use crate::intercept::{Cut, Exchange, Gather, Link, Reply, Strict, Told, serve_http1, until_over};
use crate::page::Problem;
use crate::request::{self, Expected};

/// What hyper reads a client's connection through.
type Read = TokioIo<Strict<Gather<Rewind>>>;

pub(super) type Answer = Result<Response<Reply>, Cut>;

/// Where a flow leads whose server was not looked up.
pub(super) const fn nowhere(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// A client's connection.
pub(super) struct Connection<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) proxied: Arc<Proxied>,
    pub(super) client: SocketAddr,
    /// Who the client is by its certificate.
    certified: Option<Arc<Identity>>,
    pub(super) link: Rc<Link>,
    pub(super) routes: Rc<Routes>,
    /// The tunnel that the last answer has opened.
    pub(super) tunnel: RefCell<Option<(Tunnel<'a>, OnUpgrade)>>,
    /// What becomes of the connection where the last request was a CONNECT that was refused.
    refused: RefCell<Option<OnUpgrade>>,
}

/// What one request is judged under.
pub(super) struct Under {
    pub(super) generation: Arc<Generation>,
    pub(super) door: Arc<Door>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        worker: &'a Rc<Worker>,
        proxied: Arc<Proxied>,
        client: SocketAddr,
        certified: Option<Arc<Identity>>,
    ) -> Self {
        Self {
            worker,
            proxied,
            client,
            certified,
            link: Rc::default(),
            routes: Rc::default(),
            tunnel: RefCell::new(None),
            refused: RefCell::new(None),
        }
    }

    /// Serves the requests of the connection, and the tunnel that they may end with.
    ///
    /// `ahead` are bytes of the client's that were read already.
    pub(super) async fn serve(self, leg: Leg, ahead: Bytes) {
        let end = Box::pin(self.requests(leg, ahead)).await;
        let Some((tunnel, upgrade)) = self.tunnel.take() else {
            // hyper leaves the end of a connection to whoever asked for another protocol on it, even
            // where there is none: without this one the client may lose the page that says why.
            if let Some(refused) = self.refused.take()
                && let Ok(upgraded) = refused.await
                && let Ok(parts) = upgraded.downcast::<Read>()
            {
                // A client that is gone already heard what it wanted to.
                let _ = parts.io.into_inner().shutdown().await;
            }
            return;
        };
        if end != Reason::Finished {
            return tunnel.abandon(end);
        }
        let parts = match upgrade.await {
            Ok(upgraded) => upgraded.downcast::<Read>().ok(),
            Err(_) => None,
        };
        let Some(parts) = parts else {
            return tunnel.abandon(Reason::ClientReset);
        };
        let (stream, kept) = parts.io.into_inner().into_parts();
        let (leg, ahead) = stream.into_inner().into_parts();
        let mut bytes = BytesMut::from(parts.read_buf);
        bytes.extend_from_slice(&kept);
        bytes.extend_from_slice(&ahead);
        tunnel.run(leg, bytes).await;
    }

    async fn requests(&self, leg: Leg, ahead: Bytes) -> Reason {
        let generation = self.worker.generation();
        let stream = Rewind::new(ahead, leg);
        self.link.set_client(stream.traffic());
        let service = service_fn(|request| self.answer(request));
        let around = (&**self.worker, &*generation, &*self.link);
        until_over(around, serve_http1(around, stream, service)).await
    }

    /// Answers a request.
    async fn answer(&self, mut request: Request<Incoming>) -> Answer {
        let connects = request.method() == Method::CONNECT;
        let upgrade = connects.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        self.refused.take();
        let answer = match upgrade {
            Some(upgrade) => {
                let kept = upgrade.clone();
                let answer = Box::pin(connect::answer(self, &parts, upgrade)).await?;
                if !answer.status().is_success() {
                    self.refused.replace(Some(kept));
                }
                answer
            }
            None => Box::pin(self.forward(parts, body)).await?,
        };
        let status = answer.status();
        let switched = status == StatusCode::SWITCHING_PROTOCOLS;
        self.link
            .answered(switched || connects && status.is_success());
        Ok(answer)
    }

    /// The policy in force, and the listener in it; `None` where a reload has taken it away.
    pub(super) fn under(&self) -> Option<Under> {
        let generation = self.worker.generation();
        let door = Arc::clone(generation.doors.get(&self.proxied.listener)?);
        Some(Under { generation, door })
    }

    /// What is known of a request before anything of it was read.
    pub(super) fn known(&self) -> Known {
        let mut known = Known::new(self.client, nowhere(0), now());
        known.proxied = Some(Arc::clone(&self.proxied));
        let addresses = &self.worker.shared.addresses;
        known.identity = addresses.at(self.client.ip(), Instant::now());
        known
    }

    pub(super) fn exchange(&self, generation: &Arc<Generation>, known: &Rc<Known>) -> Exchange {
        let parts = (self.worker, generation, known);
        Exchange::proxied(parts, &self.link, &self.routes)
    }

    /// The listener is not there any more.
    pub(super) fn gone(&self, told: &Told, known: Known) -> Response<Reply> {
        let exchange = self.exchange(&self.worker.generation(), &Rc::new(known));
        let version = told.version;
        let why = "this proxy is no longer configured";
        let mut answer = exchange.problem(told, Problem::Unavailable, why);
        exchange.close_behind(version, &mut answer);
        answer
    }

    /// Finds out who makes a request; the answer to it where that must be found out first.
    pub(super) async fn who(
        &self,
        under: &Under,
        headers: &http::HeaderMap,
        told: &mut Told,
        known: &mut Known,
    ) -> Result<bool, Response<Reply>> {
        let Under { generation, door } = under;
        let asker = generation.asker(&self.proxied.listener);
        let certified = self.certified.as_ref();
        let from = (self.client.ip(), known.user(&generation.policy).is_some());
        let who = identify((door, &*asker), certified, from, headers).await;
        let refuse = |told: &mut Told, known: &Known| {
            told.reason = Reason::NoCredentials;
            self.exchange(generation, &Rc::new(known.clone()))
        };
        match who {
            Ok(Who::Known(identity)) => {
                let lasts = generation.addresses.proxy_stands_for_address;
                let addresses = &self.worker.shared.addresses;
                addresses.learn(self.client.ip(), &identity, (Instant::now(), lasts));
                known.identity = Some(identity);
                Ok(false)
            }
            Ok(Who::Nobody | Who::Address) => Ok(false),
            // Whom the address stands for is known as well.
            Ok(Who::Anonymous) => Ok(known.user(&generation.policy).is_none()),
            Ok(Who::Asked(challenges)) => {
                let exchange = refuse(told, known);
                Err(self.ask(&exchange, told, challenges))
            }
            Ok(Who::Later(time)) => {
                let exchange = refuse(told, known);
                let why = "who you are cannot be found out at the moment";
                let mut answer = exchange.problem(told, Problem::Unavailable, why);
                let seconds = time.unwrap_or(Duration::from_secs(5)).as_secs().max(1);
                answer.headers_mut().insert(RETRY_AFTER, seconds.into());
                Err(answer)
            }
            Err(refusal) => {
                let exchange = self.exchange(generation, &Rc::new(known.clone()));
                Err(exchange.refuse(told.clone(), &refusal))
            }
        }
    }

    /// Asks for credentials.
    pub(super) fn ask(
        &self,
        exchange: &Exchange,
        told: &mut Told,
        challenges: Vec<HeaderValue>,
    ) -> Response<Reply> {
        told.reason = Reason::NoCredentials;
        self.worker
            .metrics
            .asked_for_credentials
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Where there is nothing to ask for, it is not asked for (RFC 9110 section 15.5.8).
        let (problem, why) = if challenges.is_empty() {
            let why = "who you are is not known, and there is no password to be asked for";
            (Problem::Prohibited, why)
        } else {
            (Problem::Credentials, Reason::NoCredentials.description())
        };
        let mut answer = exchange.problem(told, problem, why);
        for challenge in challenges {
            answer.headers_mut().append(PROXY_AUTHENTICATE, challenge);
        }
        answer
    }

    /// Judges and forwards a request that names its URL.
    async fn forward(&self, mut parts: http::request::Parts, body: Incoming) -> Answer {
        let mut told = Told::of(&parts);
        let mut known = self.known();
        let Some(under) = self.under() else {
            return Ok(self.gone(&told, known));
        };
        let (generation, settings) = (&under.generation, under.door.settings());
        let early = self.exchange(generation, &Rc::new(known.clone()));
        if let Some(bad) = early.unreadable(&parts, &mut told) {
            return Ok(early.refuse(told, &bad.into()));
        }
        let Some(scheme) = parts.uri.scheme_str() else {
            return Ok(asked_itself(&early, told, (parts.uri.path(), settings)));
        };
        if !scheme.eq_ignore_ascii_case(Scheme::Http.name()) {
            told.reason = Reason::BadRequest;
            let why = "only URLs of http:// are fetched here: ask for a tunnel by CONNECT";
            return Ok(early.problem(&told, Problem::NotSupported, why));
        }
        let pseudonym = &*self.worker.shared.memory.pseudonym;
        if settings.via && came_through(&parts.headers, pseudonym) {
            told.reason = Reason::ProxyLoop;
            let why = Reason::ProxyLoop.description();
            return Ok(early.problem(&told, Problem::Loop, why));
        }
        let headers = &parts.headers;
        let anonymous = match self.who(&under, headers, &mut told, &mut known).await {
            Ok(anonymous) => anonymous,
            Err(answer) => return Ok(answer),
        };
        let version = parts.version;
        if settings.via {
            add_via(&mut parts.headers, version, pseudonym);
        }
        let client = self.client.ip();
        forward_for(&mut parts.headers, settings.forwarded_for, client);
        let limits = &generation.requests;
        let prepared = request::prepare(parts, Scheme::Http, &Expected::Any, limits);
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => {
                let exchange = self.exchange(generation, &Rc::new(known));
                return Ok(exchange.refuse(told, &refusal));
            }
        };
        let authority = prepared.authority();
        known.begin_request(authority);
        let who = if anonymous { WHO } else { FactSet::EMPTY };
        let exchange = Rc::new(self.exchange(generation, &Rc::new(known.clone())));
        // What is refused wherever it leads is not looked up.
        let unresolved = who.union(FactSet::of(Fact::Destination));
        if let Ok(Outcome::Block(_)) = exchange.weigh(&prepared, unresolved) {
            return exchange
                .answer_prepared(told, prepared, body, version)
                .await;
        }
        let key = Key {
            authority: authority.as_str().into(),
            user: known
                .identity
                .as_ref()
                .map(|identity| identity.user.clone()),
            generation: generation.number,
        };
        known.destination = match self.routes.kept(&key) {
            Some(address) => address,
            None => {
                let guard = &self.worker.shared.guard;
                let found = match Target::parse(authority.host()) {
                    Ok(target) => {
                        reach::addresses(generation, guard, &target, authority.port()).await
                    }
                    Err(_) => Err(Reason::UnresolvedName),
                };
                let found = found.and_then(|candidates| {
                    let first = candidates.first().ok_or(Reason::UnresolvedName)?;
                    self.routes.aim(key, candidates);
                    Ok(first)
                });
                match found {
                    Ok(first) => first,
                    Err(reason) => {
                        prepared.url().clone_into(&mut told.url);
                        return Ok(exchange.unreachable(told, reason));
                    }
                }
            }
        };
        let exchange = Rc::new(self.exchange(generation, &Rc::new(known)));
        if anonymous && exchange.weigh(&prepared, WHO) == Err(true) {
            prepared.url().clone_into(&mut told.url);
            let challenges = generation.asker(&self.proxied.listener).challenges();
            return Ok(self.ask(&exchange, &mut told, challenges));
        }
        let mut answer = exchange
            .answer_prepared(told, prepared, body, version)
            .await?;
        if settings.via && matches!(answer.body(), Either::Left(_)) {
            add_via(answer.headers_mut(), http::Version::HTTP_11, pseudonym);
        }
        Ok(answer)
    }
}

/// Answers a request that is for the proxy itself: with the PAC file, where there is one.
fn asked_itself(
    exchange: &Exchange,
    mut told: Told,
    (path, settings): (&str, &Proxy),
) -> Response<Reply> {
    let pac = settings.pac.as_ref();
    if let Some((kind, file)) = pac.and_then(|pac| pac.respond(path))
        && matches!(told.method, Method::GET | Method::HEAD)
    {
        told.reason = Reason::ToGateway;
        let mut page = Response::new(file);
        let headers = page.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
        return exchange.page(&told, "allow", page);
    }
    told.reason = Reason::BadRequest;
    let why = "this is a proxy: the request names no server";
    exchange.problem(&told, Problem::BadRequest, why)
}
