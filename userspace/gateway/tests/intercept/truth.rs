//! Server names that are not true of the address that was dialled.

use crate::dns::Dns;
use crate::lab::{Lab, NAME, Origin};

const ALLOW: &str = "[policy]\ndefault = \"allow\"\n";

fn lab(dns: &Dns, truth: &str, rules: &str) -> Lab {
    lab_before(&Origin::default(), dns, truth, rules)
}

fn lab_before(origin: &Origin, dns: &Dns, truth: &str, rules: &str) -> Lab {
    let steer = format!("[steer]\nsni_truth = \"{truth}\"\n");
    let resolver = format!("[resolver]\nservers = [\"{}\"]\n", dns.address);
    Lab::before(origin, &(steer + &resolver + rules))
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
        // Of the name's it has no certificate.
        let origin = Origin {
            names: vec!["other.example"],
            ..Origin::default()
        };
        let lab = lab_before(&origin, &dns, "check", ALLOW);
        lab.run(lab.trusting_origins().get(&lab, "/")).unwrap_err();
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
fn c6_a_certificate_proves_a_name_whose_addresses_are_others() {
    for addresses in [&["192.0.2.7"] as &[&str], &[]] {
        let dns = Dns::new(&[(NAME, addresses)]);
        let lab = lab(&dns, "check", ALLOW);
        let answer = lab.run(lab.trusting_origins().get(&lab, "/")).unwrap();
        assert_eq!(answer.status(), 200);
        lab.over(1);
        let (flows, _) = lab.end();
        assert_eq!(flows[0]["verdict"], "splice", "{}", flows[0]);
        assert_eq!(flows[0]["decrypted"], false);
    }
    let dns = Dns::new(&[(NAME, &["192.0.2.7"])]);
    let expired = Origin {
        expired: true,
        ..Origin::default()
    };
    let lab = lab_before(&expired, &dns, "check", ALLOW);
    lab.run(lab.trusting_origins().get(&lab, "/")).unwrap_err();
    lab.over(1);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["reason"], "untrue-name", "{}", flows[0]);
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
fn c8_a_name_leads_nobody_into_private_networks() {
    for (addresses, leads_on) in [
        (&["10.0.0.1"] as &[&str], false),
        (&["fd00::1", "::ffff:192.168.0.1"], false),
        // What may not be connected to is left out.
        (&["10.0.0.1", "127.0.0.2"], true),
    ] {
        let dns = Dns::new(&[(NAME, addresses)]);
        let lab = lab(&dns, "dial", ALLOW);
        lab.run(lab.trusting_origins().get(&lab, "/")).unwrap_err();
        lab.over(1);
        let (flows, _) = lab.end();
        let reason = if leads_on {
            "default"
        } else {
            "private-destination"
        };
        assert_eq!(flows[0]["reason"], reason, "{}", flows[0]);
    }
}

#[test]
fn a_true_name_is_dialled_where_the_client_went() {
    let dns = Dns::new(&[(NAME, &["192.0.2.7", "127.0.0.1"])]);
    let lab = lab(&dns, "dial", ALLOW);
    let answer = lab.run(lab.trusting_origins().get(&lab, "/")).unwrap();
    assert_eq!(answer.status(), 200);
}
