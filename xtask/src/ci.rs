//! `cargo xtask ci`.

use anyhow::Result;

use crate::{bench, lint, setup, steps::Steps, test};

/// Sets up, lints, tests and guards, and prints the time of each step.
///
/// # Errors
///
/// When one of them finds a fault.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new();
    let done = all(&mut steps);
    steps.print();
    done
}

fn all(steps: &mut Steps) -> Result<()> {
    steps.step("install what is missing", || setup::run(setup::ALL))?;
    lint::all(&lint::Args::default(), steps)?;
    test::all(&test::Args::default(), steps)?;
    steps.step("instructions against their limits", || bench::guard(&[]))
}
