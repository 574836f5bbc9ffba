//! Handshakes with origins.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, HandshakeKind};
use sluice_policy::{TlsVersion, TlsVersions};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::counted::Counted;
use super::failure::{Cause, HandshakeFailure, Phase};
use super::judge::Presented;
use super::probes::ProbeKey;
use super::report::{Negotiated, Report};
use super::settings::{Settings, SettingsError};
use super::trust::Trust;
use super::verifier::{EXCHANGE, Exchange, NoCertificate, Verifier};

/// How long the end of a probe may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How many TLS 1.3 tickets are kept for one client and origin.
const TICKETS: usize = 8;

/// Makes handshakes with origins, and judges them. Shared by generations of the policy as long as
/// what they trust is the same ([`Origins::is_like`]); no session survives a change of that.
#[derive(Debug)]
pub struct Origins {
    settings: Settings,
    /// For clients that offer both versions, and for those that offer one.
    both: ClientConfig,
    only12: ClientConfig,
    only13: ClientConfig,
    trust: Arc<Trust>,
    sessions: Option<Mutex<LruCache<SessionKey, Arc<Sessions>>>>,
    answer_timeout: Duration,
    handshake_timeout: Duration,
}

/// Who a client is, for what is kept for it alone: the user, or else the address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Client {
    /// A client of whom nothing but the address is known.
    Address(IpAddr),
    /// A user.
    User(Box<str>),
}

/// Whom a handshake is made with.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// The name that the certificate has to be for; an address where the client named nobody.
    pub name: ServerName<'static>,
    /// Whether the name is sent. An address never is (RFC 6066 section 3).
    pub sni: bool,
    /// The address that is connected to.
    pub address: SocketAddr,
}

impl Target {
    /// The origin of a name at an address, as the client's hello has it; without a name the address
    /// itself, and no SNI.
    ///
    /// # Errors
    ///
    /// When the name cannot be one of a host.
    pub fn new(
        name: Option<&str>,
        address: SocketAddr,
    ) -> Result<Self, rustls::pki_types::InvalidDnsNameError> {
        let name = match name {
            Some(name) => ServerName::try_from(name.to_owned())?,
            None => ServerName::from(address.ip().to_canonical()),
        };
        Ok(Self {
            sni: matches!(name, ServerName::DnsName(_)),
            name,
            address,
        })
    }
}

/// What of a client's offer is passed on. Cipher suites, groups and the rest are sluice's own.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The versions that the client offers: of TLS 1.2 and 1.3 no more than those is offered, and
    /// both where it offers neither.
    pub versions: TlsVersions,
    /// The application protocols to offer, in this order; none: no ALPN extension. Names that cannot
    /// stand in one, because they are empty or longer than 255 bytes, are left out.
    pub alpn: &'a [&'a [u8]],
}

/// Sessions are shared by nobody: not between clients, nor between names on one address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct SessionKey {
    client: Client,
    target: Target,
    offered: Offered,
}

/// Which of TLS 1.2 and 1.3 are offered: no session crosses over.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Offered {
    Both,
    Only12,
    Only13,
}

impl Offered {
    /// What is never offered where the client did not: a version.
    fn of(versions: TlsVersions) -> Self {
        let offers = |version| versions.meets(TlsVersions::of([version]));
        match (offers(TlsVersion::Tls12), offers(TlsVersion::Tls13)) {
            (true, false) => Self::Only12,
            (false, true) => Self::Only13,
            // Who offers neither gets no answer that suits; what the origin is can still be told.
            (true, true) | (false, false) => Self::Both,
        }
    }
}

/// What is kept for one client and one origin.
#[derive(Debug)]
struct Sessions {
    store: Arc<ClientSessionMemoryCache>,
    /// What a resumed session does not tell again. The certificate is judged anew.
    last: Mutex<Option<Last>>,
}

/// What the last whole handshake of a client with an origin told.
#[derive(Clone, Debug)]
struct Last {
    chain: Vec<CertificateDer<'static>>,
    staple: Vec<u8>,
    client_certificate_requested: bool,
}

/// A handshake that was made. Nothing was sent over it yet, and where the report says that the
/// certificate is not valid, nothing is to be sent.
#[derive(Debug)]
pub struct Connected<S> {
    /// The stream to the origin.
    pub stream: TlsStream<Counted<S>>,
    /// What the handshake told.
    pub report: Report,
}

