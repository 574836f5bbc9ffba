//! The section `[log]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::intercept::positive;
use super::read::{Item, Keys, Section};
use super::sections::absolute;
use super::value;

/// Where journald listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The section `[log]`: access records, where they go and what they tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// Where records go; nowhere: none are made.
    pub access: Vec<Sink>,
    /// How the fields of records are called.
    pub format: Format,
    /// What becomes of flows while records cannot be written.
    pub when_full: WhenFull,
    /// Bytes of records that may wait for one sink.
    pub queue_limit: usize,
    /// When the files of records are begun anew.
    pub rotation: Rotation,
    /// What records tell of people.
    pub privacy: Privacy,
    /// How often it is told which packets the kernel refused; `None`: never.
    pub packets: Option<Duration>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            access: vec![Sink::Stdout],
            format: Format::Sluice,
            when_full: WhenFull::Drop,
            queue_limit: 4 << 20,
            rotation: Rotation::default(),
            privacy: Privacy::default(),
            packets: Some(Duration::from_secs(10)),
        }
    }
}

/// Where access records go. Written as the configuration has it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file.
    File(PathBuf),
    /// journald, by its native protocol, at this socket.
    Journald(PathBuf),
    /// A syslog daemon on this machine, at this socket.
    SyslogUnix(PathBuf),
    /// A syslog server, a datagram for each record.
    SyslogUdp(Server),
    /// A syslog server, over one connection.
    SyslogTcp(Server),
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Journald(path) if path.as_os_str() == JOURNAL => f.write_str("journald"),
            Self::Journald(path) => write!(f, "journald:{}", path.display()),
            Self::SyslogUnix(path) => write!(f, "syslog:unix:{}", path.display()),
            Self::SyslogUdp(server) => write!(f, "syslog:udp://{server}"),
            Self::SyslogTcp(server) => write!(f, "syslog:tcp://{server}"),
        }
    }
}

/// A server by name or address, and its port.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Server {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// How the fields of records are called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// By the schema of this project.
    Sluice,
    /// By the Elastic Common Schema.
    Ecs,
}

impl Format {
    const ALL: [Self; 2] = [Self::Sluice, Self::Ecs];

    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sluice => "sluice",
            Self::Ecs => "ecs",
        }
    }
}

/// What becomes of flows while records cannot be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenFull {
    /// They go on, and records that find no room are lost and counted.
    Drop,
    /// New ones are refused.
    Block,
}

impl WhenFull {
    const ALL: [Self; 2] = [Self::Drop, Self::Block];

    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Block => "block",
        }
    }
}

/// When the files of records are begun anew, and how many are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// Bytes after which a file is moved aside; `None`: that is somebody else's task.
    pub size: Option<u64>,
    /// Files that are kept besides the one that is written to.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            size: None,
            keep: 5,
        }
    }
}

/// What records tell of people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Privacy {
    /// How much of a client's address is told.
    pub addresses: Addresses,
    /// How users are called.
    pub users: Users,
    /// How long a user has the same pseudonym.
    pub pseudonym_period: Duration,
    /// How much of a URL is told.
    pub urls: Urls,
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            addresses: Addresses::Full,
            users: Users::Plain,
            pseudonym_period: Duration::from_secs(86_400),
            urls: Urls::Full,
        }
    }
}

/// How much of a client's address is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Addresses {
    /// All of it.
    Full,
    /// The first 24 bits of IPv4, the first 48 of IPv6.
    Truncate,
}

impl Addresses {
    const ALL: [Self; 2] = [Self::Full, Self::Truncate];

    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Truncate => "truncate",
        }
    }
}

/// How users are called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Users {
    /// By their names.
    Plain,
    /// By pseudonyms that nobody can lead back, and that change with every period.
    Pseudonym,
}

impl Users {
    const ALL: [Self; 2] = [Self::Plain, Self::Pseudonym];

    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Pseudonym => "pseudonym",
        }
    }
}

/// How much of a URL is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Urls {
    /// All of it.
    Full,
    /// What stands before the query.
    NoQuery,
    /// Scheme and authority.
    Host,
}

impl Urls {
    const ALL: [Self; 3] = [Self::Full, Self::NoQuery, Self::Host];

    /// The word used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::NoQuery => "no-query",
            Self::Host => "host",
        }
    }
}

pub(super) const LOG: Keys = Keys {
    known: &[
        "access",
        "format",
        "when_full",
        "queue_limit",
        "rotate_size",
        "rotate_keep",
        "addresses",
        "users",
        "pseudonym_period",
        "urls",
        "packets",
    ],
    later: &["level"],
};

