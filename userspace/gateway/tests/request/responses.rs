//! Answers of origins.

use http::{HeaderMap, Response, Version, response::Parts};
use sluice_gateway::request::{Fault, Framing, Upgrade, prepare_response, prepare_trailers};

fn answer(status: u16, fields: &[(&str, &str)]) -> Parts {
    let mut response = Response::builder().status(status).version(Version::HTTP_11);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(()).unwrap().into_parts().0
}

fn fault(status: u16, fields: &[(&str, &str)]) -> Fault {
    prepare_response(&mut answer(status, fields), None).unwrap_err()
}

#[test]
fn f3_an_answer_whose_length_is_not_certain_is_not_passed_on() {
    let (length, coding) = (("content-length", "3"), ("transfer-encoding", "chunked"));
    assert_eq!(fault(200, &[length, coding]), Framing::Both.into());
    assert_eq!(
        fault(200, &[length, ("content-length", "4")]),
        Framing::Length.into()
    );
    assert_eq!(
        fault(200, &[("content-length", "3, 3")]),
        Framing::Length.into()
    );
    assert_eq!(
        fault(200, &[("transfer-encoding", "gzip, chunked")]),
        Framing::Coding.into()
    );
    assert_eq!(fault(204, &[length]), Framing::Length.into());
    assert_eq!(fault(204, &[coding]), Framing::Coding.into());
    assert!(prepare_response(&mut answer(304, &[length]), None).is_ok());
    let mut twice = answer(200, &[length, length]);
    assert_eq!(prepare_response(&mut twice, None), Ok(()));
    assert_eq!(twice.headers.get_all("content-length").iter().count(), 1);
}

#[test]
fn f3_protocols_are_switched_only_where_it_was_asked_for() {
    let socket = [
        ("connection", "upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-accept", "x"),
    ];
    let asked = Some(Upgrade::WebSocket);
    assert_eq!(fault(101, &socket), Fault::Switch);
    let mut other = answer(101, &[("connection", "upgrade"), ("upgrade", "h2c")]);
    assert_eq!(prepare_response(&mut other, asked), Err(Fault::Switch));
    assert_eq!(fault(103, &[]), Fault::Switch);
    assert_eq!(
        fault(407, &[("proxy-authenticate", "Basic")]),
        Fault::ProxyAuthentication
    );
    let mut switched = answer(101, &socket);
    assert_eq!(prepare_response(&mut switched, asked), Ok(()));
    assert_eq!(switched.headers["upgrade"], "websocket");
    assert_eq!(switched.headers["sec-websocket-accept"], "x");
}

#[test]
fn what_leads_around_the_gateway_is_removed_and_the_rest_stays() {
    let mut parts = answer(
        200,
        &[
            ("alt-svc", "h3=\":443\""),
            ("connection", "x-hop, set-cookie"),
            ("x-hop", "1"),
            ("upgrade", "h2,h2c"),
            ("keep-alive", "x"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("strict-transport-security", "max-age=1"),
            ("trailer", "x-sum"),
        ],
    );
    assert_eq!(prepare_response(&mut parts, None), Ok(()));
    let names: Vec<_> = parts.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(parts.headers.get_all("set-cookie").iter().count(), 2);
    assert!(parts.headers.contains_key("strict-transport-security"));
    assert!(parts.headers.contains_key("trailer"));
}

#[test]
fn f1_trailers_hold_nothing_that_belongs_before_a_body() {
    let mut trailers = HeaderMap::new();
    for name in [
        "grpc-status",
        "etag",
        "content-length",
        "host",
        "set-cookie",
        "te",
        "authorization",
    ] {
        trailers.insert(name, "0".parse().unwrap());
    }
    prepare_trailers(&mut trailers);
    let mut names: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["etag", "grpc-status"]);
}
