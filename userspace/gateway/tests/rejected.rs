//! Refusals of the CA as the admin addresses and the commands tell of them.
#![cfg(test)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_gateway::ask;
use sluice_gateway::config::{AdminListener, Config};
use sluice_gateway::daemon::admin;
use sluice_gateway::daemon::export::{Exporter, Format, Sources};
use sluice_gateway::daemon::generation::Generation;
use sluice_gateway::daemon::guard::Guard;
use sluice_gateway::daemon::record::AccessLog;
use sluice_gateway::daemon::worker::Shared;
use sluice_gateway::origin::Client;
use tokio::sync::oneshot;

/// The admin thread of a daemon that remembers three clients of one host, and one of another.
struct Daemon {
    folder: tempfile::TempDir,
    sources: Sources,
    until: oneshot::Sender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listen = [AdminListener::Unix(socket.clone())];
        // The address in front is nobody's: the command has to go on to the socket.
        let config = format!(
            "[gateway]\nlan = [\"lan0\"]\n[admin]\nlisten = [\"127.0.0.1:1\", \"unix:{}\"]\n",
            socket.display()
        );
        std::fs::write(folder.path().join("sluice.toml"), &config).unwrap();
        let config = Config::parse(&config, "test").unwrap();
        let shared = Shared {
            capacity: 1,
            ready: AtomicBool::new(true),
            ..Shared::new(
                Generation::new(1, &config).unwrap(),
                Guard::new(1),
                AccessLog::new(Vec::new()),
            )
            .unwrap()
        };
        let place: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let address = |last| Client::Address([10, 0, 0, last].into());
        for (who, host) in [
            (address(1), "pinned.example"),
            (address(2), "pinned.example"),
            (Client::User("alice".into()), "pinned.example"),
            (address(1), "other.example"),
        ] {
            let now = (Instant::now(), Duration::from_secs(3600));
            let rejected = &shared.memory.rejected;
            rejected.note(who, Some(host), place, Some("unknown_ca"), now);
        }
        let sources = Sources {
            shared: Arc::new(shared),
            workers: Vec::new(),
            steering: None,
            reloads: Arc::default(),
        };
        let sockets = admin::open(&listen).unwrap();
        let (until, ended) = oneshot::channel();
        let theirs = sources.clone();
        let thread = std::thread::spawn(move || admin::serve(sockets, theirs, ended));
        Self {
            folder,
            sources,
            until,
            thread,
        }
    }

    fn config(&self) -> String {
        let path = self.folder.path().join("sluice.toml");
        path.display().to_string()
    }

    fn end(self) {
        self.until.send(()).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

fn sluice(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_the_daemon_remembers_is_told_and_forgotten() {
    let daemon = Daemon::start();
    let config = daemon.config();
    let metrics = || {
        let exporter = Exporter::new(daemon.sources.clone());
        exporter.text(Format::Prometheus).unwrap()
    };
    assert!(metrics().contains("\nsluice_rejected_ca_remembered 4\n"));

    let (code, out, err) = sluice(&["rejected", "--config", &config]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    let latest = "10.0.0.1 refused other.example at 192.0.2.1:443 once, said unknown_ca; \
                  remembered for ";
    assert!(lines[0].starts_with(latest), "{out}");

    let (_, out, _) = sluice(&["rejected", "--config", &config, "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["remembered"], 4);
    assert_eq!(told["refusals"][1]["client"], "alice");
    assert_eq!(told["refusals"][1]["destination"], "192.0.2.1:443");

    let (_, out, _) = sluice(&["rejected", "--config", &config, "--clear"]);
    assert_eq!(out, "forgot 4 refusals\n");
    let (_, out, _) = sluice(&["rejected", "--config", &config]);
    assert_eq!(out, "no client is remembered to have refused the CA\n");
    let (_, out, _) = sluice(&["rejected", "--config", &config, "--clear", "--json"]);
    assert_eq!(out, "{\"forgotten\":0}\n");
    assert!(metrics().contains("\nsluice_rejected_ca_remembered 0\n"));
    daemon.end();
}

#[test]
fn a_daemon_that_does_not_answer_is_named() {
    let daemon = Daemon::start();
    let config = daemon.config();
    let socket = daemon.folder.path().join("admin.sock");
    let kept = daemon.folder.path().join("kept.sock");
    std::fs::rename(&socket, &kept).unwrap();
    let (code, out, err) = sluice(&["rejected", "--config", &config]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let wanted = format!(
        "sluice: no daemon of this version answers at unix:{} (No such file or directory (os \
         error 2)), 127.0.0.1:1 (Connection refused (os error 111)): start it by `sluice run`, or \
         name the configuration of the one that runs by --config\n",
        socket.display()
    );
    assert_eq!(err, wanted);
    let nowhere = ask::rejected(&[]).unwrap_err().to_string();
    assert!(
        nowhere.starts_with("`listen` in [admin] names no address"),
        "{nowhere}"
    );
    daemon.end();
}

#[test]
fn a_rule_is_proposed_for_what_several_clients_refused() {
    let daemon = Daemon::start();
    let config = daemon.config();
    let (code, out, err) = sluice(&["suggest", "--config", &config]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.contains("  \"pinned.example\",  # refused by 3\n"),
        "{out}"
    );
    assert!(!out.contains("other.example"), "{out}");
    // It was only proposed; whoever takes it is proposed nothing more.
    let before = std::fs::read_to_string(&config).unwrap();
    assert!(!before.contains("[[rule]]"));
    std::fs::write(&config, before + &out).unwrap();
    let (_, out, _) = sluice(&["suggest", "--config", &config]);
    let nothing = "nothing to suggest: there is no host for which 3 clients refused the CA\n";
    assert_eq!(out, nothing);
    let (_, out, _) = sluice(&["suggest", "--config", &config, "--clients", "1", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["suggestions"][0]["host"], "other.example");
    assert!(told["rule"].as_str().unwrap().contains("(2)"), "{told}");
    daemon.end();
}

#[test]
fn a_log_is_read_in_place_of_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.jsonl");
    let line = |last| {
        format!(
            "{{\"client\":\"10.0.0.{last}:1\",\"user\":null,\"sni\":\"pinned.example\",\
             \"interception\":{{\"remembered\":true,\"requests\":0}}}}\n"
        )
    };
    std::fs::write(&log, [line(1), line(2), line(2)].concat()).unwrap();
    let path = |path: &Path| path.display().to_string();
    let (_, out, _) = sluice(&["suggest", "--flows", &path(&log), "--clients", "2"]);
    assert!(
        out.contains("\"pinned.example\",  # refused by 2\n"),
        "{out}"
    );
    let (_, out, _) = sluice(&["suggest", "--flows", &path(&log), "--json"]);
    assert_eq!(out, "{\"clients\":3,\"rule\":null,\"suggestions\":[]}\n");
    std::fs::write(&log, "{}\n").unwrap();
    let (code, _, err) = sluice(&["suggest", "--flows", &path(&log)]);
    assert_eq!(code, Some(1));
    let wanted = "1: no access record: give the file that `access` in [log] was written to";
    assert_eq!(err, format!("sluice: {}:{wanted}\n", path(&log)));
}
