//! One idea a file: a long one has to say why.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::repo;

/// Lines that a file may have.
const LIMIT: usize = 600;

/// Files that may be longer, each with the reason.
const LONGER: &[(&str, &str)] = &[];

/// Fails where a Rust file is too long.
///
/// # Errors
///
/// Names every file over the limit.
pub(super) fn check() -> Result<()> {
    let mut found = Vec::new();
    for path in repo::rust_files()? {
        let text = fs::read_to_string(repo::root().join(&path))
            .with_context(|| path.display().to_string())?;
        let lines = text.lines().count();
        let name = path.to_string_lossy();
        if lines > LIMIT && !LONGER.iter().any(|(file, _)| *file == name) {
            found.push(format!("{name} has {lines} lines"));
        }
    }
    if !found.is_empty() {
        bail!("at most {LIMIT} lines a file:\n  {}", found.join("\n  "));
    }
    Ok(())
}
