//! `/api/log/level`: what the daemon logs about itself.
//!
//! Reading is answered wherever the daemon answers; changing on a Unix socket alone, since a debug
//! log tells more of clients than access records may.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use serde::{Deserialize, Serialize};

use super::{gate::Door, identity, json};
use crate::{
    config::lease,
    daemon::log_level::{LevelError, levels},
};

/// Where levels are told and changed.
pub const LOG_LEVEL: &str = "/api/log/level";

/// What PUT of [`LOG_LEVEL`] takes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Directives as `tracing` has them: a level, and levels of modules, with commas between.
    pub filter: String,
    /// For how long, as the configuration has durations; `None`: until it is changed again.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

pub(super) async fn respond(request: Request<Incoming>, door: Door) -> Response<Full<Bytes>> {
    match answered(request, door).await {
        Ok(answer) => answer,
        Err((status, error)) => {
            let mut answer = json(&identity::Mistake { error });
            *answer.status_mut() = status;
            answer
        }
    }
}

async fn answered(
    request: Request<Incoming>,
    door: Door,
) -> Result<Response<Full<Bytes>>, (StatusCode, String)> {
    let bad = |error: LevelError| (StatusCode::BAD_REQUEST, error.to_string());
    let method = request.method().clone();
    let reads = method == Method::GET || method == Method::HEAD;
    if !reads && door != Door::Unix {
        let error = "log levels are changed on the Unix socket of [admin] alone: here nobody shows \
                     who asks";
        return Err((StatusCode::FORBIDDEN, error.into()));
    }
    let levels = levels().map_err(bad)?;
    let shown = if reads {
        levels.shown(Instant::now())
    } else if method == Method::PUT {
        const EXAMPLE: &str = r#"{"filter":"info,sluice_gateway::daemon=debug","for":"10m"}"#;
        let Change { filter, time } = identity::read(request, EXAMPLE).await?;
        let time = time
            .map(|text| {
                lease(&text).map_err(|error| {
                    let error = format!("`for`: \"{text}\": {error}");
                    (StatusCode::BAD_REQUEST, error)
                })
            })
            .transpose()?;
        levels.set(&filter, time, Instant::now()).map_err(bad)?
    } else if method == Method::DELETE {
        levels.reset(Instant::now()).map_err(bad)?
    } else {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "levels are shown by GET, changed by PUT, and set back by DELETE".into(),
        ));
    };
    Ok(json(&shown))
}
