//! What is said of a configuration that is valid.

use sluice_gateway::config::warn;

use super::parse;

#[test]
fn openings_and_doubts_are_told() {
    let config = parse(
        r#"
        midstream = "pass"
        on_failure = "open"
        [egress]
        default = "pass"
        quic = "pass"
        pass_tcp = ["22", "400-500"]
        pass_udp = ["443"]
        other_protocols = ["gre"]
        [[egress.rule]]
        name = "open web"
        from = ["10.9.0.0/16"]
        tcp = ["443"]
        action = "pass"
        [[egress.rule]]
        name = "mail in"
        to = ["198.51.100.1"]
        tcp = ["25"]
        direction = "in"
        action = "pass"
        [policy]
        block = "page"
        [[group]]
        name = "nobody"
        [[rule]]
        name = "first"
        action = "block"
        [[rule]]
        name = "second"
        when = { tls = "negotiated" }
        action = "allow"
        "#,
    );
    assert_eq!(
        warn::openings(&config),
        [
            "TCP 443 out from 10.9.0.0/16 to any, by [[egress.rule]] \"open web\": bypasses every \
             TLS rule",
            "TCP 25 in from 198.51.100.1 to any, by [[egress.rule]] \"mail in\"",
            "TCP 22 out, by `pass_tcp`",
            "TCP 400-500 out, by `pass_tcp`",
            "UDP 443 out, by `pass_udp`",
            "gre out, by `other_protocols`",
            "QUIC out, by `quic`: bypasses every TLS rule",
            "every port and protocol that nothing names, by `default`",
            "steered ports while there is no daemon, by `on_failure`",
            "TCP flows that began before sluice, by `midstream`",
        ]
    );
    assert_eq!(
        warn::warnings(&config),
        [
            "group \"nobody\" has no members: nobody is in it",
            "group \"nobody\" is used by no rule",
            "rule \"second\" is never reached: \"first\" before it decides wherever it would hold",
            "rule \"first\" blocks with a page, which TLS needs a CA for: without one the client gets \
             an alert",
            "a default blocks with a page, which TLS needs a CA for: it is an alert instead",
            "`quic = \"pass\"` lets every client bypass every TLS rule by using QUIC",
            "`pass_udp` names UDP 443, which `quic` decides: to let all of it out, write an \
             [[egress.rule]]",
            "`pass_tcp` names TCP 400-500 and `[steer]` a port of it: the port is steered",
        ]
    );
    assert_eq!(warn::notes(&config), Vec::<String>::new());
    assert!(
        warn::warnings(&parse("[steer]\ntls = []\n"))
            .contains(&"no port is steered: no flow reaches the rules".to_owned())
    );
}

/// What is warned of where a configuration has one rule and what it refers to.
fn doubts(rest: &str) -> Vec<String> {
    let mut found = warn::warnings(&parse(rest));
    found.extend(warn::notes(&parse(rest)));
    found
}

#[test]
fn what_a_rule_cannot_know_is_told() {
    let rule = |body: &str| format!("[[rule]]\nname = \"r\"\n{body}\n");
    let reach = |outcome: &str| {
        format!(
            "rule \"r\" needs the request stage, which TLS flows do not reach without a CA: \
             {outcome}"
        )
    };
    let hang = "those that hang on it are blocked as stage-unavailable";
    let forces = "rule \"r\" forces decryption of every flow that no earlier rule settles, and no CA \
                  is configured";
    for (body, expected) in [
        (
            "when = { certificate = \"expired\" }\naction = \"block\"",
            vec![],
        ),
        (
            "when = { tls = { reason = \"not-negotiated\", proof = \"probe\" } }\naction = \"block\"",
            vec![],
        ),
        (
            "when = { certificate = \"unavailable\" }\naction = \"block\"",
            vec![],
        ),
        (
            "when = { url.path = \"/upload\" }\nunless = { user = \"alice\" }\naction = \"block\"",
            vec![
                reach(hang),
                forces.into(),
                "\"alice\" is known only once somebody authenticates, or is told by `sluice identity`: no \
                 [[user]] gives them an address"
                    .into(),
            ],
        ),
        (
            "when = { url.path = \"/upload\", host = \"a.example\" }\naction = \"block\"",
            vec![reach(hang)],
        ),
        (
            "when = { method = \"POST\" }\naction = { tag = \"post\" }",
            vec![reach("it holds for none of them")],
        ),
        (
            "action = \"inspect\"",
            vec![
                "rule \"r\" decrypts, which needs a CA: without one TLS flows that it holds for are \
                 blocked as stage-unavailable"
                    .into(),
            ],
        ),
        (
            "action = { warn = \"1h\" }",
            vec![
                "rule \"r\" shows a warning, which TLS needs a CA for: without one TLS flows that it \
                 holds for are blocked as stage-unavailable"
                    .into(),
            ],
        ),
        (
            "when = { tls = \"client-rejected-ca\" }\naction = \"splice\"",
            vec![
                "rule \"r\" lets through what is `client-rejected-ca`: any client can claim that \
                 it refuses the CA"
                    .into(),
            ],
        ),
        (
            "when = { tls = \"not-negotiated\" }\naction = \"allow\"",
            vec![],
        ),
        (
            "when = { application = \"gopher\" }\naction = \"block\"",
            vec![
                "application \"gopher\" is none that first bytes are known to show: those are \
                 \"bittorrent\", \"http\", \"rdp\", \"skype\", \"smtp\", \"ssh\", \"xmpp\""
                    .into(),
            ],
        ),
        (
            "when = { host = \"a.example\", inner = \"gopher\" }\naction = \"block\"",
            vec![
                reach(hang),
                "application \"gopher\" is none that first bytes are known to show: those are \
                 \"bittorrent\", \"http\", \"rdp\", \"skype\", \"smtp\", \"ssh\", \"xmpp\""
                    .into(),
            ],
        ),
        (
            "when = { inner = { absent = true } }\naction = \"block\"",
            vec![reach(hang), forces.into()],
        ),
        (
            "when = { tls = \"negotiated\", not = { inner = \"http\" } }\naction = \"block\"",
            vec![reach(hang), forces.into()],
        ),
        (
            "when = { connect-port = \"443\", listener = \"proxy\" }\naction = \"block\"",
            vec![
                "`connect-port` asks about proxy listeners, and there is no [[proxy]]".into(),
                "`listener` asks about proxy listeners, and there is no [[proxy]]".into(),
            ],
        ),
    ] {
        assert_eq!(doubts(&rule(body)), expected, "{body}");
    }
}