impl Origins {
    /// Loads whom to trust, from the files that the settings name.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or is not what it should be.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let provider = provider();
        let trust = Trust::load(settings, provider.signature_verification_algorithms)?;
        let trust = Arc::new(trust);
        let verifier = Verifier {
            trust: Arc::clone(&trust),
            client_certificate: settings.client_certificate,
        };
        let (provider, verifier) = (Arc::new(provider), Arc::new(verifier));
        let nothing = Arc::new(NoCertificate);
        let base = |versions| {
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
            Ok::<_, rustls::Error>(builder.with_client_cert_resolver(Arc::clone(&nothing) as _))
        };
        Ok(Self {
            settings: settings.clone(),
            both: base(rustls::DEFAULT_VERSIONS)?,
            only12: base(&[&TLS12])?,
            only13: base(&[&TLS13])?,
            trust,
            sessions: NonZeroUsize::new(settings.sessions)
                .map(|limit| Mutex::new(LruCache::new(limit))),
            answer_timeout: settings.answer_timeout,
            handshake_timeout: settings.handshake_timeout,
        })
    }

    /// Whether others were made by the same settings, of files with the same in them.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings && self.trust.has_read_the_same(&other.trust)
    }

    /// Makes a handshake over a connection, with a ClientHello of sluice's own that offers what
    /// `offer` says and, where the target says so, its name. A session with the
    /// same client is resumed where there is one; without a client none is, nor is one kept.
    ///
    /// It succeeds with a certificate that is not valid, too: [`Report::is_valid`] tells. Sends
    /// nothing of an application. Where it is dropped or fails, so is the connection.
    ///
    /// # Errors
    ///
    /// Why there is no handshake.
    pub async fn connect<S>(
        &self,
        stream: S,
        target: &Target,
        client: Option<&Client>,
        offer: Offer<'_>,
        now: UnixTime,
    ) -> Result<Connected<S>, HandshakeFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = Instant::now();
        let answer_by = start + self.answer_timeout.min(self.handshake_timeout);
        let end_by = start + self.handshake_timeout;
        let offered = Offered::of(offer.versions);
        let key = client.map(|client| SessionKey {
            client: client.clone(),
            target: target.clone(),
            offered,
        });
        let sessions = key.as_ref().and_then(|key| self.sessions_of(key));
        let mut config = match offered {
            Offered::Both => self.both.clone(),
            Offered::Only12 => self.only12.clone(),
            Offered::Only13 => self.only13.clone(),
        };
        config.alpn_protocols = offer
            .alpn
            .iter()
            .filter(|name| (1..=usize::from(u8::MAX)).contains(&name.len()))
            .map(|&name| name.to_vec())
            .collect();
        config.enable_sni = target.sni;
        config.time_provider = Arc::new(Fixed(now));
        config.resumption = match &sessions {
            Some(sessions) => Resumption::store(Arc::clone(&sessions.store) as _),
            None => Resumption::disabled(),
        };
        let exchange = Arc::new(Exchange::default());
        let mut handshake =
            TlsConnector::from(Arc::new(config)).connect(target.name.clone(), Counted::new(stream));
        let outcome = EXCHANGE
            .scope(Arc::clone(&exchange), async {
                match timeout_at(answer_by, &mut handshake).await {
                    Ok(outcome) => Ok(outcome),
                    Err(_) if !exchange.noted().heard => Err(Phase::Answer),
                    Err(_) => timeout_at(end_by, &mut handshake)
                        .await
                        .map_err(|_| Phase::Handshake),
                }
            })
            .await;
        let noted = std::mem::take(&mut *exchange.noted());
        let cause = match outcome {
            Ok(Ok(stream)) => {
                let report = self.report(&stream, target, sessions.as_deref(), noted, now)?;
                if !report.is_valid() {
                    self.forget(key.as_ref());
                }
                return Ok(Connected { stream, report });
            }
            Ok(Err(error)) => match noted.refused {
                Some(cause) => cause,
                None => Cause::of(&error, noted.heard),
            },
            Err(phase) => Cause::Timeout(phase),
        };
        Err(HandshakeFailure {
            // Whoever asks, is told that there is none, and ends: wants one.
            cause: match cause {
                Cause::Alert(_) | Cause::NoCommonCipher if noted.requested => {
                    Cause::ClientCertificateRequired
                }
                cause => cause,
            },
            certificate: noted.certificate.map(Box::new),
            client_certificate_requested: noted.requested,
        })
    }

    /// Makes the handshake of a probe over a connection, and ends that in order.
    ///
    /// # Errors
    ///
    /// Why there is no handshake; [`Cause::Local`] where the name cannot be one of a host.
    pub async fn probe<S>(
        &self,
        stream: S,
        key: &ProbeKey,
        now: UnixTime,
    ) -> Result<Report, HandshakeFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let target = Target::new(key.name.as_deref(), key.address)
            .map_err(|_| HandshakeFailure::bare(Cause::Local))?;
        let alpn = key.hello.alpn();
        let offer = Offer {
            versions: key.hello.versions(),
            alpn: &alpn,
        };
        let mut connected = self.connect(stream, &target, None, offer, now).await?;
        // An origin that does not take the farewell keeps nobody from the report.
        let _ = timeout_at(Instant::now() + FAREWELL, connected.stream.shutdown()).await;
        Ok(connected.report)
    }

    fn report<S>(
        &self,
        stream: &TlsStream<Counted<S>>,
        target: &Target,
        sessions: Option<&Sessions>,
        noted: super::verifier::Noted,
        now: UnixTime,
    ) -> Result<Report, HandshakeFailure> {
        let (_, connection) = stream.get_ref();
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let mut client_certificate_requested = noted.requested;
        let certificate = match noted.certificate {
            Some(certificate) => {
                if let Some(sessions) = sessions {
                    *sessions.last() = Some(Last {
                        chain: certificate.chain.clone(),
                        staple: certificate.staple.clone(),
                        client_certificate_requested,
                    });
                }
                certificate
            }
            None => {
                let chain = connection.peer_certificates().unwrap_or_default();
                let Some((leaf, issuers)) = chain.split_first() else {
                    return Err(HandshakeFailure::bare(Cause::Misbehaved));
                };
                let last = sessions.and_then(|sessions| sessions.last().clone());
                client_certificate_requested |= last
                    .as_ref()
                    .is_some_and(|last| last.client_certificate_requested);
                let staple = last
                    .filter(|last| last.chain == chain)
                    .map(|last| last.staple);
                let shown = Presented {
                    leaf,
                    issuers,
                    staple: staple.as_deref().unwrap_or_default(),
                    name: &target.name,
                };
                self.trust.judge(shown, now)
            }
        };
        let (Some(version), Some(suite)) = (
            connection.protocol_version(),
            connection.negotiated_cipher_suite(),
        ) else {
            return Err(HandshakeFailure::bare(Cause::Misbehaved));
        };
        let negotiated = Negotiated {
            version,
            cipher: suite.suite(),
            group: connection
                .negotiated_key_exchange_group()
                .map(|group| group.name()),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            client_certificate_requested,
            stapled: !certificate.staple.is_empty(),
            resumed,
        };
        Ok(Report {
            certificate,
            negotiated,
        })
    }

    fn sessions_of(&self, key: &SessionKey) -> Option<Arc<Sessions>> {
        let mut all = lock(self.sessions.as_ref()?);
        let sessions = all.get_or_insert_ref(key, || {
            Arc::new(Sessions {
                store: Arc::new(ClientSessionMemoryCache::new(TICKETS)),
                last: Mutex::new(None),
            })
        });
        Some(Arc::clone(sessions))
    }

    /// Keeps no session with an origin whose certificate is not valid.
    fn forget(&self, key: Option<&SessionKey>) {
        if let (Some(sessions), Some(key)) = (&self.sessions, key) {
            lock(sessions).pop(key);
        }
    }
}

impl Sessions {
    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        lock(&self.last)
    }
}

/// What it guards is whole after every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cryptography of both legs: what rustls offers by default, the post-quantum group first, and
/// of the cipher suites those of AES-128 and SHA-256, as browsers have them: processors have
/// instructions for that hash and none for SHA-384.
#[must_use]
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    provider
        .kx_groups
        .sort_by_key(|group| group.name() != kx_group::X25519MLKEM768.name());
    provider
}

/// The time that the caller gave.
#[derive(Debug)]
struct Fixed(UnixTime);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}
