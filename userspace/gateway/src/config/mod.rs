//! The configuration: one TOML file, read into types that cannot hold nonsense.
//!
//! [`Config::load`] reads it with the files that it names; [`Config::parse`] is pure. Both find every
//! mistake in one reading: unknown keys, values of a wrong type or out of range, names that nothing
//! bears, lines of lists that are none. What a later version brings is refused, never ignored.
//! [`DEFAULT`] is the documented default, and parses to what an empty file with a `lan` would.

mod actions;
mod admin;
mod authority;
mod condition;
mod guard;
mod intercept;
mod listener_tls;
mod lists;
mod log;
mod names;
mod pac;
mod page;
mod pattern;
mod people;
mod problem;
mod providers;
mod proxy;
mod read;
mod rules;
mod schedules;
mod sections;
pub mod show;
mod sources;
mod value;
pub mod warn;

use std::{
    cell::RefCell,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use sluice_abi::Marks;
use sluice_mint::{AuthorityFiles, MinterOptions, PassphraseSource};
use sluice_policy::{
    Action, Policy, RuleSet, Stage,
    kernel::{self, CellSettings, Egress, KernelError, KernelPolicy, Refused, Rules, Steer},
};

pub use admin::Admin;
pub use intercept::Intercept;
pub use listener_tls::ListenerTls;
pub use log::{Addresses, Format, Log, Privacy, Rotation, Server, Sink, Urls, Users, WhenFull};
pub(crate) use pattern::inner as inner_word;
pub(crate) use people::{lease, user as user_name};
use problem::Problems;
pub(crate) use problem::near_miss;
pub use problem::{ConfigError, Invalid, Problem};
pub use proxy::{ByAddress, Demand, ForwardedFor, Proxy};
use sources::Files;
pub use sources::Sources;
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
    /// How the addresses of names are found, where that is needed.
    pub resolver: crate::names::Settings,
    /// Where clients may have the gateway connect to.
    pub guard: crate::daemon::guard::Settings,
    /// How origins are met and judged, where that is needed.
    pub upstream: crate::origin::Settings,
    /// How the clients of decrypted flows are met.
    pub intercept: Intercept,
    /// What clients are shown who are blocked or warned.
    pub page: crate::page::Settings,
    /// How large the heads of requests may be.
    pub request: crate::request::Limits,
    /// Addresses that stand for somebody for a time.
    pub addresses: crate::identity::addresses::Settings,
    /// The rules as written.
    pub rules: RuleSet,
    /// The rules compiled.
    pub policy: Policy,
    /// Who refuses what the rules refuse by addresses and port alone.
    pub refused: Refused,
    /// Who can be asked about credentials.
    pub identity: crate::identity::settings::Settings,
    /// The candidate that decisions are compared with, a whole configuration file; see
    /// [`Config::load_shadow`].
    pub shadow: Option<PathBuf>,
    /// What the lists were made of, for [`Config::reload`].
    pub sources: Sources,
    /// The explicit proxies.
    pub proxies: Vec<Proxy>,
    /// The authority that signs for origins; `None`: nothing is decrypted, and no page shown.
    pub ca: Option<Ca>,
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
    /// Whether the hello that follows a HelloRetryRequest has to say the same as the first.
    pub strict_hrr: bool,
    /// Whether the server name of a hello has to be true.
    pub sni_truth: SniTruth,
}

/// What is made of a server name whose addresses are others than the client dialled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SniTruth {
    /// It is believed.
    #[default]
    Off,
    /// The flow is refused, unless the origin there proves by its certificate that it is of the name.
    Check,
    /// One of the name's own addresses is dialled instead, and judged as the destination.
    Dial,
}

impl SniTruth {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Off, Self::Check, Self::Dial];

    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Check => "check",
            Self::Dial => "dial",
        }
    }
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

