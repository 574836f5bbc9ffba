//! The guard on instructions of interception, of the same kind as `icount.rs`, but for this: it counts the
//! gateway as tests have it, not optimised, so that continuous integration builds it once. Counts say
//! nothing of time, but rise with what is done. Keys and nonces are random where cryptography is done, so
//! that those counts vary from run to run, by less than a thousandth.
//!
//! That it can fail was tried: where signatures are not remembered, judging takes 42 % more and the handshakes
//! 11 %; a copy more of what a ticket holds makes sealing take 6 % more.
#![expect(
    clippy::expect_used,
    reason = "a case that cannot be prepared leaves nothing to count"
)]
#![expect(
    missing_docs,
    unused_qualifications,
    reason = "what the macros of gungraun write"
)]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use gungraun::{
    Callgrind, EntryPoint, EventKind, LibraryBenchmarkConfig, library_benchmark,
    library_benchmark_group, main,
};
use http::request::Parts;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime},
    server::ProducesTickets as _,
    sign::CertifiedKey,
};
use sluice_gateway::{
    intercept::{
        client::Downstream,
        tickets::{Binding, Bound, BoundTickets, TicketKeys},
    },
    origin::{Offer, Origins, Report, Settings, Target, provider},
    request::{Expected, Limits, prepare},
};
use sluice_guard::{
    rules,
    work::{NAME, name},
};
use sluice_policy::{Decision, Facts, Policy, Scheme, Scratch, Stage, TlsVersion, TlsVersions};
use tokio::runtime::Runtime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A case that took so many instructions when they were last counted.
fn counted(instructions: u64) -> LibraryBenchmarkConfig {
    within(instructions, EntryPoint::Default)
}

/// The same, of which only the instructions within a function count.
fn within(instructions: u64, entry: EntryPoint) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions / 50;
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(
        Callgrind::with_args(["--cache-sim=no"])
            .hard_limits([(EventKind::Ir, limit)])
            .entry_point(entry),
    );
    config
}

/// What judges a chain.
const JUDGE: &str = "*trust::Trust>::judge*";

/// As large as the state of a session with a certificate of P-256 and its issuer.
const STATE: usize = 1500;

