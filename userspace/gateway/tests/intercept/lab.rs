//! An origin, the flow code and clients, on loopback and on threads of their own.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::response::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde_json::Value;
use sluice_gateway::config::Config;
use sluice_gateway::daemon::flow::{Arrived, serve};
use sluice_gateway::daemon::generation::{Current, Generation};
use sluice_gateway::daemon::guard::Guard;
use sluice_gateway::daemon::limits::Limits;
use sluice_gateway::daemon::metrics::WorkerMetrics;
use sluice_gateway::daemon::record::AccessLog;
use sluice_gateway::daemon::reload::load;
use sluice_gateway::daemon::worker::{Shared, Worker};
use sluice_gateway::intercept::Memory;
use sluice_mint::{AuthorityFiles, Existing, NewAuthority};
use sluice_splice::{PipePool, PoolOptions};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, Runtime};
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::part::Part;
use crate::pki;

/// Whom most clients ask for.
pub(crate) const NAME: &str = "origin.example";

/// Everything is decrypted, and allowed.
pub(crate) const INSPECT: &str = r#"
[[rule]]
name = "look into it"
when = { host-is-ip = false }
action = "inspect"
[[rule]]
name = "let it through"
action = "allow"
"#;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The authority of origins.
pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) pem: String,
}

impl Pki {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        Self {
            root: own.der().clone(),
            pem: own.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A chain and its key; `change` makes the leaf what it should be.
    pub(crate) fn leaf(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (leaf.der().clone(), PrivateKeyDer::from(key))
    }
}

/// What a raw origin does with a connection.
pub(crate) type Raw = fn(Arc<ServerConfig>, TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an origin speaks.
#[derive(Clone, Copy)]
pub(crate) enum Talk {
    /// HTTP over TLS.
    Https,
    /// HTTP in the clear.
    Http,
    /// Whatever it likes, over the connection as it came.
    Raw(Raw),
    /// A part of what it should say.
    Part(&'static Part),
}

/// Valid for a month around the present.
pub(crate) fn lasting(draft: pki::Draft) -> pki::Draft {
    let now = jiff::Timestamp::now().as_second();
    draft.valid(now - 15 * pki::DAY, now + 15 * pki::DAY)
}

/// What an origin is like.
pub(crate) struct Origin {
    pub(crate) names: Vec<&'static str>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<&'static [u8]>,
    pub(crate) expired: bool,
    pub(crate) talk: Talk,
    /// How it makes handshakes, in place of all that.
    pub(crate) served: Option<Arc<ServerConfig>>,
    /// Its chain is issued by the gateway's own CA.
    pub(crate) is_ours: bool,
    /// More that the gateway trusts.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    /// More of the gateway's `[upstream]`.
    pub(crate) upstream: String,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            names: vec![NAME, "*.origin.example"],
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: vec![b"h2", b"http/1.1"],
            expired: false,
            talk: Talk::Https,
            served: None,
            is_ours: false,
            roots: Vec::new(),
            upstream: String::new(),
        }
    }
}

/// The lab.
pub(crate) struct Lab {
    /// Where `sluice.toml`, `root.pem`, `ca.pem` and `ca.key` are.
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) pki: Arc<Pki>,
    /// The gateway's certificate.
    pub(crate) ca: CertificateDer<'static>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) address: SocketAddr,
    /// Where clients believe that they connect to.
    pub(crate) origin: SocketAddr,
    /// Requests that the origin has seen.
    pub(crate) requests: Arc<AtomicUsize>,
    kept: Kept,
    stop: Vec<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    runtime: Runtime,
}

impl Lab {
    /// A gateway with these rules before an ordinary origin.
    pub(crate) fn new(rules: &str) -> Self {
        Self::before(&Origin::default(), rules)
    }

    /// A gateway with these rules before an origin.
    pub(crate) fn before(origin: &Origin, rules: &str) -> Self {
        Self::build(origin, rules, true)
    }

    /// The same, which has no CA.
    pub(crate) fn without_ca(origin: &Origin, rules: &str) -> Self {
        Self::build(origin, rules, false)
    }

