//! To the origin, and what moves between it and the client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use sluice_abi::Reason;
use sluice_policy::Decision;
use sluice_splice::{DialError, DialOptions, End, Read, dial, relay_on};

use super::tell::micros;
use super::{Asked, Flow, Leg};
use crate::daemon::generation::Generation;
use crate::daemon::metrics::Verdict;
use crate::daemon::reach;
use crate::daemon::worker::Worker;

impl Flow<'_> {
    /// Connects to the origin.
    pub(super) async fn dial(&mut self, bytes_follow: bool) -> Result<Leg, Reason> {
        let (worker, generation) = (self.worker, Arc::clone(&self.generation));
        let Some(mut candidates) = self.candidates.take() else {
            let to = self.known.destination;
            let (origin, connected) = dial_origin(worker, &generation, to, bytes_follow).await?;
            self.connected = micros(connected);
            return Ok(origin);
        };
        candidates.retain(|address| self.is_same_at(address));
        let dialled = reach::dial_first(worker, &generation, &candidates, bytes_follow).await;
        let (origin, address, connected) = dialled?;
        self.connected = micros(connected);
        if address != self.known.destination {
            self.judge_again(address)?;
        }
        Ok(origin)
    }

    /// Whether the rules say the same of another address of the server's.
    fn is_same_at(&self, address: SocketAddr) -> bool {
        let (Some(outcome), true) = (self.outcome, address != self.known.destination) else {
            return true;
        };
        let policy = &self.generation.policy;
        let mut known = (*self.known).clone();
        known.destination = address;
        let facts = known.facts(policy);
        let decision = policy.decide(&facts, &mut self.worker.scratch.borrow_mut());
        matches!(decision, Decision::Decided(decided) if decided.outcome == outcome)
    }

    /// Judges a flow by the address that it was led to in place of the one that it was judged by:
    /// only what is the same for both goes on.
    fn judge_again(&mut self, address: SocketAddr) -> Result<(), Reason> {
        self.learn().destination = address;
        self.settled = None;
        let Some(before) = self.outcome else {
            return Ok(());
        };
        match self.decide() {
            Ok(outcome) if outcome == before => Ok(()),
            Ok(_) => {
                self.verdict = Verdict::Block;
                Err(self.reason)
            }
            Err(_) => {
                self.deny(Reason::StageUnavailable);
                Err(Reason::StageUnavailable)
            }
        }
    }

    /// Connects to the origin, unless it has been asked already, and relays; returns why it ended.
    pub(super) async fn carry(
        &mut self,
        client: Leg,
        bytes: Bytes,
        asked: Option<Box<Asked>>,
    ) -> Reason {
        let (client, mut bytes, asked) = if self.generation.strict_hrr && self.known.is_hello() {
            match Box::pin(self.hold(client, bytes, asked)).await {
                Ok((client, bytes, asked)) => (client, bytes, Some(asked)),
                Err(reason) => return reason,
            }
        } else {
            (client, bytes, asked)
        };
        let (origin, held) = match asked {
            Some(asked) => {
                bytes.advance(asked.sent);
                (asked.origin, asked.held)
            }
            // Apart, so that the flows that last do not carry what connecting takes.
            None => match Box::pin(self.dial(!bytes.is_empty())).await {
                Ok(origin) => (origin, Bytes::new()),
                Err(reason) => return reason,
            },
        };
        let read = Read {
            from_client: bytes,
            from_origin: held,
        };
        let pool = &self.worker.metrics.pool;
        let relayed = relay_on(
            &client,
            &origin,
            read,
            pool,
            &self.generation.relay,
            &self.progress,
        )
        .await;
        if !relayed.end.is_abrupt() {
            client.finish();
            origin.finish();
        }
        end_reason(relayed.end)
    }
}

/// Connects to an origin as a generation says, and tells how long that took.
pub(crate) async fn dial_origin(
    worker: &Worker,
    generation: &Generation,
    destination: SocketAddr,
    bytes_follow: bool,
) -> Result<(Leg, Duration), Reason> {
    let began = Instant::now();
    let options = DialOptions {
        mark: worker.shared.mark,
        timeout: generation.connect_timeout,
        bytes_follow,
    };
    let origin = dial(destination, &options).await.map_err(|error| {
        if let DialError::Local(error) = &error {
            tracing::warn!(%error, "cannot dial");
        }
        dial_reason(&error)
    })?;
    let connected = began.elapsed();
    worker.metrics.connect.note(connected);
    Ok((Leg::new(origin), connected))
}

pub(crate) const fn dial_reason(error: &DialError) -> Reason {
    match error {
        DialError::Refused => Reason::OriginRefused,
        DialError::TimedOut => Reason::OriginTimeout,
        DialError::Unreachable(_) => Reason::OriginUnreachable,
        _ => Reason::Internal,
    }
}

const fn end_reason(end: End) -> Reason {
    match end {
        End::Finished => Reason::Finished,
        // A peer that the kernel gave up on is as gone as one that said so.
        End::ClientReset | End::ClientLost(_) => Reason::ClientReset,
        End::OriginReset | End::OriginLost(_) => Reason::OriginReset,
        End::IdleTimeout => Reason::IdleTimeout,
        End::TotalTimeout => Reason::TotalTimeout,
        _ => Reason::Internal,
    }
}
