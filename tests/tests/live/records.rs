//! Access records: their schema, and what becomes of flows while they cannot be written.

use std::{
    fs,
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use jsonschema::Validator;
use rustix::process::Signal;
use serde_json::Value;
use sluice_tests::{dial, family::Family, hello, lab::Lab, peer::Recorder, sluice::Sluice};

use crate::{
    exchange::{Then, hear, say},
    support::{PATIENCE, eventually, flows, recipe, status},
};

const SCHEMA: &str = include_str!("../../../userspace/gateway/records.schema.json");

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

/// All records among these lines; every one follows the schema. The last may be half written.
#[track_caller]
pub(crate) fn all_of(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let records = lines.filter_map(|line| serde_json::from_str(line).ok());
    records
        .inspect(|record| {
            if let Err(fault) = VALIDATOR.validate(record) {
                panic!("{fault}, at {}: {record}", fault.instance_path());
            }
        })
        .collect()
}

/// A file system that is soon full.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf) -> Self {
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
        assert!(mount.arg(&path).status().unwrap().success());
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("access.jsonl")
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let written = fs::write(self.0.join("filler"), vec![0; 1 << 21]);
        assert_eq!(written.unwrap_err().kind(), ErrorKind::StorageFull);
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A daemon that failed with its test may still have the file open.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Everything passes, by a rule whose tags make records long, and is told to one sink.
fn config(sink: &str, when_full: &str) -> String {
    let tags: Vec<_> = (0..400)
        .map(|number| format!("a-word-of-{number:010}"))
        .collect();
    format!(
        "[steer]\nhello_timeout = \"1s\"\nsilent_timeout = \"1s\"\n\
         [[rule]]\nname = \"all\"\ntags = {tags:?}\naction = \"allow\"\n\
         [log]\naccess = [\"{sink}\"]\nwhen_full = \"{when_full}\"\nqueue_limit = \"256KiB\"\n\
         packets = \"off\"\n"
    )
}

/// What a client that may pass finds at the origin.
struct Site<'a> {
    lab: &'a Lab,
    origin: Recorder,
}

impl<'a> Site<'a> {
    fn new(lab: &'a Lab) -> Self {
        let address = Family::V4.origin_at(5, 443);
        let origin = Recorder::new(lab.internet(), address, &hello::answer());
        Self { lab, origin }
    }

    /// Whether a flow comes to the origin and back.
    fn passes(&self) -> bool {
        let (lab, from) = (self.lab, Family::V4.other());
        let Ok(mut client) = dial::tcp(lab.client(), from, self.origin.address(), PATIENCE) else {
            return false;
        };
        let hello = hello::genuine("news.example", &["h2"]);
        say(&mut client, &hello, Then::Finish);
        hear(&mut client).bytes == hello::answer()
    }

    fn reached(&self) -> usize {
        self.origin.recordings().len()
    }
}

