//! What commands ask of the daemon that runs, at its admin addresses.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::AdminListener;
use crate::daemon::admin::{Forgotten, LOG, Logged, REJECTED, Remembered};
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
    /// At none of the addresses somebody answered as the daemon does.
    #[error(
        "no daemon of this version answers at {tried}: start it by `sluice run`, or name the \
         configuration of the one that runs by --config"
    )]
    Unanswered {
        /// The addresses, each with what went wrong.
        tried: String,
    },
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
    ask(listeners, &Method::GET, REJECTED)
}

/// Has the daemon forget who refused the CA.
///
/// # Errors
///
/// [`AskError`]: nobody answers.
pub fn forget_rejected(listeners: &[AdminListener]) -> Result<Forgotten, AskError> {
    ask(listeners, &Method::DELETE, REJECTED)
}

/// How the sinks of access records fare.
///
/// # Errors
///
/// [`AskError`]: nobody answers.
pub fn log(listeners: &[AdminListener]) -> Result<Logged, AskError> {
    ask(listeners, &Method::GET, LOG)
}

/// Asks at one address after the other, Unix sockets first: nobody but the daemon's own user can
/// have opened those.
fn ask<T: DeserializeOwned>(
    listeners: &[AdminListener],
    method: &Method,
    path: &'static str,
) -> Result<T, AskError> {
    if listeners.is_empty() {
        return Err(AskError::Nowhere);
    }
    let mut listeners: Vec<_> = listeners.iter().collect();
    listeners.sort_by_key(|listener| matches!(listener, AdminListener::Tcp(_)));
    let asking = async {
        let mut tried = Vec::new();
        for listener in listeners {
            match timeout(PATIENCE, ask_one(listener, method, path)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(why)) => tried.push(format!("{listener} ({why})")),
                Err(_) => tried.push(format!("{listener} (no answer within {PATIENCE:?})")),
            }
        }
        Err(AskError::Unanswered {
            tried: tried.join(", "),
        })
    };
    block_on(asking).map_err(|error| AskError::Runtime(format!("{error:#}")))?
}

async fn ask_one<T: DeserializeOwned>(
    listener: &AdminListener,
    method: &Method,
    path: &'static str,
) -> Result<T, String> {
    let told = |error: io::Error| error.to_string();
    let body = match listener {
        AdminListener::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(told)?;
            exchange(stream, method, path).await?
        }
        AdminListener::Unix(socket) => {
            let stream = UnixStream::connect(socket).await.map_err(told)?;
            exchange(stream, method, path).await?
        }
    };
    serde_json::from_slice(&body).map_err(|_| "another answer than a daemon's".into())
}

async fn exchange<S>(stream: S, method: &Method, path: &'static str) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let told = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "sluice")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(told)?;
        if response.status() != StatusCode::OK {
            return Err(format!("status {}", response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), LIMIT).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    tokio::pin!(asking);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answer = &mut asking => answer,
        // Who closes the connection may have answered.
        _ = &mut connection => asking.await,
    }
}
