//! What commands ask of the daemon that runs, at its admin addresses.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::AdminListener;
use crate::daemon::admin::identity::{Forgetting, IDENTITY, Listing, Mistake, Telling};
use crate::daemon::admin::log_level::{Change, LOG_LEVEL};
use crate::daemon::admin::{Forgotten, LOG, Logged, REJECTED, Remembered};
use crate::daemon::log_level::Shown;
use crate::identity::whois::Whois;
use crate::kernel_state::block_on;

/// Time for one address to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that an answer may have: more than everything that can be remembered.
const LIMIT: usize = 64 << 20;

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The configuration names no address.
    #[error(
        "`listen` in [admin] names no address to ask the daemon at: add \
         \"unix:/run/sluice/admin.sock\" to it, and restart the daemon"
    )]
    Nowhere,
    /// The configuration names no Unix socket, and nothing else is told this.
    #[error(
        "`listen` in [admin] names no Unix socket, where alone the daemon takes orders: add \
         \"unix:/run/sluice/admin.sock\" to it, and restart the daemon"
    )]
    NoSocket,
    /// At none of the addresses somebody answered as the daemon does.
    #[error(
        "no daemon of this version answers at {tried}: start it by `sluice run`, or name the \
         configuration of the one that runs by --config"
    )]
    Unanswered {
        /// The addresses, each with what went wrong.
        tried: String,
    },
    /// The daemon says why it does not do that.
    #[error("the daemon refuses: {0}")]
    Refused(String),
    /// The thread has no runtime to ask with.
    #[error("cannot ask the daemon: {0}")]
    Runtime(String),
}

/// Which refusals of the CA the daemon remembers.
///
/// # Errors
///
/// [`AskError`]: nobody answers.
pub fn rejected(listeners: &[AdminListener]) -> Result<Remembered, AskError> {
    ask(listeners, &Question::new(Method::GET, REJECTED))
}

/// Has the daemon forget who refused the CA.
///
/// # Errors
///
/// [`AskError`]: nobody answers.
pub fn forget_rejected(listeners: &[AdminListener]) -> Result<Forgotten, AskError> {
    ask(listeners, &Question::new(Method::DELETE, REJECTED))
}

/// How the sinks of access records fare.
///
/// # Errors
///
/// [`AskError`]: nobody answers.
pub fn log(listeners: &[AdminListener]) -> Result<Logged, AskError> {
    ask(listeners, &Question::new(Method::GET, LOG))
}

/// Who the daemon believes has an address.
///
/// # Errors
///
/// [`AskError`]: nobody answers, or the daemon knows that nobody can have it.
pub fn whois(listeners: &[AdminListener], address: IpAddr) -> Result<Whois, AskError> {
    let path = format!("{IDENTITY}/{address}");
    ask(listeners, &Question::new(Method::GET, path))
}

/// Up to a thousand of the addresses that stand for somebody, behind `after`.
///
/// # Errors
///
/// [`AskError`]: nobody answers.
pub fn identities(listeners: &[AdminListener], after: Option<IpAddr>) -> Result<Listing, AskError> {
    let path = after.map_or_else(
        || IDENTITY.to_owned(),
        |after| format!("{IDENTITY}?after={after}"),
    );
    ask(listeners, &Question::new(Method::GET, path))
}

/// Tells the daemon who has an address; it answers what it believes from then on.
///
/// # Errors
///
/// [`AskError`]: nobody answers on a Unix socket, or the daemon refuses.
pub fn tell_identity(
    listeners: &[AdminListener],
    address: IpAddr,
    telling: &Telling,
) -> Result<Whois, AskError> {
    let path = format!("{IDENTITY}/{address}");
    order(listeners, Method::PUT, path, telling)
}

/// Has the daemon forget who has an address.
///
/// # Errors
///
/// [`AskError`]: nobody answers on a Unix socket, or the daemon refuses.
pub fn forget_identity(
    listeners: &[AdminListener],
    address: IpAddr,
    forgetting: &Forgetting,
) -> Result<Forgotten, AskError> {
    let path = format!("{IDENTITY}/{address}");
    order(listeners, Method::DELETE, path, forgetting)
}

/// What the daemon logs about itself.
///
/// # Errors
///
/// [`AskError`]: nobody answers.
pub fn log_level(listeners: &[AdminListener]) -> Result<Shown, AskError> {
    ask(listeners, &Question::new(Method::GET, LOG_LEVEL))
}

/// Has the daemon log more or less about itself.
///
/// # Errors
///
/// [`AskError`]: nobody answers on a Unix socket, or the daemon refuses.
pub fn change_log_level(listeners: &[AdminListener], change: &Change) -> Result<Shown, AskError> {
    order(listeners, Method::PUT, LOG_LEVEL.to_owned(), change)
}

