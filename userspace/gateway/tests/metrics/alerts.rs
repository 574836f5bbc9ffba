//! The alerts are valid, fire on what they are for and on nothing else, and ask about what there is.

use std::collections::BTreeSet;

use super::{file, promtool, read, unknown_names};

/// The names behind `key: ` in a text of YAML.
fn behind<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    text.lines()
        .filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key))
        .map(str::trim)
        .collect()
}

#[test]
fn alerts_are_valid_and_ask_about_what_there_is() {
    let alerts = read("alerts.yml");
    let (content, said) = promtool::run(&file(""), &["check", "rules", "alerts.yml"], None);
    assert!(content, "{said}");
    assert_eq!(unknown_names(&alerts), [""; 0]);
    let names = behind(&alerts, "alert:");
    assert!(names.len() >= 18, "{names:?}");
    for key in ["severity:", "summary:", "description:", "expr:", "for:"] {
        assert_eq!(behind(&alerts, key).len(), names.len(), "{key}");
    }
    for severity in behind(&alerts, "severity:") {
        assert!(["critical", "warning"].contains(&severity), "{severity}");
    }
}

#[test]
fn alerts_fire_on_what_they_are_for_and_on_nothing_else() {
    let dir = file("tests/metrics");
    let (content, said) = promtool::run(&dir, &["test", "rules", "alerts_test.yml"], None);
    assert!(content, "{said}");
    let tests = read("tests/metrics/alerts_test.yml");
    for alert in behind(&read("alerts.yml"), "alert:") {
        for what in ["fires", "is silent"] {
            let name = format!("name: {alert} {what}\n");
            assert!(tests.contains(&name), "no test that {alert} {what}");
        }
    }
    let expected: BTreeSet<_> = behind(&tests, "alertname:").into_iter().collect();
    let alerts = read("alerts.yml");
    let all: BTreeSet<_> = behind(&alerts, "alert:").into_iter().collect();
    assert_eq!(expected, all);
}
