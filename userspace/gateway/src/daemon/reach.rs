//! From a name or an address to a connection: which addresses there are, and the first of them that
//! answers (RFC 8305).

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use sluice_abi::Reason;
use sluice_splice::{DialError, DialOptions, dial};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

use super::flow::dial_reason;
use super::generation::Generation;
use super::guard::{Guard, Reach};
use super::leg::Leg;
use super::worker::Worker;
use crate::names::{self, NameError};

/// Addresses that are tried at most for one connection, however many a name has.
const MOST: usize = 16;

/// Where a connection is to lead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    /// A name, as [`names::canonical`] has it.
    Name(Box<str>),
    /// An address, in canonical form.
    Address(IpAddr),
}

impl Target {
    /// Reads the host of a URL or of a CONNECT, IPv6 in brackets or without.
    ///
    /// # Errors
    ///
    /// [`NameError::NotAName`] for what is neither, forms of an address among it that only some
    /// libraries read as one.
    pub(crate) fn parse(host: &str) -> Result<Self, NameError> {
        let inner = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = match inner {
            Some(inner) => Some(IpAddr::V6(inner.parse().map_err(|_| NameError::NotAName)?)),
            None => host.parse().ok(),
        };
        match address {
            Some(address) => Ok(Self::Address(address.to_canonical())),
            None => Ok(Self::Name(names::canonical(host)?.into())),
        }
    }
}

/// Where one connection may lead, in the order in which it is tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Candidates(Vec<SocketAddr>);

impl Candidates {
    /// The one that is tried first; `None` where none is left.
    pub(crate) fn first(&self) -> Option<SocketAddr> {
        self.0.first().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().copied()
    }

    /// Keeps those of which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(SocketAddr) -> bool) {
        self.0.retain(|&candidate| keep(candidate));
    }

    /// Those that the guard lets be connected to, at most [`MOST`].
    fn new(found: &[IpAddr], port: u16, v6_first: bool, guard: &Guard) -> Result<Self, Reason> {
        let mut refused = None;
        let mut candidates = Vec::new();
        for ip in interleaved(found, v6_first) {
            let candidate = SocketAddr::new(ip, port);
            match guard.refuses(Reach::Asked, candidate) {
                Some(reason) => {
                    refused.get_or_insert(reason);
                }
                None => candidates.push(candidate),
            }
        }
        candidates.truncate(MOST);
        match refused {
            Some(reason) if candidates.is_empty() => Err(reason),
            _ => Ok(Self(candidates)),
        }
    }
}

/// Where a connection to `host` may lead. A name is asked for once; whoever judges the candidates
/// judges what is dialled.
///
/// # Errors
///
/// The guard's reason, where it refuses every address; [`Reason::UnresolvedName`], where there is
/// none.
pub(crate) async fn addresses(
    generation: &Generation,
    guard: &Guard,
    host: &Target,
    port: u16,
) -> Result<Candidates, Reason> {
    find(generation, guard, host, port)
        .await
        .map_err(|error| match error {
            Unfound::Name(_) => Reason::UnresolvedName,
            Unfound::Refused(reason) => reason,
        })
}

/// Why there is nowhere to connect to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unfound {
    /// The name has no address, or it is not known.
    Name(NameError),
    /// The guard refuses every address.
    Refused(Reason),
}

/// As [`addresses`], and tells more exactly what is wrong with a name.
///
/// # Errors
///
/// [`Unfound`].
pub(crate) async fn find(
    generation: &Generation,
    guard: &Guard,
    host: &Target,
    port: u16,
) -> Result<Candidates, Unfound> {
    let (found, v6_first) = match host {
        Target::Address(address) => (vec![*address], true),
        Target::Name(name) => {
            let Some(names) = generation.names() else {
                tracing::warn!("names are not resolved: nothing in the configuration asks for it");
                return Err(Unfound::Name(NameError::Unavailable));
            };
            let found = names.addresses(name).await.map_err(|error| {
                tracing::debug!(%error, %name, "no address");
                Unfound::Name(error)
            })?;
            let v6_first = has_route(&found, port);
            (found, v6_first)
        }
    };
    Candidates::new(&found, port, v6_first, guard).map_err(Unfound::Refused)
}

/// Whether the machine has a way to the first IPv6 address of them; true where there is none.
fn has_route(found: &[IpAddr], port: u16) -> bool {
    let Some(&v6) = found.iter().find(|address| address.is_ipv6()) else {
        return true;
    };
    // Connecting a datagram socket looks up the route and sends nothing.
    UdpSocket::bind("[::]:0").is_ok_and(|socket| socket.connect((v6, port)).is_ok())
}

