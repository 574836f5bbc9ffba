//! Who asks the providers: order, memory, waits, overload.

use std::{net::IpAddr, sync::atomic::Ordering::Relaxed, time::Duration};

use sluice_gateway::daemon::metrics::latency::Noted;
use sluice_gateway::identity::{
    authenticate::{Authenticated, Authenticator},
    providers::{State, UnknownProvider},
};

use crate::lab::{CLIENT, Lab, known, log_in, log_in_from, run, shown};

const ALICE: &str = "alice:$2y$04$wJPihpjgyDVK6LPKZUgAK.NxhRCvxAmHNlFPFVwwhbGquI7QPZoAq\n";

/// Of the password "a".
const OTHER: &str = "alice:$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe\n";

const FILES: &str = "[identity]\nrealm = \"corp\"\n\
    [[identity.provider]]\nname = \"staff\"\nkind = \"htpasswd\"\nfile = \"staff.txt\"\ngroups = \"groups.txt\"\n\
    [[identity.provider]]\nname = \"guests\"\nkind = \"htpasswd\"\nfile = \"guests.txt\"\ncache = \"0s\"\n";

fn files() -> Lab {
    Lab::new(
        FILES,
        &[
            ("staff.txt", ALICE),
            ("guests.txt", OTHER),
            ("groups.txt", "staff: alice\n"),
        ],
    )
}

fn counts(lab: &Lab, name: &str) -> [u64; 4] {
    let status = lab.status(name);
    [status.ok, status.cached, status.refused, status.unavailable]
}

#[test]
fn who_shows_nothing_is_asked_and_nobody_is_asked_without_providers() {
    let lab = files();
    let asks = lab.authenticator(&["staff"]);
    assert!(asks.asks());
    assert_eq!(
        asks.challenges(),
        ["Basic realm=\"corp\", charset=\"UTF-8\""]
    );
    let from: IpAddr = CLIENT.parse().unwrap();
    let nothing = run(asks.authenticate(from, None));
    assert_eq!(nothing, Authenticated::Absent);
    let other = "Negotiate YII=".parse().unwrap();
    assert_eq!(
        run(asks.authenticate(from, Some(&other))),
        Authenticated::Absent
    );
    for silent in [Authenticator::default(), lab.authenticator(&[])] {
        assert!(!silent.asks() && silent.challenges().is_empty());
        let outcome = log_in(&silent, "alice", "right");
        assert_eq!(outcome, Authenticated::Absent);
    }
    let unknown = lab.providers.authenticator(&["staff", "stuff"]);
    assert_eq!(unknown.unwrap_err(), UnknownProvider("stuff".into()));
}

#[test]
fn providers_are_asked_in_order_until_one_knows() {
    let lab = files();
    let asks = lab.authenticator(&["staff", "guests"]);
    assert_eq!(
        known(&log_in(&asks, "alice", "right")),
        ("alice".into(), vec!["staff".into()], "staff".into())
    );
    assert_eq!(
        known(&log_in(&asks, "alice", "a")),
        ("alice".into(), vec![], "guests".into())
    );
    assert_eq!(log_in(&asks, "alice", "no"), Authenticated::Refused);
    assert_eq!(log_in(&asks, "Alice", "right"), Authenticated::Refused);
    assert_eq!(counts(&lab, "staff"), [1, 0, 3, 0]);
    assert_eq!(counts(&lab, "guests"), [1, 0, 2, 0]);
    let (_, counters) = lab
        .providers
        .counters()
        .find(|one| one.0 == "staff")
        .unwrap();
    let mut timed = Noted::default();
    counters.latency.add_to(&mut timed);
    assert_eq!(timed.count(), 4);
    assert!(!timed.sum().is_zero());
}

#[test]
fn who_was_right_is_remembered_until_the_file_changes() {
    let mut lab = files();
    let asks = lab.authenticator(&["staff"]);
    for _ in 0..3 {
        known(&log_in(&asks, "alice", "right"));
    }
    assert_eq!(log_in(&asks, "alice", "wrong"), Authenticated::Refused);
    assert_eq!(counts(&lab, "staff"), [1, 2, 1, 0]);
    // A reload that says the same keeps what is remembered, and what was counted.
    lab.reload();
    known(&log_in(&lab.authenticator(&["staff"]), "alice", "right"));
    assert_eq!(counts(&lab, "staff"), [1, 3, 1, 0]);
    assert_eq!(lab.status("staff").remembered, 1);
    // The groups are part of what is remembered.
    lab.write("groups.txt", "boss: alice\n");
    lab.reload();
    assert_eq!(lab.status("staff").remembered, 0);
    let asks = lab.authenticator(&["staff"]);
    assert_eq!(known(&log_in(&asks, "alice", "right")).1, ["boss"]);
    lab.write("staff.txt", OTHER);
    lab.reload();
    let asks = lab.authenticator(&["staff"]);
    assert_eq!(log_in(&asks, "alice", "right"), Authenticated::Refused);
    known(&log_in(&asks, "alice", "a"));
    assert_eq!(counts(&lab, "staff"), [3, 3, 2, 0]);
}