/// What tickets of one connection are made with, and one that was made.
struct Sealing {
    tickets: BoundTickets,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

fn binding() -> Binding {
    Binding::of(&Bound {
        identity: "10.0.0.1",
        host: NAME,
        generation: 1,
        leaf: &[1; 32],
        alpn: Some(b"h2"),
    })
}

fn sealing() -> Box<Sealing> {
    let keys = Arc::new(TicketKeys::new().expect("random bytes"));
    let tickets = BoundTickets::new(keys, binding());
    let plain = vec![7; STATE];
    let sealed = tickets.encrypt(&plain).expect("a ticket");
    Box::new(Sealing {
        tickets,
        plain,
        sealed,
    })
}

#[library_benchmark(setup = sealing)]
// AES-256-GCM of 1,500 bytes, and random bytes for the nonce.
#[bench::seal(config = counted(17_662))]
fn seal(sealing: Box<Sealing>) -> (Vec<u8>, Box<Sealing>) {
    let ticket = sealing.tickets.encrypt(black_box(&sealing.plain));
    (ticket.expect("a ticket"), sealing)
}

#[library_benchmark(setup = sealing)]
// AES-256-GCM of 1,500 bytes under the first key that is tried.
#[bench::open(config = counted(13_330))]
fn open(sealing: Box<Sealing>) -> (Vec<u8>, Box<Sealing>) {
    let plain = sealing.tickets.decrypt(black_box(&sealing.sealed));
    (plain.expect("a session"), sealing)
}

/// A request as a browser sends it, and what it is judged by.
struct Requested {
    parts: Option<Parts>,
    policy: Policy,
    facts: Facts<'static>,
    scratch: Scratch,
}

impl Requested {
    /// What the flow code does with a request before it is forwarded.
    fn judge(&mut self) -> (Decision, Parts) {
        let expected = Expected::Origin {
            host: Some(NAME),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            port: 443,
        };
        let parts = self.parts.take().expect("a request");
        let version = parts.version;
        let prepared = prepare(parts, Scheme::Https, &expected, &Limits::default());
        let prepared = prepared.expect("a plain request");
        let fields = prepared.fields();
        let facts = Facts {
            stage: Stage::Request,
            request: prepared.facts(&fields),
            ..self.facts
        };
        let decision = self.policy.decide(&facts, &mut self.scratch);
        drop(fields);
        (decision, prepared.into_parts(version))
    }
}

fn request() -> Parts {
    let head = http::Request::get("/a/b%7e?c=d")
        .header("host", NAME)
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101",
        )
        .header("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "en-US,en;q=0.5")
        .header("accept-encoding", "gzip, deflate, br, zstd")
        .header("referer", "https://www.site999.example/a/")
        .header("connection", "keep-alive")
        .header("cookie", "session=0123456789abcdef0123456789abcdef");
    head.body(()).expect("a head").into_parts().0
}

fn requested() -> Box<Requested> {
    let set = rules::recipe().expect("rules");
    let mut requested = Box::new(Requested {
        parts: Some(request()),
        policy: Policy::compile_keyed(&set, 1).expect("rules that compile"),
        facts: rules::answered(name()),
        scratch: Scratch::default(),
    });
    let _warm = black_box(requested.judge());
    requested.parts = Some(request());
    requested
}

#[library_benchmark(setup = requested)]
// Eight fields, and a URL with an escape that its normal form does not have.
#[bench::browser(config = counted(155_024))]
fn judge_request(mut requested: Box<Requested>) -> (Decision, Parts, Box<Requested>) {
    let (decision, parts) = requested.judge();
    (decision, parts, requested)
}

/// Both legs in memory: an origin, the gateway's two configurations, and a client.
struct Legs {
    runtime: Runtime,
    origins: Origins,
    target: Target,
    downstream: Downstream,
    leaf: Arc<CertifiedKey>,
    keys: Arc<TicketKeys>,
    origin: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Legs {
    /// A handshake with the origin, by the code of the gateway.
    fn meet(&self) -> Report {
        let offer = Offer {
            versions: TlsVersions::of([TlsVersion::Tls12, TlsVersion::Tls13]),
            alpn: &[b"http/1.1"],
        };
        self.runtime.block_on(async {
            let (near, far) = tokio::io::duplex(64 << 10);
            let acceptor = TlsAcceptor::from(Arc::clone(&self.origin));
            let (met, accepted) = tokio::join!(
                self.origins
                    .connect(near, &self.target, None, offer, UnixTime::now()),
                acceptor.accept(far)
            );
            accepted.expect("a client");
            met.expect("an origin").report
        })
    }

    /// A handshake with the client, by the configuration of the gateway.
    fn greet(&self) {
        self.runtime.block_on(async {
            let (near, far) = tokio::io::duplex(64 << 10);
            let (leaf, keys) = (Arc::clone(&self.leaf), (&self.keys, binding()));
            let version = Some(TlsVersion::Tls13);
            let config = self
                .downstream
                .config(leaf, version, Some(b"http/1.1"), keys);
            let acceptor = TlsAcceptor::from(config);
            let connector = TlsConnector::from(Arc::clone(&self.client));
            let (accepted, connected) = tokio::join!(
                acceptor.accept(near),
                connector.connect(self.target.name.clone(), far)
            );
            accepted.expect("a client");
            connected.expect("a gateway");
        });
    }
}

/// A root, and a leaf for the name that an issuer below the root has signed.
fn chain(root: &Path) -> (Vec<CertificateDer<'static>>, KeyPair) {
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let key = || KeyPair::generate().expect("a key");
    let (root_key, issuer_key, leaf_key) = (key(), key(), key());
    let (root_params, issuer_params) = (ca("root"), ca("issuer"));
    let anchor = root_params.self_signed(&root_key).expect("a root");
    std::fs::write(root, anchor.der()).expect("a file");
    let top = Issuer::new(root_params, root_key);
    let issuer = issuer_params
        .signed_by(&issuer_key, &top)
        .expect("an issuer");
    let below = Issuer::new(issuer_params, issuer_key);
    let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    let leaf = params.signed_by(&leaf_key, &below).expect("a leaf");
    (vec![leaf.der().clone(), issuer.der().clone()], leaf_key)
}

fn legs() -> Box<Legs> {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root.der");
    let (chain, key) = chain(&root);
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let ours = Arc::new(provider());
    let mut origin = ServerConfig::builder_with_provider(Arc::clone(&ours))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.clone(), key.clone_key().into())
        .expect("a certificate");
    origin.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    let anchor = std::fs::read(&root).expect("a root");
    roots.add(CertificateDer::from(anchor)).expect("a root");
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&ours))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let settings = Settings {
        system_roots: false,
        roots: vec![root],
        answer_timeout: Duration::from_secs(600),
        handshake_timeout: Duration::from_secs(600),
        ..Settings::default()
    };
    let signing = ours.key_provider.load_private_key(key.into());
    let legs = Legs {
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime"),
        origins: Origins::new(&settings).expect("roots"),
        target: Target::new(Some(NAME), SocketAddr::from(([192, 0, 2, 1], 443))).expect("a name"),
        downstream: Downstream::new(&ours).expect("versions"),
        leaf: Arc::new(CertifiedKey::new(chain, signing.expect("a key"))),
        keys: Arc::new(TicketKeys::new().expect("random bytes")),
        origin: Arc::new(origin),
        client: Arc::new(client),
    };
    assert!(legs.meet().is_valid());
    legs.greet();
    Box::new(legs)
}

#[library_benchmark(setup = legs)]
// Handshakes of both legs, both ends of each: X25519MLKEM768 four times, four signatures of P-256 made
// or verified, and two certificates' of the client's.
#[bench::both_legs(config = counted(14_123_000))]
fn shake(legs: Box<Legs>) -> (Report, Box<Legs>) {
    let report = legs.meet();
    legs.greet();
    (report, legs)
}

#[library_benchmark(setup = legs)]
// Only judging, the one that prepares the case among it: a chain of two certificates, whose signatures are
// verified the first time and not the second.
#[bench::twice(config = within(3_623_000, EntryPoint::Custom(JUDGE.to_owned())))]
fn judge_chain(legs: Box<Legs>) -> (Report, Box<Legs>) {
    (legs.meet(), legs)
}

library_benchmark_group!(name = tickets, benchmarks = [seal, open]);
library_benchmark_group!(name = requests, benchmarks = judge_request);
library_benchmark_group!(name = handshakes, benchmarks = [shake, judge_chain]);
main!(library_benchmark_groups = tickets, requests, handshakes);
