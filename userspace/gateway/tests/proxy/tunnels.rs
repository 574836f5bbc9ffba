//! What a CONNECT comes to.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

use crate::gateway::{ALLOW, Client, Gateway, echo, mirror};
use crate::lab::{INSPECT, NAME, Origin};

fn echoing() -> Origin {
    Origin::plain().scripted(|pipe, _| echo(pipe))
}

#[test]
fn a_tunnel_that_is_allowed_from_the_beginning_is_spliced_byte_for_byte() {
    let rule = "[[rule]]\nname = \"all\"\naction = \"allow\"\n";
    let gateway = Gateway::new(&echoing(), "", rule);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let answer = client.connect(&site).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.fields("content-length").is_empty(), "{answer:?}");
        assert!(answer.fields("transfer-encoding").is_empty(), "{answer:?}");
        let sent: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let (mut read, mut write) = tokio::io::split(client.into_stream());
        let expected = sent.clone();
        let writing = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let reading = async {
            let mut all = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut read, &mut all)
                .await
                .unwrap();
            assert!(all == expected, "{} bytes differ", all.len());
        };
        tokio::join!(writing, reading);
    });
    let (flows, requests) = gateway.end();
    assert_eq!(requests.len(), 0);
    let [flow] = &flows[..] else {
        panic!("{flows:?}")
    };
    assert_eq!(flow["verdict"], "splice");
    assert_eq!(flow["listener"], "proxy");
    assert_eq!(flow["connect"], site.as_str());
    assert_eq!(flow["end"], "finished");
    assert_eq!(flow["stage"], "open");
    assert_eq!(flow["to_origin"], 3_000_000);
    assert_eq!(flow["to_client"], 3_000_000);
    assert!(flow["spliced"].as_u64().unwrap() > 0, "{flow}");
}

#[test]
fn what_comes_with_the_connect_goes_through_the_tunnel() {
    for rules in [
        "[[rule]]\nname = \"all\"\naction = \"allow\"\n".to_owned(),
        // Here the first bytes are read before it is known.
        format!(
            "{ALLOW}[[rule]]\nname = \"no ssh\"\nwhen = {{ application = \"ssh\" }}\naction = \"block\"\n"
        ),
    ] {
        let gateway = Gateway::new(&echoing(), "", &rules);
        let site = gateway.site(NAME);
        gateway.lab.run(async {
            let mut client = gateway.dial().await;
            client
                .send(format!(
                    "CONNECT {site} HTTP/1.1\r\nUser-Agent: x\r\n\r\nearly bytes"
                ))
                .await;
            assert_eq!(client.answer().await.status, 200);
            assert_eq!(client.bytes(11).await, b"early bytes");
            client.send(" and later ones").await;
            assert_eq!(client.bytes(15).await, b" and later ones");
        });
        gateway.end();
    }
}

#[test]
fn a_second_request_behind_a_connect_is_the_tunnels() {
    let rule = "[[rule]]\nname = \"all\"\naction = \"allow\"\n";
    let gateway = Gateway::new(&echoing(), "", rule);
    let site = gateway.site(NAME);
    let second = "GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n";
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        client
            .send(format!(
                "CONNECT {site} HTTP/1.1\r\nUser-Agent: x\r\n\r\n{second}"
            ))
            .await;
        assert_eq!(client.answer().await.status, 200);
        assert_eq!(client.bytes(second.len()).await, second.as_bytes());
    });
    let (flows, requests) = gateway.end();
    assert_eq!((flows.len(), requests.len()), (1, 0));
}

#[test]
fn a_tunnel_is_decrypted_where_rules_say_so() {
    let gateway = Gateway::new(&Origin::default(), "", INSPECT);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        assert_eq!(client.connect(&site).await.status, 200);
        let config = gateway.lab.trusting_gateway().config;
        let name = ServerName::try_from(NAME).unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, client.into_stream())
            .await
            .unwrap();
        let mut inside = Client::over(stream);
        let answer = inside
            .ask(format!("GET /a HTTP/1.1\r\nHost: {site}\r\n\r\n"))
            .await;
        assert_eq!(answer.status, 200);
        assert!(answer.fields("via").is_empty(), "{answer:?}");
        // Another server than the tunnel's is none of this connection's.
        let answer = inside
            .ask("GET /a HTTP/1.1\r\nHost: other.example\r\n\r\n")
            .await;
        assert_eq!(answer.status, 421);
    });
    let (flows, requests) = gateway.end();
    assert_eq!(flows[0]["verdict"], "intercept");
    assert_eq!(flows[0]["connect"], site.as_str());
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0]["listener"], "proxy");
    assert_eq!(requests[0]["url"], format!("https://{site}/a"));
}

