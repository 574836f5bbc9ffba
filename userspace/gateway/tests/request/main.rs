//! Which requests are forwarded, as what, and what rules see of them; which answers are passed on.
#![cfg(test)]

mod check;
mod responses;

use check::{check, parse};
use http::{Version, request::Parts};
use proptest::prelude::*;
use sluice_gateway::request::{Expected, Framing, Limits, Prepared, Refusal, Upgrade, prepare};
use sluice_policy::{Inner, NormalError, Scheme};

fn head(text: &str) -> Parts {
    parse(text.as_bytes()).unwrap_or_else(|| panic!("{text:?} is no head"))
}

const ORIGIN: Expected<'_> = Expected::Origin {
    host: Some("a.example"),
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    port: 443,
};

fn inside_tls(text: &str) -> Result<Prepared, Refusal> {
    prepare(head(text), Scheme::Https, &ORIGIN, &Limits::default())
}

fn refusal(text: &str) -> Refusal {
    match inside_tls(text) {
        Ok(prepared) => panic!("{text:?} is let through as {}", prepared.url()),
        Err(refusal) => refusal,
    }
}

#[test]
fn c2_c4_a_request_for_another_server_than_the_connection_s_is_misdirected() {
    for text in [
        "GET / HTTP/1.1\nHost: b.example",
        "GET / HTTP/1.1\nHost: www.a.example",
        "GET / HTTP/1.1\nHost: a.example:8443",
        "GET / HTTP/1.1\nHost: 192.0.2.1",
        "GET https://b.example/ HTTP/2",
        "GET http://a.example/ HTTP/1.1\nHost: a.example",
        "GET https://b.example/ HTTP/1.1\nHost: b.example",
    ] {
        let refusal = refusal(text);
        assert_eq!(refusal.status(), 421, "{text}: {refusal}");
    }
    for text in [
        "GET / HTTP/1.1\nHost: A.example",
        "GET / HTTP/1.1\nHost: a.example.:443",
        "GET https://a.example/ HTTP/2",
        "GET / HTTP/2\nHost: a.example",
        "GET / HTTP/1.0",
    ] {
        assert_eq!(
            inside_tls(text).unwrap().url(),
            "https://a.example/",
            "{text}"
        );
    }
}

#[test]
fn c2_without_a_server_name_only_the_address_may_be_asked_for_inside_tls() {
    let expected = Expected::Origin {
        host: None,
        address: "2001:db8::1".parse().unwrap(),
        port: 443,
    };
    let ask = |host: &str, scheme, expected: &Expected<'_>| {
        let head = head(&format!("GET / HTTP/1.1\nHost: {host}"));
        prepare(head, scheme, expected, &Limits::default())
            .map(|prepared| prepared.url().to_owned())
    };
    assert_eq!(
        ask("[2001:DB8::0:1]", Scheme::Https, &expected).as_deref(),
        Ok("https://[2001:db8::1]/")
    );
    assert_eq!(
        ask("[2001:db8::2]", Scheme::Https, &expected),
        Err(Refusal::Misdirected)
    );
    assert_eq!(
        ask("a.example", Scheme::Https, &expected),
        Err(Refusal::Misdirected)
    );

    let in_the_clear = Expected::Origin {
        host: None,
        address: "::ffff:192.0.2.1".parse().unwrap(),
        port: 80,
    };
    assert!(ask("a.example", Scheme::Http, &in_the_clear).is_ok());
    assert!(ask("192.0.2.1", Scheme::Http, &in_the_clear).is_ok());
    assert_eq!(
        ask("192.0.2.2", Scheme::Http, &in_the_clear),
        Err(Refusal::Misdirected)
    );
    assert_eq!(
        ask("a.example:8080", Scheme::Http, &in_the_clear),
        Err(Refusal::Misdirected)
    );
    assert!(ask("anything.example:8080", Scheme::Http, &Expected::Any).is_ok());
}

