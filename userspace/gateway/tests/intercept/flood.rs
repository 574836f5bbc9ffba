//! Flows that ask for ever new names, one handshake each, and what others see of them.

use std::ops::Range;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use sluice_mint::MinterCounts;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::lab::{INSPECT, Lab, Origin};
use crate::many_names::resident;

/// Leaves and sessions that are kept: few, so that all are full before memory is looked at.
const KEPT: usize = 64;
/// Hostile clients that are there at once.
const AT_ONCE: usize = 16;

/// Everything is decrypted. Nothing is recorded but what the client that is not hostile does, so that
/// the records that the lab keeps do not count as memory.
const QUIET: &str = r#"
[[rule]]
name = "hostile clients fill no records"
when = { client = "127.9.0.0/16" }
action = "no-log"
"#;

fn minted(lab: &Lab) -> MinterCounts {
    let generation = lab.shared.current.get();
    generation.means.leaves.as_ref().unwrap().minter.counts()
}

/// Asks for a range of names, from as many clients as are over no limit, several at once; between
/// them a client that is not hostile asks for what it always does.
fn flood(lab: &Lab, names: Range<usize>) {
    let others = lab.trusting_gateway();
    let connector = TlsConnector::from(Arc::new(lab.trusting_gateway().config));
    let gateway = lab.address;
    for first in names.clone().step_by(AT_ONCE) {
        lab.run(async {
            let mut asking = JoinSet::new();
            for number in first..names.end.min(first + AT_ONCE) {
                let connector = connector.clone();
                asking.spawn(async move {
                    let [high, low] = u16::try_from(number / 100).unwrap().to_be_bytes();
                    let socket = TcpSocket::new_v4().unwrap();
                    socket.bind(([127, 9, high, low], 0).into()).unwrap();
                    let stream = socket.connect(gateway).await.unwrap();
                    let name = format!("n{number}.origin.example");
                    let name = ServerName::try_from(name).unwrap();
                    drop(connector.connect(name, stream).await.unwrap());
                });
            }
            asking.join_all().await;
            others.get(lab, "/meanwhile").await.unwrap();
        });
        assert!(minted(lab).cached <= KEPT);
    }
}

/// Asks for names until everything that is bounded is full, and then for many more.
fn names_take_no_more_room_than_is_set(names: usize) {
    let origin = Origin {
        upstream: format!("sessions = {KEPT}"),
        ..Origin::default()
    };
    let lab = Lab::before(&origin, &format!("leaf_cache = {KEPT}\n{QUIET}{INSPECT}"));
    let full = 5 * KEPT;
    flood(&lab, 0..full);
    let before = resident();
    flood(&lab, full..full + names);
    let grown = resident().saturating_sub(before);
    // What is kept for a name, its leaf and a session, takes more than 8 KiB.
    assert!(grown < (2 << 20) + names * 1024, "{grown} bytes more");
    let counts = minted(&lab);
    assert_eq!(counts.cached, KEPT);
    assert_eq!(counts.limited, 0);
    assert!(counts.minted >= (full + names) as u64, "{counts:?}");
    // One of the client that is not hostile each.
    let turns = full.div_ceil(AT_ONCE) + names.div_ceil(AT_ONCE);
    lab.over((full + names + turns) as u64);
    assert_eq!(lab.shared.limits.active(), 0);
    let (flows, _) = lab.end();
    assert_eq!(flows.len(), turns);
    for flow in &flows {
        assert_eq!(flow["verdict"], "intercept");
        assert_eq!(flow["interception"]["requests"], 1);
    }
}

#[test]
fn e6_flows_for_ever_new_names_take_no_more_room_than_is_set() {
    names_take_no_more_room_than_is_set(800);
}

#[test]
#[ignore = "takes minutes without optimisation"]
fn e6_ten_thousand_flows_for_as_many_names_take_no_more_room_than_is_set() {
    names_take_no_more_room_than_is_set(10_000);
}

#[test]
fn e6_who_asks_for_too_many_names_by_flows_keeps_nobody_from_theirs() {
    let limits = "mint_burst = 8\nmint_rate = \"1/s\"";
    let lab = Lab::new(&format!("{limits}\n{INSPECT}"));
    let (hostile, others) = (lab.trusting_gateway(), lab.trusting_gateway());
    let (mut met, mut refused) = (0, 0);
    for number in 0..48 {
        let name = Box::leak(format!("n{number}.origin.example").into_boxed_str());
        let client = hostile.clone().asking_for(name).from([127, 9, 0, 1]);
        match lab.run(client.connect(&lab)) {
            Ok(_) => met += 1,
            Err(_) => refused += 1,
        }
        // Others have names that are new as well, within their own limit.
        if number % 8 == 0 {
            let name = Box::leak(format!("m{number}.origin.example").into_boxed_str());
            let client = others.clone().asking_for(name);
            let answer = lab.run(client.get(&lab, "/mine")).unwrap();
            assert_eq!(answer.status(), 200);
        }
    }
    // However slow the machine is, it is not forty seconds.
    assert!(met >= 8 && refused > 0, "{met} {refused}");
    assert_eq!(minted(&lab).limited, refused);
    lab.over(54);
    let (flows, _) = lab.end();
    let of_others = flows
        .iter()
        .filter(|flow| flow["sni"].as_str().unwrap().starts_with('m'));
    assert!(of_others.clone().all(|flow| flow["verdict"] == "intercept"));
    assert_eq!(of_others.count(), 6);
}
