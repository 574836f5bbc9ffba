//! What the gateway spends on setting up a connection, beside the cryptography that this takes.
//!
//! The flow code is called as the daemon calls it, on this thread, for connections over loopback;
//! clients and origins are another thread, whose time is not counted: what counts is the processor
//! time of this thread. In the same rounds the handshakes alone are made in memory, and leaves alone
//! are minted; a ratio is taken within its round, to what an intercepted connection cannot be
//! without: one handshake as a server, one as a client and, for a new name, one leaf.
#![expect(
    clippy::expect_used,
    reason = "a contender that cannot be made leaves nothing to compare"
)]

mod bare;

use std::{
    env, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bare::Bare;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::time::{ClockId, clock_gettime};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion,
    client::Resumption,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{Ticketer, kx_group},
    },
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    version::TLS12,
};
use sluice_bench::stats::Summary;
use sluice_gateway::{
    config::Config,
    daemon::{
        flow::{Arrived, serve},
        generation::{Current, Generation},
        guard::Guard,
        limits::Limits,
        metrics::WorkerMetrics,
        record::AccessLog,
        worker::{Shared, Worker},
    },
    intercept::Memory,
    origin::provider,
};
use sluice_mint::{
    AuthorityFiles, Existing, Fingerprint, LeafName, LeafRequest, NewAuthority, Origin,
    OriginCertificate,
};
use sluice_splice::{PipePool, PoolOptions};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions, LocalRuntime},
    sync::{mpsc, oneshot},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Rounds that count. Odd, so that the median is a figure that was measured.
const ROUNDS: usize = 21;

/// Connections, handshakes or leaves of each contender in a round.
const TIMES: usize = 50;

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
enum Speech {
    /// TLS 1.3 with X25519MLKEM768.
    Hybrid,
    /// TLS 1.3 with X25519.
    Classic,
    /// TLS 1.2, which knows no post-quantum group.
    Tls12,
}

impl Speech {
    const ALL: [Self; 3] = [Self::Hybrid, Self::Classic, Self::Tls12];

    fn provider(self) -> Arc<CryptoProvider> {
        let mut provider = provider();
        if self != Self::Hybrid {
            provider.kx_groups = vec![kx_group::X25519];
        }
        Arc::new(provider)
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
}

/// How a client connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
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

    fn name(self, number: usize) -> String {
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
struct Pki {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    root: CertificateDer<'static>,
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

    fn server(&self, speech: Speech) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(speech.provider())
            .with_protocol_versions(speech.versions())
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .expect("a certificate");
        // Sessions outlast however many others there are between.
        config.ticketer = Ticketer::new().expect("random bytes");
        Arc::new(config)
    }
}

fn client(speech: Speech, root: &CertificateDer<'static>, resumes: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a root");
    let mut config = ClientConfig::builder_with_provider(speech.provider())
        .with_protocol_versions(speech.versions())
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

fn server_name(name: String) -> ServerName<'static> {
    ServerName::try_from(name).expect("a name")
}

/// What clients and origins are asked to do.
struct Order {
    kind: Kind,
    first: usize,
    done: oneshot::Sender<()>,
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
        let (over, mut ended) = mpsc::unbounded_channel();
        runtime.block_on(async {
            for (listener, server) in self.listeners.iter().zip(&self.servers) {
                let listener = listener.try_clone().expect("a listener");
                let listener = TcpListener::from_std(listener).expect("a listener");
                let (acceptor, over) = (TlsAcceptor::from(Arc::clone(server)), over.clone());
                tokio::spawn(async move {
                    loop {
                        let (stream, _) = listener.accept().await.expect("a connection");
                        let accepted = acceptor.accept(stream).await;
                        let mut stream = accepted.expect("a handshake with the origin");
                        let resumed = stream.get_ref().1.handshake_kind();
                        read_to_end(&mut stream).await;
                        // A gateway that is gone already needs no farewell.
                        let _ = stream.shutdown().await;
                        let _ = over.send(resumed == Some(HandshakeKind::Resumed));
                    }
                });
            }
            while let Some(order) = orders.recv().await {
                for number in order.first..order.first + TIMES {
                    let resumed = self.connect(order.kind, number).await;
                    let expected = order.kind == Kind::Resumed && number > 0;
                    assert_eq!(resumed, expected, "{:?}: the client", order.kind);
                    let resumed = ended.recv().await.expect("an origin");
                    assert_eq!(resumed, expected, "{:?}: the origin", order.kind);
                }
                // Who has asked waits.
                let _ = order.done.send(());
            }
        });
    }

