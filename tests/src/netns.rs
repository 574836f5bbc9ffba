//! Network namespaces that go away with their owner.
//!
//! Nothing here changes the namespace of the calling thread: whoever wants something done inside
//! gives a closure, and a thread of its own moves in, runs it and ends.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
};

use rustix::{
    fd::AsFd,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::janitor::Janitor;

/// A named network namespace with its loopback up.
///
/// It is removed, with every process in it, when the [`Janitor`] that it was made for goes.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
    handle: Arc<File>,
}

impl Netns {
    /// Makes a namespace of this name, which must be unique on the machine.
    ///
    /// # Panics
    ///
    /// When the caller is not root, or the name is taken.
    #[must_use]
    pub fn new(janitor: &mut Janitor, name: &str) -> Self {
        janitor.netns(name);
        run("ip", &["netns", "add", name], "");
        let handle = open(name);
        let netns = Self {
            name: name.to_owned(),
            handle: Arc::new(handle),
        };
        // Duplicate address detection would keep every IPv6 address away for a second or more.
        netns.sysctl("net.ipv6.conf.default.accept_dad", "0");
        netns.sysctl("net.ipv6.conf.default.accept_ra", "0");
        netns.sysctl("net.ipv4.conf.all.rp_filter", "0");
        netns.sysctl("net.ipv4.conf.default.rp_filter", "0");
        netns.ip("link set lo up");
        netns
    }

    /// A namespace that another process made, and that goes when that one says so.
    ///
    /// # Panics
    ///
    /// When there is none of this name, or the caller is not root.
    #[must_use]
    pub fn existing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            handle: Arc::new(open(name)),
        }
    }

    /// The name by which `ip netns exec` and `nsenter --net=/run/netns/NAME` know it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` commands inside, one a line, in one process.
    ///
    /// # Panics
    ///
    /// When one of them fails.
    pub fn ip(&self, batch: &str) {
        run("ip", &["-n", &self.name, "-batch", "-"], batch);
    }

    /// Sets a sysctl, named with dots (a device name must not hold any).
    ///
    /// # Panics
    ///
    /// When the kernel does not know it or refuses the value.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = PathBuf::from("/proc/sys").join(name.replace('.', "/"));
        self.run(|| {
            if let Err(error) = fs::write(&path, value) {
                panic!("{} = {value}: {error}", path.display());
            }
        });
    }

    /// Runs a closure inside, on a thread of its own, and hands back what it returns.
    ///
    /// Sockets made inside stay inside, whoever uses them later; so do processes.
    ///
    /// # Panics
    ///
    /// With whatever the closure panics.
    pub fn run<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                body()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread that lives inside; threads that it starts live there too.
    pub fn spawn<R: Send + 'static>(
        &self,
        body: impl FnOnce() -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let netns = self.clone();
        thread::spawn(move || {
            netns.enter();
            body()
        })
    }

    /// Starts a program inside.
    ///
    /// Unlike `ip netns exec` it leaves the mounts as they are, so that the BPF file system stays
    /// visible.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    #[must_use]
    pub fn start(&self, command: &mut Command) -> Child {
        self.run(move || {
            command
                .spawn()
                .unwrap_or_else(|error| panic!("starting {command:?}: {error}"))
        })
    }

    /// Runs a program inside to its end and returns what it printed.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    #[must_use]
    pub fn output(&self, command: &mut Command) -> std::process::Output {
        self.run(move || {
            command
                .output()
                .unwrap_or_else(|error| panic!("starting {command:?}: {error}"))
        })
    }

    /// Moves the calling thread in, for good.
    fn enter(&self) {
        if let Err(error) =
            move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
        {
            panic!("entering the namespace {}: {error}", self.name);
        }
    }
}

/// Connects two namespaces by a veth pair, both ends up, without addresses.
///
/// # Panics
///
/// When a device of that name exists.
pub fn veth(left: (&Netns, &str), right: (&Netns, &str)) {
    left.0.ip(&format!(
        "link add {} type veth peer name {} netns {}\nlink set {} up",
        left.1, right.1, right.0.name, left.1
    ));
    right.0.ip(&format!("link set {} up", right.1));
}

fn open(name: &str) -> File {
    let path = PathBuf::from("/run/netns").join(name);
    File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a program to its end, with `input` on its standard input.
fn run(program: &str, args: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("starting {program}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early has said why on its standard error.
        let _closed = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {}: {}\n{input}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
}
