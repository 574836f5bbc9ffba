//! What a scrape costs is bounded, however many rules and workers there are.

use std::sync::Arc;

use allocation_counter::measure;
use sluice_gateway::daemon::export::{Exporter, Format};

use super::scrape::{act, sources};

/// Bytes of text, lines, and bytes of memory at the most, of a scrape of a daemon that has counted
/// something of everything.
fn cost(rules: usize, workers: usize) -> (usize, usize, u64) {
    let sources = sources(rules, workers);
    act(&sources);
    let exporter = Arc::new(Exporter::new(sources));
    let mut text = String::new();
    let used = measure(|| text = exporter.text(Format::OpenMetrics).unwrap());
    (text.len(), text.lines().count(), used.bytes_max)
}

#[test]
fn a_scrape_of_many_rules_and_workers_is_bounded() {
    let (size, lines, memory) = cost(1000, 8);
    assert!(size < 1 << 20, "{size} bytes of text");
    assert!(memory < 8 << 20, "{memory} bytes of memory");
    // Two lines for each rule, and those that are always there.
    let (_, few, _) = cost(10, 8);
    assert_eq!(lines - few, 2 * 990);

    let (_, more_rules, _) = cost(3000, 8);
    assert_eq!(more_rules, lines, "rules beyond the bound have lines");

    // A worker more is a line more, and no memory that would stay with it.
    let (_, more_workers, more_memory) = cost(1000, 16);
    assert_eq!(more_workers, lines + 8);
    assert!(
        more_memory < memory + (1 << 20),
        "{more_memory} of {memory}"
    );
}