/// Has the daemon log what it did when it began.
///
/// # Errors
///
/// [`AskError`]: nobody answers on a Unix socket, or the daemon refuses.
pub fn reset_log_level(listeners: &[AdminListener]) -> Result<Shown, AskError> {
    order(listeners, Method::DELETE, LOG_LEVEL.to_owned(), &())
}

/// The metrics of the daemon, in the text format of Prometheus.
///
/// # Errors
///
/// [`AskError`]: nobody answers.
pub fn metrics(listeners: &[AdminListener]) -> Result<String, AskError> {
    ask_as(listeners, &Question::new(Method::GET, "/metrics"), |body| {
        std::str::from_utf8(body).ok().map(str::to_owned)
    })
}

/// What a daemon is asked.
struct Question {
    method: Method,
    path: String,
    body: Bytes,
}

impl Question {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: Bytes::new(),
        }
    }
}

/// Why one address gave no answer.
enum Failure {
    /// No daemon of this version is there.
    Nobody(String),
    /// The daemon is there, and says why it does not.
    Refused(String),
}

/// What only a Unix socket answers.
fn order<T: DeserializeOwned>(
    listeners: &[AdminListener],
    method: Method,
    path: String,
    body: &impl Serialize,
) -> Result<T, AskError> {
    let is_unix = |listener: &&AdminListener| matches!(listener, AdminListener::Unix(_));
    let listeners: Vec<_> = listeners.iter().filter(is_unix).cloned().collect();
    if listeners.is_empty() {
        return Err(AskError::NoSocket);
    }
    let body = serde_json::to_vec(body).map_err(|error| AskError::Runtime(error.to_string()))?;
    let mut question = Question::new(method, path);
    question.body = body.into();
    ask(&listeners, &question)
}

fn ask<T: DeserializeOwned>(
    listeners: &[AdminListener],
    question: &Question,
) -> Result<T, AskError> {
    ask_as(listeners, question, |body| {
        serde_json::from_slice(body).ok()
    })
}

/// Asks at one address after the other, Unix sockets first: nobody but the daemon's own user can
/// have opened those.
fn ask_as<T>(
    listeners: &[AdminListener],
    question: &Question,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, AskError> {
    if listeners.is_empty() {
        return Err(AskError::Nowhere);
    }
    let mut listeners: Vec<_> = listeners
        .iter()
        .filter(|listener| listener.is_local())
        .collect();
    // Others would want a token, which commands have not.
    if listeners.is_empty() {
        return Err(AskError::Nowhere);
    }
    listeners.sort_by_key(|listener| matches!(listener, AdminListener::Tcp(_)));
    let asking = async {
        let mut tried = Vec::new();
        for listener in listeners {
            match timeout(PATIENCE, ask_one(listener, question, &read)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Failure::Refused(why))) => return Err(AskError::Refused(why)),
                Ok(Err(Failure::Nobody(why))) => tried.push(format!("{listener} ({why})")),
                Err(_) => tried.push(format!("{listener} (no answer within {PATIENCE:?})")),
            }
        }
        Err(AskError::Unanswered {
            tried: tried.join(", "),
        })
    };
    block_on(asking).map_err(|error| AskError::Runtime(format!("{error:#}")))?
}

async fn ask_one<T>(
    listener: &AdminListener,
    question: &Question,
    read: &impl Fn(&[u8]) -> Option<T>,
) -> Result<T, Failure> {
    let nobody = |error: io::Error| Failure::Nobody(error.to_string());
    let body = match listener {
        AdminListener::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(nobody)?;
            exchange(stream, question).await?
        }
        AdminListener::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(nobody)?;
            exchange(stream, question).await?
        }
    };
    read(&body).ok_or_else(|| Failure::Nobody("another answer than a daemon's".into()))
}

async fn exchange<S>(stream: S, question: &Question) -> Result<Bytes, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let nobody = |error: &dyn std::error::Error| Failure::Nobody(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| nobody(&error))?;
    let request = Request::builder()
        .method(&question.method)
        .uri(&question.path)
        .header(HOST, "localhost")
        .body(Full::new(question.body.clone()))
        .map_err(|error| nobody(&error))?;
    let asking = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| nobody(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LIMIT).collect().await;
        let body = body.map_err(|error| Failure::Nobody(error.to_string()))?;
        let body = body.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(match serde_json::from_slice(&body) {
            Ok(Mistake { error }) => Failure::Refused(error),
            Err(_) => Failure::Nobody(format!("status {}", status.as_u16())),
        })
    };
    tokio::pin!(asking);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answer = &mut asking => answer,
        // Who closes the connection may have answered.
        _ = &mut connection => asking.await,
    }
}
