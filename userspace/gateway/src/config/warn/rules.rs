//! Rules that are valid and perhaps not meant, or ask for more than the configuration lets them
//! know.

use std::collections::BTreeSet;

use sluice_policy::{
    Action, BlockKind, CertificateState, Condition, DefaultAction, NotNegotiated, Stage,
    TextPattern, TlsStates, UrlItem, compile::FlatRule, kernel::Refused, lint,
};

use super::{super::Config, every_condition, overlaps, quoted, unused};
use crate::{
    config::pattern::{APPLICATIONS, INNER},
    origin::{RevocationMode, Unknown},
};

/// Doubts about the rules, and about what they refer to.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let set = &config.rules;
    let mut found: Vec<String> = lint::lint(set, &config.policy)
        .iter()
        .map(ToString::to_string)
        .collect();
    found.extend(unused::unused(set));
    found.extend(overlaps::overlaps(set));
    let mut ca_is_needed = false;
    for rule in set.flat().unwrap_or_default() {
        if config.ca.is_none() {
            found.extend(out_of_reach(&rule));
        }
        found.extend(narrowed(config, &rule));
        ca_is_needed |= needs_ca(&rule);
        if forces_decryption(&rule) {
            found.push(format!(
                "rule \"{}\" forces decryption of every flow that no earlier rule settles{}",
                rule.rule.name,
                if config.ca.is_none() {
                    ", and no CA is configured"
                } else {
                    ""
                }
            ));
        }
        if believes_the_client(&rule) {
            found.push(format!(
                "rule \"{}\" lets through what is `client-rejected-ca`: any client can claim that \
                 it refuses the CA",
                rule.rule.name
            ));
        }
    }
    let page = DefaultAction::Block(BlockKind::Page);
    let shows = set.defaults.identified == page || set.defaults.unidentified == page;
    if shows && config.ca.is_none() {
        found.push(
            "a default blocks with a page, which TLS needs a CA for: it is an alert instead".into(),
        );
    }
    if config.ca.is_some() && !ca_is_needed && !shows {
        found.push(
            "[ca] is configured and nothing needs it: no rule decrypts, asks about requests or \
             shows a page"
                .into(),
        );
    }
    if let Refused::ByDaemon(overflow) = config.refused {
        found.push(format!(
            "flows that rules reset by addresses and port alone are steered and reset by the \
             daemon, not by the kernel: it would take {overflow}"
        ));
    }
    found.extend(unknown_applications(config));
    found
}

/// What a rule needs that a configuration without a CA does not have, and what becomes of flows
/// then. Certificates are shown by handshakes of sluice's own, and cleartext requests are read,
/// without one.
fn out_of_reach(rule: &FlatRule<'_>) -> Vec<String> {
    let name = &rule.rule.name;
    let mut found = Vec::new();
    match rule.action {
        Action::Block(BlockKind::Page) if is_answered_in_the_clear(rule) => {}
        Action::Block(BlockKind::Page) => found.push(format!(
            "rule \"{name}\" blocks with a page, which TLS needs a CA for: without one the client \
             gets an alert"
        )),
        Action::Inspect => found.push(format!(
            "rule \"{name}\" decrypts, which needs a CA: without one TLS flows that it holds for are \
             blocked as stage-unavailable"
        )),
        Action::Warn(_) => found.push(format!(
            "rule \"{name}\" shows a warning, which TLS needs a CA for: without one TLS flows that \
             it holds for are blocked as stage-unavailable"
        )),
        _ => {}
    }
    let mut conditions = rule.when().chain(rule.unless());
    if conditions.any(|condition| asks(condition, Stage::Request)) {
        let outcome = if only_notes(rule) {
            "it holds for none of them"
        } else {
            "those that hang on it are blocked as stage-unavailable"
        };
        found.push(format!(
            "rule \"{name}\" needs the request stage, which TLS flows do not reach without a CA: \
             {outcome}"
        ));
    }
    found
}

/// Whether a rule blocks a CONNECT before there is a tunnel: the page needs no TLS of ours.
fn is_answered_in_the_clear(rule: &FlatRule<'_>) -> bool {
    let mut all = rule.when().chain(rule.unless());
    let deep = |condition: &Condition| {
        condition
            .fact()
            .is_none_or(|fact| fact.stage() > Stage::Open)
    };
    rule.when().any(is_of_connect) && !all.any(deep)
}

/// Whether the rule says nothing but what is to be recorded.
const fn only_notes(rule: &FlatRule<'_>) -> bool {
    matches!(rule.action, Action::NoLog | Action::Tag(_))
}

/// Whether a rule can have a flow decrypted, or a page shown inside TLS.
fn needs_ca(rule: &FlatRule<'_>) -> bool {
    let mut conditions = rule.when().chain(rule.unless());
    match rule.action {
        Action::Block(_) if is_answered_in_the_clear(rule) => false,
        Action::Block(BlockKind::Page) | Action::Inspect | Action::Warn(_) => true,
        _ => !only_notes(rule) && conditions.any(|condition| asks(condition, Stage::Request)),
    }
}

