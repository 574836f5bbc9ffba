//! What the daemon logs, changed while it runs.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use sluice_gateway::daemon::log_level;
use tracing_subscriber::fmt::MakeWriter;

use super::lab::{Daemon, sluice};

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Heard {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// The levels are those of the process, so that one test has all of it.
#[test]
fn levels_are_shown_changed_and_set_back() {
    let daemon = Daemon::start("");
    let config = daemon.config();
    let level = |arguments: &[&str]| {
        let mut all = vec!["log-level", "--config", &config];
        all.extend(arguments);
        sluice(&all)
    };
    let said = level(&[]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err
            .contains("the daemon refuses: this process has no levels"),
        "{said:?}"
    );

    let heard = Heard::default();
    log_level::install("warn", heard.clone(), false).unwrap();
    assert_eq!(level(&[]).out, "warn\n");
    tracing::debug!(target: "sluice_gateway::daemon::flow", "before");

    let said = level(&[
        "info,sluice_gateway::daemon::flow=debug",
        "--for",
        "10m",
        "--json",
    ]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let shown: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(shown["filter"], "info,sluice_gateway::daemon::flow=debug");
    assert_eq!(shown["back"]["filter"], "warn");
    assert!(
        shown["back"]["seconds_left"].as_u64().unwrap() > 500,
        "{shown}"
    );
    tracing::debug!(target: "sluice_gateway::daemon::flow", "of a flow");
    tracing::debug!(target: "sluice_gateway::daemon::run", "of the rest");
    let text = heard.text();
    assert!(
        text.contains("of a flow") && text.contains("log levels changed"),
        "{text}"
    );
    assert!(
        !text.contains("before") && !text.contains("of the rest"),
        "{text}"
    );

    for (bad, what) in [
        (&["loud"][..], "\"loud\" is no level"),
        (&["debug", "--for", "soon"], "`for`: \"soon\""),
        (&["debug", "--for", "30d"], "at most \"7d\""),
    ] {
        let said = level(bad);
        assert_eq!(said.code, Some(1));
        assert!(said.err.contains(what), "{said:?}");
    }
    assert!(
        level(&[])
            .out
            .starts_with("info,sluice_gateway::daemon::flow=debug\n  for ")
    );

    assert_eq!(level(&["--reset"]).out, "warn\n");
    tracing::info!("after");
    assert!(!heard.text().contains("after"));

    let nowhere = daemon.path("tcp.toml");
    let text = "[gateway]\nlan = [\"lan0\"]\n[admin]\nlisten = [\"127.0.0.1:1\"]\n";
    std::fs::write(&nowhere, text).unwrap();
    let said = sluice(&["log-level", "--config", nowhere.to_str().unwrap(), "debug"]);
    assert!(said.err.contains("names no Unix socket"), "{said:?}");
    daemon.end();
}
