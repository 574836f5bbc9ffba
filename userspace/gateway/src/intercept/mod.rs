//! Interception: TLS is ended on both sides, and requests are judged one by one.
//!
//! Only flows for which a rule needs it come here; every other one is spliced, and nothing of it is
//! read behind its first bytes. The origin is met first, by a hello of our own ([`crate::origin`]),
//! so that the client is shown what it would have seen: a leaf for the name that it asked for, no
//! better than the origin's certificate ([`sluice_mint`]), the application protocol that both sides
//! speak, and no newer version of TLS than the origin has. Cleartext HTTP goes the same way without
//! TLS.
//!
//! A client that does not accept the leaf loses that connection, and that is remembered
//! ([`rejected`]): a rule may let its next attempt through, and nothing does so by itself.

pub mod client;
mod exchange;
mod forward;
mod gather;
mod pages;
pub mod rejected;
pub mod rewind;
mod serve;
mod strict;
mod through;
pub mod tickets;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::pki_types::{CertificateDer, UnixTime};
use sluice_mint::{Authorities, Clock as _, Minter, MinterOptions, SystemClock};
use sluice_splice::{DialError, DialOptions, dial};

use crate::config::{Ca, Config};
use crate::origin::{
    Connector, Origins, ProbeError, ProbeKey, ProbeLimits, Probes, Report, provider,
};
use crate::page::Warnings;
use client::Downstream;
use rejected::Rejected;
use tickets::TicketKeys;

pub(crate) use exchange::{Cut, Exchange, Judged, Link, Reply};
pub(crate) use forward::Upstream;
pub(crate) use gather::Gather;
pub(crate) use pages::Told;
pub(crate) use serve::{serve, serve_http1, time_up, until_over};
pub(crate) use strict::Strict;

/// Visitors that have gone on behind a warning, who are remembered at most.
const WARNINGS: usize = 65_536;

/// What lasts longer than a generation of the policy.
#[derive(Debug)]
pub struct Memory {
    /// Clients that refused a leaf.
    pub rejected: Rejected,
    /// Keys of session tickets.
    pub tickets: Arc<TicketKeys>,
    /// Who went on behind a warning.
    pub warnings: Warnings,
    /// What proxy listeners call themselves to others (RFC 9110 section 7.6.3): like nobody else, so
    /// that what comes back is known by it, and without telling the host's name.
    pub pseudonym: Box<str>,
}

impl Memory {
    /// Remembers nothing yet.
    ///
    /// # Errors
    ///
    /// The source of random bytes fails.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            rejected: Rejected::default(),
            tickets: Arc::new(
                TicketKeys::new()
                    .ok()
                    .context("no random bytes are to be had")?,
            ),
            warnings: Warnings::new(WARNINGS)?,
            pseudonym: pseudonym()?,
        })
    }
}

fn pseudonym() -> anyhow::Result<Box<str>> {
    let mut bytes = [0; 6];
    aws_lc_rs::rand::fill(&mut bytes)
        .ok()
        .context("no random bytes are to be had")?;
    Ok(format!("sluice-{}", crate::page::hex(&bytes)).into())
}

/// What a generation of the policy intercepts and probes with.
#[derive(Debug)]
pub struct Means {
    /// How origins are met; `None` where no rule can ask for that.
    pub origins: Option<Arc<Origins>>,
    /// Handshakes that are made for what they tell; with `origins`.
    pub probes: Option<Arc<Probes<Dialer>>>,
    /// How clients are met; `None` without a CA.
    pub leaves: Option<Arc<Leaves>>,
    /// The mark and the patience that probes dial with.
    dialing: (u32, Duration),
}

/// How clients are met.
#[derive(Debug)]
pub struct Leaves {
    /// Makes leaves.
    pub minter: Minter,
    /// The settings of TLS.
    pub downstream: Downstream,
    options: MinterOptions,
}

