//! Cleans up after a lab, even when its process is killed.
//!
//! A test that is killed runs no destructor, and a namespace without an owner stays for ever. So
//! the list of what was made is held by a process of its own, which acts when the pipe from its
//! parent closes.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

const SCRIPT: &str = include_str!("janitor.sh");

/// Where the lists of kept labs are, one file each.
const KEPT: &str = "/run/sluice-lab";

/// Holds what has to be removed in the end.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    input: Option<ChildStdin>,
    list: String,
    tag: String,
}

impl Janitor {
    /// Starts with nothing to remove.
    ///
    /// # Panics
    ///
    /// When there is no shell.
    #[must_use]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let tag = format!(
            "{}-{}",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let (child, input) = start();
        Self {
            child,
            input: Some(input),
            list: String::new(),
            tag,
        }
    }

    /// A word that no other lab on this machine has: process id and a number.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Remembers a network namespace, and with it all processes inside.
    pub fn netns(&mut self, name: &str) {
        self.note("netns", name);
    }

    /// Remembers a directory tree; one on a BPF file system gives up the pins in it.
    ///
    /// # Panics
    ///
    /// When the path has whitespace or is not below a temporary, run or BPF directory.
    pub fn dir(&mut self, path: &Path) {
        let roots = [
            std::env::temp_dir(),
            PathBuf::from("/run"),
            PathBuf::from("/sys/fs/bpf"),
        ];
        let name = path.to_string_lossy();
        assert!(
            roots
                .iter()
                .any(|root| path.starts_with(root) && path != root)
                && !name.contains(char::is_whitespace),
            "{name} is not a directory that a lab may remove"
        );
        self.note("dir", &name);
    }

    /// Leaves everything in place after the process has ended; [`remove_kept`] removes it.
    ///
    /// # Errors
    ///
    /// When the list cannot be written.
    pub fn keep(mut self) -> std::io::Result<()> {
        fs::create_dir_all(KEPT)?;
        fs::write(Path::new(KEPT).join(&self.tag), &self.list)?;
        self.note("keep", "all");
        Ok(())
    }

    fn note(&mut self, kind: &str, name: &str) {
        let line = format!("{kind} {name}\n");
        if let Some(input) = &mut self.input
            && let Err(error) = input.write_all(line.as_bytes())
        {
            panic!("the janitor does not listen: {error}");
        }
        self.list.push_str(&line);
    }
}

impl Default for Janitor {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Err(error) = self.child.wait() {
            eprintln!("the lab was not cleaned up: {error}");
        }
    }
}

/// Removes every lab that was kept, and returns how many there were.
///
/// # Errors
///
/// When a list cannot be read or removed.
pub fn remove_kept() -> std::io::Result<usize> {
    let Ok(entries) = fs::read_dir(KEPT) else {
        return Ok(0);
    };
    let mut count = 0;
    for entry in entries {
        let path = entry?.path();
        let list = fs::read_to_string(&path)?;
        let (mut child, mut input) = start();
        input.write_all(list.as_bytes())?;
        drop(input);
        child.wait()?;
        fs::remove_file(&path)?;
        count += 1;
    }
    Ok(count)
}

/// The namespaces of the labs that were kept.
#[must_use]
pub fn kept_namespaces() -> Vec<String> {
    let lists = fs::read_dir(KEPT)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    lists
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .flat_map(|list| {
            list.lines()
                .filter_map(|line| line.strip_prefix("netns ").map(str::to_owned))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn start() -> (Child, ChildStdin) {
    let mut child = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "sluice-janitor"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of reach of an interrupt from the terminal, and of a test runner's.
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("starting the janitor: {error}"));
    let Some(input) = child.stdin.take() else {
        panic!("the janitor has no input")
    };
    (child, input)
}