#[test]
fn a_blocked_tunnel_is_answered_with_the_page() {
    let rules = "[[rule]]\nname = \"no tunnels there\"\nwhen = { connect-host = \"other.example\" }\n\
                 action = { block = \"page\", message = \"Ask us.\" }\n\
                 [[rule]]\nname = \"cut\"\nwhen = { connect-host = \"loop.example\" }\n\
                 action = { block = \"reset\" }\n";
    let gateway = Gateway::new(&echoing(), "", &format!("{ALLOW}{rules}"));
    let site = gateway.site("other.example");
    let cut = gateway.site("loop.example");
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let answer = client.connect(&site).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("Ask us."), "{answer:?}");
        assert!(answer.body.contains("no tunnels there"), "{answer:?}");
        let [status] = answer.fields("proxy-status")[..] else {
            panic!("{answer:?}")
        };
        assert!(status.contains("error=http_request_denied"), "{status}");
        // The connection is for other requests still.
        assert_eq!(client.connect(&gateway.site(NAME)).await.status, 200);
        let mut client = gateway.dial().await;
        client
            .send(format!("CONNECT {cut} HTTP/1.1\r\nUser-Agent: x\r\n\r\n"))
            .await;
        let (rest, orderly) = client.rest().await;
        assert_eq!((rest.len(), orderly), (0, false));
    });
    let (flows, requests) = gateway.end();
    let blocked = flows.iter().filter(|flow| flow["verdict"] == "block");
    let rules: Vec<_> = blocked
        .map(|flow| flow["rule"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(rules, ["no tunnels there", "cut"]);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["method"], "CONNECT");
    assert!(requests[0]["reference"].is_string());
}

#[test]
fn unidentified_software_may_not_tunnel_unless_it_may() {
    let gateway = Gateway::new(&echoing(), "", ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        for agent in ["", "User-Agent:\r\n", "User-Agent:  \t \r\n"] {
            let mut client = gateway.dial().await;
            let answer = client
                .ask(format!("CONNECT {site} HTTP/1.1\r\n{agent}\r\n"))
                .await;
            assert_eq!(answer.status, 403, "{agent:?}");
            assert!(
                answer
                    .body
                    .contains("unidentified software may not tunnel (proxy)"),
                "{answer:?}"
            );
        }
        assert_eq!(gateway.dial().await.connect(&site).await.status, 200);
    });
    let (flows, _) = gateway.end();
    let rule = "unidentified software may not tunnel (proxy)";
    assert_eq!(flows.iter().filter(|flow| flow["rule"] == rule).count(), 3);
    let keys = "unidentified_tunnels = \"allow\"";
    let gateway = Gateway::new(&echoing(), keys, ALLOW);
    gateway.lab.run(async {
        let request = format!("CONNECT {} HTTP/1.1\r\n\r\n", gateway.site(NAME));
        assert_eq!(gateway.dial().await.ask(request).await.status, 200);
    });
    gateway.end();
}

#[test]
fn ports_and_addresses_are_refused_without_being_looked_up() {
    let gateway = Gateway::strict(&echoing(), "", ALLOW);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        for (site, rule) in [
            ("never-seen.example:25", "tunnels to other ports"),
            ("192.0.2.1:443", "tunnels to addresses"),
            ("[2001:db8::1]:443", "tunnels to addresses"),
            ("[::ffff:192.0.2.1]:443", "tunnels to addresses"),
        ] {
            let answer = client.connect(site).await;
            assert_eq!(answer.status, 403, "{site}");
            assert!(answer.body.contains(rule), "{site}: {answer:?}");
        }
    });
    let (flows, _) = gateway.end();
    assert_eq!(flows[0]["destination"], "0.0.0.0:25");
    assert_eq!(flows[1]["destination"], "192.0.2.1:443");
}

#[test]
fn an_address_that_may_be_named_is_dialled() {
    let keys = "connect_addresses = \"allow\"";
    let gateway = Gateway::new(&echoing(), keys, ALLOW);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        let answer = client.connect(&gateway.site("127.0.0.1")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        client.send("hello there\r\n").await;
        assert_eq!(client.bytes(13).await, b"hello there\r\n");
    });
    gateway.end();
}

