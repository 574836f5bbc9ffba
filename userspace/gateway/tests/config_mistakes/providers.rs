//! Mistakes in the providers of `[identity]`.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{assert_mistake, files::mistakes};

const CORP: &str = "[[identity.provider]]\nname = \"corp\"\nkind = \"ldap\"\n";
const DIRECT: &str = "bind = \"direct\"\nuser_dn = \"uid={user},dc=x\"\n";
const URL: &str = "url = \"ldaps://ldap.corp.example\"\n";

#[test]
fn a_provider_has_a_name_and_a_kind() {
    assert_mistake(
        "[[identity.provider]]\nkind = \"ldap\"\nurl = \"ldaps://a.example\"\nbase = \"dc=x\"\n",
        "3:1: `name` is missing in [[identity.provider]]: give it a name, which logs and metrics \
         will show",
    );
    assert_mistake(
        "[[identity.provider]]\nname = \"a\"\n",
        "3:1: `kind` is missing in [[identity.provider]]: write \"htpasswd\", \"ldap\" \
         or \"negotiate\"",
    );
    assert_mistake(
        "[[identity.provider]]\nname = \"a\"\nkind = \"ldpa\"\n",
        "5:8: `kind` in [[identity.provider]]: \"ldpa\": expected one of \"htpasswd\", \
         \"ldap\", \"negotiate\": did you mean \"ldap\"?",
    );
    assert_mistake(
        &format!("{CORP}{URL}{DIRECT}{CORP}{URL}{DIRECT}"),
        "10:8: `name` in [[identity.provider]]: there are two providers \"corp\": rename one",
    );
    assert_mistake(
        "[identity]\nprovider = \"corp\"\n",
        "4:12: `provider` in [identity]: expected tables, each written as [[identity.provider]]",
    );
    assert_mistake(
        "[identity]\nrealm = \"\"\n",
        "4:9: `realm` in [identity]: \"\": expected one line of at most 200 bytes",
    );
    assert_mistake(
        &format!("{}{URL}{DIRECT}", CORP.replace("\"corp\"", "\"address\"")),
        "4:8: `name` in [[identity.provider]]: is a word of its own in `identify` of a proxy: choose \
         another",
    );
    // A key of another kind is none of this one's.
    assert_mistake(
        &format!("{CORP}{URL}{DIRECT}groups = \"x\"\n"),
        "9:1: unknown key `groups` in [[identity.provider]]: expected one of `name`, `kind`, `url`, \
         `starttls`, `danger_plaintext`, `ca`, `bind`, `user_dn`, `base`, `filter`, `bind_dn`, \
         `bind_password_file`, `user_attribute`, `group_base`, `group_filter`, `group_name`, \
         `member_of`, `nested`, `timeout`, `pool`, `unavailable`, `cache`",
    );
}

#[test]
fn passwords_do_not_go_in_the_clear_by_accident() {
    for (url, mistake) in [
        (
            "url = \"ldap://ldap.corp.example\"\n",
            "6:7: `url` in [[identity.provider]]: passwords would go in the clear: write `starttls = \
             true`, or \"ldaps://\", or `danger_plaintext = true` where nobody can listen",
        ),
        (
            "url = \"ldap://ldap.corp.example\"\nstarttls = true\ndanger_plaintext = true\n",
            "6:7: `url` in [[identity.provider]]: `starttls` and `danger_plaintext` contradict each \
             other: take one out",
        ),
        (
            "url = \"ldaps://ldap.corp.example\"\nstarttls = true\n",
            "6:7: `url` in [[identity.provider]]: is TLS from the first byte: take `starttls` and \
             `danger_plaintext` out",
        ),
        (
            "url = \"ldaps://[2001:db8::1]\"\n",
            "6:7: `url` in [[identity.provider]]: a certificate is checked against a name: name the \
             directory, not its IPv6 address",
        ),
        (
            "url = \"https://ldap.corp.example\"\n",
            "6:7: `url` in [[identity.provider]]: \"https://ldap.corp.example\": expected \"ldap://\" \
             or \"ldaps://\", and behind it a host",
        ),
        (
            "url = \"ldaps://ldap.corp.example/dc=x??sub\"\n",
            "6:7: `url` in [[identity.provider]]: \"ldaps://ldap.corp.example/dc=x??sub\": expected no \
             more than a host and perhaps a port: the rest has keys of its own",
        ),
        (
            "url = \"ldaps://u:p@ldap.corp.example\"\n",
            "6:7: `url` in [[identity.provider]]: \"ldaps://u:p@ldap.corp.example\": expected no more \
             than a host and perhaps a port: the rest has keys of its own",
        ),
        (
            "",
            "3:1: `url` is missing in [[identity.provider]]: name the directory, as in \
             \"ldaps://ldap.corp.example\"",
        ),
    ] {
        assert_mistake(&format!("{CORP}{url}{DIRECT}"), mistake);
    }
}

