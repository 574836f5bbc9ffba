//! A real directory, OpenLDAP's slapd, on loopback and in a folder of its own.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is in the directory. The groups "one" and "two" contain each other.
const ENTRIES: &str = "\
dn: dc=corp,dc=example
objectClass: domain
dc: corp

dn: ou=people,dc=corp,dc=example
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=corp,dc=example
objectClass: organizationalUnit
ou: groups

dn: cn=reader,dc=corp,dc=example
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reader's own

dn: uid=alice,ou=people,dc=corp,dc=example
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Liddell
userPassword: right
memberOf: cn=one,ou=groups,dc=corp,dc=example

dn: uid=bob\\2c the (second),ou=people,dc=corp,dc=example
objectClass: inetOrgPerson
uid: bob, the (second)
cn: Bob
sn: Builder
userPassword: right too

dn: uid=twin,ou=people,dc=corp,dc=example
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: Twin
userPassword: right
employeeNumber: 7

dn: cn=other twin,ou=people,dc=corp,dc=example
objectClass: inetOrgPerson
uid: twin
cn: other twin
sn: Twin
userPassword: right
employeeNumber: 7

dn: cn=one,ou=groups,dc=corp,dc=example
objectClass: groupOfNames
cn: one
member: uid=alice,ou=people,dc=corp,dc=example
member: cn=two,ou=groups,dc=corp,dc=example
memberOf: cn=two,ou=groups,dc=corp,dc=example

dn: cn=two,ou=groups,dc=corp,dc=example
objectClass: groupOfNames
cn: two
member: cn=one,ou=groups,dc=corp,dc=example
memberOf: cn=one,ou=groups,dc=corp,dc=example
memberOf: cn=three,ou=groups,dc=corp,dc=example

dn: cn=three,ou=groups,dc=corp,dc=example
objectClass: groupOfNames
cn: three
member: cn=two,ou=groups,dc=corp,dc=example

dn: cn=bobs (all),ou=groups,dc=corp,dc=example
objectClass: groupOfNames
cn: bobs (all)
member: uid=bob\\2c the (second),ou=people,dc=corp,dc=example
";

/// The user "deep" is in groups that lie thirty deep inside each other.
fn entries() -> String {
    let mut text = format!(
        "{ENTRIES}\ndn: uid=deep,ou=people,dc=corp,dc=example\nobjectClass: inetOrgPerson\nuid: deep\n\
         cn: Deep\nsn: Deep\nuserPassword: right\n"
    );
    let mut member = "uid=deep,ou=people,dc=corp,dc=example".to_owned();
    for depth in 0..30 {
        let dn = format!("cn=deep{depth},ou=groups,dc=corp,dc=example");
        let group =
            format!("\ndn: {dn}\nobjectClass: groupOfNames\ncn: deep{depth}\nmember: {member}\n");
        text.push_str(&group);
        member = dn;
    }
    text
}

/// A directory; it is ended, by its id, when this goes.
pub(crate) struct Slapd {
    folder: tempfile::TempDir,
    process: Option<Child>,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    /// The authority that its certificate is of.
    pub(crate) authority: String,
}

impl Slapd {
    /// Starts one whose certificate is for `localhost`.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = certificates(folder.path());
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("entries.ldif"), entries()).unwrap();
        let mut slapd = Self {
            folder,
            process: None,
            port: 0,
            tls_port: 0,
            authority,
        };
        fs::write(slapd.path("slapd.conf"), slapd.settings()).unwrap();
        let loaded = tool("slapadd")
            .args(["-q", "-f", &slapd.path("slapd.conf")])
            .args(["-l", &slapd.path("entries.ldif")])
            .output()
            .unwrap_or_else(|error| panic!("slapadd: {error}: {CURE}"));
        assert!(loaded.status.success(), "{loaded:?}");
        [slapd.port, slapd.tls_port] = free_ports();
        slapd.run();
        slapd
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn settings(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "include /etc/ldap/schema/core.schema\n\
             include /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             moduleload memberof\n\
             pidfile {folder}/slapd.pid\n\
             TLSCACertificateFile {folder}/authority.pem\n\
             TLSCertificateFile {folder}/certificate.pem\n\
             TLSCertificateKeyFile {folder}/key.pem\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"cn=reader,dc=corp,dc=example\" read by users read by * none\n\
             database mdb\n\
             suffix \"dc=corp,dc=example\"\n\
             directory {folder}/data\n\
             maxsize 1048576\n\
             overlay memberof\n"
        )
    }

    /// Runs it, and waits until it answers.
    pub(crate) fn run(&mut self) {
        let urls = format!(
            "ldap://127.0.0.1:{}/ ldaps://127.0.0.1:{}/",
            self.port, self.tls_port
        );
        let log = fs::File::create(self.path("slapd.log")).unwrap();
        let mut process = tool("slapd")
            // In the foreground.
            .args(["-d", "0", "-f", &self.path("slapd.conf"), "-h", &urls])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("slapd: {error}: {CURE}"));
        let begun = Instant::now();
        for port in [self.port, self.tls_port] {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                let ended = process.try_wait().unwrap();
                let log = || fs::read_to_string(self.path("slapd.log")).unwrap();
                assert!(ended.is_none(), "slapd has ended: {}", log());
                assert!(begun.elapsed() < PATIENCE, "slapd is silent: {}", log());
                thread::sleep(Duration::from_millis(10));
            }
        }
        self.process = Some(process);
    }

    /// Ends it at once.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _gone = process.kill();
            let _gone = process.wait();
        }
    }
}

const CURE: &str = "these tests need Debian's package slapd: run `cargo xtask setup`";

/// A program of the package, which is no part of every user's path.
fn tool(name: &str) -> Command {
    Command::new(format!("/usr/sbin/{name}"))
}

/// Ports that nobody listens on.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// An authority in PEM, of no use but for itself.
pub(crate) fn other_authority() -> String {
    let (params, key) = authority();
    params.self_signed(&key).unwrap().pem()
}

fn authority() -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params, KeyPair::generate().unwrap())
}

/// Writes the server's certificate, and returns the authority that it is of.
fn certificates(folder: &Path) -> String {
    let (params, key) = authority();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("authority.pem"), &pem).unwrap();
    fs::write(folder.join("certificate.pem"), server.pem()).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    pem
}