#[test]
fn what_cannot_be_reached_is_told() {
    let rule = "[[rule]]\nname = \"all\"\naction = \"allow\"\n";
    let keys = "connect_addresses = \"allow\"";
    let gateway = Gateway::new(&echoing(), keys, rule);
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    gateway.lab.run(async {
        for (site, status, error) in [
            ("nowhere.example:443".to_owned(), 502, "dns_error"),
            (
                format!("{NAME}:{}", closed.port()),
                502,
                "connection_refused",
            ),
            (
                "gateway.example:443".to_owned(),
                403,
                "destination_ip_prohibited",
            ),
            (
                "169.254.169.254:443".to_owned(),
                403,
                "destination_ip_prohibited",
            ),
        ] {
            let mut client = gateway.dial().await;
            let answer = client.connect(&site).await;
            assert_eq!(answer.status, status, "{site}: {answer:?}");
            let told = answer.fields("proxy-status").join(",");
            assert!(told.contains(error), "{site}: {told}");
        }
    });
    let (flows, _) = gateway.end();
    let reasons: Vec<_> = flows.iter().map(|flow| flow["end"].clone()).collect();
    assert_eq!(
        reasons,
        [
            "unresolved-name",
            "origin-refused",
            "never-connect",
            "never-connect"
        ]
    );
}

#[test]
fn a_hello_for_another_server_than_the_connects_is_a_mismatch() {
    let rules = format!(
        "{ALLOW}[[rule]]\nname = \"honest\"\nwhen = {{ host-mismatch = true }}\naction = \"block\"\n"
    );
    let gateway = Gateway::new(&Origin::default(), "", &rules);
    gateway.lab.run(async {
        for (site, passes) in [(NAME, true), ("other.example", false)] {
            let mut client = gateway.dial().await;
            assert_eq!(client.connect(&gateway.site(site)).await.status, 200);
            let config = gateway.lab.trusting_origins().config;
            let connected = TlsConnector::from(Arc::new(config))
                .connect(ServerName::try_from(NAME).unwrap(), client.into_stream())
                .await;
            assert_eq!(connected.is_ok(), passes, "{site}");
        }
    });
    let (flows, _) = gateway.end();
    assert_eq!(flows.len(), 2);
    let rules: Vec<_> = flows.iter().map(|flow| flow["rule"].clone()).collect();
    assert!(rules.contains(&"honest".into()), "{rules:?}");
}

#[test]
fn a_hello_without_a_name_is_met_as_the_server_of_the_connect() {
    let gateway = Gateway::new(&Origin::default(), "", INSPECT);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        assert_eq!(client.connect(&site).await.status, 200);
        let mut config = gateway.lab.trusting_gateway().config;
        config.enable_sni = false;
        // The leaf is for the name that the client believes to speak to.
        let stream = TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from(NAME).unwrap(), client.into_stream())
            .await
            .unwrap();
        let mut inside = Client::over(stream);
        let answer = inside
            .ask(format!("GET /b HTTP/1.1\r\nHost: {site}\r\n\r\n"))
            .await;
        assert_eq!(answer.status, 200);
    });
    let (flows, requests) = gateway.end();
    assert_eq!(flows[0]["sni"], serde_json::Value::Null);
    assert_eq!(requests[0]["url"], format!("https://{site}/b"));
}

#[test]
fn requests_in_the_clear_inside_a_tunnel_are_judged_and_are_for_its_server() {
    let rules = format!(
        "{ALLOW}[[rule]]\nname = \"no secrets\"\nwhen = {{ url.path = \"/secret\" }}\n\
         action = {{ block = \"page\" }}\n"
    );
    let origin = Origin::plain().scripted(|pipe, _| mirror(pipe));
    let gateway = Gateway::new(&origin, "", &rules);
    let site = gateway.site(NAME);
    let request = |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        assert_eq!(client.connect(&site).await.status, 200);
        let answer = client.ask(request(&site, "/open")).await;
        assert_eq!(answer.status, 200);
        // Inside the tunnel nobody sees a proxy.
        assert!(answer.fields("via").is_empty(), "{answer:?}");
        assert!(!answer.body.contains("via:"), "{answer:?}");
        assert_eq!(client.ask(request(&site, "/secret")).await.status, 403);
        let other = gateway.site("other.example");
        assert_eq!(client.ask(request(&other, "/open")).await.status, 421);
    });
    let (flows, requests) = gateway.end();
    assert_eq!(flows[0]["verdict"], "intercept");
    let statuses: Vec<_> = requests.iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, [200, 403, 421]);
}
