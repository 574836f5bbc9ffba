//! What every kind of mistake in a configuration is answered with.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod conditions;
mod files;
mod names;
mod providers;
mod proxy;

use std::path::Path;

use sluice_gateway::config::{Config, ConfigError};

const LAN: &str = "[gateway]\nlan = [\"lan0\"]\n";

/// The messages of a configuration whose own lines begin at 3, without the name of the file.
fn mistakes(rest: &str) -> Vec<String> {
    let error = Config::parse(&format!("{LAN}{rest}"), "x.toml").unwrap_err();
    error
        .to_string()
        .lines()
        .map(|line| line.replacen("x.toml:", "", 1))
        .collect()
}

#[track_caller]
fn assert_mistake(rest: &str, expected: &str) {
    assert_eq!(mistakes(rest), [expected], "{rest}");
}

#[test]
fn unknown_keys_are_refused() {
    assert_mistake(
        "[egres]\n",
        "3:2: unknown key `egres` in the file: did you mean `egress`?",
    );
    assert_mistake(
        "[splice]\nidle_timout = \"1s\"\n",
        "4:1: unknown key `idle_timout` in [splice]: did you mean `idle_timeout`?",
    );
    assert_mistake(
        "[log]\ncolour = 1\n",
        "4:1: unknown key `colour` in [log]: expected one of `access`, `format`, `when_full`, \
         `queue_limit`, `rotate_size`, `rotate_keep`, `addresses`, `users`, `pseudonym_period`, \
         `urls`, `packets`",
    );
    assert_mistake(
        "[[rule]]\nname = \"a\"\nwhen = { hots = \"a\" }\naction = \"allow\"\n",
        "5:10: unknown key `hots` in `when`: did you mean `host`?",
    );
    let missing = Config::parse("[gateway]\nlna = [\"lan0\"]\n", "x.toml").unwrap_err();
    assert_eq!(
        missing.to_string(),
        "x.toml:1:1: `lan` is missing in [gateway]: name the devices behind which the clients \
         are, as in [\"lan0\"]\nx.toml:2:1: unknown key `lna` in [gateway]: did you mean `lan`?"
    );
}

#[test]
fn what_the_guard_is_told_is_checked() {
    for (text, mistake) in [
        (
            "[guard]\nalow = []\n",
            "4:1: unknown key `alow` in [guard]: did you mean `allow`?",
        ),
        (
            "[guard]\nallow = [\"10.0.0.1/8\"]\n",
            "4:10: `allow` in [guard]: \"10.0.0.1/8\": the address has bits beyond its prefix: write \
             \"10.0.0.0/8\" or a longer prefix",
        ),
        (
            "[guard]\nallow = [\"0.0.0.0/0\"]\n",
            "4:10: `allow` in [guard]: \"0.0.0.0/0\": would open every private network: write those \
             that are meant",
        ),
        (
            "[guard]\nallow = [\"10.0.0.0/8\", \"127.0.0.0/8\"]\n",
            "4:24: `allow` in [guard]: \"127.0.0.0/8\": loopback, link-local and metadata addresses \
             are opened one by one: write the single address",
        ),
        (
            "[guard]\nallow = [\"224.0.0.251\"]\n",
            "4:10: `allow` in [guard]: \"224.0.0.251\": nobody is connected to there, whatever is \
             allowed: take it out",
        ),
        (
            "[guard]\nown = [\"203.0.113.0/24\"]\n",
            "4:8: `own` in [guard]: \"203.0.113.0/24\": expected an address, as in \"203.0.113.7\" or \
             \"2001:db8::7\"",
        ),
        (
            "[guard]\nnat64 = [\"64:ff9b:1::/49\"]\n",
            "4:10: `nat64` in [guard]: \"64:ff9b:1::/49\": expected a prefix of IPv6 of 32, 40, 48, 56, \
             64 or 96 bits, as in \"64:ff9b:1::/48\"",
        ),
        (
            "[guard]\nnat64 = [\"10.0.0.0/8\"]\n",
            "4:10: `nat64` in [guard]: \"10.0.0.0/8\": expected a prefix of IPv6 of 32, 40, 48, 56, \
             64 or 96 bits, as in \"64:ff9b:1::/48\"",
        ),
    ] {
        assert_mistake(text, mistake);
    }
}

