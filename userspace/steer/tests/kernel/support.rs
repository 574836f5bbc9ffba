//! A network namespace and a BPF filesystem for each test.

use std::{
    fs::File,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fd::AsFd,
    mount::{MountFlags, UnmountFlags, mount, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use sluice_abi::Marks;
use sluice_policy::{
    PortRange,
    kernel::{self, CellSettings, Egress, EgressAction, KernelPolicy, Steer},
};
use sluice_steer::{LanPatterns, Routing, StartOptions, UnloadOptions};

/// A place to load the kernel side in; everything goes when it is dropped.
pub(crate) struct Place {
    name: String,
    dir: tempfile::TempDir,
    bpffs: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-steer-{}-{number}", process::id());
        let dir = tempfile::tempdir().unwrap();
        let bpffs = dir.path().join("bpf");
        std::fs::create_dir(&bpffs).unwrap();
        mount("bpf", &bpffs, "bpf", MountFlags::empty(), None).unwrap();
        command("ip", &["netns", "add", &name]);
        let place = Self { name, dir, bpffs };
        place.ip("link set lo up");
        place
    }

    /// Runs something on a thread of its own inside the namespace.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(inside.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap();
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a future on a runtime of its own inside the namespace.
    pub(crate) fn block_on<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(work())
        })
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments.split_whitespace());
        command("ip", &all)
    }

    /// Runs a command line inside the namespace, words parted by spaces.
    pub(crate) fn command(&self, line: &str) {
        let mut all = vec!["netns", "exec", self.name.as_str()];
        all.extend(line.split_whitespace());
        command("ip", &all);
    }

    /// Takes a device over from another place.
    pub(crate) fn adopt(&self, from: &Self, device: &str) {
        from.ip(&format!("link set {device} netns {}", self.name));
    }

    pub(crate) fn bpffs_dir(&self) -> PathBuf {
        self.bpffs.join("sluice")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn options(&self, lan: &[&str]) -> StartOptions {
        StartOptions {
            bpffs_dir: self.bpffs_dir(),
            state_dir: self.state_dir(),
            lan: LanPatterns::new(lan.iter().copied()),
            routing: routing(),
            policy: policy(),
            log: sluice_steer::KernelLog::Off,
        }
    }

    pub(crate) fn unload_options(&self) -> UnloadOptions {
        UnloadOptions {
            bpffs_dir: self.bpffs_dir(),
            state_dir: self.state_dir(),
            table: routing().table,
            force: false,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        let _ = unmount(&self.bpffs, UnmountFlags::DETACH);
    }
}

fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn routing() -> Routing {
    Routing {
        marks: Marks::new(0x5100_0000, 0xff00_0000).unwrap(),
        table: 5100,
    }
}

/// The egress section of the origin's recipe, TCP 443 steered.
pub(crate) fn egress() -> Egress {
    let port = |port| PortRange::new(port, port).unwrap();
    Egress {
        default: EgressAction::Reject,
        block_tcp: vec![PortRange::new(1024, 65535).unwrap()],
        block_udp: vec![PortRange::new(1024, 65535).unwrap()],
        pass_tcp: Vec::new(),
        pass_udp: vec![port(123)],
        quic: EgressAction::Reject,
        other_protocols: Vec::new(),
        icmp_per_second: 100,
        flow_limit: 262_144,
        flow_limit_per_client: 8192,
        rules: Vec::new(),
    }
}

pub(crate) fn policy() -> KernelPolicy {
    compiled(&egress())
}

pub(crate) fn compiled(egress: &Egress) -> KernelPolicy {
    let steer = Steer {
        tls: vec![PortRange::new(443, 443).unwrap()],
        http: Vec::new(),
    };
    let settings = CellSettings {
        generation: 1,
        marks: routing().marks,
        fail_open: false,
        midstream_pass: false,
        listener_port: 15443,
    };
    kernel::compile(egress, &steer, None, &settings).unwrap()
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Waits for something that another task or the kernel does, ten seconds at most.
pub(crate) async fn eventually(what: &str, done: impl AsyncFn() -> bool) -> Duration {
    let begun = Instant::now();
    while !done().await {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "not within 10 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
