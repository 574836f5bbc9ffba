//! Actions of rules.

use sluice_policy::{Action, BlockKind};

use super::{
    names::one_line,
    read::{Item, Keys, Section, unknown_word},
    value,
};

/// What a rule does, and what a page says.
pub(super) struct Act {
    pub(super) action: Action,
    pub(super) message: Option<String>,
}

/// The ways in which a block can look, by the words for them.
pub(super) fn block_kinds() -> [(&'static str, BlockKind); 3] {
    BlockKind::ALL.map(|kind| (kind.name(), kind))
}

/// Reads an action; `plain` is how a block without more words looks.
pub(super) fn action(item: &Item<'_>, plain: BlockKind) -> Option<Act> {
    if item.is_table() {
        return table(item);
    }
    let words = [
        Action::Allow,
        Action::Splice,
        Action::Inspect,
        Action::Block(plain),
        Action::Skip,
        Action::NoLog,
    ];
    let action = item.parse(|text| match text {
        "warn" => Err("say how often, as in { warn = \"1h\" }".into()),
        "tag" => Err("say which, as in { tag = \"word\" }".into()),
        _ => {
            let found = words.iter().find(|action| action.name() == text);
            found
                .cloned()
                .ok_or_else(|| unknown_word(text, words.iter().map(Action::name)))
        }
    })?;
    Some(Act {
        action,
        message: None,
    })
}

fn table(item: &Item<'_>) -> Option<Act> {
    const TABLE: Keys = Keys {
        known: &["block", "warn", "tag", "message"],
        later: &[],
    };
    let table = item.section("`action`", TABLE)?;
    let found: Vec<_> = ["block", "warn", "tag"]
        .into_iter()
        .filter_map(|key| Some((key, table.get(key)?)))
        .collect();
    let (key, value) = match found.as_slice() {
        [one] => one,
        [] => {
            // Any other key has been noted.
            if table.items().all(|(key, _)| key == "message") {
                item.note("expected { block = \"page\" }, { warn = \"1h\" } or { tag = \"word\" }");
            }
            return None;
        }
        [_, (key, second), ..] => {
            second.note(format!(
                "a rule does one thing: write a rule of its own for `{key}`"
            ));
            return None;
        }
    };
    let action = match *key {
        "block" => Action::Block(value.choice(&block_kinds())?),
        "warn" => Action::Warn(value.parse(period)?),
        _ => Action::Tag(value.parse(tag)?),
    };
    Some(Act {
        message: message(&table, &action),
        action,
    })
}

fn message(table: &Section<'_>, action: &Action) -> Option<String> {
    let item = table.get("message")?;
    match action {
        Action::Block(BlockKind::Page) | Action::Warn(_) => {}
        Action::Block(_) => {
            item.note("only a page has room for a message: write block = \"page\"");
        }
        _ => item.note("nobody is shown a message here: take it out"),
    }
    item.text().map(str::to_owned)
}

/// Seconds between two warnings.
fn period(text: &str) -> Result<u64, String> {
    let period = value::duration(text)?;
    if period.as_secs() == 0 || period.subsec_nanos() != 0 {
        return Err("expected whole seconds, at least \"1s\"".into());
    }
    Ok(period.as_secs())
}

/// A word for the record of a flow.
pub(super) fn tag(text: &str) -> Result<String, String> {
    one_line(text).map(|()| text.to_owned())
}
