//! What an administrator should know about a configuration that is valid.

mod overlaps;
mod rules;
mod unused;

use sluice_abi::table::Direction;
use sluice_policy::{
    Condition, PortRange, Rule, RuleBody,
    kernel::{EgressAction, EgressRule, QUIC_PORT},
};

use super::{
    Addresses, Config, Log, Midstream, OnFailure, Sink, Users, WhenFull, protocol_name,
    show::abbreviated,
};
use crate::identity::{
    ldap::Transport,
    settings::{Kind, Provider, Unavailable},
};

/// Everything that leaves or enters without being judged by the rules.
#[must_use]
pub fn openings(config: &Config) -> Vec<String> {
    let egress = &config.egress;
    let mut found = Vec::new();
    for rule in egress
        .rules
        .iter()
        .filter(|rule| rule.action == EgressAction::Pass)
    {
        found.push(rule_opening(config, rule));
    }
    let lists = [
        ("TCP", "pass_tcp", &egress.pass_tcp),
        ("UDP", "pass_udp", &egress.pass_udp),
    ];
    for (protocol, key, ranges) in lists {
        found.extend(
            ranges
                .iter()
                .map(|range| format!("{protocol} {range} out, by `{key}`")),
        );
    }
    let protocols = egress.other_protocols.iter();
    found.extend(
        protocols.map(|&number| format!("{} out, by `other_protocols`", protocol_name(number))),
    );
    if egress.quic == EgressAction::Pass {
        found.push("QUIC out, by `quic`: bypasses every TLS rule".into());
    }
    if egress.default == EgressAction::Pass {
        found.push("every port and protocol that nothing names, by `default`".into());
    }
    if config.gateway.on_failure == OnFailure::Open {
        found.push("steered ports while there is no daemon, by `on_failure`".into());
    }
    if config.gateway.midstream == Midstream::Pass {
        found.push("TCP flows that began before sluice, by `midstream`".into());
    }
    found
}

fn rule_opening(config: &Config, rule: &EgressRule) -> String {
    let traffic = &rule.traffic;
    let mut what = Vec::new();
    what.extend(traffic.tcp.iter().map(|range| format!("TCP {range}")));
    what.extend(traffic.udp.iter().map(|range| format!("UDP {range}")));
    what.extend(
        traffic
            .protocols
            .iter()
            .map(|&number| protocol_name(number)),
    );
    if traffic.is_any() {
        what.push("everything".into());
    }
    let nets = |nets: &Option<Vec<sluice_policy::Net>>| match nets {
        Some(nets) => nets
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        None => "any".into(),
    };
    let (from, to) = (nets(&rule.from), nets(&rule.to));
    let direction = match rule.direction {
        Direction::Out => format!("out from {from} to {to}"),
        Direction::In => format!("in from {to} to {from}"),
    };
    let what = what.join(", ");
    let mut text = format!("{what} {direction}, by [[egress.rule]] \"{}\"", rule.name);
    if rule.direction == Direction::Out && bypasses_tls(config, rule) {
        text.push_str(": bypasses every TLS rule");
    }
    text
}

fn bypasses_tls(config: &Config, rule: &EgressRule) -> bool {
    let steered = config
        .steer
        .ports
        .tls
        .iter()
        .chain(&config.steer.ports.http);
    let quic = PortRange::single(QUIC_PORT);
    rule.traffic.is_any()
        || steered
            .into_iter()
            .any(|port| rule.traffic.tcp.iter().any(|tcp| tcp.overlaps(*port)))
        || rule.traffic.udp.iter().any(|udp| udp.overlaps(quic))
}

/// What is valid and perhaps not meant.
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    let mut found = rules::warnings(config);
    if config.egress.quic == EgressAction::Pass {
        found
            .push("`quic = \"pass\"` lets every client bypass every TLS rule by using QUIC".into());
    }
    let quic = PortRange::single(QUIC_PORT);
    if config
        .egress
        .pass_udp
        .iter()
        .any(|range| range.overlaps(quic))
    {
        found.push(format!(
            "`pass_udp` names UDP {QUIC_PORT}, which `quic` decides: to let all of it out, write an \
             [[egress.rule]]"
        ));
    }
    let steered = &config.steer.ports.tls;
    for range in &config.egress.pass_tcp {
        if steered.iter().any(|port| port.overlaps(*range)) {
            found.push(format!(
                "`pass_tcp` names TCP {range} and `[steer]` a port of it: the port is steered"
            ));
        }
    }
    found.extend(config.identity.providers.iter().flat_map(provider));
    let steers = !steered.is_empty() || !config.steer.ports.http.is_empty();
    if !steers && config.proxies.is_empty() {
        found.push("no port is steered: no flow reaches the rules".into());
    }
    found.extend(of_records(&config.log));
    found
}

fn of_records(log: &Log) -> Vec<String> {
    let mut found = Vec::new();
    let privacy = &log.privacy;
    if privacy.users == Users::Pseudonym && privacy.addresses == Addresses::Full {
        found.push(
            "`users = \"pseudonym\"` beside `addresses = \"full\"`: who has an address of their own \
             is known by it"
                .into(),
        );
    }
    if log.when_full == WhenFull::Block {
        let blind = |sink: &&Sink| matches!(sink, Sink::SyslogUdp(_));
        found.extend(log.access.iter().filter(blind).map(|sink| {
            format!(
                "`when_full = \"block\"` does not notice that \"{sink}\" is gone: name it by \
                 syslog:tcp://"
            )
        }));
    }
    found
}

/// What of a provider is perhaps not meant.
fn provider(provider: &Provider) -> Vec<String> {
    let name = &provider.name;
    let mut found = Vec::new();
    match &provider.kind {
        Kind::Htpasswd(files) if files.users.is_empty() => {
            found.push(format!(
                "provider \"{name}\": its file holds no user, so that nobody can log in"
            ));
        }
        Kind::Htpasswd(_) | Kind::Negotiate(_) => {}
        Kind::Ldap(directory) => {
            if directory.transport == Transport::Plaintext {
                found.push(format!(
                    "provider \"{name}\": `danger_plaintext` sends passwords to the directory in the \
                     clear"
                ));
            }
            if provider.unavailable == Unavailable::Anonymous {
                found.push(format!(
                    "provider \"{name}\": while the directory is down nobody is known, and rules \
                     that block users or groups do not hold"
                ));
            }
        }
    }
    found
}

/// What this version cannot know, where a rule depends on it.
#[must_use]
pub fn notes(config: &Config) -> Vec<String> {
    rules::notes(config)
}

/// Visits every condition of the rules, those inside containers and negations included.
fn every_condition<'s>(rules: &'s [Rule], with: &mut dyn FnMut(&'s Condition)) {
    fn each<'s>(conditions: &'s [Condition], with: &mut dyn FnMut(&'s Condition)) {
        for condition in conditions {
            with(condition);
            if let Condition::Not(inner) = condition {
                each(inner, with);
            }
        }
    }
    for rule in rules {
        each(&rule.when, with);
        each(&rule.unless, with);
        if let RuleBody::Contain(inner) = &rule.body {
            every_condition(inner, with);
        }
    }
}

/// Names in quotes; of many only the first.
fn quoted(names: &[String]) -> String {
    abbreviated(
        names.len(),
        names.iter().map(|name| format!("\"{name}\"")),
        ", ",
    )
}
