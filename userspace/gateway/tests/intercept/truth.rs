//! Server names that are not true of the address that was dialled.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use sluice_gateway::names::{NameError, Names, Settings};

use crate::dns::Dns;
use crate::lab::{Lab, NAME};

const ALLOW: &str = "[policy]\ndefault = \"allow\"\n";

fn lab(dns: &Dns, truth: &str, rules: &str) -> Lab {
    let steer = format!("[steer]\nsni_truth = \"{truth}\"\n");
    Lab::new(&(steer + &dns.section() + rules))
}

#[test]
fn names_have_addresses_of_both_families_or_none() {
    let dns = Dns::new(&[
        ("both.example", &["192.0.2.1", "2001:db8::1"]),
        ("none.example", &[]),
    ]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let settings = Settings {
        servers: vec![dns.address],
        ..Settings::default()
    };
    let names = Names::new(&settings).unwrap();
    runtime.block_on(async {
        let mut found = names.addresses("Both.example.").await.unwrap();
        found.sort();
        let expected: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(found, expected);
        for absent in ["none.example", "missing.example"] {
            assert_eq!(
                names.addresses(absent).await,
                Err(NameError::NotFound),
                "{absent}"
            );
        }
    });
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        servers: vec![silent.local_addr().unwrap()],
        timeout: Duration::from_millis(50),
        ..Settings::default()
    };
    let names = Names::new(&settings).unwrap();
    let unknown = runtime.block_on(async { names.addresses("any.example").await });
    assert_eq!(unknown, Err(NameError::Unavailable));
}

#[test]
fn c1_a_name_that_is_not_the_address_s_is_refused() {
    for (addresses, passes) in [
        (&["127.0.0.1"] as &[&str], true),
        (&["192.0.2.7", "127.0.0.1"], true),
        (&["192.0.2.7"], false),
        (&[], false),
    ] {
        let dns = Dns::new(&[(NAME, addresses)]);
        let lab = lab(&dns, "check", ALLOW);
        let answer = lab.run(lab.trusting_origins().get(&lab, "/"));
        assert_eq!(answer.is_ok(), passes, "{addresses:?}");
        lab.over(1);
        let (flows, _) = lab.end();
        let expected = if passes {
            ("splice", "default")
        } else {
            ("block", "untrue-name")
        };
        let found = (flows[0]["verdict"].as_str(), flows[0]["reason"].as_str());
        assert_eq!(found, (Some(expected.0), Some(expected.1)), "{}", flows[0]);
    }
}

#[test]
fn c8_a_name_s_own_address_is_dialled_and_judged() {
    // The lab's origin listens on one address alone, so that another one of loopback shows.
    let dns = Dns::new(&[(NAME, &["127.0.0.2"])]);
    let rules = format!(
        "{ALLOW}[[rule]]\nname = \"never there\"\nwhen = {{ destination = \"127.0.0.2\" }}\n\
         action = \"block\"\n"
    );
    let lab = lab(&dns, "dial", &rules);
    lab.run(lab.trusting_origins().get(&lab, "/")).unwrap_err();
    lab.over(1);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["rule"], "never there", "{}", flows[0]);
    let destination = flows[0]["destination"].as_str().unwrap();
    assert!(destination.starts_with("127.0.0.2:"), "{destination}");
}

#[test]
fn c8_a_name_never_leads_where_the_gateway_must_not_go() {
    let dns = Dns::new(&[(NAME, &["169.254.169.254"])]);
    let lab = lab(&dns, "dial", ALLOW);
    lab.run(lab.trusting_origins().get(&lab, "/")).unwrap_err();
    lab.over(1);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["reason"], "never-connect", "{}", flows[0]);
}

#[test]
fn a_true_name_is_dialled_where_the_client_went() {
    let dns = Dns::new(&[(NAME, &["192.0.2.7", "127.0.0.1"])]);
    let lab = lab(&dns, "dial", ALLOW);
    let answer = lab.run(lab.trusting_origins().get(&lab, "/")).unwrap();
    assert_eq!(answer.status(), 200);
}