#[test]
fn how_long_addresses_stand_for_somebody_is_checked() {
    for (text, mistake) in [
        (
            "[identity]\nttl = \"0s\"\n",
            "4:7: `ttl` in [identity]: \"0s\": expected more than \"0s\"",
        ),
        (
            "[identity]\nttl = 8\n",
            "4:7: `ttl` in [identity]: expected a text in quotes, found the number 8",
        ),
        (
            "[identity]\nttl = \"400d\"\n",
            "4:7: `ttl` in [identity]: \"400d\": a duration of more than 366 days: write a shorter one",
        ),
        (
            "[identity]\nlimit = 0\n",
            "4:9: `limit` in [identity]: expected a number from 1 to 1048576",
        ),
        (
            "[identity]\nlimit = 1048577\n",
            "4:9: `limit` in [identity]: expected a number from 1 to 1048576",
        ),
        (
            "[identity]\nproxy_stands_for_address = true\n",
            "4:28: `proxy_stands_for_address` in [identity]: expected a text in quotes, found true",
        ),
        (
            "[identity]\nproxy_stand_for_address = \"1h\"\n",
            "4:1: unknown key `proxy_stand_for_address` in [identity]: did you mean \
             `proxy_stands_for_address`?",
        ),
    ] {
        assert_mistake(text, mistake);
    }
}

#[test]
fn how_origins_and_clients_are_met_is_checked() {
    for (text, mistake) in [
        (
            "[intercept]\nhandshake_timout = \"1s\"\n",
            "4:1: unknown key `handshake_timout` in [intercept]: did you mean `handshake_timeout`?",
        ),
        (
            "[intercept]\nrejected_ttl = \"0s\"\n",
            "4:16: `rejected_ttl` in [intercept]: expected more than \"0s\"",
        ),
        (
            "[steer]\nsni_truth = \"dail\"\n",
            "4:13: `sni_truth` in [steer]: \"dail\": expected one of \"off\", \"check\", \"dial\": did you \
             mean \"dial\"?",
        ),
        (
            "[resolver]\nservers = [\"ns.example\"]\n",
            "4:12: `servers` in [resolver]: \"ns.example\": expected an address, as in \
             \"192.0.2.53\" or \"[2001:db8::53]:5353\"",
        ),
        (
            "[resolver]\nattempt_delay = \"5ms\"\n",
            "4:17: `attempt_delay` in [resolver]: expected from \"10ms\" to \"2s\"",
        ),
        (
            "[upstream]\nrevocation = \"crl\"\n",
            "4:14: `revocation` in [upstream]: names no revocation lists to look into: add `crls = \
             [\"FILE\"]`, or write \"staple\"",
        ),
        (
            "[upstream]\nrevocation = \"ocsp\"\n",
            "4:14: `revocation` in [upstream]: \"ocsp\": expected one of \"off\", \"staple\", \"crl\"",
        ),
        (
            "[upstream]\nsystem_roots = false\n",
            "4:16: `system_roots` in [upstream]: leaves nobody to trust: name files in `roots`",
        ),
        (
            "[upstream]\nclient_certificate = \"send\"\n",
            "4:22: `client_certificate` in [upstream]: \"send\": expected \"refuse\" or \"empty\"",
        ),
    ] {
        assert_mistake(text, mistake);
    }
}