#[test]
fn c5_a_request_names_one_server_or_is_refused() {
    for (text, expected) in [
        ("GET / HTTP/1.1", Refusal::NoAuthority),
        ("GET / HTTP/2", Refusal::NoAuthority),
        ("GET https://a.example/ HTTP/1.1", Refusal::NoAuthority),
        (
            "GET / HTTP/1.1\nHost: a.example\nHost: a.example",
            Refusal::Repeated("host"),
        ),
        (
            "GET https://a.example/ HTTP/1.1\nHost: b.example",
            Refusal::Authorities,
        ),
        (
            "GET https://a.example/ HTTP/2\nHost: b.example",
            Refusal::Authorities,
        ),
        (
            "GET / HTTP/1.1\nHost: u:p@a.example",
            NormalError::UserInfo.into(),
        ),
        (
            "GET https://u@a.example/ HTTP/1.1\nHost: a.example",
            NormalError::UserInfo.into(),
        ),
        (
            "GET / HTTP/1.1\nHost: a.example:0",
            NormalError::Port.into(),
        ),
        (
            "GET / HTTP/1.1\nHost: a.example:https",
            NormalError::Port.into(),
        ),
        ("GET / HTTP/1.1\nHost:", NormalError::Host.into()),
        (
            "GET / HTTP/1.1\nHost: a.example, b.example",
            NormalError::Host.into(),
        ),
        (
            "GET / HTTP/1.1\nHost: a.example/x",
            NormalError::Host.into(),
        ),
        (
            "GET ftp://a.example/ HTTP/1.1\nHost: a.example",
            NormalError::Scheme.into(),
        ),
        ("GET * HTTP/1.1\nHost: a.example", Refusal::Asterisk),
        ("TRACE / HTTP/1.1\nHost: a.example", Refusal::Method),
        (
            "CONNECT a.example:443 HTTP/1.1\nHost: a.example",
            Refusal::Method,
        ),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
    assert_eq!(refusal("TRACE / HTTP/1.1\nHost: a.example").status(), 501);
    let star = inside_tls("OPTIONS * HTTP/1.1\nHost: a.example").unwrap();
    assert_eq!(star.url(), "https://a.example/");
    assert_eq!(star.into_parts(Version::HTTP_11).uri, "*");
}

#[test]
fn c5_of_upgrades_only_websocket_is_forwarded() {
    let ask = |fields: &str| {
        inside_tls(&format!("GET /chat HTTP/1.1\nHost: a.example\n{fields}")).unwrap()
    };
    let socket =
        ask("Connection: keep-alive, Upgrade\nUpgrade: WebSocket, h2c\nSec-WebSocket-Key: x");
    assert_eq!(socket.upgrade(), Some(Upgrade::WebSocket));
    assert_eq!(socket.facts(&[]).inner, Some(Inner::WebSocket));
    let parts = socket.into_parts(Version::HTTP_11);
    assert_eq!(parts.headers["upgrade"], "websocket");
    assert_eq!(parts.headers["connection"], "Upgrade");
    assert_eq!(parts.headers["sec-websocket-key"], "x");
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABk",
        "Upgrade: websocket",
        "Connection: Upgrade\nUpgrade: websocket2",
    ] {
        let other = ask(fields);
        assert_eq!(other.upgrade(), None, "{fields}");
        let headers = other.into_parts(Version::HTTP_11).headers;
        assert_eq!(headers.len(), 1, "{headers:?}");
    }
}

#[test]
fn f1_a_length_that_is_not_certain_is_refused() {
    for (fields, why) in [
        (
            "Content-Length: 3\nTransfer-Encoding: chunked",
            Framing::Both,
        ),
        (
            "Transfer-Encoding: chunked\nTransfer-Encoding: identity",
            Framing::Coding,
        ),
        (
            "Transfer-Encoding: chunked\nTransfer-Encoding: chunked",
            Framing::Coding,
        ),
        ("Transfer-Encoding: gzip, chunked", Framing::Coding),
        ("Transfer-Encoding: chunked, identity", Framing::Coding),
        ("Transfer-Encoding: xchunked", Framing::Coding),
        ("Transfer-Encoding: \"chunked\"", Framing::Coding),
        ("Transfer-Encoding: chunked;x=y", Framing::Coding),
        ("Transfer-Encoding: chun\u{212a}ed", Framing::Coding),
        ("Transfer-Encoding:", Framing::Coding),
        ("Content-Length: 3\nContent-Length: 4", Framing::Length),
        ("Content-Length: 3\nContent-Length: 3", Framing::Length),
        ("Content-Length: 3, 3", Framing::Length),
        ("Content-Length: +3", Framing::Length),
        ("Content-Length: -3", Framing::Length),
        ("Content-Length: 0x3", Framing::Length),
        ("Content-Length: 3 3", Framing::Length),
        ("Content-Length: 3.0", Framing::Length),
        ("Content-Length: \u{663}", Framing::Length),
        ("Content-Length:", Framing::Length),
        ("Content-Length: 18446744073709551616", Framing::Length),
    ] {
        let text = format!("POST / HTTP/1.1\nHost: a.example\n{fields}");
        assert_eq!(refusal(&text), Refusal::Framing(why), "{fields}");
        assert_eq!(refusal(&text).status(), 400);
    }
    let old = "POST / HTTP/1.0\nHost: a.example\nTransfer-Encoding: chunked";
    assert_eq!(refusal(old), Refusal::Framing(Framing::Coding));
    let length = |fields: &str| {
        let prepared = inside_tls(&format!("POST / HTTP/1.1\nHost: a.example\n{fields}"));
        prepared.map(|prepared| prepared.length())
    };
    assert_eq!(length("Content-Length: 03"), Ok(Some(3)));
    assert_eq!(length("Transfer-Encoding: Chunked"), Ok(None));
    assert_eq!(length("X_Under_Score: fine"), Ok(None));
}

