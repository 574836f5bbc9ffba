//! The ways through a gateway: what runs in the middle, and where the client dials.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    net::{GATEWAY, Janitor, LAN, Net, ORIGIN, Place, Running, SOURCES, output},
    plan::{Case, Way},
};
use crate::{
    load::{
        result::Outcome,
        tls::{DOMAIN, Keys},
    },
    proc::{Watched, family},
};

/// The programs that take part.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The program with the verb `load`.
    pub lab: PathBuf,
    /// The gateway under test.
    pub sluice: PathBuf,
    /// HAProxy.
    pub haproxy: PathBuf,
    /// Tinyproxy.
    pub tinyproxy: PathBuf,
    /// Squid.
    pub squid: PathBuf,
}

/// A network with its origin, and whatever stands in the middle.
#[derive(Debug)]
pub struct Stand {
    kind: Kind,
    net: Net,
    programs: Programs,
    config: PathBuf,
    log: PathBuf,
    /// Runs so far: each has clients of its own.
    runs: u8,
    // In this order: the middle goes before what it leads to.
    middle: Option<Running>,
    sink: Running,
    /// An origin that speaks TLS, and the root that clients trust on this stand.
    tls: Option<(Running, PathBuf)>,
}

/// What stands in the middle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Nothing,
    Sluice,
    Haproxy,
    Intercept,
    HaproxyIntercept,
    Proxy,
    Tinyproxy,
    SquidProxy,
}

const STEERED: u16 = 443;
const PASSED: u16 = 8443;
/// Where the origin that speaks TLS listens.
const TLS: u16 = 444;
/// Where explicit proxies listen.
const PROXY: u16 = 3128;
/// Where sluice tells how it is.
const ADMIN: &str = "127.0.0.1:9443";

impl Stand {
    /// Whether a way leads over the same stand as another.
    #[must_use]
    pub fn serves(&self, way: Way) -> bool {
        self.kind == kind(way)
    }

    /// Builds what a way needs and waits until a flow comes through.
    ///
    /// # Errors
    ///
    /// Not root, a program that is missing or ends, or no flow comes through.
    pub fn new(way: Way, programs: &Programs, janitor: &mut Janitor) -> Result<Self> {
        let kind = kind(way);
        let letter = match kind {
            Kind::Nothing => 'd',
            Kind::Sluice => 's',
            Kind::Haproxy => 'h',
            Kind::Intercept => 'i',
            Kind::HaproxyIntercept => 'j',
            Kind::Proxy => 'p',
            Kind::Tinyproxy => 't',
            Kind::SquidProxy => 'q',
        };
        let net = Net::new(letter, janitor)?;
        let mut sink = net.command(Place::Origin, &programs.lab);
        sink.args(["load", "sink"]);
        sink.args([STEERED, PASSED].map(|port| format!("{ORIGIN}:{port}")));
        let sink = Running::start_and_hear(&mut sink)?;
        let config = janitor.path(&format!("{way}.conf"));
        let mut tls = match kind {
            Kind::Nothing | Kind::Intercept | Kind::HaproxyIntercept => {
                let folder = janitor.path(&format!("{way}-tls"));
                fs::create_dir_all(&folder)?;
                Some(tls_origin(&net, programs, &folder)?)
            }
            _ => None,
        };
        match kind {
            Kind::Nothing => {}
            Kind::Sluice | Kind::Intercept | Kind::Proxy => {
                let pins = PathBuf::from(format!("/sys/fs/bpf/{}", net.name(Place::Gateway)));
                janitor.directory(&pins)?;
                let state = janitor.path(&format!("{way}-state"));
                fs::create_dir_all(&state)?;
                let mut text = sluice_config(&state, &pins);
                if let Some((_, root)) = &mut tls {
                    let ca = authority(programs, &state)?;
                    text.push_str(&intercepting(root, &ca));
                    *root = ca;
                }
                if kind == Kind::Proxy {
                    text.push_str(&proxying());
                }
                fs::write(&config, text)?;
            }
            Kind::Haproxy => fs::write(&config, haproxy_config())?,
            Kind::Tinyproxy => fs::write(&config, tinyproxy_config())?,
            Kind::SquidProxy => fs::write(&config, squid_config())?,
            Kind::HaproxyIntercept => {
                let (_, root) = tls.as_ref().context("no origin")?;
                fs::write(&config, haproxy_intercepting(root)?)?;
            }
        }
        let mut stand = Self {
            kind,
            net,
            programs: programs.clone(),
            config,
            log: janitor.path(&format!("{way}.log")),
            runs: 0,
            middle: None,
            sink,
            tls,
        };
        stand.restart()?;
        Ok(stand)
    }

