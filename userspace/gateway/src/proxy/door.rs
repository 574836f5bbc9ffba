//! A listener's settings with what their files hold.

use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;

use crate::config::{Demand, ListenerTls, Proxy};
use crate::listener_tls;
use crate::origin::provider;

/// A proxy listener of a generation of the policy.
#[derive(Debug)]
pub struct Door {
    settings: Proxy,
    tls: Option<Arc<ServerConfig>>,
}

impl Door {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    ///
    /// A file cannot be read, holds nothing of use, or the key is not that of the certificate.
    pub fn new(settings: &Proxy) -> anyhow::Result<Self> {
        let tls = settings.tls.as_ref();
        let tls = tls.map(|tls| server(tls, settings)).transpose();
        Ok(Self {
            tls: tls.with_context(|| format!("`tls` of [[proxy]] \"{}\"", settings.name))?,
            settings: settings.clone(),
        })
    }

    /// What the configuration says.
    #[must_use]
    pub const fn settings(&self) -> &Proxy {
        &self.settings
    }

    /// How TLS is spoken with clients; `None`: it is not.
    pub(super) const fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }
}

fn server(tls: &ListenerTls, settings: &Proxy) -> anyhow::Result<Arc<ServerConfig>> {
    // Whoever may say otherwise who they are need not show a certificate.
    let others = settings.providers().next().is_some() || settings.by_address().is_some();
    let only = !others && settings.identity == Demand::Required;
    listener_tls::server(tls, provider(), !only).map(Arc::new)
}
