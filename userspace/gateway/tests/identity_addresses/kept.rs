//! What outlives the daemon's end.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use sluice_gateway::identity::{
    Source,
    addresses::Addresses,
    kept::{restore, save},
};

use crate::lab::{HOUR, identity, told};

fn address(last: u8) -> IpAddr {
    [10, 20, 0, last].into()
}

#[test]
fn what_was_told_is_known_again_for_the_time_that_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state").join("identities.json");
    let (now, wall) = (Instant::now(), SystemTime::now());
    let before = Addresses::default();
    before.tell(address(1), told("alice", &["staff", "x"]), (now, 3 * HOUR));
    before.tell(address(2), told("bob", &[]), (now, HOUR));
    let shown = identity("carol", &[], Source::Credentials("ldap".into()));
    before.learn(address(3), &shown, (now, 3 * HOUR));
    save(&path, &before, (now, wall)).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    let after = Addresses::default();
    let later = (now + HOUR, wall + HOUR);
    assert_eq!(restore(&path, &after, later).unwrap(), 1);
    let held = after.held(address(1), later.0).unwrap();
    assert_eq!(*held.identity, told("alice", &["staff", "x"]));
    let lost = (2 * HOUR).checked_sub(held.left).unwrap();
    assert!(lost < Duration::from_millis(2), "{lost:?}");
    assert_eq!(after.count(later.0), [0, 1]);

    // What is written replaces what was, and leaves nothing else.
    after.forget(address(1), None, later.0);
    save(&path, &after, later).unwrap();
    let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(written, json!({"version": 1, "identities": []}));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_was_not_written_so_is_refused_or_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identities.json");
    let times = (Instant::now(), SystemTime::now());
    let addresses = Addresses::default();
    assert_eq!(restore(&path, &addresses, times).unwrap(), 0);
    for text in [
        "",
        "{}",
        "[]",
        "{\"version\":1",
        "{\"version\":2,\"identities\":[]}",
    ] {
        fs::write(&path, text).unwrap();
        restore(&path, &addresses, times).unwrap_err();
    }
    let until = |days: u64| {
        let since = times.1.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap() + days * 86_400_000
    };
    let one = |last: u8, user: &str, group: &str, until: u64| json!({"address": address(last), "user": user, "groups": [group], "until": until});
    let all = json!({"version": 1, "identities": [
        one(1, "alice", "staff", until(1)),
        one(2, "", "staff", until(1)),
        one(3, "alice", "a\nb", until(1)),
        one(4, "alice", "staff", until(400)),
        one(5, "alice", "staff", u64::MAX),
        one(6, "alice", "staff", 0),
    ]});
    fs::write(&path, all.to_string()).unwrap();
    assert_eq!(restore(&path, &addresses, times).unwrap(), 1);
    assert_eq!(addresses.count(times.0), [0, 1]);
}
