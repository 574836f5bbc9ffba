//! The recipes among the examples: each loads, and decides flows as it promises.
#![expect(clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::{net::IpAddr, path::Path};

use sluice_gateway::config::Config;
use sluice_policy::{
    CertificateState, CertificateStates, Connect, Decision, Facts, Listener, NotNegotiated,
    Scratch, Stage, Tls,
};

/// The client of a flow of which nothing else is said.
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 20, 99, 9));
const DESTINATION: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 80));

/// What a recipe promises of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Promise {
    /// An outcome, and the rule that decides; no rule: a default does.
    Decided(&'static str, Option<&'static str>),
    /// Outcomes, and the stage that tells more; none: it is blocked as stage-unavailable.
    Undecided(&'static [&'static str], Option<Stage>),
}

mod decrypted;
mod proxy;

use Promise::{Decided, Undecided};

struct Recipe(Config);

impl Recipe {
    fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples")
            .join(name);
        Self(Config::load(&path).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Compares what the policy says of each flow with the promise.
    fn promises(&self, rows: &[(&str, Facts<'_>, Promise)]) {
        let policy = &self.0.policy;
        let mut scratch = Scratch::default();
        for (name, facts, promise) in rows {
            let decision = policy.weigh(facts, &mut scratch);
            match (&decision, promise) {
                (Decision::Decided(decided), Decided(outcome, rule)) => {
                    assert_eq!(decided.outcome.name(), *outcome, "{name}");
                    let by = decided.cause.rule().and_then(|id| policy.rule(id));
                    assert_eq!(by.map(|rule| &*rule.name), *rule, "{name}");
                }
                (Decision::Undecided(undecided), Undecided(possible, next)) => {
                    let found: Vec<_> = undecided.possible.iter().map(|o| o.name()).collect();
                    assert_eq!(found, *possible, "{name}");
                    assert_eq!(undecided.next, *next, "{name}");
                }
                _ => panic!("{name}: {decision:?} is not {promise:?}"),
            }
        }
    }
}

fn opened(client: IpAddr) -> Facts<'static> {
    let mut facts = Facts::packet(client, DESTINATION, 443);
    facts.stage = Stage::Open;
    facts.listener = Some(Listener::Transparent);
    facts.time = Some(0);
    facts
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

/// A genuine ClientHello.
fn hello(client: IpAddr, host: Option<&str>) -> Facts<'_> {
    let mut facts = opened(client);
    facts.stage = Stage::Hello;
    facts.tls = Some(Tls::Hello);
    facts.host = host;
    facts.ech = Some(false);
    facts
}

/// First bytes that are no ClientHello.
fn foreign<'a>(client: IpAddr, why: NotNegotiated, application: Option<&'a str>) -> Facts<'a> {
    let mut facts = opened(client);
    facts.stage = Stage::Hello;
    facts.tls = Some(Tls::Not(why));
    facts.application = application;
    facts
}

