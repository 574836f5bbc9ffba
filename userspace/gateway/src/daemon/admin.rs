//! The page at `/`, `/metrics`, `/healthz`, `/readyz` and `/api/...`, on a thread of their own.
//!
//! Who may ask says [`gate`]; [`summary`], [`api`], [`events`] and [`identity`] answer, and `assets`
//! are the files of the page, which asks the others. `routes` picks one of them.

pub mod api;
mod assets;
mod desk;
pub mod events;
pub mod gate;
pub mod identity;
pub mod log_level;
mod routes;
pub mod summary;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use desk::Desk;
use events::EVENTS;
use gate::{Door, Gate};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::export::{Exporter, Format, Sources};
use super::records::SinkStatus;
use crate::config::AdminListener;
use crate::intercept::rejected::Refusal;

/// Connections at once; a scraper needs one, and a page a few.
const AT_ONCE: usize = 64;
/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much longer one may that events go over; a page comes back.
const LISTENING: Duration = Duration::from_secs(3600);
/// Time for an answer that is under way when the connection's time is over.
const FAREWELL: Duration = Duration::from_secs(5);
/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A worker that has had no turn for so long hangs.
const HANGS_AFTER: u64 = 5;

/// Where it is told, and forgotten, which clients refused the CA.
pub const REJECTED: &str = "/api/rejected";

/// What a browser may do with anything that is answered here: the page and its own files, and nothing
/// from elsewhere (W3C Content Security Policy 3).
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                   img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where it is told how the sinks of access records fare.
pub const LOG: &str = "/api/log";

/// Where it is told how the identity providers fare.
pub const PROVIDERS: &str = "/api/providers";

/// What GET of [`LOG`] answers.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Logged {
    /// Records that are lost since the daemon began.
    pub lost: u64,
    /// Whether new flows are refused because records cannot be written.
    pub refuses: bool,
    /// Every sink.
    pub sinks: Vec<SinkStatus>,
}

/// What GET of [`REJECTED`] answers.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Remembered {
    /// How many refusals are remembered.
    pub remembered: usize,
    /// All of them, the latest first.
    pub refusals: Vec<Refusal>,
}

/// What DELETE of [`REJECTED`] answers.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Forgotten {
    /// How many refusals were remembered until then.
    pub forgotten: usize,
}

type Body = Either<Full<Bytes>, events::Feed>;

/// The sockets on which questions are answered.
#[derive(Debug)]
pub enum Socket {
    /// An address; one that is not loopback needs a gate.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Opens the sockets that the configuration names.
///
/// # Errors
///
/// The address is taken, or the directory of a Unix socket cannot be made.
pub fn open(listeners: &[AdminListener]) -> io::Result<Vec<Socket>> {
    listeners
        .iter()
        .map(|listener| match listener {
            AdminListener::Tcp(address) => {
                let socket = std::net::TcpListener::bind(address)?;
                socket.set_nonblocking(true)?;
                Ok(Socket::Tcp(socket))
            }
            AdminListener::Unix(path) => {
                let socket = open_unix(path)?;
                socket.set_nonblocking(true)?;
                Ok(Socket::Unix(socket))
            }
        })
        .collect()
}

fn open_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // What a daemon before left is removed, and nothing that is not a socket.
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = std::os::unix::net::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(socket)
}

/// Answers at loopback and on Unix sockets until the sender is dropped, and closes the sockets then.
///
/// # Errors
///
/// Those of [`serve_behind`].
pub fn serve(
    sockets: Vec<Socket>,
    sources: Sources,
    until: oneshot::Receiver<()>,
) -> io::Result<()> {
    serve_behind(Gate::default(), sockets, sources, until)
}

