//! What rules mean, read as plainly as can be: every way is walked by itself.

use std::{collections::BTreeSet, net::IpAddr};

use sluice_policy::{
    Action, Condition, Facts, FirstBytes, GroupId, HostPattern, Ja4Pattern, Rule, RuleBody,
    RuleSet, Stage,
};

/// Every outcome of every way of letting the unknown rules fire or not.
pub(crate) fn outcomes(set: &RuleSet, facts: &Facts<'_>) -> BTreeSet<&'static str> {
    let ways = 1u64 << unknown(set, facts).len();
    (0..ways).flat_map(|way| ends(set, facts, way)).collect()
}

/// The earliest stage that makes known what some unknown rule, or the choice of a default, hangs
/// on, where turning it round changes the outcome of some way.
pub(crate) fn next_stage(set: &RuleSet, facts: &Facts<'_>) -> Stage {
    let unknown = unknown(set, facts);
    let mut earliest = Stage::Request;
    for way in 0..1u64 << unknown.len() {
        if ends(set, facts, way).len() > 1 {
            earliest = earliest.min(Stage::Hello);
        }
        for (bit, &stage) in unknown.iter().enumerate() {
            let turned = ends(set, facts, way ^ 1 << bit);
            let all: BTreeSet<_> = ends(set, facts, way).union(&turned).copied().collect();
            if all.len() > 1 {
                earliest = earliest.min(stage);
            }
        }
    }
    earliest
}

/// For each unknown rule the earliest stage of what it hangs on, in the order of evaluation.
pub(crate) fn unknown(set: &RuleSet, facts: &Facts<'_>) -> Vec<Stage> {
    fn collect(
        set: &RuleSet,
        rules: &[Rule],
        facts: &Facts<'_>,
        outer: &[&Condition],
        out: &mut Vec<Stage>,
    ) {
        for rule in rules {
            let (truth, mut open) = guard(set, rule, facts);
            open.extend(outer.iter().filter(|c| ask(set, c, facts).is_none()));
            if truth == Some(false) {
                continue;
            }
            match &rule.body {
                RuleBody::Contain(inner) => collect(set, inner, facts, &open, out),
                RuleBody::Act { .. } if open.is_empty() => {}
                RuleBody::Act { .. } => {
                    let stages = open
                        .iter()
                        .map(|condition| unknown_stage(set, condition, facts));
                    out.push(stages.min().unwrap());
                }
            }
        }
    }
    let mut out = Vec::new();
    collect(set, &set.rules, facts, &[], &mut out);
    out
}

fn unknown_stage(set: &RuleSet, condition: &Condition, facts: &Facts<'_>) -> Stage {
    match condition {
        Condition::Not(inner) => inner
            .iter()
            .filter(|condition| ask(set, condition, facts).is_none())
            .map(|condition| unknown_stage(set, condition, facts))
            .min()
            .unwrap(),
        other => other.fact().unwrap().stage(),
    }
}

/// What comes out of one way: bit n says whether the n-th unknown rule fires. Two outcomes where
/// the defaults differ and the flow is not known to be identified.
fn ends(set: &RuleSet, facts: &Facts<'_>, way: u64) -> BTreeSet<&'static str> {
    let mut walk = Walk {
        set,
        facts,
        way,
        next: 0,
        disposition: None,
        over: false,
    };
    walk.rules(&set.rules, true);
    let name = |action| super::outcome_of(action).unwrap().name();
    if let Some(action) = walk.disposition {
        return BTreeSet::from([name(action)]);
    }
    let (named, unnamed) = (
        name(set.defaults.identified),
        name(set.defaults.unidentified),
    );
    match facts.is_identified() {
        Some(true) => BTreeSet::from([named]),
        Some(false) => BTreeSet::from([unnamed]),
        None => BTreeSet::from([named, unnamed]),
    }
}

struct Walk<'a> {
    set: &'a RuleSet,
    facts: &'a Facts<'a>,
    way: u64,
    next: u32,
    disposition: Option<Action>,
    over: bool,
}

impl Walk<'_> {
    /// Rules after the end are still counted, so that each has its own bit in every way.
    fn rules(&mut self, rules: &[Rule], certain: bool) {
        let mut left = false;
        for rule in rules {
            let truth = guard(self.set, rule, self.facts).0;
            if truth == Some(false) {
                continue;
            }
            let certain = certain && truth == Some(true);
            match &rule.body {
                RuleBody::Contain(inner) if !left => self.rules(inner, certain),
                RuleBody::Contain(inner) => {
                    let before = (self.over, self.disposition);
                    self.over = true;
                    self.rules(inner, certain);
                    (self.over, self.disposition) = before;
                }
                RuleBody::Act { action, last, .. } => {
                    let fires = certain || {
                        let fires = self.way >> self.next & 1 == 1;
                        self.next += 1;
                        fires
                    };
                    if !fires || left || self.over {
                        continue;
                    }
                    if *action == Action::Skip {
                        left = true;
                        continue;
                    }
                    self.disposition = Some(*action);
                    self.over = *last;
                }
            }
        }
    }
}

