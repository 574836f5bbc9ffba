//! What holds for any text that is read as a configuration.

use sluice_gateway::config::{Config, ConfigError, show};

/// Reads a text: it is a configuration that can be shown, or every mistake has its place in it.
///
/// # Panics
///
/// Where that does not hold.
pub(super) fn check(text: &str) {
    match Config::parse(text, "x.toml") {
        Ok(config) => assert!(show::effective(&config).contains("openings")),
        Err(ConfigError::Invalid(invalid)) => {
            let lines = 1..=text.split('\n').count();
            assert!(!invalid.problems.is_empty());
            assert!(invalid.problems.iter().all(|p| lines.contains(&p.line)));
        }
        Err(other) => unreachable!("{other}"),
    }
}
