//! Groups and rules.

use std::collections::{BTreeMap, BTreeSet};

use sluice_policy::{
    Action, BlockKind, Defaults, Group, GroupId, Net, Rule, RuleBody, RuleSet, compile::MAX_DEPTH,
};

use super::{
    condition,
    problem::near_miss,
    read::{Item, Keys, Section, unknown_word},
};

pub(super) const POLICY: Keys = Keys {
    known: &["default", "default_unidentified", "block"],
    later: &["shadow"],
};

const GROUP: Keys = Keys {
    known: &["name", "members"],
    later: &["file"],
};

const RULE: Keys = Keys {
    known: &[
        "name", "enabled", "when", "unless", "not", "action", "final", "rule",
    ],
    later: &["comment", "expires"],
};

/// What a rule may refer to.
pub(super) struct Names<'t> {
    groups: BTreeMap<&'t str, GroupId>,
}

impl<'t> Names<'t> {
    /// The group of a name; why there is none, otherwise.
    pub(super) fn group(&self, name: &str) -> Result<GroupId, String> {
        if let Some(&id) = self.groups.get(name) {
            return Ok(id);
        }
        Err(match near_miss(name, self.groups.keys().copied()) {
            Some(meant) => format!("there is no group \"{name}\": did you mean \"{meant}\"?"),
            None => format!("there is no group \"{name}\": write a [[group]] of that name"),
        })
    }
}

/// Reads the groups and rules of a document.
pub(super) fn rules<'t>(top: &Section<'t>, policy: &Section<'t>) -> RuleSet {
    let kinds = BlockKind::ALL.map(|kind| (kind.name(), kind));
    let plain = policy.choice("block", BlockKind::Alert, &kinds);
    let words = [("allow", Action::Allow), ("block", Action::Block(plain))];
    let defaults = Defaults {
        identified: policy.choice("default", Action::Block(plain), &words),
        unidentified: policy.choice("default_unidentified", Action::Block(plain), &words),
    };
    let (groups, names) = groups(top);
    let mut reader = Reader {
        names,
        plain,
        seen: BTreeSet::new(),
    };
    let rules = reader.rules(top.get("rule"), "[[rule]]", 0);
    RuleSet {
        defaults,
        groups,
        rules,
    }
}

/// The name of a section that must have one.
pub(super) fn name(section: &Section<'_>) -> Option<String> {
    let Some(item) = section.get("name") else {
        section.missing("name", "give it a name, which logs and metrics will show");
        return None;
    };
    let name = item.text()?;
    if name.trim().is_empty() || name.chars().any(char::is_control) || name.len() > 200 {
        item.note("expected one line of at most 200 bytes");
        return None;
    }
    Some(name.to_owned())
}

fn groups<'t>(top: &Section<'t>) -> (Vec<Group>, Names<'t>) {
    let sections = top
        .get("group")
        .map(|item| item.sections("[[group]]", GROUP))
        .unwrap_or_default();
    let mut names = Names {
        groups: BTreeMap::new(),
    };
    let mut groups = Vec::new();
    let mut named = Vec::new();
    for section in sections {
        let name_item = section.get("name");
        let (Some(name), Some(key)) = (
            name(&section),
            name_item.as_ref().and_then(|item| item.text_if()),
        ) else {
            continue;
        };
        if names.groups.insert(key, GroupId(groups.len())).is_some()
            && let Some(item) = name_item
        {
            item.note(format!("there are two groups \"{name}\": rename one"));
        }
        groups.push(Group {
            name,
            nets: Vec::new(),
            groups: Vec::new(),
        });
        named.push(section);
    }
    for (group, section) in groups.iter_mut().zip(&named) {
        let Some(members) = section.get("members") else {
            continue;
        };
        for member in members.texts(|text| member(text, &names)) {
            match member {
                Member::Net(net) => group.nets.push(net),
                Member::Group(id) => group.groups.push(id),
            }
        }
    }
    for (start, section) in named.iter().enumerate() {
        if is_circular(&groups, start)
            && let Some(item) = section.get("members")
        {
            item.note("the group is a member of itself: take one of the \"group:\" members out");
        }
    }
    (groups, names)
}

