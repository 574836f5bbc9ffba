//! TLS with the proxy itself.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use rcgen::DnType;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::Pki;
use crate::gateway::{ALLOW, Client, Gateway, echo, mirror};
use crate::lab::{INSPECT, NAME, Origin};

const PROXY: &str = "gateway.example";

/// Files of a listener, and who its clients trust and are.
struct Files {
    folder: tempfile::TempDir,
    pki: Pki,
    clients: Pki,
}

fn pem(label: &str, der: &[u8]) -> String {
    use std::iter;
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = chunk
            .iter()
            .chain(iter::repeat(&0))
            .take(3)
            .fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
        for place in 0..4 {
            let sign = if place <= chunk.len() {
                ALPHABET[(bits >> (18 - 6 * place) & 63) as usize].into()
            } else {
                '='
            };
            text.push(sign);
        }
    }
    let mut lines = String::new();
    for line in text.as_bytes().chunks(64) {
        let _ = writeln!(lines, "{}", std::str::from_utf8(line).unwrap());
    }
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (pki, clients) = (Pki::new("proxies"), Pki::new("clients"));
        let (leaf, key) = pki.leaf(&[PROXY], |_| {});
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("proxy.pem", &pem("CERTIFICATE", &leaf));
        write("proxy.key", &pem("PRIVATE KEY", key.secret_der()));
        write("clients.pem", &clients.pem);
        Self {
            folder,
            pki,
            clients,
        }
    }

    fn keys(&self, client_ca: bool) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let more = if client_ca {
            format!(", client_ca = {:?}", path("clients.pem"))
        } else {
            String::new()
        };
        format!(
            "tls = {{ certificate = {:?}, key = {:?}{more} }}",
            path("proxy.pem"),
            path("proxy.key")
        )
    }

    /// A connection to the proxy, by a client with or without a certificate.
    async fn dial(
        &self,
        gateway: &Gateway,
        own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.pki.root.clone()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((leaf, key)) => builder.with_client_auth_cert(vec![leaf], key).unwrap(),
        };
        let stream = TcpStream::connect(gateway.address).await?;
        let name = ServerName::try_from(PROXY).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Client::over(connector.connect(name, stream).await?))
    }
}

#[test]
fn requests_and_tunnels_go_through_tls_with_the_proxy() {
    let files = Files::new();
    let origin = Origin::plain().scripted(|pipe, _| mirror(pipe));
    let gateway = Gateway::new(&origin, &files.keys(false), ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = files.dial(&gateway, None).await.unwrap();
        let request = format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n\r\n");
        assert_eq!(client.ask(&request).await.status, 200);
        assert_eq!(client.connect("a.example:25").await.status, 502);
        assert_eq!(client.connect(&site).await.status, 200);
        let answer = client.ask("GET /in HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.body.starts_with("GET /in HTTP/1.1"), "{answer:?}");
        // What is no TLS is no client.
        let mut client = gateway.dial().await;
        client.send(request).await;
        let (rest, _) = client.rest().await;
        assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    });
    let (flows, _) = gateway.end();
    let reasons: Vec<_> = flows.iter().map(|flow| flow["end"].clone()).collect();
    assert!(
        reasons.contains(&"client-handshake-failed".into()),
        "{reasons:?}"
    );
    assert!(reasons.contains(&"unresolved-name".into()), "{reasons:?}");
}

#[test]
fn a_large_tunnel_inside_tls_loses_nothing_and_ends_in_order() {
    let files = Files::new();
    let origin = Origin::plain().scripted(|pipe, _| echo(pipe));
    let gateway = Gateway::new(&origin, &files.keys(false), ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = files.dial(&gateway, None).await.unwrap();
        assert_eq!(client.connect(&site).await.status, 200);
        let sent: Vec<u8> = (0..2_000_000_u32).map(|i| (i * 11 % 253) as u8).collect();
        let (mut read, mut write) = tokio::io::split(client.into_stream());
        let expected = sent.clone();
        let writing = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let reading = async {
            let mut all = Vec::new();
            // An end without the word for it would be an error.
            tokio::io::AsyncReadExt::read_to_end(&mut read, &mut all)
                .await
                .unwrap();
            assert!(all == expected, "{} bytes differ", all.len());
        };
        tokio::join!(writing, reading);
    });
    let (flows, _) = gateway.end();
    assert_eq!(flows[0]["to_origin"], 2_000_000);
    assert_eq!(flows[0]["end"], "finished");
}

