//! The flow code of the gateway on this thread, and clients and origins on another.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    task::Poll,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::time::{ClockId, clock_gettime};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion,
    client::Resumption,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, Ticketer, kx_group},
    },
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    version::TLS12,
};
use sluice_gateway::{
    config::Config,
    daemon::{
        flow::{Arrived, serve},
        generation::Generation,
        guard::Guard,
        metrics::WorkerMetrics,
        record::AccessLog,
        worker::{Shared, Worker},
    },
    origin::provider,
};
use sluice_mint::{AuthorityFiles, Existing, NewAuthority};
use tokio::{
    io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

/// One client asks for more new names than one in practice does.
pub(super) const UNLIMITED: &str = "mint_rate = \"1000000/s\"\nmint_burst = 1000000";

/// What both ends speak inside TLS.
const ALPN: &[u8] = b"http/1.1";

/// Connections that stand at one time.
const AT_ONCE: usize = 50;

/// The daemon's workers wake at least so often, and look so often at their sockets.
const TICK: Duration = Duration::from_millis(500);
const EVENT_INTERVAL: u32 = 16;

/// How long the gateway may take to notice that a handshake is over.
const SETTLING: Duration = Duration::from_millis(2);

const RULES: &str = r#"
[[rule]]
name = "never looked into"
when = { host = "spliced.origin.example" }
action = "splice"
[[rule]]
name = "look into it"
when = { host = ".origin.example" }
action = "inspect"
[[rule]]
name = "let it through"
action = "allow"
"#;

/// What both ends of a handshake speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Speech {
    /// TLS 1.3 with X25519MLKEM768, and the cipher suites in the gateway's order.
    Hybrid,
    /// The same in the order of rustls' defaults.
    HybridDefaults,
    /// TLS 1.3 with X25519, and the cipher suites in the gateway's order.
    Classic,
    /// rustls' own defaults, untouched: TLS 1.3 with X25519.
    Defaults,
    /// TLS 1.2, which knows no post-quantum group.
    Tls12,
}

impl Speech {
    pub(super) const ALL: [Self; 5] = [
        Self::Hybrid,
        Self::HybridDefaults,
        Self::Classic,
        Self::Defaults,
        Self::Tls12,
    ];

    fn provider(self) -> Arc<CryptoProvider> {
        let ours = provider();
        let mut defaults = aws_lc_rs::default_provider();
        Arc::new(match self {
            Self::Hybrid => ours,
            Self::HybridDefaults => {
                defaults.kx_groups = ours.kx_groups;
                defaults
            }
            Self::Defaults => defaults,
            Self::Classic | Self::Tls12 => CryptoProvider {
                kx_groups: vec![kx_group::X25519],
                ..ours
            },
        })
    }

    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static ONLY_12: [&SupportedProtocolVersion; 1] = [&TLS12];
        match self {
            Self::Tls12 => &ONLY_12,
            _ => rustls::ALL_VERSIONS,
        }
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|one| *one == self).unwrap_or(0)
    }

    /// The one of several that belongs to it.
    pub(super) fn of<T>(self, all: &[T]) -> &T {
        all.get(self.index()).expect("one for each")
    }
}

/// How a client connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Its name is one that no rule has decrypted.
    Spliced,
    /// The leaf is there, and neither leg has a session.
    Warm(Speech),
    /// The name is new.
    Cold(Speech),
    /// Both legs resume a session.
    Resumed,
}

impl Kind {
    const fn speech(self) -> Speech {
        match self {
            Self::Warm(speech) | Self::Cold(speech) => speech,
            Self::Spliced | Self::Resumed => Speech::Hybrid,
        }
    }

    pub(super) fn name(self, number: usize) -> String {
        match self {
            Self::Spliced => "spliced.origin.example".to_owned(),
            Self::Cold(_) => format!("n{number}.origin.example"),
            Self::Warm(_) | Self::Resumed => "www.origin.example".to_owned(),
        }
    }

