//! Clients of the lab.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::http::response::Parts;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::lab::{Lab, NAME};

/// How a client connects.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) config: ClientConfig,
    pub(crate) name: &'static str,
    from: [u8; 4],
}

impl Client {
    pub(crate) fn trusting(root: &CertificateDer<'static>) -> Self {
        Self::speaking(root, rustls::DEFAULT_VERSIONS)
    }

    /// One that speaks these versions of TLS.
    pub(crate) fn speaking(
        root: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            config,
            name: NAME,
            from: [127, 0, 0, 1],
        }
    }

    pub(crate) fn offering(mut self, alpn: &[&[u8]]) -> Self {
        self.config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        self
    }

    pub(crate) fn asking_for(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// From another address of this machine.
    pub(crate) fn from(mut self, address: [u8; 4]) -> Self {
        self.from = address;
        self
    }

    /// Makes a handshake.
    pub(crate) async fn connect(&self, lab: &Lab) -> io::Result<TlsStream<TcpStream>> {
        let stream = lab.tcp(self.from).await?;
        let name = ServerName::try_from(self.name).unwrap();
        TlsConnector::from(Arc::new(self.config.clone()))
            .connect(name, stream)
            .await
    }

    /// Makes a handshake and one request by the protocol that was agreed on.
    pub(crate) async fn get(&self, lab: &Lab, path: &str) -> io::Result<Answer> {
        let stream = self.connect(lab).await?;
        Ok(Answer::to(stream, request(lab, self.name, path)).await)
    }
}

/// A GET for a path of a name, as a browser sends it.
pub(crate) fn request(lab: &Lab, name: &str, path: &str) -> Request<Full<Bytes>> {
    let site = format!("{name}:{}", lab.origin.port());
    Request::builder()
        .uri(format!("https://{site}{path}"))
        .header("host", site)
        .header("accept", "text/html,*/*;q=0.8")
        .body(Full::default())
        .unwrap()
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) parts: Parts,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.parts.status.as_u16()
    }

    pub(crate) async fn to(stream: TlsStream<TcpStream>, request: Request<Full<Bytes>>) -> Self {
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let answer = if h2 {
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (mut sender, connection) = builder.handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let (mut parts, body) = request.into_parts();
            parts.uri = parts
                .uri
                .path_and_query()
                .unwrap()
                .as_str()
                .parse()
                .unwrap();
            sender.send_request(Request::from_parts(parts, body)).await
        };
        let (parts, body) = answer.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self {
            parts,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

/// The certificate that a client was shown.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}
