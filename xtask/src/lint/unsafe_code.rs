//! `unsafe` stays in the files that are meant for it, and does not spread within them.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::repo;

/// Where `unsafe` may be at all: the beginning of a path, with the reason.
const ALLOWED: &[(&str, &str)] = &[
    (
        "ebpf/programs/src/kernel/",
        "packets, sockets and maps of the kernel are raw pointers",
    ),
    (
        "userspace/splice/src/",
        "system calls that no safe wrapper offers",
    ),
    (
        "userspace/steer/src/",
        "plain bytes in and out of kernel maps",
    ),
    (
        "userspace/peek/tests/allocations.rs",
        "an allocator that counts",
    ),
    ("tests/tests/wire/socket.rs", "packet sockets"),
    (
        "tests/tests/live/tap.rs",
        "devices whose far end is the test",
    ),
    (
        "bench/src/",
        "an allocator that counts, and the empty program that others are compared with",
    ),
];

/// Compares the number of `unsafe` in each file with the committed one, or writes it anew.
///
/// # Errors
///
/// Names every file that has more than was committed, or has any where none may be.
pub(super) fn check(write: bool) -> Result<()> {
    let committed = repo::root().join("xtask").join("unsafe.txt");
    let mut counts = BTreeMap::new();
    for path in repo::rust_files()? {
        let text = fs::read_to_string(repo::root().join(&path))
            .with_context(|| path.display().to_string())?;
        let count = count(&text);
        if count > 0 {
            counts.insert(path, count);
        }
    }
    let mut found = Vec::new();
    for path in counts.keys() {
        if !ALLOWED
            .iter()
            .any(|(start, _)| path.to_string_lossy().starts_with(start))
        {
            found.push(format!("{}: no unsafe code belongs there", path.display()));
        }
    }
    if write {
        let lines = counts
            .iter()
            .map(|(path, count)| format!("{count:>3} {}\n", path.display()));
        fs::write(&committed, lines.collect::<String>()).context("writing the counts")?;
    }
    let text = fs::read_to_string(&committed).unwrap_or_default();
    let limits = read(&text);
    for (path, count) in &counts {
        let limit = limits.get(path).copied().unwrap_or(0);
        if *count > limit {
            found.push(format!(
                "{}: {count} times unsafe, {limit} are committed (`cargo xtask lint \
                 --count-unsafe` writes them anew, for review)",
                path.display()
            ));
        }
    }
    if !found.is_empty() {
        bail!("{}", found.join("\n  "));
    }
    Ok(())
}

fn read(text: &str) -> BTreeMap<PathBuf, usize> {
    text.lines()
        .filter_map(|line| {
            let (count, path) = line.trim().split_once(' ')?;
            Some((PathBuf::from(path), count.parse().ok()?))
        })
        .collect()
}

/// Counts the blocks, functions and implementations that are unsafe; comments do not count.
fn count(text: &str) -> usize {
    // In two parts, so that this file does not count itself.
    let word = concat!("un", "safe");
    let forms = [" {", " fn", " impl", " extern", " trait"].map(|next| format!("{word}{next}"));
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .map(|code| {
            forms
                .iter()
                .map(|form| code.matches(form.as_str()).count())
                .sum::<usize>()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_counted() {
        // Put together, so that this file holds none itself.
        let word = ["un", "safe"].concat();
        let text = format!("let a = {word} {{ b }}; // {word} {{\n{word} impl X for Y {{}}\n");
        assert_eq!(count(&text), 2);
        assert_eq!(count(&format!("#![deny({word}_code)]\n/// {word} fn\n")), 0);
    }

    #[test]
    fn what_is_written_reads_back() {
        let limits = read("  3 a/b.rs\n 12 c d.rs\n");
        assert_eq!(limits.get(&PathBuf::from("a/b.rs")), Some(&3));
        assert_eq!(limits.get(&PathBuf::from("c d.rs")), Some(&12));
    }
}