    /// Whom the gateway takes the client for: sessions with origins belong to one client.
    fn client(self, number: usize) -> SocketAddr {
        let number = match self {
            Self::Resumed => 1,
            _ => u32::try_from(number).unwrap_or(0),
        };
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number);
        (address, 40_000).into()
    }
}

/// A certificate for everything below `origin.example`, its key and its root.
pub(super) struct Pki {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pub(super) root: CertificateDer<'static>,
    pem: String,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root");
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["*.origin.example".to_owned()]).expect("a name");
        let leaf = params.signed_by(&key, &issuer).expect("a leaf");
        Self {
            chain: vec![leaf.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            pem: root.pem(),
            root: root.der().clone(),
        }
    }

    pub(super) fn server(&self, speech: Speech) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(speech.provider())
            .with_protocol_versions(speech.versions())
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .expect("a certificate");
        // Sessions outlast however many others there are between.
        config.ticketer = Ticketer::new().expect("random bytes");
        config.alpn_protocols = vec![ALPN.to_vec()];
        Arc::new(config)
    }
}

pub(super) fn client(
    speech: Speech,
    root: &CertificateDer<'static>,
    resumes: bool,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(speech.provider())
        .with_protocol_versions(speech.versions())
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

pub(super) fn server_name(name: String) -> ServerName<'static> {
    ServerName::try_from(name).expect("a name")
}

/// What clients and origins are asked to do.
struct Order {
    kind: Kind,
    first: usize,
    count: usize,
    /// Told when all of them stand, and that they may end.
    up: oneshot::Sender<()>,
    end: oneshot::Receiver<()>,
    /// Told when they have ended.
    down: oneshot::Sender<()>,
}

/// The processor time of the gateway's thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    /// Until all connections stand.
    pub(super) up: Duration,
    /// From there to the end of the last.
    pub(super) down: Duration,
}

/// Clients and origins, on a thread of their own.
struct Ends {
    gateway: SocketAddr,
    listeners: Vec<std::net::TcpListener>,
    servers: Vec<Arc<ServerConfig>>,
    clients: Vec<Arc<ClientConfig>>,
    trusting_origins: Arc<ClientConfig>,
    resuming: Arc<ClientConfig>,
}

impl Ends {
    fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (noted, mut accepted) = mpsc::unbounded_channel();
        runtime.block_on(async {
            for (listener, server) in self.listeners.iter().zip(&self.servers) {
                let listener = listener.try_clone().expect("a listener");
                let listener = TcpListener::from_std(listener).expect("a listener");
                let (acceptor, noted) = (TlsAcceptor::from(Arc::clone(server)), noted.clone());
                tokio::spawn(async move {
                    loop {
                        let (stream, _) = listener.accept().await.expect("a connection");
                        let (acceptor, noted) = (acceptor.clone(), noted.clone());
                        tokio::spawn(async move {
                            // A gateway that refuses its client ends without a word.
                            let Ok(mut stream) = acceptor.accept(stream).await else {
                                return;
                            };
                            let resumed = stream.get_ref().1.handshake_kind();
                            let _ = noted.send(resumed == Some(HandshakeKind::Resumed));
                            read_to_end(&mut stream).await;
                            // A gateway that is gone already needs no farewell.
                            let _ = stream.shutdown().await;
                        });
                    }
                });
            }
            while let Some(order) = orders.recv().await {
                let mut standing = Vec::new();
                for number in order.first..order.first + order.count {
                    let stream = self.connect(order.kind, number).await;
                    let resumed = stream.get_ref().1.handshake_kind();
                    let expected = order.kind == Kind::Resumed && number > 0;
                    let resumed = resumed == Some(HandshakeKind::Resumed);
                    assert_eq!(resumed, expected, "{:?}: the client", order.kind);
                    let resumed = accepted.recv().await.expect("an origin");
                    assert_eq!(resumed, expected, "{:?}: the origin", order.kind);
                    standing.push(stream);
                }
                sleep(SETTLING).await;
                // Who has asked waits.
                let _ = order.up.send(());
                let _ = order.end.await;
                for mut stream in standing {
                    stream.shutdown().await.expect("an orderly end");
                    read_to_end(&mut stream).await;
                }
                sleep(SETTLING).await;
                let _ = order.down.send(());
            }
        });
    }

    async fn connect(&self, kind: Kind, number: usize) -> TlsStream<TcpStream> {
        let config = match kind {
            Kind::Spliced => &self.trusting_origins,
            Kind::Resumed => &self.resuming,
            Kind::Warm(speech) | Kind::Cold(speech) => speech.of(&self.clients),
        };
        let stream = TcpStream::connect(self.gateway).await.expect("a gateway");
        let name = server_name(kind.name(number));
        let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        let mut stream = connected.await.expect("a handshake with the gateway");
        if kind == Kind::Resumed {
            tickets(&mut stream).await;
        }
        stream
    }
}

