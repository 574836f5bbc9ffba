//! Requests that name their URL.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gateway::{ALLOW, Client, Gateway, mirror};
use crate::lab::{NAME, Origin, Pipe};

fn mirroring() -> Origin {
    Origin::plain().scripted(|pipe, connections| async move {
        // Counts connections, and not requests.
        connections.fetch_add(1, Ordering::SeqCst);
        mirror(pipe).await;
    })
}

fn get(site: &str, path: &str, more: &str) -> String {
    format!("GET http://{site}{path} HTTP/1.1\r\nHost: {site}\r\n{more}\r\n")
}

#[test]
fn a_request_goes_on_as_it_was_judged_and_without_what_is_for_one_connection() {
    let gateway = Gateway::new(&mirroring(), "", ALLOW);
    let site = gateway.site(NAME);
    let seen = gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let answer = client
            .ask(get(
                &site,
                "/a/../b?c",
                "Proxy-Connection: keep-alive\r\nConnection: x-secret\r\nX-Secret: 1\r\n\
                 Proxy-Authorization: Test alice\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                 Upgrade: h2c\r\nX-Kept: yes\r\nX-Forwarded-For: 10.9.9.9\r\n",
            ))
            .await;
        assert_eq!(answer.status, 200);
        // Of the answer likewise.
        assert_eq!(answer.fields("x-theirs"), ["1"]);
        assert!(answer.fields("x-mine").is_empty(), "{answer:?}");
        assert!(answer.fields("proxy-connection").is_empty(), "{answer:?}");
        assert!(answer.fields("proxy-status").is_empty(), "{answer:?}");
        let [via] = answer.fields("via")[..] else {
            panic!("{answer:?}")
        };
        assert!(via.starts_with("1.1 sluice-"), "{via}");
        assert!(answer.body.contains(via), "one pseudonym for both ways");
        answer.body
    });
    let lines: Vec<String> = seen.lines().map(str::to_lowercase).collect();
    assert_eq!(lines[0], "get /b?c http/1.1");
    let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
    assert!(has(&format!("host: {site}")), "{seen}");
    assert!(has("x-kept: yes"), "{seen}");
    assert!(has("x-forwarded-for: 10.9.9.9"), "{seen}");
    for gone in [
        "proxy-",
        "connection:",
        "x-secret",
        "keep-alive",
        "te:",
        "upgrade",
    ] {
        assert!(!has(gone), "{gone}: {seen}");
    }
    let (flows, requests) = gateway.end();
    assert_eq!(flows.len(), 0);
    assert_eq!(requests[0]["url"], format!("http://{site}/b?c"));
    assert_eq!(requests[0]["listener"], "proxy");
    assert_eq!(requests[0]["verdict"], "allow");
    assert_eq!(requests[0]["status"], 200);
    assert_eq!(requests[0]["decrypted"], false);
}

#[test]
fn the_client_is_named_and_the_gateway_is_not_where_that_is_configured() {
    let keys = "forwarded_for = \"set\"\nvia = false";
    let gateway = Gateway::new(&mirroring(), keys, ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let request = get(&site, "/", "X-Forwarded-For: 10.9.9.9\r\n");
        let answer = client.ask(request).await;
        let seen = answer.body.to_lowercase();
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\r\n"), "{seen}");
        assert!(
            !seen.contains("10.9.9.9") && !seen.contains("via:"),
            "{seen}"
        );
        assert!(answer.fields("via").is_empty(), "{answer:?}");
    });
    gateway.end();
}

#[test]
fn one_connection_to_the_origin_serves_the_requests_for_one_server() {
    let gateway = Gateway::new(&mirroring(), "", ALLOW);
    let connections = || gateway.lab.requests.load(Ordering::SeqCst);
    let (one, other) = (gateway.site(NAME), gateway.site("other.example"));
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        for path in ["/1", "/2", "/3"] {
            assert_eq!(client.ask(get(&one, path, "")).await.status, 200);
        }
        assert_eq!(connections(), 1);
        let answer = client.ask(get(&other, "/4", "")).await;
        assert!(answer.body.contains(&other), "{answer:?}");
        assert_eq!(connections(), 2);
        let answer = client.ask(get(&one, "/5", "")).await;
        assert!(answer.body.contains(&one), "{answer:?}");
        assert_eq!(connections(), 3);
    });
    gateway.end();
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let gateway = Gateway::new(&mirroring(), "", ALLOW);
    let (one, other) = (gateway.site(NAME), gateway.site("other.example"));
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let mut all = String::new();
        for number in 0..20 {
            let site = if number % 3 == 0 { &other } else { &one };
            all += &get(site, &format!("/{number}"), "");
        }
        client.send(all).await;
        for number in 0..20 {
            let answer = client.answer().await;
            let line = format!("GET /{number} HTTP/1.1\r\n");
            assert!(answer.body.starts_with(&line), "{number}: {answer:?}");
        }
    });
    gateway.end();
}

