//! Places that a proxy leads nobody to, in every form that leads there.

use std::sync::atomic::Ordering;

use sluice_gateway::daemon::guard::Own;

use crate::gateway::{ALLOW, Gateway, mirror};
use crate::lab::Origin;

/// Hosts, and the reason that records tell.
const PROHIBITED: &[(&str, &str)] = &[
    ("127.0.0.1", "never-connect"),
    ("127.9.9.9", "never-connect"),
    ("[::1]", "never-connect"),
    ("0.0.0.0", "never-connect"),
    ("[::]", "never-connect"),
    ("255.255.255.255", "never-connect"),
    ("224.0.0.1", "never-connect"),
    // What clouds tell their machines, by all names of it.
    ("169.254.169.254", "never-connect"),
    ("100.100.100.200", "never-connect"),
    ("168.63.129.16", "never-connect"),
    ("[fd00:ec2::254]", "never-connect"),
    ("[fe80::1]", "never-connect"),
    ("[::ffff:169.254.169.254]", "never-connect"),
    ("[64:ff9b::a9fe:a9fe]", "never-connect"),
    ("[::ffff:127.0.0.1]", "never-connect"),
    ("[64:ff9b::7f00:1]", "never-connect"),
    ("[2002:7f00:1::]", "never-connect"),
    ("10.1.2.3", "private-destination"),
    ("172.16.0.1", "private-destination"),
    ("192.168.1.1", "private-destination"),
    ("100.64.0.1", "private-destination"),
    ("[fd00::1]", "private-destination"),
    ("[fc00::1]", "private-destination"),
    ("[::ffff:10.0.0.1]", "private-destination"),
    ("[::ffff:a00:1]", "private-destination"),
    ("[64:ff9b::10.0.0.1]", "private-destination"),
    // The gateway's own.
    ("203.0.113.1", "self-connect"),
    ("[::ffff:203.0.113.1]", "self-connect"),
    ("[64:ff9b::cb00:7101]", "self-connect"),
    ("[2001:db8::1]", "self-connect"),
    // Names that lead there, and one of which every address does.
    ("loopback.example", "never-connect"),
    ("loopback6.example", "never-connect"),
    ("metadata.example", "never-connect"),
    ("private.example", "private-destination"),
    ("ula.example", "private-destination"),
    ("mapped.example", "private-destination"),
    ("own.example", "self-connect"),
    ("several.example", "private-destination"),
];

#[test]
fn a16_c8_nobody_is_led_to_what_only_the_gateway_can_reach() {
    let mut origin = Origin::plain().scripted(|pipe, connections| async move {
        connections.fetch_add(1, Ordering::SeqCst);
        mirror(pipe).await;
    });
    origin.guarded = true;
    let gateway = Gateway::knowing(
        &[
            ("loopback.example", &["127.0.0.1"]),
            ("loopback6.example", &["::1"]),
            ("metadata.example", &["169.254.169.254"]),
            ("private.example", &["10.1.2.3"]),
            ("ula.example", &["fd00::1"]),
            ("mapped.example", &["::ffff:10.0.0.1"]),
            ("own.example", &["203.0.113.1", "2001:db8::1"]),
            ("several.example", &["192.168.1.1", "10.1.2.3", "fd00::1"]),
        ],
        &origin,
        "connect_addresses = \"allow\"\nconnect_ports = [\"1-65535\"]",
        ALLOW,
    );
    let own = ["203.0.113.1", "2001:db8::1"].map(|text| text.parse().unwrap());
    gateway.lab.shared.guard.set_own(Own::of(own));
    gateway.lab.run(async {
        for (host, _) in PROHIBITED {
            let site = gateway.site(host);
            let get = format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n\r\n");
            let connect = format!("CONNECT {site} HTTP/1.1\r\nUser-Agent: x\r\n\r\n");
            for request in [get, connect] {
                let answer = gateway.dial().await.ask(&request).await;
                assert_eq!(answer.status, 403, "{request}: {answer:?}");
                let told = answer.fields("proxy-status").join(",");
                let prohibited = "error=destination_ip_prohibited";
                assert!(told.contains(prohibited), "{request}: {told}");
            }
        }
    });
    assert_eq!(gateway.lab.requests.load(Ordering::SeqCst), 0);
    let (flows, requests) = gateway.end();
    let expected: Vec<_> = PROHIBITED.iter().map(|(_, reason)| *reason).collect();
    let reasons = |records: &[serde_json::Value], what: &str| {
        let of = records.iter().filter_map(|record| record[what].as_str());
        of.map(str::to_owned).collect::<Vec<_>>()
    };
    for method in ["GET", "CONNECT"] {
        let mut of = requests.clone();
        of.retain(|request| request["method"] == method);
        assert_eq!(reasons(&of, "reason"), expected, "{method}");
    }
    assert_eq!(reasons(&flows, "end"), expected);
}

#[test]
fn a16_what_only_some_read_as_an_address_is_neither_address_nor_name() {
    let mut origin = Origin::plain().scripted(|pipe, _| mirror(pipe));
    origin.guarded = true;
    let gateway = Gateway::new(&origin, "connect_addresses = \"allow\"", ALLOW);
    gateway.lab.run(async {
        for host in [
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "[::ffff:127.1]",
            "[fe80::1%25eth0]",
        ] {
            let site = gateway.site(host);
            let get = format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n\r\n");
            let connect = format!("CONNECT {site} HTTP/1.1\r\nUser-Agent: x\r\n\r\n");
            for request in [get, connect] {
                let answer = gateway.dial().await.ask(&request).await;
                assert_eq!(answer.status, 400, "{request}: {answer:?}");
            }
        }
    });
    gateway.end();
}
