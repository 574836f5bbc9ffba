//! Rules, and what stands where none decides.

use std::collections::BTreeSet;

use sluice_policy::{
    Action, BlockKind, Condition, DefaultAction, Defaults, Rule, RuleBody, compile::MAX_DEPTH,
};

use super::{
    actions::{self, Act, block_kinds},
    condition,
    names::{Names, name},
    read::{Item, Keys, Section},
};

pub(super) const POLICY: Keys = Keys {
    known: &["default", "default_unidentified", "block", "shadow"],
    later: &[],
};

const RULE: Keys = Keys {
    known: &[
        "name", "enabled", "comment", "when", "unless", "not", "action", "final", "tags", "rule",
    ],
    later: &["expires"],
};

/// How a plain block looks.
pub(super) fn plain_block(policy: &Section<'_>) -> BlockKind {
    policy.choice("block", BlockKind::Alert, &block_kinds())
}

/// Reads what stands where no rule decides.
pub(super) fn defaults(policy: &Section<'_>) -> Defaults {
    let block = DefaultAction::Block(plain_block(policy));
    let words = [("allow", DefaultAction::Allow), ("block", block)];
    Defaults {
        identified: policy.choice("default", block, &words),
        unidentified: policy.choice("default_unidentified", block, &words),
    }
}

/// Reads the rules of a document.
pub(super) fn rules(top: &Section<'_>, names: &Names, plain: BlockKind) -> Vec<Rule> {
    let mut reader = Reader {
        names,
        plain,
        seen: BTreeSet::new(),
    };
    reader.rules(top.get("rule"), "[[rule]]", 0)
}

struct Reader<'n> {
    names: &'n Names,
    /// How a plain `block` looks.
    plain: BlockKind,
    seen: BTreeSet<String>,
}

impl Reader<'_> {
    fn rules(&mut self, item: Option<Item<'_>>, title: &str, depth: usize) -> Vec<Rule> {
        let sections = item
            .map(|item| item.sections(title, RULE))
            .unwrap_or_default();
        sections
            .iter()
            .filter_map(|section| self.rule(section, title, depth))
            .collect()
    }

    fn rule(&mut self, section: &Section<'_>, title: &str, depth: usize) -> Option<Rule> {
        let name = name(section);
        if let (Some(name), Some(item)) = (&name, section.get("name"))
            && !self.seen.insert(name.clone())
        {
            item.note(format!("there are two rules \"{name}\": rename one"));
        }
        let enabled = section
            .get("enabled")
            .and_then(|item| item.boolean())
            .unwrap_or(true);
        // For whoever reads the file; it only has to be a text.
        let _: Option<&str> = section.get("comment").and_then(|item| item.text());
        let mut when = self.conditions(section, "when");
        when.extend(
            section
                .get("not")
                .and_then(|item| condition::negation(&item, self.names)),
        );
        let unless = self.conditions(section, "unless");
        let tags = section.list("tags", Vec::new, actions::tag);
        let nested = section.get("rule");
        let body = match (section.get("action"), nested) {
            (Some(action), None) => self.act(section, &action, depth),
            (None, Some(nested)) => {
                if let Some(item) = section.get("final") {
                    item.note("a container decides nothing itself: take `final` out");
                }
                if let Some(item) = section.get("tags") {
                    item.note("a container has no record: write `tags` in the rules inside");
                }
                if depth >= MAX_DEPTH {
                    nested.note(format!(
                        "containers are nested more than {MAX_DEPTH} deep: split the outer ones"
                    ));
                    return None;
                }
                let title = title.replacen("rule]]", "rule.rule]]", 1);
                Some(RuleBody::Contain(self.rules(
                    Some(nested),
                    &title,
                    depth + 1,
                )))
            }
            (Some(action), Some(_)) => {
                action.note("a rule with rules inside is a container and has no action of its own");
                None
            }
            (None, None) => {
                section.missing(
                    "action",
                    "write \"allow\", \"splice\" or { block = \"page\" }",
                );
                None
            }
        };
        let rule = Rule {
            name: name?,
            when,
            unless,
            tags,
            body: body?,
        };
        enabled.then_some(rule)
    }

    fn conditions(&self, section: &Section<'_>, key: &str) -> Vec<Condition> {
        section
            .get(key)
            .map(|item| condition::conditions(&item, self.names))
            .unwrap_or_default()
    }

    fn act(&self, section: &Section<'_>, item: &Item<'_>, depth: usize) -> Option<RuleBody> {
        let Act { action, message } = actions::action(item, self.plain)?;
        let last = section.get("final").and_then(|item| {
            let last = item.boolean()?;
            if !last && !matches!(action, Action::Allow | Action::Block(_)) {
                item.note("only an allow or a block can be overridden by a later rule");
            }
            Some(last)
        });
        if action == Action::Skip && depth == 0 {
            item.note("\"skip\" leaves a container, and this rule lies in none");
        }
        Some(RuleBody::Act {
            action,
            last: last.unwrap_or(true),
            message,
        })
    }
}
