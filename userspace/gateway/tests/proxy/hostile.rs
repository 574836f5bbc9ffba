//! Clients that break HTTP, or try what they may not.

use crate::gateway::{ALLOW, Client, Gateway, mirror};
use crate::lab::{NAME, Origin};

fn mirroring() -> Origin {
    Origin::plain().scripted(|pipe, _| mirror(pipe))
}

#[test]
fn what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_read() {
    let gateway = Gateway::new(&mirroring(), "", ALLOW);
    let site = gateway.site(NAME);
    let behind = format!("GET http://{site}/behind HTTP/1.1\r\nHost: {site}\r\n\r\n");
    let agent = "User-Agent: x\r\n";
    gateway.lab.run(async {
        for (request, status) in [
            (format!("CONNECT {site} HTTP/1.1\r\n{agent}Content-Length: 5\r\n\r\nhello"), 400),
            (
                format!("CONNECT {site} HTTP/1.1\r\n{agent}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                400,
            ),
            (format!("CONNECT {NAME} HTTP/1.1\r\n{agent}\r\n"), 400),
            (format!("CONNECT http://{site}/ HTTP/1.1\r\n{agent}\r\n"), 400),
            (format!("CONNECT a@{site} HTTP/1.1\r\n{agent}\r\n"), 400),
            (format!("CONNECT {site} HTTP/1.1\r\n{agent}{agent}\r\n"), 400),
            (format!("CONNECT {site} HTTP/1.1\r\n{agent}Host: other.example\r\n\r\n"), 400),
            (format!("CONNECT {NAME}:0 HTTP/1.1\r\n{agent}\r\n"), 400),
            (format!("CONNECT {NAME}:99999 HTTP/1.1\r\n{agent}\r\n"), 400),
            (format!("GET http://{site}/ HTTP/1.1\r\nHost: other.example\r\n\r\n"), 400),
            (format!("GET http://{site}/ HTTP/1.1\r\n\r\n"), 400),
            (format!("GET http://a@{site}/ HTTP/1.1\r\nHost: {site}\r\n\r\n"), 400),
            (
                format!("POST http://{site}/ HTTP/1.1\r\nHost: {site}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                400,
            ),
            (format!("GET http://{site}/ HTTP/1.1\r\nHost : {site}\r\n\r\n"), 400),
            (format!("GET http://{site}/ HTTP/1.1\nHost: {site}\n\n"), 400),
            (format!("TRACE http://{site}/ HTTP/1.1\r\nHost: {site}\r\n\r\n"), 501),
            (format!("GET http://{site}/{} HTTP/1.1\r\nHost: {site}\r\n\r\n", "a".repeat(20_000)), 414),
            (
                format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\nX: {}\r\n\r\n", "a".repeat(70_000)),
                431,
            ),
            (
                format!("CONNECT {site} HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(200)),
                431,
            ),
        ] {
            let mut client = gateway.dial().await;
            client.send(format!("{request}{behind}")).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, status, "{request:.200}: {answer:?}");
            let told = answer.fields("proxy-status").join(",");
            assert!(told.contains("error=http_request_error"), "{request:.200}: {told}");
            let (rest, _) = client.rest().await;
            let rest = String::from_utf8_lossy(&rest).into_owned();
            assert!(!rest.contains("/behind"), "{request:.200}: {rest}");
        }
    });
    let (flows, requests) = gateway.end();
    assert_eq!(flows.len(), 0, "{flows:?}");
    assert!(requests.iter().all(|request| request["verdict"] == "block"));
}

#[test]
fn a_head_that_never_ends_is_not_waited_for() {
    let rules = format!("{ALLOW}[intercept]\nhead_timeout = \"200ms\"\n");
    let gateway = Gateway::new(&mirroring(), "", &rules);
    gateway.lab.run(async {
        for start in [
            "",
            "GET http://a.example/ HTTP/1.1\r\nHo",
            "CONNECT a:1 HTT",
        ] {
            let mut client = gateway.dial().await;
            client.send(start).await;
            let (rest, _) = client.rest().await;
            let rest = String::from_utf8_lossy(&rest).into_owned();
            assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{rest}");
        }
    });
    gateway.end();
}

#[test]
fn a_tunnel_in_which_nothing_is_said_ends() {
    let rules = format!(
        "{ALLOW}[steer]\nsilent_timeout = \"200ms\"\n\
         [[rule]]\nname = \"silent\"\nwhen = {{ tls = \"not-negotiated\" }}\naction = \"block\"\n"
    );
    let gateway = Gateway::new(&mirroring(), "", &rules);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        assert_eq!(client.connect(&site).await.status, 200);
        let (rest, orderly) = client.rest().await;
        assert_eq!((rest.len(), orderly), (0, false));
    });
    let (flows, _) = gateway.end();
    assert_eq!(flows[0]["rule"], "silent");
    assert_eq!(flows[0]["tls"], "silent");
}

#[test]
fn a_client_has_as_many_connections_as_one_may_have() {
    let gateway = Gateway::new(&mirroring(), "", ALLOW);
    let held: Vec<_> = (0..3)
        .map(|_| {
            gateway
                .lab
                .shared
                .limits
                .admit([127, 0, 0, 1].into(), 100, 100)
        })
        .collect();
    let mut generation =
        sluice_gateway::daemon::generation::Generation::new(2, &gateway.lab.config).unwrap();
    generation.flow_limit_per_client = 3;
    gateway.lab.shared.current.replace(generation);
    gateway.lab.run(async {
        // The reset may be quicker than the handshake of the connection.
        if let Ok(stream) = tokio::net::TcpStream::connect(gateway.address).await {
            let (rest, orderly) = Client::over(stream).rest().await;
            assert_eq!((rest.len(), orderly), (0, false));
        }
        while gateway.lab.metrics.kinds().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    drop(held);
    let (flows, _) = gateway.end();
    assert_eq!(flows[0]["reason"], "gateway-client-limit");
    assert_eq!(flows[0]["listener"], "proxy");
}