/// Reads the section.
pub(super) fn log(section: &Section<'_>) -> Log {
    let default = Log::default();
    let access = section.list("access", || vec![Sink::Stdout], sink);
    if let Some(item) = section.get("access") {
        for (number, sink) in access.iter().enumerate() {
            if access.iter().take(number).any(|other| other == sink) {
                item.note(format!("\"{sink}\" stands there twice: take one out"));
            }
        }
    }
    let when_full = section.choice(
        "when_full",
        default.when_full,
        &WhenFull::ALL.map(|word| (word.name(), word)),
    );
    if access.is_empty()
        && when_full == WhenFull::Block
        && let Some(item) = section.get("when_full")
    {
        item.note("\"block\": there is no sink in `access` that could be full: name one");
    }
    let keep = section.number("rotate_keep", default.rotation.keep.into(), 1..1001);
    Log {
        access,
        format: section.choice(
            "format",
            default.format,
            &Format::ALL.map(|word| (word.name(), word)),
        ),
        when_full,
        // Less has no room for the records of a burst; more is memory for nothing.
        queue_limit: bounded(section, "queue_limit", (256 << 10)..=(1 << 30))
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(default.queue_limit),
        rotation: Rotation {
            size: rotate_size(section),
            keep: u32::try_from(keep).unwrap_or(default.rotation.keep),
        },
        privacy: Privacy {
            addresses: section.choice(
                "addresses",
                Addresses::Full,
                &Addresses::ALL.map(|word| (word.name(), word)),
            ),
            users: section.choice(
                "users",
                Users::Plain,
                &Users::ALL.map(|word| (word.name(), word)),
            ),
            pseudonym_period: positive(
                section,
                "pseudonym_period",
                default.privacy.pseudonym_period,
            ),
            urls: section.choice(
                "urls",
                Urls::Full,
                &Urls::ALL.map(|word| (word.name(), word)),
            ),
        },
        packets: section.value("packets", default.packets, packets),
    }
}

fn bounded(section: &Section<'_>, key: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let item: Item<'_> = section.get(key)?;
    let size = item.parse(value::size)?;
    if !bounds.contains(&size) {
        let (least, most) = (
            value::show_size(*bounds.start()),
            value::show_size(*bounds.end()),
        );
        item.note(format!("expected a size from \"{least}\" to \"{most}\""));
    }
    Some(size)
}

/// "0B" leaves rotation to somebody else.
fn rotate_size(section: &Section<'_>) -> Option<u64> {
    let item = section.get("rotate_size")?;
    let size = item.parse(value::size)?;
    if size == 0 {
        return None;
    }
    if !((64 << 10)..=(1 << 40)).contains(&size) {
        item.note("expected \"0B\" for never, or a size from \"64KiB\" to \"1024GiB\"");
    }
    Some(size)
}

fn packets(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    let every = value::duration(text)
        .map_err(|_| "expected \"off\", or how often, such as \"10s\" or \"5m\"")?;
    if (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&every) {
        Ok(Some(every))
    } else {
        Err("expected \"off\", or a duration from \"1s\" to \"1h\"".into())
    }
}

fn sink(text: &str) -> Result<Sink, String> {
    const EXPECTED: &str = "expected \"stdout\", \"stderr\", \"file:/var/log/sluice/access.jsonl\", \
                            \"journald\", \"syslog:unix:/dev/log\", \"syslog:udp://HOST:PORT\" or \
                            \"syslog:tcp://HOST:PORT\"";
    if let Some(path) = text.strip_prefix("file:") {
        return Ok(Sink::File(absolute(path)?));
    }
    if let Some(path) = text.strip_prefix("journald:") {
        return Ok(Sink::Journald(absolute(path)?));
    }
    if let Some(path) = text.strip_prefix("syslog:unix:") {
        return Ok(Sink::SyslogUnix(absolute(path)?));
    }
    if let Some(place) = text.strip_prefix("syslog:udp://") {
        return Ok(Sink::SyslogUdp(server(place)?));
    }
    if let Some(place) = text.strip_prefix("syslog:tcp://") {
        return Ok(Sink::SyslogTcp(server(place)?));
    }
    match text {
        "stdout" => Ok(Sink::Stdout),
        "stderr" => Ok(Sink::Stderr),
        "journald" => Ok(Sink::Journald(JOURNAL.into())),
        _ => Err(EXPECTED.into()),
    }
}

fn server(text: &str) -> Result<Server, String> {
    const EXPECTED: &str = "expected a host and a port, such as \"logs.example:514\", \
                            \"192.0.2.9:514\" or \"[2001:db8::9]:514\"";
    let (host, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
    let Ok(port @ 1..) = port.parse() else {
        return Err(EXPECTED.into());
    };
    let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(Some(v6)) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
        Some(_) => return Err(EXPECTED.into()),
        None => host,
    };
    let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok() && text.starts_with('[');
    let is_name = !host.is_empty()
        && host.len() <= 253
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if is_v6 || is_name {
        Ok(Server {
            host: host.to_owned(),
            port,
        })
    } else {
        Err(EXPECTED.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_are_written_as_they_are_read() {
        for text in [
            "stdout",
            "stderr",
            "file:/var/log/sluice/access.jsonl",
            "journald",
            "journald:/tmp/socket",
            "syslog:unix:/dev/log",
            "syslog:udp://logs.example:514",
            "syslog:tcp://192.0.2.9:601",
            "syslog:tcp://[2001:db8::9]:601",
        ] {
            assert_eq!(sink(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "stdin",
            "file:access.jsonl",
            "syslog:tcp://2001:db8::9:601",
            "syslog:tcp://[192.0.2.9]:601",
            "syslog:udp://logs.example",
            "syslog:udp://logs.example:0",
            "syslog:udp://:514",
            "syslog:udp://a b:514",
        ] {
            assert!(sink(text).is_err(), "{text}");
        }
    }
}