    /// Starts what stands in the middle anew, for a measurement that needs a fresh process.
    ///
    /// # Errors
    ///
    /// The program ends at once, or no flow comes through.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(old) = self.middle.take() {
            old.stop();
        }
        let mut command = match self.kind {
            Kind::Nothing => return Ok(()),
            Kind::Sluice | Kind::Intercept | Kind::Proxy => {
                let mut command = self.net.command(Place::Gateway, &self.programs.sluice);
                command.arg("run").arg("--config").arg(&self.config);
                command
            }
            Kind::Haproxy | Kind::HaproxyIntercept => {
                let mut command = self.net.command(Place::Gateway, &self.programs.haproxy);
                command.args(["-db", "-f"]).arg(&self.config);
                command
            }
            Kind::Tinyproxy => {
                let mut command = self.net.command(Place::Gateway, &self.programs.tinyproxy);
                command.args(["-d", "-c"]).arg(&self.config);
                command
            }
            Kind::SquidProxy => {
                let mut command = self.net.command(Place::Gateway, &self.programs.squid);
                // Its processes find each other by a name, which no other Squid here may have.
                let name = self.net.name(Place::Gateway);
                command.args(["--foreground", "-n", &name, "-f"]);
                command.arg(&self.config);
                command
            }
        };
        self.middle = Some(Running::start(&mut command, &self.log)?);
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(20);
        let begun = Instant::now();
        let (way, case) = match self.kind {
            Kind::Nothing => (Way::Direct, Case::Setup),
            Kind::Sluice => (Way::Sluice, Case::Setup),
            Kind::Haproxy => (Way::Haproxy, Case::Setup),
            Kind::Intercept => (Way::Intercept, Case::TlsSetup),
            Kind::HaproxyIntercept => (Way::HaproxyIntercept, Case::TlsSetup),
            Kind::Proxy => (Way::Proxy, Case::Setup),
            Kind::Tinyproxy => (Way::Tinyproxy, Case::Setup),
            Kind::SquidProxy => (Way::SquidProxy, Case::Setup),
        };
        loop {
            let mut probe = self.load(way, case, 0.02);
            probe.args(["--warm-up", "0"]);
            let Err(error) = self.ready().and_then(|()| output(&mut probe)) else {
                return Ok(());
            };
            let alive = self.middle.as_mut().is_none_or(Running::alive);
            if !alive || begun.elapsed() > PATIENCE {
                let said = last_lines(&self.log);
                let state = if alive { "runs" } else { "ended" };
                bail!("no flow comes through; the gateway {state} and said: {said}\n{error:#}");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Fails until sluice says that it serves: before its programs are attached, flows come through
    /// unsteered, and those that go on then are nobody's.
    fn ready(&self) -> Result<()> {
        if !self.is_sluice() {
            return Ok(());
        }
        let mut ask = self.net.command(Place::Gateway, "curl");
        ask.args(["-fsS", "-o", "/dev/null"]);
        output(ask.arg(format!("http://{ADMIN}/readyz"))).map(drop)
    }

    const fn is_sluice(&self) -> bool {
        matches!(self.kind, Kind::Sluice | Kind::Intercept | Kind::Proxy)
    }

    /// Runs one case.
    ///
    /// # Errors
    ///
    /// The load tool failed.
    pub fn measure(&mut self, way: Way, case: Case, seconds: f64) -> Result<Outcome> {
        if matches!(case, Case::Idle(_)) {
            self.restart()?;
        }
        let mut load = self.load(way, case, seconds);
        for process in self.watched() {
            load.arg("--watch")
                .arg(format!("{}={}", process.name, process.pid));
        }
        let line = output(&mut load)?;
        serde_json::from_str(line.trim()).with_context(|| format!("the load tool said {line:?}"))
    }

    /// The load tool with what it needs for a case, from addresses of its own.
    fn load(&mut self, way: Way, case: Case, seconds: f64) -> Command {
        let to = if case.is_tls() && way != Way::HaproxyIntercept {
            format!("{ORIGIN}:{TLS}")
        } else {
            address(way)
        };
        let mut load = self.net.command(Place::Client, &self.programs.lab);
        load.arg("load").args(case.arguments(&to, seconds));
        if way.is_tunnel() {
            load.args(["--via", &format!("{GATEWAY}:{PROXY}")]);
        }
        self.runs = self.runs.wrapping_add(1);
        load.args(["--from", &format!("{SOURCES}.{}.1", self.runs)]);
        if let Some((_, root)) = self.tls.as_ref().filter(|_| case.is_tls()) {
            load.arg("--root").arg(root);
        }
        load
    }

    /// The gateway's process, where there is one.
    #[must_use]
    pub fn gateway(&self) -> Option<u32> {
        self.middle.as_ref().map(Running::pid)
    }

    fn watched(&self) -> Vec<Watched> {
        let mut all = vec![Watched {
            name: "sink".to_owned(),
            pid: self.sink.pid(),
        }];
        all.extend(self.tls.as_ref().map(|(sink, _)| Watched {
            name: "tls-sink".to_owned(),
            pid: sink.pid(),
        }));
        let gateways = self.gateway().map(family).unwrap_or_default();
        all.extend(gateways.into_iter().map(|pid| Watched {
            name: "gateway".to_owned(),
            pid,
        }));
        all
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        drop(self.middle.take());
        if self.is_sluice() {
            let mut unload = self.net.command(Place::Gateway, &self.programs.sluice);
            unload.arg("unload").arg("--config").arg(&self.config);
            if let Err(error) = output(&mut unload) {
                eprintln!("unloading: {error:#}");
            }
        }
    }
}

/// What a gateway said last: it may say something of every flow.
fn last_lines(log: &Path) -> String {
    let said = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    let skip = lines.len().saturating_sub(5);
    lines.get(skip..).unwrap_or_default().join("\n")
}

const fn kind(way: Way) -> Kind {
    match way {
        Way::Direct => Kind::Nothing,
        Way::Passed | Way::Sluice => Kind::Sluice,
        Way::Haproxy => Kind::Haproxy,
        Way::Intercept => Kind::Intercept,
        Way::HaproxyIntercept => Kind::HaproxyIntercept,
        Way::Proxy => Kind::Proxy,
        Way::Tinyproxy => Kind::Tinyproxy,
        Way::SquidProxy => Kind::SquidProxy,
    }
}

fn address(way: Way) -> String {
    match way {
        Way::Direct | Way::Sluice | Way::Proxy | Way::Tinyproxy | Way::SquidProxy => {
            format!("{ORIGIN}:{STEERED}")
        }
        Way::Passed => format!("{ORIGIN}:{PASSED}"),
        Way::Haproxy => format!("{GATEWAY}:{PASSED}"),
        Way::Intercept => format!("{ORIGIN}:{TLS}"),
        Way::HaproxyIntercept => format!("{GATEWAY}:{TLS}"),
    }
}

fn sluice_config(state: &Path, pins: &Path) -> String {
    format!(
        r#"[gateway]
lan = ["{LAN}"]
state_dir = "{state}"
bpffs_dir = "{pins}"

[egress]
pass_tcp = ["{PASSED}"]
block_tcp = []
flow_limit_per_client = 262144

[steer]
tls = ["{STEERED}", "{TLS}"]

[policy]
default = "allow"

[admin]
listen = ["{ADMIN}"]
"#,
        state = state.display(),
        pins = pins.display(),
    )
}

/// An origin that speaks TLS, and its root.
fn tls_origin(net: &Net, programs: &Programs, folder: &Path) -> Result<(Running, PathBuf)> {
    let keys = Keys::create(folder)?;
    let mut sink = net.command(Place::Origin, &programs.lab);
    sink.args([
        "load",
        "tls-sink",
        &format!("{ORIGIN}:{TLS}"),
        "--certificate",
    ]);
    sink.arg(&keys.certificate).arg("--key").arg(&keys.key);
    Ok((Running::start_and_hear(&mut sink)?, keys.root))
}

/// A CA made for this run, beside the configuration that names it; its certificate.
fn authority(programs: &Programs, folder: &Path) -> Result<PathBuf> {
    let certificate = folder.join("ca.pem");
    let mut init = Command::new(&programs.sluice);
    init.args(["ca", "init", "--certificate"]).arg(&certificate);
    output(init.arg("--key").arg(folder.join("ca.key")))?;
    Ok(certificate)
}

/// Everything is decrypted and let through; one client makes all connections, for more new names
/// than one in practice asks for.
fn intercepting(root: &Path, ca: &Path) -> String {
    let (root, key) = (root.display(), ca.with_extension("key"));
    format!(
        r#"
[upstream]
system_roots = false
roots = ["{root}"]

[[rule]]
name = "look into it"
when = {{ host-is-ip = false }}
action = "inspect"

[ca]
certificate = "{ca}"
key = "{key}"
mint_rate = "1000000/s"
mint_burst = 1000000
"#,
        ca = ca.display(),
        key = key.display(),
    )
}

/// An explicit proxy that lets tunnels lead to the origin, which is a private address.
fn proxying() -> String {
    format!(
        r#"
[guard]
allow = ["{ORIGIN}"]

[[proxy]]
name = "proxy"
listen = ["{GATEWAY}:{PROXY}"]
connect_addresses = "allow"
"#
    )
}

/// No access log; all else is as it comes.
fn tinyproxy_config() -> String {
    format!(
        "Listen {GATEWAY}
Port {PROXY}
Timeout 3600
MaxClients 4000
LogLevel Critical
ConnectPort {STEERED}
"
    )
}

/// A worker a core, no cache and no access log; all else is as it comes.
fn squid_config() -> String {
    format!(
        "http_port {GATEWAY}:{PROXY}
workers {workers}
http_access allow all
cache deny all
cache_mem 0
access_log none
cache_log /dev/null
pid_filename none
coredump_dir none
shutdown_lifetime 1 seconds
max_filedescriptors 65536
",
        workers = crate::proc::cores(),
    )
}

fn haproxy_config() -> String {
    format!(
        "global
    nbthread {threads}
    maxconn 4000
    tune.pipesize 1048576
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option splice-request
    option splice-response
frontend clients
    bind {GATEWAY}:{PASSED}
    tcp-request inspect-delay 5s
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    tcp-request content reject
    default_backend origin
backend origin
    server origin {ORIGIN}:{STEERED}
",
        threads = crate::proc::cores(),
    )
}

/// TLS on both sides, by the origin's own certificate and key, which lie beside its root. As sluice
/// does, it reads requests, verifies the origin, and makes a connection to it for each of a client's.
fn haproxy_intercepting(root: &Path) -> Result<String> {
    let keys = Keys::beside(root);
    let both = root.with_file_name("haproxy.pem");
    let text = [fs::read(&keys.certificate)?, fs::read(&keys.key)?].concat();
    fs::write(&both, text)?;
    Ok(format!(
        "global
    nbthread {threads}
    maxconn 4000
defaults
    mode http
    http-reuse never
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend clients
    bind {GATEWAY}:{TLS} ssl crt {both}
    default_backend origin
backend origin
    server origin {ORIGIN}:{TLS} ssl verify required ca-file {root} sni ssl_fc_sni verifyhost {DOMAIN}
",
        threads = crate::proc::cores(),
        both = both.display(),
        root = root.display(),
    ))
}

/// Where a program lies on the search path, if it does.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    let found = output(Command::new("sh").args(["-c", &format!("command -v {name}")])).ok()?;
    let path = PathBuf::from(found.trim());
    path.is_absolute().then_some(path)
}
