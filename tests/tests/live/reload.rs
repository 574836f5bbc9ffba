//! A reload takes a whole configuration or none of it.

use std::net::SocketAddr;

use sluice_tests::{
    dial::{self, Outcome},
    family::Family,
    hello,
    lab::Lab,
    peer::{Peer, Recorder},
    sluice::Sluice,
};

use crate::{
    exchange::{Heard, Then, hear, say},
    support::{PATIENCE, connect, eventually, status},
};

const ACCESS_DENIED: u8 = 49;

/// Blocks one name, and opens one port to UDP.
fn config(blocked: &str, port: u16) -> String {
    format!(
        r#"
        [gateway]
        [egress]
        pass_udp = ["{port}"]
        [policy]
        default = "allow"
        [[rule]]
        name = "one name"
        when = {{ host = "{blocked}" }}
        action = "block"
        "#
    )
}

/// What the policy in force says of a name.
fn is_blocked(lab: &Lab, to: SocketAddr, name: &str) -> bool {
    let mut client = connect(lab, Family::of(to.ip()).other(), to);
    say(&mut client, &hello::genuine(name, &[]), Then::Finish);
    let heard = hear(&mut client);
    if heard == Heard::alert(ACCESS_DENIED) {
        return true;
    }
    assert_eq!(heard, Heard::bytes(b"served"));
    false
}

/// Whether the policy in force lets a port of UDP out.
fn is_open(lab: &Lab, to: SocketAddr) -> bool {
    let from = Family::of(to.ip()).other();
    match dial::ask(lab.client(), from, to, b"?", PATIENCE).0 {
        Outcome::Answered(_) => true,
        Outcome::Prohibited | Outcome::Refused => false,
        other => panic!("{to}: {other}"),
    }
}

fn is_in_force(lab: &Lab, family: Family, blocked: &str, allowed: &str, open: u16, shut: u16) {
    let tls = family.origin_at(5, 443);
    assert!(is_blocked(lab, tls, blocked), "{blocked}");
    assert!(!is_blocked(lab, tls, allowed), "{allowed}");
    assert!(is_open(lab, family.origin_at(5, open)), "UDP {open}");
    assert!(!is_open(lab, family.origin_at(5, shut)), "UDP {shut}");
}

fn keeps_the_old(lab: &Lab, daemon: &Sluice, bad: &str, complaint: &str) {
    let generation = status(lab)["generation"].clone();
    let path = lab.write_config(bad);
    let refused = lab.sluice(&["check", path.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    daemon.reload();
    eventually("the mistake is logged", || daemon.log().contains(complaint));
    assert_eq!(status(lab)["generation"], generation);
    for family in Family::ALL {
        is_in_force(lab, family, "one.example", "two.example", 7001, 7002);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn h5_a_bad_configuration_leaves_the_old_one_in_force() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(&config("one.example", 7001));
    let _origins = Family::ALL.map(|family| {
        let echo = |port| {
            Peer::udp(lab.internet(), family.origin_at(5, port), |bytes, _| {
                Some(bytes.to_vec())
            })
        };
        let tls = Recorder::new(lab.internet(), family.origin_at(5, 443), b"served");
        (tls, echo(7001), echo(7002))
    });
    for family in Family::ALL {
        is_in_force(&lab, family, "one.example", "two.example", 7001, 7002);
    }
    let good = config("two.example", 7002);
    let unknown = good.replace("[policy]", "[policy]\ncolour = \"green\"");
    keeps_the_old(&lab, &daemon, &unknown, "colour");
    let later = good.replace("[policy]", "[admin]\ntoken = \"secret\"\n[policy]");
    keeps_the_old(&lab, &daemon, &later, "token");

    let before = status(&lab)["generation"].as_u64();
    let _path = lab.write_config(&good);
    daemon.reload();
    eventually("the kernel's policy is another", || {
        status(&lab)["generation"].as_u64() > before
    });
    eventually("the rules are others", || {
        is_blocked(&lab, Family::V4.origin_at(5, 443), "two.example")
    });
    for family in Family::ALL {
        is_in_force(&lab, family, "two.example", "one.example", 7002, 7001);
    }
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_flow_keeps_the_generation_that_it_began_with() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(&config("one.example", 7001));
    let origin = Recorder::new(lab.internet(), Family::V4.origin_at(5, 443), b"served");
    let mut client = connect(&lab, Family::V4.other(), origin.address());
    say(&mut client, &hello::genuine("two.example", &[]), Then::Wait);
    let _begun = origin.wait_until(PATIENCE, |all| all.len() == 1);
    let _path = lab.write_config(&config("two.example", 7001));
    daemon.reload();
    eventually("the rules are others", || {
        is_blocked(&lab, origin.address(), "two.example")
    });
    say(&mut client, b"goes on", Then::Finish);
    assert_eq!(hear(&mut client), Heard::bytes(b"served"));
    let seen = origin.wait_until(PATIENCE, |all| all[0].ended);
    assert!(seen[0].bytes.ends_with(b"goes on"));
}
