//! What a policy says of facts that somebody gives: shared by `explain`, `diff` and `decrypts`.

pub mod answer;
pub mod capture;
pub mod changes;
pub mod given;
mod inside;
pub mod recorded;
pub mod text;
pub mod trace;
pub mod witness;

use std::{
    io::{self, BufRead},
    process::ExitCode,
};

use anyhow::Context as _;
use sluice_policy::{Facts, Policy, Scratch};

pub use answer::Answer;
pub use given::{Bad, Given};

/// Reads facts, one JSON object a line, and writes an answer for each; `name` is what messages call
/// the source. Empty lines are left out.
///
/// # Errors
///
/// The first line that cannot be understood, and what keeps lines from being read or written; the
/// answers before it are written.
pub fn lines(
    policy: &Policy,
    source: &mut dyn BufRead,
    name: &str,
    mut put: impl FnMut(&Facts<'_>, &Answer<'_>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut scratch = Scratch::default();
    let mut line = String::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        number += 1;
        let length = source.read_line(&mut line);
        if length.with_context(|| format!("{name}:{number}: cannot be read"))? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            continue;
        }
        let given = Given::read(line.trim_end())
            .map_err(|message| anyhow::anyhow!("{name}:{number}: {message}"))?;
        let prepared = given
            .prepare()
            .map_err(|bad| anyhow::anyhow!("{name}:{number}: {bad}"))?;
        let facts = prepared.facts(policy);
        let answer = Answer::of(policy, &facts, &mut scratch);
        put(&facts, &answer).context("writing the answers")?;
    }
}

/// The exit code of a command whose mistakes give 2, after they are told; a reader who has seen
/// enough is none.
#[must_use]
pub fn concluded(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        let mut causes = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>());
        if causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("sluice: {error:#}");
        ExitCode::from(2)
    })
}