    fn build(origin: &Origin, rules: &str, has_ca: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Arc::new(Pki::new("origins"));
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("root.pem"), &pki.pem).unwrap();
        let files = AuthorityFiles {
            certificate: path("ca.pem"),
            key: path("ca.key"),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = now.as_secs().try_into().unwrap();
        let chain = files
            .create(&NewAuthority::default(), None, Existing::Keep, now)
            .unwrap();
        let ca = chain.signing().der().clone();
        let mut roots = vec!["root.pem".to_owned()];
        for root in &origin.roots {
            let name = format!("root{}.der", roots.len());
            std::fs::write(path(&name), root).unwrap();
            roots.push(name);
        }
        let upstream = &origin.upstream;
        let ca_section = format!(
            "[ca]\ncertificate = {:?}\nkey = {:?}",
            path("ca.pem"),
            path("ca.key"),
        );
        let text = format!(
            "[gateway]\nlan = [\"lan0\"]\n\
             [upstream]\nsystem_roots = false\nroots = {roots:?}\n{upstream}\n\
             {}\n{rules}",
            if has_ca { ca_section } else { String::new() },
        );
        std::fs::write(path("sluice.toml"), text).unwrap();
        let config = Config::load(&path("sluice.toml")).unwrap_or_else(|error| panic!("{error}"));
        let kept = Kept::default();
        let shared = Arc::new(Shared {
            current: Current::new(Generation::new(1, &config).unwrap()),
            limits: Arc::new(Limits::default()),
            guard: Guard::allowing_loopback(1),
            memory: Memory::new().unwrap(),
            access: AccessLog::new(vec![Box::new(kept.clone())]),
            mark: 0,
            capacity: 1000,
            began: Instant::now(),
            ready: AtomicBool::new(true),
        });
        let metrics = Arc::new(WorkerMetrics::new(PipePool::new(PoolOptions::default())));
        let requests = Arc::new(AtomicUsize::new(0));
        let mut lab = Self {
            folder,
            config,
            pki,
            ca,
            shared,
            metrics,
            address: ([127, 0, 0, 1], 0).into(),
            origin: ([127, 0, 0, 1], 0).into(),
            requests,
            kept,
            stop: Vec::new(),
            threads: Vec::new(),
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
        };
        lab.start_origin(origin);
        lab.start_gateway();
        lab
    }

    /// Reads the configuration again and puts it into force, as the daemon does.
    pub(crate) fn reload(&mut self) -> anyhow::Result<()> {
        let file = self.folder.path().join("sluice.toml");
        let loaded = load(&file, &self.config, &self.shared)?;
        self.config = loaded.put_in_force(&self.shared, |_| Ok::<_, Infallible>(1))?;
        Ok(())
    }

    fn start_origin(&mut self, origin: &Origin) {
        let (leaf, key) = self.pki.leaf(&origin.names, |params| {
            if origin.expired {
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(2021, 1, 1);
            }
        });
        let (leaf, key) = match origin.is_ours {
            true => self.of_ours(),
            false => (leaf, key),
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let mut config = ServerConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&origin.versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .unwrap();
        config.alpn_protocols = origin.alpn.iter().map(|name| name.to_vec()).collect();
        let config = match &origin.served {
            Some(served) => Arc::clone(served),
            None => Arc::new(config),
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&config));
        let (listener, stopped) = self.listen();
        self.origin = listener.local_addr().unwrap();
        let (talk, requests) = (origin.talk, Arc::clone(&self.requests));
        self.threads.push(std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let serving = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let (acceptor, requests) = (acceptor.clone(), Arc::clone(&requests));
                        let config = Arc::clone(&config);
                        tokio::spawn(async move {
                            match talk {
                                Talk::Raw(talk) => talk(config, stream).await,
                                Talk::Part(part) => part.say(config, stream).await,
                                Talk::Http => speak(stream, false, requests).await,
                                Talk::Https => {
                                    if let Ok(stream) = acceptor.accept(stream).await {
                                        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                                        speak(stream, h2, requests).await;
                                    }
                                }
                            }
                        });
                    }
                };
                tokio::select! {
                    () = serving => {}
                    _ = stopped => {}
                }
            });
        }));
    }

    /// A leaf as who stole the gateway's key could make it.
    fn of_ours(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let text = std::fs::read_to_string(self.folder.path().join("ca.key")).unwrap();
        let (_, ca) = X509Certificate::from_der(&self.ca).unwrap();
        let key = pki::key();
        let draft = lasting(pki::Draft::leaf(ca.subject().as_raw(), &key));
        (
            draft.sign(&KeyPair::from_pem(&text).unwrap()),
            pki::private(&key),
        )
    }

    fn start_gateway(&mut self) {
        let (listener, stopped) = self.listen();
        self.address = listener.local_addr().unwrap();
        let (shared, metrics) = (Arc::clone(&self.shared), Arc::clone(&self.metrics));
        let destination = self.origin;
        self.threads.push(std::thread::spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())
                .unwrap();
            let worker = Rc::new(Worker::new(shared, metrics));
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let serving = async {
                    loop {
                        let (stream, client) = listener.accept().await.unwrap();
                        let worker = Rc::clone(&worker);
                        let arrived = Arrived {
                            stream,
                            client,
                            destination,
                        };
                        tokio::task::spawn_local(async move { serve(&worker, arrived).await });
                    }
                };
                tokio::select! {
                    () = serving => {}
                    _ = stopped => {}
                }
            });
        }));
    }

    fn listen(&mut self) -> (std::net::TcpListener, oneshot::Receiver<()>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        self.stop.push(stop);
        (listener, stopped)
    }

    /// Runs what clients do, within a time that nothing here needs.
    pub(crate) fn run<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(30), work)
                .await
                .expect("the client hangs")
        })
    }

    /// A client that trusts the gateway's CA alone.
    pub(crate) fn trusting_gateway(&self) -> Client {
        Client::trusting(&self.ca)
    }

    /// A client that trusts the origin's authority alone.
    pub(crate) fn trusting_origins(&self) -> Client {
        Client::trusting(&self.pki.root)
    }

    /// Waits until `count` flows are over.
    pub(crate) fn over(&self, count: u64) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.metrics.kinds().values().sum::<u64>() < count {
            assert!(Instant::now() < until, "{:?}", self.metrics.kinds());
            // What clients have left behind goes on meanwhile.
            self.runtime
                .block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
        }
    }

    /// Ends the lab, and returns the records of flows and those of requests.
    pub(crate) fn end(mut self) -> (Vec<Value>, Vec<Value>) {
        self.halt();
        self.shared.access.close();
        let written = self.kept.0.lock().unwrap().clone();
        let records = String::from_utf8(written).unwrap();
        let records = records
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.partition(|record| record.get("method").is_none())
    }

    fn halt(&mut self) {
        for stop in self.stop.drain(..) {
            let _ = stop.send(());
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for stop in self.stop.drain(..) {
            let _ = stop.send(());
        }
    }
}