#[test]
fn where_records_go_and_what_they_tell_is_checked() {
    const SINKS: &str = "expected \"stdout\", \"stderr\", \"file:/var/log/sluice/access.jsonl\", \
                         \"journald\", \"syslog:unix:/dev/log\", \"syslog:udp://HOST:PORT\" or \
                         \"syslog:tcp://HOST:PORT\"";
    const SERVER: &str = "expected a host and a port, such as \"logs.example:514\", \
                          \"192.0.2.9:514\" or \"[2001:db8::9]:514\"";
    assert_mistake(
        "[log]\naccess = [\"stdin\"]\n",
        &format!("4:11: `access` in [log]: \"stdin\": {SINKS}"),
    );
    assert_mistake(
        "[log]\naccess = [\"syslog:udp://logs.example\"]\n",
        &format!("4:11: `access` in [log]: \"syslog:udp://logs.example\": {SERVER}"),
    );
    for (text, mistake) in [
        (
            "access = [\"file:access.jsonl\"]",
            "4:11: `access` in [log]: \"file:access.jsonl\": expected a path that begins with /",
        ),
        (
            "access = [\"journald\", \"journald:/run/systemd/journal/socket\"]",
            "4:10: `access` in [log]: \"journald\" stands there twice: take one out",
        ),
        (
            "access = []\nwhen_full = \"block\"",
            "5:13: `when_full` in [log]: \"block\": there is no sink in `access` that could be full: \
             name one",
        ),
        (
            "when_full = \"wait\"",
            "4:13: `when_full` in [log]: \"wait\": expected \"drop\" or \"block\"",
        ),
        (
            "format = \"csv\"",
            "4:10: `format` in [log]: \"csv\": expected \"sluice\" or \"ecs\"",
        ),
        (
            "queue_limit = \"1KiB\"",
            "4:15: `queue_limit` in [log]: expected a size from \"256KiB\" to \"1GiB\"",
        ),
        (
            "rotate_size = \"1KiB\"",
            "4:15: `rotate_size` in [log]: expected \"0B\" for never, or a size from \"64KiB\" to \
             \"1024GiB\"",
        ),
        (
            "rotate_keep = 0",
            "4:15: `rotate_keep` in [log]: expected a number from 1 to 1000",
        ),
        (
            "addresses = \"none\"",
            "4:13: `addresses` in [log]: \"none\": expected \"full\" or \"truncate\"",
        ),
        (
            "users = \"hash\"",
            "4:9: `users` in [log]: \"hash\": expected \"plain\" or \"pseudonym\"",
        ),
        (
            "pseudonym_period = \"0s\"",
            "4:20: `pseudonym_period` in [log]: expected more than \"0s\"",
        ),
        (
            "urls = \"path\"",
            "4:8: `urls` in [log]: \"path\": expected one of \"full\", \"no-query\", \"host\"",
        ),
        (
            "packets = \"never\"",
            "4:11: `packets` in [log]: \"never\": expected \"off\", or how often, such as \"10s\" or \
             \"5m\"",
        ),
        (
            "packets = \"100ms\"",
            "4:11: `packets` in [log]: \"100ms\": expected \"off\", or a duration from \"1s\" to \
             \"1h\"",
        ),
    ] {
        assert_mistake(&format!("[log]\n{text}\n"), mistake);
    }
}

#[test]
fn what_a_later_version_brings_is_refused() {
    assert_mistake(
        "[[rule]]\nname = \"a\"\nexpires = \"2027-01-01\"\naction = \"allow\"\n",
        "5:1: `expires` in [[rule]] is not yet supported in this version: take it out",
    );
    assert_mistake(
        "[log]\nlevel = \"debug\"\n",
        "4:1: `level` in [log] is not yet supported in this version: take it out",
    );
}

