//! Origins of HTTP/1.1 and HTTP/2 over TLS.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ServerConfig, version::TLS12, version::TLS13};
use sluice_tests::{netns::Netns, peer::Peer, pki::Pki};
use tokio_rustls::TlsAcceptor;

/// How long a connection may last.
const LIFETIME: Duration = Duration::from_secs(60);

/// Both versions of TLS, and both of HTTP.
pub(crate) fn modern(pki: &Pki, names: &[&str]) -> Arc<ServerConfig> {
    speaking(pki.server(names, &[&TLS12, &TLS13]))
}

/// The same server, with HTTP/2.
pub(crate) fn speaking(config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Answers every request with its path and its version of HTTP.
pub(crate) fn origin(netns: &Netns, address: SocketAddr, config: &Arc<ServerConfig>) -> Peer {
    let acceptor = TlsAcceptor::from(Arc::clone(config));
    Peer::tcp(netns, address, move |stream, _| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let serving = serve(stream, acceptor.clone());
        // What clients break off is no concern of the tests.
        let _over = runtime.block_on(async { tokio::time::timeout(LIFETIME, serving).await });
    })
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor) {
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(async |request: Request<Incoming>| {
        let text = format!(
            "the news of {} by {:?}\n",
            request.uri().path(),
            request.version()
        );
        let answer = Response::builder()
            .header("content-type", "text/plain")
            .body(Full::new(Bytes::from(text)));
        Ok::<_, Infallible>(answer.unwrap())
    });
    let io = TokioIo::new(stream);
    if is_h2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _gone = builder.serve_connection(io, service).await;
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        let _gone = builder.serve_connection(io, service).await;
    }
}
