//! Values of conditions: what facts are compared with.

use sluice_policy::{
    Authority, Ja4Pattern, ListenerPattern, NormalError, Scheme, SizeRange, TextPattern, normal,
};

use super::{problem::near_miss, read::unknown_word, value};

/// The applications that a client's first bytes can show.
pub(super) const APPLICATIONS: [&str; 7] =
    ["bittorrent", "http", "rdp", "skype", "smtp", "ssh", "xmpp"];

/// What a client can be seen to speak inside TLS.
pub(super) const INNER: [&str; 8] = [
    "bittorrent",
    "http",
    "rdp",
    "skype",
    "smtp",
    "ssh",
    "websocket",
    "xmpp",
];

/// A text that values begin with, or a regular expression that is found in them.
pub(super) fn text(text: &str) -> Result<TextPattern, String> {
    beginning(text, as_written)
}

/// As [`text`], of a media type, which is compared in lower case.
pub(super) fn content_type(text: &str) -> Result<TextPattern, String> {
    beginning(text, |text| Ok(text.to_lowercase()))
}

/// As [`text`], of a path with its query; it is taken in its normal form.
pub(super) fn path(text: &str) -> Result<TextPattern, String> {
    if !text.starts_with("re:") && !text.starts_with("list:") && !text.starts_with('/') {
        return Err(format!(
            "a path begins with a slash: write \"/{text}\", or \"re:...\" for what stands anywhere"
        ));
    }
    beginning(text, |text| normal::beginning(text).map_err(no_url))
}

/// As [`text`], of a URL in its normal form.
pub(super) fn url(text: &str) -> Result<TextPattern, String> {
    if text.starts_with("re:") {
        return beginning(text, as_written);
    }
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let scheme: Scheme = scheme.parse().ok()?;
        Some((scheme, rest))
    });
    let Some((scheme, rest)) = parts else {
        return Err(
            "expected the beginning of a URL such as \"https://shop.example/cart\", \
             \"list:NAME\" or \"re:...\""
                .into(),
        );
    };
    let Some(slash) = rest.find('/') else {
        return Err(format!(
            "every host whose name begins so is meant: write \"{text}/\" for this one alone"
        ));
    };
    let (authority, path) = rest.split_at_checked(slash).unwrap_or((rest, ""));
    if authority.contains('*') {
        return Err(
            "a URL has no `*` in its host: use `url-host`, \"list:NAME\" or \"re:...\"".into(),
        );
    }
    let authority = Authority::parse(authority, scheme).map_err(no_url)?;
    beginning(path, |path| {
        let path = normal::beginning(path).map_err(no_url)?;
        Ok(format!("{}://{authority}{path}", scheme.name()))
    })
}

