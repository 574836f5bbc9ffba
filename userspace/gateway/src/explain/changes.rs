//! What is different between two rule sets, as they are written.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_policy::{
    Condition, Group, List, ListData, RuleSet, User,
    compile::{CompileError, FlatRule},
};

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Change {
    /// What it is: "rule", "group", "list", "user", "schedule", or a default's key.
    pub of: &'static str,
    /// Its name; empty of a default.
    pub name: String,
    /// What became of it.
    pub how: How,
}

/// What became of something.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is only in the old configuration.
    OnlyOld,
    /// It is only in the new configuration.
    OnlyNew,
    /// It says something else.
    Changed,
    /// It says the same at another place of the order.
    Moved,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.of)?;
        if !self.name.is_empty() {
            write!(f, " \"{}\"", self.name)?;
        }
        f.write_str(match self.how {
            How::OnlyOld => ": only in the old configuration",
            How::OnlyNew => ": only in the new configuration",
            How::Changed => ": changed",
            How::Moved => ": at another place of the order",
        })
    }
}

/// The differences: defaults, then rules in the order of the old configuration, then what rules
/// speak of.
///
/// # Errors
///
/// [`CompileError`], which rules that were compiled do not give.
pub fn changes(old: &RuleSet, new: &RuleSet) -> Result<Vec<Change>, CompileError> {
    let mut found = Vec::new();
    for (of, same) in [
        (
            "default",
            old.defaults.identified == new.defaults.identified,
        ),
        (
            "default_unidentified",
            old.defaults.unidentified == new.defaults.unidentified,
        ),
    ] {
        if !same {
            found.push(Change {
                of,
                name: String::new(),
                how: How::Changed,
            });
        }
    }
    let (olds, news) = (old.flat()?, new.flat()?);
    let texts = |set: &RuleSet, rules: &[FlatRule<'_>]| -> Vec<(String, String)> {
        let rules = rules.iter();
        rules
            .map(|rule| (rule.rule.name.clone(), written(set, rule)))
            .collect()
    };
    let (olds, news) = (texts(old, &olds), texts(new, &news));
    let by_name = |rules: &[(String, String)]| -> BTreeMap<String, (usize, String)> {
        let rules = rules.iter().cloned().enumerate();
        rules.map(|(at, (name, text))| (name, (at, text))).collect()
    };
    let (in_old, in_new) = (by_name(&olds), by_name(&news));
    let places: Vec<usize> = olds
        .iter()
        .filter_map(|(name, _)| Some(in_new.get(name)?.0))
        .collect();
    let stay = longest_rising(&places);
    for (name, text) in &olds {
        let how = match in_new.get(name) {
            None => How::OnlyOld,
            Some((_, now)) if now != text => How::Changed,
            Some((at, _)) if stay.binary_search(at).is_err() => How::Moved,
            Some(_) => continue,
        };
        found.push(Change {
            of: "rule",
            name: name.clone(),
            how,
        });
    }
    for (name, _) in news.iter().filter(|(name, _)| !in_old.contains_key(name)) {
        found.push(Change {
            of: "rule",
            name: name.clone(),
            how: How::OnlyNew,
        });
    }
    let group = |set: &RuleSet, group: &Group| {
        resolved(
            set,
            &format!("{:?}", (&group.nets, &group.users, &group.groups)),
        )
    };
    named(
        &mut found,
        "group",
        (old, &old.groups),
        (new, &new.groups),
        |group| &group.name,
        |a, b| group(old, a) == group(new, b),
    );
    let same_nets = |one: &User, two: &User| one.nets == two.nets;
    named(
        &mut found,
        "user",
        (old, &old.users),
        (new, &new.users),
        |user| &user.name,
        same_nets,
    );
    named(
        &mut found,
        "list",
        (old, &old.lists),
        (new, &new.lists),
        |list| &list.name,
        same_list,
    );
    named(
        &mut found,
        "schedule",
        (old, &old.schedules),
        (new, &new.schedules),
        |schedule| &schedule.name,
        |a, b| format!("{a:?}") == format!("{b:?}"),
    );
    Ok(found)
}

