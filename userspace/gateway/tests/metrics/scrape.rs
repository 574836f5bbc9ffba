//! A scrape: what its labels may hold, and that both formats are what they say they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sluice_abi::Reason;
use sluice_gateway::config::Config;
use sluice_gateway::daemon::export::table::METRICS;
use sluice_gateway::daemon::export::{Exporter, Format, Sources};
use sluice_gateway::daemon::generation::Generation;
use sluice_gateway::daemon::guard::Guard;
use sluice_gateway::daemon::metrics::{Moved, Tls, Verdict, Way, WorkerMetrics};
use sluice_gateway::daemon::record::AccessLog;
use sluice_gateway::daemon::worker::Shared;
use sluice_policy::{NotNegotiated, RuleId, Stage};

use super::promtool;

/// A daemon of so many workers with so many rules that has done nothing.
pub(crate) fn sources(rules: usize, workers: usize) -> Sources {
    let mut text = String::from("[gateway]\nlan = [\"lan0\"]\n");
    for rule in 0..rules {
        text.push_str(&format!(
            "[[rule]]\nname = \"Rule {rule}\"\nwhen = {{ host = \"h{rule}.example\" }}\naction = \"block\"\n"
        ));
    }
    let config = Config::parse(&text, "test").unwrap();
    let shared = Shared {
        capacity: 100,
        ready: AtomicBool::new(true),
        ..Shared::new(
            Generation::new(1, &config).unwrap(),
            Guard::new(1),
            AccessLog::new(Vec::new()),
        )
        .unwrap()
    };
    let worker = || Arc::new(WorkerMetrics::default());
    Sources {
        shared: Arc::new(shared),
        workers: std::iter::repeat_with(worker).take(workers).collect(),
        steering: None,
        reloads: Arc::default(),
    }
}

/// Counts something of everything that workers count.
pub(crate) fn act(sources: &Sources) {
    let generation = sources.shared.current.get();
    for worker in &sources.workers {
        let states = [Tls::Unread, Tls::Hello, Tls::Negotiated].into_iter();
        for tls in states.chain(NotNegotiated::ALL.map(Tls::Not)) {
            for verdict in [Verdict::Block, Verdict::Intercept, Verdict::Splice] {
                for reason in Reason::ALL {
                    worker.note_flow(verdict, *reason, tls);
                }
            }
        }
        for reason in Reason::ALL {
            worker.note_end(*reason);
            for verdict in ["allow", "block", "warn"] {
                worker.note_request((verdict, *reason));
            }
        }
        for way in Way::ALL {
            let moved = Moved {
                to_origin: 1,
                to_client: 2,
            };
            worker.note_moved(way, moved);
        }
        for stage in Stage::ALL {
            worker.decision.of(stage).note(Duration::from_micros(7));
        }
        for latency in [
            &worker.peek,
            &worker.connect,
            &worker.server_hello,
            &worker.origin_handshake,
            &worker.client_handshake,
            &worker.mint,
            &worker.request,
        ] {
            latency.note(Duration::from_millis(3));
        }
        for rule in 0..2000 {
            generation.hits.note_flow(RuleId(rule), worker.lane);
        }
    }
}

/// The series of a scrape: the name, and its labels.
fn series(text: &str) -> Vec<(&str, BTreeMap<&str, &str>)> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split("\",");
            let labels = labels.filter(|label| !label.is_empty());
            let pair = |label: &'_ str| label.trim_end_matches('"').len();
            (
                name,
                labels
                    .map(|label| label[..pair(label)].split_once("=\"").unwrap())
                    .collect(),
            )
        })
        .collect()
}

/// Whether a label may have a value.
fn is_allowed(label: &str, value: &str, rules: &[String]) -> bool {
    let reason = || Reason::ALL.iter().any(|reason| reason.name() == value);
    match label {
        "reason" => reason(),
        "tls" => ["unread", "hello", "negotiated"].contains(&value) || reason(),
        "verdict" => ["allow", "block", "intercept", "splice", "warn"].contains(&value),
        "stage" => Stage::ALL.iter().any(|stage| stage.name() == value),
        "rule" => value == "other" || rules.iter().any(|rule| rule == value),
        "worker" => value.parse::<usize>().is_ok(),
        "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
        "at" => ["0.5", "0.9", "0.99", "0.999"].contains(&value),
        "version" => value == env!("CARGO_PKG_VERSION"),
        "path" => ["intercept", "relay", "splice"].contains(&value),
        "to" => ["client", "origin"].contains(&value),
        "state" => ["failing", "kept", "lent", "ok", "stalled"].contains(&value),
        "sink" => ["stdout", "stderr", "writer"].contains(&value),
        "of" | "result" | "limit" | "outcome" | "source" | "why" | "ca" => {
            let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            value.bytes().all(word)
        }
        _ => false,
    }
}

#[test]
fn labels_hold_nothing_but_words_of_the_gateways_own() {
    let sources = sources(3, 2);
    act(&sources);
    let rules: Vec<_> = (0..3).map(|rule| format!("Rule {rule}")).collect();
    let text = Exporter::new(sources).text(Format::Prometheus).unwrap();
    let mut seen = 0;
    for (name, labels) in series(&text) {
        let metric = METRICS
            .iter()
            .find(|metric| metric.series().iter().any(|series| series == name))
            .unwrap_or_else(|| panic!("{name} is in no table"));
        let own: Vec<_> = labels
            .keys()
            .copied()
            .filter(|label| *label != "le")
            .collect();
        let mut wanted = metric.labels.to_vec();
        wanted.sort_unstable();
        assert_eq!(own, wanted, "{name}");
        for (label, value) in labels {
            assert!(
                is_allowed(label, value, &rules),
                "{name}: {label} is {value}"
            );
            seen += 1;
        }
    }
    assert!(seen > 1000, "{seen}");
    // Every reason can be asked for by its name.
    for reason in Reason::ALL {
        let label = format!("reason=\"{}\"", reason.name());
        let flows = text.lines().filter(|line| line.contains(&label));
        let flows = flows.filter(|line| line.starts_with("sluice_flows_total{"));
        assert!(flows.count() > 0, "{reason:?}");
    }
}

#[test]
fn both_formats_are_well_formed_and_of_one_content() {
    let sources = sources(3, 2);
    act(&sources);
    let exporter = Exporter::new(sources);
    let plain = exporter.text(Format::Prometheus).unwrap();
    let open = exporter.text(Format::OpenMetrics).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics");
    std::fs::write(&path, &plain).unwrap();
    let (content, said) = promtool::run(folder.path(), &["check", "metrics"], Some(path.as_path()));
    assert!(content && said.is_empty(), "{said}");
    let names = |text: &str| {
        let mut names: Vec<_> = series(text)
            .into_iter()
            .map(|(name, labels)| format!("{name} {labels:?}"))
            .filter(|name| !name.contains("le"))
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&plain), names(&open));
    assert!(open.ends_with("# EOF\n") && open.matches("# EOF").count() == 1);
}
