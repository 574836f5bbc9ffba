//! What to tell an administrator about rules that are valid and perhaps not meant.

use crate::{
    compile::{Policy, RuleId},
    outcome::{BlockKind, Outcome},
    rule::{Action, Condition, GroupId, Rule, RuleBody, RuleSet},
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
                write!(f, "group \"{group}\" has no members: no client is in it")
            }
            Self::Unreachable { rule, behind } => {
                write!(
                    f,
                    "rule \"{rule}\" is never reached: \"{behind}\" before it always decides"
                )
            }
            Self::UnusedGroup { group } => write!(f, "group \"{group}\" is used by no rule"),
        }
    }
}

/// Looks for what is valid and perhaps not meant.
#[must_use]
pub fn lint(set: &RuleSet, policy: &Policy) -> Vec<Lint> {
    let mut lints = Vec::new();
    groups(set, &mut lints);
    let rules = policy.rules();
    let decides = |action| !matches!(action, Action::Skip);
    let end = rules
        .iter()
        .position(|rule| rule.unconditional && rule.last && decides(rule.action));
    if let Some(end) = end
        && let Some(behind) = rules.get(end)
    {
        lints.extend(rules.iter().skip(end + 1).map(|rule| Lint::Unreachable {
            rule: rule.name.clone(),
            behind: behind.name.clone(),
        }));
    }
    lints
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
            ids.iter().for_each(|&id| mark(id));
        }
    });
    for (group, used) in set.groups.iter().zip(used) {
        if group.nets.is_empty() && group.groups.is_empty() {
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

/// Whether flows that no rule decides may be shown a page.
#[must_use]
pub fn defaults_show_page(policy: &Policy) -> bool {
    let page = Outcome::Block(BlockKind::Page);
    policy.defaults.identified == page || policy.defaults.unidentified == page
}