fn named<T>(
    found: &mut Vec<Change>,
    of: &'static str,
    (_, old): (&RuleSet, &[T]),
    (_, new): (&RuleSet, &[T]),
    name: impl Fn(&T) -> &String,
    same: impl Fn(&T, &T) -> bool,
) {
    let index = |all: &[T]| -> BTreeMap<String, usize> {
        all.iter()
            .enumerate()
            .map(|(at, one)| (name(one).clone(), at))
            .collect()
    };
    let (in_old, in_new) = (index(old), index(new));
    for one in old {
        let how = match in_new.get(name(one)).and_then(|&at| new.get(at)) {
            None => How::OnlyOld,
            Some(other) if !same(one, other) => How::Changed,
            Some(_) => continue,
        };
        found.push(Change {
            of,
            name: name(one).clone(),
            how,
        });
    }
    for one in new.iter().filter(|one| !in_old.contains_key(name(one))) {
        found.push(Change {
            of,
            name: name(one).clone(),
            how: How::OnlyNew,
        });
    }
}

/// Whether two lists hold the same.
fn same_list(one: &List, two: &List) -> bool {
    match (&one.data, &two.data) {
        (ListData::Addresses(one), ListData::Addresses(two)) => one == two,
        (ListData::Domains(one), ListData::Domains(two)) => {
            one.len() == two.len() && one.iter().eq(two.iter())
        }
        (ListData::Urls(one), ListData::Urls(two)) => one == two,
        _ => false,
    }
}

/// Everything that a rule and its containers say, with the names of what they speak of.
fn written(set: &RuleSet, rule: &FlatRule<'_>) -> String {
    let when: Vec<&Condition> = rule.when().collect();
    let unless: Vec<&Condition> = rule.unless().collect();
    let containers: Vec<&str> = rule
        .containers
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    let FlatRule {
        action,
        last,
        message,
        ..
    } = rule;
    let all = (
        containers,
        when,
        unless,
        action,
        last,
        message,
        &rule.rule.tags,
    );
    resolved(set, &format!("{all:?}"))
}

/// Numbers are places in one configuration, and mean something else in another.
fn resolved(set: &RuleSet, text: &str) -> String {
    let mut text = text.to_owned();
    let mut put = |kind: &str, name: &str, at: usize| {
        let number = format!("{kind}({at})");
        if text.contains(&number) {
            text = text.replace(&number, &format!("{kind}({name:?})"));
        }
    };
    for (at, group) in set.groups.iter().enumerate() {
        put("GroupId", &group.name, at);
    }
    for (at, list) in set.lists.iter().enumerate() {
        put("ListId", &list.name, at);
    }
    for (at, schedule) in set.schedules.iter().enumerate() {
        put("ScheduleId", &schedule.name, at);
    }
    text
}

/// The members of a longest rising part of a sequence of different numbers.
fn longest_rising(numbers: &[usize]) -> Vec<usize> {
    // For each length the place of the least number that a rising part of it ends with.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(numbers.len());
    let number = |place: usize| numbers.get(place).copied().unwrap_or(usize::MAX);
    for (place, &value) in numbers.iter().enumerate() {
        let length = ends.partition_point(|&end| number(end) < value);
        before.push(
            length
                .checked_sub(1)
                .and_then(|length| ends.get(length).copied()),
        );
        match ends.get_mut(length) {
            Some(end) => *end = place,
            None => ends.push(place),
        }
    }
    let mut part = Vec::new();
    let mut at = ends.last().copied();
    while let Some(place) = at {
        part.push(number(place));
        at = before.get(place).copied().flatten();
    }
    part.reverse();
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_in_order_is_as_much_as_can_be() {
        assert!(longest_rising(&[]).is_empty());
        assert_eq!(longest_rising(&[3, 0, 1, 2]), [0, 1, 2]);
        assert_eq!(longest_rising(&[0, 2, 1, 3]).len(), 3);
    }
}
