//! Texts that are no configuration are refused, never answered with a panic.

use proptest::prelude::*;
use sluice_gateway::config::{Config, ConfigError, DEFAULT, show};

proptest! {
    #[test]
    fn no_text_is_answered_with_a_panic(text in "\\PC*") {
        let _ = Config::parse(&text, "x.toml");
    }

    /// Valid texts with some bytes replaced, removed or doubled reach further than noise does.
    #[test]
    fn no_damage_to_a_valid_text_is_answered_with_a_panic(
        which in 0usize..3,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, "\\PC"), 1..6),
    ) {
        let texts = [
            DEFAULT,
            include_str!("../examples/skype.toml"),
            include_str!("../examples/sni-only.toml"),
        ];
        let mut text: Vec<char> = texts[which].chars().collect();
        for (at, kind, with) in damage {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = with.chars().next().unwrap_or(' '),
                1 => drop(text.remove(at)),
                2 => text.insert(at, text[at]),
                _ => text.truncate(at.max(1)),
            }
        }
        let text: String = text.into_iter().collect();
        match Config::parse(&text, "x.toml") {
            Ok(config) => prop_assert!(show::effective(&config).contains("openings")),
            Err(ConfigError::Invalid(invalid)) => {
                let lines = text.split('\n').count();
                prop_assert!(!invalid.problems.is_empty());
                prop_assert!(invalid.problems.iter().all(|p| (1..=lines).contains(&p.line)));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