#[test]
fn f2_fields_that_http_2_does_not_have_are_refused() {
    for fields in [
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Keep-Alive: x",
        "Proxy-Connection: x",
        "Upgrade: websocket",
        "TE: gzip",
        "TE: trailers, gzip",
    ] {
        let text = format!("POST https://a.example/ HTTP/2\n{fields}");
        assert!(matches!(refusal(&text), Refusal::Http2Field(_)), "{fields}");
        assert_eq!(refusal(&text).status(), 400, "{fields}");
    }
    let grpc = inside_tls("POST https://a.example/ HTTP/2\nTE: trailers").unwrap();
    assert_eq!(
        grpc.clone().into_parts(Version::HTTP_2).headers["te"],
        "trailers"
    );
    assert!(!grpc.into_parts(Version::HTTP_11).headers.contains_key("te"));
}

#[test]
fn f2_cookies_in_pieces_reach_http_1_as_one() {
    let text = "GET https://a.example/ HTTP/2\nCookie: a=1\nCookie: b=2";
    let parts = inside_tls(text).unwrap().into_parts(Version::HTTP_11);
    let cookies: Vec<_> = parts.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
    assert_eq!(
        (parts.uri.to_string(), &parts.headers["host"]),
        ("/".into(), &"a.example".parse().unwrap())
    );
}

#[test]
fn f2_a_control_character_comes_into_no_value_and_bytes_beyond_ascii_may() {
    let mut parts = head("GET / HTTP/1.1\nHost: a.example");
    for bytes in [&b"a\rb"[..], b"a\nb", b"a\0b", b"\x7f"] {
        let value = http::HeaderValue::from_bytes(bytes);
        assert!(value.is_err(), "the type itself refuses {bytes:?}");
    }
    parts.headers.insert(
        "x",
        http::HeaderValue::from_bytes(b"tab\tand \xff").unwrap(),
    );
    assert!(prepare(parts, Scheme::Https, &ORIGIN, &Limits::default()).is_ok());
}

#[test]
fn f1_fields_for_one_connection_are_not_forwarded_and_no_others_can_be_made_so() {
    let text = "GET / HTTP/1.1\nHost: a.example\nConnection: close, X-Hop\nConnection: te\nX-Hop: 1\n\
                Keep-Alive: x\nProxy-Connection: x\nProxy-Authorization: Basic x\nTE: trailers\n\
                X-Stays: 1\nVia: 1.1 x";
    let parts = inside_tls(text).unwrap().into_parts(Version::HTTP_11);
    let mut names: Vec<_> = parts.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["host", "via", "x-stays"]);
    for name in [
        "host",
        "Cookie",
        "AUTHORIZATION",
        "content-length",
        "Transfer-Encoding",
        "content-type",
        "user-agent",
        "accept-encoding",
        "sec-fetch-site",
        "if-none-match",
    ] {
        let text = format!("GET / HTTP/1.1\nHost: a.example\nConnection: close ,{name}");
        let Refusal::Connection(named) = refusal(&text) else {
            panic!("{name}: {}", refusal(&text));
        };
        assert!(named.eq_ignore_ascii_case(name));
    }
    for name in ["content-type", "user-agent", "origin", "authorization"] {
        let text = format!("GET / HTTP/1.1\nHost: a.example\n{name}: a\n{name}: b");
        assert_eq!(refusal(&text), Refusal::Repeated(name));
    }
}

#[test]
fn f5_heads_that_are_too_large_are_refused() {
    let limits = Limits {
        url: 20,
        fields: 3,
        fields_size: 40,
    };
    let ask = |text: &str| {
        prepare(head(text), Scheme::Https, &ORIGIN, &limits)
            .map_err(|refusal| refusal.status().as_u16())
            .map(drop)
    };
    assert_eq!(
        ask("GET /2345678901234567890 HTTP/1.1\nHost: a.example"),
        Ok(())
    );
    assert_eq!(
        ask("GET /23456789012345678901 HTTP/1.1\nHost: a.example"),
        Err(414)
    );
    assert_eq!(ask("GET / HTTP/1.1\nHost: a.example\na: 1\nb: 1"), Ok(()));
    assert_eq!(
        ask("GET / HTTP/1.1\nHost: a.example\na: 1\nb: 1\nb: 2"),
        Err(431)
    );
    assert_eq!(
        ask("GET / HTTP/1.1\nHost: a.example\na: 123456789012345678901234567890"),
        Err(431)
    );
}

