//! The lab with everything in it that the demo needs.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use sluice_tests::{
    family::Family,
    lab::Lab,
    recipe,
    sluice::{ADMIN, Sluice},
};

/// How long the servers may take until they stand.
const PATIENCE: Duration = Duration::from_secs(10);

/// A lab, its servers, and sluice on its gateway. The order is that in which they go.
pub(crate) struct World {
    pub(crate) sluice: Sluice,
    servers: Child,
    pub(crate) lab: Lab,
}

impl World {
    /// Builds it and waits until all of it is ready.
    pub(crate) fn build() -> Result<Self> {
        let lab = Lab::new();
        let recipe = recipe::in_lab(&lab).to_string();
        let certificate = recipe::authority(&lab);
        let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("sluice-lab"));
        let log = File::create(lab.dir().join("servers.log")).context("writing a log")?;
        let mut command = Command::new(own);
        command
            .args(["serve", "--gateway", lab.gateway().name()])
            .args(["--internet", lab.internet().name(), "--certificate"])
            .arg(&certificate)
            .stdin(Stdio::null())
            // A pipe that somebody reads to its end must not stay open with a kept lab.
            .stdout(Stdio::null())
            .stderr(log)
            // A kept lab goes on when the terminal is gone.
            .process_group(0);
        let mut servers = lab.internet().start(&mut command);
        let deadline = Instant::now() + PATIENCE;
        while !certificate.exists() {
            let ended = servers.try_wait().ok().flatten();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the servers do not stand"
            );
            thread::sleep(Duration::from_millis(5));
        }
        let sluice = lab.run_sluice(&recipe);
        Ok(Self {
            sluice,
            servers,
            lab,
        })
    }

    /// The certificate that the lab's clients trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        recipe::authority(&self.lab)
    }

    /// Says how to look around.
    pub(crate) fn explain(&self) {
        let gateway = self.lab.gateway().name();
        let client = self.lab.client().name();
        println!(
            "\nIt goes on running. Clients are {} (in the group) and {}, and", //
            Family::V4.member(),
            Family::V4.other()
        );
        println!(
            "{} and {} in IPv6. To look around:",
            Family::V6.member(),
            Family::V6.other()
        );
        println!("  client    ip netns exec {client} bash");
        println!("  gateway   nsenter --net=/run/netns/{gateway} bash");
        println!(
            "  internet  ip netns exec {} bash",
            self.lab.internet().name()
        );
        println!("  metrics   ip netns exec {gateway} curl -s http://{ADMIN}/metrics");
        println!(
            "  log       {}",
            self.lab.dir().join("sluice.log").display()
        );
        println!("  policy    {}", self.sluice.config_path().display());
        println!(
            "  a client  ip netns exec {client} curl --interface {} --cacert {} \\\n            \
             --resolve news.example:443:{} https://news.example/",
            Family::V4.other(),
            self.certificate().display(),
            Family::V4.origin(crate::serve::NEWS),
        );
        println!(
            "  by proxy  ip netns exec {client} curl --interface {} --cacert {} \\\n            \
             --proxy http://{}:{} --proxy-user {} https://news.example/",
            Family::V4.other(),
            self.certificate().display(),
            Family::V4.gateway_lan(),
            recipe::PORT,
            recipe::BOB_LOGIN,
        );
        println!("`cargo xtask lab down` takes it down.");
    }

    /// Leaves all of it running after this process has ended.
    pub(crate) fn keep(self) {
        self.sluice.keep();
        self.lab.keep();
        drop(self.servers);
    }
}
