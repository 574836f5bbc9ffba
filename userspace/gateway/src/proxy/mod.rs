//! The explicit proxy: what clients are told to send their requests to.
//!
//! A listener takes two kinds of requests of HTTP/1.1. A CONNECT asks for a tunnel: it is judged by
//! what it says, before its server is looked up where that is enough, and then the flow goes the very
//! way of one that the kernel steered ([`crate::daemon::flow`]), at the same speed. A request that
//! names its URL (`http://`) is judged and forwarded like one of a flow in the clear, each for its own
//! server ([`crate::intercept`]).
//!
//! Who a client is, is found out anew for every request; nothing of it outlasts the request but a
//! tunnel. A connection to an origin is used again only for the same server and the same user.
//!
//! TLS with the proxy itself is ended in front of all that (`tls.rs`).

mod connect;
mod connection;
mod door;
mod identify;
mod routes;
mod said;
mod tls;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sluice_abi::Reason;
use tokio::net::TcpStream;

use crate::daemon::flow::{canonical, refuse};
use crate::daemon::known::{Known, Proxied};
use crate::daemon::leg::Leg;
use crate::daemon::worker::Worker;
use crate::proxy_protocol;
use connection::Connection;

pub use door::Door;
pub use identify::Asker;
pub(crate) use routes::Routes;
pub(crate) use said::status_of;

/// A connection of a client's to a proxy listener.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The client's address.
    pub client: SocketAddr,
    /// The listener's name.
    pub listener: Arc<str>,
}

/// Serves a connection until it is over, with everything that it is used for.
pub async fn serve(worker: &Rc<Worker>, accepted: Accepted) {
    let _active = worker.engage();
    let generation = worker.generation();
    let mut client = canonical(accepted.client);
    let leg = Leg::new(accepted.stream);
    let proxied = Arc::new(Proxied {
        listener: (*accepted.listener).into(),
        connect: None,
    });
    let nowhere = |client, reason| {
        let mut known = Known::new(client, connection::nowhere(0), crate::daemon::flow::now());
        known.proxied = Some(Arc::clone(&proxied));
        refuse(worker, known, reason);
    };
    // A reload may have taken the listener away whose socket is still there.
    let Some(door) = generation.doors.get(&*accepted.listener) else {
        return nowhere(client, Reason::Internal);
    };
    let mut ahead = BytesMut::new();
    let balancers = &door.settings().balancers;
    if balancers.iter().any(|net| net.contains(client.ip())) {
        let deadline = tokio::time::Instant::now() + generation.head_timeout;
        match proxy_protocol::read(&leg, &mut ahead, deadline).await {
            Ok(told) => client = told.unwrap_or(client),
            Err(error) => {
                tracing::warn!(%error, balancer = %client, "a connection of a balancer's");
                return nowhere(client, Reason::BadRequest);
            }
        }
    }
    let ahead = ahead.freeze();
    let place = worker.shared.limits.admit(
        client.ip(),
        generation.flow_limit,
        generation.flow_limit_per_client,
    );
    let _place = match place {
        Ok(place) => place,
        Err(reason) => return nowhere(client, reason),
    };
    let (leg, ahead, certified) = match door.tls() {
        None => (leg, ahead, None),
        Some(config) => match tls::end(worker, &generation, config, (leg, ahead)).await {
            Ok((leg, certified)) => (leg, Bytes::new(), certified),
            Err(reason) => return nowhere(client, reason),
        },
    };
    Connection::new(worker, proxied, client, certified)
        .serve(leg, ahead)
        .await;
}
