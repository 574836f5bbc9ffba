//! `cargo xtask test`.

use std::{env, fs, process::Command};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{repo, setup, steps::Steps};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Which tests
    #[arg(default_value = "all")]
    which: Which,
    /// More for `cargo nextest run`, e.g. a part of a test's name
    #[arg(last = true)]
    nextest: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Which {
    /// Those that any user can run
    Unit,
    /// Those that need root: kernel programs and network namespaces
    Root,
    /// Both
    #[default]
    All,
    /// The gateway with Kerberos in it, against a KDC; nothing else needs what this needs
    Kerberos,
}

/// Installs what is missing, builds, and runs the tests.
///
/// # Errors
///
/// When a test fails, or when root tests were asked for and none ran.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut steps = Steps::new();
    let done = all(args, &mut steps);
    steps.print();
    done
}

/// The same, as steps of another verb.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn all(args: &Args, steps: &mut Steps) -> Result<()> {
    if args.which == Which::Kerberos {
        return kerberos(steps);
    }
    let root_tests = args.which != Which::Unit;
    if root_tests && !repo::is_root() {
        bail!(
            "the tests of kernel programs and namespaces need root: run this as root, or \
             `cargo xtask test unit` for the others"
        );
    }
    steps.step("setup", || {
        setup::run(&[setup::For::Kernel, setup::For::Lab, setup::For::Test])
    })?;
    steps.step("build the kernel object", || {
        sluice_ebpf_build::build(&repo::root()).context("building the kernel object")
    })?;
    steps.step("build", || {
        repo::run(&mut repo::cargo(&["build", "--workspace", "--bins"]))
    })?;
    let captures = env::var_os("SLUICE_CAPTURES").unwrap_or_default();
    if !fs::exists(&captures).unwrap_or(false) {
        println!("no captures of real traffic: SLUICE_CAPTURES names no folder; tests say so");
    }
    steps.step("build the tests", || {
        repo::run(&mut nextest(&["--no-run"], &[]))
    })?;
    if args.which != Which::Root {
        steps.step("unit tests", || repo::run(&mut nextest(&[], &args.nextest)))?;
        if args.nextest.is_empty() {
            steps.step("examples in the documentation", || {
                repo::run(&mut repo::cargo(&[
                    "test",
                    "--quiet",
                    "--workspace",
                    "--doc",
                ]))
            })?;
        }
    }
    if root_tests {
        let ran = steps.step("root tests", || root(&args.nextest))?;
        println!("{ran} root tests ran");
    }
    Ok(())
}

/// Lints and tests the gateway with Kerberos in it.
fn kerberos(steps: &mut Steps) -> Result<()> {
    steps.step("setup", || {
        setup::run(&[setup::For::Test, setup::For::Kerberos])
    })?;
    let gateway = ["-p", "sluice-gateway", "--features", "kerberos"];
    steps.step("clippy with Kerberos", || {
        let mut clippy = repo::cargo(&["clippy", "--quiet"]);
        clippy.args(gateway);
        repo::run(clippy.args(["--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.step("Kerberos tests", || {
        let mut tests = repo::cargo(&["nextest", "run"]);
        repo::run(tests.args(gateway).args(["--test", "negotiate"]))
    })
}

/// Runs the root tests one after another and returns how many ran.
fn root(more: &[String]) -> Result<u64> {
    // Nextest has a place of its own for reports, wherever cargo builds.
    let report = repo::root().join("target/nextest/root/junit.xml");
    // One of an earlier run must not be counted.
    let _absent = fs::remove_file(&report);
    repo::run(&mut nextest(
        &["--profile", "root", "--run-ignored", "only"],
        more,
    ))?;
    let text = fs::read_to_string(&report).with_context(|| report.display().to_string())?;
    let Some(ran) = count(&text).filter(|ran| *ran > 0) else {
        bail!(
            "none of the root tests ran: {} names none",
            report.display()
        );
    };
    if more.is_empty()
        && let Some(missing) = INDISPENSABLE.iter().find(|name| !names(&text, name))
    {
        bail!(
            "no test of `{missing}` ran: {} names none",
            report.display()
        );
    }
    Ok(ran)
}

/// Test modules without which a whole run proves nothing; those of the captures pass where the
/// captures are absent, so the generated ones must have run.
const INDISPENSABLE: &[&str] = &["replay::generated::", "kernel::a1_"];

/// Whether a JUnit report names a test that begins, or whose module path holds, `part`.
fn names(junit: &str, part: &str) -> bool {
    junit
        .split("<testcase name=\"")
        .skip(1)
        .filter_map(|case| case.split('"').next())
        .any(|name| name.contains(part))
}

/// The number of tests in a JUnit report.
fn count(junit: &str) -> Option<u64> {
    let suites = junit.split("<testsuites ").nth(1)?.split('>').next()?;
    suites
        .split("tests=\"")
        .nth(1)?
        .split('"')
        .next()?
        .parse()
        .ok()
}

fn nextest(args: &[&str], more: &[String]) -> Command {
    let mut cargo = repo::cargo(&["nextest", "run", "--workspace"]);
    cargo
        .args(args)
        .args(more)
        .env("SLUICE_BIN", repo::target_dir().join("debug/sluice"));
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_tells_which_ran() {
        let text = "<testcase name=\"replay::generated::every_line\" classname=\"x::y\">";
        assert!(names(text, "replay::generated::"));
        assert!(!names(text, "kernel::a1_"));
        assert!(!names(text, "x::y"));
    }

    #[test]
    fn the_report_tells_how_many_ran() {
        let text = "<?xml version=\"1.0\"?>\n<testsuites name=\"nextest-run\" tests=\"27\" \
                    failures=\"0\">\n<testsuite tests=\"3\"></testsuite></testsuites>";
        assert_eq!(count(text), Some(27));
        assert_eq!(count("<testsuites name=\"x\"></testsuites>"), None);
    }
}
