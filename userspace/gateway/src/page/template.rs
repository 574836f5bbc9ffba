//! The template of the pages, and what may go wrong with one.

use std::{collections::BTreeMap, fmt, sync::Arc};

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value, context};

use super::{language::Language, view::View};
use crate::config::near_miss;

const BUILT_IN: &str = include_str!("page.html");

/// The name that templates go by inside the engine.
const NAME: &str = "page";

/// What a template may use. The names are part of the configuration's language.
const VARIABLES: [&str; 20] = [
    "contact",
    "contact_href",
    "host",
    "kind",
    "lang",
    "lead",
    "message",
    "nonce",
    "organisation",
    "proceed",
    "reference",
    "rule",
    "status",
    "text",
    "time",
    "time_iso",
    "title",
    "url",
    "user",
    "why",
];
const PROCEED: [&str; 3] = ["action", "return_to", "token"];
const TEXT: [&str; 9] = [
    "contact",
    "host",
    "proceed",
    "reference",
    "rule",
    "time",
    "url",
    "user",
    "why",
];

/// Functions of the engine that a template may use.
const FUNCTIONS: [&str; 3] = ["dict", "namespace", "range"];

/// A template that can be rendered with whatever a page is about.
#[derive(Clone)]
pub struct Template(Arc<Environment<'static>>);

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

impl Default for Template {
    fn default() -> Self {
        // That the built-in one can be used is tested; without it a page would be plain text.
        Self(Arc::new(
            engine(BUILT_IN).unwrap_or_else(|_| Environment::empty()),
        ))
    }
}

/// A mistake in a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TemplateError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and the cure.
    pub message: String,
}

impl TemplateError {
    fn of(error: &Error) -> Self {
        let kind = error.kind().to_string();
        let message = match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind,
        };
        Self {
            line: error.line().unwrap_or(1),
            message,
        }
    }
}

fn engine(source: &str) -> Result<Environment<'static>, Error> {
    let mut engine = Environment::new();
    engine.set_auto_escape_callback(|_| AutoEscape::Html);
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    // What a page is about comes from elsewhere: nothing of it is ever markup.
    engine.remove_filter("safe");
    engine.set_formatter(|out, state, value| {
        if value.is_none() {
            return Ok(());
        }
        minijinja::escape_formatter(out, state, value)
    });
    engine.add_template_owned(NAME, source.to_owned())?;
    Ok(engine)
}

impl Template {
    /// Reads a template and tries it with pages of every kind in every language, so that none fails
    /// later.
    ///
    /// # Errors
    ///
    /// Every mistake that was found: syntax, unknown variables, values that are not escaped, a style
    /// that browsers would not use, a warning that cannot be continued from.
    pub fn parse(source: &str) -> Result<Self, Vec<TemplateError>> {
        let engine = engine(source).map_err(|error| vec![TemplateError::of(&error)])?;
        let template = Self(Arc::new(engine));
        let mut mistakes = template.unknown(source);
        if mistakes.is_empty() {
            mistakes.extend(template.try_out(source));
        }
        if mistakes.is_empty() {
            Ok(template)
        } else {
            Err(mistakes)
        }
    }

    /// Variables that no page has.
    fn unknown(&self, source: &str) -> Vec<TemplateError> {
        let Ok(template) = self.0.get_template(NAME) else {
            return Vec::new();
        };
        let mut used: Vec<_> = template.undeclared_variables(true).into_iter().collect();
        used.sort();
        used.iter()
            .filter_map(|used| {
                let (name, known): (&str, &[&str]) = match used.split_once('.') {
                    Some(("proceed", name)) => (name, &PROCEED),
                    Some(("text", name)) => (name, &TEXT),
                    Some((name, _)) => (name, &VARIABLES),
                    None => (used, &VARIABLES),
                };
                if known.contains(&name) || FUNCTIONS.contains(&name) {
                    return None;
                }
                let cure = match near_miss(name, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("expected one of {}", known.join(", ")),
                };
                Some(TemplateError {
                    line: line_of(source, name),
                    message: format!("there is no variable `{used}`: {cure}"),
                })
            })
            .collect()
    }

    fn try_out(&self, source: &str) -> Vec<TemplateError> {
        let mut found = Vec::new();
        for language in Language::ALL {
            for view in View::samples(language) {
                match self.render(&view) {
                    Ok(page) => found.extend(judge(&page, &view, source)),
                    Err(error) => found.push(TemplateError::of(&error)),
                }
            }
        }
        found.dedup();
        found
    }

    pub(super) fn render(&self, view: &View<'_>) -> Result<String, Error> {
        self.0.get_template(NAME)?.render(values(view))
    }
}

/// The line on which a word first stands.
fn line_of(source: &str, word: &str) -> usize {
    let at = source.find(word).unwrap_or(0);
    source.get(..at).unwrap_or_default().matches('\n').count() + 1
}

/// What is wrong with a page that a template made of a sample.
fn judge(page: &str, view: &View<'_>, source: &str) -> Option<TemplateError> {
    if page.contains(View::PROBE) {
        return Some(TemplateError {
            line: line_of(source, "autoescape"),
            message:
                "a value is written as markup: take `autoescape false` out, since values come \
                      from outside"
                    .into(),
        });
    }
    if let Some(proceed) = &view.proceed
        && !page.contains(proceed.token())
    {
        return Some(TemplateError {
            line: 1,
            message: "nobody could continue from a warning: write a form that posts \
                      `proceed.token` and `proceed.return_to` to `proceed.action`"
                .into(),
        });
    }
    let mut styles = page.match_indices("<style").map(|(at, _)| {
        let tag = page.get(at..).unwrap_or_default();
        tag.split('>').next().unwrap_or_default()
    });
    if styles.any(|tag| !tag.contains(view.nonce)) {
        return Some(TemplateError {
            line: line_of(source, "<style"),
            message: "browsers would not use this style: write <style nonce=\"{{ nonce }}\">"
                .into(),
        });
    }
    None
}

fn values(view: &View<'_>) -> Value {
    let words = view.language.words();
    let text = BTreeMap::from([
        ("contact", words.contact),
        ("host", words.host),
        ("proceed", words.proceed),
        ("reference", words.reference),
        ("rule", words.rule),
        ("time", words.time),
        ("url", words.url),
        ("user", words.user),
        ("why", words.why),
    ]);
    let proceed = view.proceed.as_ref().map(|proceed| {
        context! {
            action => super::PROCEED_PATH,
            return_to => proceed.return_to(),
            token => proceed.token(),
        }
    });
    let contact = view.contact.as_ref();
    context! {
        contact => contact.map(|contact| contact.text.as_str()),
        contact_href => contact.and_then(|contact| contact.href(&view.reference)),
        host => view.host.as_deref(),
        kind => view.kind.name(),
        lang => view.language.tag(),
        lead => view.lead,
        message => view.message.as_deref(),
        nonce => view.nonce,
        organisation => view.organisation.as_deref(),
        proceed => proceed,
        reference => view.reference.as_str(),
        rule => view.rule.as_deref(),
        status => view.status.as_u16(),
        text => text,
        time => view.time.as_str(),
        time_iso => view.time_iso.as_str(),
        title => view.title,
        url => view.url.as_deref(),
        user => view.user.as_deref(),
        why => view.why.as_deref(),
    }
}