#[test]
fn nothing_is_remembered_where_that_is_off() {
    let lab = files();
    let asks = lab.authenticator(&["guests"]);
    for _ in 0..2 {
        known(&log_in(&asks, "alice", "a"));
    }
    assert_eq!(counts(&lab, "guests"), [2, 0, 0, 0]);
    assert_eq!(lab.status("guests").remembered, 0);
}

#[test]
fn guesses_are_slowed_and_neither_asked_nor_counted_as_wrong() {
    let lab = files();
    let asks = lab.authenticator(&["staff"]);
    let outcomes: Vec<_> = (0..8)
        .map(|number| log_in(&asks, "alice", &format!("guess {number}")))
        .collect();
    let (looked_at, slowed) = outcomes.split_at(4);
    assert!(looked_at.iter().all(|one| *one == Authenticated::Refused));
    for one in slowed {
        let Authenticated::Slowed(wait) = one else {
            panic!("{one:?}");
        };
        assert!(*wait <= Duration::from_secs(1));
    }
    // Elsewhere the right password is heard at once.
    known(&log_in_from("192.0.2.8", &asks, "alice", "right"));
    assert_eq!(counts(&lab, "staff"), [1, 0, 4, 0]);
    assert_eq!(lab.providers.totals().slowed.load(Relaxed), 4);
    // Every listener shares what is known of an address.
    let other = lab.authenticator(&["guests"]);
    assert!(matches!(
        log_in(&other, "alice", "a"),
        Authenticated::Slowed(_)
    ));
}

#[test]
fn what_is_malformed_is_refused_and_counted() {
    let lab = files();
    let asks = lab.authenticator(&["staff"]);
    let value = "Basic !".parse().unwrap();
    for _ in 0..9 {
        let outcome = run(asks.authenticate(CLIENT.parse().unwrap(), Some(&value)));
        assert_eq!(outcome, Authenticated::Refused);
    }
    assert_eq!(lab.providers.totals().malformed.load(Relaxed), 9);
    assert_eq!(counts(&lab, "staff"), [0; 4]);
}

#[test]
fn the_same_credentials_at_once_are_checked_once() {
    let lab = files();
    let asks = lab.authenticator(&["guests"]);
    let from: IpAddr = CLIENT.parse().unwrap();
    let value = shown("alice", "a");
    let outcomes = run(async {
        let local = tokio::task::LocalSet::new();
        let asks = std::rc::Rc::new(asks);
        local
            .run_until(async {
                let tasks: Vec<_> = (0..50)
                    .map(|_| {
                        let (asks, value) = (std::rc::Rc::clone(&asks), value.clone());
                        tokio::task::spawn_local(async move {
                            asks.authenticate(from, Some(&value)).await
                        })
                    })
                    .collect();
                let mut outcomes = Vec::new();
                for task in tasks {
                    outcomes.push(task.await.unwrap());
                }
                outcomes
            })
            .await
    });
    for outcome in &outcomes {
        known(outcome);
    }
    let (_, counters) = lab
        .providers
        .counters()
        .find(|one| one.0 == "guests")
        .unwrap();
    let mut checked = Noted::default();
    counters.latency.add_to(&mut checked);
    let checked = checked.count();
    // One that came after the first was answered would be a check of its own.
    assert!(checked < 50, "{checked}");
    assert_eq!(counts(&lab, "guests"), [50, 0, 0, 0]);
}

#[test]
fn who_leaves_before_the_answer_leaves_it_to_be_remembered() {
    let lab = files();
    let asks = lab.authenticator(&["staff"]);
    let from: IpAddr = CLIENT.parse().unwrap();
    let value = shown("alice", "right");
    run(async {
        let mut asked = Box::pin(asks.authenticate(from, Some(&value)));
        // Begun, and given up.
        let waker = std::task::Waker::noop();
        let _begun = asked
            .as_mut()
            .poll(&mut std::task::Context::from_waker(waker));
    });
    while lab.status("staff").remembered == 0 {
        std::thread::yield_now();
    }
    known(&log_in(&asks, "alice", "right"));
    assert_eq!(lab.status("staff").cached, 1);
    let (_, counters) = lab
        .providers
        .counters()
        .find(|one| one.0 == "staff")
        .unwrap();
    let mut checked = Noted::default();
    counters.latency.add_to(&mut checked);
    let checked = checked.count();
    assert_eq!(checked, 1);
}

#[test]
fn status_is_serialisable_and_says_what_files_hold() {
    let lab = files();
    let status = lab.status("staff");
    assert_eq!((status.state, status.users), (State::Up, Some(1)));
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["state"], "up");
    assert_eq!(json["kind"], "htpasswd");
}
