//! Finding the addresses of names, as a name server on loopback has them.
#![cfg(test)]

mod dns;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dns::{Dns, Said};
use sluice_gateway::names::{NameError, Names, Settings};

fn names(dns: &Dns) -> Names {
    Names::new(&settings(dns)).unwrap()
}

fn settings(dns: &Dns) -> Settings {
    Settings {
        servers: vec![dns.address],
        timeout: Duration::from_secs(5),
        attempt_delay: Duration::from_secs(2),
        ..Settings::default()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn names_have_addresses_of_both_families_or_none() {
    let dns = Dns::new(&[
        ("both.example", &["192.0.2.1", "2001:db8::1"]),
        ("mapped.example", &["::ffff:192.0.2.1", "192.0.2.1"]),
        ("none.example", &[]),
    ]);
    let names = names(&dns);
    let mut found = names.addresses("Both.example.").await.unwrap();
    found.sort();
    assert_eq!(found, [ip("192.0.2.1"), ip("2001:db8::1")]);
    let found = names.addresses("mapped.example").await;
    assert_eq!(found, Ok(vec![ip("192.0.2.1")]));
    for (name, error) in [
        ("none.example", NameError::NoAddress),
        ("missing.example", NameError::NotFound),
        ("127.1", NameError::NotAName),
        ("a b", NameError::NotAName),
    ] {
        assert_eq!(names.addresses(name).await, Err(error), "{name}");
    }
}

/// In some networks questions for AAAA records are lost.
#[tokio::test]
async fn a_family_that_is_silent_is_not_waited_for() {
    let dns = Dns::by_family(|_, is_v6| {
        if is_v6 {
            Said::Silence
        } else {
            Said::Addresses(vec![ip("192.0.2.1")], 60)
        }
    });
    // So long that waiting for it ends the test.
    let settings = Settings {
        timeout: Duration::from_secs(3600),
        attempt_delay: Duration::from_millis(10),
        ..settings(&dns)
    };
    let names = Names::new(&settings).unwrap();
    let found = names.addresses("news.example").await;
    assert_eq!(found, Ok(vec![ip("192.0.2.1")]));
}

#[tokio::test]
async fn trouble_with_one_family_is_no_answer_of_the_other() {
    let dns = Dns::by_family(|name, is_v6| match (name, is_v6) {
        ("half.example", true) => Said::Code(2),
        ("gone.example", true) => Said::Code(3),
        ("gone.example", false) => Said::Code(2),
        _ => Said::Addresses(Vec::new(), 60),
    });
    let names = names(&dns);
    for (name, error) in [
        ("half.example", NameError::Unavailable),
        ("gone.example", NameError::NotFound),
        ("none.example", NameError::NoAddress),
    ] {
        assert_eq!(names.addresses(name).await, Err(error), "{name}");
    }
}

#[tokio::test]
async fn what_servers_cannot_tell_is_no_answer() {
    for code in [2, 5] {
        let dns = Dns::saying(move |_| Said::Code(code));
        let found = names(&dns).addresses("any.example").await;
        assert_eq!(found, Err(NameError::Unavailable), "{code}");
    }
    let silent = Dns::saying(|_| Said::Silence);
    let settings = Settings {
        timeout: Duration::from_millis(50),
        ..settings(&silent)
    };
    let found = Names::new(&settings)
        .unwrap()
        .addresses("any.example")
        .await;
    assert!(
        matches!(found, Err(NameError::TimedOut | NameError::Unavailable)),
        "{found:?}"
    );
}

#[tokio::test]
async fn c8_aliases_lead_to_addresses_that_are_judged_as_any() {
    let dns = Dns::saying(|_| Said::Alias("inner.example", vec![ip("10.0.0.1")]));
    let found = names(&dns).addresses("outer.example").await;
    assert_eq!(found, Ok(vec![ip("10.0.0.1")]));
}

#[tokio::test]
async fn one_question_serves_all_who_ask() {
    let dns = Dns::saying(|name| match name {
        "missing.example" => Said::Code(3),
        _ => Said::Addresses(vec![ip("192.0.2.1")], 60),
    });
    let names = Arc::new(names(&dns));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let names = Arc::clone(&names);
        all.spawn(async move { names.addresses("news.example").await });
    }
    while let Some(found) = all.join_next().await {
        assert_eq!(found.unwrap(), Ok(vec![ip("192.0.2.1")]));
    }
    // One for each family.
    assert_eq!(dns.asked(), 2);
    for _ in 0..10 {
        let found = names.addresses("missing.example").await;
        assert_eq!(found, Err(NameError::NotFound));
    }
    assert_eq!(dns.asked(), 4);
}

#[tokio::test]
async fn a_reload_forgets_no_address() {
    let turn = AtomicUsize::new(0);
    let dns = Dns::saying(move |_| {
        let turn = turn.fetch_add(1, Ordering::SeqCst) / 2;
        Said::Addresses(vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, turn as u8))], 0)
    });
    let before = names(&dns);
    assert_eq!(before.has("cdn.example", ip("192.0.2.0")).await, Ok(true));
    let names = Names::after(&settings(&dns), Some(&before)).unwrap();
    drop(before);
    assert_eq!(names.has("cdn.example", ip("192.0.2.0")).await, Ok(true));
    assert_eq!(
        names.has("cdn.example", ip("198.51.100.1")).await,
        Ok(false)
    );
}

