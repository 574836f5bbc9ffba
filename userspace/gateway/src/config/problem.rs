//! What is wrong with a configuration, and where.

use std::{cell::RefCell, fmt, io, ops::Range, path::PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text has mistakes.
    #[error("{0}")]
    Invalid(Invalid),
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Every mistake that was found in one configuration, in the order of the text; those of a file that
/// it names stand where it names the file.
#[derive(Clone, Debug)]
pub struct Invalid {
    /// Name of the configuration's file.
    pub file: String,
    /// The mistakes; at least one.
    pub problems: Vec<Problem>,
}

/// One mistake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file, where it is not the configuration's own but one that it names.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1; `None` in files that are read line by line.
    pub column: Option<usize>,
    /// What is wrong, what was expected, and the cure.
    pub message: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Problem {
                file,
                line,
                column,
                message,
            } = problem;
            let file = file.as_ref().unwrap_or(&self.file);
            match column {
                Some(column) => write!(f, "{file}:{line}:{column}: {message}")?,
                None => write!(f, "{file}:{line}: {message}")?,
            }
        }
        Ok(())
    }
}

/// Collects mistakes while a text is read, so that one reading finds them all.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Found>>);

/// The fields are in the order by which mistakes are told.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Found {
    /// Where in the configuration.
    at: usize,
    /// File and line, where the mistake is in a file that the configuration names there.
    within: Option<(String, usize)>,
    message: String,
}

impl Problems {
    pub(super) fn add(&self, span: Range<usize>, message: impl Into<String>) {
        self.0.borrow_mut().push(Found {
            at: span.start,
            within: None,
            message: message.into(),
        });
    }

    /// Adds a mistake in a line of a file that is named at `span`.
    pub(super) fn add_line(
        &self,
        span: Range<usize>,
        file: &str,
        line: usize,
        message: impl Into<String>,
    ) {
        self.0.borrow_mut().push(Found {
            at: span.start,
            within: Some((file.to_owned(), line)),
            message: message.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// The mistakes as an error, or nothing where there are none.
    pub(super) fn into_error(self, file: &str, text: &str) -> Option<ConfigError> {
        let mut found = self.0.into_inner();
        if found.is_empty() {
            return None;
        }
        found.sort();
        found.dedup();
        let problems = found
            .into_iter()
            .map(
                |Found {
                     at,
                     within,
                     message,
                 }| match within {
                    Some((file, line)) => Problem {
                        file: Some(file),
                        line,
                        column: None,
                        message,
                    },
                    None => {
                        let (line, column) = position(text, at);
                        Problem {
                            file: None,
                            line,
                            column: Some(column),
                            message,
                        }
                    }
                },
            )
            .collect();
        Some(ConfigError::Invalid(Invalid {
            file: file.to_owned(),
            problems,
        }))
    }
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    (
        line,
        before.get(start..).unwrap_or_default().chars().count() + 1,
    )
}

/// The candidate that is close to what was written, where one is.
pub(crate) fn near_miss<'c>(
    written: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // Nobody mistypes a word of this length, and the distance is quadratic.
    if written.len() > 64 {
        return None;
    }
    let written: Vec<char> = written.to_lowercase().chars().collect();
    let allowed = (written.len() / 3)
        .max(1)
        .min(written.len().saturating_sub(1));
    candidates
        .into_iter()
        .map(|candidate| {
            let other: Vec<char> = candidate.to_lowercase().chars().collect();
            (distance(&written, &other), candidate)
        })
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words.
fn distance(one: &[char], two: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in two.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let mut best = (at(&last, j + 1) + 1)
                .min(at(&row, j) + 1)
                .min(at(&last, j) + usize::from(a != b));
            let swapped = i > 0 && j > 0 && one.get(i - 1) == Some(b) && two.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_strangers_are_not() {
        let keys = ["lan", "on_failure", "midstream"];
        assert_eq!(near_miss("lna", keys), Some("lan"));
        assert_eq!(near_miss("onfailure", keys), Some("on_failure"));
        assert_eq!(near_miss("Midstream", keys), Some("midstream"));
        assert_eq!(near_miss("colour", keys), None);
    }

    #[test]
    fn positions_count_lines_and_characters() {
        assert_eq!(position("a\nbü c", 6), (2, 4));
        assert_eq!(position("", 0), (1, 1));
        assert_eq!(position("ab", 99), (1, 3));
    }
}
