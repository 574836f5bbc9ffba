//! Reading configurations: what is accepted, what it means, and what is said about it.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod doubts;
mod providers;
mod rules;

use std::{path::Path, time::Duration};

use sluice_gateway::config::{AdminListener, Config, DEFAULT, Midstream, OnFailure, Sink, show};
use sluice_policy::{
    BlockKind, Cause, Decision, Facts, Listener, NotNegotiated, Outcome, Policy, Scratch, Stage,
    Tls, kernel::EgressAction,
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
    let reference = include_str!("../../../policy/README.md");
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
    let mut documented = Config::parse(DEFAULT, "default.toml").unwrap_or_else(|e| panic!("{e}"));
    let mut empty = parse("");
    assert_eq!(show::effective(&documented), show::effective(&empty));
    for config in [&mut documented, &mut empty] {
        // The key of its hash is random.
        config.policy = Policy::compile_keyed(&config.rules, 0).unwrap();
    }
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
    assert_eq!(config.log.access, [Sink::Stderr]);
    let cell = config.kernel_policy(9).unwrap().cell;
    assert_eq!((cell.generation, cell.flow_limit), (9, 1000));
    assert_eq!(cell.listener_port, 6000u16.to_be());
}

#[test]
fn what_records_tell_is_typed_shown_and_warned_of() {
    let config = parse(
        r#"
        [log]
        access = ["file:/var/log/a.jsonl", "journald", "syslog:udp://[2001:db8::9]:514"]
        format = "ecs"
        when_full = "block"
        queue_limit = "1MiB"
        rotate_size = "64MiB"
        rotate_keep = 2
        users = "pseudonym"
        pseudonym_period = "7d"
        urls = "host"
        packets = "1m"
        "#,
    );
    let text = show::effective(&config);
    for part in [
        "  access                 file:/var/log/a.jsonl, journald, syslog:udp://[2001:db8::9]:514\n",
        "  format                 ecs\n",
        "  when_full              block: new flows are refused",
        "  queue_limit            1MiB\n",
        "  rotate_size            64MiB\n",
        "  rotate_keep            2\n",
        "  addresses              full\n",
        "  users                  pseudonym\n",
        "  pseudonym_period       7d\n",
        "  urls                   host\n",
        "  packets                1m\n",
        "who has an address of their own is known by it",
        "does not notice that \"syslog:udp://[2001:db8::9]:514\" is gone",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let off = parse("[log]\npackets = \"off\"\naccess = []");
    assert_eq!((off.log.packets, off.log.access.len()), (None, 0));
    assert!(show::effective(&off).contains("packets                off\n"));
}

/// A flow from a client whose origin, where it was asked, has answered.
fn flow(client: &str, tls: Option<Tls>) -> Facts<'static> {
    let destination = "192.0.2.9".parse().unwrap();
    let mut facts = Facts::packet(client.parse().unwrap(), destination, 443);
    facts.stage = match tls {
        None => Stage::Open,
        Some(Tls::Hello) => Stage::Hello,
        Some(Tls::Negotiated) => Stage::ServerHello,
        Some(Tls::Not(reason)) => reason.stage(),
    };
    facts.listener = Some(Listener::Transparent);
    facts.time = Some(0);
    facts.tls = tls;
    facts
}

fn decide(config: &Config, facts: &Facts<'_>) -> (Outcome, Option<String>) {
    match config.policy.decide(facts, &mut Scratch::default()) {
        Decision::Decided(decided) => {
            let rule = decided.cause.rule().and_then(|id| config.policy.rule(id));
            (decided.outcome, rule.map(|rule| rule.name.clone()))
        }
        Decision::Undecided(undecided) => panic!("{undecided:?}"),
    }
}

#[test]
fn the_recipe_blocks_whoever_does_not_negotiate() {
    let config = example("skype.toml");
    let page = Outcome::Block(BlockKind::Page);
    let reasons = NotNegotiated::ALL.into_iter();
    for reason in reasons.filter(|reason| reason.stage() <= Stage::ServerHello) {
        let tls = Some(Tls::Not(reason));
        for stranger in ["10.20.5.1", "fd00:20:5::1"] {
            let (outcome, rule) = decide(&config, &flow(stranger, tls));
            assert_eq!(outcome, page, "{reason:?}");
            assert_eq!(
                rule.as_deref(),
                Some("Skype, except for the Allow Skype group")
            );
        }
        for member in ["10.20.4.1", "fd00:20:4::1"] {
            let (outcome, _) = decide(&config, &flow(member, tls));
            assert_eq!(outcome, Outcome::Allow, "{reason:?}");
        }
    }
    let named = |client| Facts {
        host: Some("a.example"),
        ..flow(client, Some(Tls::Negotiated))
    };
    let stranger = decide(&config, &named("10.20.5.1"));
    assert_eq!(stranger, (Outcome::Allow, None));
    let nameless = |client| flow(client, Some(Tls::Negotiated));
    assert_eq!(decide(&config, &nameless("10.20.5.1")), (page, None));
    assert_eq!(decide(&config, &nameless("10.20.4.1")).0, Outcome::Allow);
}

#[test]
fn what_needs_no_first_bytes_is_decided_at_once() {
    let config = parse(
        "[[rule]]\nname = \"all\"\nwhen = { client = \"10.0.0.0/8\" }\naction = \"splice\"\n",
    );
    let decision = config
        .policy
        .decide(&flow("10.1.1.1", None), &mut Scratch::default());
    let Decision::Decided(decided) = decision else {
        panic!("undecided")
    };
    assert_eq!(decided.outcome, Outcome::Splice);
    assert!(matches!(decided.cause, Cause::Rule(_)));
}
