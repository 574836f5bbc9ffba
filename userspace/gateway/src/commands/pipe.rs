//! Standard output of commands that are read through a pipe.

use std::{
    io::{self, IsTerminal as _, StdoutLock},
    process::ExitCode,
};

/// Standard output.
pub(super) fn stdout() -> StdoutLock<'static> {
    io::stdout().lock()
}

/// What a command ends with that has written all it had to, or whose reader has gone: `head` took
/// what it wanted, and that is no failure.
pub(super) fn ended(written: io::Result<()>) -> anyhow::Result<ExitCode> {
    match written {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(anyhow::Error::new(error).context("writing to standard output")),
    }
}

/// Whether colours are wanted: on a terminal, unless `NO_COLOR` says otherwise
/// (<https://no-color.org>) or the terminal has none.
pub(super) fn has_colours() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// A text that may come from the network, safe to show on a terminal: control characters, and those
/// that turn the direction of writing, are shown by their numbers.
pub(super) fn safe(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_unsafe(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown.into()
}

fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_is_shown_by_its_number() {
        for (text, shown) in [
            ("shop.example", "shop.example"),
            ("büro.example", "büro.example"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\nb\u{9b}c", "a\\u{a}b\\u{9b}c"),
            ("exe.\u{202e}gpj", "exe.\\u{202e}gpj"),
        ] {
            assert_eq!(safe(text), shown);
        }
    }
}
