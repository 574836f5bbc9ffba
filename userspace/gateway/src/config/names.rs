//! Names that sections give themselves, and what bears them.

use std::collections::BTreeMap;

use sluice_policy::{GroupId, ListId, ListenerPattern, ScheduleId};

use super::{
    lists::ListKind,
    pattern,
    problem::near_miss,
    read::{Keys, Section},
};

/// One section of an array of tables.
pub(super) struct Named<'t> {
    /// Its name; empty where it has none, which has been noted.
    pub(super) name: String,
    pub(super) section: Section<'t>,
}

/// What a rule may refer to.
#[derive(Default)]
pub(super) struct Names {
    /// The proxy listeners.
    pub(super) listeners: Vec<String>,
    pub(super) groups: BTreeMap<String, GroupId>,
    /// The lists; of a kind that was not understood there is none.
    pub(super) lists: BTreeMap<String, (ListId, Option<ListKind>)>,
    pub(super) schedules: BTreeMap<String, ScheduleId>,
}

impl Names {
    /// The group of a name; why there is none, otherwise.
    pub(super) fn group(&self, name: &str) -> Result<GroupId, String> {
        find(&self.groups, "group", name).copied()
    }

    /// The listener that a word means; why there is none, otherwise.
    pub(super) fn listener(&self, text: &str) -> Result<ListenerPattern, String> {
        let pattern = pattern::listener(text);
        let ListenerPattern::Named(name) = &pattern else {
            return Ok(pattern);
        };
        if self.listeners.contains(name) {
            return Ok(pattern);
        }
        let words = ["transparent", "proxy"].into_iter();
        let words = words.chain(self.listeners.iter().map(String::as_str));
        Err(match near_miss(text, words) {
            Some(meant) => format!("there is no listener \"{text}\": did you mean \"{meant}\"?"),
            None => format!(
                "there is no listener \"{text}\": write a [[proxy]] of that name, \"proxy\" or \
                 \"transparent\""
            ),
        })
    }

    /// The schedule of a name; why there is none, otherwise.
    pub(super) fn schedule(&self, name: &str) -> Result<ScheduleId, String> {
        find(&self.schedules, "schedule", name).copied()
    }

    /// The list that `list:NAME` means, if it is of one of the kinds; `None` where the text means
    /// none.
    pub(super) fn list(&self, text: &str, kinds: &[ListKind]) -> Option<Result<ListId, String>> {
        let name = text.strip_prefix("list:")?;
        Some(
            find(&self.lists, "list", name).and_then(|&(id, kind)| match kind {
                Some(kind) if !kinds.contains(&kind) => {
                    let wanted: Vec<_> = kinds
                        .iter()
                        .map(|kind| format!("\"{}\"", kind.name()))
                        .collect();
                    Err(format!(
                        "a list of kind \"{}\" does not fit here: expected one of kind {}",
                        kind.name(),
                        wanted.join(" or ")
                    ))
                }
                _ => Ok(id),
            }),
        )
    }
}

fn find<'n, T>(map: &'n BTreeMap<String, T>, what: &str, name: &str) -> Result<&'n T, String> {
    map.get(name)
        .ok_or_else(|| match near_miss(name, map.keys().map(String::as_str)) {
            Some(meant) => format!("there is no {what} \"{name}\": did you mean \"{meant}\"?"),
            None => format!("there is no {what} \"{name}\": write a [[{what}]] of that name"),
        })
}

/// The sections of an array of tables with their names; a name that two of them bear is noted.
pub(super) fn named<'t>(top: &Section<'t>, key: &str, keys: Keys) -> Vec<Named<'t>> {
    let sections = top
        .get(key)
        .map(|item| item.sections(&format!("[[{key}]]"), keys))
        .unwrap_or_default();
    let mut seen = std::collections::BTreeSet::new();
    sections
        .into_iter()
        .map(|section| {
            let name = name(&section).unwrap_or_default();
            if let Some(item) = section.get("name")
                && !name.is_empty()
                && !seen.insert(name.clone())
            {
                item.note(format!("there are two {key}s \"{name}\": rename one"));
            }
            Named { name, section }
        })
        .collect()
}

/// The numbers of sections by their names.
pub(super) fn numbers<T>(sections: &[Named<'_>], id: impl Fn(usize) -> T) -> BTreeMap<String, T> {
    sections
        .iter()
        .enumerate()
        .filter(|(_, named)| !named.name.is_empty())
        .map(|(index, named)| (named.name.clone(), id(index)))
        .collect()
}

/// The name of a section that must have one.
pub(super) fn name(section: &Section<'_>) -> Option<String> {
    let Some(item) = section.get("name") else {
        section.missing("name", "give it a name, which logs and metrics will show");
        return None;
    };
    let name = item.text()?;
    one_line(name)
        .map_err(|message| item.note(message))
        .ok()
        .map(|()| name.to_owned())
}

/// Whether a text fits where one line of moderate length is wanted.
pub(super) fn one_line(text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) || text.len() > 200 {
        return Err("expected one line of at most 200 bytes".into());
    }
    Ok(())
}
