//! What a CONNECT is answered.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http_body_util::{Either, Full};
use hyper::Response;
use hyper::upgrade::OnUpgrade;
use sluice_abi::Reason;

use super::connection::{Answer, Connection, nowhere};
use crate::daemon::flow::{Opened, Tunnel};
use crate::daemon::known::{Connecting, Proxied};
use crate::daemon::reach::Target;
use crate::intercept::{Cut, Told};
use crate::page::Problem;
use crate::request::prepare_connect;

/// Judges a CONNECT, and connects to the origin where that was decided already. The tunnel begins
/// when the answer has been sent.
pub(super) async fn answer<'a>(
    connection: &Connection<'a>,
    parts: &Parts,
    upgrade: OnUpgrade,
) -> Answer {
    let mut told = Told::of(parts);
    let mut known = connection.known();
    let Some(under) = connection.under() else {
        return Ok(connection.gone(&told, known));
    };
    let generation = &under.generation;
    let asked = match prepare_connect(parts, &generation.requests) {
        Ok(asked) => asked,
        Err(refusal) => {
            let exchange = connection.exchange(generation, &Rc::new(known));
            return Ok(exchange.refuse(told, &refusal));
        }
    };
    let (host, port) = (asked.authority.host(), asked.authority.port());
    let Ok(target) = Target::parse(host) else {
        told.reason = Reason::BadRequest;
        let exchange = connection.exchange(generation, &Rc::new(known));
        let why = "the CONNECT names neither a server nor an address";
        return Ok(exchange.problem(&told, Problem::BadRequest, why));
    };
    let connecting = Connecting {
        host: host.into(),
        port,
        user_agent: asked.user_agent,
    };
    told.url = connecting.to_string();
    told.host = Some(host.to_owned());
    known.destination = nowhere(port);
    if let Target::Address(address) = target {
        known.destination.set_ip(address);
    }
    known.proxied = Some(Arc::new(Proxied {
        listener: connection.proxied.listener.clone(),
        connect: Some(connecting),
    }));
    let who = connection.who(&under, &parts.headers, &mut told, &mut known);
    let anonymous = match who.await {
        Ok(anonymous) => anonymous,
        Err(answer) => return Ok(answer),
    };
    if connection.worker.shared.access.refuses() {
        let exchange = connection.exchange(generation, &Rc::new(known));
        return Ok(exchange.unreachable(told, Reason::AuditUnavailable));
    }
    let mut tunnel = Tunnel::begin(connection.worker, Arc::clone(generation), known);
    let opened = tunnel.open(&target, anonymous).await;
    let exchange = connection.exchange(generation, tunnel.known());
    Ok(match opened {
        Opened::Tunnel => {
            connection.tunnel.replace(Some((tunnel, upgrade)));
            Response::new(Either::Right(Full::new(Bytes::new())))
        }
        Opened::Blocked(judged) => {
            (told.rule, told.reason) = (judged.rule, judged.reason);
            exchange.annotate(&mut told, &tunnel.known().facts(&generation.policy));
            let page = exchange.blocked(&told);
            exchange.page(&told, "block", page)
        }
        Opened::Reset => {
            connection.link.cut.set(Some(told.reason));
            return Err(Cut);
        }
        Opened::Failed(reason) => exchange.unreachable(told, reason),
        Opened::WhoIsIt => {
            let challenges = generation.asker(&connection.proxied.listener).challenges();
            connection.ask(&exchange, &mut told, challenges)
        }
    })
}
