//! Connections to a directory: a bounded number, opened where none is idle. Whoever waits here sets
//! the time for it; a connection whose answer is not waited for is closed.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::{Settings, Transport};
use crate::origin::provider;

/// Connections that are open, and how to open more.
#[derive(Debug)]
pub(super) struct Pool {
    url: Box<str>,
    tls: Option<Arc<ClientConfig>>,
    start_tls: bool,
    idle: Arc<Mutex<Vec<Line>>>,
    places: Arc<Semaphore>,
}

/// One connection, and as whom it last was bound.
#[derive(Debug)]
struct Line {
    ldap: Ldap,
    /// Whether that was the account that looks for users.
    as_account: bool,
}

/// A connection of the pool. It goes back there only where it is told that it is whole.
#[derive(Debug)]
pub(super) struct Lent {
    line: Line,
    idle: Arc<Mutex<Vec<Line>>>,
    /// Whether it has been used before, so that its other end may be gone.
    pub(super) is_used: bool,
    _place: OwnedSemaphorePermit,
}

impl Pool {
    /// Reads the roots.
    ///
    /// # Errors
    ///
    /// There are none, or one is no certificate.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let tls = match settings.transport {
            Transport::Plaintext => None,
            Transport::StartTls | Transport::Tls => Some(Arc::new(tls(settings)?)),
        };
        Ok(Self {
            url: settings.url.clone(),
            tls,
            start_tls: settings.transport == Transport::StartTls,
            idle: Arc::default(),
            places: Arc::new(Semaphore::new(settings.pool)),
        })
    }

    /// Waits until one more connection may be in use.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, LdapError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| LdapError::Io {
            source: std::io::ErrorKind::BrokenPipe.into(),
        })
    }

    /// A connection: an idle one, if possible one that is bound as wanted, or a new one.
    pub(super) async fn take(
        &self,
        place: OwnedSemaphorePermit,
        as_account: bool,
        fresh: bool,
    ) -> Result<Lent, LdapError> {
        let found = if fresh {
            // What was opened before the directory went away is of no more use.
            self.lock().clear();
            None
        } else {
            self.find(as_account)
        };
        let is_used = found.is_some();
        let line = match found {
            Some(line) => line,
            None => self.open().await?,
        };
        Ok(Lent {
            line,
            idle: Arc::clone(&self.idle),
            is_used,
            _place: place,
        })
    }

    fn find(&self, as_account: bool) -> Option<Line> {
        let mut idle = self.lock();
        idle.retain_mut(|line| !line.ldap.is_closed());
        let fits = idle.iter().rposition(|line| line.as_account == as_account);
        match fits {
            Some(place) => Some(idle.swap_remove(place)),
            None => idle.pop(),
        }
    }

    async fn open(&self) -> Result<Line, LdapError> {
        let mut settings = LdapConnSettings::new().set_starttls(self.start_tls);
        if let Some(tls) = &self.tls {
            settings = settings.set_config(Arc::clone(tls));
        }
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &self.url).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "a connection to a directory has ended");
            }
        });
        Ok(Line {
            ldap,
            as_account: false,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    pub(super) const fn is_account(&self) -> bool {
        self.line.as_account
    }

    /// Binds (RFC 4511 section 4.2), and says what the directory made of it.
    pub(super) async fn bind(
        &mut self,
        dn: &str,
        password: &str,
        as_account: bool,
    ) -> Result<ldap3::LdapResult, LdapError> {
        self.line.as_account = false;
        let result = self.line.ldap.simple_bind(dn, password).await?;
        self.line.as_account = as_account && result.rc == 0;
        Ok(result)
    }

    pub(super) const fn ldap(&mut self) -> &mut Ldap {
        &mut self.line.ldap
    }

    /// Gives it back, whole.
    pub(super) fn give_back(self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(self.line);
    }
}

fn tls(settings: &Settings) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(text) = &settings.roots {
        for root in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let root = root.context("`ca` holds a block that is not PEM")?;
            roots
                .add(root)
                .context("`ca` holds a certificate that is no root")?;
        }
    } else {
        let loaded = rustls_native_certs::load_native_certs();
        // A system's bundle may hold one that is of no use here; the others are.
        roots.add_parsable_certificates(loaded.certs);
    }
    anyhow::ensure!(
        !roots.is_empty(),
        "there are no roots to judge the directory by: name a file in `ca`"
    );
    Ok(ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
