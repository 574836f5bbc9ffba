//! TLS with requests inside: connections that are all new, one request each, and long downloads.
//!
//! No client resumes a session. Both ends offer what the gateway offers, the post-quantum group first.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{
    result::{Bulk, Setup, Short},
    socket::{self, PATIENCE, Source},
    wire::{ANSWER, CHUNK},
};
use crate::{
    proc::{Moment, Watched, cores},
    stats::quantile,
};

/// What the origin's certificate is for, and everything below it.
pub const DOMAIN: &str = "tls.bench.test";
const SHORT: &str = "/short";
const BULK: &str = "/bulk";
/// Bytes of a head that is no longer one of ours.
const HEAD: usize = 4096;

/// Where the keys of an origin are.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The root that clients trust.
    pub root: PathBuf,
    /// The origin's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Keys {
    /// Writes a root and a certificate of P-256 into a directory.
    ///
    /// # Errors
    ///
    /// The files cannot be written.
    pub fn create(directory: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a leaf whose issuer has its own name for one that it signed itself.
        params
            .distinguished_name
            .push(DnType::CommonName, "bench root");
        let key = KeyPair::generate()?;
        let root = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let names = [DOMAIN.to_owned(), format!("*.{DOMAIN}")];
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let keys = Self::beside(&directory.join("origin-root.pem"));
        fs::write(&keys.root, root.pem())?;
        fs::write(&keys.certificate, leaf.pem())?;
        fs::write(&keys.key, key.serialize_pem())?;
        Ok(keys)
    }

    /// Those that were written together with a root.
    #[must_use]
    pub fn beside(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            certificate: root.with_file_name("origin.pem"),
            key: root.with_file_name("origin.key"),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    let hybrid = aws_lc_rs::kx_group::X25519MLKEM768.name();
    provider
        .kx_groups
        .sort_by_key(|group| group.name() != hybrid);
    Arc::new(provider)
}

fn runtime() -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(cores()).enable_all();
    builder.build().context("a runtime")
}

/// Serves requests until the process ends. `ready` runs once, when the listener is there.
///
/// # Errors
///
/// The certificate cannot be used, or the address not be listened on.
pub fn serve(
    address: SocketAddr,
    certificate: &Path,
    key: &Path,
    ready: impl FnOnce(),
) -> Result<()> {
    let chain = vec![CertificateDer::from_pem_file(certificate)?];
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = socket::listener(address).with_context(|| format!("listening on {address}"))?;
    runtime()?.block_on(async {
        let listener = TcpListener::from_std(listener.into())?;
        ready();
        loop {
            let (stream, _) = listener.accept().await?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Clients end as they like.
                let _ = answer(acceptor, stream).await;
            });
        }
    })
}

async fn answer(acceptor: TlsAcceptor, stream: TcpStream) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    while let Some(path) = request(&mut stream).await? {
        if path == SHORT {
            let mut answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {ANSWER}\r\n\r\n").into_bytes();
            answer.resize(answer.len() + ANSWER, b'a');
            stream.write_all(&answer).await?;
        } else {
            let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 1u64 << 50);
            stream.write_all(endless.as_bytes()).await?;
            let noise = vec![b'n'; CHUNK];
            loop {
                stream.write_all(&noise).await?;
            }
        }
        stream.flush().await?;
    }
    stream.shutdown().await?;
    Ok(())
}

/// The path of the next request; none: the client has ended.
async fn request(stream: &mut server::TlsStream<TcpStream>) -> Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
        if head.len() > HEAD {
            bail!("a head too long");
        }
    }
    let line = String::from_utf8_lossy(&head);
    Ok(line.split(' ').nth(1).map(str::to_owned))
}

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// The origin, or the gateway before it.
    pub to: SocketAddr,
    /// Where the connections come from.
    pub source: Source,
    /// The root to trust.
    pub root: PathBuf,
    /// Connections at once.
    pub concurrent: usize,
    /// Whether each connection asks for a name that none before it did.
    pub fresh: bool,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// Length of the measurement.
    pub length: Duration,
}

