//! Flows that are decrypted, or whose client is shown a page.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use rustls::pki_types::UnixTime;
use sluice_abi::Reason;
use sluice_mint::{Leaf, LeafName, LeafRequest, OriginCertificate};
use sluice_peek::foreign;
use sluice_policy::{Authority, NotNegotiated, Outcome, Scheme, Stage, Tls, TlsVersion};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::inner::first_inside;
use super::{Flow, Judgement, Leg, unix_seconds};
use crate::daemon::known::Certified;
use crate::daemon::metrics::Verdict;
use crate::daemon::proof::{Because, Inspected};
use crate::daemon::record::{Handshake, Interception};
use crate::intercept::client::{Refusal, alert_name};
use crate::intercept::rewind::{Prefixed, Rewind, Traffic};
use crate::intercept::tickets::{Binding, Bound};
use crate::intercept::{Exchange, Judged, Leaves, Upstream, serve};
use crate::origin::{
    Connected, Fault, HandshakeFailure, HelloClass, Offer, Outcome as Probed, ProbeKey, Report,
    Target,
};
use crate::page::{Visitor, Warned, hex};

/// What is sent to origins and offered to clients of the application protocols that can be read.
const READABLE: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A flow that was to be decrypted, or shown a page.
#[derive(Debug, Default)]
pub(super) struct Decrypted {
    /// Whether bytes of the client were read that it had encrypted.
    pub(super) done: bool,
    pub(super) told: Interception,
}

/// An origin that was met by a handshake of our own.
type Met = Connected<Rewind>;

