//! `sluice doctor`.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use sluice_mint::{AuthorityFiles, Clock as _, SystemClock, show_moment};
use sluice_steer::doctor::{Finding, Severity, Snapshot, examine};

use crate::kernel_state;

/// Arguments of `sluice doctor`.
#[derive(clap::Args)]
#[command(
    after_help = "What is looked at: kernel and rights, LAN devices and who else is on their hooks, forwarding, rp_filter, \
routing rules and marks, nftables and who else writes its rules, table of connections, open files, clock, offloads, \
and the dates of the CA. Nothing is changed.\n\n\
Exit status: 0 nothing that keeps sluice from working; 1 a problem, or the configuration has mistakes.\n\n\
Examples:\n  \
sluice doctor --config /etc/sluice/sluice.toml\n  \
sluice doctor --json | jq '.findings[].cure'"
)]
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
    let mut findings = examine(&kernel_state::block_on(Snapshot::collect(&options))??);
    let now = SystemClock::default().unix();
    findings.extend(config.ca.as_ref().and_then(|ca| authority(&ca.files, now)));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
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

/// Days before the end of the CA from which on that is told.
const CA_DAYS: i64 = 30;

/// What is to be said of the certificate of the CA, whose key is not touched.
fn authority(files: &AuthorityFiles, now: i64) -> Option<Finding> {
    let found = |severity, what, why: &str, cure: &str| Finding {
        severity,
        check: "ca",
        what,
        why: why.to_owned(),
        cure: cure.to_owned(),
    };
    let certificates = match files.certificates() {
        Ok(certificates) => certificates,
        Err(error) => {
            return Some(found(
                Severity::Problem,
                format!("the certificate of the CA: {error}"),
                "the daemon does not start with a CA that it cannot use",
                "name the right files in [ca], or make one by `sluice ca init`",
            ));
        }
    };
    let end = certificates.signing(now).not_after();
    let (severity, why) = match (end - now).div_euclid(86_400) {
        ..0 => (
            Severity::Problem,
            "clients refuse every leaf, and the daemon does not start",
        ),
        0..CA_DAYS => (
            Severity::Warning,
            "from then on clients refuse every leaf, and clients take time to be given the next one",
        ),
        _ => return None,
    };
    Some(found(
        severity,
        format!("the CA is over at {}", show_moment(end)),
        why,
        "sluice ca rotate",
    ))
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