#[test]
fn with_a_ca_nothing_is_said_to_need_one() {
    let ca = "[ca]\ncertificate = \"/etc/sluice/ca.pem\"\nkey = \"/etc/sluice/ca.key\"\n";
    for body in [
        "action = \"inspect\"",
        "action = { warn = \"1h\" }",
        "action = { block = \"page\" }",
        "when = { url.path = \"/upload\", host = \"a.example\" }\naction = \"block\"",
    ] {
        let rule = format!("[[rule]]\nname = \"r\"\n{body}\n");
        assert_eq!(doubts(&rule).len(), 1, "{body}");
        assert_eq!(
            doubts(&format!("{ca}{rule}")),
            Vec::<String>::new(),
            "{body}"
        );
    }
    let forces = "[[rule]]\nname = \"r\"\nwhen = { url.path = \"/a\" }\naction = \"block\"\n";
    assert_eq!(
        doubts(&format!("{ca}{forces}")),
        ["rule \"r\" forces decryption of every flow that no earlier rule settles"]
    );
    let page = "[policy]\ndefault = \"block\"\nblock = \"page\"\n";
    assert_eq!(doubts(page).len(), 1);
    assert_eq!(doubts(&format!("{page}{ca}")), Vec::<String>::new());
}

#[test]
fn a_ca_that_nothing_needs_is_told() {
    let ca = "[ca]\ncertificate = \"/etc/sluice/ca.pem\"\nkey = \"/etc/sluice/ca.key\"\n";
    let unneeded = "[ca] is configured and nothing needs it: no rule decrypts, asks about requests \
                    or shows a page";
    for body in [
        "action = \"splice\"",
        "when = { certificate = \"invalid\" }\naction = \"block\"",
        "when = { method = \"POST\" }\naction = { tag = \"post\" }",
    ] {
        let rule = format!("{ca}[[rule]]\nname = \"r\"\n{body}\n");
        assert_eq!(doubts(&rule), [unneeded], "{body}");
    }
}

