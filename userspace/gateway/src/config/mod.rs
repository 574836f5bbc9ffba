//! The configuration: one TOML file, read into types that cannot hold nonsense.
//!
//! [`Config::parse`] is pure, and finds every mistake in one reading: unknown keys, values of a
//! wrong type or out of range, names that nothing bears. What a later version brings is refused,
//! never ignored. [`DEFAULT`] is the documented default, and parses to what an empty file with a
//! `lan` would.

mod condition;
mod problem;
mod read;
mod rules;
mod sections;
pub mod show;
mod value;
pub mod warn;

use std::{net::SocketAddr, path::Path, path::PathBuf, time::Duration};

use sluice_abi::Marks;
use sluice_policy::{
    Policy, RuleSet,
    kernel::{self, CellSettings, Egress, KernelError, KernelPolicy, Steer},
};

use problem::Problems;
pub use problem::{ConfigError, Invalid, Problem};
pub use value::{DevicePattern, protocol_name, show_duration, show_size};

/// The documented default configuration.
pub const DEFAULT: &str = include_str!("default.toml");

/// Everything that the daemon and the kernel programs are told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Devices, failure, places.
    pub gateway: Gateway,
    /// What the kernel decides per packet.
    pub egress: Egress,
    /// What the kernel hands to the daemon, and how the daemon reads first bytes.
    pub steer: Steering,
    /// How allowed flows are relayed.
    pub splice: Splice,
    /// The rules as written.
    pub rules: RuleSet,
    /// The rules compiled.
    pub policy: Policy,
    /// Where metrics and health are served.
    pub admin: Admin,
    /// Where records go.
    pub log: Log,
}

/// The section `[gateway]`.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Devices behind which the clients are; at least one.
    pub lan: Vec<DevicePattern>,
    /// What becomes of steered flows while there is no daemon.
    pub on_failure: OnFailure,
    /// What becomes of TCP packets of no known flow.
    pub midstream: Midstream,
    /// Worker threads; `None`: one per core.
    pub workers: Option<usize>,
    /// Directory of the daemon's state.
    pub state_dir: PathBuf,
    /// Directory of pinned programs, links and maps, on a bpf file system.
    pub bpffs_dir: PathBuf,
    /// The firewall marks.
    pub marks: Marks,
    /// Number of the routing table that sluice owns.
    pub table: u32,
    /// Port of the transparent listener.
    pub listener_port: u16,
    /// Flows through the daemon, in all.
    pub flow_limit: usize,
    /// Flows through the daemon of one client.
    pub flow_limit_per_client: usize,
    /// How long flows may go on after the daemon was told to end.
    pub drain_timeout: Duration,
}

/// What becomes of steered flows while there is no daemon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFailure {
    /// They are refused.
    Closed,
    /// They are forwarded natively.
    Open,
}

/// What becomes of TCP packets of no known flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Midstream {
    /// They are dropped.
    Drop,
    /// They are judged as if they began a flow.
    Pass,
}

/// The section `[steer]`.
#[derive(Clone, Debug)]
pub struct Steering {
    /// The ports.
    pub ports: Steer,
    /// Time for a whole ClientHello from its first byte.
    pub hello_timeout: Duration,
    /// Time for the first byte.
    pub silent_timeout: Duration,
    /// Bytes that a ClientHello may have.
    pub hello_limit: usize,
}

/// The section `[splice]`.
#[derive(Clone, Debug)]
pub struct Splice {
    /// Time without a byte after which a flow is closed; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Time after which a flow is closed in any case; `None`: never.
    pub total_timeout: Option<Duration>,
    /// Time to connect to the origin.
    pub connect_timeout: Duration,
    /// Bytes after which a flow is given large pipes.
    pub bulk_after: u64,
}

/// The section `[admin]`.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where to listen; none: nowhere.
    pub listen: Vec<AdminListener>,
}

/// Where metrics and health are served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AdminListener {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// The section `[log]`.
#[derive(Clone, Debug)]
pub struct Log {
    /// Where access records go.
    pub access: Vec<AccessLog>,
}

/// Where access records go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessLog {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Config {
    /// Reads a configuration from a file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] where the file cannot be read, [`ConfigError::Invalid`] with every
    /// mistake in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads a configuration from a text; `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] with every mistake that was found.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let (document, mistakes) = toml::de::DeTable::parse_recoverable(text);
        for mistake in mistakes {
            let message = mistake.message().trim().replace('\n', ", ");
            problems.add(
                mistake.span().unwrap_or_default(),
                format!("not TOML: {message}"),
            );
        }
        // Half a document would only give mistakes that are none.
        let config = if problems.is_empty() {
            sections::config(document.get_ref(), &problems)
        } else {
            None
        };
        match (problems.into_error(file, text), config) {
            (None, Some(config)) => Ok(config),
            (Some(error), _) => Err(error),
            (None, None) => Err(ConfigError::Invalid(Invalid {
                file: file.to_owned(),
                problems: vec![Problem {
                    line: 1,
                    column: 1,
                    message: "the configuration cannot be read".into(),
                }],
            })),
        }
    }

    /// Compiles what the kernel decides, as one generation.
    ///
    /// # Errors
    ///
    /// [`KernelError`]; a configuration that was read has been compiled once, so that none is
    /// expected.
    pub fn kernel_policy(&self, generation: u32) -> Result<KernelPolicy, KernelError> {
        let settings = CellSettings {
            generation,
            marks: self.gateway.marks,
            fail_open: self.gateway.on_failure == OnFailure::Open,
            midstream_pass: self.gateway.midstream == Midstream::Pass,
            listener_port: self.gateway.listener_port,
        };
        kernel::compile(&self.egress, &self.steer.ports, &settings)
    }
}
