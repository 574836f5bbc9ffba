//! What is defined and not used, used and not defined, or empty.

use std::collections::BTreeSet;

use sluice_policy::{AddressItem, Condition, HostItem, ListId, RuleSet, ScheduleId, UrlItem};

use super::{every_condition, quoted};

/// What the conditions and the groups refer to.
#[derive(Default)]
struct Used<'s> {
    lists: BTreeSet<usize>,
    schedules: BTreeSet<usize>,
    users: BTreeSet<&'s str>,
    /// Whether a rule asks if a user is known at all.
    any_user: bool,
}

impl<'s> Used<'s> {
    fn of(set: &'s RuleSet) -> Self {
        let mut used = Self::default();
        for group in &set.groups {
            used.users.extend(group.users.iter().map(String::as_str));
        }
        every_condition(&set.rules, &mut |condition| used.add(condition));
        used
    }

    fn add(&mut self, condition: &'s Condition) {
        let host = |item: &HostItem| match item {
            HostItem::List(ListId(id)) => Some(*id),
            HostItem::Pattern(_) => None,
        };
        match condition {
            Condition::Client(items) | Condition::Destination(items) => {
                self.lists
                    .extend(items.iter().filter_map(|item| match item {
                        AddressItem::List(ListId(id)) => Some(*id),
                        AddressItem::Net(_) => None,
                    }));
            }
            Condition::ConnectHost(items) | Condition::Host(items) => {
                self.lists.extend(items.iter().flatten().filter_map(host));
            }
            Condition::UrlHost(items) => self.lists.extend(items.iter().filter_map(host)),
            Condition::Url(items) => {
                self.lists
                    .extend(items.iter().filter_map(|item| match item {
                        UrlItem::List(ListId(id)) => Some(*id),
                        UrlItem::Pattern(_) => None,
                    }));
            }
            Condition::Schedule(ids) => {
                self.schedules.extend(ids.iter().map(|&ScheduleId(id)| id));
            }
            Condition::User(names) => {
                self.any_user |= names.contains(&None);
                self.users
                    .extend(names.iter().flatten().map(String::as_str));
            }
            _ => {}
        }
    }
}

/// Lists that hold nothing, and what no rule refers to; of groups the policy's own lint tells.
pub(super) fn unused(set: &RuleSet) -> Vec<String> {
    let used = Used::of(set);
    let mut found = Vec::new();
    for (id, list) in set.lists.iter().enumerate() {
        let name = &list.name;
        if list.data.is_empty() {
            found.push(format!("list \"{name}\" is empty: nothing is in it"));
        }
        if !used.lists.contains(&id) {
            found.push(format!("list \"{name}\" is used by no rule"));
        }
    }
    for (id, schedule) in set.schedules.iter().enumerate() {
        if !used.schedules.contains(&id) {
            found.push(format!("schedule \"{}\" is used by no rule", schedule.name));
        }
    }
    let names: Vec<_> = set
        .users
        .iter()
        .map(|user| user.name.clone())
        .filter(|name| !used.any_user && !used.users.contains(name.as_str()))
        .collect();
    match names.as_slice() {
        [] => {}
        [name] => found.push(format!(
            "user \"{name}\" is used by no rule and no group: the name shows in records only"
        )),
        names => found.push(format!(
            "users {} are used by no rule and no group: their names show in records only",
            quoted(names)
        )),
    }
    found
}

/// Users that rules and groups speak of and that no address tells.
pub(super) fn unknown_users(set: &RuleSet) -> Option<String> {
    let known: BTreeSet<_> = set
        .users
        .iter()
        .filter(|user| !user.nets.is_empty())
        .map(|user| user.name.as_str())
        .collect();
    let used = Used::of(set).users;
    let unknown: Vec<_> = used.difference(&known).map(|&name| name.into()).collect();
    let verb = match unknown.len() {
        0 => return None,
        1 => "is",
        _ => "are",
    };
    Some(format!(
        "{} {verb} known only once somebody authenticates, or is told by `sluice identity`: no [[user]] gives them an address",
        quoted(&unknown)
    ))
}
