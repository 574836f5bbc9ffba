//! The sections `[page]` and `[request]`: what clients are shown, and how large requests may be.

use sluice_policy::LineError;

use super::{
    names::one_line,
    read::{Item, Keys, Section, unknown_word},
    sources::Files,
    value,
};
use crate::{
    page::{Contact, Language, Settings, Template},
    request::Limits,
};

pub(super) const PAGE: Keys = Keys {
    known: &[
        "organisation",
        "contact",
        "languages",
        "show_query",
        "template",
    ],
    later: &[],
};

pub(super) fn page(section: &Section<'_>, files: &Files<'_>) -> Settings {
    let line = |key| {
        let line = |text: &str| one_line(text).map(|()| text.to_owned());
        section.get(key).and_then(|item: Item<'_>| item.parse(line))
    };
    let languages = section.list("languages", || Language::ALL.to_vec(), language);
    if let Some(item) = section
        .get("languages")
        .filter(|item| item.each().is_empty())
    {
        item.note("expected at least one language, as in [\"en\"]");
    }
    let template = section.get("template");
    Settings {
        organisation: line("organisation"),
        contact: line("contact").map(Contact::new),
        languages,
        show_query: section
            .get("show_query")
            .and_then(|item| item.boolean())
            .unwrap_or(false),
        template_file: template
            .as_ref()
            .and_then(|item| files.path(item.text()?).ok()),
        template: template
            .and_then(|item| read_template(&item, files))
            .unwrap_or_default(),
    }
}

fn language(text: &str) -> Result<Language, String> {
    let mut all = Language::ALL.into_iter();
    all.find(|language| language.tag() == text)
        .ok_or_else(|| unknown_word(text, Language::ALL.into_iter().map(Language::tag)))
}

/// The template of a file; its mistakes are noted at their lines.
fn read_template(item: &Item<'_>, files: &Files<'_>) -> Option<Template> {
    let text = files.read(item)?;
    match Template::parse(&text.text) {
        Ok(template) => Some(template),
        Err(mistakes) => {
            text.lines(item, |_, errors, most| {
                let mistakes = mistakes.into_iter().take(most);
                errors.extend(mistakes.map(|mistake| LineError {
                    line: mistake.line,
                    message: mistake.message,
                }));
            });
            None
        }
    }
}

pub(super) const REQUEST: Keys = Keys {
    known: &["url_limit", "header_limit", "header_count"],
    later: &[],
};

pub(super) fn request(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let size = |key, default: usize| {
        let size = section.get(key).and_then(|item: Item<'_>| {
            let size = item.parse(value::size)?;
            // Less would refuse what browsers send every day; more is memory for whoever asks.
            if !(1024..=1 << 20).contains(&size) {
                item.note("expected a size from \"1KiB\" to \"1MiB\"");
            }
            usize::try_from(size).ok()
        });
        size.unwrap_or(default)
    };
    let count = section.number("header_count", default.fields as u64, 16..10_001);
    Limits {
        url: size("url_limit", default.url),
        fields: usize::try_from(count).unwrap_or(default.fields),
        fields_size: size("header_limit", default.fields_size),
    }
}
