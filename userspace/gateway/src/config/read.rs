//! Reading a parsed TOML document by key, with every mistake noted at its place.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::problem::{Problems, near_miss};

/// The keys of a section.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    /// Keys of this version.
    pub(super) known: &'static [&'static str],
    /// Keys that a later version brings.
    pub(super) later: &'static [&'static str],
}

/// One table of the document.
#[derive(Clone)]
pub(super) struct Section<'t> {
    /// How the section is called in messages, as it is written: `[egress]`.
    pub(super) title: String,
    /// Where it begins.
    pub(super) span: Range<usize>,
    table: Option<&'t DeTable<'t>>,
    problems: &'t Problems,
}

/// One value of a section.
#[derive(Clone)]
pub(super) struct Item<'t> {
    /// How the value is called in messages: `` `lan` in [gateway] ``.
    pub(super) title: String,
    /// Where it stands.
    pub(super) span: Range<usize>,
    value: &'t DeValue<'t>,
    problems: &'t Problems,
}

impl<'t> Section<'t> {
    /// A section that the document has, or has not; unknown keys in it are noted.
    pub(super) fn new(
        title: impl Into<String>,
        found: Option<(Range<usize>, &'t DeTable<'t>)>,
        keys: Keys,
        problems: &'t Problems,
    ) -> Self {
        let (span, table) = found.map_or((0..0, None), |(span, table)| (span, Some(table)));
        let section = Self {
            title: title.into(),
            span,
            table,
            problems,
        };
        section.check_keys(keys);
        section
    }

    fn check_keys(&self, keys: Keys) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if keys.known.contains(&name) {
                continue;
            }
            let title = &self.title;
            let message = if keys.later.contains(&name) {
                format!("`{name}` in {title} is not yet supported in this version: take it out")
            } else if let Some(meant) = near_miss(name, keys.known.iter().copied()) {
                format!("unknown key `{name}` in {title}: did you mean `{meant}`?")
            } else {
                let known: Vec<_> = keys.known.iter().map(|key| format!("`{key}`")).collect();
                format!(
                    "unknown key `{name}` in {title}: expected one of {}",
                    known.join(", ")
                )
            };
            self.problems.add(key.span(), message);
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Item<'t>> {
        self.items()
            .find_map(|(name, item)| (name == key).then_some(item))
    }

    /// Every key with its value, in the order of the document.
    pub(super) fn items(&self) -> impl Iterator<Item = (&'t str, Item<'t>)> {
        let title = self.title.clone();
        self.table.into_iter().flatten().map(move |(key, value)| {
            let name: &str = key.get_ref();
            let title = format!("`{name}` in {title}");
            (name, Item::new(title, value, self.problems))
        })
    }

    /// A value that `read` understands, or the default where there is none.
    pub(super) fn value<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.get(key)
            .and_then(|item| item.parse(read))
            .unwrap_or(default)
    }

    /// A list of values that `read` understands, or the default where there is none.
    pub(super) fn list<T>(
        &self,
        key: &str,
        default: impl FnOnce() -> Vec<T>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        self.get(key).map_or_else(default, |item| item.texts(&read))
    }

    /// The values of a list, or nothing where there is none.
    pub(super) fn items_of(&self, key: &str) -> Vec<Item<'t>> {
        self.get(key).map(|item| item.list()).unwrap_or_default()
    }

    /// A number within bounds, or the default where there is none.
    pub(super) fn number(&self, key: &str, default: u64, bounds: Range<u64>) -> u64 {
        self.get(key)
            .and_then(|item| item.number(bounds))
            .unwrap_or(default)
    }

    /// One of some words, or the default where there is none.
    pub(super) fn choice<T: Copy>(&self, key: &str, default: T, words: &[(&str, T)]) -> T {
        self.get(key)
            .and_then(|item| item.choice(words))
            .unwrap_or(default)
    }

    pub(super) fn missing(&self, key: &str, cure: &str) {
        let title = &self.title;
        self.problems.add(
            self.span.clone(),
            format!("`{key}` is missing in {title}: {cure}"),
        );
    }

    pub(super) fn note(&self, message: impl Into<String>) {
        self.problems.add(self.span.clone(), message);
    }
}