#[tokio::test]
async fn what_was_seen_stays_true_while_nobody_answers() {
    let turn = AtomicUsize::new(0);
    let dns = Dns::saying(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Said::Addresses(vec![ip("192.0.2.1")], 0),
        _ => Said::Code(2),
    });
    let names = names(&dns);
    assert_eq!(names.has("cdn.example", ip("192.0.2.1")).await, Ok(true));
    assert_eq!(names.has("cdn.example", ip("192.0.2.1")).await, Ok(true));
    let unknown = names.has("cdn.example", ip("192.0.2.2")).await;
    assert_eq!(unknown, Err(NameError::Unavailable));
}

/// A network that spreads its load: each answer has four of its sixteen addresses, valid for no
/// time, and the client asks the same servers as the gateway, each for itself.
#[tokio::test]
async fn c6_rotating_names_are_never_taken_for_untrue_ones() {
    const POOL: u64 = 16;
    const NAMES: u64 = 8;
    const LOOK_UPS: u64 = 10_000;
    let addresses = |name: u64, turn: u64| {
        (0..4).map(move |each| {
            let host = (turn * 4 + each * 5 + turn / 4) % POOL;
            IpAddr::V4(Ipv4Addr::new(198, 51, name as u8, host as u8))
        })
    };
    let turn = AtomicUsize::new(0);
    let dns = Dns::saying(move |name| {
        let number = name.trim_start_matches('n').split('.').next();
        let number = number.and_then(|number| number.parse().ok()).unwrap();
        // Both families are asked for, and answers turn in between.
        let turn = turn.fetch_add(1, Ordering::SeqCst) as u64 / 2;
        Said::Addresses(addresses(number, turn).collect(), 0)
    });
    let names = names(&dns);
    // A fixed sequence: what a client was told, at a time of its own.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let proofs = AtomicUsize::new(0);
    let prove = async |shows| {
        proofs.fetch_add(1, Ordering::SeqCst);
        shows
    };
    let mut refused = 0;
    for _ in 0..LOOK_UPS {
        let name = next() % NAMES;
        let told: Vec<_> = addresses(name, next() % 1000).collect();
        let dialled = told[(next() % 4) as usize];
        let name = format!("n{name}.example");
        // Every server of a name can show a certificate for it.
        if names.is_true(&name, dialled, prove(true)).await != Ok(true) {
            refused += 1;
        }
    }
    assert_eq!(refused, 0);
    // Until each of the addresses was seen once, and never again.
    let proofs_needed = proofs.load(Ordering::SeqCst);
    assert!(proofs_needed <= (POOL * NAMES) as usize, "{proofs_needed}");
    for name in 0..NAMES {
        for host in 0..POOL {
            let other = IpAddr::V4(Ipv4Addr::new(198, 51, 200 + name as u8, host as u8));
            let found = names
                .is_true(&format!("n{name}.example"), other, prove(false))
                .await;
            assert_eq!(found, Ok(false), "{other}");
        }
    }
}