enum Member {
    Group(GroupId),
    Net(Net),
}

fn member(text: &str, names: &Names<'_>) -> Result<Member, String> {
    if let Some(name) = text.strip_prefix("group:") {
        return names.group(name).map(Member::Group);
    }
    match text.parse() {
        Ok(net) => Ok(Member::Net(net)),
        Err(sluice_policy::NetError::NotANet) if !looks_like_address(text) => Err(
            "users are not yet supported in this version, they come with the proxy: expected an \
             address, a CIDR or \"group:NAME\""
                .into(),
        ),
        Err(error) => Err(error.to_string()),
    }
}

fn looks_like_address(text: &str) -> bool {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    (digits && text.contains('.')) || text.contains('/') || text.contains("::")
}

fn is_circular(groups: &[Group], start: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        for &GroupId(inner) in groups
            .get(at)
            .map(|group| group.groups.as_slice())
            .unwrap_or(&[])
        {
            if inner == start {
                return true;
            }
            if seen.insert(inner) {
                open.push(inner);
            }
        }
    }
    false
}

struct Reader<'t> {
    names: Names<'t>,
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
        let mut when = self.conditions(section, "when");
        when.extend(
            section
                .get("not")
                .and_then(|item| condition::negation(&item, &self.names)),
        );
        let unless = self.conditions(section, "unless");
        let nested = section.get("rule");
        let body = match (section.get("action"), nested) {
            (Some(action), None) => self.act(section, &action, depth),
            (None, Some(nested)) => {
                if let Some(item) = section.get("final") {
                    item.note("a container decides nothing itself: take `final` out");
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
            body: body?,
        };
        enabled.then_some(rule)
    }

    fn conditions(&self, section: &Section<'_>, key: &str) -> Vec<sluice_policy::Condition> {
        section
            .get(key)
            .map(|item| condition::conditions(&item, &self.names))
            .unwrap_or_default()
    }

    fn act(&self, section: &Section<'_>, item: &Item<'_>, depth: usize) -> Option<RuleBody> {
        let (action, message) = self.action(item)?;
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

    fn action(&self, item: &Item<'_>) -> Option<(Action, Option<String>)> {
        if item.is_table() {
            const BLOCK: Keys = Keys {
                known: &["block", "message"],
                later: &["warn", "tag", "no-log"],
            };
            let table = item.section("`action`", BLOCK)?;
            let kinds = BlockKind::ALL.map(|kind| (kind.name(), kind));
            let Some(block) = table.get("block") else {
                // A key of a later version has been noted already.
                if ["warn", "tag", "no-log"]
                    .iter()
                    .all(|key| table.get(key).is_none())
                {
                    item.note("expected { block = \"page\" }, \"alert\" or \"reset\"");
                }
                return None;
            };
            let kind = block.choice(&kinds)?;
            let message = table.get("message").and_then(|item| {
                if kind != BlockKind::Page {
                    item.note("only a page has room for a message: write block = \"page\"");
                }
                item.text()
            });
            return Some((Action::Block(kind), message.map(str::to_owned)));
        }
        let words = [
            ("allow", Action::Allow),
            ("splice", Action::Splice),
            ("block", Action::Block(self.plain)),
            ("skip", Action::Skip),
        ];
        let later = ["inspect", "warn", "tag", "no-log"];
        let action = item.parse(|text| {
            if later.contains(&text) {
                return Err("not yet supported in this version: take the rule out".into());
            }
            let found = words
                .iter()
                .find_map(|&(word, action)| (word == text).then_some(action));
            found.ok_or_else(|| unknown_word(text, words.iter().map(|&(word, _)| word)))
        });
        Some((action?, None))
    }
}