#[test]
fn bodies_pass_in_chunks_both_ways_with_trailers() {
    let origin = Origin::plain().scripted(|mut pipe: Pipe, _| async move {
        let mut bytes = Vec::new();
        while !bytes
            .to_ascii_lowercase()
            .ends_with(b"\r\nx-sum: 9\r\n\r\n")
        {
            if pipe.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
                return;
            }
        }
        let seen = String::from_utf8(bytes).unwrap().to_lowercase();
        assert!(seen.contains("transfer-encoding: chunked"), "{seen}");
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n\
                      4\r\nwiki\r\n5\r\npedia\r\n0\r\nx-end: yes\r\n\r\n";
        let _ = pipe.write_all(answer.as_bytes()).await;
        // Whoever closes too early resets what was not read.
        let _ = pipe.read_buf(&mut Vec::new()).await;
    });
    let gateway = Gateway::new(&origin, "", ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let head = format!(
            "POST http://{site}/ HTTP/1.1\r\nHost: {site}\r\nTE: trailers\r\nTrailer: x-sum\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        client.send(head).await;
        client.send("5\r\nhello\r\n4\r\n you\r\n").await;
        client.send("0\r\nx-sum: 9\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.starts_with("wikipedia"), "{answer:?}");
    });
    gateway.end();
}

#[test]
fn whoever_waits_for_100_gets_it_and_large_bodies_stream() {
    let origin = Origin::plain().scripted(|mut pipe: Pipe, _| async move {
        let mut bytes = Vec::new();
        let body = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break bytes.split_off(end + 4);
            }
            if pipe.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
                return;
            }
        };
        let (mut count, mut buffer) = (body.len(), vec![0; 65_536]);
        while count < 5_000_000 {
            match pipe.read(&mut buffer).await {
                Ok(read @ 1..) => count += read,
                _ => return,
            }
        }
        let text = count.to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        let _ = pipe.write_all(answer.as_bytes()).await;
        let _ = pipe.read(&mut buffer).await;
    });
    let gateway = Gateway::new(&origin, "", ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let head = format!(
            "POST http://{site}/ HTTP/1.1\r\nHost: {site}\r\nExpect: 100-continue\r\n\
             Content-Length: 5000000\r\n\r\n"
        );
        client.send(head).await;
        assert_eq!(client.head().await.status, 100);
        client.send(vec![b'x'; 5_000_000]).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "5000000"));
    });
    gateway.end();
}

#[test]
fn a_request_that_comes_back_is_known() {
    let gateway = Gateway::new(&mirroring(), "", ALLOW);
    // The proxy is a server to itself.
    let site = format!("loop.example:{}", gateway.address.port());
    let inner = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let via = client.ask(get(&inner, "/", "")).await.fields("via")[0].to_owned();
        let answer = client.ask(get(&site, "/", "Via: 1.1 other\r\n")).await;
        // It forwards to itself a request that names no server.
        assert_eq!(answer.status, 400, "{answer:?}");
        let answer = client
            .ask(get(
                &inner,
                "/",
                &format!("Via: 1.0 other, {via} (again)\r\n"),
            ))
            .await;
        assert_eq!(answer.status, 508, "{answer:?}");
        let told = answer.fields("proxy-status").join(",");
        assert!(told.contains("error=proxy_loop_detected"), "{told}");
        // The connection is still good.
        assert_eq!(client.ask(get(&inner, "/", "")).await.status, 200);
    });
    let (_, requests) = gateway.end();
    let loops = requests
        .iter()
        .filter(|request| request["reason"] == "proxy-loop");
    assert_eq!(loops.count(), 1, "{requests:?}");
}

