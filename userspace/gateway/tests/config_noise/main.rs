//! Texts that are no configuration are refused, never answered with a panic.

mod check;

use check::check;
use proptest::prelude::*;
use sluice_gateway::config::DEFAULT;

const EVERYTHING: &str = include_str!("../../../../tests/fuzz/seeds/config/everything.toml");

#[test]
fn the_text_with_everything_is_valid() {
    let config = sluice_gateway::config::Config::parse(EVERYTHING, "everything.toml");
    assert!(config.is_ok(), "{}", config.unwrap_err());
}

proptest! {
    #[test]
    fn no_text_is_answered_with_a_panic(text in "\\PC*") {
        check(&text);
    }

    /// Valid texts with some bytes replaced, removed or doubled reach further than noise does.
    #[test]
    fn no_damage_to_a_valid_text_is_answered_with_a_panic(
        which in 0usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..16, "\\PC"), 1..6),
    ) {
        let texts = [
            DEFAULT,
            EVERYTHING,
            include_str!("../../examples/skype.toml"),
            include_str!("../../examples/sni-only.toml"),
        ];
        let mut text: Vec<char> = texts[which].chars().collect();
        for (at, kind, with) in damage {
            if text.is_empty() {
                break;
            }
            let at = at.index(text.len());
            match kind {
                0 => text.truncate(at.max(1)),
                1..6 => drop(text.remove(at)),
                6..11 => text.insert(at, text[at]),
                _ => text[at] = with.chars().next().unwrap_or(' '),
            }
        }
        check(&text.into_iter().collect::<String>());
    }
}
