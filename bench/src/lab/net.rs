//! Network namespaces joined by virtual links, and processes inside them.
//!
//! Whatever becomes of this process, nothing of it stays: processes started here die with it, and a
//! janitor, a shell that waits for its input to end, ends what they have started themselves and
//! removes namespaces and files.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The gateway's address on the client's link.
pub const GATEWAY: &str = "10.71.0.1";
/// The client's address on that link.
const CLIENT: &str = "10.71.0.2";
/// The first two numbers of the addresses that flows come from.
pub const SOURCES: &str = "10.73";
/// The origin's address.
pub const ORIGIN: &str = "10.72.0.2";
/// The gateway's device on the client's link.
pub const LAN: &str = "lan0";

/// Who stands where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// Behind the gateway.
    Client,
    /// Between the two.
    Gateway,
    /// In front of it.
    Origin,
}

/// A client, a gateway and an origin.
#[derive(Debug)]
pub struct Net {
    prefix: String,
}

impl Net {
    /// Makes the three namespaces; the janitor is told first.
    ///
    /// # Errors
    ///
    /// Not root, no `ip`, or a kernel without namespaces or virtual links.
    pub fn new(letter: char, janitor: &mut Janitor) -> Result<Self> {
        let net = Self {
            prefix: format!("slb{}{letter}", std::process::id()),
        };
        for place in [Place::Client, Place::Gateway, Place::Origin] {
            let name = net.name(place);
            janitor.namespace(&name)?;
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
            net.set(place, "net.ipv4.tcp_congestion_control=reno")?;
            net.set(place, "net.ipv4.ip_local_port_range=1024 65000")?;
            net.set(place, "net.ipv4.tcp_tw_reuse=1")?;
            net.set(place, "net.core.somaxconn=4096")?;
        }
        net.link(Place::Client, CLIENT, LAN, GATEWAY)?;
        net.link(Place::Origin, ORIGIN, "wan0", "10.72.0.1")?;
        net.set(Place::Gateway, "net.ipv4.ip_forward=1")?;
        // All of a network are the client's own, without an address or a neighbour each.
        let (client, gateway) = (net.name(Place::Client), net.name(Place::Gateway));
        ip(&format!(
            "-n {client} route add local {SOURCES}.0.0/16 dev lo"
        ))?;
        ip(&format!(
            "-n {gateway} route add {SOURCES}.0.0/16 via {CLIENT} dev {LAN}"
        ))?;
        Ok(net)
    }

    /// The namespace's name.
    #[must_use]
    pub fn name(&self, place: Place) -> String {
        let letter = match place {
            Place::Client => 'c',
            Place::Gateway => 'g',
            Place::Origin => 'o',
        };
        format!("{}{letter}", self.prefix)
    }

    fn link(&self, end: Place, address: &str, device: &str, gateway: &str) -> Result<()> {
        let (end, middle) = (self.name(end), self.name(Place::Gateway));
        ip(&format!(
            "link add {device} netns {middle} type veth peer name eth0 netns {end}"
        ))?;
        ip(&format!("-n {middle} addr add {gateway}/24 dev {device}"))?;
        ip(&format!("-n {middle} link set {device} up"))?;
        ip(&format!("-n {end} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {end} link set eth0 up"))?;
        ip(&format!("-n {end} route add default via {gateway}"))
    }

    fn set(&self, place: Place, setting: &str) -> Result<()> {
        let mut command = self.command(place, "sysctl");
        output(command.args(["-q", "-w", setting])).map(drop)
    }

    /// A command that will run in a namespace and end when this thread does.
    #[must_use]
    pub fn command(&self, place: Place, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--net=/run/netns/{}", self.name(place)));
        command.arg("--").arg(program);
        command
    }
}

/// What a command printed.
///
/// # Errors
///
/// It could not run, or failed; its complaint is part of the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ip(words: &str) -> Result<()> {
    output(Command::new("ip").args(words.split(' '))).map(drop)
}

/// A process that ends with its value.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    /// How long a process may take to end when asked.
    const GRACE: Duration = Duration::from_secs(10);

    /// Starts a command; what it says goes to a file.
    ///
    /// # Errors
    ///
    /// It could not be started, or the file not be made.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = std::fs::File::create(log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self { child })
    }

    /// Starts a command and waits for its first line.
    ///
    /// # Errors
    ///
    /// It could not be started, or ended without a line.
    pub fn start_and_hear(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.is_empty() {
            let mut complaint = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut complaint)?;
            }
            child.wait()?;
            bail!("{command:?} said nothing: {}", complaint.trim());
        }
        Ok(Self { child })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end, and ends it when it does not.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if self.alive()
            && let Some(pid) = pid
        {
            // It may end between the two calls; then there is nothing to ask.
            let _ = kill_process(pid, Signal::TERM);
            let asked = Instant::now();
            while self.alive() && asked.elapsed() < Self::GRACE {
                thread::sleep(Duration::from_millis(20));
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Removes namespaces and files when this process is done, or gone.
#[derive(Debug)]
pub struct Janitor {
    shell: Child,
    orders: Option<ChildStdin>,
    directory: PathBuf,
}

impl Janitor {
    /// Reads orders until its input ends, and only then carries them out.
    const SCRIPT: &str = r#"
        namespaces= directories=
        while read -r kind name; do
            case $kind in
                namespace) namespaces="$namespaces $name" ;;
                directory) directories="$directories $name" ;;
            esac
        done
        for name in $namespaces; do
            for pid in $(ip netns pids "$name"); do kill -KILL "$pid"; done
            ip netns delete "$name"
        done 2>/dev/null
        for name in $directories; do rm -rf -- "$name"; done
    "#;

    /// Begins with a directory of this process's own, for configurations and logs.
    ///
    /// # Errors
    ///
    /// No shell, or no place for the directory.
    pub fn new() -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("sluice-bench-{}", std::process::id()));
        let mut shell = Command::new("sh")
            .args(["-c", Self::SCRIPT])
            .stdin(Stdio::piped())
            // An interrupt from the keyboard goes to the whole group, and the janitor must not die.
            .process_group(0)
            .spawn()
            .context("starting a shell")?;
        let orders = shell.stdin.take();
        let mut janitor = Self {
            shell,
            orders,
            directory: directory.clone(),
        };
        janitor.directory(&directory)?;
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        Ok(janitor)
    }

    /// Where configurations and logs go.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Will remove a directory.
    ///
    /// # Errors
    ///
    /// The janitor is gone.
    pub fn directory(&mut self, path: &Path) -> Result<()> {
        self.order(&format!("directory {}", path.display()))
    }

    fn namespace(&mut self, name: &str) -> Result<()> {
        self.order(&format!("namespace {name}"))
    }

    fn order(&mut self, line: &str) -> Result<()> {
        use std::io::Write as _;
        let orders = self.orders.as_mut().context("the janitor is gone")?;
        writeln!(orders, "{line}").context("the janitor is gone")
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.orders.take());
        drop(self.shell.wait());
    }
}
