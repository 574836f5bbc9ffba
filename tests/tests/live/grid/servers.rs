//! Servers of HTTP/1.1 that people run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sluice_tests::{family::Family, lab::Lab};

use super::sorted;
use crate::{
    inspected::Inspected,
    support::{eventually, tool},
    tools::{NAME, bracketed},
};

/// Where Debian's packages put what the server loads.
const APACHE_MODULES: &str = "/usr/lib/apache2/modules";

const H11: &str = include_str!("h11_server.py");
const AIOHTTP: &str = include_str!("aiohttp_server.py");

const NODE: &str = r"
const http = require('node:http'), https = require('node:https'), fs = require('node:fs');
const [cert, key, log, ...addresses] = process.argv.slice(1);
const leaf = { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
const answer = (request, answer) => {
    fs.appendFileSync(log, `${request.method} ${request.url}\n`);
    request.resume().on('end', () => answer.end('ok\n'));
};
const listen = (server, port, address) => {
    server.on('clientError', (error, socket) => {
        // A body that ends early is what the origin sees of one that was refused.
        const told = ['ECONNRESET', 'HPE_INVALID_EOF_STATE'].includes(error.code);
        if (!told) fs.appendFileSync(log, `malformed ${error.code}\n`);
        socket.destroy();
    });
    server.listen(port, address);
};
for (const address of addresses) {
    listen(http.createServer(answer), 80, address);
    listen(https.createServer(leaf, answer), 443, address);
}
";

/// A server that is a program of its own, which writes a line for each request.
pub(super) struct Origin {
    child: Child,
    log: PathBuf,
    pub(super) name: &'static str,
    pub(super) number: u8,
}

impl Origin {
    pub(super) fn nginx(gateway: &Inspected, number: u8) -> Self {
        let dir = gateway.lab.dir().join("nginx");
        let (cert, key) = leaf(gateway, &dir);
        let [cert, key, log] =
            [cert, key, dir.join("access")].map(|file| file.display().to_string());
        let listen = Family::ALL.map(|family| {
            let address = bracketed(family.origin(number));
            format!("listen {address}:443 ssl;\nlisten {address}:80;")
        });
        let place = dir.display();
        let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {place}/{kind};"));
        let config = format!(
            "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log {place}/error;\n\
             events {{}}\nhttp {{\n{}\nlog_format line '$request_method $request_uri';\n\
             access_log {log} line;\nserver {{\n{}\nssl_certificate {cert};\n\
             ssl_certificate_key {key};\nlocation / {{ return 200 'ok\\n'; }}\n}}\n}}\n",
            bodies.join("\n"),
            listen.join("\n"),
        );
        let file = dir.join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut nginx = Command::new(tool("nginx"));
        nginx.arg("-e").arg(dir.join("error")).arg("-c").arg(file);
        Self::start(&gateway.lab, &mut nginx, log.into(), "nginx", number)
    }

    pub(super) fn node(gateway: &Inspected, number: u8) -> Self {
        let dir = gateway.lab.dir().join("node");
        let (cert, key) = leaf(gateway, &dir);
        let log = dir.join("access");
        let mut node = Command::new(tool("node"));
        node.args(["-e", NODE]).args([cert, key]).arg(&log);
        node.args(Family::ALL.map(|family| family.origin(number).to_string()));
        Self::start(&gateway.lab, &mut node, log, "node", number)
    }

    pub(super) fn apache(gateway: &Inspected, number: u8) -> Self {
        let dir = gateway.lab.dir().join("apache");
        let (cert, key) = leaf(gateway, &dir);
        let log = dir.join("access");
        let listen = Family::ALL.map(|family| {
            let address = bracketed(family.origin(number));
            format!("Listen {address}:443\n")
        });
        let modules = ["mpm_worker", "authz_core", "ssl", "rewrite"]
            .map(|name| format!("LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n"));
        let [place, cert, key, access] =
            [&dir, &cert, &key, &log].map(|file| file.display().to_string());
        // Whatever is asked for, and however, is there.
        let config = format!(
            "ServerRoot {place}\n{}{}ServerName {NAME}\nPidFile {place}/pid\n\
             ErrorLog {place}/error\nUser nobody\nGroup nogroup\nSSLEngine on\n\
             SSLCertificateFile {cert}\nSSLCertificateKeyFile {key}\n\
             SSLSessionCache none\nLogFormat \"%m %U\" line\nCustomLog {access} line\n\
             RewriteEngine on\nRewriteRule ^ - [R=200,L]\n",
            modules.concat(),
            listen.concat(),
        );
        let file = dir.join("apache.conf");
        fs::write(&file, config).unwrap();
        let mut apache = Command::new(tool("apache2"));
        // In one process, which is all that is to be ended.
        apache.arg("-f").arg(file).arg("-X");
        Self::start(&gateway.lab, &mut apache, log, "apache", number)
    }

    /// A server in Python, by one of two libraries that read HTTP themselves.
    pub(super) fn python(gateway: &Inspected, name: &'static str, number: u8) -> Self {
        let dir = gateway.lab.dir().join(name);
        let (cert, key) = leaf(gateway, &dir);
        let log = dir.join("access");
        let program = if name == "h11" { H11 } else { AIOHTTP };
        let mut python = Command::new(tool("python-servers"));
        python.args(["-c", program]).args([cert, key]).arg(&log);
        python.args(Family::ALL.map(|family| family.origin(number).to_string()));
        Self::start(&gateway.lab, &mut python, log, name, number)
    }

    fn start(
        lab: &Lab,
        command: &mut Command,
        log: PathBuf,
        name: &'static str,
        number: u8,
    ) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let origin = Self {
            child: lab.internet().start(command),
            log,
            name,
            number,
        };
        for family in Family::ALL {
            let to = family.origin_at(number, 443);
            eventually(name, || {
                lab.internet()
                    .run(|| std::net::TcpStream::connect(to))
                    .is_ok()
            });
        }
        origin
    }

    /// The requests that it saw, in order of their text.
    pub(super) fn seen(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        sorted(text.lines().map(str::to_owned))
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn leaf(gateway: &Inspected, dir: &Path) -> (PathBuf, PathBuf) {
    let (cert, key) = gateway.pki.leaf_pem(&[NAME]);
    fs::create_dir_all(dir).unwrap();
    let files = (dir.join("leaf.pem"), dir.join("leaf.key"));
    fs::write(&files.0, cert).unwrap();
    fs::write(&files.1, key).unwrap();
    files
}
