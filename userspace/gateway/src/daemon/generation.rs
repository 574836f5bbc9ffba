//! The policy in force, as flows see it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use sluice_policy::{Policy, RuleSet};
use sluice_splice::Options;

use super::metrics::rules::RuleHits;
use crate::config::{Config, Proxy, SniTruth};
use crate::identity::{addresses::Settings, authenticate::Authenticator, providers::Providers};
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
    /// What they were compiled from, for who asks what a rule says.
    pub set: RuleSet,
    /// What they decided so far.
    pub hits: RuleHits,
    /// The candidate, whose rules are tried on every flow and never act.
    pub shadow: Option<Config>,
    /// Time for a whole ClientHello, from its first byte.
    pub hello_timeout: Duration,
    /// Time for the first byte.
    pub silent_timeout: Duration,
    /// Bytes that a ClientHello may take.
    pub hello_limit: usize,
    /// Whether the hello that follows a HelloRetryRequest has to say the same as the first.
    pub strict_hrr: bool,
    /// Whether the server name of a hello has to be true.
    pub sni_truth: SniTruth,
    /// Finds the addresses of names; `None` where nobody asks for them.
    names: Option<Names>,
    /// How long an attempt to connect has until the name's next address is tried beside it.
    pub attempt_delay: Duration,
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
    /// Who is asked about credentials.
    pub providers: Providers,
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
    /// Addresses that stand for somebody for a time.
    pub addresses: Settings,
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
    /// The candidate that is to be the shadow cannot be read, or has mistakes; the CA, roots,
    /// revocation lists or providers cannot be used.
    pub fn new(number: u64, config: &Config) -> anyhow::Result<Self> {
        let shadow = config.load_shadow(None).context("the shadow policy")?;
        let providers = Providers::new(&config.identity)?;
        let means = Means::new(config)?;
        Self::with(number, config, shadow, (means, providers), None)
    }

    /// What a configuration says, as the generation after this one, with whose leaves, sessions,
    /// probes and providers it goes on where nothing changes about them.
    ///
    /// # Errors
    ///
    /// Those of [`Generation::new`].
    pub fn next(&self, config: &Config) -> anyhow::Result<Self> {
        let shadow = config.load_shadow(self.shadow.as_ref());
        let shadow = shadow.context("the shadow policy")?;
        let means = self.means.next(config)?;
        let providers = self.providers.next(&config.identity)?;
        Self::with(
            self.number + 1,
            config,
            shadow,
            (means, providers),
            Some(self),
        )
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
        (means, providers): (Means, Providers),
        before: Option<&Self>,
    ) -> anyhow::Result<Self> {
        let names = before.and_then(Self::names);
        let names = config
            .needs_names()
            .then(|| Names::after(&config.resolver, names));
        let askers = askers(config, &providers)?;
        Ok(Self {
            number,
            means,
            providers,
            pages: Pages::new(config.page.clone()),
            requests: config.request,
            handshake_timeout: config.intercept.handshake_timeout,
            head_timeout: config.intercept.head_timeout,
            rejected_ttl: config.intercept.rejected_ttl,
            hits: RuleHits::new(&config.policy, before.map(|before| &before.hits)),
            policy: config.policy.clone(),
            set: config.rules.clone(),
            shadow,
            hello_timeout: config.steer.hello_timeout,
            silent_timeout: config.steer.silent_timeout,
            hello_limit: config.steer.hello_limit,
            strict_hrr: config.steer.strict_hrr,
            sni_truth: config.steer.sni_truth,
            names: names.transpose()?,
            attempt_delay: config.resolver.attempt_delay,
            doors: doors(config)?,
            askers,
            connect_timeout: config.splice.connect_timeout,
            relay: Options {
                idle_timeout: config.splice.idle_timeout.unwrap_or_default(),
                total_timeout: config.splice.total_timeout.unwrap_or_default(),
                bulk_after: config.splice.bulk_after,
                ..Options::default()
            },
            addresses: config.addresses,
            flow_limit: config.gateway.flow_limit,
            flow_limit_per_client: config.gateway.flow_limit_per_client,
        })
    }
}

impl Generation {
    /// Finds the addresses of names; `None` where nothing asks for them, as
    /// [`Config::needs_names`] says.
    #[must_use]
    pub const fn names(&self) -> Option<&Names> {
        self.names.as_ref()
    }
}

fn doors(config: &Config) -> anyhow::Result<HashMap<Box<str>, Arc<Door>>> {
    let doors = config.proxies.iter();
    doors
        .map(|proxy| Ok((proxy.name.clone(), Arc::new(Door::new(proxy)?))))
        .collect()
}

/// Who tells the clients of each listener.
fn askers(
    config: &Config,
    providers: &Providers,
) -> anyhow::Result<HashMap<Box<str>, Arc<dyn Asker>>> {
    // One for all listeners that ask nobody: what it remembers of attempts takes its room at once.
    let nobody: Arc<dyn Asker> = Arc::new(Authenticator::default());
    let asker = |proxy: &Proxy| {
        let names: Vec<&str> = proxy.providers().collect();
        if names.is_empty() {
            return Ok((proxy.name.clone(), Arc::clone(&nobody)));
        }
        let asker = providers
            .authenticator(&names)
            .with_context(|| format!("[[proxy]] \"{}\"", proxy.name))?;
        Ok((proxy.name.clone(), Arc::new(asker) as Arc<dyn Asker>))
    };
    config.proxies.iter().map(asker).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_by_one_for_all_requests_and_listeners() {
        let text = "[gateway]\nlan = [\"lan0\"]\n\
                    [[proxy]]\nname = \"a\"\nlisten = [\"127.0.0.1:3128\"]\n\
                    [[proxy]]\nname = \"b\"\nlisten = [\"127.0.0.1:3129\"]\n";
        let generation = Generation::new(1, &Config::parse(text, "test").unwrap()).unwrap();
        let [a, again, b] = ["a", "a", "b"].map(|name| generation.asker(name));
        assert!(Arc::ptr_eq(&a, &again));
        assert!(Arc::ptr_eq(&a, &b));
        assert!(a.challenges().is_empty());
    }
}