/// What the origin answered to a ClientHello.
fn answered(hello: Facts<'_>, tls: Tls) -> Facts<'_> {
    let mut facts = hello;
    facts.stage = Stage::ServerHello;
    facts.tls = Some(tls);
    facts
}

fn certified(hello: Facts<'_>, state: CertificateState) -> Facts<'_> {
    let mut facts = answered(hello, Tls::Negotiated);
    facts.stage = Stage::Certificate;
    facts.certificate = CertificateStates::of([state]);
    facts
}

fn as_user<'a>(facts: Facts<'a>, user: &'a str) -> Facts<'a> {
    let mut facts = facts;
    facts.user = Some(user);
    facts
}

const FAKE: Tls = Tls::Not(NotNegotiated::InconsistentServerHello);

#[test]
fn skype() {
    const BLOCK: &str = "Skype, except for the Allow Skype group";
    const NOT_TLS: &str = "Allow Skype members may send what is not TLS";
    const NO_NAME: &str = "Allow Skype members may name no server";
    let (member, member6) = (address("10.20.4.7"), address("fd00:20:4::7"));
    let (news, bare) = (Some("news.example"), None);
    let sslv2 = NotNegotiated::Sslv2Hello;
    let zero = NotNegotiated::ZeroLengthRecord;
    Recipe::load("skype.toml").promises(&[
        (
            "SSLv2-format hello",
            foreign(CLIENT, sslv2, Some("skype")),
            Decided("block-page", Some(BLOCK)),
        ),
        (
            "SSLv2-format hello of a member",
            foreign(member, sslv2, Some("skype")),
            Decided("allow", Some(NOT_TLS)),
        ),
        (
            "a record of no length",
            foreign(CLIENT, zero, None),
            Decided("block-page", Some(BLOCK)),
        ),
        (
            "a record of no length of a member by IPv6",
            foreign(member6, zero, None),
            Decided("allow", Some(NOT_TLS)),
        ),
        (
            "a web site",
            hello(CLIENT, news),
            Undecided(&["allow", "block-page"], Some(Stage::ServerHello)),
        ),
        (
            "a web site that answers",
            answered(hello(CLIENT, news), Tls::Negotiated),
            Decided("allow", None),
        ),
        (
            "a web site of a member",
            hello(member, news),
            Decided("allow", None),
        ),
        (
            "a fake ServerHello",
            answered(hello(CLIENT, news), FAKE),
            Decided("block-page", Some(BLOCK)),
        ),
        (
            "a fake ServerHello to a bare address",
            answered(hello(CLIENT, bare), FAKE),
            Decided("block-page", Some(BLOCK)),
        ),
        (
            "a fake ServerHello to a member",
            answered(hello(member, bare), FAKE),
            Decided("allow", Some(NOT_TLS)),
        ),
        (
            "TLS to a bare address, whatever the origin would answer",
            hello(CLIENT, bare),
            Decided("block-page", None),
        ),
        (
            "TLS of a member to a bare address",
            answered(hello(member, bare), Tls::Negotiated),
            Decided("allow", Some(NO_NAME)),
        ),
    ]);
}

#[test]
fn allow_all_skype() {
    const TUNNELS: &str = "no tunnels and no file sharing";
    let plain = NotNegotiated::NotTls;
    let (news, bare) = (Some("news.example"), None);
    Recipe::load("allow-all-skype.toml").promises(&[
        (
            "SSLv2-format hello",
            foreign(CLIENT, NotNegotiated::Sslv2Hello, Some("skype")),
            Decided("allow", None),
        ),
        (
            "first bytes that nobody knows",
            foreign(CLIENT, plain, None),
            Decided("allow", None),
        ),
        (
            "SSH",
            foreign(CLIENT, plain, Some("ssh")),
            Decided("block-reset", Some(TUNNELS)),
        ),
        (
            "BitTorrent",
            foreign(CLIENT, plain, Some("bittorrent")),
            Decided("block-reset", Some(TUNNELS)),
        ),
        (
            "TLS to a bare address",
            hello(CLIENT, bare),
            Decided("allow", None),
        ),
        ("a web site", hello(CLIENT, news), Decided("allow", None)),
    ]);
}

#[test]
fn sni_only() {
    const WORK: &str = "work";
    let (staff, lab) = (address("10.20.3.3"), address("10.20.8.8"));
    let guest = address("10.99.0.1");
    let ech = |host| {
        let mut facts = hello(staff, Some(host));
        facts.ech = Some(true);
        facts
    };
    let web = |client, host| {
        let mut facts = hello(client, Some(host));
        facts.alpn = sluice_policy::Alpn::from_wire(b"\x02h2");
        facts
    };
    Recipe::load("sni-only.toml").promises(&[
        (
            "work",
            hello(guest, Some("www.example.com")),
            Decided("allow", Some(WORK)),
        ),
        (
            "work in capitals",
            hello(guest, Some("WWW.Example.COM")),
            Decided("allow", Some(WORK)),
        ),
        (
            "something else",
            hello(guest, Some("games.example")),
            Decided("block-alert", None),
        ),
        (
            "a hidden name",
            ech("www.example.com"),
            Decided("block-reset", Some("no hidden names")),
        ),
        (
            "news for staff",
            web(staff, "news.example"),
            Decided("allow", Some("news")),
        ),
        (
            "news in the lab",
            web(lab, "news.example"),
            Decided("block-alert", None),
        ),
        (
            "no TLS",
            foreign(staff, NotNegotiated::NotTls, None),
            Decided("block-alert", None),
        ),
    ]);
}

#[test]
fn unknown_software() {
    const ABSENT: &str = "unknown software may not tunnel";
    const UNWANTED: &str = "nor may what is not wanted";
    const MISMATCH: &str = "a tunnel leads where it says";
    fn tunnel(client: IpAddr, user_agent: Option<&str>) -> Facts<'_> {
        let mut facts = opened(client);
        facts.listener = Some(Listener::Proxy("main"));
        facts.connect = Some(Connect {
            host: Some("www.example"),
            port: Some(443),
            user_agent,
        });
        facts
    }
    let speaks = |opened, host| {
        let mut facts: Facts<'_> = opened;
        facts.stage = Stage::Hello;
        facts.tls = Some(Tls::Hello);
        facts.host = Some(host);
        facts
    };
    let exempt = address("10.20.1.9");
    let browser = tunnel(CLIENT, Some("Mozilla/5.0"));
    Recipe::load("unknown-software.toml").promises(&[
        (
            "no User-Agent",
            tunnel(CLIENT, None),
            Decided("block-page", Some(ABSENT)),
        ),
        (
            "no User-Agent in the machine room",
            speaks(tunnel(exempt, None), "www.example"),
            Decided("allow", None),
        ),
        (
            "no User-Agent of an exempt user",
            speaks(as_user(tunnel(CLIENT, None), "backup"), "www.example"),
            Decided("allow", None),
        ),
        (
            "a beginning that is not wanted",
            tunnel(CLIENT, Some("SuperVPN/3.1")),
            Decided("block-reset", Some(UNWANTED)),
        ),
        (
            "an expression that is not wanted",
            tunnel(CLIENT, Some("BitTorrent 7")),
            Decided("block-reset", Some(UNWANTED)),
        ),
        (
            "a browser",
            speaks(browser, "www.example"),
            Decided("allow", None),
        ),
        (
            "a tunnel that leads elsewhere",
            speaks(browser, "other.example"),
            Decided("block-alert", Some(MISMATCH)),
        ),
        (
            "a flow that was steered has no CONNECT",
            hello(CLIENT, Some("www.example")),
            Decided("allow", None),
        ),
    ]);
}

#[test]
fn bare_ip() {
    const NOBODY: &str = "nobody else may";
    let lab = address("fd00:20:8::1");
    let mut update = hello(CLIENT, None);
    update.destination = Some(address("198.51.100.7"));
    let mut other_port = update;
    other_port.port = Some(8443);
    Recipe::load("bare-ip.toml").promises(&[
        (
            "no name",
            hello(CLIENT, None),
            Decided("block-reset", Some(NOBODY)),
        ),
        (
            "an address for a name",
            hello(CLIENT, Some("203.0.113.80")),
            Decided("block-reset", Some(NOBODY)),
        ),
        (
            "a name",
            hello(CLIENT, Some("www.example")),
            Decided("allow", None),
        ),
        (
            "a server of updates",
            update,
            Decided("splice", Some("servers of updates")),
        ),
        (
            "another port of it",
            other_port,
            Decided("block-reset", Some(NOBODY)),
        ),
        (
            "the laboratory",
            hello(lab, None),
            Decided("allow", Some("the laboratory may dial addresses")),
        ),
        (
            "what is not TLS",
            foreign(CLIENT, NotNegotiated::NotTls, Some("ssh")),
            Decided("block-reset", Some(NOBODY)),
        ),
    ]);
}

#[test]
fn a_certificate_that_is_not_to_be_had_can_be_let_through() {
    let example = include_str!("../../examples/invalid-certificates.toml");
    let text = example.replace("enabled = false\n", "");
    let config = Config::parse(&text, "enabled").unwrap_or_else(|error| panic!("{error}"));
    let news = hello(CLIENT, Some("news.example"));
    Recipe(config).promises(&[
        (
            "not to be had",
            certified(news, CertificateState::Unavailable),
            Decided(
                "allow",
                Some("a certificate that is not to be had is no reason to block"),
            ),
        ),
        (
            "invalid",
            certified(news, CertificateState::Expired),
            Decided(
                "block-page",
                Some("invalid certificates, except for the group"),
            ),
        ),
    ]);
}

#[test]
fn the_reference_names_every_example_and_each_says_what_for() {
    let reference = include_str!("../../../policy/README.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{error}"));
    let mut found = 0;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(text.starts_with("# "), "{} says nothing", path.display());
        if path.extension().is_some_and(|ending| ending == "toml") {
            let name = path.file_name().and_then(|name| name.to_str());
            let link = format!("(../gateway/examples/{})", name.unwrap_or_default());
            assert!(reference.contains(&link), "{link} is not in the reference");
            found += 1;
        }
    }
    assert_eq!(found, 11);
}
