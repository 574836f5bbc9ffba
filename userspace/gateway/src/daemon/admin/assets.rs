//! The files of the page, which are part of the program.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use hyper::{Response, StatusCode};

struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
    tag: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    let asset = |path, kind, content: &'static str| Asset {
        path,
        kind,
        content,
        tag: tag(content),
    };
    [
        asset(
            "/",
            "text/html; charset=utf-8",
            include_str!("page/index.html"),
        ),
        asset(
            "/style.css",
            "text/css; charset=utf-8",
            include_str!("page/style.css"),
        ),
        asset(
            "/app.js",
            "text/javascript; charset=utf-8",
            include_str!("page/app.js"),
        ),
    ]
});

/// A strong validator (RFC 9110 section 8.8.3).
fn tag(content: &str) -> String {
    let digest = digest(&SHA256, content.as_bytes());
    let digits = digest.as_ref().iter().take(16);
    let digits: String = digits.map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// The file of a path, or that whoever asks has it already; `None` where there is none.
pub(super) fn answer(path: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let asset = ASSETS.iter().find(|asset| asset.path == path)?;
    let known = headers.get_all(IF_NONE_MATCH).iter();
    let known = known.filter_map(|value| value.to_str().ok());
    let is_known = known
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == asset.tag || tag == "*");
    let content = if is_known { "" } else { asset.content };
    let mut response = Response::new(Full::new(Bytes::from_static(content.as_bytes())));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    // Another daemon's files may be others: they are asked for again, and seldom sent.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = asset.tag.parse() {
        headers.insert(ETAG, tag);
    }
    Some(response)
}