/// Whether a rule's own conditions hold, and those of them that are unknown.
fn guard<'r>(
    set: &RuleSet,
    rule: &'r Rule,
    facts: &Facts<'_>,
) -> (Option<bool>, Vec<&'r Condition>) {
    let when = rule.when.iter().map(|c| (ask(set, c, facts), c));
    let unless = rule
        .unless
        .iter()
        .map(|c| (ask(set, c, facts).map(|holds| !holds), c));
    let all: Vec<_> = when.chain(unless).collect();
    let open: Vec<_> = all
        .iter()
        .filter(|(t, _)| t.is_none())
        .map(|&(_, c)| c)
        .collect();
    if all.iter().any(|(truth, _)| *truth == Some(false)) {
        return (Some(false), Vec::new());
    }
    (open.is_empty().then_some(true), open)
}

fn ask(set: &RuleSet, condition: &Condition, facts: &Facts<'_>) -> Option<bool> {
    if let Condition::Not(inner) = condition {
        let all: Vec<_> = inner
            .iter()
            .map(|condition| ask(set, condition, facts))
            .collect();
        if all.contains(&Some(false)) {
            return Some(true);
        }
        return if all.contains(&None) {
            None
        } else {
            Some(false)
        };
    }
    if condition.fact().unwrap().stage() > facts.stage() {
        return None;
    }
    let hello = match facts.first_bytes {
        Some(FirstBytes::Hello(hello)) => Some(hello),
        _ => None,
    };
    Some(match condition {
        Condition::Alpn(names) => hello.is_some_and(|hello| {
            names.iter().any(|name| match name {
                Some(name) => hello.alpn.iter().any(|offered| offered == name),
                None => hello.alpn.is_absent(),
            })
        }),
        Condition::Client(nets) => nets.iter().any(|net| net.contains(facts.client)),
        Condition::Destination(nets) => nets.iter().any(|net| net.contains(facts.destination)),
        Condition::Ech(offered) => hello.is_some_and(|hello| hello.ech == *offered),
        Condition::Group(groups) => groups.iter().any(|&id| is_member(set, id, facts.client)),
        Condition::Host(patterns) => patterns
            .iter()
            .any(|pattern| match (pattern, facts.host()) {
                (None, host) => host.is_none(),
                (Some(_), None) => false,
                (Some(HostPattern::Exact(name)), Some(host)) => **name == *host,
                (Some(HostPattern::Below(name)), Some(host)) => host.ends_with(&format!(".{name}")),
            }),
        Condition::HostIsIp(expected) => {
            *expected
                == facts
                    .host()
                    .is_none_or(|host| host.parse::<IpAddr>().is_ok())
        }
        Condition::Ja4(patterns) => hello.is_some_and(|hello| {
            patterns.iter().any(|pattern| match pattern {
                Ja4Pattern::Exact(whole) => whole == hello.ja4,
                Ja4Pattern::Prefix(start) => hello.ja4.starts_with(start),
            })
        }),
        Condition::Listener(_) => true,
        Condition::Not(_) => unreachable!(),
        Condition::Port(ranges) => ranges.iter().any(|range| range.contains(facts.port)),
        Condition::Tls(states) => states.iter().any(|state| match (state, facts.first_bytes) {
            (None, bytes) => matches!(bytes, Some(FirstBytes::Hello(_))),
            (Some(reason), Some(FirstBytes::Other(other))) => *reason == other,
            (Some(_), _) => false,
        }),
    })
}

pub(crate) fn is_member(set: &RuleSet, id: GroupId, client: IpAddr) -> bool {
    let group = &set.groups[id.0];
    group.nets.iter().any(|net| net.contains(client))
        || group
            .groups
            .iter()
            .any(|&inner| is_member(set, inner, client))
}