#[test]
fn a_ca_names_two_files_and_at_most_one_passphrase() {
    let ca = |more: &str| {
        format!("[ca]\ncertificate = \"/etc/ca.pem\"\nkey = \"/etc/ca.key\"\n{more}\n")
    };
    assert_mistake(
        "[ca]\ncertificate = \"/etc/ca.pem\"\n",
        "3:1: `key` is missing in [ca]: name the file, as in \"/etc/sluice/ca.key\"",
    );
    assert_mistake(
        "[ca]\nkey = \"/etc/ca.key\"\ncertificate = \"ca.pem\"\n",
        "5:15: `certificate` in [ca]: \"ca.pem\": expected a path that begins with /",
    );
    for (more, mistake) in [
        (
            "leaf_validty = \"7d\"",
            "6:1: unknown key `leaf_validty` in [ca]: did you mean `leaf_validity`?",
        ),
        (
            "leaf_validity = \"91d\"",
            "6:17: `leaf_validity` in [ca]: expected a duration from \"1h\" to \"90d\"",
        ),
        (
            "leaf_backdate = \"31d\"",
            "6:17: `leaf_backdate` in [ca]: expected a duration from \"0s\" to \"30d\"",
        ),
        (
            "leaf_cache = 0",
            "6:14: `leaf_cache` in [ca]: expected a number from 1 to 16777216",
        ),
        (
            "mint_burst = 0",
            "6:14: `mint_burst` in [ca]: expected a number from 1 to 1000000",
        ),
        (
            "passphrase_credential = \"../x\"",
            "6:25: `passphrase_credential` in [ca]: \"../x\": expected the name of a credential, as \
             in \"sluice-ca\"",
        ),
        (
            "passphrase_file = \"/a\"\npassphrase_credential = \"b\"",
            "7:25: `passphrase_credential` in [ca]: a key has one passphrase: take this out, or \
             `passphrase_file`",
        ),
    ] {
        assert_mistake(&ca(more), mistake);
    }
}

#[test]
fn wrong_types_and_values_are_refused() {
    assert_mistake(
        "[egress]\nquic = true\n",
        "4:8: `quic` in [egress]: expected a text in quotes, found true",
    );
    assert_mistake(
        "[egress]\nquic = \"rejct\"\n",
        "4:8: `quic` in [egress]: \"rejct\": expected one of \"reject\", \"drop\", \"pass\": did you \
         mean \"reject\"?",
    );
    assert_mistake(
        "[egress]\npass_tcp = \"22\"\n",
        "4:12: `pass_tcp` in [egress]: expected a list of texts in quotes, found a text",
    );
    assert_mistake(
        "[egress]\npass_tcp = [22]\n",
        "4:13: `pass_tcp` in [egress]: expected a text in quotes, found the number 22",
    );
    assert_mistake(
        "[egress]\nblock_tcp = [\"65535-1024\"]\n",
        "4:14: `block_tcp` in [egress]: \"65535-1024\": the range ends before it begins: write \
         \"1024-65535\"",
    );
    assert_mistake(
        "[egress]\ninbound_tcp = \"pass\"\n",
        "4:15: `inbound_tcp` in [egress]: \"pass\": expected \"drop\": let single ports in by an \
         [[egress.rule]] with direction = \"in\"",
    );
    assert_mistake(
        "[egress]\nother_protocols = [\"tcp\"]\n",
        "4:20: `other_protocols` in [egress]: \"tcp\": TCP and UDP are named by their ports: use \
         `tcp` or `udp`",
    );
    assert_mistake(
        "[egress]\nflow_limit = 262145\n",
        "4:14: `flow_limit` in [egress]: expected a number from 1 to 262144",
    );
    assert_mistake(
        "[splice]\nidle_timeout = \"1 hour\"\n",
        "4:16: `idle_timeout` in [splice]: \"1 hour\": expected a duration such as \"250ms\", \
         \"5s\", \"10m\", \"1h\" or \"7d\"",
    );
    assert_mistake(
        "[splice]\nbulk_after = \"256KB\"\n",
        "4:14: `bulk_after` in [splice]: \"256KB\": expected a size such as \"512B\", \"64KiB\" or \
         \"1MiB\"",
    );
    assert_mistake(
        "[steer]\nhello_limit = \"1MiB\"\n",
        "4:15: `hello_limit` in [steer]: expected a size from \"512B\" to \"64KiB\"",
    );
    assert_mistake(
        "[steer]\nhello_timeout = \"0s\"\n",
        "4:17: `hello_timeout` in [steer]: expected more than \"0s\"",
    );
    assert_mistake(
        "[admin]\nlisten = [\"0.0.0.0:9443\"]\ndanger_plaintext = true\n",
        "4:10: `listen` in [admin]: \"0.0.0.0:9443\": others than this machine can ask there: name \
         a file with a token by `token_file`, or who issues clients' certificates by `client_ca` \
         in `tls`",
    );
    assert_mistake(
        "table = 254\n",
        "3:9: `table` in [gateway]: tables 253 to 255 are the system's own: choose another, such \
         as 5100",
    );
    assert_mistake(
        "state_dir = \"here\"\n",
        "3:13: `state_dir` in [gateway]: \"here\": expected a path that begins with /",
    );
    let lan = Config::parse("[gateway]\nlan = [\"lo\", \"*\"]\n", "x.toml").unwrap_err();
    assert_eq!(
        lan.to_string(),
        "x.toml:2:8: `lan` in [gateway]: \"lo\": clients are never behind this device: name the \
         LAN device\nx.toml:2:14: `lan` in [gateway]: \"*\": expected the name of a device such as \
         \"lan0\", or the beginning of several such as \"vlan*\""
    );
}