impl Leaves {
    /// Reads the CA, and closes the process to others before; gives back those of `before` where
    /// they were made of the same.
    fn new(ca: &Ca, before: Option<&Arc<Self>>) -> anyhow::Result<Arc<Self>> {
        let hardened =
            sluice_mint::harden_process().context("cannot close the process to others")?;
        if !hardened.memory_locked {
            tracing::warn!(
                "the memory that holds the CA's key can be swapped out: run with CAP_IPC_LOCK, or \
                 raise the limit of locked memory"
            );
        }
        let clock = Arc::new(SystemClock::default());
        let authorities = ca
            .files
            .load(ca.passphrase.as_ref(), clock.unix())
            .context("[ca]")?;
        if let Some(before) = before
            && before.options == ca.options
            && shown(before.minter.authorities()).eq(shown(&authorities))
        {
            return Ok(Arc::clone(before));
        }
        Ok(Arc::new(Self {
            minter: Minter::new(authorities, &ca.options, clock).context("[ca]")?,
            downstream: Downstream::new(&Arc::new(provider()))?,
            options: ca.options,
        }))
    }

    /// The certificates of the CA, which no origin may show.
    fn own(&self) -> Vec<CertificateDer<'static>> {
        let chains = self.minter.authorities().chains();
        let certificates = chains.flat_map(|(_, chain)| chain.certificates());
        certificates.map(|one| one.der().clone()).collect()
    }
}

/// Who signs from when on, by what of it clients are shown. A key fits no other certificate.
fn shown(
    authorities: &Authorities,
) -> impl Iterator<Item = (Option<i64>, &CertificateDer<'static>)> {
    authorities.chains().flat_map(|(from, chain)| {
        let certificates = chain.certificates().iter();
        certificates.map(move |one| (from, one.der()))
    })
}

impl Means {
    /// What a configuration needs: nothing where no rule can ask for a certificate or a request, so
    /// that filtering by server name alone needs neither roots nor a CA.
    ///
    /// # Errors
    ///
    /// Roots or revocation lists that cannot be read, or a CA that cannot be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Self::with(config, None)
    }

    /// What a configuration needs that comes after these means. All files are read anew; leaves,
    /// sessions and probes are kept where settings and files say the same as before, since a change
    /// of rules is no reason to sign and shake hands anew.
    ///
    /// # Errors
    ///
    /// Those of [`Means::new`].
    pub fn next(&self, config: &Config) -> anyhow::Result<Self> {
        Self::with(config, Some(self))
    }

    fn with(config: &Config, before: Option<&Self>) -> anyhow::Result<Self> {
        let leaves = match &config.ca {
            Some(ca) => {
                let before = before.and_then(|before| before.leaves.as_ref());
                Some(Leaves::new(ca, before)?)
            }
            None => None,
        };
        let dialing = (config.gateway.marks.own, config.splice.connect_timeout);
        if leaves.is_none() && !config.needs_origins() {
            return Ok(Self {
                origins: None,
                probes: None,
                leaves,
                dialing,
            });
        }
        let mut settings = config.upstream.clone();
        if let Some(leaves) = &leaves {
            settings.own = leaves.own();
        }
        let mut origins = Arc::new(Origins::new(&settings).context("[upstream]")?);
        let mut probes = None;
        if let Some(before) = before
            && let Some(theirs) = &before.origins
            && theirs.is_like(&origins)
        {
            origins = Arc::clone(theirs);
            probes = before.probes.clone().filter(|_| before.dialing == dialing);
        }
        let probes = probes.unwrap_or_else(|| {
            let (mark, timeout) = dialing;
            let dialer = Dialer {
                origins: Arc::clone(&origins),
                mark,
                timeout,
            };
            Probes::new(dialer, ProbeLimits::default())
        });
        Ok(Self {
            origins: Some(origins),
            probes: Some(probes),
            leaves,
            dialing,
        })
    }
}

/// Makes the connections and handshakes of probes.
#[derive(Debug)]
pub struct Dialer {
    origins: Arc<Origins>,
    mark: u32,
    timeout: Duration,
}

impl Connector for Dialer {
    async fn probe(&self, key: ProbeKey) -> Result<Report, ProbeError> {
        let options = DialOptions {
            mark: self.mark,
            timeout: self.timeout,
            bytes_follow: true,
        };
        let stream = dial(key.address, &options)
            .await
            .map_err(|error| ProbeError::Unreachable(kind_of(&error)))?;
        Ok(self.origins.probe(stream, &key, UnixTime::now()).await?)
    }
}

const fn kind_of(error: &DialError) -> std::io::ErrorKind {
    use std::io::ErrorKind;
    match error {
        DialError::Refused => ErrorKind::ConnectionRefused,
        DialError::TimedOut => ErrorKind::TimedOut,
        DialError::Unreachable(_) => ErrorKind::HostUnreachable,
        _ => ErrorKind::Other,
    }
}
