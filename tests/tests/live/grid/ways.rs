//! The ways by which requests reach an origin.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use sluice_tests::family::Family;

use crate::{
    inspected::Inspected,
    support::connect,
    tools::{NAME, bracketed},
};

/// The port of the proxy.
const PROXY: u16 = 3128;

/// How a request comes to the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// Inside TLS with the origin, by the kernel.
    Steered,
    /// Inside TLS with the origin, through a tunnel of a proxy.
    Tunnelled,
    /// In the clear, to a proxy, with its whole URL.
    Named,
}

/// An origin, and how it is reached.
pub(super) type Place = (Way, Family, u8);

/// A proxy, for the configuration.
pub(super) fn proxy() -> String {
    let listen = Family::ALL
        .map(|family| format!("\"{}:{PROXY}\"", bracketed(family.gateway_lan())))
        .join(", ");
    format!("[[proxy]]\nlisten = [{listen}]\nconnect_addresses = \"allow\"\n")
}

/// A client that says bytes, and hears all until the connection ends.
pub(super) struct Client<'a> {
    gateway: &'a Inspected,
    config: Arc<ClientConfig>,
}

impl<'a> Client<'a> {
    pub(super) fn new(gateway: &'a Inspected) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(&gateway.ca).unwrap();
        roots.add(ca).unwrap();
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            gateway,
            config: Arc::new(config),
        }
    }

    /// What a request has in its Host field.
    pub(super) fn host(&self, (way, family, number): Place) -> String {
        match way {
            Way::Steered | Way::Tunnelled => NAME.to_owned(),
            Way::Named => bracketed(family.origin(number)),
        }
    }

    /// What a request names for a path.
    pub(super) fn target(&self, place: Place, path: &str) -> String {
        match place.0 {
            Way::Steered | Way::Tunnelled => path.to_owned(),
            Way::Named => format!("http://{}{path}", self.host(place)),
        }
    }

    /// The statuses of the answers.
    #[track_caller]
    pub(super) fn statuses(&self, what: &str, place: Place, bytes: &[u8]) -> Vec<String> {
        let (way, family, number) = place;
        let lab = &self.gateway.lab;
        let to = family.origin_at(number, 443);
        let proxy = SocketAddr::new(family.gateway_lan(), PROXY);
        match way {
            Way::Steered => {
                let stream = connect(lab, family.other(), to);
                heard(what, self.inside_tls(stream), bytes)
            }
            Way::Tunnelled => {
                let mut stream = connect(lab, family.other(), proxy);
                let connect = format!("CONNECT {to} HTTP/1.1\r\nUser-Agent: test\r\n\r\n");
                stream.write_all(connect.as_bytes()).unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                assert!(head.starts_with(b"HTTP/1.1 200 "), "{what}");
                heard(what, self.inside_tls(stream), bytes)
            }
            Way::Named => heard(what, connect(lab, family.other(), proxy), bytes),
        }
    }

    fn inside_tls(&self, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(NAME).unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        StreamOwned::new(tls, stream)
    }
}

#[track_caller]
fn heard(what: &str, mut stream: impl Read + Write, bytes: &[u8]) -> Vec<String> {
    stream.write_all(bytes).unwrap();
    let mut heard = Vec::new();
    if let Err(error) = stream.read_to_end(&mut heard) {
        let ended = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
        assert!(ended.contains(&error.kind()), "{what} stays open: {error}");
    }
    let heard = String::from_utf8_lossy(&heard).into_owned();
    let answers = heard.split("HTTP/1.1 ").skip(1);
    answers.map(|answer| answer[..3].to_owned()).collect()
}
