//! Flows that are decrypted, and what their clients and origins see of it.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod answers;
mod authority;
mod bulk;
mod client;
mod d;
mod deadlines;
#[expect(dead_code, reason = "some of it is for the tests of names alone")]
#[path = "../dns/mod.rs"]
mod dns;
mod ends;
mod flood;
mod frames;
mod h2;
mod handshakes;
mod identity;
mod inner;
mod judged;
mod lab;
mod many_names;
mod pages;
mod part;
#[expect(dead_code, reason = "some of it is for the tests of origins alone")]
#[path = "../origin/pki.rs"]
mod pki;
mod probes;
mod proof;
mod raw;
mod records;
mod reload;
mod requests;
mod retry;
#[path = "../shared/schema.rs"]
mod schema;
#[expect(dead_code, reason = "some of it is for the tests of origins alone")]
#[path = "../origin/served.rs"]
mod served;
mod streams;
mod told;
mod truth;

use std::sync::atomic::Ordering;

use client::Answer;
use http_body_util::Full;
use hyper::Method;
use lab::{INSPECT, Lab, NAME, Origin, request, shown};
use rustls::version::TLS12;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];

#[test]
fn requests_pass_by_the_protocol_that_both_sides_speak() {
    let lab = Lab::new(INSPECT);
    let client = lab.trusting_gateway();
    let port = lab.origin.port();
    for (offer, version) in [
        (BOTH.as_slice(), "HTTP/2.0"),
        (&[b"http/1.1"], "HTTP/1.1"),
        (&[], "HTTP/1.1"),
    ] {
        let client = client.clone().offering(offer);
        let answer = lab.run(client.get(&lab, "/a/../b?c=d")).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.body, format!("GET {NAME}:{port} /b?c=d {version} "));
    }
    lab.over(3);
    let (flows, requests) = lab.end();
    for flow in &flows {
        assert_eq!(flow["verdict"], "intercept", "{flow}");
        assert_eq!(flow["decrypted"], true);
        assert_eq!(flow["inspected_by"], "look into it");
        assert_eq!(flow["rule"], "let it through");
        assert_eq!(flow["interception"]["requests"], 1);
        assert_eq!(flow["end"], "finished", "{flow}");
    }
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0]["url"], format!("https://{NAME}:{port}/b?c=d"));
    assert_eq!(requests[0]["status"], 200);
    assert_eq!(requests[0]["decrypted"], true);
}

#[test]
fn large_bodies_arrive_whole_in_both_directions() {
    let lab = Lab::new(INSPECT);
    let mut body: String = (0..400_000).map(|line| format!("{line:07}\n")).collect();
    // Ends within a record and within whatever is read at once.
    body.push_str("the end");
    for offer in [BOTH.as_slice(), &[b"http/1.1"]] {
        let client = lab.trusting_gateway().offering(offer);
        let mut request = request(&lab, NAME, "/").map(|_| Full::from(body.clone()));
        *request.method_mut() = Method::POST;
        let answer = lab.run(async {
            let stream = client.connect(&lab).await.unwrap();
            Answer::to(stream, request).await
        });
        assert_eq!(answer.status(), 200);
        let (_, echoed) = answer.body.split_at(answer.body.len() - body.len());
        assert!(echoed == body);
    }
}

#[test]
fn a_leaf_is_for_the_asked_name_alone() {
    let lab = Lab::new(INSPECT);
    let client = lab.trusting_gateway().asking_for("a.origin.example");
    let leaf = shown(&lab.run(client.connect(&lab)).unwrap());
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        names.value.general_names,
        [GeneralName::DNSName("a.origin.example")]
    );
}

#[test]
fn what_need_not_be_decrypted_is_not() {
    let rules = format!(
        "[[rule]]\nname = \"never\"\nwhen = {{ host = \"{NAME}\" }}\naction = \"splice\"\n{INSPECT}"
    );
    let lab = Lab::new(&rules);
    let client = lab.trusting_origins().offering(&BOTH);
    assert_eq!(lab.run(client.get(&lab, "/")).unwrap().status(), 200);
    lab.over(1);
    let (flows, requests) = lab.end();
    assert_eq!(flows[0]["verdict"], "splice");
    assert_eq!(flows[0]["decrypted"], false);
    assert!(requests.is_empty());
}

#[test]
fn requests_are_judged_one_by_one() {
    let rules = r#"
        [[rule]]
        name = "no secrets"
        when = { path = "/secret" }
        action = { block = "page", message = "Not <here>." }
        [[rule]]
        name = "rest"
        action = "allow"
    "#;
    let lab = Lab::new(rules);
    for offer in [BOTH.as_slice(), &[b"http/1.1"]] {
        let client = lab.trusting_gateway().offering(offer);
        assert_eq!(lab.run(client.get(&lab, "/open")).unwrap().status(), 200);
        let blocked = lab
            .run(client.get(&lab, "/x/../%73ecret/plan?q=1"))
            .unwrap();
        assert_eq!(blocked.status(), 403);
        assert!(blocked.body.contains("no secrets"), "{}", blocked.body);
        assert!(
            blocked.body.contains("Not &lt;here&gt;."),
            "{}",
            blocked.body
        );
    }
    assert_eq!(lab.requests.load(Ordering::SeqCst), 2);
    lab.over(4);
    let (flows, requests) = lab.end();
    assert!(flows.iter().all(|flow| flow["decrypted"] == true));
    let blocked: Vec<_> = requests
        .iter()
        .filter(|request| request["verdict"] == "block")
        .collect();
    assert_eq!(blocked.len(), 2);
    assert_eq!(blocked[0]["rule"], "no secrets");
    assert!(blocked[0]["reference"].is_string());
}

