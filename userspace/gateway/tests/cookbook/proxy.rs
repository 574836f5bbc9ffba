//! The whole recipe: what comes by itself, and what comes by the proxy.

use sluice_gateway::config::{Config, Demand};
use sluice_policy::{
    CertificateState, CertificateStates, Connect, Facts, Listener, NotNegotiated, Stage, Tls,
};

use super::{CLIENT, Promise::Decided, Recipe, address, hello, opened};

const SILENT: &str = "unidentified software may not tunnel, except for the Allow Skype group";
const NO_NAME: &str = "tunnels lead to names, except for the Allow Skype group";
const SKYPE: &str = "Skype, except for the Allow Skype group";
const TUNNELLED: &str = "Skype by the proxy, except for the Allow Skype group";
const MEMBERS: &str = "Allow Skype members may send what is not TLS";
const BROWSER: Option<&str> = Some("Mozilla/5.0");
const NOISE: Tls = Tls::Not(NotNegotiated::Sslv2Hello);

fn tunnel<'f>(host: &'f str, port: u16, user_agent: Option<&'f str>) -> Facts<'f> {
    let mut facts = opened(CLIENT);
    facts.listener = Some(Listener::Proxy("proxy"));
    facts.connect = Some(Connect {
        host: Some(host),
        port: Some(port),
        user_agent,
    });
    facts
}

fn of<'f>(user: &'f str, mut facts: Facts<'f>) -> Facts<'f> {
    facts.user = Some(user);
    facts
}

fn says<'f>(mut facts: Facts<'f>, tls: Tls, host: Option<&'f str>) -> Facts<'f> {
    facts.stage = Stage::Certificate;
    facts.tls = Some(tls);
    facts.host = host;
    facts.certificate = CertificateStates::of([CertificateState::Valid]);
    facts
}

#[test]
fn tunnels_are_judged_per_user() {
    let named = || tunnel("www.example", 443, BROWSER);
    let bare = || tunnel("203.0.113.80", 443, None);
    let mut request = opened(CLIENT);
    request.listener = Some(Listener::Proxy("proxy"));
    request.stage = Stage::Request;
    request.tls = Some(Tls::Not(NotNegotiated::NotTls));
    request.application = Some("http");
    request.host = Some("www.example");
    let mut at_home = bare();
    at_home.client = Some(address("10.20.4.7"));
    Recipe::load("proxy.toml").promises(&[
        (
            "no User-Agent",
            of("bob", tunnel("www.example", 443, None)),
            Decided("block-page", Some(SILENT)),
        ),
        (
            "an address",
            of("bob", tunnel("203.0.113.80", 443, BROWSER)),
            Decided("block-page", Some(NO_NAME)),
        ),
        (
            "another port, for members too",
            of("alice", tunnel("www.example", 5222, BROWSER)),
            Decided(
                "block-page",
                Some("tunnels to other ports than connect_ports (proxy)"),
            ),
        ),
        (
            "a browser",
            of("bob", says(named(), Tls::Negotiated, Some("www.example"))),
            Decided("allow", None),
        ),
        (
            "a hello for another server",
            of("bob", says(named(), Tls::Negotiated, Some("other.example"))),
            Decided("block-page", Some("a tunnel leads where it says")),
        ),
        (
            "what is no TLS",
            of("bob", says(named(), NOISE, None)),
            Decided("block-page", Some(TUNNELLED)),
        ),
        (
            "the same of a member",
            of("alice", says(bare(), NOISE, None)),
            Decided("allow", Some(MEMBERS)),
        ),
        (
            "the same of a member by address",
            says(at_home, NOISE, None),
            Decided("allow", Some(MEMBERS)),
        ),
        ("a request in the clear", request, Decided("allow", None)),
    ]);
}

#[test]
fn what_comes_by_itself_is_held_to_the_same() {
    let member = address("10.20.4.7");
    let mut expired = says(hello(CLIENT, None), Tls::Negotiated, Some("www.example"));
    expired.certificate = CertificateStates::of([CertificateState::Expired]);
    Recipe::load("proxy.toml").promises(&[
        (
            "what is no TLS",
            says(hello(CLIENT, None), NOISE, None),
            Decided("block-page", Some(SKYPE)),
        ),
        (
            "the same of a member",
            says(hello(member, None), NOISE, None),
            Decided("allow", Some(MEMBERS)),
        ),
        (
            "a hello without a name, wherever it leads",
            hello(CLIENT, None),
            Decided("block-page", None),
        ),
        (
            "an invalid certificate",
            expired,
            Decided("block-page", Some("invalid certificates")),
        ),
    ]);
}

#[test]
fn the_proxy_is_the_only_way_out_where_nothing_is_steered() {
    let example = include_str!("../../examples/proxy.toml");
    let only = example.replace("tls = [\"443\"]", "tls = []").replace(
        "file = \"proxy.htpasswd\"",
        &format!(
            "file = \"{}/examples/proxy.htpasswd\"",
            env!("CARGO_MANIFEST_DIR")
        ),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sluice.toml");
    std::fs::write(&file, only).unwrap();
    let config = Config::load(&file).unwrap();
    assert!(config.steer.ports.tls.is_empty());
    let proxy = &config.proxies[0];
    assert_eq!(proxy.identity, Demand::WhenNeeded);
    assert_eq!(proxy.providers().collect::<Vec<_>>(), ["staff"]);
    assert!(proxy.by_address().is_some());
}
