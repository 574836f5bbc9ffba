//! The admin thread of a daemon without a kernel side, and the command that asks it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_abi::Reason;
use sluice_gateway::config::{AdminListener, Config};
use sluice_gateway::daemon::admin;
use sluice_gateway::daemon::export::Sources;
use sluice_gateway::daemon::generation::Generation;
use sluice_gateway::daemon::guard::Guard;
use sluice_gateway::daemon::metrics::{Tls, Verdict, WorkerMetrics};
use sluice_gateway::daemon::record::AccessLog;
use sluice_gateway::daemon::worker::Shared;
use sluice_policy::RuleId;
use tokio::sync::oneshot;

pub(crate) struct Daemon {
    folder: tempfile::TempDir,
    pub(crate) sources: Sources,
    until: oneshot::Sender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Daemon {
    /// One with a rule and two workers, whose configuration also has `more`.
    pub(crate) fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        // A second one that answers nobody: commands have to go on to the socket.
        let text = format!(
            "[gateway]\nlan = [\"lan0\"]\nbpffs_dir = \"{0}/pins\"\nstate_dir = \"{0}/state\"\n\
             [admin]\nlisten = [\"127.0.0.1:1\", \"unix:{0}/admin.sock\"]\n\
             [[rule]]\nname = \"no shopping\"\nwhen = {{ host = \".shop.example\" }}\naction = \"block\"\n{more}",
            folder.path().display()
        );
        fs::write(folder.path().join("sluice.toml"), &text).unwrap();
        let config = Config::load(&folder.path().join("sluice.toml")).unwrap();
        let shared = Shared {
            capacity: 100,
            ready: AtomicBool::new(true),
            ..Shared::new(
                Generation::new(3, &config).unwrap(),
                Guard::new(1),
                AccessLog::new(Vec::new()),
            )
            .unwrap()
        };
        let worker = || Arc::new(WorkerMetrics::default());
        let sources = Sources {
            shared: Arc::new(shared),
            workers: std::iter::repeat_with(worker).take(2).collect(),
            steering: None,
            reloads: Arc::default(),
        };
        let sockets = admin::open(&[AdminListener::Unix(socket)]).unwrap();
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

    /// Counts flows: so many that are spliced, so many that the rule blocks.
    pub(crate) fn act(&self, spliced: u32, blocked: u32) {
        let worker = &self.sources.workers[0];
        for _ in 0..spliced {
            worker.note_flow(Verdict::Splice, Reason::Default, Tls::Negotiated);
            worker.connect.note(Duration::from_millis(20));
        }
        let generation = self.sources.shared.current.get();
        for _ in 0..blocked {
            worker.note_flow(Verdict::Block, Reason::Rule, Tls::Hello);
            generation.hits.note_flow(RuleId(0), worker.lane);
        }
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.sources.shared.ready.store(ready, Ordering::Relaxed);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> String {
        self.path("sluice.toml").display().to_string()
    }

    pub(crate) fn end(self) {
        self.until.send(()).unwrap();
        self.thread.join().unwrap().unwrap();
    }
}

/// What a command ended with and printed.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn sluice(arguments: &[&str]) -> Said {
    command(arguments).output().unwrap().into()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
