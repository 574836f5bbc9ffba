//! The policy in force, as flows see it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use sluice_policy::Policy;
use sluice_splice::Options;

use crate::config::{Config, SniTruth};
use crate::identity::authenticate::Authenticator;
use crate::intercept::Means;
use crate::names::Names;
use crate::page::Pages;
use crate::proxy::{Asker, Door};
use crate::request::Limits;

/// Everything that a flow is judged and carried by. A flow keeps the one it began with.
#[derive(Debug)]
pub struct Generation {
    /// Counts up from 1 with every reload.
    pub number: u64,
    /// The rules.
    pub policy: Policy,
    /// The candidate, whose rules are tried on every flow and never act.
    pub shadow: Option<Config>,
    /// Time for a whole ClientHello, from its first byte.
    pub hello_timeout: Duration,
    /// Time for the first byte.
    pub silent_timeout: Duration,
    /// Bytes that a ClientHello may take.
    pub hello_limit: usize,
    /// Whether the server name of a hello has to be true.
    pub sni_truth: SniTruth,
    /// Finds the addresses of names; `None` where nobody asks for them.
    pub names: Option<Names>,
    /// The proxy listeners, by name.
    pub doors: HashMap<Box<str>, Arc<Door>>,
    /// Who tells the clients of a proxy listener by their credentials, by the listener's name.
    pub askers: HashMap<Box<str>, Arc<dyn Asker>>,
    /// Time for the origin to accept the connection.
    pub connect_timeout: Duration,
    /// How allowed flows are relayed.
    pub relay: Options,
    /// What flows are decrypted and origins probed with.
    pub means: Means,
    /// What blocked and warned clients are shown.
    pub pages: Pages,
    /// How large the heads of requests may be.
    pub requests: Limits,
    /// Time for a handshake of a client's with the gateway.
    pub handshake_timeout: Duration,
    /// Time for the head of a request.
    pub head_timeout: Duration,
    /// How long it is remembered that a client refused a leaf.
    pub rejected_ttl: Duration,
    /// Flows in all.
    pub flow_limit: usize,
    /// Flows of one client.
    pub flow_limit_per_client: usize,
}

impl Generation {
    /// What a configuration says, as a generation of that number.
    ///
    /// # Errors
    ///
    /// The candidate that is to be the shadow cannot be read, or has mistakes; the CA, roots or
    /// revocation lists cannot be used.
    pub fn new(number: u64, config: &Config) -> anyhow::Result<Self> {
        let shadow = config.load_shadow(None).context("the shadow policy")?;
        Self::with(number, config, shadow, Means::new(config)?)
    }

    /// What a configuration says, as the generation after this one, with whose leaves, sessions and
    /// probes it goes on where nothing changes about them.
    ///
    /// # Errors
    ///
    /// Those of [`Generation::new`].
    pub fn next(&self, config: &Config) -> anyhow::Result<Self> {
        let shadow = config.load_shadow(self.shadow.as_ref());
        let shadow = shadow.context("the shadow policy")?;
        let means = self.means.next(config)?;
        Self::with(self.number + 1, config, shadow, means)
    }

    /// Who tells the clients of a proxy listener.
    pub(crate) fn asker(&self, listener: &str) -> Arc<dyn Asker> {
        match self.askers.get(listener) {
            Some(asker) => Arc::clone(asker),
            None => Arc::new(Authenticator::default()),
        }
    }

    fn with(
        number: u64,
        config: &Config,
        shadow: Option<Config>,
        means: Means,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            number,
            means,
            pages: Pages::new(config.page.clone()),
            requests: config.request,
            handshake_timeout: config.intercept.handshake_timeout,
            head_timeout: config.intercept.head_timeout,
            rejected_ttl: config.intercept.rejected_ttl,
            policy: config.policy.clone(),
            shadow,
            hello_timeout: config.steer.hello_timeout,
            silent_timeout: config.steer.silent_timeout,
            hello_limit: config.steer.hello_limit,
            sni_truth: config.steer.sni_truth,
            names: match config.steer.sni_truth {
                SniTruth::Off if config.proxies.is_empty() => None,
                SniTruth::Off | SniTruth::Check | SniTruth::Dial => {
                    Some(Names::new(&config.resolver)?)
                }
            },
            doors: doors(config)?,
            askers: HashMap::new(),
            connect_timeout: config.splice.connect_timeout,
            relay: Options {
                idle_timeout: config.splice.idle_timeout.unwrap_or_default(),
                total_timeout: config.splice.total_timeout.unwrap_or_default(),
                bulk_after: config.splice.bulk_after,
                ..Options::default()
            },
            flow_limit: config.gateway.flow_limit,
            flow_limit_per_client: config.gateway.flow_limit_per_client,
        })
    }
}

fn doors(config: &Config) -> anyhow::Result<HashMap<Box<str>, Arc<Door>>> {
    let doors = config.proxies.iter();
    doors
        .map(|proxy| Ok((proxy.name.clone(), Arc::new(Door::new(proxy)?))))
        .collect()
}

/// Where the current generation is.
#[derive(Debug)]
pub struct Current {
    number: AtomicU64,
    generation: Mutex<Arc<Generation>>,
}

impl Current {
    /// Begins with a generation.
    #[must_use]
    pub fn new(generation: Generation) -> Self {
        Self {
            number: AtomicU64::new(generation.number),
            generation: Mutex::new(Arc::new(generation)),
        }
    }

    /// Replaces the generation; flows that begin from here on see the new one.
    pub fn replace(&self, generation: Generation) {
        let number = generation.number;
        *self
            .generation
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(generation);
        self.number.store(number, Ordering::Release);
    }

    /// Number of the current generation.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The current generation.
    #[must_use]
    pub fn get(&self) -> Arc<Generation> {
        Arc::clone(
            &self
                .generation
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}
