//! What a real directory makes of credentials, and what becomes of clients while it is away.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, Instant},
};

use sluice_gateway::identity::{authenticate::Authenticated, providers::State};

use crate::{
    lab::{Lab, known, log_in, log_in_from},
    slapd::{Slapd, other_authority},
};

/// How long a directory that is back may be thought away.
const PATIENCE: Duration = Duration::from_secs(60);

const SEARCH: &str = "base = \"ou=people,dc=corp,dc=example\"\n\
    bind_dn = \"cn=reader,dc=corp,dc=example\"\nbind_password_file = \"reader.txt\"\n";

const DIRECT: &str = "bind = \"direct\"\nuser_dn = \"uid={user},ou=people,dc=corp,dc=example\"\n";

const GROUPS: &str = "group_base = \"ou=groups,dc=corp,dc=example\"\n";

enum Over {
    StartTls,
    Tls,
    Plaintext,
}

fn lab(slapd: &Slapd, over: &Over, rest: &str) -> Lab {
    lab_of(slapd, over, &slapd.authority, rest)
}

fn lab_of(slapd: &Slapd, over: &Over, authority: &str, rest: &str) -> Lab {
    let (port, tls_port) = (slapd.port, slapd.tls_port);
    let transport = match over {
        Over::StartTls => {
            format!("url = \"ldap://localhost:{port}\"\nstarttls = true\nca = \"ca.pem\"\n")
        }
        Over::Tls => format!("url = \"ldaps://localhost:{tls_port}\"\nca = \"ca.pem\"\n"),
        Over::Plaintext => {
            format!("url = \"ldap://127.0.0.1:{port}\"\ndanger_plaintext = true\n")
        }
    };
    let settings =
        format!("[[identity.provider]]\nname = \"corp\"\nkind = \"ldap\"\n{transport}{rest}");
    // The password's file has to be closed to others before it is read.
    let lab = Lab::new(
        "",
        &[("ca.pem", authority), ("reader.txt", "reader's own\n")],
    );
    fs::set_permissions(lab.path("reader.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    lab.write(
        "x.toml",
        &format!("[gateway]\nlan = [\"lan0\"]\n{settings}"),
    );
    let mut lab = lab;
    lab.reload();
    lab
}

fn groups(lab: &Lab, user: &str, password: &str) -> Vec<String> {
    known(&log_in(&lab.authenticator(&["corp"]), user, password)).1
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn a_user_is_who_can_bind_whatever_way_the_entry_is_found() {
    let slapd = Slapd::start();
    for (over, bind) in [
        (Over::StartTls, SEARCH),
        (Over::Tls, SEARCH),
        (Over::Plaintext, SEARCH),
        (Over::Tls, DIRECT),
        (Over::StartTls, DIRECT),
    ] {
        let lab = lab(&slapd, &over, bind);
        let asks = lab.authenticator(&["corp"]);
        assert_eq!(lab.status("corp").state, State::Untried);
        // The name is the directory's, however it was typed.
        for typed in ["alice", "ALICE", "Alice"] {
            assert_eq!(
                known(&log_in(&asks, typed, "right")),
                ("alice".into(), vec![], "corp".into())
            );
        }
        assert_eq!(log_in(&asks, "alice", "wrong"), Authenticated::Refused);
        assert_eq!(log_in(&asks, "nobody", "right"), Authenticated::Refused);
        known(&log_in(&asks, "bob, the (second)", "right too"));
        let status = lab.status("corp");
        assert_eq!(status.state, State::Up, "{status:?}");
        assert_eq!([status.ok, status.refused, status.unavailable], [4, 2, 0]);
    }
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn an_empty_password_is_nobodys() {
    let slapd = Slapd::start();
    // Basic credentials without a password are malformed before; whoever asks the directory
    // otherwise is refused by it as well.
    for bind in [SEARCH, DIRECT] {
        let lab = lab(&slapd, &Over::Tls, bind);
        let asks = lab.authenticator(&["corp"]);
        assert_eq!(log_in(&asks, "alice", ""), Authenticated::Refused);
        assert_eq!(lab.status("corp").state, State::Untried, "it was not asked");
    }
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn names_are_no_filters_and_no_paths() {
    let slapd = Slapd::start();
    let names = [
        "*",
        "a*",
        "*)(uid=*",
        "alice)(|(uid=*",
        "alice,ou=people,dc=corp,dc=example",
        "alice\\2cou=people",
        "alice+cn=Alice",
        "{user}",
        "{dn}",
        "alice ",
        "#alice",
    ];
    for bind in [SEARCH, DIRECT] {
        let lab = lab(&slapd, &Over::Tls, bind);
        let asks = lab.authenticator(&["corp"]);
        for (number, name) in names.iter().enumerate() {
            // Each from an address of its own, which is not slowed.
            let from = format!("198.51.100.{number}");
            let outcome = log_in_from(&from, &asks, name, "right");
            // The directory itself takes no notice of spaces at the end (RFC 4518 section 2.6.1).
            if *name == "alice " {
                assert_eq!(known(&outcome).0, "alice");
            } else {
                assert_eq!(outcome, Authenticated::Refused, "{name}");
            }
        }
        assert_eq!(lab.status("corp").state, State::Up);
    }
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn several_entries_are_nobody() {
    let slapd = Slapd::start();
    let lab = lab(&slapd, &Over::Tls, SEARCH);
    let asks = lab.authenticator(&["corp"]);
    assert_eq!(log_in(&asks, "twin", "right"), Authenticated::Refused);
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn groups_are_searched_or_read_and_loops_end() {
    let slapd = Slapd::start();
    let all = ["one", "three", "two"];
    for bind in [SEARCH, DIRECT] {
        let with = |rest: &str| lab(&slapd, &Over::Tls, &format!("{bind}{rest}"));
        assert_eq!(groups(&with(GROUPS), "alice", "right"), ["one"]);
        let nested = with(&format!("{GROUPS}nested = true\n"));
        assert_eq!(groups(&nested, "alice", "right"), all);
        assert_eq!(
            groups(&nested, "bob, the (second)", "right too"),
            ["bobs (all)"]
        );
        let read = with("member_of = true\n");
        assert_eq!(groups(&read, "alice", "right"), ["one"]);
        let read = with("member_of = true\nnested = true\n");
        assert_eq!(groups(&read, "alice", "right"), all);
        let by_user = with(&format!(
            "{GROUPS}group_filter = \"(member=uid={{user}},ou=people,dc=corp,dc=example)\"\n"
        ));
        assert_eq!(groups(&by_user, "alice", "right"), ["one"]);
    }
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn half_of_the_groups_are_no_answer_and_cost_nobody_else() {
    let slapd = Slapd::start();
    let rest = format!("{SEARCH}{GROUPS}nested = true\n");
    let lab = lab(&slapd, &Over::Tls, &rest);
    let asks = lab.authenticator(&["corp"]);
    for _ in 0..3 {
        assert_eq!(log_in(&asks, "deep", "right"), Authenticated::Unavailable);
        assert_eq!(lab.status("corp").state, State::Up);
        known(&log_in(&asks, "alice", "right"));
    }
    // The password still counts.
    assert_eq!(log_in(&asks, "deep", "wrong"), Authenticated::Refused);
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn one_connection_is_enough_for_everything() {
    let slapd = Slapd::start();
    let rest = format!("{SEARCH}{GROUPS}nested = true\npool = 1\ncache = \"0s\"\n");
    let lab = lab(&slapd, &Over::Tls, &rest);
    let asks = lab.authenticator(&["corp"]);
    for _ in 0..3 {
        known(&log_in(&asks, "alice", "right"));
    }
    assert_eq!(lab.status("corp").ok, 3);
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn a_directory_that_is_not_the_right_one_is_shown_no_password() {
    let slapd = Slapd::start();
    let stranger = other_authority();
    for over in [Over::StartTls, Over::Tls] {
        let lab = lab_of(&slapd, &over, &stranger, SEARCH);
        let asks = lab.authenticator(&["corp"]);
        assert_eq!(log_in(&asks, "alice", "right"), Authenticated::Unavailable);
        let status = lab.status("corp");
        assert_eq!(status.state, State::Down);
        let why = status.why.unwrap();
        assert!(why.contains("invalid peer certificate"), "{why}");
    }
    // A certificate of the right authority for another name.
    let lab = lab(&slapd, &Over::Tls, SEARCH);
    let text = fs::read_to_string(lab.path("x.toml")).unwrap();
    lab.write("x.toml", &text.replace("localhost", "127.0.0.1"));
    let mut lab = lab;
    lab.reload();
    let asks = lab.authenticator(&["corp"]);
    assert_eq!(log_in(&asks, "alice", "right"), Authenticated::Unavailable);
    let why = lab.status("corp").why.unwrap();
    assert!(why.contains("not valid for name"), "{why}");
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn what_the_account_may_not_do_is_told() {
    let slapd = Slapd::start();
    let lab = lab(&slapd, &Over::Tls, SEARCH);
    lab.write("reader.txt", "of last year\n");
    let mut lab = lab;
    lab.reload();
    let asks = lab.authenticator(&["corp"]);
    assert_eq!(log_in(&asks, "alice", "right"), Authenticated::Unavailable);
    let status = lab.status("corp");
    assert_eq!(status.state, State::Down);
    let why = status.why.unwrap();
    assert!(
        why.starts_with("the account \"cn=reader,dc=corp,dc=example\" cannot bind: code 49"),
        "{why}"
    );
    assert!(!why.contains("of last year"));
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn a_directory_that_goes_away_fails_fast_and_is_found_again() {
    let mut slapd = Slapd::start();
    for (bind, unavailable, away) in [
        (SEARCH, "block", Authenticated::Unavailable),
        (DIRECT, "anonymous", Authenticated::Absent),
    ] {
        let rest = format!("{bind}unavailable = \"{unavailable}\"\ncache = \"0s\"\n");
        let lab = lab(&slapd, &Over::StartTls, &rest);
        let asks = lab.authenticator(&["corp"]);
        known(&log_in(&asks, "alice", "right"));
        slapd.stop();
        // Now and then one tries, and all others are told at once.
        for _ in 0..200 {
            assert_eq!(log_in(&asks, "alice", "right"), away);
        }
        let status = lab.status("corp");
        assert_eq!((status.state, status.ok), (State::Down, 1));
        assert!(status.since.is_some() && status.why.is_some(), "{status:?}");
        slapd.run();
        let begun = Instant::now();
        loop {
            let outcome = log_in(&asks, "alice", "right");
            if outcome != away {
                known(&outcome);
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{:?}", lab.status("corp"));
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(lab.status("corp").state, State::Up);
        // Nobody was slowed for what the directory did.
        assert_eq!(log_in(&asks, "alice", "wrong"), Authenticated::Refused);
    }
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn connections_that_broke_meanwhile_are_not_noticed() {
    let mut slapd = Slapd::start();
    let rest = format!("{SEARCH}{GROUPS}cache = \"0s\"\n");
    let lab = lab(&slapd, &Over::Tls, &rest);
    let asks = lab.authenticator(&["corp"]);
    known(&log_in(&asks, "alice", "right"));
    slapd.stop();
    slapd.run();
    known(&log_in(&asks, "alice", "right"));
    assert_eq!(lab.status("corp").unavailable, 0);
}

#[test]
fn a_directory_that_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let lab = Lab::new(
        &format!(
            "[[identity.provider]]\nname = \"corp\"\nkind = \"ldap\"\n\
             url = \"ldap://127.0.0.1:{port}\"\ndanger_plaintext = true\ntimeout = \"50ms\"\n{DIRECT}"
        ),
        &[],
    );
    let asks = lab.authenticator(&["corp"]);
    assert_eq!(log_in(&asks, "alice", "right"), Authenticated::Unavailable);
    let status = lab.status("corp");
    assert_eq!(status.state, State::Down);
    assert_eq!(status.why.unwrap(), "no answer within 50ms");
}

#[test]
fn a_port_that_nobody_listens_on_is_down_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let lab = Lab::new(
        &format!(
            "[[identity.provider]]\nname = \"corp\"\nkind = \"ldap\"\n\
             url = \"ldap://127.0.0.1:{port}\"\ndanger_plaintext = true\n{DIRECT}"
        ),
        &[],
    );
    let asks = lab.authenticator(&["corp"]);
    for _ in 0..50 {
        assert_eq!(log_in(&asks, "alice", "right"), Authenticated::Unavailable);
    }
    let status = lab.status("corp");
    assert_eq!(status.state, State::Down);
    assert_eq!(status.unavailable, 50);
    assert!(status.why.unwrap().contains("refused"));
}
