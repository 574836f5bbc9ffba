//! Whether the address that a client dialled is one of the server that it names.

use std::net::SocketAddr;
use std::sync::Arc;

use sluice_abi::Reason;

use super::{Flow, Judgement};
use crate::config::SniTruth;
use crate::names::NameError;

impl Flow<'_> {
    /// Finds out the addresses of the hello's server name, where that has to be true. Where another
    /// one is to be dialled it becomes the destination, and everything is judged by it.
    ///
    /// Whoever names no server is judged by the address alone, and has nothing to be untrue.
    pub(super) async fn find_truth(&mut self) -> Result<(), Judgement> {
        let generation = Arc::clone(&self.generation);
        if generation.sni_truth == SniTruth::Off {
            return Ok(());
        }
        let (Some(names), Some(name)) = (&generation.names, self.known.sni()) else {
            return Ok(());
        };
        let dialled = self.known.destination;
        let addresses = match names.addresses(name).await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::debug!(%error, name, "the server name is not resolved");
                let reason = match error {
                    NameError::NotFound => Reason::UntrueName,
                    NameError::Unavailable => Reason::UnresolvedName,
                };
                return Err(self.deny(reason));
            }
        };
        if addresses
            .iter()
            .any(|address| address.to_canonical() == dialled.ip())
        {
            return Ok(());
        }
        if generation.sni_truth == SniTruth::Check {
            return Err(self.deny(Reason::UntrueName));
        }
        let alike = |address: &&std::net::IpAddr| address.is_ipv4() == dialled.is_ipv4();
        let Some(&address) = addresses.iter().find(alike).or(addresses.first()) else {
            return Err(self.deny(Reason::UntrueName));
        };
        let destination = SocketAddr::new(address.to_canonical(), dialled.port());
        if let Some(reason) = self.worker.shared.guard.refuses(destination) {
            return Err(self.deny(reason));
        }
        self.learn().destination = destination;
        // What a name before led to is not where this one leads.
        self.candidates = None;
        // What was found out so far rests on another destination.
        self.settled = None;
        Ok(())
    }
}
