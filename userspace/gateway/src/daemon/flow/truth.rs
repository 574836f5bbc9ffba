//! Whether the address that a client dialled is one of the server that it names.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use sluice_abi::Reason;

use super::{Flow, Judgement};
use crate::config::SniTruth;
use crate::daemon::guard::Reach;
use crate::names::{NameError, Names};
use crate::origin::{HelloClass, Outcome as Probed, ProbeKey};

impl Flow<'_> {
    /// Finds out whether the hello's server name is true, where it has to be. Where another address is
    /// to be dialled it becomes the destination, and everything is judged by it.
    ///
    /// Whoever names no server is judged by the address alone, and has nothing to be untrue.
    pub(super) async fn find_truth(&mut self) -> Result<(), Judgement> {
        let generation = Arc::clone(&self.generation);
        let (Some(names), Some(name)) = (generation.names(), self.known.sni()) else {
            return Ok(());
        };
        let name: Box<str> = name.into();
        let found = match generation.sni_truth {
            SniTruth::Off => Ok(()),
            SniTruth::Check => self.check(names, &name).await,
            SniTruth::Dial => self.lead(names, &name).await,
        };
        found.map_err(|reason| self.deny(reason))
    }

    /// The dialled address is one that the name has or had of late; or the origin there has a
    /// certificate for the name, since clients may be told other addresses than the gateway is.
    async fn check(&self, names: &Names, name: &str) -> Result<(), Reason> {
        let dialled = self.known.destination.ip();
        match names.is_true(name, dialled, self.is_proven(name)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::UntrueName),
            Err(error) => Err(reason(error, name)),
        }
    }

    /// Whether the origin at the dialled address has a valid certificate for the name.
    async fn is_proven(&self, name: &str) -> bool {
        let Some(probes) = &self.generation.means.probes else {
            return false;
        };
        let facts = self.known.facts(&self.generation.policy);
        let key = ProbeKey {
            hello: HelloClass::of(facts.tls_versions, facts.alpn),
            address: self.known.destination,
            name: Some(name.into()),
        };
        let client = self.known.client.ip();
        match probes.ask(&key, client, UnixTime::now()).await {
            Probed::Report(report) => report.is_valid(),
            Probed::Failure(_) | Probed::Unavailable(_) => false,
        }
    }

    /// The dialled address where it is one of the name's, otherwise one that is.
    async fn lead(&mut self, names: &Names, name: &str) -> Result<(), Reason> {
        let dialled = self.known.destination;
        let addresses = names.addresses(name).await;
        let addresses = addresses.map_err(|error| reason(error, name))?;
        if addresses.contains(&dialled.ip()) {
            return Ok(());
        }
        let (mut alike, others): (Vec<_>, Vec<_>) = addresses
            .iter()
            .partition(|address| address.is_ipv4() == dialled.is_ipv4());
        alike.extend(others);
        let mut refused = Reason::UntrueName;
        for (first, ip) in alike.into_iter().enumerate() {
            let destination = SocketAddr::new(ip, dialled.port());
            // The client's own packets did not lead there.
            match self.worker.shared.guard.refuses(Reach::Asked, destination) {
                Some(reason) if first == 0 => refused = reason,
                Some(_) => {}
                None => {
                    self.learn().destination = destination;
                    // What was found out so far rests on another destination.
                    self.settled = None;
                    return Ok(());
                }
            }
        }
        Err(refused)
    }
}

fn reason(error: NameError, name: &str) -> Reason {
    tracing::debug!(%error, name, "the server name is not resolved");
    if error.is_answer() {
        Reason::UntrueName
    } else {
        Reason::UnresolvedName
    }
}
