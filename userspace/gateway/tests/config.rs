//! Reading configurations: what is accepted, and what every kind of mistake is answered with.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{path::Path, time::Duration};

use proptest::prelude::*;
use sluice_gateway::config::{
    AccessLog, AdminListener, Config, ConfigError, DEFAULT, Midstream, OnFailure, show, warn,
};
use sluice_policy::{
    Cause, Decision, Facts, FirstBytes, Hello, NotNegotiated, Outcome, kernel::EgressAction,
};

const LAN: &str = "[gateway]\nlan = [\"lan0\"]\n";

fn parse(rest: &str) -> Config {
    Config::parse(&format!("{LAN}{rest}"), "x.toml").unwrap_or_else(|error| panic!("{error}"))
}

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

fn example(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    Config::load(&path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_example_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(show::effective(&config).contains("rules, in order:"));
            found += 1;
        }
    }
    assert!(found >= 3, "the examples are missing");
}

#[test]
fn every_example_of_the_policy_reference_is_valid() {
    let reference = include_str!("../../policy/README.md");
    let blocks: Vec<_> = reference
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    for block in &blocks {
        let text = format!("{LAN}{block}");
        let config = Config::parse(&text, "README.md").unwrap_or_else(|e| panic!("{block}\n{e}"));
        assert!(
            !config.policy.rules().is_empty() || !config.egress.rules.is_empty(),
            "{block}"
        );
    }
    assert!(blocks.len() >= 15, "the reference has lost its examples");
}

#[test]
fn the_documented_default_is_the_default() {
    let documented = Config::parse(DEFAULT, "default.toml").unwrap_or_else(|e| panic!("{e}"));
    let empty = parse("");
    assert_eq!(show::effective(&documented), show::effective(&empty));
    assert_eq!(format!("{documented:?}"), format!("{empty:?}"));
}

#[test]
fn values_arrive_typed() {
    let config = Config::parse(
        r#"
        [gateway]
        lan = ["lan0", "vlan*"]
        on_failure = "open"
        midstream = "pass"
        workers = 3
        mark = "0x300/0x700"
        listener_port = 6000
        [egress]
        default = "drop"
        quic = "pass"
        other_protocols = ["esp", "132"]
        icmp_rate = "20/s"
        flow_limit = 1000
        [steer]
        tls = ["443", "8443-8444"]
        hello_timeout = "250ms"
        hello_limit = "16KiB"
        [splice]
        idle_timeout = "0s"
        total_timeout = "2h"
        [admin]
        listen = ["[::1]:9000", "unix:/run/a.sock"]
        [log]
        access = ["stderr"]
        "#,
        "x.toml",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    assert!(
        config
            .gateway
            .lan
            .iter()
            .any(|device| device.matches("vlan7"))
    );
    assert_eq!(config.gateway.on_failure, OnFailure::Open);
    assert_eq!(config.gateway.midstream, Midstream::Pass);
    assert_eq!(config.gateway.workers, Some(3));
    assert_eq!(config.gateway.marks.steer, 0x300);
    assert_eq!(config.gateway.listener_port, 6000);
    assert_eq!(config.egress.default, EgressAction::Drop);
    assert_eq!(config.egress.other_protocols, [50, 132]);
    assert_eq!(config.egress.icmp_per_second, 20);
    assert!(config.steer.ports.contains(8444));
    assert_eq!(config.steer.hello_timeout, Duration::from_millis(250));
    assert_eq!(config.steer.hello_limit, 16 << 10);
    assert_eq!(config.splice.idle_timeout, None);
    assert_eq!(config.splice.total_timeout, Some(Duration::from_secs(7200)));
    assert_eq!(
        config.admin.listen[0],
        AdminListener::Tcp("[::1]:9000".parse().unwrap())
    );
    assert_eq!(config.log.access, [AccessLog::Stderr]);
    let cell = config.kernel_policy(9).unwrap().cell;
    assert_eq!((cell.generation, cell.flow_limit), (9, 1000));
    assert_eq!(cell.listener_port, 6000u16.to_be());
}

fn decide(config: &Config, client: &str, bytes: FirstBytes<'_>) -> (Outcome, Option<String>) {
    let facts = Facts::opened(client.parse().unwrap(), "192.0.2.9".parse().unwrap(), 443);
    match config.policy.decide(&facts.with_first_bytes(bytes)) {
        Decision::Decided(decided) => {
            let rule = decided.cause.rule().and_then(|id| config.policy.rule(id));
            (decided.outcome, rule.map(|rule| rule.name.clone()))
        }
        Decision::Undecided(undecided) => panic!("{undecided:?}"),
    }
}

fn hello(host: Option<&str>) -> FirstBytes<'_> {
    FirstBytes::Hello(Hello {
        host,
        alpn: Default::default(),
        ja4: "",
        ech: false,
    })
}

