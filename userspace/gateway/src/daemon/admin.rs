//! `/metrics`, `/healthz`, `/readyz` and `/api/...`, on a thread of their own.

pub mod identity;
pub mod log_level;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
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

/// Requests in flight; a scraper needs one.
const AT_ONCE: usize = 32;
/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(30);
/// A worker that has had no turn for so long hangs.
const HANGS_AFTER: u64 = 5;

/// Where it is told, and forgotten, which clients refused the CA.
pub const REJECTED: &str = "/api/rejected";

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

/// The way by which a question came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Door {
    /// Anybody on the machine, a page in a browser included, may have asked.
    Tcp,
    /// Whoever the mode of the socket's file lets in.
    Unix,
}

/// The sockets on which questions are answered.
#[derive(Debug)]
pub enum Socket {
    /// A loopback address.
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

/// Answers until the sender is dropped, and closes the sockets then.
///
/// # Errors
///
/// The runtime cannot be made, or does not take the sockets.
pub fn serve(
    sockets: Vec<Socket>,
    sources: Sources,
    until: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exporter = Arc::new(Exporter::new(sources));
    let room = Arc::new(Semaphore::new(AT_ONCE));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for socket in sockets {
            let (exporter, room) = (Arc::clone(&exporter), Arc::clone(&room));
            match socket {
                Socket::Tcp(socket) => {
                    let listener = TcpListener::from_std(socket)?;
                    tasks.spawn(async move {
                        loop {
                            let accepted = listener.accept().await.map(|(stream, _)| stream);
                            answer(accepted, Door::Tcp, &exporter, &room).await;
                        }
                    });
                }
                Socket::Unix(socket) => {
                    let listener = UnixListener::from_std(socket)?;
                    tasks.spawn(async move {
                        loop {
                            let accepted = listener.accept().await.map(|(stream, _)| stream);
                            answer(accepted, Door::Unix, &exporter, &room).await;
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

async fn answer<S>(
    accepted: io::Result<S>,
    door: Door,
    exporter: &Arc<Exporter>,
    room: &Arc<Semaphore>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ok(stream) = accepted else {
        sleep(Duration::from_millis(100)).await;
        return;
    };
    let Ok(place) = Arc::clone(room).acquire_owned().await else {
        return;
    };
    let exporter = Arc::clone(exporter);
    tokio::spawn(async move {
        let service = service_fn(|request: Request<Incoming>| {
            let exporter = Arc::clone(&exporter);
            async move {
                let response = if identity::is_about(request.uri().path()) {
                    identity::respond(request, door, exporter.sources()).await
                } else if request.uri().path() == log_level::LOG_LEVEL {
                    log_level::respond(request, door).await
                } else {
                    respond(&request, &exporter)
                };
                Ok::<_, Infallible>(response)
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        // A client that breaks off asks again.
        let _ = timeout(
            PATIENCE,
            http.serve_connection(TokioIo::new(stream), service),
        )
        .await;
        drop(place);
    });
}

fn respond(request: &Request<Incoming>, exporter: &Exporter) -> Response<Full<Bytes>> {
    let sources = exporter.sources();
    let path = request.uri().path();
    let forgets = path == REJECTED && request.method() == Method::DELETE;
    if !forgets && request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered, and DELETE of /api/rejected\n",
        );
    }
    let rejected = &sources.shared.memory.rejected;
    match path {
        REJECTED if forgets => {
            let forgotten = rejected.clear(Instant::now());
            tracing::info!(forgotten, "forgot the clients that refused the CA");
            json(&Forgotten { forgotten })
        }
        REJECTED => {
            let refusals = rejected.all(Instant::now());
            json(&Remembered {
                remembered: refusals.len(),
                refusals,
            })
        }
        LOG => {
            let access = &sources.shared.access;
            json(&Logged {
                lost: access.lost(),
                refuses: access.refuses(),
                sinks: access.sinks(),
            })
        }
        PROVIDERS => json(&sources.shared.current.get().providers.status()),
        "/metrics" => metrics(request, exporter),
        "/healthz" if is_alive(sources) => plain(StatusCode::OK, "ok\n"),
        "/healthz" => plain(StatusCode::SERVICE_UNAVAILABLE, "a worker hangs\n"),
        "/readyz" if sources.shared.ready.load(Ordering::Relaxed) => {
            plain(StatusCode::OK, "ready\n")
        }
        "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "not accepting flows\n"),
        _ => plain(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz, /readyz, /api/identity, /api/log, /api/log/level, \
             /api/providers and /api/rejected\n",
        ),
    }
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
    let mut response = Response::new(Full::new(text.into()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
