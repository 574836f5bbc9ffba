//! The table of metrics, and what is made of it: its documentation, alerts, a dashboard, a scrape.
#![cfg(test)]

mod alerts;
mod cost;
mod dashboard;
mod promtool;
mod scrape;

use std::path::{Path, PathBuf};

use sluice_gateway::daemon::export::table::{METRICS, markdown};

/// A file of the crate.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[track_caller]
fn read(name: &str) -> String {
    let path = file(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of metrics that a text of expressions uses and that are none.
fn unknown_names(text: &str) -> Vec<&str> {
    let known: Vec<String> = METRICS.iter().flat_map(|metric| metric.series()).collect();
    let is_word = |byte: char| byte.is_ascii_alphanumeric() || byte == '_' || byte == ':';
    text.split(|byte| !is_word(byte))
        .filter(|word| word.starts_with("sluice_") || word.starts_with("process_"))
        .filter(|word| !known.iter().any(|name| name == word))
        .collect()
}

#[test]
fn the_documented_metrics_are_current() {
    let wanted = markdown();
    if std::env::var_os("SLUICE_UPDATE_DOCS").is_some() {
        std::fs::write(file("METRICS.md"), &wanted).unwrap();
    }
    assert!(
        read("METRICS.md") == wanted,
        "METRICS.md is not current: run SLUICE_UPDATE_DOCS=1 cargo test -p sluice-gateway --test metrics"
    );
}

#[test]
fn a_name_that_is_none_is_found() {
    let found = unknown_names("rate(sluice_flows_total{a=\"b\"}[5m]) / sluice_flow_total");
    assert_eq!(found, ["sluice_flow_total"]);
}