#[test]
fn the_recipe_blocks_whoever_does_not_negotiate() {
    let config = example("skype.toml");
    let page = Outcome::Block(sluice_policy::BlockKind::Page);
    for reason in NotNegotiated::ALL {
        let bytes = FirstBytes::Other(reason);
        for stranger in ["10.20.5.1", "fd00:20:5::1"] {
            let (outcome, rule) = decide(&config, stranger, bytes);
            assert_eq!(outcome, page, "{reason:?}");
            assert_eq!(
                rule.as_deref(),
                Some("Skype, except for the Allow Skype group")
            );
        }
        for member in ["10.20.4.1", "fd00:20:4::1"] {
            assert_eq!(
                decide(&config, member, bytes).0,
                Outcome::Allow,
                "{reason:?}"
            );
        }
    }
    assert_eq!(
        decide(&config, "10.20.5.1", hello(Some("a.example"))),
        (Outcome::Allow, None)
    );
    let alert = Outcome::Block(sluice_policy::BlockKind::Alert);
    assert_eq!(decide(&config, "10.20.5.1", hello(None)), (alert, None));
    assert_eq!(decide(&config, "10.20.4.1", hello(None)).0, Outcome::Allow);
}

#[test]
fn what_needs_no_first_bytes_is_decided_at_once() {
    let config = parse(
        "[[rule]]\nname = \"all\"\nwhen = { client = \"10.0.0.0/8\" }\naction = \"splice\"\n",
    );
    let facts = Facts::opened(
        "10.1.1.1".parse().unwrap(),
        "192.0.2.9".parse().unwrap(),
        443,
    );
    let Decision::Decided(decided) = config.policy.decide(&facts) else {
        panic!("undecided")
    };
    assert_eq!(decided.outcome, Outcome::Splice);
    assert!(matches!(decided.cause, Cause::Rule(_)));
}

