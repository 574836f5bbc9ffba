//! The cache: one making for many, bounded, and rates by client.

use std::sync::{Arc, Barrier};

use sluice_mint::{Faults, LeafRequest, MintError, MinterOptions, Origin};

use crate::help::{Turned, minter, name, ordinary, origin, request};

const NOW: i64 = 1_795_000_000;

#[test]
fn e9_many_first_requests_make_one_leaf() {
    const THREADS: usize = 16;
    const ROUNDS: usize = 50;
    let clock = Turned::new(NOW);
    let minter = minter(&clock, &MinterOptions::default());
    let together = Barrier::new(THREADS);
    for round in 0..ROUNDS {
        let asked = format!("host{round}.example");
        let leaves: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        together.wait();
                        ordinary(&minter, &asked, NOW).unwrap()
                    })
                })
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(leaves.iter().all(|leaf| Arc::ptr_eq(leaf, &leaves[0])));
    }
    let counts = minter.counts();
    assert_eq!(counts.minted, ROUNDS as u64);
    assert_eq!(counts.hits, (ROUNDS * (THREADS - 1)) as u64);
}

#[test]
fn e6_random_names_leave_the_cache_bounded() {
    const LIMIT: usize = 500;
    let clock = Turned::new(NOW);
    let options = MinterOptions {
        cache: LIMIT,
        mint_rate: 1_000_000,
        mint_burst: 1_000_000,
        ..MinterOptions::default()
    };
    let minter = minter(&clock, &options);
    for number in 0..20_000_u32 {
        let asked = format!("{:08x}.example", number.wrapping_mul(0x9e37_79b9));
        ordinary(&minter, &asked, NOW).unwrap();
        // Somebody else's name is in use all the time, and stays.
        if number % 100 == 0 {
            ordinary(&minter, "busy.example", NOW).unwrap();
        }
        assert!(minter.counts().cached <= LIMIT);
    }
    let counts = minter.counts();
    assert_eq!((counts.minted, counts.hits), (20_001, 199));
    assert_eq!(counts.cached, LIMIT);
}

#[test]
fn e6_a_client_is_limited_and_another_is_not() {
    let clock = Turned::new(NOW);
    let options = MinterOptions {
        mint_rate: 5,
        mint_burst: 10,
        ..MinterOptions::default()
    };
    let minter = minter(&clock, &options);
    let ask = |client: &str, number: u32| {
        minter.leaf(&LeafRequest {
            client: client.parse().unwrap(),
            ..request(&format!("h{number}.example"), Origin::Gateway)
        })
    };
    let made = (0..50)
        .filter(|number| ask("192.0.2.1", *number).is_ok())
        .count();
    assert_eq!(made, 10);
    assert_eq!(ask("192.0.2.1", 49).unwrap_err(), MintError::RateLimited);
    assert!(ask("192.0.2.1", 0).is_ok(), "what is there costs nothing");
    assert!(ask("192.0.2.2", 49).is_ok());
    clock.pass(1);
    let made = (100..150)
        .filter(|number| ask("192.0.2.1", *number).is_ok())
        .count();
    assert_eq!(made, 5);
    let counts = minter.counts();
    assert_eq!((counts.minted, counts.limited), (16, 86));
    // What was refused takes no place.
    assert_eq!(counts.cached, 16);
}

#[test]
fn a_leaf_is_found_again_only_for_the_same_origin_and_faults() {
    let clock = Turned::new(NOW);
    let minter = minter(&clock, &MinterOptions::default());
    let certificate = origin(NOW, -9, 9);
    let wishes = [
        Origin::Gateway,
        Origin::Accepted(certificate),
        Origin::Accepted(origin(NOW, -9, 8)),
        Origin::Invalid {
            certificate,
            faults: Faults::UNTRUSTED,
            names: vec![],
        },
        Origin::Invalid {
            certificate,
            faults: Faults::UNTRUSTED.with(Faults::NAME_MISMATCH),
            names: vec![],
        },
    ];
    for _ in 0..3 {
        for wish in &wishes {
            minter.leaf(&request("a.example", wish.clone())).unwrap();
        }
    }
    assert_eq!(minter.counts().minted, wishes.len() as u64);
    assert_eq!(minter.counts().hits, 2 * wishes.len() as u64);
}

#[test]
fn a_leaf_is_made_anew_before_it_ends_and_a_short_one_is_kept() {
    let clock = Turned::new(NOW);
    let minter = minter(&clock, &MinterOptions::default());
    let first = ordinary(&minter, "a.example", NOW).unwrap();
    clock.set(first.not_after - 3601);
    let certificate = origin(NOW, -30, 30);
    let ask = |asked: &str| minter.leaf(&request(asked, Origin::Accepted(certificate)));
    assert!(Arc::ptr_eq(&first, &ask("a.example").unwrap()));
    clock.set(first.not_after - 3600);
    let second = ask("a.example").unwrap();
    assert!(second.not_after > first.not_after);

    // An origin whose certificate ends in 20 minutes gives a leaf of as much.
    clock.set(certificate.not_after - 1200);
    let short = ask("short.example").unwrap();
    assert_eq!(short.not_after, certificate.not_after);
    clock.set(certificate.not_after - 301);
    assert!(Arc::ptr_eq(&short, &ask("short.example").unwrap()));
}

#[test]
fn what_is_refused_is_not_remembered() {
    let clock = Turned::new(NOW);
    let minter = minter(&clock, &MinterOptions::default());
    let wish = request("a.example", Origin::Accepted(origin(NOW, 1, 9)));
    let refused = minter.leaf(&wish).unwrap_err();
    assert!(
        matches!(refused, MintError::OriginNotValid { .. }),
        "{refused}"
    );
    assert_eq!(minter.counts().cached, 0);
    clock.set(NOW + 2 * crate::help::DAY);
    assert!(minter.leaf(&wish).is_ok());
    assert_eq!(wish.name, name("a.example"));
}
