//! Who is asked about credentials: what is read, and what is said of it.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use sluice_gateway::{
    config::{Config, show, warn},
    identity::{
        ldap::{Bind, Transport},
        settings::{Kind, Unavailable},
    },
};

const ALICE: &str = "alice:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC\n";

fn load(identity: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("users"), ALICE).unwrap();
    fs::write(path("none"), "# nobody yet\n").unwrap();
    fs::write(path("groups"), "staff: alice\n").unwrap();
    fs::write(path("password"), "open sesame\n").unwrap();
    fs::set_permissions(path("password"), fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!("[gateway]\nlan = [\"lan0\"]\n{identity}");
    fs::write(path("x.toml"), text).unwrap();
    Config::load(&path("x.toml")).unwrap()
}

const ALL: &str = r#"
    [identity]
    realm = "Example \"Ltd\""
    [[identity.provider]]
    name = "staff"
    kind = "htpasswd"
    file = "users"
    groups = "groups"
    cache = "0s"
    [[identity.provider]]
    name = "corp"
    kind = "ldap"
    url = "ldap://ldap.corp.example:1389"
    starttls = true
    bind = "search"
    base = "ou=people,dc=x"
    filter = "(&(uid={user})(active=1))"
    bind_dn = "cn=reader,dc=x"
    bind_password_file = "password"
    user_attribute = "sAMAccountName"
    group_base = "ou=groups,dc=x"
    group_filter = "(member:1.2.840.113556.1.4.1941:={dn})"
    group_name = "displayName"
    member_of = true
    nested = true
    timeout = "1500ms"
    pool = 3
    unavailable = "anonymous"
    cache = "1h"
    [[identity.provider]]
    name = "plain"
    kind = "ldap"
    url = "ldap://192.0.2.1"
    danger_plaintext = true
    bind = "direct"
    user_dn = "uid={user},dc=x"
    [[identity.provider]]
    name = "empty"
    kind = "htpasswd"
    file = "none"
"#;

#[test]
fn providers_arrive_typed() {
    let identity = load(ALL).identity;
    assert_eq!(&*identity.realm, "Example \"Ltd\"");
    let [staff, corp, plain, empty] = identity.providers.as_slice() else {
        panic!("{identity:?}");
    };
    let Kind::Htpasswd(files) = &staff.kind else {
        panic!("{staff:?}");
    };
    assert_eq!((&*staff.name, staff.cache), ("staff", Duration::ZERO));
    assert!(files.users.is_right("alice", "right"));
    assert_eq!(files.users.groups("alice"), ["staff".into()]);
    let Kind::Ldap(directory) = &corp.kind else {
        panic!("{corp:?}");
    };
    assert_eq!(corp.cache, Duration::from_secs(3600));
    assert_eq!(corp.unavailable, Unavailable::Anonymous);
    assert_eq!(&*directory.url, "ldap://ldap.corp.example:1389");
    assert_eq!(directory.transport, Transport::StartTls);
    assert_eq!(directory.timeout, Duration::from_millis(1500));
    assert_eq!(
        (&*directory.user_attribute, directory.pool),
        ("sAMAccountName", 3)
    );
    let Bind::Search {
        base,
        filter,
        account: Some((dn, password)),
    } = &directory.bind
    else {
        panic!("{directory:?}");
    };
    assert_eq!(&**base, "ou=people,dc=x");
    assert_eq!(&**filter, "(&(uid={user})(active=1))");
    assert_eq!(
        (&**dn, password.reveal()),
        ("cn=reader,dc=x", "open sesame")
    );
    let groups = &directory.groups;
    let (base, filter) = groups.search.as_ref().unwrap();
    assert_eq!(&**base, "ou=groups,dc=x");
    assert_eq!(&**filter, "(member:1.2.840.113556.1.4.1941:={dn})");
    assert_eq!(&*groups.name, "displayName");
    assert!(groups.member_of && groups.nested);
    // What is left out.
    let Kind::Ldap(directory) = &plain.kind else {
        panic!("{plain:?}");
    };
    assert_eq!(
        (plain.cache, plain.unavailable),
        (Duration::from_secs(300), Unavailable::Block)
    );
    assert_eq!(directory.timeout, Duration::from_secs(5));
    assert_eq!((&*directory.user_attribute, directory.pool), ("uid", 8));
    assert!(directory.groups.search.is_none() && !directory.groups.member_of);
    assert!(matches!(&directory.bind, Bind::Direct { user_dn } if &**user_dn == "uid={user},dc=x"));
    assert_eq!(&*empty.name, "empty");
}

#[test]
fn passwords_and_hashes_are_never_shown() {
    let config = load(ALL);
    for text in [format!("{config:?}"), show::effective(&config)] {
        for secret in [
            "open sesame",
            "FmEfrkTQnczNzw475xE2VhDrK1uwJiC",
            "abcdefghijklmnopqrstuu",
        ] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn providers_are_shown_and_doubted() {
    let config = load(ALL);
    let text = show::effective(&config);
    let shown = |wanted: &str| {
        let mut lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert!(
            lines.any(|line| line == wanted || line.ends_with(wanted)),
            "{wanted}: {text}"
        );
    };
    for wanted in [
        "provider \"staff\", htpasswd:",
        "users, 1 users",
        "cache none",
        "provider \"corp\", ldap:",
        "protection StartTLS",
        "bind_dn cn=reader,dc=x",
        "group_filter (member:1.2.840.113556.1.4.1941:={dn})",
        "unavailable anonymous",
        "protection none: passwords go in the clear",
        "user_dn uid={user},dc=x",
    ] {
        shown(wanted);
    }
    let warnings = warn::warnings(&config);
    for wanted in [
        "provider \"corp\": while the directory is down nobody is known, and rules that block users or groups do not hold",
        "provider \"plain\": `danger_plaintext` sends passwords to the directory in the clear",
        "provider \"empty\": its file holds no user, so that nobody can log in",
    ] {
        assert!(warnings.iter().any(|one| one == wanted), "{warnings:?}");
    }
    assert_eq!(
        warnings
            .iter()
            .filter(|one| one.contains("\"staff\""))
            .count(),
        0
    );
}
