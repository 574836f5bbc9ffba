//! The table of addresses, by a clock of the test's own.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use sluice_gateway::identity::{
    Source,
    addresses::{Addresses, LIMIT, Noted, Settings},
};

use crate::lab::{HOUR, identity, told};

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn user(addresses: &Addresses, at: IpAddr, now: Instant) -> Option<String> {
    addresses
        .at(at, now)
        .map(|identity| identity.user.to_string())
}

fn shown(user: &str) -> sluice_gateway::identity::Identity {
    identity(user, &["staff"], Source::Credentials("ldap".into()))
}

#[test]
fn who_was_told_is_believed_until_the_time_is_over_and_not_a_moment_longer() {
    let addresses = Addresses::default();
    let now = Instant::now();
    assert_eq!(addresses.at(address(1), now), None);
    let noted = addresses.tell(address(1), told("alice", &["staff"]), (now, HOUR));
    assert_eq!(noted, Noted::Taken);
    let last = now + HOUR - Duration::from_nanos(1);
    let identity = addresses.at(address(1), last).unwrap();
    assert_eq!((&*identity.user, &*identity.groups[0]), ("alice", "staff"));
    assert_eq!(identity.source, Source::Address);
    assert_eq!(addresses.at(address(1), now + HOUR), None);
    assert_eq!(addresses.held(address(1), now + HOUR), None);
    assert_eq!(addresses.at(address(2), now), None);
    assert_eq!(addresses.count(now), [0, 1]);
    assert_eq!(addresses.count(now + HOUR), [0, 0]);
    assert!(addresses.list(None, 10, now + HOUR).is_empty());
}

#[test]
fn who_is_told_later_replaces_whoever_had_the_address_and_the_time() {
    let addresses = Addresses::default();
    let now = Instant::now();
    addresses.tell(address(1), told("alice", &[]), (now, 4 * HOUR));
    let noted = addresses.tell(address(1), told("bob", &[]), (now, HOUR));
    assert_eq!(noted, Noted::Replaced);
    assert_eq!(user(&addresses, address(1), now).as_deref(), Some("bob"));
    assert_eq!(user(&addresses, address(1), now + 2 * HOUR), None);
    assert_eq!(addresses.count(now), [0, 1]);
}

#[test]
fn an_ipv4_address_in_ipv6_form_is_the_same_address() {
    let addresses = Addresses::default();
    let now = Instant::now();
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
    addresses.tell(mapped, told("alice", &[]), (now, HOUR));
    assert_eq!(user(&addresses, address(1), now).as_deref(), Some("alice"));
    assert_eq!(user(&addresses, mapped, now).as_deref(), Some("alice"));
    assert_eq!(addresses.held(mapped, now).unwrap().address, address(1));
    assert!(addresses.forget(address(1), None, now).is_some());
    assert_eq!(addresses.at(mapped, now), None);
}

#[test]
fn whoever_ends_soonest_goes_where_there_is_no_room() {
    let addresses = Addresses::new(3);
    let now = Instant::now();
    for (last, hours) in [(1, 3), (2, 1), (3, 2)] {
        addresses.tell(address(last), told("alice", &[]), (now, hours * HOUR));
    }
    // One that is there already needs no room.
    addresses.tell(address(3), told("bob", &[]), (now, 2 * HOUR));
    assert_eq!(addresses.displaced(), 0);
    addresses.tell(address(4), told("carol", &[]), (now, HOUR));
    assert_eq!(user(&addresses, address(2), now), None);
    assert_eq!((addresses.count(now), addresses.displaced()), ([0, 3], 1));
    // Those whose time is over make room, and are no loss.
    let later = now + 2 * HOUR;
    addresses.tell(address(5), told("dave", &[]), (later, HOUR));
    addresses.tell(address(6), told("erin", &[]), (later, HOUR));
    assert_eq!((addresses.count(later), addresses.displaced()), ([0, 3], 1));
    addresses.set_limit(1, later);
    assert_eq!((addresses.count(later), addresses.displaced()), ([0, 1], 3));
    // A limit of nothing would be a table that nobody can be told to.
    addresses.set_limit(0, later);
    assert_eq!(addresses.count(later), [0, 1]);
}

