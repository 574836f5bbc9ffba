//! Addresses of names, as the gateway itself finds them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Whom to ask, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Name servers; none: those that the system asks.
    pub servers: Vec<SocketAddr>,
    /// Time for one server to answer.
    pub timeout: Duration,
    /// Answers that are kept, each for its own time.
    pub cache: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            cache: 8192,
        }
    }
}

/// Finds the addresses of names.
pub struct Names(TokioResolver);

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Names").finish_non_exhaustive()
    }
}

/// Why the addresses of a name are not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// There is no such name, or it has no address.
    #[error("the name has no address")]
    NotFound,
    /// No server answered in time, or none that knows.
    #[error("no name server answers for the name")]
    Unavailable,
}

impl Names {
    /// Prepares to ask; asks nobody yet.
    ///
    /// # Errors
    ///
    /// The system's configuration of name servers cannot be read.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
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
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        Ok(Self(builder.build()?))
    }

    /// All addresses of a name, of both families.
    ///
    /// # Errors
    ///
    /// [`NameError`].
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        // Whole, so that no search list of the system's makes another name of it.
        let whole = format!("{}.", name.trim_end_matches('.'));
        match self.0.lookup_ip(whole).await {
            Ok(found) => {
                let found: Vec<_> = found.iter().collect();
                if found.is_empty() {
                    return Err(NameError::NotFound);
                }
                Ok(found)
            }
            Err(error) => Err(Self::error(&error)),
        }
    }

    fn error(error: &NetError) -> NameError {
        if error.is_nx_domain() || error.is_no_records_found() {
            NameError::NotFound
        } else {
            NameError::Unavailable
        }
    }
}
