//! Templates of an administrator's own, and the section that names one.

use sluice_gateway::{
    config::{Config, ConfigError, show},
    page::{Language, Pages, Settings, Template},
};

use super::{about, body, browser};

const OWN: &str = "<!doctype html>\n<title>{{ title }}</title>\n<style nonce=\"{{ nonce }}\">p{}</style>\n\
                   <p>{{ lead }} {{ url }}\n{% if proceed %}<form method=post action=\"{{ proceed.action }}\">\
                   <input name=token value=\"{{ proceed.token }}\">\
                   <input name=return_to value=\"{{ proceed.return_to }}\"></form>{% endif %}\n";

fn mistakes(template: &str) -> Vec<(usize, String)> {
    let mistakes = Template::parse(template).unwrap_err();
    let mistakes = mistakes.into_iter();
    mistakes
        .map(|mistake| (mistake.line, mistake.message))
        .collect()
}

#[test]
fn the_built_in_template_passes_what_others_must_pass() {
    assert!(Template::parse(include_str!("../../src/page/page.html")).is_ok());
}

#[test]
fn an_own_template_replaces_the_page() {
    let pages = Pages::new(Settings {
        template: Template::parse(OWN).unwrap(),
        ..Settings::default()
    });
    let response = pages.blocked(&about(), browser("en"));
    assert!(body(&response).contains("<p>The rules of this network do not allow it. https:"));
    assert!(body(&response).contains("play?\u{2026}"));
}

#[test]
fn a_template_that_would_fail_is_refused_at_its_line() {
    for (line, written, expected) in [
        (6, "{% if %}", "syntax error"),
        (
            6,
            "{{ organization }}",
            "there is no variable `organization`: did you mean `organisation`?",
        ),
        (
            6,
            "{{ text.refrence }}",
            "there is no variable `text.refrence`: did you mean `reference`?",
        ),
        (
            6,
            "{{ colour }}",
            "there is no variable `colour`: expected one of contact, ",
        ),
        (6, "{{ url|safe }}", "unknown filter"),
        (6, "{{ user|lookup }}", "unknown filter"),
        (6, "{% include 'x' %}", ""),
        (6, "{{ why.x }}", ""),
        (
            6,
            "{% autoescape false %}{{ url }}{% endautoescape %}",
            "a value is written as markup",
        ),
        (6, "<style>p{}</style>", "browsers would not use this style"),
    ] {
        let found = mistakes(&format!("{OWN}{written}"));
        let (at, message) = &found[0];
        assert!(message.starts_with(expected), "{written}: {message}");
        assert!(
            *at == line || written.starts_with("<style"),
            "{written}: line {at}"
        );
    }
    let without_form = mistakes("{{ title }}");
    assert!(
        without_form[0].1.starts_with("nobody could continue"),
        "{without_form:?}"
    );
}

fn load(page: &str, template: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.html"), template).unwrap();
    let file = folder.path().join("sluice.toml");
    std::fs::write(
        &file,
        format!("[gateway]\nlan = [\"lan0\"]\n[page]\n{page}"),
    )
    .unwrap();
    Config::load(&file)
}

#[test]
fn the_section_is_read_and_shown() {
    let page = "organisation = \"Example Ltd\"\ncontact = \"+49 30 1234\"\nlanguages = [\"de\"]\n\
                show_query = true\ntemplate = \"own.html\"";
    let config = load(page, OWN).unwrap();
    assert_eq!(config.page.languages, [Language::German]);
    assert!(config.page.show_query);
    let shown = show::effective(&config);
    for line in [
        "organisation           Example Ltd",
        "contact                +49 30 1234",
        "own.html",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    let response = Pages::new(config.page).blocked(&about(), browser("en"));
    assert!(body(&response).contains("<p>Die Regeln"));
    assert!(body(&response).contains("session=secret"));
    let default = load("", "").unwrap();
    assert!(show::effective(&default).contains("template               built in"));
    assert_eq!(default.request.url, 16 << 10);
}

#[test]
fn mistakes_in_the_section_have_their_place() {
    for (page, expected) in [
        (
            "contacts = \"x\"",
            "4:1: unknown key `contacts` in [page]: did you mean `contact`?",
        ),
        ("languages = [\"fr\"]", "expected \"en\" or \"de\""),
        (
            "languages = []",
            "expected at least one language, as in [\"en\"]",
        ),
        (
            "organisation = \"\"",
            "expected one line of at most 200 bytes",
        ),
        ("template = \"none.html\"", "none.html: cannot be read"),
        (
            "template = \"own.html\"",
            "own.html:2: there is no variable `hots`: did you mean `host`?",
        ),
        (
            "[request]\nurl_limit = \"10B\"",
            "5:13: `url_limit` in [request]: expected a size from",
        ),
        (
            "[request]\nheader_count = 1",
            "expected a number from 16 to 10000",
        ),
    ] {
        let error = load(page, "\n{{ hots }}").unwrap_err().to_string();
        assert!(error.contains(expected), "{page}: {error}");
    }
}