/// The section `[ca]`: where the authority is, and how leaves are made. The files are not read
/// with the configuration.
#[derive(Clone, Debug)]
pub struct Ca {
    /// Certificate and key.
    pub files: AuthorityFiles,
    /// Where the key's passphrase is to be had, if it has one.
    pub passphrase: Option<PassphraseSource>,
    /// How leaves are made and kept.
    pub options: MinterOptions,
}

/// Where metrics and health are served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AdminListener {
    /// An address; one that is not loopback asks everybody who they are.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// To be compared with the one in force.
    Candidate,
    /// To be put into force.
    Force,
}

impl Config {
    /// Reads a configuration from a file, and the files that it names; relative paths begin in the
    /// directory of the file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] where the file cannot be read, [`ConfigError::Invalid`] with every
    /// mistake in it and in the files that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_as(Role::Force, path, &[])
    }

    /// Reads a configuration anew. Of the files of lists only those that have changed are read, and
    /// every other list is shared with the configuration `before`.
    ///
    /// # Errors
    ///
    /// Those of [`Config::load`].
    pub fn reload(path: &Path, before: &Self) -> Result<Self, ConfigError> {
        Self::load_as(Role::Force, path, &[&before.sources])
    }

    /// Reads the candidate that [`Config::shadow`] names, if it names one. Lists that are made of the
    /// same are shared with this configuration, and with the candidate `before`.
    ///
    /// # Errors
    ///
    /// Those of [`Config::load`]; a candidate that names a candidate of its own is invalid.
    pub fn load_shadow(&self, before: Option<&Self>) -> Result<Option<Self>, ConfigError> {
        let Some(path) = &self.shadow else {
            return Ok(None);
        };
        let known: Vec<_> = [self]
            .into_iter()
            .chain(before)
            .map(|config| &config.sources)
            .collect();
        Self::load_as(Role::Candidate, path, &known).map(Some)
    }

    /// Access records that are kept for the page: none where nobody can ask for them.
    #[must_use]
    pub fn recent(&self) -> usize {
        if self.admin.listen.is_empty() {
            return 0;
        }
        self.admin.recent
    }

    fn load_as(role: Role, path: &Path, before: &[&Sources]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let files = Files {
            base: Some(path.parent().unwrap_or(path)),
            before,
            after: RefCell::default(),
        };
        Self::read(&text, &path.display().to_string(), &files, role)
    }

    /// Reads a configuration from a text; `file` is what messages call it. Such a configuration can
    /// name no files.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] with every mistake that was found.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let files = Files {
            base: None,
            before: &[],
            after: RefCell::default(),
        };
        Self::read(text, file, &files, Role::Force)
    }

    fn read(text: &str, file: &str, files: &Files<'_>, role: Role) -> Result<Self, ConfigError> {
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
            sections::config(document.get_ref(), files, role, &problems)
        } else {
            None
        };
        match (problems.into_error(file, text), config) {
            (None, Some(config)) => Ok(config),
            (Some(error), _) => Err(error),
            (None, None) => Err(ConfigError::Invalid(Invalid {
                file: file.to_owned(),
                problems: vec![Problem {
                    file: None,
                    line: 1,
                    column: Some(1),
                    message: "the configuration cannot be read".into(),
                }],
            })),
        }
    }

    /// Whether a flow can come to where an origin is met by a handshake of our own.
    #[must_use]
    pub fn needs_origins(&self) -> bool {
        let mut asked = [Stage::Certificate, Stage::Request].into_iter();
        self.steer.sni_truth == SniTruth::Check
            || asked.any(|stage| self.policy.asks(stage).next().is_some())
            || self.ca.is_some()
                && self
                    .policy
                    .rules()
                    .iter()
                    .any(|rule| rule.action == Action::Inspect)
    }

    /// Whether a flow can come to where the addresses of a name are asked for.
    #[must_use]
    pub const fn needs_names(&self) -> bool {
        !matches!(self.steer.sni_truth, SniTruth::Off) || !self.proxies.is_empty()
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
        let rules = Rules {
            set: &self.rules,
            policy: &self.policy,
        };
        kernel::compile(&self.egress, &self.steer.ports, Some(rules), &settings)
    }
}