#[test]
fn who_was_seen_by_a_proxy_listener_never_displaces_who_was_told() {
    let addresses = Addresses::new(2);
    let now = Instant::now();
    addresses.tell(address(1), told("alice", &[]), (now, HOUR));
    // Not at the same address,
    let noted = addresses.learn(address(1), &shown("mallory"), (now, 9 * HOUR));
    assert_eq!(noted, Noted::Refused);
    assert_eq!(user(&addresses, address(1), now).as_deref(), Some("alice"));
    // nor at many others.
    addresses.learn(address(2), &shown("bob"), (now, HOUR));
    for last in 3..100 {
        addresses.learn(address(last), &shown("mallory"), (now, 9 * HOUR));
    }
    assert_eq!(user(&addresses, address(1), now).as_deref(), Some("alice"));
    assert_eq!((addresses.count(now), addresses.displaced()), ([1, 1], 97));
    // Whoever is told goes before whoever was learned, whatever time is left.
    addresses.tell(address(100), told("carol", &[]), (now, HOUR));
    assert_eq!(addresses.count(now), [0, 2]);
    let noted = addresses.learn(address(2), &shown("bob"), (now, HOUR));
    assert_eq!(noted, Noted::Refused);
    assert_eq!(addresses.count(now), [0, 2]);
    // Once it is over, the address is free.
    let later = now + HOUR;
    assert_eq!(
        addresses.learn(address(1), &shown("bob"), (later, HOUR)),
        Noted::Taken
    );
}

#[test]
fn who_was_learned_says_from_what_and_is_renewed_by_being_seen() {
    let addresses = Addresses::default();
    let now = Instant::now();
    assert_eq!(
        addresses.learn(address(1), &shown("alice"), (now, Duration::ZERO)),
        Noted::Refused
    );
    addresses.learn(address(1), &shown("alice"), (now, HOUR));
    let identity = addresses.at(address(1), now).unwrap();
    assert_eq!(identity.source, Source::Learned("ldap".into()));
    assert_eq!(&*identity.groups[0], "staff");
    let half = now + HOUR / 2;
    addresses.learn(address(1), &shown("alice"), (half, HOUR));
    assert_eq!(addresses.held(address(1), half).unwrap().left, HOUR);
    // A moment later nothing is written.
    let moment = half + Duration::from_secs(1);
    addresses.learn(address(1), &shown("alice"), (moment, HOUR));
    let left = addresses.held(address(1), moment).unwrap().left;
    assert_eq!(left, HOUR - Duration::from_secs(1));
    // Somebody else, or other groups, are written at once; so is a shorter time.
    let fewer = self::identity("alice", &[], Source::Credentials("ldap".into()));
    addresses.learn(address(1), &fewer, (moment, HOUR));
    assert!(addresses.at(address(1), moment).unwrap().groups.is_empty());
    addresses.learn(address(1), &shown("bob"), (moment, HOUR / 4));
    assert_eq!(user(&addresses, address(1), moment).as_deref(), Some("bob"));
    assert_eq!(user(&addresses, address(1), moment + HOUR / 2), None);
    let certificate = self::identity("eve", &[], Source::Certificate);
    addresses.learn(address(2), &certificate, (now, HOUR));
    let source = addresses.at(address(2), now).unwrap().source.clone();
    assert_eq!(source, Source::Learned("certificate".into()));
    // What an address says already is no news of it.
    assert_eq!(
        addresses.learn(address(3), &told("alice", &[]), (now, HOUR)),
        Noted::Refused
    );
}

