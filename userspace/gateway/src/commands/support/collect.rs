//! What is packed.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
    process::{Command, Output},
};

use rustix::system::uname;
use serde_json::Value;

use super::{
    Args,
    scrub::{Clients, Secrets, addresses},
};
use crate::{
    ask,
    config::{Config, Sink},
};

/// Bytes of a file of which only the end is packed.
const END: u64 = 64 << 20;

/// Lines of the daemon's own log.
const LOG_LINES: usize = 5000;

/// Bytes of what a command says.
const SAID: usize = 4 << 20;

/// One file of the archive.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: &'static str,
    /// What it is, for the manifest.
    pub(super) what: String,
    pub(super) text: String,
}

/// All of them, and what is none.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) items: Vec<Item>,
    /// Names, and why they are not there.
    pub(super) left_out: Vec<(String, String)>,
}

/// What is being packed.
struct Packing<'a> {
    args: &'a Args,
    secrets: Secrets,
    collected: Collected,
}

pub(super) fn collect(args: &Args) -> Collected {
    let mut packing = Packing {
        args,
        secrets: Secrets::default(),
        collected: Collected::default(),
    };
    packing.versions();
    // First of what may have secrets: what it takes out is known to all that follow.
    packing.configuration();
    let file = args.config.as_os_str();
    packing.own(
        "check.txt",
        "what `sluice check` says",
        &["check".as_ref(), file],
    );
    packing.status(file);
    packing.own(
        "doctor.txt",
        "what `sluice doctor` says",
        &["doctor".as_ref(), "--config".as_ref(), file],
    );
    let config = Config::load(&args.config).ok();
    match &config {
        Some(config) => packing.of_configuration(config),
        None => packing.leave_out(
            "metrics, records, pins",
            "the configuration has mistakes, so that nobody knows where they are",
        ),
    }
    packing.network(config.as_ref().map_or(5100, |config| config.gateway.table));
    packing.log();
    packing.leave_out("keys, passwords", "files of secrets are never packed");
    packing.leave_out(
        "lists, htpasswd, users",
        "files that the configuration names are not packed",
    );
    packing.leave_out("comments", "of the configuration, which may say anything");
    packing.leave_out(
        "nftables rules",
        "they may tell of other networks; doctor.txt has what matters",
    );
    packing.collected
}