    async fn connect(&self, kind: Kind, number: usize) -> bool {
        let config = match kind {
            Kind::Spliced => Some(&self.trusting_origins),
            Kind::Resumed => Some(&self.resuming),
            Kind::Warm(speech) | Kind::Cold(speech) => self.clients.get(speech.index()),
        };
        let config = config.expect("a client");
        let stream = TcpStream::connect(self.gateway).await.expect("a gateway");
        let name = server_name(kind.name(number));
        let connected = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        let mut stream = connected.await.expect("a handshake with the gateway");
        let kind = stream.get_ref().1.handshake_kind();
        stream.shutdown().await.expect("an orderly end");
        read_to_end(&mut stream).await;
        kind == Some(HandshakeKind::Resumed)
    }
}

async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    while stream
        .read(&mut buffer)
        .await
        .is_ok_and(|length| length > 0)
    {}
}

/// The gateway, on this thread.
struct Gateway {
    runtime: LocalRuntime,
    worker: Rc<Worker>,
    shared: Arc<Shared>,
    listener: TcpListener,
    origins: Vec<SocketAddr>,
    orders: mpsc::UnboundedSender<Order>,
}

impl Gateway {
    /// Serves so many connections, the first of which has that number; the processor time of each.
    fn serve(&self, kind: Kind, first: usize) -> Duration {
        let (done, mut over) = oneshot::channel();
        let order = Order { kind, first, done };
        assert!(self.orders.send(order).is_ok(), "nobody takes orders");
        let destination = self.origins.get(kind.speech().index()).copied();
        let destination = destination.expect("an origin");
        let begin = thread_time();
        self.runtime.block_on(async {
            for number in first.. {
                let stream = tokio::select! {
                    biased;
                    _ = &mut over => break,
                    accepted = self.listener.accept() => accepted.expect("a connection").0,
                };
                let arrived = Arrived {
                    stream,
                    client: kind.client(number),
                    destination,
                };
                let worker = Rc::clone(&self.worker);
                tokio::task::spawn_local(async move { serve(&worker, arrived).await });
            }
        });
        thread_time() - begin
    }
}

/// Processor time of this thread so far.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

/// What is measured, and what it took in each round.
struct Contender {
    title: String,
    work: Work,
    /// What a round is compared with; none: nothing.
    without: Vec<usize>,
    took: Vec<f64>,
}

enum Work {
    Server(Speech),
    Client(Speech),
    Mint,
    Flow(Kind),
}

struct Bench {
    gateway: Gateway,
    bare: Vec<Bare>,
    /// Connections so far: names and clients are numbered.
    number: usize,
}

impl Bench {
    fn round(&mut self, work: &Work) -> Duration {
        match work {
            Work::Server(speech) => self.shake(*speech).0,
            Work::Client(speech) => self.shake(*speech).1,
            Work::Mint => self.mint(),
            Work::Flow(kind) => {
                let first = self.number + 2;
                self.number += TIMES;
                self.gateway.serve(*kind, first)
            }
        }
    }

    fn shake(&self, speech: Speech) -> (Duration, Duration) {
        let bare = self.bare.get(speech.index()).expect("both ends");
        (0..TIMES).fold(Default::default(), |(server, client), _| {
            let (one, other) = bare.shake();
            (server + one, client + other)
        })
    }

    fn mint(&self) -> Duration {
        let generation = self.gateway.shared.current.get();
        let leaves = generation.means.leaves.as_ref().expect("a CA");
        let begin = thread_time();
        for number in 0..TIMES {
            let name = Kind::Cold(Speech::Hybrid).name(number);
            let request = LeafRequest {
                client: IpAddr::from(Ipv4Addr::LOCALHOST),
                name: LeafName::parse(&name).expect("a name"),
                origin: Origin::Accepted(OriginCertificate {
                    fingerprint: Fingerprint([1; 32]),
                    not_before: 0,
                    not_after: i64::from(u32::MAX),
                }),
            };
            leaves.minter.mint(&request).expect("a leaf");
        }
        thread_time() - begin
    }
}

