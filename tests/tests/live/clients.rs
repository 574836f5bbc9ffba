//! Clients of HTTPS that people use, each asking for one URL.

use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
};

use sluice_tests::lab::Lab;

use crate::tools::bracketed;

/// Whom a client asks, and whom it trusts.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) host: &'a str,
    pub(crate) to: SocketAddr,
    pub(crate) ca: &'a Path,
    pub(crate) path: &'a str,
}

impl Ask<'_> {
    fn run(&self, command: &mut Command) -> Output {
        self.lab.client().output(command)
    }

    fn request(&self) -> Stdio {
        let Self { host, path, .. } = self;
        let file = self.lab.dir().join("request");
        let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        std::fs::write(&file, text).unwrap();
        Stdio::from(File::open(file).unwrap())
    }

    /// By curl, with more options such as `--http1.1`.
    pub(crate) fn curl(&self, options: &[&str]) -> Output {
        let Self { host, path, to, .. } = self;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--max-time", "20"])
            .args(["--noproxy", "*", "--header", "Accept: text/html"])
            .arg("--connect-to")
            .arg(format!("{host}:443:{}:{}", bracketed(to.ip()), to.port()))
            .arg("--cacert")
            .arg(self.ca)
            .args(options)
            .arg(format!("https://{host}{path}"));
        self.run(&mut curl)
    }

    /// By `openssl s_client`, which tells of the chain and prints the answer.
    pub(crate) fn openssl(&self, options: &[&str]) -> Output {
        let to = format!("{}:{}", bracketed(self.to.ip()), self.to.port());
        let mut openssl = Command::new("openssl");
        openssl
            .args(["s_client", "-ign_eof", "-verify_return_error"])
            .args(["-connect", &to, "-servername", self.host])
            .args(["-verify_hostname", self.host, "-CAfile"])
            .arg(self.ca)
            .args(options)
            .stdin(self.request());
        self.run(&mut openssl)
    }

    /// By `gnutls-cli`.
    pub(crate) fn gnutls(&self) -> Output {
        let mut gnutls = Command::new("gnutls-cli");
        gnutls
            .args(["--port", &self.to.port().to_string()])
            .args(["--sni-hostname", self.host, "--verify-hostname", self.host])
            .arg("--x509cafile")
            .arg(self.ca)
            .arg(self.to.ip().to_string())
            .stdin(self.request());
        self.run(&mut gnutls)
    }

    /// By `urllib` of Python.
    pub(crate) fn python(&self) -> Output {
        const SCRIPT: &str = r"
import socket, ssl, sys, urllib.error, urllib.request
address, port, ca, url = sys.argv[1:]
connect = socket.create_connection
socket.create_connection = lambda to, *more, **named: connect((address, int(port)), 20)
context = ssl.create_default_context(cafile=ca)
handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
try:
    answer = urllib.request.build_opener(*handlers).open(url)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
";
        let mut python = Command::new("python3");
        python
            .args(["-c", SCRIPT, &self.to.ip().to_string()])
            .arg(self.to.port().to_string())
            .arg(self.ca)
            .arg(format!("https://{}{}", self.host, self.path));
        self.run(&mut python)
    }
}
