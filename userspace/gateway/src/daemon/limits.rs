//! How many flows there may be, in all and of one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_abi::Reason;

const SHARDS: usize = 16;

/// Counts the flows of all workers.
#[derive(Debug, Default)]
pub struct Limits {
    active: AtomicUsize,
    clients: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
}

impl Limits {
    /// Admits a flow, which counts until the place is dropped.
    ///
    /// # Errors
    ///
    /// The reason why the newest flow is refused; those that are there go on.
    pub fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        flow_limit: usize,
        per_client: usize,
    ) -> Result<Place, Reason> {
        if self.active.fetch_add(1, Ordering::Relaxed) >= flow_limit {
            self.active.fetch_sub(1, Ordering::Relaxed);
            return Err(Reason::GatewayFlowLimit);
        }
        let mut clients = self.shard(client);
        let count = clients.entry(client).or_insert(0);
        if usize::try_from(*count).is_ok_and(|count| count >= per_client) {
            drop(clients);
            self.active.fetch_sub(1, Ordering::Relaxed);
            return Err(Reason::GatewayClientLimit);
        }
        *count += 1;
        drop(clients);
        Ok(Place {
            limits: Arc::clone(self),
            client,
        })
    }

    /// Flows that are admitted and not over.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    fn shard(&self, client: IpAddr) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        let byte = match client {
            IpAddr::V4(v4) => v4.octets()[3],
            // The interface half tells clients apart, whichever way it is made.
            IpAddr::V6(v6) => v6.octets()[8..].iter().fold(0, |sum: u8, byte| sum ^ byte),
        };
        let [first, ..] = &self.clients;
        let shard = self
            .clients
            .get(usize::from(byte) % SHARDS)
            .unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one flow.
#[derive(Debug)]
pub struct Place {
    limits: Arc<Limits>,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.active.fetch_sub(1, Ordering::Relaxed);
        let mut clients = self.limits.shard(self.client);
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_flow_loses_and_a_place_is_given_back() {
        let limits = Arc::new(Limits::default());
        let (one, other) = ([10, 0, 0, 1].into(), "2001:db8::1".parse().unwrap());
        let first = limits.admit(one, 3, 2).unwrap();
        let second = limits.admit(one, 3, 2).unwrap();
        assert_eq!(
            limits.admit(one, 3, 2).unwrap_err(),
            Reason::GatewayClientLimit
        );
        let third = limits.admit(other, 3, 2).unwrap();
        assert_eq!(
            limits.admit(other, 3, 2).unwrap_err(),
            Reason::GatewayFlowLimit
        );
        assert_eq!(limits.active(), 3);
        drop(first);
        drop(limits.admit(one, 3, 2).unwrap());
        drop((second, third));
        assert_eq!(limits.active(), 0);
        assert!(
            limits
                .clients
                .iter()
                .all(|shard| shard.lock().unwrap().is_empty())
        );
    }
}
