//! Addresses of names, as the gateway itself finds them.
//!
//! A and AAAA records are asked for, and aliases (CNAME) followed by whoever answers. HTTPS and SVCB
//! records (RFC 9460) are not: their targets, ports and address hints are for clients, and what they
//! lead a client to comes here as a name or an address of its own.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::RecordType;
use lru::LruCache;
use tokio::time::{Instant as Deadline, sleep_until};

/// How long an address counts as one of a name's after it was last seen to be: networks that spread
/// their load answer with others every few seconds, and clients go on with those that they were told.
const SEEN: Duration = Duration::from_secs(3600);
/// Addresses of one name that are remembered.
const SEEN_EACH: usize = 64;
/// A name is asked for again, past what is known of it, no more often than that.
const AGAIN: Duration = Duration::from_secs(1);
/// How long it is believed that a name has no address, at least and at most, whatever the answer says.
const NEGATIVE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];
/// Questions on one connection to a name server, where answers are too long for datagrams.
const AT_ONCE: usize = 256;

/// Whom to ask, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Name servers; none: those that the system asks.
    pub servers: Vec<SocketAddr>,
    /// Time for one server to answer.
    pub timeout: Duration,
    /// Answers that are kept, each for its own time; as many names are remembered whose addresses
    /// were to be true.
    pub cache: usize,
    /// How long an attempt to connect has until the name's next address is tried beside it (RFC 8305
    /// section 5), and the answer for one family once the other is there (section 3); 10 milliseconds
    /// to 2 seconds.
    pub attempt_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            cache: 8192,
            attempt_delay: Duration::from_millis(250),
        }
    }
}

/// Finds the addresses of names. Who asks for a name that somebody asks for already waits for the
/// same answer.
pub struct Names {
    resolver: TokioResolver,
    /// How long one family is waited for once the other is there.
    patience: Duration,
    /// Which addresses names had of late. Outlives reloads.
    seen: Arc<Mutex<LruCache<String, Seen>>>,
}

/// What is remembered of a name.
#[derive(Default)]
struct Seen {
    /// The addresses, and when each was last seen.
    addresses: Vec<(IpAddr, Instant)>,
    /// When it was last asked for past what is known.
    again: Option<Instant>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// Why the addresses of a name are not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// No name that may be asked for: its form is wrong, or it ends in a number, as only addresses do.
    #[error("no name that has addresses")]
    NotAName,
    /// There is no such name (NXDOMAIN).
    #[error("there is no such name")]
    NotFound,
    /// There is such a name, and it has no address.
    #[error("the name has no address")]
    NoAddress,
    /// No server answered in time.
    #[error("no name server answers in time")]
    TimedOut,
    /// Servers answer that they cannot tell (SERVFAIL, REFUSED), or none is reached.
    #[error("no name server can tell")]
    Unavailable,
}

impl NameError {
    /// Whether this is what is known of the name, and no trouble of asking for it.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::NotAName | Self::NotFound | Self::NoAddress)
    }
}

impl From<&NetError> for NameError {
    fn from(error: &NetError) -> Self {
        match error {
            _ if error.is_nx_domain() => Self::NotFound,
            _ if error.is_no_records_found() => Self::NoAddress,
            NetError::Timeout => Self::TimedOut,
            NetError::Dns(DnsError::ResponseCode(_)) => Self::Unavailable,
            NetError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Unavailable,
        }
    }
}

