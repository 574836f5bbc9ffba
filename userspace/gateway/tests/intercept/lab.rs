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
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};
use serde_json::Value;
use sluice_gateway::config::Config;
use sluice_gateway::daemon::flow::{Arrived, serve};
use sluice_gateway::daemon::generation::Generation;
use sluice_gateway::daemon::guard::Guard;
use sluice_gateway::daemon::metrics::WorkerMetrics;
use sluice_gateway::daemon::record::AccessLog;
use sluice_gateway::daemon::reload::load;
use sluice_gateway::daemon::worker::{Shared, Worker};
use sluice_mint::{AuthorityFiles, Existing, NewAuthority};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, LocalOptions, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::Pki;
pub(crate) use crate::client::{Client, request, shown};
use crate::part::Part;
use crate::pki;
use crate::schema::assert_follows;

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
struct Kept(Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection, encrypted or not.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
pub(crate) type Pipe = Box<dyn Duplex>;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Script = Arc<dyn Fn(Pipe, Arc<AtomicUsize>) -> Task + Send + Sync>;

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
    /// In the clear.
    pub(crate) plain: bool,
    /// A part of what it should say, in place of all that.
    pub(crate) part: Option<&'static Part>,
    /// How it makes handshakes, in place of what is said above.
    pub(crate) served: Option<Arc<ServerConfig>>,
    /// Its chain is issued by the gateway's own CA.
    pub(crate) is_ours: bool,
    /// More that the gateway trusts.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    /// More of the gateway's `[upstream]`.
    pub(crate) upstream: String,
    /// The gateway does not lead to loopback, as one that is none of a test.
    pub(crate) guarded: bool,
    /// What it does with a connection; without it, it answers with what it was asked. The number is
    /// that of the requests that it has seen.
    pub(crate) script: Option<Script>,
}

impl Origin {
    /// In the clear.
    pub(crate) fn plain() -> Self {
        Self {
            plain: true,
            ..Self::default()
        }
    }

    /// By this protocol alone.
    pub(crate) fn speaking(mut self, alpn: &'static [u8]) -> Self {
        self.alpn = vec![alpn];
        self
    }

    /// Does with its connections what it is told to.
    pub(crate) fn scripted<F>(
        mut self,
        script: impl Fn(Pipe, Arc<AtomicUsize>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.script = Some(Arc::new(move |pipe, requests| {
            Box::pin(script(pipe, requests))
        }));
        self
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            names: vec![NAME, "*.origin.example"],
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: vec![b"h2", b"http/1.1"],
            expired: false,
            plain: false,
            part: None,
            served: None,
            is_ours: false,
            roots: Vec::new(),
            upstream: String::new(),
            guarded: false,
            script: None,
        }
    }
}

/// The lab.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
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
    pub(crate) config: Config,
    guarded: bool,
    drain: Arc<Notify>,
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
        let ca_section = format!(
            "[ca]\ncertificate = {:?}\nkey = {:?}",
            path("ca.pem"),
            path("ca.key"),
        );
        let text = format!(
            "[gateway]\nlan = [\"lan0\"]\n\
             [upstream]\nsystem_roots = false\nroots = {roots:?}\n{}\n{}\n{rules}",
            origin.upstream,
            if has_ca { &ca_section } else { "" },
        );
        std::fs::write(path("sluice.toml"), text).unwrap();
        let config = Config::load(&path("sluice.toml")).unwrap_or_else(|error| panic!("{error}"));
        let kept = Kept::default();
        let shared = share(&config, &kept, origin.guarded);
        let metrics = Arc::new(WorkerMetrics::default());
        let requests = Arc::new(AtomicUsize::new(0));
        let mut lab = Self {
            folder,
            pki,
            ca,
            shared,
            metrics,
            address: ([127, 0, 0, 1], 0).into(),
            origin: ([127, 0, 0, 1], 0).into(),
            requests,
            config,
            guarded: origin.guarded,
            drain: Arc::default(),
            kept,
            stop: Vec::new(),
            threads: Vec::new(),
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
        };
        lab.start_origin(origin);
        lab.start_gateway();
        lab
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
        let (plain, part) = (origin.plain, origin.part);
        let requests = Arc::clone(&self.requests);
        let script = origin.script.clone();
        self.threads.push(std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let serving = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let (acceptor, requests) = (acceptor.clone(), Arc::clone(&requests));
                        let (script, config) = (script.clone(), Arc::clone(&config));
                        tokio::spawn(async move {
                            if let Some(part) = part {
                                return part.say(config, stream).await;
                            }
                            let mut h2 = false;
                            let pipe: Pipe = if plain {
                                Box::new(stream)
                            } else if let Ok(stream) = acceptor.accept(stream).await {
                                h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                                Box::new(stream)
                            } else {
                                return;
                            };
                            match script {
                                Some(script) => script(pipe, requests).await,
                                None => speak(pipe, h2, requests).await,
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
        let drain = Arc::clone(&self.drain);
        self.threads.push(std::thread::spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())
                .unwrap();
            let worker = Rc::new(Worker::new(shared, metrics));
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let draining = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    drain.notified().await;
                    draining.drain();
                });
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
        self.run_within(Duration::from_secs(30), work)
    }

    /// The same, within more time.
    pub(crate) fn run_within<F: Future>(&self, time: Duration, work: F) -> F::Output {
        self.runtime.block_on(async {
            tokio::time::timeout(time, work)
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

    /// Says whether there is room for records.
    pub(crate) fn set_full(&self, full: bool) {
        self.kept.1.store(full, Ordering::SeqCst);
    }

    /// Lets no connection begin another request.
    pub(crate) fn drain(&self) {
        self.drain.notify_one();
    }

    /// Cuts off what is left.
    pub(crate) fn cut_off(&mut self) {
        self.halt();
    }

    /// Reads the configuration's file anew and puts it into force, as the daemon does.
    pub(crate) fn reload(&mut self) -> anyhow::Result<()> {
        let file = self.folder.path().join("sluice.toml");
        let loaded = load(&file, &self.config, &self.shared)?;
        self.config = loaded.put_in_force(&self.shared, |_| Ok::<_, Infallible>(1))?;
        Ok(())
    }

    /// Puts another daemon in the place of this one.
    pub(crate) fn restart(&mut self) {
        self.shared = share(&self.config, &self.kept, self.guarded);
        self.start_gateway();
    }

    /// A connection to the gateway from another address of this machine.
    pub(crate) async fn tcp(&self, from: [u8; 4]) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect(self.address).await
    }

    /// Ends the lab, and returns the records of flows and those of requests.
    pub(crate) fn end(mut self) -> (Vec<Value>, Vec<Value>) {
        self.halt();
        self.shared.access.close();
        let written = self.kept.0.lock().unwrap().clone();
        let records = String::from_utf8(written).unwrap();
        let records = records
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .inspect(assert_follows);
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

fn share(config: &Config, kept: &Kept, guarded: bool) -> Arc<Shared> {
    let guard = if guarded {
        Guard::new(1)
    } else {
        Guard::allowing_loopback(1)
    };
    Arc::new(Shared {
        capacity: 1000,
        ready: AtomicBool::new(true),
        ..Shared::new(
            Generation::new(1, config).unwrap(),
            guard,
            AccessLog::with(&config.log, vec![Box::new(kept.clone())]),
        )
        .unwrap()
    })
}

/// Answers every request with what it was.
async fn speak<S>(stream: S, h2: bool, requests: Arc<AtomicUsize>)
where
    S: Duplex + 'static,
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