#[test]
fn requests_are_judged_one_by_one() {
    let rules = format!(
        "{ALLOW}[[rule]]\nname = \"no posts\"\nwhen = {{ method = \"POST\", listener = \"proxy\" }}\n\
         action = {{ block = \"page\" }}\n\
         [[rule]]\nname = \"not there\"\nwhen = {{ host = \"nowhere.example\" }}\n\
         action = {{ block = \"page\" }}\n"
    );
    let gateway = Gateway::new(&mirroring(), "", &rules);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        assert_eq!(client.ask(get(&site, "/", "")).await.status, 200);
        let post =
            format!("POST http://{site}/ HTTP/1.1\r\nHost: {site}\r\nContent-Length: 3\r\n\r\nabc");
        let answer = client.ask(&post).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("no posts"), "{answer:?}");
        assert_eq!(client.ask(get(&site, "/", "")).await.status, 200);
        // What is blocked need not exist.
        let answer = client.ask(get("nowhere.example", "/", "")).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("not there"), "{answer:?}");
        let answer = client.ask(get("unknown.example", "/", "")).await;
        assert_eq!(answer.status, 502);
        let told = answer.fields("proxy-status").join(",");
        assert!(told.contains("error=dns_error"), "{told}");
        // Nor is anybody led to the gateway itself.
        let answer = client
            .ask(get("169.254.169.254", "/latest/meta-data", ""))
            .await;
        assert_eq!(answer.status, 403);
        let told = answer.fields("proxy-status").join(",");
        assert!(told.contains("error=destination_ip_prohibited"), "{told}");
    });
    let (_, requests) = gateway.end();
    let reasons: Vec<_> = requests
        .iter()
        .map(|request| request["reason"].as_str().unwrap())
        .collect();
    assert_eq!(
        reasons,
        [
            "default",
            "rule",
            "default",
            "rule",
            "unresolved-name",
            "never-connect"
        ]
    );
}

#[test]
fn a_proxy_is_no_server_and_fetches_nothing_inside_tls() {
    let gateway = Gateway::new(&mirroring(), "", ALLOW);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        for (target, status) in [
            ("/", 400),
            ("/proxy.pac", 400),
            ("https://origin.example/", 501),
            ("ftp://origin.example/", 501),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: origin.example\r\n\r\n");
            let answer = client.ask(request).await;
            assert_eq!(answer.status, status, "{target}: {answer:?}");
            assert_eq!(answer.fields("proxy-status").len(), 1, "{answer:?}");
        }
        let request = "OPTIONS * HTTP/1.1\r\nHost: origin.example\r\n\r\n";
        assert_eq!(client.ask(request).await.status, 400);
    });
    gateway.end();
}

#[test]
fn a_websocket_is_relayed() {
    let origin = Origin::plain().scripted(|mut pipe: Pipe, _| async move {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            if pipe.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
                return;
            }
        }
        let seen = String::from_utf8(bytes).unwrap().to_lowercase();
        assert!(seen.contains("upgrade: websocket"), "{seen}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\n\r\n";
        pipe.write_all(answer.as_bytes()).await.unwrap();
        crate::gateway::echo(pipe).await;
    });
    let gateway = Gateway::new(&origin, "", ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        let answer = client.ask(get(&site, "/chat", more)).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        client.send("\u{1}frames").await;
        assert_eq!(client.bytes(7).await, b"\x01frames");
    });
    gateway.end();
}

#[test]
fn an_origin_that_breaks_off_is_told_and_not_met_again() {
    let origin = Origin::plain().scripted(|mut pipe: Pipe, connections| async move {
        let number = connections.fetch_add(1, Ordering::SeqCst);
        let _ = pipe.read_buf(&mut Vec::new()).await;
        if number > 0 {
            mirror_one(pipe).await;
        }
    });
    let gateway = Gateway::new(&origin, "", ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let answer = gateway.dial().await.ask(get(&site, "/", "")).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        let told = answer.fields("proxy-status").join(",");
        assert!(told.contains("error=connection_terminated"), "{told}");
        let answer = gateway.dial().await.ask(get(&site, "/", "")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    });
    gateway.end();
}

async fn mirror_one(mut pipe: Pipe) {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let _ = pipe.write_all(answer.as_bytes()).await;
    let _ = pipe.read_buf(&mut Vec::new()).await;
}

#[test]
fn old_clients_are_served() {
    let gateway = Gateway::new(&mirroring(), "", ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client: Client<_> = gateway.dial().await;
        client
            .send(format!("GET http://{site}/ HTTP/1.0\r\n\r\n"))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("via: 1.0 sluice-"), "{answer:?}");
        assert_eq!(client.rest().await, (Vec::new(), true));
    });
    gateway.end();
}