/// Conditions of a rule that hold for less than they say, by the other sections of the
/// configuration.
fn narrowed(config: &Config, rule: &FlatRule<'_>) -> Vec<String> {
    let name = &rule.rule.name;
    let upstream = &config.upstream;
    let mut found = BTreeSet::new();
    let mut look = |condition: &Condition| match condition {
        Condition::Certificate(states) => {
            let all = |among: &[CertificateState]| {
                !states.is_empty() && states.iter().all(|state| among.contains(&state))
            };
            use CertificateState::{RevocationUnknown, Revoked};
            if upstream.revocation == RevocationMode::Off && all(&[Revoked, RevocationUnknown]) {
                found.insert(format!(
                    "rule \"{name}\" asks about revocation, of which `revocation = \"off\"` in \
                     [upstream] finds out nothing: the condition never holds"
                ));
            } else if upstream.unknown == Unknown::Accept && all(&[RevocationUnknown]) {
                found.insert(format!(
                    "rule \"{name}\" asks for `revocation-unknown`, which `revocation_unknown = \
                     \"accept\"` in [upstream] takes for valid: the condition holds only where a \
                     certificate demands a stapled answer and comes without one"
                ));
            }
        }
        Condition::Inspected(false) => {
            found.insert(cleartext(name));
        }
        Condition::Url(items) if !items.is_empty() && items.iter().all(is_cleartext) => {
            found.insert(cleartext(name));
        }
        _ => {}
    };
    for condition in rule.when().chain(rule.unless()) {
        visit(condition, &mut look);
    }
    if !config.steer.ports.http.is_empty() {
        found.remove(&cleartext(name));
    }
    found.into_iter().collect()
}

fn cleartext(name: &str) -> String {
    format!(
        "rule \"{name}\" asks about cleartext requests, and `http` in [steer] names no port: only \
         those on a port of `tls` are read"
    )
}

fn is_cleartext(item: &UrlItem) -> bool {
    match item {
        UrlItem::Pattern(TextPattern::Exact(text) | TextPattern::Prefix(text)) => {
            text.starts_with("http://")
        }
        UrlItem::Pattern(TextPattern::Regex(_)) | UrlItem::List(_) => false,
    }
}

fn visit(condition: &Condition, with: &mut dyn FnMut(&Condition)) {
    with(condition);
    if let Condition::Not(inner) = condition {
        inner.iter().for_each(|condition| visit(condition, with));
    }
}

/// Whether a condition, or one inside it, rests on what a stage tells.
fn asks(condition: &Condition, stage: Stage) -> bool {
    match condition {
        Condition::Not(inner) => inner.iter().any(|condition| asks(condition, stage)),
        _ => condition.fact().is_some_and(|fact| fact.stage() == stage),
    }
}

/// Whether nothing but what decrypting shows tells of a TLS flow whether the rule holds.
fn forces_decryption(rule: &FlatRule<'_>) -> bool {
    let asks_requests = |condition: &Condition| asks(condition, Stage::Request);
    let narrows = |condition: &Condition| {
        !asks_requests(condition)
            && !matches!(condition, Condition::Tls(states) if states.negotiated)
    };
    let mut conditions = rule.when().chain(rule.unless());
    !only_notes(rule) && conditions.any(asks_requests) && !rule.when().any(narrows)
}

fn believes_the_client(rule: &FlatRule<'_>) -> bool {
    let names = |condition: &Condition| match condition {
        // `not-negotiated` as a whole is no claim of trust in this one reason.
        Condition::Tls(states) => {
            let mut general = TlsStates::not_negotiated().reasons();
            states.contains(NotNegotiated::ClientRejectedCa)
                && !general.all(|reason| states.contains(reason))
        }
        _ => false,
    };
    matches!(rule.action, Action::Allow | Action::Splice) && rule.when().any(names)
}

fn unknown_applications(config: &Config) -> Vec<String> {
    let mut unknown = BTreeSet::new();
    every_condition(&config.rules.rules, &mut |condition| {
        let (names, known) = match condition {
            Condition::Application(names) => (names, APPLICATIONS.as_slice()),
            Condition::Inner(names) => (names, INNER.as_slice()),
            _ => return,
        };
        let names = names.iter().flatten();
        unknown.extend(
            names
                .filter(|name| !known.contains(&name.as_str()))
                .cloned(),
        );
    });
    let known: Vec<_> = APPLICATIONS.iter().map(|name| (*name).to_owned()).collect();
    unknown
        .into_iter()
        .map(|name| {
            format!(
                "application \"{name}\" is none that first bytes are known to show: those are {}",
                quoted(&known)
            )
        })
        .collect()
}

/// What the rules ask about that nothing can tell here.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut proxied = BTreeSet::new();
    every_condition(&config.rules.rules, &mut |condition| {
        if is_of_proxies(condition) {
            proxied.insert(condition.key());
        }
    });
    if config.proxies.is_empty() {
        for key in proxied {
            found.push(format!(
                "`{key}` asks about proxy listeners, and there is no [[proxy]]"
            ));
        }
    }
    found.extend(unused::unknown_users(&config.rules));
    found
}

/// Whether a condition asks about what only proxy listeners tell.
fn is_of_proxies(condition: &Condition) -> bool {
    match condition {
        Condition::Listener(listeners) => {
            listeners.contains(&sluice_policy::ListenerPattern::Proxy)
        }
        Condition::HostMismatch(_) => true,
        _ => is_of_connect(condition),
    }
}

/// Whether a condition asks what a CONNECT says. What holds by it is answered before there is a
/// tunnel.
const fn is_of_connect(condition: &Condition) -> bool {
    matches!(
        condition,
        Condition::ConnectHost(_)
            | Condition::ConnectHostIsIp(_)
            | Condition::ConnectPort(_)
            | Condition::ConnectUserAgent(_)
    )
}