impl Flow<'_> {
    /// Finds out what the origin's certificate is without decrypting anything, and asks the policy
    /// again.
    pub(super) async fn probe(&mut self) -> Result<Outcome, Option<Stage>> {
        let certified = self.probed().await.unwrap_or_else(Certified::unavailable);
        self.learn().certified = Some(Box::new(certified));
        self.decide()
    }

    async fn probed(&self) -> Option<Certified> {
        let probes = self.generation.means.probes.as_ref()?;
        let facts = self.known.facts(&self.generation.policy);
        let key = ProbeKey {
            hello: HelloClass::of(facts.tls_versions, facts.alpn),
            address: self.known.destination,
            name: self.known.name().map(Into::into),
        };
        let asked = self.known.answered.is_some();
        match probes
            .ask(&key, self.known.client.ip(), UnixTime::now())
            .await
        {
            Probed::Report(report) => Some(Certified::of_report(&report, asked)),
            Probed::Failure(failure) => Certified::of_failure(&failure, asked),
            Probed::Unavailable(why) => {
                tracing::debug!(%why, destination = %self.known.destination, "no certificate");
                None
            }
        }
    }

    /// Decrypts a flow, if the policy still says so once the origin is met; returns why it ended.
    pub(super) async fn intercept(&mut self, client: Leg, bytes: Bytes) -> Reason {
        if self.known.is_http() {
            self.verdict = Verdict::Intercept;
            return self.clear_requests(client, bytes, None).await;
        }
        match Box::pin(self.meet()).await {
            Ok(met) => Box::pin(self.decrypt(client, bytes, met)).await,
            Err(judgement) => Box::pin(self.settle(client, bytes, judgement)).await,
        }
    }

    /// Makes a handshake with the origin, and asks the policy whether what it shows changes
    /// anything.
    async fn meet(&mut self) -> Result<Met, Judgement> {
        let Some(origins) = self.generation.means.origins.clone() else {
            return Err(self.give_up());
        };
        let was_decided = self.outcome;
        let Ok(target) = Target::new(self.known.name(), self.known.destination) else {
            return Err(self.give_up());
        };
        let origin = self.dial(true).await.map_err(Judgement::Over)?;
        let facts = self.known.facts(&self.generation.policy);
        let offered: Vec<_> = facts
            .alpn
            .iter()
            .filter(|name| READABLE.contains(name))
            .collect();
        let offer = Offer {
            versions: facts.tls_versions,
            alpn: &offered,
        };
        let identity = self.known.who(&self.generation.policy);
        let stream = Rewind::new(Bytes::new(), origin);
        let began = Instant::now();
        let met = origins
            .connect(stream, &target, Some(&identity), offer, UnixTime::now())
            .await;
        self.worker.metrics.origin_handshake.note(began.elapsed());
        let asked = self.known.answered.is_some();
        let certified = match &met {
            Ok(met) => Some(Certified::of_report(&met.report, asked)),
            Err(failure) => {
                tracing::debug!(%failure, destination = %self.known.destination, "not met");
                Certified::of_failure(failure, asked)
            }
        };
        let shown = match &met {
            Ok(met) => Some(&met.report.certificate),
            Err(failure) => failure.certificate.as_deref(),
        };
        if let Some(shown) = shown {
            let told = &mut self.decrypted_mut().told;
            told.origin = shown.leaf.as_ref().map(|leaf| hex(&leaf.fingerprint));
            told.faults = shown.faults.iter().map(Fault::name).collect();
        }
        if let Ok(met) = &met {
            let agreed = Handshake::of_origin(&met.report.negotiated);
            self.decrypted_mut().told.origin_tls = Some(agreed);
        }
        let failed = certified.is_none();
        self.learn().certified = Some(Box::new(certified.unwrap_or_else(Certified::unavailable)));
        let outcome = match was_decided {
            Some(outcome) => Ok(outcome),
            None => self.decide(),
        };
        if outcome == Err(Some(Stage::Request)) {
            // Another rule may matter, now that the certificate is known.
            self.note_asking();
        }
        match outcome {
            Ok(Outcome::AllowDecrypted | Outcome::Warn | Outcome::WarnDecrypted)
            | Err(Some(Stage::Request)) => {}
            Ok(outcome) => return Err(self.conclude(outcome)),
            Err(_) => return Err(self.give_up()),
        }
        let met = met.map_err(|failure| self.deny(reason_of(&failure)))?;
        if failed {
            return Err(self.give_up());
        }
        let faults = met.report.certificate.faults;
        if faults.contains(Fault::SelfTrust) {
            return Err(self.deny(Reason::OriginHandshakeFailed));
        }
        // What cannot be verified is never decrypted: a leaf of ours could not say so.
        if faults.contains(Fault::RevocationUnknown)
            || faults.contains(Fault::UnknownCriticalExtension)
        {
            return Err(self.deny(Reason::OriginUnverifiable));
        }
        Ok(met)
    }

    /// Meets the client with a leaf, and serves its requests.
    async fn decrypt(&mut self, client: Leg, bytes: Bytes, met: Met) -> Reason {
        let generation = Arc::clone(&self.generation);
        let Some(leaves) = &generation.means.leaves else {
            return Reason::Internal;
        };
        let Some(origin) = leaf_origin(&met.report) else {
            return self
                .without_leaf(client, "its certificate cannot be decoded")
                .await;
        };
        let is_valid = met.report.is_valid();
        let leaf = match self.leaf(leaves, origin) {
            Ok(leaf) => leaf,
            Err(why) => return self.without_leaf(client, &why).await,
        };
        let alpn = met.report.negotiated.alpn.clone();
        let version = met.report.negotiated.tls_version();
        let accepted = self
            .accept(
                leaves,
                client,
                bytes,
                (&leaf, is_valid),
                (version, alpn.as_deref()),
            )
            .await;
        let mut stream = match accepted {
            Ok(stream) => stream,
            Err(reason) => return reason,
        };
        self.verdict = Verdict::Intercept;
        let is_h2 = alpn.as_deref() == Some(b"h2");
        let traffic = met.stream.get_ref().0.get_ref().traffic();
        let client = stream.get_ref().0.traffic();
        let mut first = BytesMut::new();
        if alpn.is_none() {
            // Nobody has said that this will be HTTP.
            let patience = (generation.silent_timeout, generation.hello_timeout);
            first = Box::pin(first_inside(&mut stream, patience)).await;
            if foreign::application(&first) != Some("http") {
                let relay = self.relay_inside((stream, client), (met.stream, traffic), first);
                return Box::pin(relay).await;
            }
        }
        let stream = Prefixed::new(first.freeze(), stream);
        let exchange = self.exchange(Scheme::Https, None);
        match Upstream::begin(met.stream, is_h2, exchange.over()).await {
            Ok(upstream) => exchange.set_upstream(upstream, traffic),
            Err(error) => {
                tracing::debug!(%error, "the origin does not speak HTTP");
                return Reason::OriginReset;
            }
        }
        self.requests((stream, client), exchange, is_h2).await
    }

    /// Shows a page in answer to every request, without asking an origin.
    pub(super) async fn show_page(&mut self, client: Leg, bytes: Bytes) -> Reason {
        if self.known.is_http() {
            let fixed = self.judged_already();
            return self.clear_requests(client, bytes, fixed).await;
        }
        let generation = Arc::clone(&self.generation);
        let Some(leaves) = &generation.means.leaves else {
            return Reason::Internal;
        };
        self.inspected = Some(Inspected {
            by: self.warned_by.or(self.rule),
            because: Because::Page,
        });
        let leaf = match self.leaf(leaves, sluice_mint::Origin::Gateway) {
            Ok(leaf) => leaf,
            Err(why) => return self.without_leaf(client, &why).await,
        };
        let facts = self.known.facts(&generation.policy);
        let alpn = facts
            .alpn
            .iter()
            .find(|name| READABLE.contains(name))
            .map(<[u8]>::to_vec);
        let accepted = self
            .accept(
                leaves,
                client,
                bytes,
                (&leaf, true),
                (None, alpn.as_deref()),
            )
            .await;
        match accepted {
            Ok(stream) => {
                let is_h2 = alpn.as_deref() == Some(b"h2");
                let exchange = self.exchange(Scheme::Https, self.judged_already());
                let client = stream.get_ref().0.traffic();
                self.requests((stream, client), exchange, is_h2).await
            }
            Err(reason) => reason,
        }
    }

    fn leaf(&self, leaves: &Leaves, origin: sluice_mint::Origin) -> Result<Arc<Leaf>, String> {
        let address = self.known.destination.ip().to_string();
        let name = LeafName::parse(self.known.name().unwrap_or(&address))
            .map_err(|error| error.to_string())?;
        let request = LeafRequest {
            client: self.known.client.ip(),
            name,
            origin,
        };
        let began = Instant::now();
        let leaf = leaves
            .minter
            .leaf(&request)
            .map_err(|error| error.to_string());
        self.worker.metrics.mint.note(began.elapsed());
        leaf
    }

    /// There is no leaf to meet the client with.
    async fn without_leaf(&mut self, client: Leg, why: &str) -> Reason {
        tracing::debug!(why, host = self.known.sni(), "no leaf");
        let judgement = self.deny(Reason::LeafUnavailable);
        self.settle(client, Bytes::new(), judgement).await
    }

    /// Makes the handshake with the client, by a leaf that is as valid as what it stands for.
    async fn accept(
        &mut self,
        leaves: &Leaves,
        client: Leg,
        bytes: Bytes,
        (leaf, is_valid): (&Leaf, bool),
        (version, alpn): (Option<TlsVersion>, Option<&[u8]>),
    ) -> Result<tokio_rustls::server::TlsStream<Rewind>, Reason> {
        let shown = leaf.fingerprint.0;
        self.decrypted_mut().told.leaf = Some(hex(&shown));
        let config = {
            let identity = match self.known.visitor(&self.generation.policy) {
                Visitor::User(name) => format!("user {name}"),
                Visitor::Address(address) => address.to_string(),
            };
            let address = self.known.destination.to_string();
            let binding = Binding::of(&Bound {
                identity: &identity,
                host: self.known.name().unwrap_or(&address),
                generation: self.generation.number,
                leaf: &shown,
                alpn,
            });
            let keys = &self.worker.shared.memory.tickets;
            leaves
                .downstream
                .config(Arc::clone(&leaf.certified), version, alpn, (keys, binding))
        };
        let stream = Rewind::new(bytes, client);
        let traffic = stream.traffic();
        let began = Instant::now();
        let patience = self.generation.handshake_timeout;
        let accepted = timeout(patience, TlsAcceptor::from(config).accept(stream)).await;
        self.worker.metrics.client_handshake.note(began.elapsed());
        self.before.1 = traffic.written();
        match accepted {
            Ok(Ok(stream)) => {
                let agreed = Handshake::of_client(stream.get_ref().1);
                let decrypted = self.decrypted_mut();
                decrypted.done = true;
                decrypted.told.client = Some(agreed);
                Ok(stream)
            }
            Ok(Err(error)) => Err(self.note_refusal(&error, is_valid)),
            Err(_) => Err(Reason::ClientHandshakeTimeout),
        }
    }

    /// Remembers that the client refused a leaf that it should have accepted.
    fn note_refusal(&mut self, error: &std::io::Error, is_valid: bool) -> Reason {
        let Refusal::Leaf(alert) = Refusal::of(error) else {
            tracing::debug!(%error, client = %self.known.client, "the client's handshake failed");
            return Reason::ClientHandshakeFailed;
        };
        let alert = alert.map(alert_name);
        self.decrypted_mut().told.alert.clone_from(&alert);
        // Whoever refuses what is to be refused has not refused the CA.
        if !is_valid {
            return Reason::CertificateInvalid;
        }
        self.worker.shared.memory.rejected.note(
            self.known.who(&self.generation.policy),
            self.known.sni(),
            self.known.destination,
            alert.as_deref(),
            (Instant::now(), self.generation.rejected_ttl),
        );
        self.worker
            .metrics
            .rejected_leaves
            .fetch_add(1, Ordering::Relaxed);
        self.decrypted_mut().told.remembered = true;
        Reason::ClientRejectedCa
    }

    fn exchange(&self, scheme: Scheme, fixed: Option<Judged>) -> Exchange {
        let parts = (self.worker, &self.generation, &self.known);
        Exchange::new(parts, scheme, fixed)
    }

    /// What stands for every request of a flow that is shown nothing but a page.
    fn judged_already(&self) -> Option<Judged> {
        Some(Judged {
            outcome: self.outcome,
            rule: self.rule,
            reason: self.reason,
            warned_by: self.warned_by,
        })
    }

    /// Whether a page can be shown to the client.
    pub(super) fn can_show_page(&self) -> bool {
        self.known.is_http() || self.known.is_hello() && self.generation.means.leaves.is_some()
    }

    /// Whether the user has gone on behind the warning of the site of the hello.
    pub(super) fn has_continued(&self) -> bool {
        let (Some(host), Some(rule)) = (self.known.name(), self.warned_by) else {
            return false;
        };
        let Some(rule) = self.generation.policy.rule(rule) else {
            return false;
        };
        let port = self.known.destination.port();
        let Ok(site) = Authority::parse(&format!("{host}:{port}"), Scheme::Https) else {
            return false;
        };
        let warned = Warned {
            visitor: self.known.visitor(&self.generation.policy),
            site: site.as_str(),
            rule: &rule.name,
        };
        let now = unix_seconds(SystemTime::now());
        self.worker
            .shared
            .memory
            .warnings
            .has_continued(&warned, now)
    }

    /// Serves cleartext requests until the connection ends.
    async fn clear_requests(&mut self, client: Leg, bytes: Bytes, fixed: Option<Judged>) -> Reason {
        let exchange = self.exchange(Scheme::Http, fixed);
        let stream = Rewind::new(bytes, client);
        let traffic = stream.traffic();
        self.requests((stream, traffic), exchange, false).await
    }

    /// Serves requests until the connection ends.
    async fn requests<S>(
        &mut self,
        (stream, client): (S, Arc<Traffic>),
        exchange: Exchange,
        is_h2: bool,
    ) -> Reason
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        exchange.set_client(client);
        let exchange = Rc::new(exchange);
        let end = serve(Rc::clone(&exchange), stream, is_h2).await;
        let (to_origin, to_client) = exchange.moved();
        self.before = (self.before.0 + to_origin, to_client);
        self.decrypted_mut().told.requests = exchange.judged();
        end
    }

    pub(super) fn decrypted_mut(&mut self) -> &mut Decrypted {
        self.decrypted.get_or_insert_default()
    }
}

