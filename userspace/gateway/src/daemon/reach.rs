//! From the name of a server to a connection.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sluice_abi::Reason;

use super::flow::dial_origin;
use super::generation::Generation;
use super::guard::Guard;
use super::leg::Leg;
use super::worker::Worker;
use crate::names::NameError;

/// What a client asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// A name in canonical form.
    Name(Box<str>),
    /// An address.
    Address(IpAddr),
}

impl Target {
    /// What a host in canonical form is.
    pub(crate) fn of(host: &str) -> Self {
        match host.parse::<IpAddr>() {
            Ok(address) => Self::Address(address.to_canonical()),
            Err(_) => Self::Name(host.into()),
        }
    }
}

/// Where a server may be dialled: at least one address, the best first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Candidates(SocketAddr);

impl Candidates {
    /// The address that is dialled first, and judged.
    pub(crate) const fn first(&self) -> SocketAddr {
        self.0
    }
}

/// Finds the addresses of a server, without those that the guard refuses.
///
/// # Errors
///
/// There is none: [`Reason::UnresolvedName`], or why the guard refuses the last of them.
pub(crate) async fn addresses(
    generation: &Generation,
    guard: &Guard,
    host: &Target,
    port: u16,
) -> Result<Candidates, Reason> {
    let found = match host {
        Target::Address(address) => vec![*address],
        Target::Name(name) => {
            let names = generation.names.as_ref().ok_or(Reason::Internal)?;
            names.addresses(name).await.map_err(|error| match error {
                NameError::NotFound | NameError::Unavailable => Reason::UnresolvedName,
            })?
        }
    };
    let mut refused = Reason::UnresolvedName;
    for address in found {
        let address = SocketAddr::new(address.to_canonical(), port);
        match guard.refuses(address) {
            None => return Ok(Candidates(address)),
            Some(reason) => refused = reason,
        }
    }
    Err(refused)
}

/// Connects to the first candidate that answers, and tells which it is and how long it took.
///
/// # Errors
///
/// None does.
pub(crate) async fn dial_first(
    worker: &Worker,
    generation: &Generation,
    candidates: &Candidates,
    bytes_follow: bool,
) -> Result<(Leg, SocketAddr, Duration), Reason> {
    let address = candidates.first();
    let (leg, took) = dial_origin(worker, generation, address, bytes_follow).await?;
    Ok((leg, address, took))
}
