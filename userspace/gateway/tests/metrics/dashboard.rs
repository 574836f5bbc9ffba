//! The dashboard asks what Prometheus understands, about metrics that there are.

use serde_json::Value;

use super::{promtool, read, unknown_names};

/// Every value behind a key, however deep.
fn all<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            for (name, inside) in fields {
                if name == key {
                    found.push(inside);
                }
                all(inside, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|inside| all(inside, key, found)),
        _ => {}
    }
}

#[test]
fn every_query_is_understood_and_names_what_there_is() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let mut queries = Vec::new();
    all(&dashboard, "expr", &mut queries);
    assert!(queries.len() > 40, "{}", queries.len());
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, query) in queries.iter().enumerate() {
        let query = query.as_str().unwrap();
        assert_eq!(unknown_names(query), [""; 0], "{query}");
        // What Grafana puts in before it asks.
        let query = query.replace("$__rate_interval", "5m");
        let quoted = serde_json::to_string(&query).unwrap();
        rules.push_str(&format!(
            "      - record: query:{number}\n        expr: {quoted}\n"
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("queries.yml"), &rules).unwrap();
    let (content, said) = promtool::run(folder.path(), &["check", "rules", "queries.yml"], None);
    assert!(content, "{said}");

    let broken = rules.replacen("expr: \"", "expr: \"sum by (", 1);
    std::fs::write(folder.path().join("queries.yml"), broken).unwrap();
    let (content, _) = promtool::run(folder.path(), &["check", "rules", "queries.yml"], None);
    assert!(!content, "what does not parse is not noticed");
}

#[test]
fn the_rows_are_those_that_people_look_for() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let rows: Vec<_> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|panel| panel["title"].as_str().unwrap())
        .collect();
    let wanted = [
        "What is blocked, and why",
        "Latency",
        "Kernel",
        "Health",
        "Identity",
        "Sinks",
    ];
    assert_eq!(rows, wanted);
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "two panels have one id");
}
