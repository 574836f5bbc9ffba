//! TLS with the proxy itself.
//!
//! It is ended in front of everything else: a task of its own moves bytes between the client's TLS and
//! one end of a connection over loopback, whose other end is served as if the client had spoken in the
//! clear. So there is one way of serving, with its limits, timeouts and accounting, and a reset of
//! either side is a reset of the other. What it costs is a copy, and another two for the bytes of such
//! tunnels, which cannot be spliced on the client's side anyhow.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use sluice_abi::Reason;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::daemon::generation::Generation;
use crate::daemon::leg::Leg;
use crate::daemon::worker::Worker;
use crate::identity::{Identity, Source};
use crate::intercept::rewind::Rewind;
use crate::intercept::time_up;

/// Bytes of one direction that wait for the other side: a record of TLS.
const BUFFER: usize = 16 << 10;

/// The longest name of a user that is taken from a certificate.
const NAME: usize = 256;

/// Ends TLS with a client; gives the connection on which it speaks in the clear, and who it is by its
/// certificate. `ahead` are bytes of the client's that were read already.
///
/// # Errors
///
/// The handshake failed, or took too long.
pub(super) async fn end(
    worker: &Rc<Worker>,
    generation: &Arc<Generation>,
    config: &Arc<ServerConfig>,
    (leg, ahead): (Leg, Bytes),
) -> Result<(Leg, Option<Arc<Identity>>), Reason> {
    let stream = Rewind::new(ahead, leg);
    let traffic = stream.traffic();
    let began = Instant::now();
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    let accepted = timeout(generation.handshake_timeout, acceptor.accept(stream)).await;
    worker.metrics.client_handshake.note(began.elapsed());
    let mut stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client's handshake with the proxy failed");
            return Err(Reason::ClientHandshakeFailed);
        }
        Err(_) => return Err(Reason::ClientHandshakeTimeout),
    };
    let shown = stream.get_ref().1.peer_certificates();
    let certificate = shown.and_then(|shown| shown.first());
    let identity = certificate.map(|certificate| {
        user_of(certificate).map(|user| {
            Arc::new(Identity {
                user,
                groups: Box::default(),
                source: Source::Certificate,
            })
        })
    });
    // Whoever shows a certificate that names nobody has not said who it is.
    let identity = identity.flatten();
    let (outer, inner) = pair().await.map_err(|error| {
        tracing::warn!(%error, "no connection over loopback, which TLS of the proxy needs");
        Reason::Internal
    })?;
    let (worker, generation) = (Rc::clone(worker), Arc::clone(generation));
    tokio::task::spawn_local(async move {
        let _active = worker.engage();
        let mut outer = outer;
        let moved = {
            let moving =
                copy_bidirectional_with_sizes(&mut stream, outer.stream_mut(), BUFFER, BUFFER);
            tokio::select! {
                moved = moving => moved.is_ok(),
                _ = time_up(&generation.relay, || traffic.sum()) => false,
            }
        };
        if moved {
            outer.finish();
        }
    });
    Ok((inner, identity))
}

/// Two ends of a connection over loopback.
async fn pair() -> io::Result<(Leg, Leg)> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let one = TcpStream::connect(listener.local_addr()?).await?;
    let name = one.local_addr()?;
    let other = loop {
        // Somebody else on this machine may have been quicker.
        let (other, from) = listener.accept().await?;
        if from == name {
            break other;
        }
    };
    one.set_nodelay(true)?;
    other.set_nodelay(true)?;
    Ok((Leg::new(one), Leg::new(other)))
}

/// The user that a certificate names: the one common name of its subject; where there is none, the
/// first address of e-mail, or else DNS name, that it is for.
fn user_of(certificate: &CertificateDer<'_>) -> Option<Box<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut common = certificate.subject().iter_common_name();
    let name = match (common.next(), common.next()) {
        (Some(one), None) => one.as_str().ok()?,
        (Some(_), Some(_)) => return None,
        (None, _) => {
            let names = certificate.subject_alternative_name().ok()??;
            let names = &names.value.general_names;
            let mail = names.iter().find_map(|name| match name {
                GeneralName::RFC822Name(mail) => Some(*mail),
                _ => None,
            });
            let host = || {
                names.iter().find_map(|name| match name {
                    GeneralName::DNSName(host) => Some(*host),
                    _ => None,
                })
            };
            mail.or_else(host)?
        }
    };
    let name = name.trim();
    let is_name = !name.is_empty() && name.len() <= NAME && !name.contains(char::is_control);
    is_name.then(|| name.into())
}
