//! What holds for any head of a request that is let through.

use http::{Request, Version, header::HOST, request::Parts};
use sluice_gateway::request::{Expected, Limits, Prepared, prepare};
use sluice_policy::{Scheme, normal};

/// Reads a head as lines, the first of them `METHOD target HTTP/1.1`; `None` where the types of HTTP
/// cannot hold it.
pub(super) fn parse(bytes: &[u8]) -> Option<Parts> {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let mut words = lines.next()?.splitn(3, |&byte| byte == b' ');
    let request = Request::builder()
        .method(words.next()?)
        .uri(words.next()?)
        .version(match words.next()? {
            b"HTTP/1.0" => Version::HTTP_10,
            b"HTTP/2" => Version::HTTP_2,
            _ => Version::HTTP_11,
        });
    let request = lines
        .filter(|line| !line.is_empty())
        .try_fold(request, |request, line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = line.split_at_checked(colon)?;
            Some(request.header(name, value.get(1..)?.trim_ascii()))
        })?;
    Some(request.body(()).ok()?.into_parts().0)
}

/// Prepares a request: it is refused, or what is judged is what is forwarded.
///
/// # Panics
///
/// Where that does not hold.
pub(super) fn check(bytes: &[u8]) {
    let Some(parts) = parse(bytes) else { return };
    for scheme in [Scheme::Http, Scheme::Https] {
        let prepared = prepare(parts.clone(), scheme, &Expected::Any, &Limits::default());
        if let Ok(prepared) = prepared {
            check_prepared(&prepared, scheme);
        }
    }
}

fn check_prepared(prepared: &Prepared, scheme: Scheme) {
    let fields = prepared.fields();
    let facts = prepared.facts(&fields);
    let url = prepared.url();
    assert_eq!(normal::url(url).as_deref(), Ok(url));
    assert_eq!(facts.url, Some(url));
    assert_eq!(fields.len(), prepared.headers().keys_len());

    let first = prepared.clone().into_parts(Version::HTTP_11);
    let path = match first.uri.to_string().as_str() {
        "*" => "/".to_owned(),
        path => path.to_owned(),
    };
    let host = first.headers.get(HOST).unwrap().to_str().unwrap();
    assert_eq!(format!("{}://{host}{path}", scheme.name()), url);
    assert_eq!(first.headers.get_all(HOST).iter().count(), 1);
    assert!(first.headers.get_all("content-length").iter().count() <= 1);
    for name in ["transfer-encoding", "keep-alive", "proxy-connection", "te"] {
        assert!(!first.headers.contains_key(name), "{name}");
    }
    let switches = prepared.upgrade().is_some();
    assert_eq!(first.headers.contains_key("upgrade"), switches);
    assert_eq!(first.headers.contains_key("connection"), switches);

    let second = prepared.clone().into_parts(Version::HTTP_2);
    assert_eq!(second.method.as_str(), facts.method.unwrap());
    assert!(!second.headers.contains_key(HOST));
    if first.uri != "*" {
        assert_eq!(second.uri.to_string(), url);
    }

    // A gateway behind this one would forward the same again.
    for forwarded in [first, second] {
        let again = prepare(
            forwarded.clone(),
            scheme,
            &Expected::Any,
            &Limits::default(),
        );
        let again = again.unwrap();
        assert_eq!(again.url(), url);
        let version = forwarded.version;
        let again = again.into_parts(version);
        assert_eq!(
            (&again.uri, &again.headers),
            (&forwarded.uri, &forwarded.headers)
        );
    }
}