/// Reads on until a ticket has come, which brings nothing to read.
async fn tickets(stream: &mut TlsStream<TcpStream>) {
    poll_fn(|cx| {
        let mut byte = [0];
        let read = Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut byte));
        assert!(read.is_pending(), "the gateway says something of its own");
        match stream.get_ref().1.tls13_tickets_received() {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}

pub(super) async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    while stream
        .read(&mut buffer)
        .await
        .is_ok_and(|length| length > 0)
    {}
}

/// The gateway, on this thread.
pub(super) struct Gateway {
    runtime: LocalRuntime,
    worker: Rc<Worker>,
    pub(super) shared: Arc<Shared>,
    listener: Rc<TcpListener>,
    origins: Vec<SocketAddr>,
    orders: mpsc::UnboundedSender<Order>,
    pub(super) address: SocketAddr,
    pub(super) ca: CertificateDer<'static>,
    pub(super) pki: Pki,
    /// Connections so far: names and clients are numbered.
    number: usize,
}

impl Gateway {
    /// A gateway before its ends, with more for its CA's section. Clients have a session that they
    /// can resume.
    pub(super) fn start(minting: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::new();
        let (config, ca) = configured(folder.path(), &pki, minting);
        let shared = Arc::new(Shared {
            capacity: 1000,
            ready: AtomicBool::new(true),
            ..Shared::new(
                Generation::new(1, &config).expect("a generation"),
                Guard::allowing_loopback(1),
                AccessLog::new(vec![Box::new(io::sink())]),
            )
            .expect("random bytes")
        });
        let metrics = Arc::new(WorkerMetrics::default());
        let (own, address) = listener();
        let (listeners, origins) = Speech::ALL.map(|_| listener()).into_iter().unzip();
        let ends = Ends {
            gateway: address,
            listeners,
            servers: Speech::ALL.map(|speech| pki.server(speech)).into(),
            clients: Speech::ALL.map(|speech| client(speech, &ca, false)).into(),
            trusting_origins: client(Speech::Hybrid, &pki.root, false),
            resuming: client(Speech::Hybrid, &ca, true),
        };
        let (orders, taken) = mpsc::unbounded_channel();
        thread::spawn(move || ends.run(taken));
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(EVENT_INTERVAL)
            .build_local(LocalOptions::default())
            .expect("a runtime");
        let listener = {
            let _inside = runtime.enter();
            Rc::new(TcpListener::from_std(own).expect("a listener"))
        };
        let gateway = Self {
            address,
            ca,
            worker: Rc::new(Worker::new(Arc::clone(&shared), metrics)),
            runtime,
            shared,
            listener,
            origins,
            orders,
            pki,
            number: 0,
        };
        gateway.connections(Kind::Resumed, 0, 1);
        gateway
    }

