//! The table of reasons in the documentation is the enum's own, and tests make every reason appear.
#![cfg(test)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use sluice_abi::Reason;

fn table() -> String {
    let mut text = String::from(
        "# Reasons\n\nWhy a verdict, a drop or a close happened: the words in counters, access \
         records, logs and metrics. Written from `ebpf/abi/src/reason.rs`.\n",
    );
    for (title, is_kernel) in [
        ("Given by the kernel programs", true),
        ("Given by the daemon", false),
    ] {
        let _ = write!(
            text,
            "\n## {title}\n\n| reason | code | meaning |\n|---|---|---|\n"
        );
        for reason in Reason::ALL
            .iter()
            .filter(|reason| reason.is_kernel() == is_kernel)
        {
            let description = reason
                .description()
                .trim()
                .replace("`on_failure`", "on_failure");
            let _ = writeln!(
                text,
                "| `{}` | {} | {description} |",
                reason.name(),
                reason.code()
            );
        }
    }
    text
}

#[test]
fn the_documented_reasons_are_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../REASONS.md");
    let wanted = table();
    if std::env::var_os("SLUICE_UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).expect("REASONS.md can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "REASONS.md is not current: run SLUICE_UPDATE_DOCS=1 cargo test -p sluice-tests --test reasons"
    );
}

/// Where tests are: files of these folders, and the tests inside of sources.
const TESTED: &[&str] = &["ebpf", "userspace", "tests/tests", "tests/src"];

/// Reasons that no test makes appear, and why that is so.
const UNSEEN: &[(Reason, &str)] = &[(
    Reason::AssignFailed,
    "the kernel refuses a socket only where its listener goes between two instructions",
)];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What of a file is tests.
fn tests_of<'t>(path: &Path, text: &'t str) -> &'t str {
    let is_test = path.components().any(|part| {
        ["tests", "tests.rs"]
            .map(AsRef::as_ref)
            .contains(&part.as_os_str())
    });
    if is_test {
        return text;
    }
    text.find("#[cfg(test)]")
        .and_then(|at| text.get(at..))
        .unwrap_or_default()
}

/// Whether a text names a word that goes on neither before nor behind it.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let behind = text.get(at + word.len()..).unwrap_or_default();
        !behind.starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '-')
    })
}

#[test]
fn every_reason_appears_in_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = root.parent().expect("the crate lies in the workspace");
    let mut files = Vec::new();
    for dir in TESTED {
        sources(&root.join(dir), &mut files);
    }
    // Those that speak of all reasons alike are no tests of one.
    files.retain(|path| !path.ends_with("tests/tests/reasons.rs"));
    files.retain(|path| !path.ends_with("ebpf/abi/src/reason.rs"));
    let texts: Vec<_> = files
        .iter()
        .map(|path| {
            (
                path,
                fs::read_to_string(path).expect("a source can be read"),
            )
        })
        .collect();
    for reason in Reason::ALL {
        let quoted = format!("\"{}\"", reason.name());
        let variant = format!("Reason::{reason:?}");
        let seen = texts.iter().find(|(path, text)| {
            let text = tests_of(path, text);
            text.contains(&quoted) || names(text, &variant)
        });
        let excused = UNSEEN.iter().find(|(unseen, _)| unseen == reason);
        match (seen, excused) {
            (Some((path, _)), Some(_)) => {
                panic!(
                    "{reason:?} appears in {}: excuse it no more",
                    path.display()
                )
            }
            (None, None) => panic!("no test makes {reason:?} appear: write one, or say why not"),
            _ => {}
        }
    }
}