#[test]
fn tls_inside_tls_is_decrypted_as_any_other() {
    let files = Files::new();
    let gateway = Gateway::new(&Origin::default(), &files.keys(false), INSPECT);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = files.dial(&gateway, None).await.unwrap();
        assert_eq!(client.connect(&site).await.status, 200);
        let config = gateway.lab.trusting_gateway().config;
        let name = ServerName::try_from(NAME).unwrap();
        let inner = TlsConnector::from(Arc::new(config))
            .connect(name, client.into_stream())
            .await
            .unwrap();
        let mut inner = Client::over(inner);
        let request = format!("GET /deep HTTP/1.1\r\nHost: {site}\r\n\r\n");
        assert_eq!(inner.ask(request).await.status, 200);
    });
    let (_, requests) = gateway.end();
    assert_eq!(requests[0]["url"], format!("https://{site}/deep"));
}

#[test]
fn a_certificate_says_who_a_client_is() {
    let files = Files::new();
    let origin = Origin::plain().scripted(|pipe, _| mirror(pipe));
    let gateway = Gateway::new(&origin, &files.keys(true), ALLOW);
    let site = gateway.site(NAME);
    let request = format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n\r\n");
    let common = |name: &'static str| {
        files.clients.leaf(&["carol.example"], move |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            if !name.is_empty() {
                params.distinguished_name.push(DnType::CommonName, name);
            }
        })
    };
    gateway.lab.run(async {
        for name in ["carol", ""] {
            let mut client = files.dial(&gateway, Some(common(name))).await.unwrap();
            assert_eq!(client.ask(&request).await.status, 200);
        }
        let foreign = Pki::new("elsewhere").leaf(&["carol"], |_| {});
        for own in [None, Some(foreign)] {
            // In TLS 1.3 the client learns of it with its first answer.
            let refused = match files.dial(&gateway, own).await {
                Err(_) => true,
                Ok(mut client) => {
                    let _ = client.stream.write_all(request.as_bytes()).await;
                    client.rest().await.0.is_empty()
                }
            };
            assert!(refused);
        }
    });
    let (flows, requests) = gateway.end();
    let users: Vec<_> = requests.iter().map(|one| one["user"].clone()).collect();
    assert_eq!(users, ["carol", "carol.example"]);
    assert_eq!(flows.len(), 2);
}

#[test]
fn whoever_shows_no_certificate_may_say_otherwise_who_it_is() {
    let files = Files::new();
    let origin = Origin::plain().scripted(|pipe, _| mirror(pipe));
    let keys = format!("{}\nidentify = [\"test\"]", files.keys(true));
    let gateway = Gateway::new(&origin, &keys, ALLOW).asking();
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = files.dial(&gateway, None).await.unwrap();
        let request =
            |who: &str| format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n{who}\r\n");
        assert_eq!(client.ask(request("")).await.status, 407);
        let who = "Proxy-Authorization: Test bob\r\n";
        assert_eq!(client.ask(request(who)).await.status, 200);
        // A certificate goes before credentials.
        let own = files.clients.leaf(&["dave"], |params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "dave");
        });
        let mut client = files.dial(&gateway, Some(own)).await.unwrap();
        assert_eq!(client.ask(request(who)).await.status, 200);
    });
    let (_, requests) = gateway.end();
    let users: Vec<_> = requests.iter().map(|one| one["user"].clone()).collect();
    assert_eq!(users[1..], ["bob", "dave"]);
}

#[test]
fn files_that_do_not_fit_are_told() {
    let files = Files::new();
    let check = |keys: &str| {
        let text =
            format!("[gateway]\nlan = [\"lan0\"]\n[[proxy]]\nlisten = [\"127.0.0.1:1\"]\n{keys}\n");
        let file = files.folder.path().join("sluice.toml");
        std::fs::write(&file, text).unwrap();
        let config = sluice_gateway::config::Config::load(Path::new(&file)).unwrap();
        sluice_gateway::proxy::Door::new(&config.proxies[0]).map_err(|error| format!("{error:#}"))
    };
    check(&files.keys(true)).unwrap();
    let keys = files.keys(false);
    let error = check(&keys.replace("proxy.key", "proxy.pem")).unwrap_err();
    assert!(error.contains("holds no private key in PEM"), "{error}");
    let error = check(&keys.replace("proxy.pem", "nothing.pem")).unwrap_err();
    assert!(
        error.contains("nothing.pem cannot be read as PEM"),
        "{error}"
    );
    let (other, _) = files.pki.leaf(&["other"], |_| {});
    let path = files.folder.path().join("other.pem");
    std::fs::write(path, pem("CERTIFICATE", &other)).unwrap();
    let error = check(&keys.replace("proxy.pem", "other.pem")).unwrap_err();
    assert!(error.contains("do not fit together"), "{error}");
}
