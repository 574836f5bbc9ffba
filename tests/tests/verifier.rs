//! The kernel programs stay within the budgets of `budgets/verifier.toml`.
//!
//! The verifier walks every path through a program and gives up after a million instructions, so a
//! program that grows without anybody noticing is one day refused by some kernel. A wanted rise
//! changes the budget's line, and its reason, in the same commit.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a backtrace"
)]

use std::{collections::BTreeMap, fs};

use sluice_abi::Hook;
use sluice_steer::{LinkType, TestBench, object};
use toml::Table;

/// What the programs may exceed their budgets by, in percent.
const SLACK: u64 = 5;

/// A budget that is this far above what is measured, in percent, guards nothing.
const SLOPPY: u64 = 15;

/// Everything that has a budget, measured.
fn measured() -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for (link, name) in [(LinkType::Ethernet, "ethernet"), (LinkType::L3, "l3")] {
        let mut bench = TestBench::live(link).unwrap();
        for hook in Hook::ALL {
            let program = format!("{}.{name}", hook.name());
            let verified = bench.verified_instructions(hook).unwrap();
            found.insert(format!("{program}.verified_instructions"), verified.into());
            let translated = bench.translated_bytes(hook).unwrap();
            found.insert(format!("{program}.translated_bytes"), translated.into());
        }
    }
    let bytes = object().unwrap().len();
    found.insert("object.bytes".to_owned(), bytes.try_into().unwrap());
    found
}

fn budgets() -> BTreeMap<String, u64> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/budgets/verifier.toml");
    let file: Table = fs::read_to_string(path).unwrap().parse().unwrap();
    let limits = file.get("budget").and_then(|list| list.as_array()).unwrap();
    let budget = |entry: &toml::Value| {
        let text = |key: &str| entry.get(key).and_then(toml::Value::as_str);
        let limit = entry
            .get("limit")
            .and_then(toml::Value::as_integer)
            .unwrap();
        assert!(
            text("reason").is_some_and(|reason| !reason.is_empty()),
            "{entry}: no reason"
        );
        (text("of").unwrap().to_owned(), limit.try_into().unwrap())
    };
    limits.iter().map(budget).collect()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn every_program_stays_within_its_budget() {
    let (measured, budgets) = (measured(), budgets());
    let mut wrong = Vec::new();
    for (of, &found) in &measured {
        println!("{of} = {found}");
        match budgets.get(of) {
            None => wrong.push(format!("{of} = {found} has no budget")),
            Some(&limit) if found * 100 > limit * (100 + SLACK) => {
                wrong.push(format!(
                    "{of} = {found} exceeds its budget of {limit} by more than {SLACK} %"
                ));
            }
            Some(&limit) if found * (100 + SLOPPY) < limit * 100 => {
                wrong.push(format!("{of} = {found}: lower its budget of {limit}"));
            }
            Some(_) => {}
        }
    }
    for of in budgets.keys().filter(|of| !measured.contains_key(*of)) {
        wrong.push(format!("there is no {of}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
