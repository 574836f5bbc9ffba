//! Texts from elsewhere, as a page may show them.

/// Characters of a text that a page shows.
const LONGEST: usize = 200;

/// A text without what hides or turns round the rest of it, and not too long. Escaping for HTML comes
/// on top.
pub(super) fn shown(text: &str) -> String {
    cut(text, LONGEST)
}

/// As [`shown`], of something that an administrator wrote, which may be longer.
pub(super) fn message(text: &str) -> String {
    cut(text, 2000)
}

fn cut(text: &str, longest: usize) -> String {
    let mut shown: String = text.chars().take(longest).map(visible).collect();
    if text.chars().nth(longest).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// The character, or U+FFFD where it is none that can be seen.
const fn visible(c: char) -> char {
    match c {
        '\n' | '\t' => ' ',
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => '\u{fffd}',
        // Invisible ones, and those that change the direction of what follows (UAX 9).
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' => '\u{fffd}',
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => '\u{fffd}',
        '\u{feff}' | '\u{e0000}'..='\u{e007f}' => '\u{fffd}',
        _ => c,
    }
}

/// A URL without a user name and, unless wanted, without what its query says, which may be a secret.
pub(super) fn url(url: &str, with_query: bool) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = match path.split_once('?') {
        Some((path, _)) if !with_query => format!("{path}?\u{2026}"),
        _ => path.to_owned(),
    };
    shown(&match scheme {
        Some(scheme) => format!("{scheme}://{host}{path}"),
        None => format!("{host}{path}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_and_nothing_is_endless() {
        assert_eq!(
            shown("a\u{202e}b\0c\u{200b}\r"),
            "a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}"
        );
        let long = shown(&"\u{fc}".repeat(10_000));
        assert_eq!(long.chars().count(), LONGEST + 1);
        assert!(long.ends_with('\u{2026}'));
    }

    #[test]
    fn a_url_keeps_its_secrets() {
        assert_eq!(
            url("https://u:p@a.example/x?token=1#y", false),
            "https://a.example/x?\u{2026}"
        );
        assert_eq!(
            url("https://a.example/x?token=1", true),
            "https://a.example/x?token=1"
        );
        assert_eq!(
            url("https://a.example?q", false),
            "https://a.example?\u{2026}"
        );
        assert_eq!(url("https://a.example/@x", false), "https://a.example/@x");
    }
}