impl Packing<'_> {
    fn add(&mut self, name: &'static str, what: impl Into<String>, text: &str) {
        self.collected.items.push(Item {
            name,
            what: what.into(),
            text: self.secrets.scrub(text),
        });
    }

    fn leave_out(&mut self, name: &str, why: impl Into<String>) {
        self.collected.left_out.push((name.to_owned(), why.into()));
    }

    fn versions(&mut self) {
        let system = uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let name = release
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let versions = format!(
            "sluice {}\nlayout of the maps {}\n{} {} {} {}\n{}\n",
            env!("CARGO_PKG_VERSION"),
            sluice_abi::ABI_VERSION,
            text(system.sysname()),
            text(system.release()),
            text(system.version()),
            text(system.machine()),
            name.unwrap_or("unknown distribution").trim_matches('"'),
        );
        self.add(
            "versions.txt",
            "versions of sluice, kernel and system",
            &versions,
        );
    }

    fn configuration(&mut self) {
        let text = match fs::read_to_string(&self.args.config) {
            Ok(text) => text,
            Err(error) => return self.leave_out("sluice.toml", error.to_string()),
        };
        let mut document: toml::Table = match text.parse() {
            Ok(document) => document,
            Err(_) => {
                return self.leave_out(
                    "sluice.toml",
                    "it is no TOML, so that secrets cannot be told from the rest",
                );
            }
        };
        self.secrets.take(&mut document);
        match toml::to_string_pretty(&document) {
            Ok(text) => self.add(
                "sluice.toml",
                "the configuration without secrets and comments",
                &text,
            ),
            Err(error) => self.leave_out("sluice.toml", error.to_string()),
        }
    }

    /// What this very program says as another command.
    fn own(&mut self, name: &'static str, what: &str, arguments: &[&OsStr]) {
        match own(arguments) {
            Ok(output) => self.add(name, what, &said(&output)),
            Err(error) => self.leave_out(name, error.to_string()),
        }
    }

    fn status(&mut self, file: &OsStr) {
        let name = "status.json";
        let output = match own(&[
            "status".as_ref(),
            "--json".as_ref(),
            "--config".as_ref(),
            file,
        ]) {
            Ok(output) => output,
            Err(error) => return self.leave_out(name, error.to_string()),
        };
        let Ok(mut status) = serde_json::from_slice::<Value>(&output.stdout) else {
            return self.leave_out(name, said(&output).trim().to_owned());
        };
        let refusals = status.pointer_mut("/rejected/refusals");
        if let Some(refusals) = refusals.filter(|_| !self.args.with_addresses) {
            *refusals = Value::Array(Vec::new());
            self.leave_out("clients that refused", "the CA: add --with-addresses");
        }
        let text = serde_json::to_string_pretty(&status).unwrap_or_default();
        self.add(name, "what `sluice status --json` says", &text);
    }

    fn of_configuration(&mut self, config: &Config) {
        match ask::metrics(&config.admin.listen) {
            Ok(text) => self.add("metrics.txt", "what /metrics says", &text),
            Err(error) => self.leave_out("metrics.txt", error.to_string()),
        }
        let sinks = config.log.access.iter();
        let mut files = sinks.filter_map(|sink| match sink {
            Sink::File(path) => Some(path.as_path()),
            _ => None,
        });
        match files.next() {
            Some(path) => self.records(path),
            None => self.leave_out("records.jsonl", "`access` in [log] names no file"),
        }
        let mut pins = String::new();
        match list(&config.gateway.bpffs_dir, 0, &mut pins) {
            Ok(()) => self.add("pins.txt", "names of what is pinned", &pins),
            Err(error) => self.leave_out("pins.txt", error.to_string()),
        }
    }

    fn records(&mut self, path: &Path) {
        let lines = match last_lines(path, self.args.records as usize) {
            Ok(lines) => lines,
            Err(error) => return self.leave_out("records.jsonl", error.to_string()),
        };
        let mut clients = Clients::new(self.args.with_addresses);
        let (mut text, mut strange) = (String::new(), 0_u32);
        for line in &lines {
            let Ok(mut record) = serde_json::from_str::<Value>(line) else {
                strange += 1;
                continue;
            };
            clients.hide(&mut record);
            text.push_str(&format!("{record}\n"));
        }
        if strange > 0 {
            let why = format!("{strange} lines of the access log are no records");
            self.leave_out("damaged records", why);
        }
        let how = if clients.shown {
            "as they are"
        } else {
            "by their networks"
        };
        let what = format!("the latest {} access records, clients {how}", lines.len());
        self.add("records.jsonl", what, &text);
    }

    fn network(&mut self, table: u32) {
        let table = table.to_string();
        let all: [(&'static str, &str, &[&str]); 5] = [
            ("links.txt", "ip", &["-details", "-statistics", "link"]),
            ("addresses.txt", "ip", &["-brief", "address"]),
            ("rules.txt", "ip", &["rule"]),
            ("rules6.txt", "ip", &["-6", "rule"]),
            ("bpf.txt", "bpftool", &["net"]),
        ];
        for (name, program, arguments) in all {
            self.other(name, program, arguments);
        }
        self.other("routes.txt", "ip", &["route", "show", "table", &table]);
        self.other(
            "routes6.txt",
            "ip",
            &["-6", "route", "show", "table", &table],
        );
    }

    /// What another program says.
    fn other(&mut self, name: &'static str, program: &str, arguments: &[&str]) {
        let called = format!("{program} {}", arguments.join(" "));
        match Command::new(program).args(arguments).output() {
            Ok(output) => self.add(name, format!("what `{called}` says"), &said(&output)),
            Err(error) => self.leave_out(name, format!("`{called}`: {error}")),
        }
    }

    fn log(&mut self) {
        let Some(path) = &self.args.log else {
            let why =
                "it goes to standard error: `journalctl -u sluice`, or name its file by --log";
            return self.leave_out("daemon.log", why);
        };
        match last_lines(path, LOG_LINES) {
            Ok(lines) => {
                let text: String = lines.into_iter().map(|line| line + "\n").collect();
                let text = if self.args.with_addresses {
                    text
                } else {
                    addresses(&text)
                };
                self.add("daemon.log", "the end of the daemon's own log", &text);
            }
            Err(error) => self.leave_out("daemon.log", error.to_string()),
        }
    }
}

fn own(arguments: &[&OsStr]) -> io::Result<Output> {
    Command::new(std::env::current_exe()?)
        .args(arguments)
        .output()
}

/// Everything that a program said, and how it ended where it did not end well.
fn said(output: &Output) -> String {
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..SAID).unwrap_or(bytes)).into_owned();
    let mut all = text(&output.stdout) + &text(&output.stderr);
    if !output.status.success() {
        all.push_str(&format!("({})\n", output.status));
    }
    all
}

/// The last lines of a file.
fn last_lines(path: &Path, count: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(END);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first one may have lost its beginning.
    let mut lines: Vec<_> = text.lines().skip(usize::from(start > 0)).collect();
    let lines = lines.split_off(lines.len().saturating_sub(count));
    Ok(lines.into_iter().map(str::to_owned).collect())
}

/// Names below a directory, indented.
fn list(directory: &Path, depth: usize, text: &mut String) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let is_directory = entry.file_type()?.is_dir();
        let name = entry.file_name();
        let end = if is_directory { "/" } else { "" };
        text.push_str(&format!(
            "{:1$}{2}{end}\n",
            "",
            2 * depth,
            name.to_string_lossy()
        ));
        if is_directory && depth < 4 {
            list(&entry.path(), depth + 1, text)?;
        }
    }
    Ok(())
}
