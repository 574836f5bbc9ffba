//! Reading configurations: what is accepted, what it means, and what is said about it.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{path::Path, time::Duration};

use sluice_gateway::config::{
    AccessLog, AdminListener, Config, DEFAULT, Midstream, OnFailure, show, warn,
};
use sluice_policy::{
    Cause, Decision, Facts, FirstBytes, Hello, NotNegotiated, Outcome, kernel::EgressAction,
};

const LAN: &str = "[gateway]\nlan = [\"lan0\"]\n";

fn parse(rest: &str) -> Config {
    Config::parse(&format!("{LAN}{rest}"), "x.toml").unwrap_or_else(|error| panic!("{error}"))
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