#[test]
fn mistakes_in_rules_are_refused() {
    let rule = |rest: &str| format!("[[rule]]\nname = \"a\"\n{rest}\n");
    assert_mistake(
        &rule("when = { host = \"a.example\" }"),
        "3:1: `action` is missing in [[rule]]: write \"allow\", \"splice\" or { block = \"page\" }",
    );
    assert_mistake(
        &rule("action = \"alow\""),
        "5:10: `action` in [[rule]]: \"alow\": expected one of \"allow\", \"splice\", \"inspect\", \
         \"block\", \"skip\", \"no-log\": did you mean \"allow\"?",
    );
    assert_mistake(
        &rule("action = { block = \"pag\" }"),
        "5:20: `block` in `action`: \"pag\": expected one of \"alert\", \"page\", \"reset\": did you \
         mean \"page\"?",
    );
    assert_mistake(
        &rule("action = { block = \"alert\", message = \"No.\" }"),
        "5:39: `message` in `action`: only a page has room for a message: write block = \"page\"",
    );
    assert_mistake(
        &rule("action = { }"),
        "5:10: `action` in [[rule]]: expected { block = \"page\" }, { warn = \"1h\" } or { tag = \
         \"word\" }",
    );
    assert_mistake(
        &rule("action = \"warn\""),
        "5:10: `action` in [[rule]]: \"warn\": say how often, as in { warn = \"1h\" }",
    );
    assert_mistake(
        &rule("action = \"tag\""),
        "5:10: `action` in [[rule]]: \"tag\": say which, as in { tag = \"word\" }",
    );
    assert_mistake(
        &rule("action = { block = \"page\", tag = \"a\" }"),
        "5:34: `tag` in `action`: a rule does one thing: write a rule of its own for `tag`",
    );
    assert_mistake(
        &rule("action = { warn = \"1500ms\" }"),
        "5:19: `warn` in `action`: \"1500ms\": expected whole seconds, at least \"1s\"",
    );
    assert_mistake(
        &rule("action = { warm = \"1h\" }"),
        "5:12: unknown key `warm` in `action`: did you mean `warn`?",
    );
    assert_mistake(
        &rule("action = { tag = \"\" }"),
        "5:18: `tag` in `action`: \"\": expected one line of at most 200 bytes",
    );
    assert_mistake(
        &rule("action = { tag = \"a\", message = \"No.\" }"),
        "5:33: `message` in `action`: nobody is shown a message here: take it out",
    );
    assert_mistake(
        &rule("action = \"allow\"\ntags = \"a\""),
        "6:8: `tags` in [[rule]]: expected a list of texts in quotes, found a text",
    );
    assert_mistake(
        &rule("action = \"allow\"\ncomment = 1"),
        "6:11: `comment` in [[rule]]: expected a text in quotes, found the number 1",
    );
    assert_mistake(
        &rule("tags = [\"a\"]\n[[rule.rule]]\nname = \"b\"\naction = \"allow\""),
        "5:8: `tags` in [[rule]]: a container has no record: write `tags` in the rules inside",
    );
    assert_mistake(
        &rule("action = \"skip\""),
        "5:10: `action` in [[rule]]: \"skip\" leaves a container, and this rule lies in none",
    );
    assert_mistake(
        &rule("action = \"splice\"\nfinal = false"),
        "6:9: `final` in [[rule]]: only an allow or a block can be overridden by a later rule",
    );
    assert_mistake(
        &rule("action = \"allow\"\n[[rule.rule]]\nname = \"b\"\naction = \"allow\""),
        "5:10: `action` in [[rule]]: a rule with rules inside is a container and has no action of \
         its own",
    );
    assert_mistake(
        &format!(
            "{}{}",
            rule("action = \"allow\""),
            rule("action = \"allow\"")
        ),
        "7:8: `name` in [[rule]]: there are two rules \"a\": rename one",
    );
}

