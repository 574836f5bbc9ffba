//! The table of reasons in the documentation is the enum's own.

use std::{fmt::Write as _, fs, path::Path};

use sluice_abi::Reason;

fn table() -> String {
    let mut text = String::from(
        "# Reasons\n\nWhy a verdict, a drop or a close happened: the words in counters, access \
         records, logs and metrics. Written from `ebpf/abi/src/reason.rs`.\n",
    );
    for (title, is_kernel) in [
        ("Given by the kernel programs", true),
        ("Given by the daemon", false),
    ] {
        let _ = write!(
            text,
            "\n## {title}\n\n| reason | code | meaning |\n|---|---|---|\n"
        );
        for reason in Reason::ALL
            .iter()
            .filter(|reason| reason.is_kernel() == is_kernel)
        {
            let description = reason
                .description()
                .trim()
                .replace("`on_failure`", "on_failure");
            let _ = writeln!(
                text,
                "| `{}` | {} | {description} |",
                reason.name(),
                reason.code()
            );
        }
    }
    text
}

#[test]
fn the_documented_reasons_are_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../REASONS.md");
    let wanted = table();
    if std::env::var_os("SLUICE_UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).expect("REASONS.md can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "REASONS.md is not current: run SLUICE_UPDATE_DOCS=1 cargo test -p sluice-tests --test reasons"
    );
}