/// By turns from both families, so that a broken one costs one delay (RFC 8305 section 4); in each
/// the order of the answer is kept.
fn interleaved(found: &[IpAddr], v6_first: bool) -> Vec<IpAddr> {
    let (first, second): (Vec<_>, Vec<_>) = found
        .iter()
        .map(|address| address.to_canonical())
        .partition(|address| address.is_ipv6() == v6_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::with_capacity(found.len());
    loop {
        let turn = [first.next(), second.next()];
        if turn == [None, None] {
            return order;
        }
        for address in turn.into_iter().flatten() {
            if !order.contains(&address) {
                order.push(address);
            }
        }
    }
}

type Attempt = Pin<Box<dyn Future<Output = Result<TcpStream, DialError>>>>;

/// Connects to the first candidate that answers, and tells which one and how long that took. The next
/// one is tried when one fails, or has not answered for the generation's attempt delay; those that
/// lose are closed. The time to connect holds for all of them together.
///
/// # Errors
///
/// The reason of the candidate that came closest to answering; [`Reason::OriginUnreachable`] where
/// there is none.
pub(crate) async fn dial_first(
    worker: &Worker,
    generation: &Generation,
    candidates: &Candidates,
    bytes_follow: bool,
) -> Result<(Leg, SocketAddr, Duration), Reason> {
    let began = Instant::now();
    let options = DialOptions {
        mark: worker.shared.mark,
        timeout: generation.connect_timeout,
        bytes_follow,
    };
    let dialled = race(candidates, &options, generation.attempt_delay);
    let (stream, candidate) = match timeout(generation.connect_timeout, dialled).await {
        Ok(dialled) => dialled?,
        Err(_) => return Err(Reason::OriginTimeout),
    };
    let connected = began.elapsed();
    worker.metrics.connect.note(connected);
    Ok((Leg::new(stream), candidate, connected))
}

async fn race(
    candidates: &Candidates,
    options: &DialOptions,
    delay: Duration,
) -> Result<(TcpStream, SocketAddr), Reason> {
    let mut waiting = candidates.iter().peekable();
    let mut attempts: Vec<(SocketAddr, Attempt)> = Vec::new();
    let mut failed: Option<Reason> = None;
    loop {
        // By no timer: one that is due still takes the millisecond that tokio counts in.
        if let Some(candidate) = waiting.next() {
            let options = *options;
            let attempt = Box::pin(async move { dial(candidate, &options).await });
            attempts.push((candidate, attempt));
        }
        let next = tokio::time::Instant::now() + delay;
        tokio::select! {
            biased;
            (candidate, result) = first_of(&mut attempts), if !attempts.is_empty() => match result {
                Ok(stream) => return Ok((stream, candidate)),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, %candidate, "not reached");
                    failed = closest(failed, dial_reason(&error));
                }
            },
            () = sleep_until(next), if waiting.peek().is_some() => {}
            else => return Err(failed.unwrap_or(Reason::OriginUnreachable)),
        }
    }
}

/// Waits for the first attempt that ends, and takes it out.
async fn first_of(
    attempts: &mut Vec<(SocketAddr, Attempt)>,
) -> (SocketAddr, Result<TcpStream, DialError>) {
    poll_fn(|context| {
        let ended = attempts
            .iter_mut()
            .enumerate()
            .find_map(
                |(index, (candidate, attempt))| match attempt.as_mut().poll(context) {
                    Poll::Ready(result) => Some((index, *candidate, result)),
                    Poll::Pending => None,
                },
            );
        match ended {
            Some((index, candidate, result)) => {
                // Those behind it were not polled, and are before anything waits again.
                drop(attempts.remove(index));
                Poll::Ready((candidate, result))
            }
            None => Poll::Pending,
        }
    })
    .await
}

/// Of two failures the one that came closer to a connection.
fn closest(before: Option<Reason>, now: Reason) -> Option<Reason> {
    let rank = |reason| match reason {
        Reason::OriginRefused => 3,
        Reason::OriginTimeout => 2,
        Reason::OriginUnreachable => 1,
        _ => 0,
    };
    before
        .filter(|&before| rank(before) >= rank(now))
        .or(Some(now))
}

#[cfg(test)]
mod tests;
