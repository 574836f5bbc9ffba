//! `sluice doctor`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use sluice_steer::doctor::{Finding, Severity, Snapshot, examine};

use crate::kernel_state;

/// Arguments of `sluice doctor`.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration that is to run here; without it the defaults.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Examines the machine and prints what it found: exit code 1 where there are problems.
///
/// # Errors
///
/// The configuration has mistakes, or the kernel does not answer.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config, json } = args;
    let config = kernel_state::config_or_default(config.as_deref())?;
    let options = kernel_state::doctor_options(&config);
    let findings = examine(&kernel_state::block_on(Snapshot::collect(&options))??);
    let text = if json {
        format!("{}\n", serde_json::json!({ "findings": findings }))
    } else {
        report(&findings)
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    let problems = findings
        .iter()
        .any(|finding| finding.severity == Severity::Problem);
    Ok(if problems {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn report(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing found that would hinder sluice here\n".to_owned();
    }
    let mut text = String::new();
    for Finding {
        severity,
        check,
        what,
        why,
        cure,
    } in findings
    {
        let severity = severity.name();
        text.push_str(&format!(
            "{severity}: {what} [{check}]\n  why:  {why}\n  cure: {cure}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_printed_with_its_reason_and_its_cure() {
        let finding = Finding {
            severity: Severity::Problem,
            check: "forward-v4",
            what: "IPv4 forwarding is off".to_owned(),
            why: "nothing is forwarded".to_owned(),
            cure: "sysctl -w net.ipv4.ip_forward=1".to_owned(),
        };
        assert_eq!(
            report(&[finding]),
            "problem: IPv4 forwarding is off [forward-v4]\n  why:  nothing is forwarded\n  cure: \
             sysctl -w net.ipv4.ip_forward=1\n"
        );
        assert!(report(&[]).contains("nothing found"));
    }
}
