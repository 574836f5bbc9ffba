//! What to tell an administrator about rules that are valid and perhaps not meant.

use std::collections::BTreeSet;

use crate::{
    compile::{FlatRule, Policy, RuleId},
    outcome::BlockKind,
    rule::{Action, Condition, GroupId, Rule, RuleBody, RuleSet},
    running::Effect,
};

/// Something that is valid and perhaps not meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lint {
    /// A group without a member.
    EmptyGroup {
        /// The group.
        group: String,
    },
    /// A rule that no flow reaches.
    Unreachable {
        /// The rule.
        rule: String,
        /// The rule that ends the walk before it.
        behind: String,
    },
    /// A group that no rule asks for and that is in no other group.
    UnusedGroup {
        /// The group.
        group: String,
    },
}

impl std::fmt::Display for Lint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EmptyGroup { group } => {
                write!(f, "group \"{group}\" has no members: nobody is in it")
            }
            Self::Unreachable { rule, behind } => {
                write!(
                    f,
                    "rule \"{rule}\" is never reached: \"{behind}\" before it decides wherever it would hold"
                )
            }
            Self::UnusedGroup { group } => write!(f, "group \"{group}\" is used by no rule"),
        }
    }
}

/// With more rules than this only those behind a rule that always holds are looked for: comparing
/// every rule with every other takes time that grows with the square.
const MOST_COMPARED: usize = 2000;

/// Looks for what is valid and perhaps not meant.
#[must_use]
pub fn lint(set: &RuleSet, policy: &Policy) -> Vec<Lint> {
    let mut lints = Vec::new();
    groups(set, &mut lints);
    if let Ok(flat) = set.flat() {
        shadowed(&flat, policy, &mut lints);
    }
    lints
}

/// Rules that no flow reaches: an earlier one ends the walk wherever they would hold.
fn shadowed(flat: &[FlatRule<'_>], policy: &Policy, lints: &mut Vec<Lint>) {
    // What is written the same way means the same.
    let written = |conditions: &mut dyn Iterator<Item = &Condition>| {
        conditions
            .map(|condition| format!("{condition:?}"))
            .collect::<BTreeSet<_>>()
    };
    let compare = flat.len() <= MOST_COMPARED;
    let mut before: Vec<(usize, BTreeSet<String>, BTreeSet<String>)> = Vec::new();
    let mut skipped_to = 0;
    for (at, (rule, compiled)) in flat.iter().zip(&policy.compiled).enumerate() {
        let (when, unless) = if compare {
            (written(&mut rule.when()), written(&mut rule.unless()))
        } else {
            Default::default()
        };
        let behind = before
            .iter()
            .find(|(earlier, earlier_when, earlier_unless)| {
                let always = flat.get(*earlier).is_some_and(FlatRule::is_unconditional);
                always
                    || (compare
                        && earlier_when.is_subset(&when)
                        && earlier_unless.is_subset(&unless))
            });
        if let Some((behind, ..)) = behind
            && let Some(behind) = flat.get(*behind)
        {
            lints.push(Lint::Unreachable {
                rule: rule.rule.name.clone(),
                behind: behind.rule.name.clone(),
            });
        }
        if compiled.effect == Effect::Skip {
            skipped_to = skipped_to.max(compiled.to as usize);
        }
        // Who has left a container does not meet the rules that follow in it.
        let ends = compiled.effect.is_end() && at >= skipped_to;
        if ends && (compare || rule.is_unconditional()) {
            before.push((at, when, unless));
        }
    }
}

fn groups(set: &RuleSet, lints: &mut Vec<Lint>) {
    let mut used = vec![false; set.groups.len()];
    let mut mark = |id: GroupId| {
        if let Some(slot) = used.get_mut(id.0) {
            *slot = true;
        }
    };
    set.groups
        .iter()
        .flat_map(|group| &group.groups)
        .for_each(|&id| mark(id));
    conditions(&set.rules, &mut |condition| {
        if let Condition::Group(ids) = condition {
            ids.iter().flatten().for_each(|&id| mark(id));
        }
    });
    for (group, used) in set.groups.iter().zip(used) {
        if group.nets.is_empty() && group.groups.is_empty() && group.users.is_empty() {
            lints.push(Lint::EmptyGroup {
                group: group.name.clone(),
            });
        }
        if !used {
            lints.push(Lint::UnusedGroup {
                group: group.name.clone(),
            });
        }
    }
}

/// Visits every condition of the rules, those inside containers and negations included.
fn conditions(rules: &[Rule], visit: &mut dyn FnMut(&Condition)) {
    fn inside(list: &[Condition], visit: &mut dyn FnMut(&Condition)) {
        for condition in list {
            visit(condition);
            if let Condition::Not(inner) = condition {
                inside(inner, visit);
            }
        }
    }
    for rule in rules {
        inside(&rule.when, visit);
        inside(&rule.unless, visit);
        if let RuleBody::Contain(rules) = &rule.body {
            conditions(rules, visit);
        }
    }
}

/// The rules that show a page; without a CA it becomes an alert.
pub fn page_rules(policy: &Policy) -> impl Iterator<Item = RuleId> {
    let page = Action::Block(BlockKind::Page);
    (0..)
        .zip(policy.rules())
        .filter(move |(_, rule)| rule.action == page)
        .map(|(id, _)| RuleId(id))
}

/// Whether a default shows a page.
#[must_use]
pub const fn defaults_show_page(policy: &Policy) -> bool {
    policy.shows_page_by_default()
}
