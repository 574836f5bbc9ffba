//! Clients on whose behalf a load balancer connects.

use sluice_gateway::daemon::generation::Generation;

use crate::gateway::{ALLOW, Client, Gateway, mirror};
use crate::lab::{NAME, Origin};

const BALANCED: &str = "balancers = [\"127.0.0.1\"]\nforwarded_for = \"set\"";

fn mirroring() -> Origin {
    Origin::plain().scripted(|pipe, _| mirror(pipe))
}

fn get(site: &str) -> String {
    format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n\r\n")
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 4711 3128\r\n").into_bytes()
}

/// A header of version 2 over TCP, for a client of either family at port 4711.
fn v2(client: std::net::IpAddr) -> Vec<u8> {
    let (family, address) = match client {
        std::net::IpAddr::V4(v4) => (0x11, v4.octets().to_vec()),
        std::net::IpAddr::V6(v6) => (0x21, v6.octets().to_vec()),
    };
    let body = [&address[..], &address, &[0x12, 0x67], &[0x0c, 0x38]].concat();
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family][..], &length, &body].concat()
}

/// A balancer's own connection, on behalf of nobody.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[test]
fn a_client_is_whom_its_balancer_names() {
    let gateway = Gateway::new(&mirroring(), BALANCED, ALLOW);
    let site = gateway.site(NAME);
    let clients = [
        (v1("198.51.100.7"), "198.51.100.7", "198.51.100.7:4711"),
        (
            v2([198, 51, 100, 8].into()),
            "198.51.100.8",
            "198.51.100.8:4711",
        ),
        (
            v2("2001:db8::9".parse().unwrap()),
            "2001:db8::9",
            "[2001:db8::9]:4711",
        ),
    ];
    gateway.lab.run(async {
        for (header, shown, _) in &clients {
            let mut client = gateway.dial().await;
            // The request is in the same segment.
            client
                .send([&header[..], get(&site).as_bytes()].concat())
                .await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen = answer.body.to_lowercase();
            let line = format!("x-forwarded-for: {shown}\r\n");
            assert!(seen.contains(&line), "{seen}");
            // And so is the tunnel that the connection ends with.
            assert_eq!(client.connect(&site).await.status, 200);
        }
        let mut balancer = gateway.dial().await;
        balancer.send(LOCAL).await;
        let answer = balancer.ask(get(&site)).await;
        assert!(answer.body.contains("127.0.0.1"), "{answer:?}");
    });
    let (flows, requests) = gateway.end();
    for (_, _, client) in &clients {
        for records in [&flows, &requests] {
            let of = records.iter().filter(|record| record["client"] == *client);
            assert_eq!(of.count(), 1, "{client}: {records:?}");
        }
    }
    let last = requests.last().unwrap()["client"].as_str().unwrap();
    assert!(last.starts_with("127.0.0.1:"), "{last}");
}

#[test]
fn limits_hold_for_the_client_and_not_for_its_balancer() {
    let gateway = Gateway::new(&mirroring(), BALANCED, ALLOW);
    let site = gateway.site(NAME);
    let limits = &gateway.lab.shared.limits;
    let full = [198, 51, 100, 7].into();
    let held: Vec<_> = (0..3).map(|_| limits.admit(full, 100, 100)).collect();
    let mut generation = Generation::new(2, &gateway.lab.config).unwrap();
    generation.flow_limit_per_client = 3;
    gateway.lab.shared.current.replace(generation);
    gateway.lab.run(async {
        let mut client = gateway.dial().await;
        client.send(v1("198.51.100.7")).await;
        let (rest, orderly) = client.rest().await;
        assert_eq!((rest.len(), orderly), (0, false));
        let mut clients = Vec::new();
        for last in 10..16 {
            let mut client = gateway.dial().await;
            client.send(v1(&format!("198.51.100.{last}"))).await;
            assert_eq!(client.ask(get(&site)).await.status, 200);
            clients.push(client);
        }
    });
    drop(held);
    let (flows, requests) = gateway.end();
    let [flow] = &flows[..] else {
        panic!("{flows:?}")
    };
    assert_eq!(flow["reason"], "gateway-client-limit");
    assert_eq!(flow["client"], "198.51.100.7:4711");
    assert_eq!(requests.len(), 6);
}

#[test]
fn a_balancer_that_sends_no_header_or_a_broken_one_is_not_answered() {
    let rules = format!("{ALLOW}[intercept]\nhead_timeout = \"200ms\"\n");
    let gateway = Gateway::new(&mirroring(), BALANCED, &rules);
    let site = gateway.site(NAME);
    let starts = [
        get(&site).into_bytes(),
        b"PROXY TCP4 198.51.100.7".to_vec(),
        b"PROXY TCP4 198.51.100.777 192.0.2.1 1 1\r\n".to_vec(),
        // The end of the head is missing, and then all of it.
        v2([198, 51, 100, 8].into())[..20].to_vec(),
        Vec::new(),
    ];
    gateway.lab.run(async {
        for start in &starts {
            let mut client = gateway.dial().await;
            client.send(start).await;
            let (rest, _) = client.rest().await;
            assert_eq!(rest, b"", "{start:?}");
        }
    });
    let (flows, requests) = gateway.end();
    assert!(requests.is_empty(), "{requests:?}");
    let reasons: Vec<_> = flows.iter().map(|flow| &flow["reason"]).collect();
    assert_eq!(reasons, vec!["bad-request"; starts.len()]);
}

#[test]
fn nobody_else_may_say_on_whose_behalf_it_connects() {
    let keys = "balancers = [\"127.0.0.2\"]";
    let gateway = Gateway::new(&mirroring(), keys, ALLOW);
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        for header in [
            v1("198.51.100.7"),
            v2([198, 51, 100, 8].into()),
            LOCAL.to_vec(),
        ] {
            let mut client: Client<_> = gateway.dial().await;
            client
                .send([&header[..], get(&site).as_bytes()].concat())
                .await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 400, "{header:?}: {answer:?}");
            assert_eq!(client.rest().await.0, b"");
        }
        let mut balancer = gateway.dial_from([127, 0, 0, 2]).await;
        balancer.send(v1("198.51.100.7")).await;
        assert_eq!(balancer.ask(get(&site)).await.status, 200);
    });
    let (_, requests) = gateway.end();
    let named = requests
        .iter()
        .filter(|request| request["client"] == "198.51.100.7:4711");
    assert_eq!(named.count(), 1, "{requests:?}");
}