impl Certified {
    /// What a handshake told; `asked` where the origin has answered the client's own hello already,
    /// whose outcome stands.
    fn of_report(report: &Report, asked: bool) -> Self {
        Self {
            tls: (!asked).then_some(Tls::Negotiated),
            version: report.negotiated.tls_version().filter(|_| !asked),
            states: report.certificate.states(),
            issuer: report.certificate.issuer().map(str::to_owned),
            client_certificate: Some(report.negotiated.client_certificate_requested),
        }
    }

    /// What a handshake that failed told; `None` where it failed for no reason of the origin's.
    fn of_failure(failure: &HandshakeFailure, asked: bool) -> Option<Self> {
        let mut why = failure.not_negotiated()?;
        if asked && why.stage() < Stage::Certificate {
            why = NotNegotiated::OriginHandshakeFailed;
        }
        let seen = failure.certificate.as_deref();
        let unavailable = Self::unavailable();
        Some(Self {
            tls: Some(Tls::Not(why)),
            states: seen.map_or(unavailable.states, |seen| seen.states()),
            issuer: seen.and_then(|seen| seen.issuer()).map(str::to_owned),
            client_certificate: Some(failure.client_certificate_requested),
            ..unavailable
        })
    }
}

/// What a leaf takes from an origin's certificate; `None` where that cannot be decoded.
fn leaf_origin(report: &Report) -> Option<sluice_mint::Origin> {
    let leaf = report.certificate.leaf.as_ref()?;
    let certificate = OriginCertificate {
        fingerprint: sluice_mint::Fingerprint(leaf.fingerprint),
        not_before: leaf.not_before,
        not_after: leaf.not_after,
    };
    if report.is_valid() {
        return Some(sluice_mint::Origin::Accepted(certificate));
    }
    let mut faults = sluice_mint::Faults::NONE;
    for fault in report.certificate.faults.iter() {
        faults = faults.with(match fault {
            Fault::Expired => sluice_mint::Faults::EXPIRED,
            Fault::NotYetValid => sluice_mint::Faults::NOT_YET_VALID,
            Fault::NameMismatch => sluice_mint::Faults::NAME_MISMATCH,
            _ => sluice_mint::Faults::UNTRUSTED,
        });
    }
    let names = leaf.names.iter();
    Some(sluice_mint::Origin::Invalid {
        certificate,
        faults,
        names: names
            .filter_map(|name| sluice_mint::PresentedName::parse(name).ok())
            .collect(),
    })
}

fn reason_of(failure: &HandshakeFailure) -> Reason {
    match failure.not_negotiated() {
        Some(why) => why.reason(),
        None => Reason::OriginTimeout,
    }
}