impl Names {
    /// Prepares to ask; asks nobody yet. The system's settings are read where there are no others.
    ///
    /// # Errors
    ///
    /// The system's configuration of name servers cannot be read.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        Self::after(settings, None)
    }

    /// Prepares to ask as new settings say, with nothing forgotten of which addresses names had.
    ///
    /// # Errors
    ///
    /// Those of [`Names::new`].
    pub fn after(settings: &Settings, before: Option<&Self>) -> anyhow::Result<Self> {
        let capacity = NonZeroUsize::new(settings.cache).unwrap_or(NonZeroUsize::MIN);
        let seen = match before {
            Some(before) => Arc::clone(&before.seen),
            None => Arc::new(Mutex::new(LruCache::unbounded())),
        };
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .resize(capacity);
        Ok(Self {
            resolver: resolver(settings)?,
            patience: settings.attempt_delay,
            seen,
        })
    }

    /// The addresses of a name, of both families; those of one alone, where the answer for the other
    /// is late.
    ///
    /// # Errors
    ///
    /// [`NameError`].
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        self.find(&canonical(name)?, Some(self.patience)).await
    }

    /// Whether an address is one of a name's, or was within the last hour. Where it is not, the name
    /// is asked for once more, past what is remembered, unless that was done within the last second.
    ///
    /// # Errors
    ///
    /// [`NameError`], where nothing is remembered that says so.
    pub async fn has(&self, name: &str, address: IpAddr) -> Result<bool, NameError> {
        let name = canonical(name)?;
        let address = address.to_canonical();
        match self.find(&name, None).await {
            Err(error) if error.is_answer() => {}
            Err(error) if !self.has_seen(&name, address) => return Err(error),
            Err(_) | Ok(_) => {}
        }
        if self.has_seen(&name, address) {
            return Ok(true);
        }
        if !self.may_ask_again(&name) {
            return Ok(false);
        }
        for kind in [RecordType::A, RecordType::AAAA] {
            self.resolver.clear_lookup_cache(whole(&name), kind);
        }
        let found = self.find(&name, None).await?;
        Ok(found.contains(&address))
    }

    /// Whether an address is one of a name's: one that [`Names::has`], or one whose `proof` says so,
    /// since clients may be told other addresses than the gateway is. The proof is asked for only
    /// where nothing else tells.
    ///
    /// # Errors
    ///
    /// Those of [`Names::has`], where there is no proof either.
    pub async fn is_true(
        &self,
        name: &str,
        address: IpAddr,
        proof: impl Future<Output = bool>,
    ) -> Result<bool, NameError> {
        let found = self.has(name, address).await;
        if found == Ok(true) || proof.await {
            return Ok(true);
        }
        found
    }

    /// Asks, and remembers what is found. Where one family has addresses, the other one is waited for
    /// no longer than `patience`: in some networks questions for AAAA records are lost.
    async fn find(&self, name: &str, patience: Option<Duration>) -> Result<Vec<IpAddr>, NameError> {
        let families = [RecordType::A, RecordType::AAAA];
        let [v4, v6] = families.map(|family| self.ask(name, family));
        tokio::pin!(v4, v6);
        let (mut first, mut second) = (None, None);
        let mut until = None;
        while first.is_none() || second.is_none() {
            tokio::select! {
                biased;
                found = &mut v4, if first.is_none() => first = Some(found),
                found = &mut v6, if second.is_none() => second = Some(found),
                () = time_up(until) => break,
            }
            if [&first, &second].into_iter().flatten().any(Result::is_ok) {
                until = until.or_else(|| patience.map(|patience| Deadline::now() + patience));
            }
        }
        let mut addresses: Vec<IpAddr> = Vec::new();
        let mut failed = None;
        for found in [first, second].into_iter().flatten() {
            match found {
                Ok(found) => addresses.extend(found),
                Err(error) => failed = Some(worse(failed, error)),
            }
        }
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        if addresses.is_empty() {
            return Err(failed.unwrap_or(NameError::NoAddress));
        }
        self.remember(name, &addresses);
        Ok(addresses)
    }

    /// The addresses of one family, at least one.
    async fn ask(&self, name: &str, family: RecordType) -> Result<Vec<IpAddr>, NameError> {
        let found = self.resolver.lookup(whole(name), family).await;
        let found = found.map_err(|error| NameError::from(&error))?;
        let addresses = found
            .answers()
            .iter()
            .filter_map(|record| record.data.ip_addr());
        let addresses: Vec<_> = addresses.map(|address| address.to_canonical()).collect();
        if addresses.is_empty() {
            return Err(NameError::NoAddress);
        }
        Ok(addresses)
    }

    fn remember(&self, name: &str, addresses: &[IpAddr]) {
        let now = Instant::now();
        self.of(name, |seen| {
            let seen = &mut seen.addresses;
            seen.retain(|(address, at)| {
                now.duration_since(*at) < SEEN && !addresses.contains(address)
            });
            seen.extend(addresses.iter().map(|&address| (address, now)));
            let surplus = seen.len().saturating_sub(SEEN_EACH);
            seen.drain(..surplus);
        });
    }

    fn has_seen(&self, name: &str, address: IpAddr) -> bool {
        let now = Instant::now();
        self.of(name, |seen| {
            let mut seen = seen.addresses.iter();
            seen.any(|&(one, at)| one == address && now.duration_since(at) < SEEN)
        })
    }

    fn may_ask_again(&self, name: &str) -> bool {
        let now = Instant::now();
        self.of(name, |seen| {
            let is_late = seen.again.is_none_or(|at| now.duration_since(at) >= AGAIN);
            if is_late {
                seen.again = Some(now);
            }
            is_late
        })
    }

    fn of<T>(&self, name: &str, then: impl FnOnce(&mut Seen) -> T) -> T {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        then(seen.get_or_insert_mut_ref(name, Seen::default))
    }
}