#[test]
fn every_condition_and_action_of_this_version_is_read() {
    let config = parse(
        r#"
        [[group]]
        name = "g"
        members = ["10.0.0.1", "2001:db8::/32", "group:h"]
        [[group]]
        name = "h"
        members = ["10.0.1.0/24"]
        [[rule]]
        name = "all"
        when = { client = "10.0.0.0/8", destination = ["192.0.2.1", "2001:db8::1"], port = "443", listener = "transparent", group = ["g", "h"] }
        unless = { host = ["a.example", "*.b.example", { absent = true }], host-is-ip = true }
        not = { alpn = ["h2", { absent = true }], ja4 = "t13d*", ech = true }
        action = { block = "page", message = "No." }
        [[rule]]
        name = "reasons"
        when = { tls = ["sslv2-hello", "zero-length-record"], not = { tls = { reason = "timeout" } } }
        action = "block"
        final = false
        [[rule]]
        name = "off"
        enabled = false
        action = "allow"
        [[rule]]
        name = "container"
        when = { tls = "negotiated" }
        [[rule.rule]]
        name = "leave"
        when = { port = "8000-9000" }
        action = "skip"
        [[rule.rule]]
        name = "inside"
        action = { block = "reset" }
        "#,
    );
    let names: Vec<_> = config
        .policy
        .rules()
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["all", "reasons", "container / leave", "container / inside"]
    );
    assert_eq!(config.policy.rules()[0].message.as_deref(), Some("No."));
    let shown = show::effective(&config);
    for part in [
        "unless host = a.example | *.b.example | absent or host-is-ip = true",
        "not (alpn = h2 | absent and ja4 = t13d* and ech = true)",
        "2. \"reasons\": block (alert), unless a later rule decides",
        "\"g\": 10.0.0.1, 2001:db8::/32, group:h",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
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
        "4:1: unknown key `colour` in [log]: expected one of `access`",
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
fn what_a_later_version_brings_is_refused() {
    for section in ["user", "list", "schedule", "proxy"] {
        assert_mistake(
            &format!("[[{section}]]\nname = \"a\"\n"),
            &format!(
                "3:3: `{section}` in the file is not yet supported in this version: take it out"
            ),
        );
    }
    assert_mistake(
        "[ca]\ncertificate = \"a\"\n",
        "3:2: `ca` in the file is not yet supported in this version: take it out",
    );
    for (key, value) in [
        ("user", "\"alice\""),
        ("schedule", "\"a\""),
        ("certificate", "\"expired\""),
        ("url", "\"a\""),
        ("application", "\"skype\""),
        ("tls-version", "\"1.2\""),
        ("connect-user-agent", "{ absent = true }"),
    ] {
        assert_mistake(
            &format!("[[rule]]\nname = \"a\"\nwhen = {{ {key} = {value} }}\naction = \"allow\"\n"),
            &format!("5:10: `{key}` in `when` is not yet supported in this version: take it out"),
        );
    }
    for action in ["inspect", "no-log"] {
        assert_mistake(
            &format!("[[rule]]\nname = \"a\"\naction = \"{action}\"\n"),
            &format!(
                "5:10: `action` in [[rule]]: \"{action}\": not yet supported in this version: take \
                 the rule out"
            ),
        );
    }
    assert_mistake(
        "[[rule]]\nname = \"a\"\naction = { warn = \"1h\" }\n",
        "5:12: `warn` in `action` is not yet supported in this version: take it out",
    );
    for reason in [
        "no-common-version",
        "client-rejected-ca",
        "origin-handshake-failed",
    ] {
        assert_mistake(
            &format!(
                "[[rule]]\nname = \"a\"\nwhen = {{ tls = \"{reason}\" }}\naction = \"allow\"\n"
            ),
            &format!(
                "5:16: `tls` in `when`: \"{reason}\": not yet supported in this version, which \
                 knows what the client's first bytes tell: name another reason"
            ),
        );
    }
    assert_mistake(
        "[[rule]]\nname = \"a\"\nwhen = { tls = { reason = \"silent\", proof = \"probe\" } }\n\
         action = \"allow\"\n",
        "5:37: `proof` in `tls` is not yet supported in this version: take it out",
    );
    assert_mistake(
        "[[rule]]\nname = \"a\"\nwhen = { host = \"list:banks\" }\naction = \"allow\"\n",
        "5:17: `host` in `when`: \"list:banks\": lists are not yet supported in this version: write \
         the names",
    );
    assert_mistake(
        "[steer]\nhttp = [\"80\"]\n",
        "4:8: `http` in [steer]: requests are not yet understood in this version: write []",
    );
    assert_mistake(
        "[steer]\nsni_truth = \"dial\"\n",
        "4:13: `sni_truth` in [steer]: not yet supported in this version: write \"off\"",
    );
    assert_mistake(
        "[steer]\nstrict_hrr = true\n",
        "4:14: `strict_hrr` in [steer]: not yet supported in this version: write false",
    );
    assert_mistake(
        "[policy]\nshadow = \"a.toml\"\n",
        "4:1: `shadow` in [policy] is not yet supported in this version: take it out",
    );
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
        "[admin]\nlisten = [\"0.0.0.0:9443\"]\n",
        "4:11: `listen` in [admin]: \"0.0.0.0:9443\": only loopback is supported in this version, \
         since nobody is asked who they are: write \"127.0.0.1:9443\" or \"[::1]:9443\"",
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
fn mistakes_in_groups_are_refused() {
    let group = |members: &str| format!("[[group]]\nname = \"a\"\nmembers = [{members}]\n");
    assert_mistake(
        &group("\"alice\""),
        "5:12: `members` in [[group]]: \"alice\": users are not yet supported in this version, \
         they come with the proxy: expected an address, a CIDR or \"group:NAME\"",
    );
    assert_mistake(
        &group("\"10.0.0.1/8\""),
        "5:12: `members` in [[group]]: \"10.0.0.1/8\": the address has bits beyond its prefix: \
         write \"10.0.0.0/8\" or a longer prefix",
    );
    assert_mistake(
        &group("\"group:b\""),
        "5:12: `members` in [[group]]: \"group:b\": there is no group \"b\": write a [[group]] of \
         that name",
    );
    assert_mistake(
        &group("\"group:a\""),
        "5:11: `members` in [[group]]: the group is a member of itself: take one of the \"group:\" \
         members out",
    );
    assert_mistake(
        &format!("{}{}", group(""), group("")),
        "7:8: `name` in [[group]]: there are two groups \"a\": rename one",
    );
    assert_mistake(
        "[[group]]\nname = \"a\"\nfile = \"a.txt\"\n",
        "5:1: `file` in [[group]] is not yet supported in this version: take it out",
    );
    assert_mistake(
        "[[group]]\nmembers = []\n",
        "3:1: `name` is missing in [[group]]: give it a name, which logs and metrics will show",
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
        "5:10: `action` in [[rule]]: \"alow\": expected one of \"allow\", \"splice\", \"block\", \
         \"skip\": did you mean \"allow\"?",
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
        "5:10: `action` in [[rule]]: expected { block = \"page\" }, \"alert\" or \"reset\"",
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
    let when = |condition: &str| rule(&format!("when = {{ {condition} }}\naction = \"allow\""));
    assert_mistake(
        &when("group = \"staf\""),
        "5:18: `group` in `when`: \"staf\": there is no group \"staf\": write a [[group]] of that \
         name",
    );
    assert_mistake(
        &when("host = []"),
        "5:17: `host` in `when`: an empty list never holds: write a value, or take the condition \
         out",
    );
    assert_mistake(
        &when("host = \"192.0.2.1\""),
        "5:17: `host` in `when`: \"192.0.2.1\": an address is no server name: use `destination`, \
         or `host-is-ip = true`",
    );
    assert_mistake(
        &when("tls = \"sslv2\""),
        "5:16: `tls` in `when`: \"sslv2\": expected one of \"negotiated\", \"not-negotiated\", \
         \"malformed-hello\", \"not-tls\", \"oversize\", \"server-first\", \"silent\", \
         \"sslv2-hello\", \"timeout\", \"truncated\", \"zero-length-record\"",
    );
    assert_mistake(
        &when("ech = \"yes\""),
        "5:16: `ech` in `when`: expected true or false, found a text",
    );
    assert_mistake(
        &when("listener = \"proxy\""),
        "5:21: `listener` in `when`: \"proxy\": in this version the only listener is \
         \"transparent\"",
    );
    assert_mistake(
        &when("ja4 = \"T13\""),
        "5:16: `ja4` in `when`: \"T13\": expected a JA4 fingerprint such as \
         \"t13d1516h2_8daaf6152771_e5627efa2ab1\", or the beginning of one such as \"t13d*\"",
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
            "8:10: `action` in [[rule]]: \"b\": expected one of \"allow\", \"splice\", \"block\", \
             \"skip\"",
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
            "group \"nobody\" has no members: no client is in it",
            "group \"nobody\" is used by no rule",
            "rule \"second\" is never reached: \"first\" before it always decides",
            "rule \"first\" blocks with a page, which needs a CA: without one the client gets an \
             alert",
            "a default blocks with a page, which needs a CA: it is an alert instead",
            "`quic = \"pass\"` lets every client bypass every TLS rule by using QUIC",
            "`pass_udp` names UDP 443, which `quic` decides: to let all of it out, write an \
             [[egress.rule]]",
            "`pass_tcp` names TCP 400-500 and `[steer]` a port of it: the port is steered",
        ]
    );
    assert_eq!(warn::notes(&config).len(), 1);
    assert!(
        warn::warnings(&parse("[steer]\ntls = []\n"))
            .contains(&"no port is steered: no flow reaches the rules".to_owned())
    );
}

proptest! {
    #[test]
    fn no_text_is_answered_with_a_panic(text in "\\PC*") {
        let _ = Config::parse(&text, "x.toml");
    }

    /// Valid texts with some bytes replaced, removed or doubled reach further than noise does.
    #[test]
    fn no_damage_to_a_valid_text_is_answered_with_a_panic(
        which in 0usize..3,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, "\\PC"), 1..6),
    ) {
        let texts = [
            DEFAULT,
            include_str!("../examples/skype.toml"),
            include_str!("../examples/sni-only.toml"),
        ];
        let mut text: Vec<char> = texts[which].chars().collect();
        for (at, kind, with) in damage {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = with.chars().next().unwrap_or(' '),
                1 => drop(text.remove(at)),
                2 => text.insert(at, text[at]),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        match Config::parse(&text, "x.toml") {
            Ok(config) => prop_assert!(show::effective(&config).contains("openings")),
            Err(ConfigError::Invalid(invalid)) => {
                let lines = text.split('\n').count();
                prop_assert!(!invalid.problems.is_empty());
                prop_assert!(invalid.problems.iter().all(|p| (1..=lines).contains(&p.line)));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
