//! Which answer a question gets.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use tokio::time::sleep;

use super::api::{self, EXPLAIN, RECORDS};
use super::desk::Desk;
use super::events::EVENTS;
use super::gate::{Denial, Door, Gate};
use super::summary::SUMMARY;
use super::{
    Body, Forgotten, LOG, Logged, PROVIDERS, REJECTED, Remembered, assets, identity, is_alive,
    json, log_level, metrics, of_kind, plain,
};

/// Where the token is shown for a cookie.
const LOGIN: &str = "/api/login";
/// Bytes of a flow's facts.
const FACTS: usize = 64 << 10;
/// Bytes of a login.
const TOKEN: usize = 4 << 10;

pub(super) async fn respond(request: Request<Incoming>, door: Door, desk: &Desk) -> Response<Body> {
    let (method, path) = (request.method(), request.uri().path());
    let gate = &desk.gate;
    let refused = gate.is_ours(door, (method, path), request.headers());
    let reads = matches!(*method, Method::GET | Method::HEAD);
    // The files of the page say nothing of the daemon; it is by them that people log in.
    if refused.is_ok()
        && reads
        && let Some(asset) = assets::answer(path, request.headers())
    {
        return asset.map(Either::Left);
    }
    if refused.is_ok() && path == LOGIN {
        return login(request, door, gate).await.map(Either::Left);
    }
    if let Err(denial) = refused.and_then(|()| gate.recognise(door, request.headers())) {
        return denied(&denial).map(Either::Left);
    }
    if path == EVENTS && reads {
        return listen(desk);
    }
    let answer = if identity::is_about(path) {
        identity::respond(request, door, desk.sources()).await
    } else if path == log_level::LOG_LEVEL {
        log_level::respond(request, door).await
    } else if path == EXPLAIN {
        explained(request, desk).await
    } else {
        answered(&request, desk).await
    };
    answer.map(Either::Left)
}

fn denied(denial: &Denial) -> Response<Full<Bytes>> {
    let mut response = plain(denial.status(), denial.text());
    let headers = response.headers_mut();
    match denial {
        Denial::Unknown => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Denial::Wait(left) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(left.as_secs() + 1));
        }
        Denial::CrossSite | Denial::Host => {}
    }
    response
}

/// What POST of [`LOGIN`] takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

async fn login(request: Request<Incoming>, door: Door, gate: &Gate) -> Response<Full<Bytes>> {
    let cookie = match *request.method() {
        Method::DELETE => Ok(Some(gate.log_out(request.headers()))),
        Method::POST => {
            let body = match body(request, TOKEN).await {
                Ok(body) => body,
                Err(wrong) => return api::answer(Err(wrong)),
            };
            match serde_json::from_slice::<Login>(&body) {
                Ok(login) => gate.log_in(door, &login.token),
                Err(_) => {
                    let expected = "expected {\"token\":\"...\"}".into();
                    return api::answer(Err((StatusCode::BAD_REQUEST, expected)));
                }
            }
        }
        _ => {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "POST shows the token, DELETE forgets it\n",
            );
        }
    };
    match cookie {
        Ok(cookie) => {
            let mut response = plain(StatusCode::OK, "ok\n");
            let cookie = cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok());
            if let Some(cookie) = cookie {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            response
        }
        Err(denial) => denied(&denial),
    }
}

/// The body of a request that has no more than so many bytes.
async fn body(request: Request<Incoming>, most: usize) -> Result<Bytes, (StatusCode, String)> {
    let body = Limited::new(request.into_body(), most).collect().await;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let error = format!("the body has more than {most} bytes");
            (StatusCode::PAYLOAD_TOO_LARGE, error)
        } else {
            (StatusCode::BAD_REQUEST, "the body broke off".into())
        }
    })?;
    Ok(body.to_bytes())
}

async fn explained(request: Request<Incoming>, desk: &Desk) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "POST the facts of a flow\n");
    }
    let body = match body(request, FACTS).await {
        Ok(body) => body,
        Err(wrong) => return api::answer(Err(wrong)),
    };
    let turn = desk.policies.lock().await;
    let begun = Instant::now();
    let answer = api::answer(api::explain(&body, desk.sources()));
    sleep(api::rest_after(begun)).await;
    drop(turn);
    answer
}

fn listen(desk: &Desk) -> Response<Body> {
    let feed = desk
        .summary_event()
        .and_then(|first| desk.listeners.join(first));
    let Some(feed) = feed else {
        let text = "too many pages are open\n";
        return plain(StatusCode::SERVICE_UNAVAILABLE, text).map(Either::Left);
    };
    let mut response = Response::new(Either::Right(feed));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn answered(request: &Request<Incoming>, desk: &Desk) -> Response<Full<Bytes>> {
    let sources = desk.sources();
    let path = request.uri().path();
    let forgets = path == REJECTED && request.method() == Method::DELETE;
    if !forgets && request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered, POST of /api/explain, and DELETE of /api/rejected\n",
        );
    }
    let rejected = &sources.shared.memory.rejected;
    match path {
        REJECTED if forgets => {
            let forgotten = rejected.clear(Instant::now());
            tracing::info!(forgotten, "forgot the clients that refused the CA");
            json(&Forgotten { forgotten })
        }
        REJECTED => {
            let refusals = rejected.all(Instant::now());
            json(&Remembered {
                remembered: refusals.len(),
                refusals,
            })
        }
        LOG => {
            let access = &sources.shared.access;
            json(&Logged {
                lost: access.lost(),
                refuses: access.refuses(),
                sinks: access.sinks(),
            })
        }
        SUMMARY => match desk.summary() {
            Some(text) => of_kind(text, "application/json"),
            None => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the answer cannot be written\n",
            ),
        },
        _ if path
            .strip_prefix(RECORDS)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) =>
        {
            let turn = desk.policies.lock().await;
            let begun = Instant::now();
            let query = request.uri().query().unwrap_or_default();
            let answer = api::answer(api::records(path, query, sources));
            sleep(api::rest_after(begun)).await;
            drop(turn);
            answer
        }
        PROVIDERS => json(&sources.shared.current.get().providers.status()),
        "/metrics" => metrics(request, &desk.exporter),
        "/healthz" if is_alive(sources) => plain(StatusCode::OK, "ok\n"),
        "/healthz" => plain(StatusCode::SERVICE_UNAVAILABLE, "a worker hangs\n"),
        "/readyz" if sources.shared.ready.load(Ordering::Relaxed) => {
            plain(StatusCode::OK, "ready\n")
        }
        "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "not accepting flows\n"),
        _ => plain(
            StatusCode::NOT_FOUND,
            "there are /, /metrics, /healthz, /readyz, /api/summary, /api/records, /api/explain, \
             /api/events, /api/identity, /api/log, /api/log/level, /api/providers and /api/rejected\n",
        ),
    }
}