/// Of two errors the one that says more of the whole name.
fn worse(before: Option<NameError>, now: NameError) -> NameError {
    let rank = |error| match error {
        // There is none of either family then.
        NameError::NotFound => 2,
        NameError::NotAName | NameError::NoAddress => 0,
        NameError::TimedOut | NameError::Unavailable => 1,
    };
    before
        .filter(|&before| rank(before) >= rank(now))
        .unwrap_or(now)
}

async fn time_up(until: Option<Deadline>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn resolver(settings: &Settings) -> anyhow::Result<TokioResolver> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder(provider).map_err(|error| {
            anyhow::anyhow!(
                "the system's name servers are not known ({error}): write them into \
                 /etc/resolv.conf, or into `servers` in [resolver]"
            )
        })?
    } else {
        let servers = settings.servers.iter().map(|server| {
            let on_port = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(on_port);
            NameServerConfig::new(server.ip(), true, connections.into())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, provider)
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = settings.timeout;
    options.attempts = 2;
    options.cache_size = settings.cache as u64;
    options.max_active_requests = AT_ONCE;
    [options.negative_min_ttl, options.negative_max_ttl] = NEGATIVE.map(Some);
    Ok(builder.build()?)
}

/// Whole, so that no search list of the system's makes another name of it.
fn whole(name: &str) -> String {
    format!("{name}.")
}

/// A name in the form in which it is asked for: lower case, ASCII, without a dot at its end.
///
/// # Errors
///
/// [`NameError::NotAName`] for what is no name, and for what ends in a number: some libraries read an
/// IPv4 address in `127.1`, `0x7f.1` or `2130706433`, so that nobody may take it for a name.
pub fn canonical(name: &str) -> Result<String, NameError> {
    let name = sluice_policy::host::canonical(name).map_err(|_| NameError::NotAName)?;
    if ends_in_number(&name) {
        return Err(NameError::NotAName);
    }
    Ok(name.to_ascii_lowercase())
}

/// Whether the last label is a number, decimal or hexadecimal (WHATWG URL section 3.5).
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name).as_bytes();
    match last {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        [] => false,
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_in_a_number_is_no_name() {
        for (text, name) in [
            ("News.Example.", Some("news.example")),
            ("b\u{fc}cher.example", Some("xn--bcher-kva.example")),
            ("1.2.3.4a", Some("1.2.3.4a")),
            ("0xg", Some("0xg")),
            ("127.1", None),
            ("127.1.", None),
            ("0x7f.1", None),
            ("0x7f000001", None),
            ("a.0x", None),
            ("a.0X7F", None),
            ("2130706433", None),
            ("0177.0.0.1", None),
            ("news.example.1", None),
            ("127.0.0.1", None),
            ("::1", None),
            ("", None),
            (".", None),
            ("a b", None),
            ("a..b", None),
            // Digits of other scripts are digits after all.
            ("\u{ff11}\u{ff12}\u{ff17}.1", None),
            ("\u{2460}", None),
        ] {
            let found = canonical(text);
            assert_eq!(found.as_deref().ok(), name, "{text}");
        }
    }
}