struct Client {
    connector: TlsConnector,
    plan: Plan,
    /// Names asked for so far.
    names: AtomicU64,
    whole: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Client {
    fn new(plan: Plan) -> Result<Arc<Self>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&plan.root)?)?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(Self {
            connector: TlsConnector::from(Arc::new(config)),
            plan,
            names: AtomicU64::new(0),
            whole: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }))
    }

    fn name(&self) -> String {
        if self.plan.fresh {
            let number = self.names.fetch_add(1, Ordering::Relaxed);
            format!("n{}x{number}.{DOMAIN}", std::process::id())
        } else {
            format!("www.{DOMAIN}")
        }
    }

    /// Connects and asks for a path; what of the answer's body came with its head.
    async fn ask(&self, path: &str) -> Result<(client::TlsStream<TcpStream>, usize)> {
        let socket = socket::begin_connect(self.plan.to, &self.plan.source)?;
        let stream = TcpStream::from_std(socket.into())?;
        stream.writable().await?;
        let host = self.name();
        let name = ServerName::try_from(host.clone())?;
        let mut stream = self.connector.connect(name, stream).await?;
        let port = self.plan.to.port();
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::with_capacity(HEAD);
        let end = loop {
            if stream.read_buf(&mut answer).await? == 0 {
                bail!("no answer");
            }
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            if answer.len() > HEAD {
                bail!("a head too long");
            }
        };
        if !answer.starts_with(b"HTTP/1.1 200") {
            bail!("{}", String::from_utf8_lossy(&answer));
        }
        Ok((stream, answer.len() - end))
    }

    async fn once(&self) -> Result<()> {
        let (mut stream, mut heard) = self.ask(SHORT).await?;
        let mut buffer = [0; ANSWER];
        while heard < ANSWER {
            match stream.read(&mut buffer).await? {
                0 => bail!("the answer ended early"),
                length => heard += length,
            }
        }
        stream.shutdown().await?;
        Ok(())
    }

    async fn again_and_again(self: Arc<Self>) {
        while !self.stop.load(Ordering::Relaxed) {
            let counter = match timeout(PATIENCE, self.once()).await {
                Ok(Ok(())) => &self.whole,
                _ => &self.failed,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn download(self: Arc<Self>) -> Result<()> {
        let (mut stream, _) = self.ask(BULK).await?;
        let mut buffer = vec![0; CHUNK];
        while !self.stop.load(Ordering::Relaxed) {
            match stream.read(&mut buffer).await? {
                0 => bail!("the download ended"),
                length => self.bytes.fetch_add(length as u64, Ordering::Relaxed),
            };
        }
        Ok(())
    }
}

/// Makes new connections, always as many at once as the plan says.
///
/// # Errors
///
/// No connection got its answer.
#[expect(
    clippy::cast_precision_loss,
    reason = "connections of a minute at most"
)]
pub fn short(plan: Plan, watched: &[Watched]) -> Result<Short> {
    let (warm_up, length, concurrent) = (plan.warm_up, plan.length, plan.concurrent);
    let client = Client::new(plan)?;
    runtime()?.block_on(async {
        // Why none succeeds, if so.
        client.once().await?;
        let mut tasks = Vec::new();
        for _ in 0..concurrent {
            tasks.push(tokio::spawn(Arc::clone(&client).again_and_again()));
        }
        sleep(warm_up).await;
        let whole = || client.whole.load(Ordering::Relaxed);
        let (from, start, first) = (Moment::now(watched)?, Instant::now(), whole());
        sleep(length).await;
        let (last, seconds) = (whole(), start.elapsed().as_secs_f64());
        let cpu = from.until(&Moment::now(watched)?, watched);
        client.stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await?;
        }
        let flows = last - first;
        if flows == 0 {
            bail!("no connection got its answer");
        }
        Ok(Short {
            concurrent,
            seconds,
            flows,
            flows_per_second: flows as f64 / seconds,
            failed: client.failed.load(Ordering::Relaxed),
            cpu,
        })
    })
}

/// One new connection after another, each measured from its SYN to the end of the answer.
///
/// # Errors
///
/// A connection failed.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
pub fn setup(plan: Plan, watched: &[Watched]) -> Result<Setup> {
    let (warm_up, length) = (plan.warm_up, plan.length);
    let client = Client::new(plan)?;
    runtime()?.block_on(async {
        let warm = Instant::now();
        client.once().await?;
        while warm.elapsed() < warm_up {
            client.once().await?;
        }
        let mut times = Vec::new();
        let (from, start) = (Moment::now(watched)?, Instant::now());
        while start.elapsed() < length {
            let begun = Instant::now();
            client.once().await?;
            times.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        let cpu = from.until(&Moment::now(watched)?, watched);
        times.sort_unstable();
        let microseconds = |share| quantile(&times, share).map(|time| time as f64 / 1e3);
        Ok(Setup {
            flows: times.len(),
            p50_us: microseconds(0.5).context("no connection in the time given")?,
            p99_us: microseconds(0.99).context("no connection in the time given")?,
            cpu,
        })
    })
}

/// Downloads at full speed.
///
/// # Errors
///
/// A download could not begin, or ended before the warm-up did.
#[expect(clippy::cast_precision_loss, reason = "bytes of a minute at most")]
pub fn bulk(plan: Plan, watched: &[Watched]) -> Result<Bulk> {
    let (warm_up, length, flows) = (plan.warm_up, plan.length, plan.concurrent);
    let client = Client::new(plan)?;
    runtime()?.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..flows {
            tasks.push(tokio::spawn(Arc::clone(&client).download()));
        }
        sleep(warm_up).await;
        if let Some(at) = tasks.iter().position(tokio::task::JoinHandle::is_finished) {
            tasks.swap_remove(at).await??;
        }
        let counted = || client.bytes.load(Ordering::Relaxed);
        let (from, start, first) = (Moment::now(watched)?, Instant::now(), counted());
        sleep(length).await;
        let (last, seconds) = (counted(), start.elapsed().as_secs_f64());
        let cpu = from.until(&Moment::now(watched)?, watched);
        let ended = tasks.iter().filter(|task| task.is_finished());
        let failed = ended.count() as u64;
        client.stop.store(true, Ordering::Relaxed);
        for task in tasks {
            // Whatever becomes of it now does not count.
            let _ = task.await;
        }
        let bytes = last - first;
        Ok(Bulk {
            flows,
            seconds,
            bytes,
            gbit_per_second: bytes as f64 * 8e-9 / seconds,
            failed,
            cpu,
        })
    })
}
