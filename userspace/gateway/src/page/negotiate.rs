//! What form and language a client prefers.

use super::language::Language;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Html,
    /// Problem details (RFC 9457).
    Json,
    Text,
}

/// The form that an Accept field prefers (RFC 9110 section 12.5.1). Whoever does not name HTML is no
/// browser that shows a page: `*/*` alone, which programs send, means plain text.
pub(super) fn form(accept: Option<&[u8]>) -> Form {
    let mut html = None;
    let mut json = None;
    let mut text = None;
    let mut any = None;
    let better = |best: &mut Option<u16>, quality: u16| *best = (*best).max(Some(quality));
    for (range, quality) in items(accept) {
        let range = range.split(';').next().unwrap_or_default().trim();
        match range.to_ascii_lowercase().as_str() {
            "text/html" | "application/xhtml+xml" => better(&mut html, quality),
            "application/json" | "application/problem+json" => better(&mut json, quality),
            "text/plain" => better(&mut text, quality),
            "text/*" | "*/*" => better(&mut any, quality),
            _ => {}
        }
    }
    let best = [
        (html, Form::Html),
        (json, Form::Json),
        (text.or(any), Form::Text),
    ];
    best.into_iter()
        .rev()
        .filter(|&(quality, _)| quality > Some(0))
        .max_by_key(|&(quality, _)| quality)
        .map_or(Form::Text, |(_, form)| form)
}

/// The language that an Accept-Language field prefers (RFC 9110 section 12.5.4) among those there
/// are, of which there is at least one; of equals the one that is named first.
pub(super) fn language(accept: Option<&[u8]>, there_are: &[Language]) -> Language {
    let first = there_are.first().copied().unwrap_or_default();
    let mut best: Option<(u16, Language)> = None;
    for (range, quality) in items(accept) {
        // RFC 4647 section 3.4: `de-AT` is served by `de`.
        let primary = range.split('-').next().unwrap_or_default();
        let found = if range == "*" {
            Some(first)
        } else {
            let mut languages = there_are.iter().copied();
            languages.find(|language| primary.eq_ignore_ascii_case(language.tag()))
        };
        if let Some(language) = found
            && quality > best.map_or(0, |(quality, _)| quality)
        {
            best = Some((quality, language));
        }
    }
    best.map_or(first, |(_, language)| language)
}

/// The items of a field with their quality in thousandths (RFC 9110 section 12.4.2). What is no item
/// is passed over, and of a long list only the beginning is read.
fn items(field: Option<&[u8]>) -> impl Iterator<Item = (&str, u16)> {
    let text = field.and_then(|field| std::str::from_utf8(field).ok());
    let items = text.unwrap_or_default().split(',').take(64);
    items.filter_map(|item| {
        let (value, parameters) = item.split_once(';').unwrap_or((item, ""));
        let mut quality = 1000;
        for parameter in parameters.split(';') {
            if let Some((name, weight)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                quality = thousandths(weight.trim())?;
            }
        }
        Some((value.trim(), quality))
    })
}

fn thousandths(weight: &str) -> Option<u16> {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || fraction.len() > 3 {
        return None;
    }
    let fraction = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_html_and_programs_what_they_read() {
        for (accept, expected) in [
            (None, Form::Text),
            (Some("*/*"), Form::Text),
            (
                Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
                Form::Html,
            ),
            (Some("Text/HTML;level=1"), Form::Html),
            (Some("application/json, text/plain, */*"), Form::Json),
            (Some("application/problem+json"), Form::Json),
            (Some("text/html;q=0.5, application/json;q=0.6"), Form::Json),
            (Some("text/html;q=0.5, text/plain"), Form::Text),
            (Some("text/html;q=0, */*"), Form::Text),
            (Some("text/html;q=2"), Form::Text),
            (Some("image/png"), Form::Text),
            (Some("\u{fc};;=,,q"), Form::Text),
        ] {
            assert_eq!(form(accept.map(str::as_bytes)), expected, "{accept:?}");
        }
        assert_eq!(form(Some(b"\xff, text/html")), Form::Text);
    }

    #[test]
    fn languages_are_weighed() {
        let both = [Language::English, Language::German];
        for (accept, expected) in [
            (None, Language::English),
            (Some("de"), Language::German),
            (Some("de-AT, en;q=0.8"), Language::German),
            (Some("en;q=0.2, DE-de;q=0.9"), Language::German),
            (Some("fr, de;q=0.1"), Language::German),
            (Some("de;q=0, *"), Language::English),
            (Some("den"), Language::English),
            (Some("de;q=0.5,en;q=0.5"), Language::German),
            (Some("de;q=0.1234, fr"), Language::English),
        ] {
            assert_eq!(
                language(accept.map(str::as_bytes), &both),
                expected,
                "{accept:?}"
            );
        }
        let german = [Language::German];
        assert_eq!(language(Some(b"en"), &german), Language::German);
    }
}
