//! What a proxy says of itself to others, and hears of them: Via, X-Forwarded-For, Proxy-Status.

use std::net::IpAddr;

use http::header::VIA;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use sluice_abi::Reason;

use crate::config::ForwardedFor;
use crate::proxy_status;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether a request came through the proxy of this pseudonym before (RFC 9110 section 7.6.3).
pub(super) fn came_through(headers: &HeaderMap, pseudonym: &str) -> bool {
    let lines = headers.get_all(VIA).iter();
    let items = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    items
        .filter_map(|item| {
            let mut words = item
                .split(|byte| byte.is_ascii_whitespace())
                .filter(|word| !word.is_empty());
            words.nth(1)
        })
        .any(|by| by.eq_ignore_ascii_case(pseudonym.as_bytes()))
}

/// Adds to Via that a message of this version came through here.
pub(super) fn add_via(headers: &mut HeaderMap, version: Version, pseudonym: &str) {
    let version = if version == Version::HTTP_10 {
        "1.0"
    } else {
        "1.1"
    };
    if let Ok(value) = HeaderValue::try_from(format!("{version} {pseudonym}")) {
        headers.append(VIA, value);
    }
}

/// Tells an origin the client's address, or does not.
pub(super) fn forward_for(headers: &mut HeaderMap, how: ForwardedFor, client: IpAddr) {
    let client = client.to_string();
    let text = match how {
        ForwardedFor::Off => return,
        ForwardedFor::Set => client,
        ForwardedFor::Append => {
            let mut all: Vec<_> = headers
                .get_all(X_FORWARDED_FOR)
                .iter()
                .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
                .collect();
            all.push(client);
            all.join(", ")
        }
    };
    match HeaderValue::try_from(text) {
        Ok(value) => drop(headers.insert(X_FORWARDED_FOR, value)),
        // What the client says cannot be put before it.
        Err(_) => drop(headers.remove(X_FORWARDED_FOR)),
    }
}

/// The Proxy-Status of an answer that the proxy made itself (RFC 9209 section 2.3).
pub(crate) fn status_of(
    pseudonym: &str,
    reason: Reason,
    status: StatusCode,
) -> Option<(HeaderName, HeaderValue)> {
    let error = match proxy_status::error_type(reason) {
        Some(error) => error,
        None if status.is_server_error() => "proxy_internal_response",
        None => "http_request_denied",
    };
    let details = reason.name();
    let text = format!("{pseudonym}; error={error}; details=\"{details}\"");
    let value = HeaderValue::try_from(text).ok()?;
    Some((HeaderName::from_static("proxy-status"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_knows_oneself_among_others() {
        for (via, is_so) in [
            ("1.1 sluice-1", true),
            ("1.0 other, 1.1 SLUICE-1 (a comment)", true),
            ("HTTP/1.1\tsluice-1", true),
            ("1.1 sluice-12", false),
            ("sluice-1", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(VIA, HeaderValue::from_static("1.1 first"));
            headers.append(VIA, HeaderValue::from_static(via));
            assert_eq!(came_through(&headers, "sluice-1"), is_so, "{via}");
        }
        let mut headers = HeaderMap::new();
        add_via(&mut headers, Version::HTTP_10, "sluice-1");
        assert_eq!(headers[VIA], "1.0 sluice-1");
        assert!(came_through(&headers, "sluice-1"));
    }

    #[test]
    fn the_client_is_named_as_configured() {
        let client = "192.0.2.7".parse().unwrap();
        let told = |how| {
            let mut headers = HeaderMap::new();
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static("10.0.0.1"));
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static("10.0.0.2"));
            forward_for(&mut headers, how, client);
            let all = headers.get_all(X_FORWARDED_FOR).iter();
            all.map(|line| line.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(told(ForwardedFor::Off), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(told(ForwardedFor::Set), ["192.0.2.7"]);
        assert_eq!(
            told(ForwardedFor::Append),
            ["10.0.0.1, 10.0.0.2, 192.0.2.7"]
        );
    }
}
