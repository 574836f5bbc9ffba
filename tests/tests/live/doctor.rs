//! `sluice doctor` finds what hinders, and says what helps.

use std::process::Command;

use serde_json::Value;
use sluice_tests::lab::Lab;

use crate::support::{recipe, said, sluice, try_sluice};

/// The findings by the name of their check, with their severity.
fn findings(lab: &Lab) -> Vec<(String, String)> {
    let output = try_sluice(lab, &["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    let findings = report["findings"].as_array().unwrap();
    let problems = findings
        .iter()
        .any(|finding| finding["severity"] == "problem");
    assert_eq!(output.status.success(), !problems, "{report}");
    for finding in findings {
        for part in ["what", "why", "cure"] {
            let text = finding[part].as_str().unwrap();
            assert!(!text.is_empty(), "{finding}");
        }
    }
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    findings
        .iter()
        .map(|finding| (text(finding, "check"), text(finding, "severity")))
        .collect()
}

fn nft(lab: &Lab, commands: &str) {
    let mut nft = Command::new("nft");
    let output = lab.gateway().output(nft.arg(commands));
    assert!(output.status.success(), "{}", said(&output));
}

/// One mistake, how it is made, how it is undone, and what is to be found.
type Mistake = (fn(&Lab), fn(&Lab), (&'static str, &'static str));

const MISTAKES: &[Mistake] = &[
    (
        |lab| lab.gateway().sysctl("net.ipv4.conf.lan0.rp_filter", "1"),
        |lab| lab.gateway().sysctl("net.ipv4.conf.lan0.rp_filter", "0"),
        ("rp-filter", "warning"),
    ),
    (
        |lab| lab.gateway().sysctl("net.ipv4.ip_forward", "0"),
        |lab| lab.gateway().sysctl("net.ipv4.ip_forward", "1"),
        ("forward-v4", "problem"),
    ),
    (
        |lab| lab.gateway().sysctl("net.ipv6.conf.all.forwarding", "0"),
        |lab| lab.gateway().sysctl("net.ipv6.conf.all.forwarding", "1"),
        ("forward-v6", "warning"),
    ),
    (
        |lab| {
            lab.gateway()
                .ip("rule add pref 9000 fwmark 0x1000000/0xff000000 lookup 77");
        },
        |lab| lab.gateway().ip("rule del pref 9000"),
        ("foreign-mark", "warning"),
    ),
    (
        |lab| {
            lab.gateway()
                .ip("rule add pref 1 fwmark 0x51000000/0xff000000 lookup 77");
        },
        |lab| lab.gateway().ip("rule del pref 1"),
        ("foreign-rule", "problem"),
    ),
    (
        |lab| {
            nft(lab, "add table inet closed");
            nft(
                lab,
                "add chain inet closed input { type filter hook input priority 0; policy drop; }",
            );
        },
        |lab| nft(lab, "delete table inet closed"),
        ("input", "problem"),
    ),
];

#[test]
#[ignore = "root: cargo xtask test"]
fn what_hinders_is_found_while_it_is_there() {
    let lab = Lab::new();
    let _config = lab.write_config(&recipe());
    for is_loaded in [false, true] {
        if is_loaded {
            sluice(&lab, "load");
        }
        let healthy = findings(&lab);
        assert!(
            healthy.iter().all(|(_, severity)| severity != "problem"),
            "{healthy:?}"
        );
        for (make, undo, (check, severity)) in MISTAKES {
            let wanted = ((*check).to_owned(), (*severity).to_owned());
            assert!(!healthy.contains(&wanted), "{check} without a cause");
            make(&lab);
            let found = findings(&lab);
            assert!(found.contains(&wanted), "no {wanted:?} in {found:?}");
            undo(&lab);
            assert_eq!(findings(&lab), healthy, "after {check}");
        }
    }
}