/// What `sluice status` says of records.
#[track_caller]
fn told(lab: &Lab) -> Value {
    let config = lab.dir().join("sluice.toml");
    let config = config.to_str().unwrap();
    let output = lab.sluice(&["status", "--json", "--config", config]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["records"].clone()
}

#[track_caller]
fn sink(lab: &Lab) -> Value {
    told(lab)["sinks"][0].clone()
}

#[track_caller]
fn reload(lab: &Lab, daemon: &Sluice, config: &str) {
    let before = daemon.metrics().sum("sluice_generation", &[]);
    let _path = lab.write_config(config);
    daemon.reload();
    eventually("the reload", || {
        daemon.metrics().sum("sluice_generation", &[]) > before
    });
}

/// How many records a file has; nothing else is in it, and no half of one.
#[track_caller]
fn whole_lines(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap();
    let count = text.lines().count();
    let parsed = text
        .lines()
        .filter(|line| serde_json::from_str::<Value>(line).is_ok());
    // One that is being written is no fault.
    let whole = if text.ends_with('\n') {
        count
    } else {
        count.saturating_sub(1)
    };
    assert!(parsed.count() >= whole, "a line is no record: {text}");
    assert_eq!(all_of(&text).len().min(whole), whole);
    whole
}

#[test]
#[ignore = "root: cargo xtask test"]
fn g9_a_full_disk_costs_records_or_refuses_flows_as_it_is_told() {
    let lab = Lab::new();
    let disk = Disk::new(lab.dir().join("disk"));
    let place = format!("file:{}", disk.log().display());
    let daemon = lab.run_sluice(&config(&place, "drop"));
    let site = Site::new(&lab);
    assert!(site.passes());
    eventually("the first record", || whole_lines(&disk.log()) == 1);

    disk.fill();
    for number in 0..60 {
        assert!(site.passes(), "flow {number}");
    }
    eventually("records are lost", || {
        let sink = sink(&lab);
        sink["state"] == "failing" && sink["dropped"].as_u64() > Some(0)
    });
    let known = |daemon: &Sluice| daemon.metrics().sum("sluice_flows_total", &[]);
    eventually("all flows are over", || known(&daemon) == 61.0);
    let lost = sink(&lab)["dropped"].as_u64().unwrap();
    assert!(lost < 60, "{lost}");
    disk.free();
    eventually("all but what was lost is written", || {
        whole_lines(&disk.log()) as u64 == 61 - lost && sink(&lab)["state"] == "ok"
    });
    let metrics = daemon.metrics();
    assert_eq!(
        metrics.sum("sluice_access_records_lost_total", &[]),
        lost as f64
    );

    reload(&lab, &daemon, &config(&place, "block"));
    disk.fill();
    eventually("flows are refused", || !site.passes());
    assert!(flows(&daemon, "block", ("reason", "audit-unavailable")) > 0.0);
    assert_eq!(told(&lab)["refuses"], true);
    let refused = || flows(&daemon, "block", ("reason", "audit-unavailable"));
    let before = refused();
    assert!(!site.passes());
    eventually("one more is refused", || refused() == before + 1.0);
    disk.free();
    eventually("flows pass again", || site.passes());
    assert_eq!(
        told(&lab)["lost"],
        lost,
        "no flow has gone without a record"
    );
    assert!(daemon.stop().success());
    assert!(whole_lines(&disk.log()) as u64 + lost >= site.reached() as u64);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn g9_a_reader_that_stops_costs_records_or_refuses_flows_as_it_is_told() {
    let lab = Lab::new();
    let socket = lab.dir().join("syslog");
    let reader = UnixDatagram::bind(&socket).unwrap();
    let place = format!("syslog:unix:{}", socket.display());
    let daemon = lab.run_sluice(&config(&place, "block"));
    let site = Site::new(&lab);
    let mut passed = 0;
    while site.passes() {
        passed += 1;
        assert!(passed < 1000, "{}", sink(&lab));
    }
    assert!(passed > 10, "{passed}");
    assert!(flows(&daemon, "block", ("reason", "audit-unavailable")) > 0.0);
    eventually("it is told", || sink(&lab)["state"] == "stalled");
    eventually("the origin has seen no other", || site.reached() == passed);

    reload(&lab, &daemon, &config(&place, "drop"));
    for number in 0..60 {
        assert!(site.passes(), "flow {number}");
    }
    eventually("records are lost", || {
        sink(&lab)["dropped"].as_u64() > Some(0)
    });

    // It reads on: what waited comes, and flows are let in again where they were not.
    let read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&read);
    let over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&over);
    let pause = Some(Duration::from_millis(100));
    reader.set_read_timeout(pause).unwrap();
    let reading = thread::spawn(move || {
        let mut message = vec![0; 64 << 10];
        loop {
            let Ok(length) = reader.recv(&mut message) else {
                if until.load(Ordering::SeqCst) {
                    break;
                }
                continue;
            };
            let text = std::str::from_utf8(&message[..length]).unwrap();
            assert!(text.starts_with("<13"), "{text}");
            let (_, json) = text.split_once("] {").unwrap();
            assert_eq!(all_of(&format!("{{{json}")).len(), 1, "{text}");
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    reload(&lab, &daemon, &config(&place, "block"));
    eventually("flows pass again", || site.passes());
    eventually("all that waited is read", || {
        let sink = sink(&lab);
        sink["queued_bytes"] == 0 && sink["written"] == read.load(Ordering::SeqCst)
    });
    assert!(daemon.stop().success());
    over.store(true, Ordering::SeqCst);
    reading.join().unwrap();
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_file_that_was_moved_aside_is_begun_anew_at_sigusr1() {
    let lab = Lab::new();
    let (file, aside) = (lab.dir().join("access.jsonl"), lab.dir().join("aside"));
    let daemon = lab.run_sluice(&config(&format!("file:{}", file.display()), "drop"));
    let site = Site::new(&lab);
    assert!(site.passes());
    eventually("the first record", || whole_lines(&file) == 1);
    fs::rename(&file, &aside).unwrap();
    daemon.signal(Signal::USR1);
    eventually("a new file", || file.exists());
    assert!(site.passes());
    eventually("the second record", || whole_lines(&file) == 1);
    assert_eq!(whole_lines(&aside), 1);
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_scan_is_summed_up() {
    let lab = Lab::new();
    let daemon = lab.run_sluice(&format!("{}\n[log]\npackets = \"1s\"\n", recipe()));
    for family in Family::ALL {
        let native = family.origin_at(66, 33_033);
        for _ in 0..5 {
            let (outcome, _) = dial::ask(lab.client(), family.other(), native, b"native", PATIENCE);
            assert!(!outcome.is_answered());
        }
        eventually("the packets are told", || {
            let mut records = all_of(&daemon.log());
            records.retain(|record| {
                record["client"] == family.other().to_string()
                    && record["destination"] == native.ip().to_string()
                    && record["port"] == 33_033
            });
            let counts = records.iter().map(|one| one["packets"].as_u64().unwrap());
            let sum: u64 = counts.sum();
            assert!(records.len() <= 5 && sum <= 5, "{records:?}");
            assert!(
                records
                    .iter()
                    .all(|one| one["reason"] == "native-udp" && one["sampled"] == false),
                "{records:?}"
            );
            sum == 5
        });
    }
    assert_eq!(status(&lab)["events"]["lost"], 0);
}
