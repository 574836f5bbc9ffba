//! Requests that could be read in two ways, in front of servers that people run: what those count is
//! what the gateway says that it let through.

mod servers;
mod ways;

use std::fmt::Write as _;

use serde_json::Value;
use servers::Origin;
use sluice_tests::family::Family;
use ways::{Client, Way};

use crate::{
    inspected::{Inspected, records},
    support::eventually,
};

const READ: &str = r#"
[policy]
default = "allow"
[[rule]]
name = "look into everything"
when = { host = "news.example" }
action = "inspect"
"#;

const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: news.example\r\n\r\n";

/// Requests that are refused before anything of them is forwarded; `{p}` is the payload's own path,
/// `{h}` its Host field.
const REFUSED: &[(&str, &str)] = &[
    (
        "CL.TE",
        "POST {p}{h}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE.CL",
        "POST {p}{h}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    (
        "xchunked",
        "POST {p}{h}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding behind a vertical tab",
        "POST {p}{h}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked and identity",
        "POST {p}{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "twice chunked",
        "POST {p}{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked, identity",
        "POST {p}{h}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "quoted",
        "POST {p}{h}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST {p}{h}Content-Length: 5\r\nContent-Length: 0\r\n\r\n12345",
    ),
    (
        "the same length twice",
        "POST {p}{h}Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345",
    ),
    ("comma", "POST {p}{h}Content-Length: 5, 5\r\n\r\n12345"),
    ("plus", "POST {p}{h}Content-Length: +5\r\n\r\n12345"),
    ("minus", "POST {p}{h}Content-Length: -5\r\n\r\n12345"),
    ("hexadecimal", "POST {p}{h}Content-Length: 0x5\r\n\r\n12345"),
    (
        "a blank inside the length",
        "POST {p}{h}Content-Length: 5 5\r\n\r\n12345",
    ),
    (
        "beyond 64 bits",
        "POST {p}{h}Content-Length: 18446744073709551621\r\n\r\n12345",
    ),
    ("bare LF", "GET {p}{h}X: y\nZ: w\r\n\r\n"),
    ("bare LF at the end", "GET {p}{h}X: y\r\n\n"),
    ("bare CR", "GET {p}{h}X: y\rZ: w\r\n\r\n"),
    ("CR CR LF", "GET {p}{h}X: y\r\r\n\r\n"),
    ("a fold", "GET {p}{h}X: y\r\n z\r\n\r\n"),
    (
        "a folded coding",
        "POST {p}{h}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    ("NUL in a value", "GET {p}{h}X: a\0b\r\n\r\n"),
    ("NUL in a name", "GET {p}{h}X\0: b\r\n\r\n"),
    (
        "a blank before the colon of a length",
        "POST {p}{h}Content-Length : 5\r\n\r\n12345",
    ),
    (
        "a blank before the colon of a coding",
        "POST {p}{h}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
];

/// Bodies that begin well: the head may be on its way when they go wrong.
const BROKEN: &[(&str, &str)] = &[
    ("a size that overflows", "10000000000000000\r\nx"),
    ("a size of a sign", "+1\r\nx\r\n0\r\n\r\n"),
    ("a size of 0x", "0x1\r\nx\r\n0\r\n\r\n"),
    ("bare LF behind the size", "1\nx\r\n0\r\n\r\n"),
    ("bare LF in an extension", "1;a\nb\r\nx\r\n0\r\n\r\n"),
    ("bare CR in an extension", "1;a\rb\r\nx\r\n0\r\n\r\n"),
    ("more data than the size", "1\r\nxy\r\n0\r\n\r\n"),
    (
        "a length in the trailers",
        "1\r\nx\r\n0\r\nContent-Length: 5\r\n\r\n",
    ),
    (
        "a coding in the trailers",
        "1\r\nx\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "bare LF in the trailers",
        "1\r\nx\r\n0\r\nX: y\nZ: w\r\n\r\n",
    ),
];

/// What passes, with the number of requests that it is; `{s}` is a request in a body.
const GOOD: &[(&str, &str, usize)] = &[
    ("one request", "GET {p}{h}\r\n", 1),
    ("a pair at once", "GET {p}{h}\r\nGET {p}{h}\r\n", 2),
    (
        "a request in a body of a length",
        "POST {p}{h}Content-Length: {n}\r\n\r\n{s}",
        1,
    ),
    (
        "a request in the body of a GET",
        "GET {p}{h}Content-Length: {n}\r\n\r\n{s}",
        1,
    ),
    (
        "a request in a chunk",
        "POST {p}{h}Transfer-Encoding: chunked\r\n\r\n{x}\r\n{s}\r\n0\r\n\r\n",
        1,
    ),
    (
        "an extension and trailers",
        "POST {p}{h}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Later: z\r\n\r\n",
        1,
    ),
    (
        "blanks around a coding",
        "POST {p}{h}Transfer-Encoding:   chunked  \r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        1,
    ),
    (
        "blanks around a length",
        "POST {p}{h}Content-Length:  3 \r\n\r\nabc",
        1,
    ),
    (
        "bodies of both kinds in a row",
        "POST {p}{h}Content-Length: 3\r\n\r\nabcPOST {p}{h}Transfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\n\r\nGET {p}{h}\r\n",
        3,
    ),
];

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// A payload with its own target, and what is behind it on the connection.
fn payload(text: &str, (target, host): (&str, &str)) -> String {
    text.replace("{p}", &format!("{target} HTTP/1.1\r\n"))
        .replace("{h}", &format!("Host: {host}\r\n"))
        .replace("{n}", &HIDDEN.len().to_string())
        .replace("{x}", &format!("{:x}", HIDDEN.len()))
        .replace("{s}", HIDDEN)
}

#[test]
#[ignore = "root: cargo xtask test"]
fn f1_real_origins_see_the_requests_that_the_gateway_counted() {
    let gateway = Inspected::new(READ);
    let origins = [
        Origin::nginx(&gateway, 5),
        Origin::node(&gateway, 6),
        Origin::apache(&gateway, 7),
        Origin::python(&gateway, "h11", 8),
        Origin::python(&gateway, "aiohttp", 9),
    ];
    try_all(&gateway, &origins, &[Way::Steered]);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn f1_real_origins_see_the_requests_that_a_proxy_counted() {
    // A URL of an address names nobody.
    let read = READ.replace("[policy]", "[policy]\ndefault_unidentified = \"allow\"");
    let gateway = Inspected::new(&(read + &ways::proxy()));
    let origins = [Origin::nginx(&gateway, 5), Origin::node(&gateway, 6)];
    try_all(&gateway, &origins, &[Way::Tunnelled, Way::Named]);
}

/// Sends everything to every origin in these ways, and compares what came of it.
fn try_all(gateway: &Inspected, origins: &[Origin], ways: &[Way]) {
    let client = Client::new(gateway);
    for origin in origins {
        let (mut sent, mut heads) = (0, Vec::new());
        for (&way, family) in ways
            .iter()
            .flat_map(|way| Family::ALL.map(|family| (way, family)))
        {
            let place = (way, family, origin.number);
            let host = client.host(place);
            let prefix = format!("/{}/{way:?}/{family:?}", origin.name);
            let target = |path: &str| client.target(place, path);
            for (nth, (what, text)) in REFUSED.iter().enumerate() {
                let what = format!("{prefix}, {what}");
                let target = target(&format!("{prefix}/refused/{nth}"));
                let bytes = payload(text, (&target, &host)) + HIDDEN;
                let statuses = client.statuses(&what, place, bytes.as_bytes());
                assert_eq!(statuses, ["400"], "{what}");
            }
            for (nth, (what, body)) in BROKEN.iter().enumerate() {
                let what = format!("{prefix}, {what}");
                let path = format!("{prefix}/broken/{nth}");
                let head = "POST {p}{h}Transfer-Encoding: chunked\r\n\r\n";
                let bytes = payload(head, (&target(&path), &host)) + body + HIDDEN;
                let statuses = client.statuses(&what, place, bytes.as_bytes());
                assert_eq!(statuses, ["400"], "{what}");
                heads.push(format!("POST {path}"));
            }
            for (nth, (what, text, count)) in GOOD.iter().enumerate() {
                let what = format!("{prefix}, {what}");
                let good = target(&format!("{prefix}/good/{nth}"));
                let mut bytes = payload(text, (&good, &host));
                let marker = target(&format!("{prefix}/marker/{nth}"));
                let marker = format!("GET {marker} HTTP/1.1\r\nHost: {host}\r\n");
                let _infallible = write!(bytes, "{marker}Connection: close\r\n\r\n");
                let statuses = client.statuses(&what, place, bytes.as_bytes());
                assert_eq!(statuses, vec!["200"; count + 1], "{what}");
                sent += count + 1;
            }
        }
        compare(gateway, origin, sent, &heads);
    }
    let refused = ways.len() * Family::ALL.len() * origins.len() * (REFUSED.len() + BROKEN.len());
    let requests = requests(gateway);
    let blocked = requests.iter().filter(|one| one["verdict"] != "allow");
    assert_eq!(blocked.clone().count(), refused);
    for request in blocked {
        assert_eq!(request["verdict"], "block", "{request}");
        assert_eq!(request["reason"], "bad-request", "{request}");
        assert_eq!(request["status"], 400, "{request}");
    }
}

/// Compares what an origin saw with what the gateway says that it allowed; of `heads` alone the
/// origin may have seen a beginning.
#[track_caller]
fn compare(gateway: &Inspected, origin: &Origin, sent: usize, heads: &[String]) {
    let name = origin.name;
    let of_origin = format!("/{name}/");
    let allowed = || {
        let requests = requests(gateway);
        let allowed = requests.iter().filter(|one| one["verdict"] == "allow");
        sorted(allowed.filter_map(|one| {
            let (_, rest) = one["url"].as_str()?.split_once("://")?;
            let path = &rest[rest.find('/')?..];
            let is_its = path.starts_with(&of_origin);
            is_its.then(|| format!("{} {path}", one["method"].as_str().unwrap()))
        }))
    };
    let whole = || {
        let seen = origin.seen().into_iter();
        sorted(seen.filter(|line| !heads.contains(line)))
    };
    // Both write when an answer is over, which the client may have read before.
    eventually("both logs", || {
        allowed().len() >= sent && whole().len() >= sent
    });
    assert_eq!(allowed().len(), sent, "{name}");
    assert_eq!(whole(), allowed(), "{name}");
    let seen = origin.seen();
    assert!(
        !seen.iter().any(|line| line.contains("smuggled")),
        "{seen:?}"
    );
    for head in heads {
        let times = seen.iter().filter(|line| *line == head).count();
        assert!(times <= 1, "{name} saw {head} {times} times");
    }
}

/// The access records of requests.
fn requests(gateway: &Inspected) -> Vec<Value> {
    let mut records = records(&gateway.sluice);
    records.retain(|one| one["method"].is_string());
    records
}