#[test]
fn conditions_that_other_sections_narrow_are_told() {
    let rule = |body: &str| format!("[[rule]]\nname = \"r\"\n{body}\naction = \"block\"\n");
    let off = "rule \"r\" asks about revocation, of which `revocation = \"off\"` in [upstream] finds \
               out nothing: the condition never holds";
    let accepted = "rule \"r\" asks for `revocation-unknown`, which `revocation_unknown = \"accept\"` \
                    in [upstream] takes for valid: the condition holds only where a certificate \
                    demands a stapled answer and comes without one";
    let upstream = |settings: &str| format!("[upstream]\n{settings}\n");
    let revoked = "when = { certificate = \"revoked\" }";
    let unknown = "unless = { certificate = \"revocation-unknown\" }";
    for (settings, body, expected) in [
        ("revocation = \"off\"", revoked, vec![off]),
        ("revocation = \"off\"", unknown, vec![off]),
        ("revocation = \"staple\"", revoked, vec![]),
        ("revocation = \"staple\"", unknown, vec![accepted]),
        ("revocation_unknown = \"refuse\"", unknown, vec![]),
        (
            "revocation = \"off\"",
            "when = { certificate = \"invalid\" }",
            vec![],
        ),
        (
            "revocation = \"off\"",
            "when = { not = { certificate = [\"revoked\", \"revocation-unknown\"] } }",
            vec![off],
        ),
    ] {
        let text = upstream(settings) + &rule(body);
        assert_eq!(doubts(&text), expected, "{settings} {body}");
    }

    let ca = "[ca]\ncertificate = \"/etc/sluice/ca.pem\"\nkey = \"/etc/sluice/ca.key\"\n";
    let cleartext = "rule \"r\" asks about cleartext requests, and `http` in [steer] names no port: \
                     only those on a port of `tls` are read";
    for body in [
        "when = { host = \"a.example\", inspected = false }",
        "when = { host = \"a.example\", url = \"http://a.example/\" }",
    ] {
        let text = ca.to_owned() + &rule(body);
        assert_eq!(doubts(&text), [cleartext], "{body}");
        assert!(doubts(&format!("[steer]\nhttp = [\"80\"]\n{text}")).is_empty());
    }
    let both =
        "when = { host = \"a.example\", url = [\"http://a.example/\", \"https://a.example/\"] }";
    assert!(doubts(&(ca.to_owned() + &rule(both))).is_empty());
}

#[test]
fn what_is_empty_unused_or_doubled_is_told() {
    let config = parse(
        r#"
        [[user]]
        name = "alice"
        addresses = ["10.0.0.1"]
        [[user]]
        name = "bob"
        addresses = ["10.0.0.1", "10.0.0.2"]
        [[list]]
        name = "one"
        kind = "domains"
        entries = ["a.example", "B.example", "*.c.example", "a.example"]
        [[list]]
        name = "two"
        kind = "domains"
        entries = ["b.example", ".c.example"]
        [[list]]
        name = "three"
        kind = "domains"
        entries = ["*.c.example", "a.example."]
        [[list]]
        name = "none"
        kind = "addresses"
        [[schedule]]
        name = "never"
        [[rule]]
        name = "r"
        when = { host = ["list:one", "list:two", "list:three"], user = "carol" }
        action = "block"
        "#,
    );
    assert_eq!(
        warn::warnings(&config),
        [
            "list \"none\" is empty: nothing is in it",
            "list \"none\" is used by no rule",
            "schedule \"never\" is used by no rule",
            "users \"alice\", \"bob\" are used by no rule and no group: their names show in \
             records only",
            "lists \"one\" and \"two\" share 1 entry: b.example",
            "lists \"one\" and \"three\" share 2 entries, such as a.example",
            "two users have one address, 10.0.0.1 of \"alice\" and \"bob\": the first is meant",
        ]
    );
    assert_eq!(
        warn::notes(&config),
        [
            "\"carol\" is known only once somebody authenticates, or is told by `sluice identity`: no [[user]] gives them an address"
        ]
    );
}

#[test]
fn what_a_proxy_stands_for_is_shown_as_rules_and_needs_no_ca() {
    let config = parse(
        r#"
        [[proxy]]
        listen = ["10.20.0.1:3128"]
        [policy]
        default = "allow"
        [[rule]]
        name = "mine"
        when = { listener = "proxy", connect-host = "a.example" }
        action = { block = "page" }
        [[rule]]
        name = "and none of these"
        when = { host-mismatch = true }
        action = "block"
        "#,
    );
    assert_eq!(warn::warnings(&config), Vec::<String>::new());
    assert_eq!(warn::notes(&config), Vec::<String>::new());
    let names: Vec<_> = config
        .policy
        .rules()
        .iter()
        .map(|rule| &*rule.name)
        .collect();
    assert_eq!(
        names,
        [
            "tunnels to other ports than connect_ports (proxy)",
            "tunnels to addresses (proxy)",
            "unidentified software may not tunnel (proxy)",
            "mine",
            "and none of these",
        ]
    );
    let shown = sluice_gateway::config::show::effective(&config);
    for line in [
        "listener = \"proxy\"",
        "connect-port = 1-442 | 444-65535",
        "connect-host-is-ip = true",
        "connect-user-agent = absent",
    ] {
        assert!(shown.contains(line), "no {line} in\n{shown}");
    }
    let open = parse(
        "[[proxy]]\nlisten = [\"10.20.0.1:3128\"]\nunidentified_tunnels = \"allow\"\n\
         connect_ports = [\"1-65535\"]\nconnect_addresses = \"allow\"\n",
    );
    assert_eq!(open.policy.rules().len(), 0);
}
