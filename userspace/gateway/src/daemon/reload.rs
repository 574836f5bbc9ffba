//! A new configuration while the daemon runs: all of it, or none.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use sluice_policy::kernel::KernelPolicy;

use super::generation::Generation;
use super::records::Prepared;
use super::worker::Shared;
use crate::config::Config;

/// A configuration that was read and compiled, and is not in force yet.
#[derive(Debug)]
pub struct Loaded {
    config: Config,
    generation: Generation,
    kernel: KernelPolicy,
    access: Prepared,
}

/// Reads the file and makes of it everything that is to be in force. Takes as long as its lists are
/// long, and touches nothing that is in force.
///
/// # Errors
///
/// The file has mistakes, or changes what only a restart can change.
pub fn load(file: &Path, before: &Config, shared: &Shared) -> anyhow::Result<Loaded> {
    let config = Config::reload(file, before)?;
    let fixed = changed(before, &config);
    if !fixed.is_empty() {
        bail!(
            "{} cannot change while the daemon runs: restart it",
            fixed.join(", ")
        );
    }
    let generation = shared.current.get().next(&config)?;
    let kernel = config
        .kernel_policy(1)
        .context("the kernel's part of the policy")?;
    let access = shared.access.prepare(&config.log)?;
    Ok(Loaded {
        config,
        generation,
        kernel,
        access,
    })
}

impl Loaded {
    /// Puts it into force, in the kernel first, to which `publish` hands its part; returns what is
    /// in force now. Flows that began before go on under what they began with.
    ///
    /// # Errors
    ///
    /// The kernel refuses it. What was in force stays in force then.
    pub fn put_in_force<E>(
        self,
        shared: &Shared,
        publish: impl FnOnce(&KernelPolicy) -> Result<u32, E>,
    ) -> anyhow::Result<Config>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        publish(&self.kernel).context("the kernel's part of the policy")?;
        shared.access.put_in_force(self.access);
        shared.access.keep_recent(self.config.recent());
        shared.guard.set(self.config.guard.clone());
        shared.current.replace(self.generation);
        let limit = self.config.addresses.limit;
        shared.addresses.set_limit(limit, Instant::now());
        Ok(self.config)
    }
}

/// The settings that differ and that only a restart can change.
fn changed(before: &Config, after: &Config) -> Vec<&'static str> {
    let (old, new) = (&before.gateway, &after.gateway);
    let lan = |config: &Config| {
        config
            .gateway
            .lan
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    [
        ("gateway.lan", lan(before) != lan(after)),
        ("gateway.workers", old.workers != new.workers),
        ("gateway.state_dir", old.state_dir != new.state_dir),
        ("gateway.bpffs_dir", old.bpffs_dir != new.bpffs_dir),
        ("gateway.mark", old.marks != new.marks),
        ("gateway.table", old.table != new.table),
        (
            "gateway.listener_port",
            old.listener_port != new.listener_port,
        ),
        ("listen of [[proxy]]", listens(before) != listens(after)),
        ("admin.listen", before.admin.listen != after.admin.listen),
        ("admin.names", before.admin.names != after.admin.names),
        ("admin.token_file", before.admin.token != after.admin.token),
        ("admin.tls", before.admin.tls != after.admin.tls),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

/// Where proxies listen, by name.
fn listens(config: &Config) -> BTreeMap<&str, &[SocketAddr]> {
    let proxies = config.proxies.iter();
    proxies
        .map(|proxy| (&*proxy.name, proxy.listen.as_slice()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(gateway: &str, rest: &str) -> Config {
        Config::parse(
            &format!("[gateway]\nlan = [\"lan0\"]\n{gateway}\n{rest}"),
            "test",
        )
        .unwrap()
    }

    #[test]
    fn what_only_a_restart_can_change_is_named() {
        let before = config("", "");
        assert!(changed(&before, &config("", "[policy]\ndefault = \"allow\"")).is_empty());
        let after = config("workers = 3\nlistener_port = 7000", "");
        assert_eq!(
            changed(&before, &after),
            ["gateway.workers", "gateway.listener_port"]
        );
        let proxy = |listen: &str, more: &str| {
            config("", &format!("[[proxy]]\nlisten = [\"{listen}\"]\n{more}"))
        };
        let before = proxy("192.0.2.1:3128", "");
        assert!(changed(&before, &proxy("192.0.2.1:3128", "via = false")).is_empty());
        for after in [config("", ""), proxy("192.0.2.1:8080", "")] {
            assert_eq!(changed(&before, &after), ["listen of [[proxy]]"]);
        }
    }
}