#[test]
fn a_directory_is_asked_in_one_way() {
    for (rest, mistake) in [
        (
            "",
            "3:1: `base` is missing in [[identity.provider]]: say below which entry users are, as in \
             \"ou=people,dc=corp,dc=example\"",
        ),
        (
            "bind = \"direct\"\n",
            "3:1: `user_dn` is missing in [[identity.provider]]: say the DN of users, as in \
             \"uid={user},ou=people,dc=corp,dc=example\"",
        ),
        (
            "bind = \"direct\"\nuser_dn = \"dc=x\"\n",
            "8:11: `user_dn` in [[identity.provider]]: \"dc=x\": expected a DN with {user} in it, as \
             in \"uid={user},ou=people,dc=corp,dc=example\"",
        ),
        (
            "bind = \"direct\"\nuser_dn = \"uid={user}\"\nbase = \"dc=x\"\n",
            "9:8: `base` in [[identity.provider]]: belongs to `bind = \"search\"`: take it out",
        ),
        (
            "base = \"dc=x\"\nuser_dn = \"uid={user}\"\n",
            "8:11: `user_dn` in [[identity.provider]]: belongs to `bind = \"direct\"`: take it out",
        ),
        (
            "base = \"dc=x\"\nfilter = \"(uid=alice)\"\n",
            "8:10: `filter` in [[identity.provider]]: \"(uid=alice)\": expected {user} in it",
        ),
        (
            "base = \"dc=x\"\nfilter = \"uid={user})\"\n",
            "8:10: `filter` in [[identity.provider]]: \"uid={user})\": no filter: expected one in \
             parentheses, as in \"(uid={user})\"",
        ),
        (
            "base = \"dc=x\"\nbind_dn = \"cn=a\"\n",
            "8:11: `bind_dn` in [[identity.provider]]: needs a password: name its file in \
             `bind_password_file`",
        ),
        (
            "base = \"dc=x\"\nbind_password_file = \"a\"\n",
            "8:22: `bind_password_file` in [[identity.provider]]: is the password of nobody: say \
             whose in `bind_dn`",
        ),
        (
            "base = \"dc=x\"\ngroup_filter = \"(member={dn})\"\n",
            "8:16: `group_filter` in [[identity.provider]]: looks nowhere: say below which entry in \
             `group_base`",
        ),
        (
            "base = \"dc=x\"\nnested = true\n",
            "8:10: `nested` in [[identity.provider]]: there are no groups: write `group_base` or \
             `member_of = true`",
        ),
        (
            "base = \"dc=x\"\nnested = true\ngroup_base = \"dc=x\"\ngroup_filter = \"(memberUid={user})\"\n",
            "10:16: `group_filter` in [[identity.provider]]: finds no groups of groups: expected {dn} \
             in it where `nested` is true",
        ),
        (
            "base = \"dc=x\"\nuser_attribute = \"a b\"\n",
            "8:18: `user_attribute` in [[identity.provider]]: \"a b\": expected the name of an \
             attribute, as in \"uid\"",
        ),
        (
            "base = \"dc=x\"\ntimeout = \"0s\"\n",
            "8:11: `timeout` in [[identity.provider]]: expected more than \"0s\"",
        ),
        (
            "base = \"dc=x\"\ntimeout = \"2m\"\n",
            "8:11: `timeout` in [[identity.provider]]: expected at most \"1m\"",
        ),
        (
            "base = \"dc=x\"\npool = 0\n",
            "8:8: `pool` in [[identity.provider]]: expected a number from 1 to 256",
        ),
        (
            "base = \"dc=x\"\ncache = \"2d\"\n",
            "8:9: `cache` in [[identity.provider]]: expected at most \"1d\"",
        ),
        (
            "base = \"dc=x\"\nunavailable = \"allow\"\n",
            "8:15: `unavailable` in [[identity.provider]]: \"allow\": expected \"block\" or \
             \"anonymous\"",
        ),
    ] {
        assert_mistake(&format!("{CORP}{URL}{rest}"), mistake);
    }
}

