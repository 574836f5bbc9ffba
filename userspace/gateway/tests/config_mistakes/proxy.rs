//! Mistakes in `[[proxy]]`, and in what rules say of proxies.

use super::{assert_mistake, mistakes};

#[test]
fn a_proxy_listens_somewhere_that_clients_can_be_told() {
    assert_mistake(
        "[[proxy]]\nname = \"a\"\n",
        "3:1: `listen` is missing in [[proxy]]: write addresses with ports, as in \
         [\"10.20.0.1:3128\"]",
    );
    for (listen, mistake) in [
        (
            "[]",
            "expected at least one address with a port, as in [\"10.20.0.1:3128\"]",
        ),
        (
            "[\"3128\"]",
            "\"3128\": expected an address with a port such as \"10.20.0.1:3128\" or \
             \"[2001:db8::1]:3128\"",
        ),
        (
            "[\"10.0.0.1:0\"]",
            "\"10.0.0.1:0\": expected a port that clients can be told, such as 3128",
        ),
        (
            "[\"10.0.0.1:1\", \"10.0.0.1:1\"]",
            "10.0.0.1:1 is listened on twice",
        ),
    ] {
        let found = mistakes(&format!("[[proxy]]\nlisten = {listen}\n"));
        let ends = format!("`listen` in [[proxy]]: {mistake}");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with(&ends), "{found:?}");
    }
}

#[test]
fn proxies_are_told_apart() {
    let two = |one: &str, other: &str| {
        format!(
            "[[proxy]]\n{one}\nlisten = [\"10.0.0.1:1\"]\n[[proxy]]\n{other}\n\
             listen = [\"10.0.0.1:2\"]\n"
        )
    };
    assert_mistake(
        &two("name = \"a\"", "name = \"a\""),
        "7:8: `name` in [[proxy]]: there are two proxies \"a\": rename one",
    );
    assert_mistake(
        &two("name = \"a\"", ""),
        "6:1: `name` is missing in [[proxy]]: give each a name where there are several",
    );
    assert_mistake(
        &two("name = \"a\"", "name = \"proxy\""),
        "7:8: `name` in [[proxy]]: \"proxy\": rules call every proxy so: choose another where \
         there are several",
    );
    assert_mistake(
        "[[proxy]]\nname = \"transparent\"\nlisten = [\"10.0.0.1:1\"]\n",
        "4:8: `name` in [[proxy]]: \"transparent\": rules call the steered flows so: choose another",
    );
}

#[test]
fn what_a_proxy_is_told_is_checked() {
    for (keys, mistake) in [
        (
            "identity = \"required\"",
            "5:12: `identity` in [[proxy]]: nobody can be asked: name providers in `identify`, or \
             `client_ca` in `tls`",
        ),
        (
            "identify = [\"a\"]\nidentity = \"never\"",
            "6:12: `identity` in [[proxy]]: \"never\": expected \"required\" or \"when-needed\"",
        ),
        (
            "identify = [\"a\"]",
            "5:13: `identify` in [[proxy]]: there is no [[identity.provider]] of that name",
        ),
        (
            "identify = [\"certificate\", \"address\"]",
            "5:13: `identify` in [[proxy]]: clients are asked for none: name who \
             issues them as `client_ca` in `tls`",
        ),
        (
            "unidentified_tunnels = \"maybe\"",
            "5:24: `unidentified_tunnels` in [[proxy]]: \"maybe\": expected \"block\" or \"allow\"",
        ),
        (
            "connect_ports = [\"https\"]",
            "5:18: `connect_ports` in [[proxy]]: \"https\": expected a port from 1 to 65535, or a \
             range such as \"1024-65535\"",
        ),
        (
            "forwarded_for = \"on\"",
            "5:17: `forwarded_for` in [[proxy]]: \"on\": expected one of \"off\", \"set\", \
             \"append\"",
        ),
        (
            "via = \"yes\"",
            "5:7: `via` in [[proxy]]: expected true or false, found a text",
        ),
        (
            "tls = { key = \"a.key\" }",
            "5:15: `key` in `tls` in [[proxy]]: \"a.key\": a configuration that is no file itself \
             can name none",
        ),
    ] {
        let text = format!("[[proxy]]\nlisten = [\"10.0.0.1:1\"]\n{keys}\n");
        let found = mistakes(&text);
        assert!(found.contains(&mistake.to_owned()), "{keys}: {found:?}");
    }
}

#[test]
fn a_rule_speaks_of_listeners_that_are_there() {
    let rule = |listener: &str| {
        format!(
            "[[proxy]]\nname = \"guests\"\nlisten = [\"10.0.0.1:1\"]\n[[rule]]\nname = \"r\"\n\
             when = {{ listener = \"{listener}\" }}\naction = \"block\"\n"
        )
    };
    assert_mistake(
        &rule("guest"),
        "8:21: `listener` in `when`: \"guest\": there is no listener \"guest\": did you mean \
         \"guests\"?",
    );
    assert_mistake(
        &rule("elsewhere"),
        "8:21: `listener` in `when`: \"elsewhere\": there is no listener \"elsewhere\": write a \
         [[proxy]] of that name, \"proxy\" or \"transparent\"",
    );
}
