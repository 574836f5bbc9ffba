//! A client that asks for ever new names, and what others see of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use sluice_mint::{Fingerprint, LeafName, LeafRequest, MintError, Origin, OriginCertificate};

use crate::lab::{INSPECT, Lab};

const LEAVES: usize = 256;
const NAMES: usize = 10_000;

fn request(client: u32, number: usize) -> LeafRequest {
    LeafRequest {
        client: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + client)),
        name: LeafName::parse(&format!("n{number}.many.example")).unwrap(),
        origin: Origin::Accepted(OriginCertificate {
            fingerprint: Fingerprint([1; 32]),
            not_before: 0,
            not_after: i64::from(u32::MAX),
        }),
    }
}

/// Bytes of memory that the process holds.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

#[test]
fn e6_ten_thousand_names_take_no_more_room_than_is_set_and_keep_nobody_waiting() {
    // The section that the lab's configuration ends with is that of the CA.
    let lab = Lab::new(&format!("leaf_cache = {LEAVES}\n{INSPECT}"));
    let generation = lab.shared.current.get();
    let minter = &generation.means.leaves.as_ref().unwrap().minter;
    let others = lab.trusting_gateway();
    lab.run(others.get(&lab, "/before")).unwrap();
    // What a full cache takes is there, once.
    for number in NAMES..NAMES + 2 * LEAVES {
        let client = u32::try_from(number / 100).unwrap();
        minter.leaf(&request(client, number)).unwrap();
    }
    let before = resident();
    let begun = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let hostile = scope.spawn(|| {
            for number in 0..NAMES {
                // A hundred names of a client are within what one may ask for at once.
                let client = u32::try_from(number / 100).unwrap();
                minter.leaf(&request(client, number)).unwrap();
                assert!(minter.counts().cached <= LEAVES);
                begun.store(true, Ordering::SeqCst);
            }
        });
        while !begun.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let mut served = 0;
        while served < 20 || !hostile.is_finished() {
            lab.run(others.get(&lab, "/meanwhile")).unwrap();
            served += 1;
        }
        hostile.join().unwrap();
        served
    });
    assert_eq!(minter.counts().cached, LEAVES);
    // Ten thousand leaves would take more than 20 MiB.
    let grown = resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    lab.run(others.get(&lab, "/after")).unwrap();
    lab.over(served + 2);
    let (flows, _) = lab.end();
    assert!(flows.iter().all(|flow| flow["verdict"] == "intercept"));
}

#[test]
fn e6_one_client_is_refused_new_names_and_others_are_not() {
    let lab = Lab::new(&format!(
        "leaf_cache = {LEAVES}\nmint_burst = 20\nmint_rate = \"1/s\"\n{INSPECT}"
    ));
    let generation = lab.shared.current.get();
    let minter = &generation.means.leaves.as_ref().unwrap().minter;
    let refused = (0..NAMES)
        .filter(|&number| {
            matches!(
                minter.leaf(&request(1, number)),
                Err(MintError::RateLimited)
            )
        })
        .count();
    assert!(refused > NAMES / 2, "{refused}");
    assert!(minter.counts().cached <= LEAVES);
    assert!(minter.leaf(&request(2, 1)).is_ok());
    lab.run(lab.trusting_gateway().get(&lab, "/")).unwrap();
    lab.over(1);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["verdict"], "intercept");
}