#[test]
fn mistakes_in_egress_rules_are_refused() {
    let rule = |rest: &str| format!("[[egress.rule]]\nname = \"a\"\n{rest}\n");
    assert_mistake(
        &rule("udp = [\"500\"]"),
        "3:1: `action` is missing in [[egress.rule]]: write \"pass\", \"reject\" or \"drop\"",
    );
    assert_mistake(
        &rule("direction = \"in\"\naction = \"reject\""),
        "6:10: `action` in [[egress.rule]]: what comes from outside gets no answer: write \"drop\"",
    );
    assert_mistake(
        &rule("from = []\naction = \"pass\""),
        "5:8: `from` in [[egress.rule]]: an empty list matches nothing: take the key out, and any \
         address matches",
    );
    assert_mistake(
        &rule("protocol = [\"icmp\"]\naction = \"pass\""),
        "5:13: `protocol` in [[egress.rule]]: \"icmp\": ICMP, ICMPv6 and IGMP have rules of their \
         own: see `icmp_rate`",
    );
    let many: String = (0..64)
        .map(|n| {
            format!(
                "[[egress.rule]]\nname = \"r{n}\"\nfrom = [\"10.0.{n}.0/24\"]\ntcp = [\"{}\"]\n\
                 action = \"pass\"\n",
                n + 100
            )
        })
        .collect();
    let [message] = mistakes(&format!("[egress]\n{many}")).try_into().unwrap();
    assert!(
        message.starts_with("3:1: the `from` lists of the egress rules \"r0\""),
        "{message}"
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    assert_eq!(
        mistakes("workers = \"3\"\n[egress]\nquic = 1\n[[rule]]\nname = \"a\"\naction = \"b\"\n"),
        [
            "3:11: `workers` in [gateway]: expected a number, found a text",
            "5:8: `quic` in [egress]: expected a text in quotes, found the number 1",
            "8:10: `action` in [[rule]]: \"b\": expected one of \"allow\", \"splice\", \
             \"inspect\", \"block\", \"skip\", \"no-log\"",
        ]
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let error = Config::parse("[gateway\nlan = [\"lan0\"]\n", "x.toml").unwrap_err();
    assert_eq!(
        error.to_string(),
        "x.toml:1:9: not TOML: unclosed table, expected `]`"
    );
    let error = Config::parse("[a]\n[a]\n", "x.toml").unwrap_err();
    assert_eq!(error.to_string(), "x.toml:2:2: not TOML: duplicate key");
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nowhere/x.toml")).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/x.toml: cannot be read: "),
        "{error}"
    );
}