/// The same for whomever a gate lets in.
///
/// # Errors
///
/// The runtime cannot be made, or does not take the sockets.
pub fn serve_behind(
    gate: Gate,
    sockets: Vec<Socket>,
    sources: Sources,
    until: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let desk = Arc::new(Desk::new(sources, gate));
    let room = Arc::new(Semaphore::new(AT_ONCE));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        let theirs = Arc::clone(&desk);
        tasks.spawn(async move { theirs.sample().await });
        let theirs = Arc::clone(&desk);
        tasks.spawn(async move { theirs.tell().await });
        for socket in sockets {
            let (desk, room) = (Arc::clone(&desk), Arc::clone(&room));
            match socket {
                Socket::Tcp(socket) => {
                    let listener = TcpListener::from_std(socket)?;
                    let own = listener.local_addr()?;
                    let is_local = own.ip().to_canonical().is_loopback();
                    tasks.spawn(async move {
                        loop {
                            let accepted = listener.accept().await;
                            let door = match &accepted {
                                Ok((_, peer)) if !is_local => Door::Open {
                                    peer: peer.ip(),
                                    tls: desk.gate.tls().is_some(),
                                },
                                _ => Door::Tcp,
                            };
                            let accepted = accepted.map(|(stream, _)| stream);
                            answer(accepted, door, &desk, &room).await;
                        }
                    });
                }
                Socket::Unix(socket) => {
                    let listener = UnixListener::from_std(socket)?;
                    tasks.spawn(async move {
                        loop {
                            let accepted = listener.accept().await.map(|(stream, _)| stream);
                            answer(accepted, Door::Unix, &desk, &room).await;
                        }
                    });
                }
            }
        }
        // Nothing is ever sent: what counts is that the sender is gone.
        let _ = until.await;
        Ok(())
    })
}

async fn answer<S>(accepted: io::Result<S>, door: Door, desk: &Arc<Desk>, room: &Arc<Semaphore>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ok(stream) = accepted else {
        sleep(Duration::from_millis(100)).await;
        return;
    };
    let Ok(place) = Arc::clone(room).acquire_owned().await else {
        return;
    };
    let desk = Arc::clone(desk);
    tokio::spawn(async move {
        match (door, desk.gate.tls()) {
            (Door::Open { tls: true, .. }, Some(acceptor)) => {
                // Whoever shows no certificate that is wanted gets its alert.
                if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    converse(stream, door, &desk).await;
                }
            }
            _ => converse(stream, door, &desk).await,
        }
        drop(place);
    });
}

/// Answers the questions of one connection.
async fn converse<S>(stream: S, door: Door, desk: &Arc<Desk>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let listens = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        if request.uri().path() == EVENTS {
            listens.store(true, Ordering::Relaxed);
        }
        async { Ok::<_, Infallible>(secured(routes::respond(request, door, desk).await)) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // A client that breaks off asks again.
    if timeout(PATIENCE, connection.as_mut()).await.is_ok() {
        return;
    }
    if listens.load(Ordering::Relaxed) && timeout(LISTENING, connection.as_mut()).await.is_ok() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(FAREWELL, connection).await;
}

/// The answer with what keeps a browser from doing with it what it is not for.
fn secured(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", CSP),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn metrics(request: &Request<Incoming>, exporter: &Exporter) -> Response<Full<Bytes>> {
    let accept = request.headers().get_all(ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    match exporter.text(format) {
        Ok(page) => {
            let mut response = Response::new(Full::new(page.into()));
            let kind = HeaderValue::from_static(format.content_type());
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
                .headers_mut()
                .insert(VARY, HeaderValue::from_static("accept"));
            response
        }
        Err(error) => {
            tracing::warn!(%error, "cannot make metrics");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the counters cannot be read\n",
            )
        }
    }
}

/// Whether every worker has had a turn lately.
#[must_use]
pub fn is_alive(sources: &Sources) -> bool {
    let now = sources.shared.uptime();
    sources
        .workers
        .iter()
        .all(|worker| now.saturating_sub(worker.alive.load(Ordering::Relaxed)) < HANGS_AFTER)
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    let Ok(mut text) = serde_json::to_vec(value) else {
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer cannot be written\n",
        );
    };
    text.push(b'\n');
    of_kind(text.into(), "application/json")
}

fn of_kind(content: Bytes, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
