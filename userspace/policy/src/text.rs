//! Patterns of texts: exact, beginnings, and regular expressions that run in linear time.

use std::fmt;

/// Bytes that a compiled regular expression may take; patterns that need more are refused.
pub const REGEX_LIMIT: usize = 1 << 20;

/// Bytes that all regular expressions about one fact may take together.
pub(crate) const SET_LIMIT: usize = 64 << 20;

/// What a text has to look like.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TextPattern {
    /// The whole text.
    Exact(Box<str>),
    /// What the text begins with.
    Prefix(Box<str>),
    /// A regular expression that is found somewhere in the text: written `re:...`.
    Regex(Box<str>),
}

/// Why a text is no regular expression that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegexError {
    /// It is not well formed.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// It would take too much memory.
    #[error(
        "the regular expression needs more than {} KiB compiled: bound its repetitions",
        REGEX_LIMIT >> 10
    )]
    TooLarge,
}

impl TextPattern {
    /// A regular expression, if it is one.
    ///
    /// # Errors
    ///
    /// [`RegexError`], where the text is none or would become too large.
    pub fn regex(text: &str) -> Result<Self, RegexError> {
        regex_automata::meta::Builder::new()
            .configure(limits(REGEX_LIMIT))
            .build(text)
            .map_err(|error| match error.syntax_error() {
                Some(syntax) => RegexError::Syntax(last_line(&syntax.to_string())),
                None => RegexError::TooLarge,
            })?;
        Ok(Self::Regex(text.into()))
    }
}

/// A syntax error is told in several lines, of which the last says what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message);
    line.trim_start_matches("error: ").to_owned()
}

/// Linear time whatever the pattern, memory bounded at load.
pub(crate) fn limits(bytes: usize) -> regex_automata::meta::Config {
    regex_automata::meta::Config::new()
        .nfa_size_limit(Some(bytes))
        .onepass(false)
        .match_kind(regex_automata::MatchKind::All)
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Regex(text) => write!(f, "re:{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_are_checked_and_bounded() {
        assert_eq!(
            TextPattern::regex("^curl/"),
            Ok(TextPattern::Regex("^curl/".into()))
        );
        let error = TextPattern::regex("a(b").unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a regular expression: unclosed group"
        );
        assert_eq!(
            TextPattern::regex("(a{100}){100}{100}"),
            Err(RegexError::TooLarge)
        );
    }
}
