//! What is asked of the proxy itself.

use crate::gateway::{ALLOW, Gateway, mirror};
use crate::lab::{NAME, Origin};

const PAC: &str =
    "pac = { direct = [\"<local>\", \"*.corp.example\"], proxy = \"proxy.example:3128\" }";

fn ask(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: proxy.example:3128\r\n\r\n")
}

#[test]
fn the_file_by_which_clients_find_the_proxy_is_served() {
    let origin = Origin::plain().scripted(|pipe, _| mirror(pipe));
    let gateway = Gateway::new(&origin, PAC, ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        for path in ["/proxy.pac", "/wpad.dat", "/proxy.pac?for=me"] {
            let answer = client.ask(ask("GET", path)).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let kind = answer.fields("content-type");
            assert_eq!(kind, ["application/x-ns-proxy-autoconfig"]);
            assert_eq!(answer.fields("cache-control"), ["max-age=300"]);
            for part in [
                "PROXY proxy.example:3128",
                "corp.example",
                "FindProxyForURL",
            ] {
                assert!(answer.body.contains(part), "{part}: {answer:?}");
            }
            let length = answer.body.len().to_string();
            assert_eq!(answer.fields("content-length"), [&*length]);
            // Of the head alone the next answer follows at once.
            client.send(ask("HEAD", path)).await;
            let head = client.head().await;
            assert_eq!(head.status, 200);
            assert_eq!(head.fields("content-type"), kind);
            assert_eq!(head.fields("cache-control"), ["max-age=300"]);
        }
        for (method, target) in [
            ("GET", "/"),
            ("GET", "/proxy.pac/"),
            ("GET", "//proxy.pac"),
            ("GET", "/PROXY.PAC"),
            ("POST", "/proxy.pac"),
            ("OPTIONS", "*"),
        ] {
            let answer = client.ask(ask(method, target)).await;
            assert_eq!(answer.status, 400, "{method} {target}: {answer:?}");
        }
        // An origin's is the origin's.
        let url = format!("http://{site}/proxy.pac");
        let request = format!("GET {url} HTTP/1.1\r\nHost: {site}\r\n\r\n");
        let answer = client.ask(request).await;
        assert!(answer.body.starts_with("GET /proxy.pac "), "{answer:?}");
    });
    let (flows, requests) = gateway.end();
    assert!(flows.is_empty(), "{flows:?}");
    let served = requests
        .iter()
        .filter(|request| request["reason"] == "to-gateway");
    assert_eq!(served.clone().count(), 6, "{requests:?}");
    for request in served {
        assert_eq!(request["verdict"], "allow", "{request}");
        assert_eq!(request["status"], 200, "{request}");
        assert_eq!(request["listener"], "proxy", "{request}");
    }
}

#[test]
fn there_are_no_tunnels_while_there_is_no_room_for_records() {
    let rules = format!("{ALLOW}[log]\nwhen_full = \"block\"\n");
    let origin = Origin::plain().scripted(|pipe, _| mirror(pipe));
    let gateway = Gateway::new(&origin, "", &rules);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        assert_eq!(gateway.dial().await.connect(&site).await.status, 200);
        gateway.lab.set_full(true);
        let refused = loop {
            let answer = gateway.dial().await.connect(&site).await;
            if answer.status != 200 {
                break answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        assert_eq!(refused.status, 503, "{refused:?}");
        let told = refused.fields("proxy-status").join(",");
        assert!(told.contains("error=proxy_internal_error"), "{told}");
        gateway.lab.set_full(false);
        while gateway.dial().await.connect(&site).await.status != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let (_, requests) = gateway.end();
    // What was refused is told where there was room for it, as there was here.
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request["reason"], "audit-unavailable", "{request}");
        assert_eq!(request["status"], 503, "{request}");
    }
}