/// Answers every request with what it was.
async fn speak<S>(stream: S, h2: bool, requests: Arc<AtomicUsize>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let requests = Arc::clone(&requests);
        async move {
            requests.fetch_add(1, Ordering::SeqCst);
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes());
            let host = match parts.uri.authority() {
                Some(authority) => authority.to_string(),
                None => parts.headers["host"].to_str().unwrap().to_owned(),
            };
            let path = parts.uri.path_and_query().unwrap();
            let text = format!(
                "{} {host} {path} {:?} {}",
                parts.method,
                parts.version,
                String::from_utf8_lossy(&body.unwrap_or_default())
            );
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        }
    });
    let io = TokioIo::new(stream);
    // What clients break off is no concern of the tests.
    if h2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(io, service).await;
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        let _ = builder.serve_connection(io, service).await;
    }
}

/// How a client connects.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) config: ClientConfig,
    pub(crate) name: &'static str,
}

impl Client {
    pub(crate) fn trusting(root: &CertificateDer<'static>) -> Self {
        Self::speaking(root, rustls::DEFAULT_VERSIONS)
    }

    /// One that speaks these versions of TLS.
    pub(crate) fn speaking(
        root: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config, name: NAME }
    }

    pub(crate) fn offering(mut self, alpn: &[&[u8]]) -> Self {
        self.config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        self
    }

    pub(crate) fn asking_for(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Makes a handshake.
    pub(crate) async fn connect(&self, lab: &Lab) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(lab.address).await?;
        let name = ServerName::try_from(self.name).unwrap();
        TlsConnector::from(Arc::new(self.config.clone()))
            .connect(name, stream)
            .await
    }

    /// Makes a handshake and one request by the protocol that was agreed on.
    pub(crate) async fn get(&self, lab: &Lab, path: &str) -> io::Result<Answer> {
        let stream = self.connect(lab).await?;
        Ok(Answer::to(stream, request(lab, self.name, path)).await)
    }
}

/// A GET for a path of a name, as a browser sends it.
pub(crate) fn request(lab: &Lab, name: &str, path: &str) -> Request<Full<Bytes>> {
    let site = format!("{name}:{}", lab.origin.port());
    Request::builder()
        .uri(format!("https://{site}{path}"))
        .header("host", site)
        .header("accept", "text/html,*/*;q=0.8")
        .body(Full::default())
        .unwrap()
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) parts: Parts,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    pub(crate) async fn to(stream: TlsStream<TcpStream>, request: Request<Full<Bytes>>) -> Self {
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let answer = if h2 {
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (mut sender, connection) = builder.handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let (mut parts, body) = request.into_parts();
            parts.uri = parts
                .uri
                .path_and_query()
                .unwrap()
                .as_str()
                .parse()
                .unwrap();
            sender.send_request(Request::from_parts(parts, body)).await
        };
        let (parts, body) = answer.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            parts,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

/// The certificate that a client was shown.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}