#[test]
fn the_files_of_providers_are_read() {
    const STAFF: &str = "[[identity.provider]]\nname = \"staff\"\nkind = \"htpasswd\"\n";
    assert_mistake(
        STAFF,
        "3:1: `file` is missing in [[identity.provider]]: name the file that `htpasswd -B` keeps",
    );
    let both = format!("{STAFF}file = \"a.txt\"\ngroups = \"g.txt\"\n");
    let found = mistakes(
        &both,
        &[
            ("a.txt", b"alice:{SHA}0nofEXcSAJSXFLGvmfBIpBb11vQ=\nbob\n"),
            ("g.txt", b"\nstaff alice\n"),
        ],
    );
    assert_eq!(
        found,
        [
            "a.txt:1: \"alice\": the password is kept as SHA-1, which is guessed too fast: make it \
             anew with `htpasswd -B`",
            "a.txt:2: expected a user, a colon, and the hash that `htpasswd -B` makes",
            "g.txt:2: expected the name of a group, a colon, and users with spaces between them",
        ]
    );
    let account = format!(
        "{CORP}{URL}base = \"dc=x\"\nbind_dn = \"cn=a\"\nbind_password_file = \"p.txt\"\nca = \"ca.pem\"\n"
    );
    let found = mistakes(&account, &[("ca.pem", b"nothing\n")]);
    assert_eq!(
        found,
        [
            "x.toml:9:22: `bind_password_file` in [[identity.provider]]: p.txt: cannot be read: \
             No such file or directory (os error 2)",
            "x.toml:10:6: `ca` in [[identity.provider]]: no certificate in the file: expected PEM",
        ]
    );
}

#[test]
fn a_password_is_one_line_that_nobody_else_can_read() {
    use sluice_gateway::identity::secret::Secret;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.txt");
    let read = |content: &str, mode: u32, path: &Path| {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        Secret::from_file(path).map(|secret| secret.reveal().to_owned())
    };
    assert_eq!(read("secret\nmore\n", 0o600, &path).unwrap(), "secret");
    assert_eq!(read(" sp ace ", 0o400, &path).unwrap(), " sp ace ");
    for (content, mode, why) in [
        ("secret", 0o640, "others can read it (mode 640)"),
        ("secret", 0o604, "others can read it (mode 604)"),
        ("\nsecret", 0o600, "the first line is empty"),
        ("", 0o600, "the first line is empty"),
    ] {
        let error = read(content, mode, &path).unwrap_err();
        assert!(error.starts_with(why), "{error}");
    }
    let error = read(&"x".repeat(4097), 0o600, &path).unwrap_err();
    assert_eq!(error, "larger than 4096 bytes");
    assert_eq!(
        Secret::from_file(folder.path()).unwrap_err(),
        "not a regular file"
    );
    let error = Secret::from_file(&folder.path().join("none")).unwrap_err();
    assert!(error.starts_with("cannot be read: "), "{error}");
}

#[test]
fn tickets_need_a_keytab_a_service_and_a_realm() {
    let kind = "[[identity.provider]]\nname = \"corp\"\nkind = \"negotiate\"\n";
    let found = mistakes(kind, &[]);
    for key in [
        "`keytab` is missing in [[identity.provider]]: name the file, as in \
         \"/etc/sluice/http.keytab\"",
        "`service` is missing in [[identity.provider]]: say it as in \"HTTP@proxy.example\"",
        "`realm` is missing in [[identity.provider]]: say whose users are accepted, as in \
         \"EXAMPLE.COM\"",
    ] {
        let mistake = format!("3:1: {key}");
        let is_told = found.iter().any(|one| one.ends_with(&mistake));
        assert!(is_told, "{mistake}: {found:?}");
    }
    let whole = format!(
        "{kind}keytab = \"/etc/sluice/http.keytab\"\nservice = \"proxy.example\"\nrealm = \
         \"EXAMPLE.COM\"\n"
    );
    let found = mistakes(&whole, &[]);
    let expected = if cfg!(feature = "kerberos") {
        "expected \"HTTP@\""
    } else {
        "--features kerberos"
    };
    assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
}