    /// Serves so many new connections.
    pub(super) fn serve(&mut self, kind: Kind, count: usize) -> Took {
        let mut took = Took::default();
        for already in (0..count).step_by(AT_ONCE) {
            let some = AT_ONCE.min(count - already);
            let first = self.number + 2;
            self.number += some;
            let one = self.connections(kind, first, some);
            took = Took {
                up: took.up + one.up,
                down: took.down + one.down,
            };
        }
        took
    }

    fn connections(&self, kind: Kind, first: usize, count: usize) -> Took {
        let ((up, stand), (end, ending), (down, ended)) =
            (oneshot::channel(), oneshot::channel(), oneshot::channel());
        let order = Order {
            kind,
            first,
            count,
            up,
            end: ending,
            down,
        };
        assert!(self.orders.send(order).is_ok(), "nobody takes orders");
        self.runtime.block_on(async {
            let number = Rc::new(Cell::new(first));
            let accept = self.accept(kind.speech(), move |_| {
                kind.client(number.replace(number.get() + 1))
            });
            let accepting = tokio::task::spawn_local(accept);
            let begin = thread_time();
            waited(stand).await;
            let middle = thread_time();
            assert!(end.send(()).is_ok(), "nobody ends connections");
            waited(ended).await;
            accepting.abort();
            Took {
                up: middle - begin,
                down: thread_time() - middle,
            }
        })
    }

    /// Serves whoever comes, as who it is, until told to stop.
    pub(super) fn serve_all(&self, stop: oneshot::Receiver<()>) {
        self.runtime.block_on(async {
            let accept = self.accept(Speech::Hybrid, |client| client);
            let accepting = tokio::task::spawn_local(accept);
            waited(stop).await;
            accepting.abort();
        });
    }

    /// Accepts connections as the daemon does.
    fn accept(
        &self,
        speech: Speech,
        client: impl Fn(SocketAddr) -> SocketAddr + 'static,
    ) -> impl Future<Output = ()> + 'static {
        let (listener, worker) = (Rc::clone(&self.listener), Rc::clone(&self.worker));
        let destination = *speech.of(&self.origins);
        async move {
            loop {
                let (stream, peer) = listener.accept().await.expect("a connection");
                let arrived = Arrived {
                    stream,
                    client: client(peer),
                    destination,
                };
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move { serve(&worker, arrived).await });
            }
        }
    }
}

/// Waits as the daemon does, which wakes now and then.
async fn waited(mut told: oneshot::Receiver<()>) {
    // Who was to tell has panicked, and said why.
    while timeout(TICK, &mut told)
        .await
        .map(|told| told.expect("the ends"))
        .is_err()
    {}
}

/// Processor time of this thread so far.
pub(super) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

fn listener() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A configuration that trusts the origins' root, and the certificate of its CA.
fn configured(folder: &Path, pki: &Pki, minting: &str) -> (Config, CertificateDer<'static>) {
    let path = |name: &str| folder.join(name);
    std::fs::write(path("root.pem"), &pki.pem).expect("a file");
    let files = AuthorityFiles {
        certificate: path("ca.pem"),
        key: path("ca.key"),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("a clock").as_secs().try_into().expect("a time");
    let chain = files.create(&NewAuthority::default(), None, Existing::Keep, now);
    let ca = chain.expect("a CA").signing().der().clone();
    let shown = |name: &str| path(name).display().to_string();
    let text = format!(
        "[gateway]\nlan = [\"lan0\"]\n\
         [upstream]\nsystem_roots = false\nroots = [\"root.pem\"]\n\
         [ca]\ncertificate = \"{}\"\nkey = \"{}\"\n\
         {minting}\n{RULES}",
        shown("ca.pem"),
        shown("ca.key"),
    );
    std::fs::write(path("sluice.toml"), text).expect("a file");
    (
        Config::load(&path("sluice.toml")).expect("a configuration"),
        ca,
    )
}
