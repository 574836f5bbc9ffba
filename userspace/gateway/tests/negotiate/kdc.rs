//! A KDC of the test's own, and tickets of its users.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub(crate) const REALM: &str = "SLUICE.TEST";

/// Ends with the value, its files with the folder.
pub(crate) struct Kdc(Child);

impl Drop for Kdc {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where everything of the KDC and its users is.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// A program of Kerberos, or one that asks it, with this KDC as all that it knows.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("KRB5_CONFIG", self.file("krb5.conf"))
            .env("KRB5_KDC_PROFILE", self.file("kdc.conf"))
            .env("KRB5_KTNAME", format!("FILE:{}", self.file("http.keytab")))
            .env("KRB5CCNAME", format!("FILE:{}", self.file("tickets")))
            .env("TMPDIR", &self.0)
            .env("KRB5RCACHEDIR", &self.0)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}: `cargo xtask setup --kerberos` installs it")
            });
        let told = String::from_utf8_lossy(&output.stderr);
        let log = fs::read_to_string(self.file("kdc.log")).unwrap_or_default();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {told}\n{log}"
        );
    }

    fn administer(&self, query: &str) {
        self.run("kadmin.local", &["-r", REALM, "-q", query]);
    }

    /// Starts a KDC that knows alice, and the services of two proxies, of which the keytab has one.
    pub(crate) fn start(&self) -> Kdc {
        // Of no port that the system gives to clients: one of them could meet itself there.
        let first = 20_000 + u16::try_from(std::process::id() % 12_000).unwrap();
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (first..32_000).chain(20_000..first).find(is_free).unwrap();
        let client = format!(
            "[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\n\
             dns_lookup_realm = false\ndns_canonicalize_hostname = false\nrdns = false\n\
             udp_preference_limit = 1\n[realms]\n{REALM} = {{\nkdc = 127.0.0.1:{port}\n}}\n\
             [domain_realm]\n.sluice.test = {REALM}\n"
        );
        fs::write(self.file("krb5.conf"), client).unwrap();
        let kdc = format!(
            "[kdcdefaults]\nkdc_listen = 127.0.0.1:{port}\nkdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n{REALM} = {{\n\
             database_name = {}\nkey_stash_file = {}\nacl_file = {}\n}}\n\
             [logging]\nkdc = FILE:{}\n",
            self.file("database"),
            self.file("stash"),
            self.file("acl"),
            self.file("kdc.log")
        );
        fs::write(self.file("kdc.conf"), kdc).unwrap();
        self.run(
            "kdb5_util",
            &["create", "-s", "-r", REALM, "-P", "of no use"],
        );
        for principal in ["HTTP/proxy.sluice.test", "HTTP/other.sluice.test", "alice"] {
            self.administer(&format!("addprinc -randkey {principal}"));
        }
        for (keytab, principal) in [
            ("http.keytab", "HTTP/proxy.sluice.test"),
            ("alice.keytab", "alice"),
        ] {
            self.administer(&format!("ktadd -k {} {principal}", self.file(keytab)));
        }
        let private = fs::Permissions::from_mode(0o640);
        fs::set_permissions(self.file("http.keytab"), private).unwrap();
        let child = self
            .command("krb5kdc")
            .args(["-n", "-r", REALM])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut kdc = Kdc(child);
        let began = Instant::now();
        loop {
            let log = fs::read_to_string(self.file("kdc.log")).unwrap_or_default();
            if log.contains("commencing operation") {
                break;
            }
            let lives = kdc.0.try_wait().unwrap().is_none();
            assert!(lives && began.elapsed() < Duration::from_secs(30), "{log}");
            thread::sleep(Duration::from_millis(20));
        }
        self.run("kinit", &["-k", "-t", &self.file("alice.keytab"), "alice"]);
        kdc
    }

    /// What curl shows to a server that asks for Negotiate, decoded; `None` where it has nothing to
    /// show.
    pub(crate) fn token(&self, host: &str, tickets: &str) -> Option<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut curl = self
            .command("curl")
            .env("KRB5CCNAME", format!("FILE:{}", self.file(tickets)))
            .args(["--silent", "--max-time", "20", "--negotiate", "--user", ":"])
            .args(["--noproxy", "*", "--resolve"])
            .arg(format!("{host}:{port}:127.0.0.1"))
            .arg(format!("http://{host}:{port}/"))
            .spawn()
            .unwrap();
        let shown = asked(&listener, &mut curl);
        assert!(curl.wait().unwrap().success());
        shown
    }
}

/// Asks for Negotiate until curl shows something, or ends.
fn asked(listener: &TcpListener, curl: &mut Child) -> Option<Vec<u8>> {
    listener.set_nonblocking(true).unwrap();
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(_) if curl.try_wait().unwrap().is_some() => return None,
            Err(_) => {
                thread::sleep(Duration::from_millis(5));
                continue;
            }
        };
        stream.set_nonblocking(false).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut stream = stream;
        let mut shown = None;
        while let Some(Ok(line)) = lines.next() {
            if let Some(token) = line.strip_prefix("Authorization: Negotiate ") {
                shown = Some(decoded(token));
            }
            if !line.is_empty() {
                continue;
            }
            let status = if shown.is_some() {
                "200 OK\r\n"
            } else {
                "401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\n"
            };
            write!(stream, "HTTP/1.1 {status}Content-Length: 0\r\n\r\n").unwrap();
            if shown.is_some() {
                return shown;
            }
        }
    }
}

/// Base64 (RFC 4648 section 4).
fn decoded(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held) = (0_u32, 0);
    let mut bytes = Vec::new();
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = ALPHABET.iter().position(|letter| *letter == byte).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}

pub(crate) fn make_readable(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