#[test]
fn only_whoever_has_the_address_is_forgotten_where_somebody_is_named() {
    let addresses = Addresses::default();
    let now = Instant::now();
    addresses.tell(address(1), told("alice", &[]), (now, HOUR));
    assert_eq!(addresses.forget(address(1), Some("bob"), now), None);
    assert_eq!(user(&addresses, address(1), now).as_deref(), Some("alice"));
    let gone = addresses.forget(address(1), Some("alice"), now).unwrap();
    assert_eq!((gone.address, gone.left), (address(1), HOUR));
    assert_eq!(addresses.forget(address(1), None, now), None);
}

#[test]
fn a_list_is_had_in_parts() {
    let addresses = Addresses::default();
    let now = Instant::now();
    for last in [9, 3, 7, 1] {
        addresses.tell(address(last), told("alice", &[]), (now, HOUR));
    }
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    addresses.tell(v6, told("alice", &[]), (now, HOUR));
    let part = |after| -> Vec<IpAddr> {
        let part = addresses.list(after, 2, now);
        part.iter().map(|held| held.address).collect()
    };
    assert_eq!(part(None), [address(1), address(3)]);
    assert_eq!(part(Some(address(3))), [address(7), address(9)]);
    assert_eq!(part(Some(address(8))), [address(9), v6]);
    assert!(part(Some(v6)).is_empty());
}

#[test]
fn defaults_learn_nothing() {
    let settings = Settings::default();
    assert_eq!(settings.proxy_stands_for_address, Duration::ZERO);
    assert_eq!((settings.limit, settings.ttl), (LIMIT, 8 * HOUR));
}

/// One thing that happens to a table.
#[derive(Clone, Debug)]
enum Step {
    Tell(u8, u8, u8),
    Learn(u8, u8, u8),
    Forget(u8),
    Pass(u8),
    Limit(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..12, 0_u8..3, 1_u8..20).prop_map(|(a, u, t)| Step::Tell(a, u, t)),
        (0_u8..12, 0_u8..3, 1_u8..20).prop_map(|(a, u, t)| Step::Learn(a, u, t)),
        (0_u8..12).prop_map(Step::Forget),
        (0_u8..8).prop_map(Step::Pass),
        (1_u8..8).prop_map(Step::Limit),
    ]
}

proptest! {
    /// Whatever happens: never more than the limit, the counts are those of the list, what is listed
    /// is what is found, and whoever was told is lost to nobody but others who were told.
    #[test]
    fn the_table_keeps_its_laws(steps in proptest::collection::vec(step(), 1..80)) {
        let minute = Duration::from_secs(60);
        let addresses = Addresses::new(6);
        let mut now = Instant::now();
        let mut limit = 6;
        for step in steps {
            let before = addresses.count(now);
            match step {
                Step::Tell(a, u, t) => {
                    let noted = addresses.tell(
                        address(a),
                        told(&format!("u{u}"), &[]),
                        (now, u32::from(t) * minute),
                    );
                    prop_assert_ne!(noted, Noted::Refused);
                    let found = user(&addresses, address(a), now);
                    prop_assert_eq!(found, Some(format!("u{u}")));
                }
                Step::Learn(a, u, t) => {
                    let time = u32::from(t) * minute;
                    addresses.learn(address(a), &shown(&format!("u{u}")), (now, time));
                    prop_assert_eq!(addresses.count(now)[1], before[1]);
                }
                Step::Forget(a) => {
                    addresses.forget(address(a), None, now);
                    prop_assert_eq!(user(&addresses, address(a), now), None);
                }
                Step::Pass(minutes) => now += u32::from(minutes) * minute,
                Step::Limit(most) => {
                    limit = usize::from(most);
                    addresses.set_limit(limit, now);
                }
            }
            let list = addresses.list(None, usize::MAX, now);
            prop_assert!(list.len() <= limit);
            prop_assert_eq!(list.len(), addresses.count(now).iter().sum::<usize>());
            for held in list {
                prop_assert_eq!(addresses.at(held.address, now), Some(held.identity));
            }
        }
    }
}
