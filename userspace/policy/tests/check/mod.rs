//! What must hold of any rules whatever; shared by the fuzz target and its stand-in on stable Rust.

#[path = "../reference/worlds.rs"]
mod worlds;

use std::sync::Arc;

use sluice_policy::{
    AddressItem, CompileError, Condition, Decision, DomainListBuilder, Fact, FactSet, Facts,
    GroupId, HostItem, List, ListData, Outcome, Policy, Progress, Rule, RuleBody, RuleSet, Scratch,
    Stage, TextPattern, UrlItem,
};

/// How the bytes are shared out.
const DAMAGE: usize = 4;
const DEFAULTS: usize = 2;
const FLOW: usize = 40;
const RULE: usize = 28;
/// More bytes than those of so many rules say nothing.
const MOST_RULES: usize = 40;

/// Panics if the rules and the flows that the bytes spell break a promise of the crate.
///
/// The first bytes say what is wrong with the rules, if anything; then come the defaults, two flows,
/// and the rules, of which the last may be cut short.
pub(crate) fn check(bytes: &[u8]) {
    let (damage, rest) = split(bytes, DAMAGE);
    let (defaults, rest) = split(rest, DEFAULTS);
    let (one, rest) = split(rest, FLOW);
    let (other, rest) = split(rest, FLOW);
    let rules: Vec<_> = rest.chunks(RULE).take(MOST_RULES).collect();
    let mut set = worlds::rule_set(defaults, &rules);
    let may_fail = damaged(&mut set, damage, rest);
    let policy = match Policy::compile(&set) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(may_fail, "{error}: {set:?}");
            return assert!(names_a_cause(&error), "{error}");
        }
    };
    let mut scratch = Scratch::default();
    let (one, other) = (worlds::flow(one), worlds::flow(other));
    for (flow, other) in [(&one, &other), (&other, &one)] {
        decides(&policy, flow, other, &mut scratch);
    }
}

fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at).unwrap_or((bytes, &[]))
}

/// Whether a refusal says what it refuses.
fn names_a_cause(error: &CompileError) -> bool {
    error
        .to_string()
        .contains(|c: char| c == '"' || c == '`' || c.is_ascii_digit())
}

/// Spoils rules, or adds to them what the bytes spell as text; whether they may be refused now.
fn damaged(set: &mut RuleSet, damage: &[u8], text: &[u8]) -> bool {
    let at = |index: usize| damage.get(index).copied().map_or(0, usize::from);
    let (kind, much) = (at(0), at(1));
    match kind % 16 {
        // Numbers that stand for nothing, or for something else.
        1 => set.lists.truncate(much % 4),
        2 => set.groups.truncate(much % 3),
        3 => set.schedules.truncate(much % 2),
        4 => set.lists.rotate_left(much % 4),
        // A circle of groups, maybe of one.
        5 => {
            let member = GroupId(at(2) % 4);
            if let Some(group) = set.groups.get_mut(much % 3) {
                group.groups.push(member);
            }
        }
        6 => nest(set, much % 80),
        7 => set.rules.extend(spelled(text)),
        8 => {
            let list = domains(text);
            set.lists.iter_mut().for_each(|known| {
                if matches!(known.data, ListData::Domains(_)) {
                    *known = list.clone();
                }
            });
            return false;
        }
        9 => {
            set.users.clear();
            set.rules.reverse();
            return false;
        }
        _ => return false,
    }
    true
}

/// Puts every rule into so many containers.
fn nest(set: &mut RuleSet, depth: usize) {
    for _ in 0..depth {
        let inner = std::mem::take(&mut set.rules);
        set.rules.push(Rule {
            name: String::new(),
            when: Vec::new(),
            unless: Vec::new(),
            tags: Vec::new(),
            body: RuleBody::Contain(inner),
        });
    }
}

/// Rules of whatever a text is: patterns, prefixes, networks, expressions.
fn spelled(text: &[u8]) -> Option<Rule> {
    let text = String::from_utf8_lossy(text);
    let mut when = Vec::new();
    for word in text.split_whitespace().take(8) {
        if let Ok(pattern) = word.parse() {
            when.push(Condition::Host(vec![
                None,
                Some(HostItem::Pattern(pattern)),
            ]));
        }
        if let Ok(net) = word.parse() {
            when.push(Condition::Client(vec![AddressItem::Net(net)]));
        }
        let prefix = TextPattern::Prefix(word.into());
        match TextPattern::regex(word) {
            Ok(regex) => when.extend([
                Condition::Path(vec![regex.clone(), prefix]),
                Condition::Url(vec![UrlItem::Pattern(regex.clone())]),
                Condition::UserAgent(vec![Some(regex), None]),
            ]),
            Err(_) => when.push(Condition::Issuer(vec![Some(prefix)])),
        }
    }
    let (rest, when) = when
        .split_last()
        .map(|(last, rest)| (rest.to_vec(), vec![last.clone()]))?;
    Some(Rule {
        name: text.into_owned(),
        when: vec![Condition::Not(when)],
        unless: rest,
        tags: Vec::new(),
        body: RuleBody::Act {
            action: sluice_policy::Action::Allow,
            last: true,
            message: None,
        },
    })
}

fn domains(text: &[u8]) -> List {
    let mut builder = DomainListBuilder::default();
    for line in String::from_utf8_lossy(text).lines() {
        // What is no name is left out, as a file's mistake is told and left out.
        let _ = builder.add(line);
    }
    List {
        name: "spelled".into(),
        data: ListData::Domains(Arc::new(builder.finish())),
    }
}

fn settled(decision: &Decision) -> Result<Outcome, Option<Stage>> {
    match decision {
        Decision::Decided(decided) => Ok(decided.outcome),
        Decision::Undecided(undecided) => Err(undecided.next),
    }
}

/// One walk that is carried on from stage to stage, the walks from the start, fast and full, and
/// the walk under facts that a decision does not rest on say the same; what is decided stays.
fn decides(policy: &Policy, flow: &Facts<'static>, other: &Facts<'static>, scratch: &mut Scratch) {
    let mut progress = Progress::default();
    let mut decided: Option<Outcome> = None;
    for facts in worlds::stages(flow) {
        let decision = policy.decide(&facts, scratch);
        let said = settled(&decision);
        assert_eq!(
            settled(&policy.weigh(&facts, scratch)),
            said,
            "at {}",
            facts.stage
        );
        if let Some(before) = decided {
            assert_eq!(said, Ok(before), "at {}", facts.stage);
        } else {
            let carried = policy.advance(&mut progress, &facts, scratch);
            assert_eq!(settled(&carried), said, "at {}", facts.stage);
        }
        match &decision {
            Decision::Decided(decided) => {
                let outside = FactSet::of_all(&Fact::ALL).without(decided.support);
                let there = worlds::mixed(&facts, other, outside);
                assert_eq!(
                    settled(&policy.decide(&there, scratch)),
                    said,
                    "at {}",
                    facts.stage
                );
                if let Some(rule) = decided.cause.rule() {
                    assert!(policy.rule(rule).is_some());
                }
            }
            Decision::Undecided(undecided) => {
                assert!(undecided.next.is_none_or(|next| next > facts.stage));
            }
        }
        decided = said.ok();
        assert!(
            policy
                .explain(&facts, scratch)
                .iter()
                .all(|rule| policy.rule(rule.rule).is_some())
        );
        let annotations = policy.annotations(&facts, scratch);
        assert!(annotations.tags.iter().all(|tag| !tag.is_empty()));
    }
}
