//! Rules that are valid and perhaps not meant, or ask for more than this version can know.

use std::collections::BTreeSet;

use sluice_policy::{
    Action, BlockKind, CertificateState, Condition, DefaultAction, NotNegotiated, Stage, TlsStates,
    compile::FlatRule, kernel::Refused, lint,
};

use super::{super::Config, every_condition, overlaps, quoted, unused};
use crate::config::pattern::{APPLICATIONS, INNER};

/// Doubts about the rules, and about what they refer to.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let set = &config.rules;
    let mut found: Vec<String> = lint::lint(set, &config.policy)
        .iter()
        .map(ToString::to_string)
        .collect();
    found.extend(unused::unused(set));
    found.extend(overlaps::overlaps(set));
    for rule in set.flat().unwrap_or_default() {
        found.extend(out_of_reach(&rule, config.ca.is_some()));
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
        found.push("a default blocks with a page, which needs a CA: it is an alert instead".into());
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

/// What a rule needs that this configuration or this version does not have, and what becomes of
/// flows then. With a CA requests can be reached.
fn out_of_reach(rule: &FlatRule<'_>, has_ca: bool) -> Vec<String> {
    let name = &rule.rule.name;
    let mut found = Vec::new();
    match rule.action {
        _ if has_ca => {}
        Action::Block(BlockKind::Page) => found.push(format!(
            "rule \"{name}\" blocks with a page, which needs a CA: without one the client gets an \
             alert"
        )),
        Action::Inspect => found.push(format!(
            "rule \"{name}\" decrypts, which needs a CA: without one flows that it holds for are \
             blocked as stage-unavailable"
        )),
        Action::Warn(_) => found.push(format!(
            "rule \"{name}\" shows a warning, which needs a CA: without one flows that it holds for \
             are blocked as stage-unavailable"
        )),
        _ => {}
    }
    let conditions: Vec<_> = rule.when().chain(rule.unless()).collect();
    let asks = |stage| conditions.iter().any(|condition| asks(condition, stage));
    let only_note = matches!(rule.action, Action::NoLog | Action::Tag(_));
    for (stage, lacks, otherwise) in [
        (
            Stage::Certificate,
            "which this version cannot reach",
            " unless a rule names certificate = \"unavailable\"",
        ),
        (Stage::Request, "which cannot be reached without a CA", ""),
    ] {
        if !asks(stage) || stage == Stage::Request && has_ca {
            continue;
        }
        let outcome = if only_note {
            "it never holds".into()
        } else {
            format!("flows that hang on it are blocked as stage-unavailable{otherwise}")
        };
        found.push(format!(
            "rule \"{name}\" needs the {stage} stage, {lacks}: {outcome}"
        ));
    }
    found
}

/// Whether a condition, or one inside it, rests on what a stage tells. That a certificate is not
/// to be had needs no certificate.
fn asks(condition: &Condition, stage: Stage) -> bool {
    match condition {
        Condition::Not(inner) => inner.iter().any(|condition| asks(condition, stage)),
        Condition::Certificate(states) if states.contains(CertificateState::Unavailable) => false,
        Condition::Tls(states) => states.reasons().any(|reason| reason.stage() == stage),
        _ => condition.fact().is_some_and(|fact| fact.stage() == stage),
    }
}

/// Whether nothing but what decrypting shows tells of a TLS flow whether the rule holds.
fn forces_decryption(rule: &FlatRule<'_>) -> bool {
    let matters = !matches!(rule.action, Action::NoLog | Action::Tag(_));
    let asks_requests = |condition: &Condition| asks(condition, Stage::Request);
    let narrows = |condition: &Condition| {
        !asks_requests(condition)
            && !matches!(condition, Condition::Tls(states) if states.negotiated)
    };
    let mut conditions = rule.when().chain(rule.unless());
    matters && conditions.any(asks_requests) && !rule.when().any(narrows)
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

/// What the rules ask about that nothing can tell yet.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let mut proxied = BTreeSet::new();
    every_condition(&config.rules.rules, &mut |condition| {
        let is_proxied = match condition {
            Condition::Listener(listeners) => {
                listeners.contains(&sluice_policy::ListenerPattern::Proxy)
            }
            Condition::ConnectHost(_)
            | Condition::ConnectPort(_)
            | Condition::ConnectUserAgent(_)
            | Condition::HostMismatch(_) => true,
            _ => false,
        };
        if is_proxied {
            proxied.insert(condition.key());
        }
    });
    for key in proxied {
        found.push(format!(
            "`{key}` asks about proxy listeners, which this version does not have"
        ));
    }
    found.extend(unused::unknown_users(&config.rules));
    found
}