#[test]
fn a_page_is_shown_without_asking_an_origin() {
    let lab = Lab::new("[[rule]]\nname = \"closed\"\naction = { block = \"page\" }\n");
    for offer in [BOTH.as_slice(), &[b"http/1.1"], &[]] {
        let client = lab.trusting_gateway().offering(offer);
        let answer = lab.run(client.get(&lab, "/")).unwrap();
        assert_eq!(answer.status(), 403);
        assert!(answer.body.contains("closed"));
    }
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
    lab.over(3);
    let (flows, requests) = lab.end();
    assert_eq!(flows[0]["verdict"], "block");
    assert_eq!(flows[0]["rule"], "closed");
    assert_eq!(flows[0]["decrypted"], true);
    assert_eq!(requests.len(), 3);
}

#[test]
fn a_client_sees_no_newer_version_than_the_origin_s() {
    let origin = Origin {
        versions: vec![&TLS12],
        ..Origin::default()
    };
    let lab = Lab::before(&origin, INSPECT);
    let stream = lab.run(lab.trusting_gateway().connect(&lab)).unwrap();
    let version = stream.get_ref().1.protocol_version().unwrap();
    assert_eq!(version, rustls::ProtocolVersion::TLSv1_2);
}

#[test]
fn an_invalid_certificate_is_shown_as_an_invalid_one() {
    let origin = Origin {
        expired: true,
        ..Origin::default()
    };
    let lab = Lab::before(&origin, INSPECT);
    let error = lab
        .run(lab.trusting_gateway().connect(&lab))
        .unwrap_err()
        .to_string();
    assert!(error.to_lowercase().contains("expired"), "{error}");
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0);
    lab.over(1);
    assert!(
        lab.shared
            .memory
            .rejected
            .all(std::time::Instant::now())
            .is_empty(),
        "who refuses what is to be refused has not refused the CA"
    );
}

#[test]
fn a_refused_leaf_is_remembered_and_a_rule_decides_the_next_attempt() {
    let rules = format!(
        "[[rule]]\nname = \"pinned\"\nwhen = {{ tls = \"client-rejected-ca\" }}\n\
         action = \"splice\"\n{INSPECT}"
    );
    let lab = Lab::new(&rules);
    let pinned = lab.trusting_origins();
    let error = lab.run(pinned.get(&lab, "/")).unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    lab.over(1);
    let remembered = lab.shared.memory.rejected.all(std::time::Instant::now());
    assert_eq!(remembered.len(), 1);
    assert_eq!(remembered[0].host.as_deref(), Some(NAME));
    assert_eq!(remembered[0].alert.as_deref(), Some("unknown_ca"));
    assert_eq!(lab.run(pinned.get(&lab, "/")).unwrap().status(), 200);
    lab.over(2);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["end"], "client-rejected-ca");
    assert_eq!(flows[0]["interception"]["alert"], "unknown_ca");
    assert_eq!(flows[0]["decrypted"], false);
    assert_eq!(flows[1]["verdict"], "splice");
    assert_eq!(flows[1]["tls"], "client-rejected-ca");
    assert_eq!(flows[1]["rule"], "pinned");
}

#[test]
fn cleartext_http_is_judged_by_the_same_rules() {
    let rules = r#"
        [[rule]]
        name = "no secrets"
        when = { path = "/secret" }
        action = { block = "page" }
        [[rule]]
        name = "rest"
        when = { application = "http" }
        action = "allow"
    "#;
    let origin = Origin::plain();
    let lab = Lab::before(&origin, rules);
    let port = lab.origin.port();
    let speak = async |lab: &Lab, path: &str| {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {NAME}:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let open = lab.run(speak(&lab, "/open"));
    assert!(open.starts_with("HTTP/1.1 200 OK\r\n"), "{open}");
    assert!(
        open.contains(&format!("GET {NAME}:{port} /open HTTP/1.1")),
        "{open}"
    );
    let closed = lab.run(speak(&lab, "/secret"));
    assert!(closed.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{closed}");
    assert_eq!(lab.requests.load(Ordering::SeqCst), 1);
    lab.over(2);
    let (flows, requests) = lab.end();
    assert!(
        flows.iter().all(|flow| flow["decrypted"] == false),
        "{flows:?}"
    );
    assert_eq!(requests[1]["url"], format!("http://{NAME}:{port}/secret"));
    assert_eq!(requests[1]["decrypted"], false);
}

#[test]
fn every_request_in_the_clear_is_judged_by_the_host_that_it_names() {
    let rules =
        format!("[[rule]]\nname = \"open\"\nwhen = {{ host = \"{NAME}\" }}\naction = \"allow\"\n");
    let origin = Origin::plain();
    let lab = Lab::before(&origin, &rules);
    let port = lab.origin.port();
    let answers = lab.run(async {
        let mut stream = TcpStream::connect(lab.address).await.unwrap();
        let head = |host, end| format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\n{end}\r\n");
        let both = head(NAME, "") + &head("other.example", "Connection: close\r\n");
        // The host is known once the head is whole, however it is cut.
        let (first, rest) = both.split_at(20);
        stream.write_all(first.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        answers
    });
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
    assert!(answers.contains("HTTP/1.1 403 Forbidden\r\n"), "{answers}");
    assert_eq!(lab.requests.load(Ordering::SeqCst), 1);
}
