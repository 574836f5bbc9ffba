//! Connections to the servers that requests name.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use sluice_abi::Reason;
use tokio::sync::Notify;

use crate::daemon::generation::Generation;
use crate::daemon::reach::{Candidates, dial_first};
use crate::daemon::worker::Worker;
use crate::intercept::rewind::Rewind;
use crate::intercept::{Link, Upstream};

/// What a connection to an origin may be used for again. Servers bind what they know of a client to
/// its connection (RFC 4559 section 5), so that another user must not meet it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Key {
    pub(super) authority: Box<str>,
    pub(super) user: Option<Box<str>>,
    pub(super) generation: u64,
}

struct Kept {
    key: Key,
    address: SocketAddr,
    upstream: Rc<Upstream>,
}

/// Where the requests of one client's connection go: the last connection to an origin is kept, and
/// used while its server is asked for again. Requests of HTTP/1.1 come one after the other.
#[derive(Default)]
pub(crate) struct Routes {
    aim: RefCell<Option<(Key, Candidates)>>,
    kept: RefCell<Option<Kept>>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}

impl Routes {
    /// The address that a connection leads to which can be used again.
    pub(super) fn kept(&self, key: &Key) -> Option<SocketAddr> {
        let kept = self.kept.borrow();
        let kept = kept.as_ref()?;
        (kept.key == *key && !kept.upstream.is_over()).then_some(kept.address)
    }

    /// Says where the next request goes, for which the connection that is kept will not do.
    pub(super) fn aim(&self, key: Key, candidates: Candidates) {
        self.kept.replace(None);
        self.aim.replace(Some((key, candidates)));
    }

    /// The connection for the next request; only addresses of which `may` says so are tried.
    pub(crate) async fn upstream(
        &self,
        (worker, generation): (&Worker, &Generation),
        link: &Link,
        may: impl FnMut(SocketAddr) -> bool,
    ) -> Result<Rc<Upstream>, Reason> {
        if let Some(kept) = &*self.kept.borrow() {
            return Ok(Rc::clone(&kept.upstream));
        }
        let aim = self.aim.take();
        let (key, mut candidates) = aim.ok_or(Reason::Internal)?;
        candidates.retain(may);
        let (origin, address, _) = dial_first(worker, generation, &candidates, true).await?;
        let stream = Rewind::new(Bytes::new(), origin);
        let traffic = stream.traffic();
        // Its end is no end of the client's connection.
        let upstream = Upstream::begin(stream, false, Rc::new(Notify::new())).await;
        let upstream = Rc::new(upstream.map_err(|_| Reason::OriginReset)?);
        link.set_upstream(Rc::clone(&upstream), traffic);
        self.kept.replace(Some(Kept {
            key,
            address,
            upstream: Rc::clone(&upstream),
        }));
        Ok(upstream)
    }
}
