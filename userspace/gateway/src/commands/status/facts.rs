//! What the status is made of, wherever it is to be had.

use std::{path::Path, time::SystemTime};

use sluice_mint::{AuthorityFiles, Clock as _, SystemClock};
use sluice_steer::{Status, status};

use super::daemon::Daemon;
use crate::{
    ask::{self, AskError},
    config::Config,
    daemon::admin::{Logged, Remembered},
    scrape::{Between, Scrape},
};

/// Everything that is told.
#[derive(Debug)]
pub(super) struct Facts {
    /// What is loaded, read from the pins; or why not.
    pub(super) kernel: Result<Status, String>,
    /// What the daemon says of itself; or why not.
    pub(super) daemon: Result<Daemon, String>,
    /// Whether there is an address to ask a daemon at.
    pub(super) listens: bool,
    pub(super) rejected: Result<Remembered, AskError>,
    pub(super) log: Result<Logged, AskError>,
    /// When the CA that signs ends; `None`: there is none.
    pub(super) ca: Option<Result<Ca, String>>,
    /// Seconds since 1970.
    pub(super) now: i64,
}

/// The certificate that signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ca {
    pub(super) subject: String,
    /// In seconds since 1970.
    pub(super) not_after: i64,
}

impl Ca {
    /// Whole days that are left, rounded down.
    pub(super) fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(86_400)
    }

    fn read(files: &AuthorityFiles, now: i64) -> Result<Self, String> {
        // The key is nobody's business here.
        let certificates = files.certificates().map_err(|error| error.to_string())?;
        let chain = certificates.signing(now);
        Ok(Self {
            subject: chain.signing().subject.clone(),
            not_after: chain.not_after(),
        })
    }
}

impl Facts {
    /// Looks everywhere. The scrape is left behind for the next time, and rates are since the one
    /// before.
    pub(super) fn gather(config: &Config, bpffs: &Path, last: &mut Scrape) -> Self {
        let listeners = &config.admin.listen;
        let now = SystemClock::default().unix();
        Self {
            kernel: status(bpffs).map_err(|error| error.to_string()),
            daemon: daemon(config, last),
            listens: !listeners.is_empty(),
            rejected: ask::rejected(listeners),
            log: ask::log(listeners),
            ca: config.ca.as_ref().map(|ca| Ca::read(&ca.files, now)),
            now,
        }
    }
}

fn daemon(config: &Config, last: &mut Scrape) -> Result<Daemon, String> {
    let text = ask::metrics(&config.admin.listen).map_err(|error| error.to_string())?;
    let scrape = Scrape::parse(&text).map_err(|error| error.to_string())?;
    let between = Between {
        before: last,
        after: &scrape,
    };
    let daemon = Daemon::of(between, SystemTime::now());
    *last = scrape;
    daemon.ok_or_else(|| "another answer than the metrics of a daemon".into())
}