impl<'t> Item<'t> {
    pub(super) fn new(
        title: String,
        value: &'t Spanned<DeValue<'t>>,
        problems: &'t Problems,
    ) -> Self {
        Self {
            title,
            span: value.span(),
            value: value.get_ref(),
            problems,
        }
    }

    /// Notes a mistake at this value, under its title.
    pub(super) fn note(&self, message: impl AsRef<str>) {
        self.problems.add(
            self.span.clone(),
            format!("{}: {}", self.title, message.as_ref()),
        );
    }

    /// Notes a mistake in a line of a file that is named at this value.
    pub(super) fn note_line(&self, file: &str, line: usize, message: impl Into<String>) {
        self.problems
            .add_line(self.span.clone(), file, line, message);
    }

    fn wrong_type(&self, expected: &str) {
        self.note(format!("expected {expected}, found {}", kind(self.value)));
    }

    pub(super) fn text(&self) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong_type("a text in quotes");
        }
        text
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.wrong_type("true or false");
        }
        value
    }

    pub(super) fn number(&self, bounds: Range<u64>) -> Option<u64> {
        let Some(number) = self.value.as_integer() else {
            self.wrong_type("a number");
            return None;
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
        let within = parsed.filter(|number| bounds.contains(number));
        if within.is_none() {
            let most = bounds.end.saturating_sub(1);
            self.note(format!("expected a number from {} to {most}", bounds.start));
        }
        within
    }

    pub(super) fn parse<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text()?;
        read(text)
            .map_err(|message| self.note(format!("\"{text}\": {message}")))
            .ok()
    }

    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.parse(|text| {
            let found = words
                .iter()
                .find_map(|&(word, value)| (word == text).then_some(value));
            found.ok_or_else(|| unknown_word(text, words.iter().map(|&(word, _)| word)))
        })
    }

    /// The texts of a list; anything that is no list of texts is noted.
    pub(super) fn texts<T>(&self, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.list()
            .iter()
            .filter_map(|item| item.parse(&read))
            .collect()
    }

    /// The values of a list; anything that is no list is noted.
    pub(super) fn list(&self) -> Vec<Self> {
        if self.value.as_array().is_none() {
            self.wrong_type("a list of texts in quotes");
            return Vec::new();
        }
        self.each()
    }

    /// The values of a list, or the value itself where it is no list.
    pub(super) fn each(&self) -> Vec<Self> {
        match self.value.as_array() {
            Some(list) => list
                .iter()
                .map(|value| Self::new(self.title.clone(), value, self.problems))
                .collect(),
            None => vec![self.clone()],
        }
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// The value as a section; anything but a table is noted.
    pub(super) fn section(&self, title: &str, keys: Keys) -> Option<Section<'t>> {
        let Some(table) = self.value.as_table() else {
            self.wrong_type("a table");
            return None;
        };
        Some(Section::new(
            title,
            Some((self.span.clone(), table)),
            keys,
            self.problems,
        ))
    }

    /// The value as a section whose keys may be any.
    pub(super) fn any_section(&self, title: &str) -> Option<Section<'t>> {
        let Some(table) = self.value.as_table() else {
            self.wrong_type("a table");
            return None;
        };
        Some(Section {
            title: title.to_owned(),
            span: self.span.clone(),
            table: Some(table),
            problems: self.problems,
        })
    }

    /// The values as sections: an array of tables.
    pub(super) fn sections(&self, title: &str, keys: Keys) -> Vec<Section<'t>> {
        if self.value.as_array().is_none() {
            self.wrong_type(&format!("tables, each written as {title}"));
            return Vec::new();
        }
        self.each()
            .iter()
            .filter_map(|item| item.section(title, keys))
            .collect()
    }
}

/// What was expected instead of a word, and which of them was probably meant.
pub(super) fn unknown_word<'w>(text: &str, words: impl Iterator<Item = &'w str> + Clone) -> String {
    let expected: Vec<_> = words.clone().map(|word| format!("\"{word}\"")).collect();
    let expected = match expected.as_slice() {
        [first, second] => format!("{first} or {second}"),
        [only] => only.clone(),
        many => format!("one of {}", many.join(", ")),
    };
    match near_miss(text, words) {
        Some(meant) => format!("expected {expected}: did you mean \"{meant}\"?"),
        None => format!("expected {expected}"),
    }
}

fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a text".into(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => format!("{value}"),
        DeValue::Datetime(_) => "a date or time".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
