//! The guard on instructions: counts them under callgrind and fails where a committed limit is
//! passed. `--update` writes the counts anew, for review.
//!
//! Two runs of a case differ by a known number of repetitions; the difference of their counts is
//! the work, without start-up. Counts repeat exactly on one machine and compiler.

use std::{collections::BTreeMap, env, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sluice_bench::icount::{CASES, work};

/// How far a count may rise above its limit before the guard fails.
const TOLERANCE: f64 = 0.02;

/// Repetitions of the longer run over the shorter.
const TIMES: u32 = 100;

/// One entry of the budgets.
#[derive(Deserialize, Serialize)]
struct Budget {
    instructions: u64,
    reason: String,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, case, times] = arguments.as_slice()
        && flag == "--work"
    {
        return work(case, times.parse()?);
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("budgets/icount.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut budgets: BTreeMap<String, Budget> = toml::from_str(&text)?;
    let update = arguments.iter().any(|argument| argument == "--update");
    let mut over = Vec::new();
    println!(
        "{:<24}{:>12}{:>12}{:>9}",
        "case", "counted", "limit", "change"
    );
    for case in CASES {
        let short = count(case, 0)?;
        let long = count(case, TIMES)?;
        let each = long.saturating_sub(short) / u64::from(TIMES);
        let Some(budget) = budgets.get_mut(case) else {
            if !update {
                bail!("{} has no limit for {case}", path.display());
            }
            let reason = "first count".to_owned();
            budgets.insert(
                case.to_owned(),
                Budget {
                    instructions: each,
                    reason,
                },
            );
            continue;
        };
        let change = ratio(each, budget.instructions);
        println!(
            "{case:<24}{each:>12}{:>12}{:>+8.1}%",
            budget.instructions,
            change * 100.0
        );
        if update {
            budget.instructions = each;
        } else if change > TOLERANCE {
            over.push(case);
        } else if change < -TOLERANCE {
            println!("  less than its limit: lower it with --update, so that it stays so");
        }
    }
    for case in budgets.keys() {
        if !CASES.contains(&case.as_str()) {
            bail!(
                "{} has a limit for {case}, which nobody counts",
                path.display()
            );
        }
    }
    if update {
        fs::write(&path, HEAD.to_owned() + &toml::to_string(&budgets)?)?;
        return Ok(());
    }
    if !over.is_empty() {
        bail!(
            "more instructions than allowed: {}; where the rise is wanted, run `cargo bench \
             --package sluice-bench --bench icount -- --update` and give the reason in {}",
            over.join(", "),
            path.display()
        );
    }
    Ok(())
}

const HEAD: &str = "# Instructions of one repetition under callgrind; more than 2 % above is a \
                    failure. A wanted rise\n# changes the number and its reason in the commit that \
                    brings it.\n\n";

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn ratio(found: u64, limit: u64) -> f64 {
    (found as f64 - limit as f64) / (limit as f64).max(1.0)
}

/// Instructions of a whole process.
fn count(case: &str, times: u32) -> Result<u64> {
    let own = env::current_exe()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["--work", case, &times.to_string()])
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .output()
        .context("valgrind is not installed, or cannot start: `cargo xtask setup` installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("counting {case}: {}: {said}", output.status);
    }
    said.lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
        .with_context(|| format!("valgrind gave no count for {case}: {said}"))
}