fn as_written(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn no_url(error: NormalError) -> String {
    format!("no request has such a URL: {error}")
}

/// Who issued a certificate: the whole name as RFC 4514 writes it, or its beginning with a `*`.
pub(super) fn issuer(text: &str) -> Result<TextPattern, String> {
    if !text.starts_with("re:") && !text.contains('=') {
        is_text(text)?;
        return Err(
            "no issuer is written so: write \"CN=R3,O=Let's Encrypt,C=US\", its beginning as \
             \"CN=R3,*\", or \"re:O=Let's Encrypt\""
                .into(),
        );
    }
    if !text.starts_with("re:") && !text.ends_with('*') {
        is_text(text)?;
        return Ok(TextPattern::Exact(text.into()));
    }
    beginning(text, as_written)
}

fn beginning(
    text: &str,
    normal: impl FnOnce(&str) -> Result<String, String>,
) -> Result<TextPattern, String> {
    if let Some(regex) = text.strip_prefix("re:") {
        is_text(regex)?;
        return TextPattern::regex(regex).map_err(|error| error.to_string());
    }
    // A beginning may be marked as such.
    let text = text.strip_suffix('*').unwrap_or(text);
    is_text(text)?;
    Ok(TextPattern::Prefix(normal(text)?.into()))
}

fn is_text(text: &str) -> Result<(), String> {
    if text.starts_with("list:") {
        return Err(
            "there are no lists of such texts: write them here, or one \"re:...\" for all".into(),
        );
    }
    if text.is_empty() {
        return Err(
            "every text begins so: write what it begins with, or use `not` and \
                    { absent = true }"
                .into(),
        );
    }
    Ok(())
}

/// The name of a header field, in lower case.
pub(super) fn field(text: &str) -> Result<String, String> {
    if !is_token(text) {
        return Err(format!(
            "\"{text}\": expected the name of a header field such as \"x-requested-with\""
        ));
    }
    Ok(text.to_ascii_lowercase())
}

pub(super) fn method(text: &str) -> Result<String, String> {
    if !is_token(text) {
        return Err("expected the method of a request such as \"GET\" or \"POST\"".into());
    }
    Ok(text.to_ascii_uppercase())
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

pub(super) fn size(text: &str) -> Result<SizeRange, String> {
    const EXPECTED: &str =
        "expected sizes such as \">10MiB\", \">=1KiB\", \"<512B\", \"<=1GiB\" or \"1KiB-10MiB\"";
    const NONE: &str = "no size is so: write another bound";
    let size = |text: &str| value::size(text.trim()).map_err(|_| EXPECTED);
    let (least, most) = if let Some(text) = text.strip_prefix(">=") {
        (size(text)?, u64::MAX)
    } else if let Some(text) = text.strip_prefix("<=") {
        (0, size(text)?)
    } else if let Some(text) = text.strip_prefix('>') {
        (size(text)?.checked_add(1).ok_or(NONE)?, u64::MAX)
    } else if let Some(text) = text.strip_prefix('<') {
        (0, size(text)?.checked_sub(1).ok_or(NONE)?)
    } else {
        let (least, most) = text.split_once('-').ok_or(EXPECTED)?;
        (size(least)?, size(most)?)
    };
    if most < least {
        let (least, most) = (value::show_size(least), value::show_size(most));
        return Err(format!(
            "the range ends before it begins: write \"{most}-{least}\""
        ));
    }
    Ok(SizeRange { least, most })
}

/// The listeners that a word means, whether there are such or not.
pub(super) fn listener(text: &str) -> ListenerPattern {
    match text {
        "transparent" => ListenerPattern::Transparent,
        "proxy" => ListenerPattern::Proxy,
        name => ListenerPattern::Named(name.to_owned()),
    }
}

pub(super) fn application(text: &str) -> Result<String, String> {
    recognised(text, &APPLICATIONS)
}

/// A word for what a client speaks inside TLS.
///
/// # Errors
///
/// What is wrong with it, and what to write.
pub(crate) fn inner(text: &str) -> Result<String, String> {
    match text {
        "h2" | "h2c" | "h3" | "http/1.0" | "http/1.1" | "http/2" => {
            Err("no version is told apart: write \"http\"".into())
        }
        "ws" | "wss" => Err("did you mean \"websocket\"?".into()),
        "absent" | "none" | "other" | "unknown" => {
            Err("for what is not recognised write { absent = true }".into())
        }
        _ => recognised(text, &INNER),
    }
}

/// A word for something that a client's first bytes show; words that are like none of the known
/// ones may come to be known.
fn recognised(text: &str, known: &[&str]) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(unknown_word(text, known.iter().copied()));
    }
    if !known.contains(&text)
        && let Some(meant) = near_miss(text, known.iter().copied())
    {
        return Err(format!(
            "no application that is known: did you mean \"{meant}\"?"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn alpn(text: &str) -> Result<Vec<u8>, String> {
    // RFC 7301 section 3.1.
    if (1..=255).contains(&text.len()) {
        return Ok(text.as_bytes().to_vec());
    }
    Err("expected the name of a protocol such as \"h2\", of at most 255 bytes".into())
}

pub(super) fn ja4(text: &str) -> Result<Ja4Pattern, String> {
    let (start, open) = match text.strip_suffix('*') {
        Some(start) => (start, true),
        None => (text, false),
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let well_formed = start.chars().all(allowed) && (start.len() == 36 || open && start.len() < 36);
    if !well_formed || start.is_empty() {
        return Err(
            "expected a JA4 fingerprint such as \"t13d1516h2_8daaf6152771_e5627efa2ab1\", \
                    or the beginning of one such as \"t13d*\""
                .into(),
        );
    }
    let start = start.to_owned();
    Ok(if open {
        Ja4Pattern::Prefix(start)
    } else {
        Ja4Pattern::Exact(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_bound_on_either_side() {
        let range = |text: &str| size(text).map(|range| (range.least, range.most));
        assert_eq!(range(">1KiB"), Ok((1025, u64::MAX)));
        assert_eq!(range(">= 1KiB"), Ok((1024, u64::MAX)));
        assert_eq!(range("<1KiB"), Ok((0, 1023)));
        assert_eq!(range("<=1KiB"), Ok((0, 1024)));
        assert_eq!(range("1B-1KiB"), Ok((1, 1024)));
        for text in ["", "1KiB", ">", "<0B", "2B-1B", ">1KB", "=1B"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_are_beginnings_unless_they_say_otherwise() {
        assert_eq!(text("curl/"), Ok(TextPattern::Prefix("curl/".into())));
        assert_eq!(text("curl/*"), text("curl/"));
        assert_eq!(text("re:^a+$"), Ok(TextPattern::Regex("^a+$".into())));
        assert_eq!(
            content_type("Image/"),
            Ok(TextPattern::Prefix("image/".into()))
        );
        for unlike in ["Some CA", "Some*"] {
            let error = issuer(unlike).unwrap_err();
            assert!(error.starts_with("no issuer is written so: "), "{error}");
        }
        assert_eq!(
            issuer("CN=Some CA"),
            Ok(TextPattern::Exact("CN=Some CA".into()))
        );
        assert_eq!(
            issuer("CN=Some*"),
            Ok(TextPattern::Prefix("CN=Some".into()))
        );
        for wrong in ["", "*", "re:", "list:a", "re:("] {
            assert!(text(wrong).is_err() && issuer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn urls_are_taken_in_their_normal_form() {
        let prefix = |text: &str| url(text).map(|pattern| pattern.to_string());
        assert_eq!(
            prefix("https://Shop.Example:443/Cart"),
            Ok("https://shop.example/Cart*".into())
        );
        assert_eq!(
            prefix("http://a.example:8080/"),
            Ok("http://a.example:8080/*".into())
        );
        assert_eq!(
            prefix("https://b\u{fc}cher.example/%7e\u{fc}"),
            Ok("https://xn--bcher-kva.example/~%C3%BC*".into())
        );
        for text in [
            "a.example/x",
            "https://a.example",
            "https://*.example/",
            "https://127.1/",
            "https://a.example/x/../y",
            "https://a.example/100%",
            "",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
        assert_eq!(
            path("/%7Ejoe").map(|path| path.to_string()),
            Ok("/~joe*".into())
        );
    }
}