fn listener() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A configuration that trusts the origins' root, and the certificate of its CA.
fn configured(folder: &Path, pki: &Pki) -> (Config, CertificateDer<'static>) {
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
         mint_rate = \"1000000/s\"\nmint_burst = 1000000\n{RULES}",
        shown("ca.pem"),
        shown("ca.key"),
    );
    std::fs::write(path("sluice.toml"), text).expect("a file");
    (
        Config::load(&path("sluice.toml")).expect("a configuration"),
        ca,
    )
}

fn start() -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let pki = Pki::new();
    let (config, ca) = configured(folder.path(), &pki);
    let shared = Arc::new(Shared {
        current: Current::new(Generation::new(1, &config).expect("a generation")),
        limits: Arc::new(Limits::default()),
        guard: Guard::allowing_loopback(1),
        memory: Memory::new().expect("random bytes"),
        addresses: Default::default(),
        access: AccessLog::new(vec![Box::new(io::sink())]),
        mark: 0,
        capacity: 1000,
        began: Instant::now(),
        ready: AtomicBool::new(true),
    });
    let metrics = Arc::new(WorkerMetrics::new(PipePool::new(PoolOptions::default())));
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
        .build_local(LocalOptions::default())
        .expect("a runtime");
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(own).expect("a listener")
    };
    Bench {
        gateway: Gateway {
            worker: Rc::new(Worker::new(Arc::clone(&shared), metrics)),
            runtime,
            shared,
            listener,
            origins,
            orders,
        },
        bare: Speech::ALL
            .map(|speech| Bare {
                client: client(speech, &pki.root, false),
                server: pki.server(speech),
            })
            .into(),
        number: 0,
    }
}

fn contenders() -> Vec<Contender> {
    let mut all = vec![Contender {
        title: "a leaf, minted".to_owned(),
        work: Work::Mint,
        without: Vec::new(),
        took: Vec::new(),
    }];
    let mut add = |title: String, work, without| {
        all.push(Contender {
            title,
            work,
            without,
            took: Vec::new(),
        });
    };
    for (at, speech) in Speech::ALL.into_iter().enumerate() {
        let (server, client) = (4 * at + 1, 4 * at + 2);
        let word = match speech {
            Speech::Hybrid => "X25519MLKEM768",
            Speech::Classic => "X25519",
            Speech::Tls12 => "TLS 1.2, X25519",
        };
        add(
            format!("{word}: a server's handshake"),
            Work::Server(speech),
            vec![],
        );
        add(
            format!("{word}: a client's handshake"),
            Work::Client(speech),
            vec![],
        );
        let (warm, cold) = (Kind::Warm(speech), Kind::Cold(speech));
        add(
            format!("{word}: intercepted"),
            Work::Flow(warm),
            vec![server, client],
        );
        add(
            format!("{word}: intercepted, a new name"),
            Work::Flow(cold),
            vec![0, server, client],
        );
    }
    add(
        "X25519MLKEM768: intercepted, both legs resumed".to_owned(),
        Work::Flow(Kind::Resumed),
        vec![1, 2],
    );
    add("spliced".to_owned(), Work::Flow(Kind::Spliced), vec![1, 2]);
    all
}

fn main() {
    // Cargo says `--bench`; a word is part of the name of a bench that is asked for.
    let other = |word: String| !word.starts_with('-') && !"handshake".contains(&word);
    if env::args().skip(1).any(other) {
        return;
    }
    let (mut bench, mut contenders) = (start(), contenders());
    // There is a session from here on.
    bench.gateway.serve(Kind::Resumed, 0);
    // The first round warms up and does not count.
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let took = bench.round(&contender.work).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let each = took / TIMES as f64;
            if round > 0 {
                contender.took.push(each);
            }
        }
    }
    println!("| set-up | µs of the gateway's thread | to the handshakes alone |\n|---|---|---|");
    for contender in &contenders {
        let each = Summary::of(contender.took.iter().copied()).expect("rounds");
        let base = |round| {
            let parts = contender.without.iter();
            let took = |part: &usize| contenders.get(*part)?.took.get(round).copied();
            parts.filter_map(took).sum::<f64>()
        };
        let ratios = contender.took.iter().enumerate();
        let ratios = ratios.map(|(round, own)| own / base(round));
        let ratio = Summary::of(ratios.filter(|ratio| ratio.is_finite()));
        let ratio = ratio.map_or(String::new(), |ratio| ratio.to_string());
        println!(
            "| {} | {:.1} | {ratio} |",
            contender.title,
            each.scaled(1e6)
        );
    }
}
