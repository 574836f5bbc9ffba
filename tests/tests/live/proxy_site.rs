//! The real daemon with proxies of several kinds, and an origin from which clients of packages and
//! sources fetch.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use sluice_tests::{family::Family, lab::Lab, pki::Pki, sluice::Sluice};

use crate::{
    dns::Dns,
    inspected::records,
    support::{eventually, said, tool},
    tools::bracketed,
};

/// The server that has everything.
pub(crate) const HOST: &str = "repo.example";
/// Another one, which speaks websockets.
pub(crate) const CHAT: &str = "chat.example";
/// A name of the first one's that the rules block.
pub(crate) const BLOCKED: &str = "games.example";

const TREE: &str = include_str!("proxy_site/tree.sh");
const CHAT_SERVER: &str = include_str!("proxy_site/chat.py");

/// Passwords are "secret", made by `htpasswd -B`.
const PEOPLE: &str = "alice:$2y$04$kxNBytOLFgqsjBIutu0mGO3Djrh7AS6sbdqfZGUWLhXW0edbH0k0S\n\
                      bob:$2y$04$kgZp.e1sypiMXg4RgUg50.zE1l0KNFDtJzA/HLeQK4zmgJFgA83qS\n";

/// The proxies: as they are by default, with tunnels for whoever does not say what it is, for one
/// group alone, and the same as the first inside TLS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    Default,
    Open,
    Staff,
    Tls,
}

impl Door {
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Default => 3128,
            Self::Open => 3129,
            Self::Staff => 3130,
            Self::Tls => 3131,
        }
    }

    /// Where clients find it, with credentials such as "alice:secret@" or with none.
    pub(crate) fn url(self, family: Family, who: &str) -> String {
        let scheme = if self == Self::Tls { "https" } else { "http" };
        let address = bracketed(family.gateway_lan());
        format!("{scheme}://{who}{address}:{}", self.port())
    }
}

/// A program that ends with its owner.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The lab, with all of that.
pub(crate) struct Site {
    pub(crate) sluice: Sluice,
    /// The authority of the origins and of the proxy that speaks TLS.
    pub(crate) ca: PathBuf,
    _servers: Vec<Server>,
    _dns: Dns,
    pub(crate) lab: Lab,
}

impl Site {
    /// Everything, with more in the configuration.
    pub(crate) fn new(more: &str) -> Self {
        let (lab, pki) = (Lab::new(), Pki::new());
        let path = |name: &str| lab.dir().join(name);
        let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
        write("authority.pem", pki.pem());
        let names = [HOST, CHAT, BLOCKED, "proxy.example", "10.77.0.1", "fd77::1"];
        let (chain, key) = pki.leaf_pem(&names);
        write("leaf.pem", &chain);
        write("leaf.key", &key);
        write("people", PEOPLE);
        write("groups", "staff: alice\n");
        let addresses =
            [5, 6].map(|number| Family::ALL.map(|family| family.origin(number).to_string()));
        let [site, chat] = addresses
            .each_ref()
            .map(|both| both.each_ref().map(String::as_str));
        let names = [(HOST, &site[..]), (BLOCKED, &site[..]), (CHAT, &chat[..])];
        let dns = lab.gateway().run(|| Dns::new(&names));
        let sluice = lab.run_sluice(&config(&lab, &dns, more));
        let servers = vec![nginx(&lab), chat_server(&lab)];
        Self {
            ca: path("authority.pem"),
            sluice,
            _servers: servers,
            _dns: dns,
            lab,
        }
    }

    /// Puts the files in place that clients fetch.
    pub(crate) fn with_tree(self) -> Self {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", TREE, "tree.sh"])
            .arg(self.lab.dir().join("tree"));
        shell.arg(HOST).arg(tool("python-servers"));
        shell
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        self
    }

