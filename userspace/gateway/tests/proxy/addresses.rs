//! Clients of a proxy whose address stands for a user, and proxies by whose clients that is learned.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use sluice_gateway::identity::{Identity, Source};

use crate::gateway::{ALLOW, Gateway, mirror};
use crate::lab::{NAME, Origin};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HOUR: Duration = Duration::from_secs(3600);
const RULES: &str = "[policy]\ndefault = \"block\"\ndefault_unidentified = \"block\"\n\
    [[rule]]\nname = \"bob\"\nwhen = { user = \"bob\" }\naction = \"allow\"\n";

fn mirroring() -> Origin {
    Origin::plain().scripted(|pipe, _| mirror(pipe))
}

fn get(site: &str, who: &str) -> String {
    format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n{who}\r\n")
}

#[test]
fn an_address_stands_for_a_user_at_a_proxy_as_well() {
    for (keys, before) in [
        ("", 403),
        ("identify = [\"test\"]\nidentity = \"when-needed\"", 407),
    ] {
        let gateway = Gateway::new(&mirroring(), keys, RULES).asking();
        let site = gateway.site(NAME);
        let tell = |time| {
            let bob = Identity {
                user: "bob".into(),
                groups: Box::default(),
                source: Source::Address,
            };
            let addresses = &gateway.lab.shared.addresses;
            addresses.tell(CLIENT, bob, (Instant::now(), time));
        };
        gateway.lab.run(async {
            let mut client = gateway.dial().await;
            assert_eq!(client.ask(get(&site, "")).await.status, before);
            assert_eq!(client.connect(&site).await.status, before);
            tell(HOUR);
            // On the connection that stands already.
            assert_eq!(client.ask(get(&site, "")).await.status, 200);
            // Of another address nothing was told.
            let mut other = gateway.dial_from([127, 0, 0, 9]).await;
            assert_eq!(other.ask(get(&site, "")).await.status, before);
            let addresses = &gateway.lab.shared.addresses;
            assert!(addresses.forget(CLIENT, None, Instant::now()).is_some());
            assert_eq!(client.ask(get(&site, "")).await.status, before);
            tell(HOUR);
            assert_eq!(client.connect(&site).await.status, 200);
        });
        let (flows, requests) = gateway.end();
        let flow = flows
            .iter()
            .find(|flow| flow["verdict"] != "block")
            .unwrap();
        assert_eq!(flow["user"], "bob", "{flow}");
        let allowed = requests.iter().filter(|one| one["verdict"] == "allow");
        let users: Vec<_> = allowed.map(|one| one["user"].as_str()).collect();
        assert_eq!(users, [Some("bob")], "{requests:?}");
    }
}

#[test]
fn an_address_stands_for_whoever_said_at_a_proxy_who_it_is() {
    let keys = "identify = [\"test\"]\nidentity = \"when-needed\"";
    for time in ["1h", "0s"] {
        let rules = format!("{RULES}[identity]\nproxy_stands_for_address = \"{time}\"\n");
        let gateway = Gateway::new(&mirroring(), keys, &rules).asking();
        let site = gateway.site(NAME);
        let addresses = &gateway.lab.shared.addresses;
        let at = |ip| addresses.at(ip, Instant::now());
        let known = time != "0s";
        gateway.lab.run(async {
            let mut client = gateway.dial().await;
            // Nobody is learned who could not prove it.
            for who in ["", "Proxy-Authorization: Test mallory\r\n"] {
                assert_eq!(client.ask(get(&site, who)).await.status, 407);
                assert_eq!(at(CLIENT), None);
            }
            let bob = "Proxy-Authorization: Test bob\r\n";
            assert_eq!(client.ask(get(&site, bob)).await.status, 200);
            let status = if known { 200 } else { 407 };
            assert_eq!(client.ask(get(&site, "")).await.status, status);
            assert_eq!(gateway.dial().await.connect(&site).await.status, status);
        });
        let learned = at(CLIENT);
        assert_eq!(learned.is_some(), known);
        if let Some(learned) = learned {
            assert_eq!(&*learned.user, "bob");
            assert_eq!(learned.groups[..], [Box::from("staff")]);
            assert_eq!(learned.source, Source::Learned("test".into()));
        }
        assert_eq!(at([127, 0, 0, 9].into()), None);
        gateway.end();
    }
}

#[test]
fn what_a_proxy_learned_holds_for_flows_that_are_steered() {
    let rules = format!("{ALLOW}[identity]\nproxy_stands_for_address = \"1h\"\n");
    let gateway = Gateway::new(&mirroring(), "identify = [\"test\"]", &rules).asking();
    let site = gateway.site(NAME);
    gateway.lab.run(async {
        let bob = "Proxy-Authorization: Test bob\r\n";
        let mut client = gateway.dial().await;
        assert_eq!(client.ask(get(&site, bob)).await.status, 200);
        let steered = gateway.lab.tcp([127, 0, 0, 1]).await.unwrap();
        let mut steered = crate::gateway::Client::over(steered);
        let answer = steered
            .ask(format!("GET /steered HTTP/1.1\r\nHost: {site}\r\n\r\n"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    });
    let (flows, _) = gateway.end();
    let flow = flows.iter().find(|flow| flow["listener"].is_null());
    assert_eq!(flow.unwrap()["user"], "bob", "{flows:?}");
}