#[test]
fn f5_what_is_forwarded_is_what_was_judged() {
    let text = "GET /a/%2e%2e/%41dmin/?%71=%c3%bc HTTP/1.1\nHost: A.EXAMPLE:443";
    let prepared = inside_tls(text).unwrap();
    assert_eq!(prepared.url(), "https://a.example/Admin/?q=%C3%BC");
    let parts = prepared.into_parts(Version::HTTP_11);
    assert_eq!(parts.uri, "/Admin/?q=%C3%BC");
    assert_eq!(parts.headers["host"], "a.example");
    for path in ["/x/..;/admin", "/%2e%2e%2fadmin", "/a%00", "/%", "/a\\b"] {
        let text = format!("GET {path} HTTP/1.1\nHost: a.example");
        assert_eq!(refusal(&text).status(), 400, "{path}");
    }
}

#[test]
fn rules_see_every_field_whatever_its_bytes() {
    let mut parts = head(
        "POST / HTTP/1.1\nHost: a.example\nX-List: one\nX-List: two\nContent-Type: Text/HTML\nContent-Length: 7",
    );
    let agent = http::HeaderValue::from_bytes(b"curl/8 \xff \xc3\xbc").unwrap();
    parts.headers.insert("user-agent", agent.clone());
    let prepared = prepare(parts, Scheme::Https, &ORIGIN, &Limits::default()).unwrap();
    let fields = prepared.fields();
    let facts = prepared.facts(&fields);
    assert_eq!(facts.header("user-agent"), Some("curl/8 \u{fffd} \u{fc}"));
    assert_eq!(facts.header("x-list"), Some("one, two"));
    assert_eq!(facts.header("host"), Some("a.example"));
    assert_eq!(facts.content_type, Some("text/html"));
    assert_eq!(
        (facts.method, facts.size, facts.inspected),
        (Some("POST"), Some(7), Some(true))
    );
    assert_eq!(facts.inner, Some(Inner::Http));
    let forwarded = prepared.into_parts(Version::HTTP_11).headers;
    assert_eq!(forwarded["user-agent"], agent);
    assert_eq!(forwarded["content-type"], "Text/HTML");
    assert_eq!(forwarded.get_all("x-list").iter().count(), 2);
}

#[test]
fn seeds_are_heads_that_are_let_through_or_refused() {
    for seed in [
        &include_bytes!("../../../../tests/fuzz/seeds/request/absolute")[..],
        include_bytes!("../../../../tests/fuzz/seeds/request/http2"),
        include_bytes!("../../../../tests/fuzz/seeds/request/origin"),
        include_bytes!("../../../../tests/fuzz/seeds/request/websocket"),
    ] {
        let parts = parse(seed).unwrap();
        assert!(prepare(parts, Scheme::Https, &Expected::Any, &Limits::default()).is_ok());
        check(seed);
    }
}

fn url_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "//", ".", "..", ";", "?", "%2e", "%2E%2e", "%2f", "%5C", "%41", "%7e", "%", "%4",
        "%25", "%00", "a", "B", "~", "\u{fc}", "{", "|", "[", "&", "=", "+", ":", "@", "\\", "#",
        " ", "%zz", "3",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn normal_forms_are_their_own(path in url_text(), scheme in "(?i)https?", host in "[A-Za-z0-9.-]{1,12}|\\[::[0-9a-f]{1,4}\\]") {
        let url = format!("{scheme}://{host}{path}");
        if let Ok(normal) = sluice_policy::normal::url(&url) {
            prop_assert_eq!(sluice_policy::normal::url(&normal), Ok(normal.clone()));
            let parts = sluice_policy::UrlParts::split(&normal);
            let path = parts.path.split('?').next().unwrap();
            prop_assert!(path.starts_with('/'));
            prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
        }
    }

    #[test]
    fn any_head_is_refused_or_forwarded_as_judged(
        path in url_text(),
        method in "GET|POST|OPTIONS|BREW",
        version in "HTTP/1.0|HTTP/1.1|HTTP/2",
        prefix in "|https://a.example|http://b.example:8080",
        fields in prop::collection::vec(("[a-z_-]{1,8}|host|connection|content-length|cookie|te|upgrade", "[ -~]{0,12}|a.example|upgrade|websocket|trailers|[0-9]{1,3}"), 0..5),
    ) {
        let mut text = format!("{method} {prefix}{path} {version}\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        check(text.as_bytes());
        check(format!("{text}host: a.example\n").as_bytes());
    }
}
