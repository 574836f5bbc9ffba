//! A real Prometheus on the gateway: it scrapes the daemon, and its alerts fire.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use sluice_tests::{dial, family::Family, http, lab::Lab, sluice::ADMIN};

use crate::{
    exchange::{Then, hear, say},
    support::{connect, packets, recipe, said, status, tool},
};

/// Where it answers, inside the gateway.
const ADDRESS: &str = "127.0.0.1:9090";
/// Scraping and evaluating each second, it is patient enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The alerts as they are shipped.
const ALERTS: &str = include_str!("../../../userspace/gateway/alerts.yml");

/// The alerts with nothing to wait for.
fn hasty() -> String {
    let lines = ALERTS.lines().map(|line| {
        let text = line.trim_start();
        if text.starts_with("for: ") {
            let indent = &line[..line.len() - text.len()];
            format!("{indent}for: 0s\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

/// Prometheus on the gateway of a lab. Dropping it ends it.
struct Prometheus<'a> {
    lab: &'a Lab,
    child: Child,
}

impl<'a> Prometheus<'a> {
    fn start(lab: &'a Lab) -> Self {
        let dir = lab.dir().join("prometheus");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("alerts.yml"), hasty()).unwrap();
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: [alerts.yml]\n\
             scrape_configs:\n  - job_name: sluice\n    static_configs:\n      - targets: [\"{ADMIN}\"]\n"
        );
        let file = dir.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut command = Command::new(tool("prometheus"));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("data").display()
            ))
            .arg(format!("--web.listen-address={ADDRESS}"))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = lab.gateway().start(&mut command);
        Self { lab, child }
    }

    fn get(&self, path: &str) -> Option<Value> {
        let server: SocketAddr = ADDRESS.parse().unwrap();
        let patience = Duration::from_secs(5);
        let answer = self.lab.gateway().run(|| http::get(server, path, patience));
        let answer = answer.ok().filter(|answer| answer.status == 200)?;
        serde_json::from_str(&answer.body).ok()
    }

    /// The value of a query that has one.
    fn query(&self, query: &str) -> Option<f64> {
        let path = format!("/api/v1/query?query={}", escaped(query));
        let answer = self.get(&path)?;
        let value = answer["data"]["result"][0]["value"][1].as_str()?;
        value.parse().ok()
    }

    /// The labels of an alert that fires.
    fn firing(&self, alert: &str) -> Option<Value> {
        let answer = self.get("/api/v1/alerts")?;
        let alerts = answer["data"]["alerts"].as_array()?;
        let fires =
            |found: &&Value| found["labels"]["alertname"] == alert && found["state"] == "firing";
        alerts
            .iter()
            .find(fires)
            .map(|found| found["labels"].clone())
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, ask: impl Fn(&Self) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = ask(self) {
                return found;
            }
            let log = || {
                let path = self.lab.dir().join("prometheus/log");
                fs::read_to_string(path).unwrap_or_default()
            };
            assert!(begin.elapsed() < PATIENCE, "not in time: {what}\n{}", log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    #[track_caller]
    fn wait_up(&self) {
        self.wait("the daemon is scraped", |prometheus| {
            prometheus
                .query("up{job=\"sluice\"}")
                .filter(|up| *up == 1.0)
        });
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A query as it stands in a URL.
fn escaped(query: &str) -> String {
    query
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn it_is_scraped_by_prometheus_whose_alerts_fire() {
    let lab = Lab::new();
    let state = lab.dir().join("state");
    fs::create_dir_all(&state).unwrap();
    let path = |name: &str| state.join(name).display().to_string();
    let (certificate, key) = (path("ca.pem"), path("ca.key"));
    let output = lab.sluice(&[
        "ca",
        "init",
        "--days",
        "3",
        "--certificate",
        &certificate,
        "--key",
        &key,
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let ca = format!("\n[ca]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let daemon = lab.run_sluice(&(recipe() + &ca));
    let prometheus = Prometheus::start(&lab);
    prometheus.wait_up();

    let targets = prometheus.get("/api/v1/targets").unwrap();
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!(target["health"], "up", "{target}");
    assert_eq!(target["lastError"], "", "{target}");
    // Only OpenMetrics tells a unit.
    let unit = prometheus.wait("a scrape's metadata", |prometheus| {
        let found = prometheus.get("/api/v1/metadata?metric=sluice_peek_seconds")?;
        let found = &found["data"]["sluice_peek_seconds"][0];
        assert_eq!(found["type"], "histogram", "{found}");
        found["unit"].as_str().map(str::to_owned)
    });
    assert_eq!(unit, "seconds");

    let origin = Family::V4.origin_at(5, 443);
    let mut client = connect(&lab, Family::V4.other(), origin);
    say(&mut client, &sluice_tests::hello::sslv2(), Then::Finish);
    hear(&mut client);
    let blocked = "sum(sluice_flows_total{verdict=\"block\", reason=\"rule\"})";
    prometheus.wait("the flow is counted", |prometheus| {
        prometheus.query(blocked).filter(|count| *count == 1.0)
    });
    let hits =
        "sluice_rule_hits_total{rule=\"Skype, except for the Allow Skype group\", of=\"flow\"}";
    prometheus.wait("the rule is counted", |prometheus| {
        prometheus.query(hits).filter(|count| *count == 1.0)
    });
    let fill = "sluice_map_max_entries{map=\"FLOWS\"}";
    assert_eq!(prometheus.query(fill), Some(262_144.0));
    let quantile = "histogram_quantile(0.5, sluice_peek_seconds_bucket)";
    assert!(prometheus.query(quantile).is_some());

    for alert in ["SluiceCaEnds", "SluiceCaEndsSoon"] {
        let labels = prometheus.wait(alert, |prometheus| prometheus.firing(alert));
        assert_eq!(labels["ca"], "signing", "{labels}");
    }
    for alert in ["SluiceDown", "SluiceEventsLost", "SluiceHeartbeatStale"] {
        assert_eq!(prometheus.firing(alert), None);
    }
    drop(daemon);
    let labels = prometheus.wait("the daemon is missed", |prometheus| {
        prometheus.firing("SluiceDown")
    });
    assert_eq!(labels["severity"], "critical");
}

/// What became of the kernel programs' events.
fn events(lab: &Lab, what: &str) -> u64 {
    status(lab)["events"][what].as_u64().unwrap()
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_ring_that_nobody_empties_raises_an_alert() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(&recipe());
    let prometheus = Prometheus::start(&lab);
    prometheus.wait_up();
    let before = "sluice_events_total{result=\"lost\"}";
    prometheus.wait("nothing is lost", |prometheus| {
        prometheus.query(before).filter(|lost| *lost == 0.0)
    });

    daemon.signal(Signal::STOP);
    let native = Family::V4.origin_at(66, 33_033);
    let from = SocketAddr::new(Family::V4.other(), 0);
    let socket = dial::udp(lab.client(), from, native, PATIENCE).unwrap();
    let is_full = AtomicBool::new(false);
    thread::scope(|scope| {
        // Each processor tells of a thousand packets a second, and the ring holds some sixteen
        // thousand.
        scope.spawn(|| {
            while !is_full.load(Ordering::Relaxed) {
                for _ in 0..40 {
                    // Refusals come back as errors of the socket.
                    let _refused = socket.send(b"native");
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let begin = Instant::now();
        while events(&lab, "lost") == 0 && begin.elapsed() < 2 * PATIENCE {
            thread::sleep(Duration::from_millis(200));
        }
        is_full.store(true, Ordering::Relaxed);
    });
    let found = ["sent", "sampled", "lost"].map(|what| events(&lab, what));
    assert!(found[2] > 0, "the ring does not fill: {found:?}");
    assert!(packets(&lab, "lan_ingress", "native-udp") > 0);
    daemon.signal(Signal::CONT);

    let labels = prometheus.wait("the loss is noticed", |prometheus| {
        prometheus.firing("SluiceEventsLost")
    });
    assert_eq!(labels["result"], "lost");
}