    /// Runs a script of the shell where the clients are, in an empty folder, with nothing of the
    /// user's own in its environment.
    pub(crate) fn run(&self, script: &str, door: Door, who: &str, scheme: &str) -> Output {
        let home = self.lab.dir().join("client");
        let _absent = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let cargo = Path::new(env!("CARGO")).parent().unwrap().display();
        let proxy = door.url(Family::V4, who);
        let mut shell = Command::new("timeout");
        shell
            .args(["30", "sh", "-euc", script])
            .env_clear()
            .env("PATH", format!("{cargo}:{path}"))
            .env("HOME", &home)
            .env("CA", &self.ca)
            .env("HOST", HOST)
            .env("URL", format!("{scheme}://{HOST}"))
            .env("PROXY", proxy)
            .env(
                "PLACE",
                format!("{}:{}", Family::V4.gateway_lan(), door.port()),
            )
            .env("PYTHON", tool("python-servers"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .current_dir(&home)
            .stdin(Stdio::null());
        self.lab.client().output(&mut shell)
    }

    /// The access records so far of those that came through a proxy.
    pub(crate) fn records(&self, door: Door) -> Vec<Value> {
        let name = name(door);
        let mut records = records(&self.sluice);
        records.retain(|record| record["listener"] == name);
        records
    }
}

fn name(door: Door) -> &'static str {
    match door {
        Door::Default => "default",
        Door::Open => "open",
        Door::Staff => "staff",
        Door::Tls => "private",
    }
}

fn config(lab: &Lab, dns: &Dns, more: &str) -> String {
    let path = |name: &str| lab.dir().join(name).display().to_string();
    let proxy = |door: Door, keys: &str| {
        let listen = Family::ALL
            .map(|family| format!("\"{}:{}\"", bracketed(family.gateway_lan()), door.port()));
        format!(
            "[[proxy]]\nname = \"{}\"\nlisten = [{}]\n{keys}\n",
            name(door),
            listen.join(", ")
        )
    };
    let tls = format!(
        "tls = {{ certificate = {:?}, key = {:?} }}",
        path("leaf.pem"),
        path("leaf.key")
    );
    [
        format!(
            "[policy]\ndefault = \"allow\"\n[resolver]\nservers = [\"{}\"]\n\
             [[identity.provider]]\nname = \"people\"\nkind = \"htpasswd\"\nfile = {:?}\n\
             groups = {:?}\n[[group]]\nname = \"staff\"\nmembers = []\n\
             [[rule]]\nname = \"staff only\"\nwhen = {{ listener = \"staff\" }}\n\
             unless = {{ group = \"staff\" }}\naction = {{ block = \"page\" }}\n\
             [[rule]]\nname = \"no games\"\nwhen = {{ host = \"{BLOCKED}\" }}\n\
             action = {{ block = \"page\", message = \"Ask the help desk.\" }}\n\
             [[rule]]\nname = \"no tunnels to games\"\n\
             when = {{ connect-host = \"{BLOCKED}\" }}\naction = {{ block = \"page\" }}\n",
            dns.address,
            path("people"),
            path("groups"),
        ),
        proxy(
            Door::Default,
            "pac = { direct = [\"chat.example\"], proxy = \"10.77.0.1:3128\" }",
        ),
        proxy(Door::Open, "unidentified_tunnels = \"allow\""),
        proxy(
            Door::Staff,
            "unidentified_tunnels = \"allow\"\nidentify = [\"people\"]",
        ),
        proxy(Door::Tls, &tls),
        more.to_owned(),
    ]
    .concat()
}

/// A web server of files, in the clear and inside TLS.
fn nginx(lab: &Lab) -> Server {
    let dir = lab.dir().join("nginx");
    fs::create_dir_all(&dir).unwrap();
    let [place, root, cert, key] = ["nginx", "tree", "leaf.pem", "leaf.key"]
        .map(|name| lab.dir().join(name).display().to_string());
    let listen = Family::ALL.map(|family| {
        let address = bracketed(family.origin(5));
        format!("listen {address}:80;\nlisten {address}:443 ssl;")
    });
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/{kind};"));
    let config = format!(
        "user root;\ndaemon off;\nmaster_process off;\npid {place}/pid;\nerror_log {place}/error;\n\
         events {{}}\nhttp {{\n{}\naccess_log off;\ntypes {{ text/html html; text/plain txt; }}\n\
         default_type application/octet-stream;\nserver {{\n{}\nssl_certificate {cert};\n\
         ssl_certificate_key {key};\nroot {root};\n}}\n}}\n",
        bodies.join("\n"),
        listen.join("\n"),
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut nginx = Command::new(tool("nginx"));
    nginx.arg("-e").arg(dir.join("error")).arg("-c").arg(file);
    start(lab, &mut nginx, 5)
}

fn chat_server(lab: &Lab) -> Server {
    let mut python = Command::new(tool("python-servers"));
    python
        .args(["-c", CHAT_SERVER])
        .args(["leaf.pem", "leaf.key"].map(|name| lab.dir().join(name)))
        .args(Family::ALL.map(|family| family.origin(6).to_string()));
    start(lab, &mut python, 6)
}

fn start(lab: &Lab, command: &mut Command, number: u8) -> Server {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let server = Server(lab.internet().start(command));
    for family in Family::ALL {
        let to = family.origin_at(number, 443);
        eventually("a server that listens", || {
            let tried = lab.internet().run(|| std::net::TcpStream::connect(to));
            tried.is_ok()
        });
    }
    server
}
