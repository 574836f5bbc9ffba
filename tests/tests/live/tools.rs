//! Real clients of TLS: rustls, curl and openssl.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, StreamOwned, SupportedProtocolVersion, crypto::aws_lc_rs,
    pki_types::ServerName,
};
use sluice_tests::{lab::Lab, pki::Pki};

use crate::support::{connect, said};

/// The name of the origin in all of these.
pub(crate) const NAME: &str = "news.example";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: news.example\r\nConnection: close\r\n\r\n";

/// Asks an origin by rustls over a connection that stands, and returns all that it answered.
pub(crate) fn rustls_over(
    stream: TcpStream,
    pki: &Pki,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<String, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(pki.roots())
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tls = StreamOwned::new(tls, stream);
    tls.write_all(REQUEST).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    match tls.read_to_end(&mut answer) {
        Ok(_) => {}
        // The answer says its own length; whoever serves it need not say farewell.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error.to_string()),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The same, from a client of the first LAN.
pub(crate) fn rustls(
    lab: &Lab,
    from: IpAddr,
    to: SocketAddr,
    pki: &Pki,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<String, String> {
    rustls_over(connect(lab, from, to), pki, versions)
}

/// Asks by curl, of a version of TLS such as "1.3".
pub(crate) fn curl(lab: &Lab, to: SocketAddr, ca: &Path, version: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--max-time", "10"])
        .arg("--connect-to")
        .arg(format!("{NAME}:443:{}:{}", bracketed(to.ip()), to.port()))
        .args([&format!("--tlsv{version}"), "--tls-max", version])
        .arg("--cacert")
        .arg(ca)
        .arg(format!("https://{NAME}/"));
    said(&lab.client().output(&mut curl))
}

/// Asks by openssl, of a version of TLS such as "1.3".
pub(crate) fn openssl(lab: &Lab, to: SocketAddr, ca: &Path, version: &str) -> String {
    let request = lab.dir().join("request");
    std::fs::write(&request, REQUEST).unwrap();
    let mut openssl = Command::new("openssl");
    openssl
        .args(["s_client", "-quiet", "-verify_return_error", "-connect"])
        .arg(format!("{}:{}", bracketed(to.ip()), to.port()))
        .args(["-servername", NAME, "-CAfile"])
        .arg(ca)
        .arg(format!("-tls{}", version.replace('.', "_")))
        .stdin(Stdio::from(File::open(request).unwrap()));
    said(&lab.client().output(&mut openssl))
}

/// An address as it stands before a port.
pub(crate) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}
