//! Runs the real `sluice` on the gateway of a lab.

use std::{
    env,
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    http::{self, Answer},
    lab::Lab,
    metrics::Metrics,
    netns::Netns,
};

/// Where the daemon of a lab serves metrics, inside the gateway.
pub const ADMIN: &str = "127.0.0.1:9443";

/// How long the daemon may take until it is ready, or until it has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that runs on the gateway of a lab. Dropping it kills it, as a crash would: what it
/// pinned stays until the lab goes.
#[derive(Debug)]
pub struct Sluice {
    child: Child,
    gateway: Netns,
    config: PathBuf,
    log: PathBuf,
}

impl Lab {
    /// Starts `sluice run` and waits until it says that it is ready.
    ///
    /// The configuration is completed for the lab as [`Lab::config`] says.
    ///
    /// # Panics
    ///
    /// With the daemon's log, when it ends or is not ready within 20 seconds.
    #[must_use]
    pub fn run_sluice(&self, config: &str) -> Sluice {
        let mut sluice = self.start_sluice(config);
        sluice.wait_ready();
        sluice
    }

    /// Starts `sluice run` and does not wait.
    ///
    /// # Panics
    ///
    /// When the configuration is not TOML or the program is not built.
    #[must_use]
    pub fn start_sluice(&self, config: &str) -> Sluice {
        self.start_sluice_with(config, &[])
    }

    /// Starts `sluice run` with more options and does not wait.
    ///
    /// # Panics
    ///
    /// When the configuration is not TOML or the program is not built.
    #[must_use]
    pub fn start_sluice_with(&self, config: &str, options: &[&str]) -> Sluice {
        self.start_sluice_logging(config, options, "info")
    }

    /// Starts `sluice run` with more options, logging what a filter such as `trace` says, and does
    /// not wait.
    ///
    /// # Panics
    ///
    /// When the configuration is not TOML or the program is not built.
    #[must_use]
    pub fn start_sluice_logging(&self, config: &str, options: &[&str], filter: &str) -> Sluice {
        let config = self.write_config(config);
        let log = self.dir().join("sluice.log");
        // A daemon that is started again goes on writing to the same log.
        let out = File::options().create(true).append(true).open(&log);
        let out = out.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let err = out
            .try_clone()
            .unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let mut command = Command::new(sluice_binary());
        command.arg("run").arg("--config").arg(&config);
        command
            .args(options)
            .env("SLUICE_LOG", filter)
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        // An interrupt from the terminal is for the test; the janitor ends the daemon.
        command.process_group(0);
        let child = self.gateway().start(&mut command);
        Sluice {
            child,
            gateway: self.gateway().clone(),
            config,
            log,
        }
    }

    /// Runs a subcommand of `sluice` on the gateway to its end, e.g. `["status"]`.
    ///
    /// # Panics
    ///
    /// When the program is not built.
    #[must_use]
    pub fn sluice(&self, args: &[&str]) -> Output {
        let mut command = Command::new(sluice_binary());
        command
            .args(args)
            .current_dir(self.dir())
            .stdin(Stdio::null());
        self.gateway().output(&mut command)
    }

    /// Completes a configuration for this lab and writes it into the lab's directory.
    ///
    /// # Panics
    ///
    /// When the text is not TOML.
    #[must_use]
    pub fn write_config(&self, config: &str) -> PathBuf {
        let path = self.dir().join("sluice.toml");
        if let Err(error) = fs::write(&path, self.config(config)) {
            panic!("{}: {error}", path.display());
        }
        path
    }

    /// A configuration with what only the lab knows: the directories for state and pins and the
    /// admin address, besides those that it names, and the LAN devices unless it names them itself.
    ///
    /// # Panics
    ///
    /// When the text is not TOML.
    #[must_use]
    pub fn config(&self, config: &str) -> String {
        let mut table: toml::Table = match config.parse() {
            Ok(table) => table,
            Err(error) => panic!("the configuration is not TOML: {error}\n{config}"),
        };
        let path = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned());
        let gateway = section(&mut table, "gateway");
        gateway
            .entry("lan")
            .or_insert_with(|| self.lan_devices().into());
        gateway.insert("state_dir".to_owned(), path(&self.dir().join("state")));
        gateway.insert("bpffs_dir".to_owned(), path(self.bpffs()));
        let admin = section(&mut table, "admin");
        let mut listen = vec![toml::Value::from(ADMIN)];
        if let Some(toml::Value::Array(named)) = admin.remove("listen") {
            listen.extend(named);
        }
        admin.insert("listen".to_owned(), listen.into());
        table.to_string()
    }
}

impl Sluice {
    /// Waits until `/readyz` says yes.
    ///
    /// # Panics
    ///
    /// With the daemon's log, when it ends first or takes more than 20 seconds.
    pub fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.get("/readyz").is_ok_and(|answer| answer.status == 200) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("sluice ended with {status}:\n{}", self.log());
            }
            assert!(
                Instant::now() < deadline,
                "sluice is not ready:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Process id of the daemon.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its configuration is; a test may write another before [`Sluice::reload`].
    #[must_use]
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// All that the daemon has printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks the admin address for a path.
    ///
    /// # Errors
    ///
    /// When there is no answer within five seconds.
    pub fn get(&self, path: &str) -> std::io::Result<Answer> {
        let server = SocketAddr::from(([127, 0, 0, 1], 9443));
        self.gateway
            .run(|| http::get(server, path, Duration::from_secs(5)))
    }

    /// Scrapes the daemon's metrics.
    ///
    /// # Panics
    ///
    /// When it does not serve them.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        match self.get("/metrics") {
            Ok(answer) if answer.status == 200 => Metrics::parse(&answer.body),
            other => panic!("no metrics: {other:?}\n{}", self.log()),
        }
    }

    /// Tells the daemon to read its configuration again.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Asks the daemon to end and waits until it has.
    ///
    /// # Panics
    ///
    /// With the daemon's log, when it takes more than 20 seconds.
    pub fn stop(self) -> ExitStatus {
        self.end_by(Signal::TERM)
    }

    /// Sends the daemon a signal that ends it and waits until it has ended.
    ///
    /// # Panics
    ///
    /// With the daemon's log, when it takes more than 20 seconds.
    pub fn end_by(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Err(error) => panic!("waiting for sluice: {error}"),
            }
            assert!(
                Instant::now() < deadline,
                "sluice does not end:\n{}",
                self.log()
            );
        }
    }

    /// Leaves the daemon running after its owner is gone.
    pub fn keep(self) {
        // Running neither destructor is the purpose: there is nothing to free but a handle.
        std::mem::forget(self);
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // One that has ended already has nothing to be told.
            let _ended = kill_process(pid, signal);
        }
    }
}

impl Drop for Sluice {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The `sluice` that was built along with the tests, or the one that `SLUICE_BIN` names.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn sluice_binary() -> PathBuf {
    if let Some(path) = env::var_os("SLUICE_BIN") {
        return path.into();
    }
    let own = env::current_exe().unwrap_or_default();
    // Tests are in `deps`, one directory below the programs.
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("sluice"))
        .find(|p| p.exists());
    found.unwrap_or_else(|| panic!("no sluice beside {}: cargo build --bins", own.display()))
}

fn section<'a>(table: &'a mut toml::Table, name: &str) -> &'a mut toml::Table {
    let value = table
        .entry(name)
        .or_insert_with(|| toml::Table::new().into());
    match value {
        toml::Value::Table(section) => section,
        other => panic!("[{name}] is not a section but {other}"),
    }
}
