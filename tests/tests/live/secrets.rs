//! The key of the CA stays with the daemon: not for other users, in no core file, and in nothing
//! that it prints or answers, however much it is asked to tell.

use std::{
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use sluice_tests::{family::Family, lab::Lab};

use crate::{
    clients::Ask,
    inspected::{Inspected, RULES},
    support::{eventually, said, status, try_sluice},
    tools::NAME,
    web,
};

/// A user with no rights, and a group.
const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/// The ways in which the key of a CA may stand in bytes.
struct Needles(Vec<(String, Vec<u8>)>);

impl Needles {
    fn of(key: &Path) -> Self {
        let text = fs::read_to_string(key).unwrap();
        let mut needles = Vec::new();
        let mut add = |what: &str, bytes: Vec<u8>| needles.push((what.to_owned(), bytes));
        let lines = text.lines().filter(|line| !line.starts_with('-'));
        for (number, line) in lines.enumerate() {
            // What comes before the scalar other keys of its kind share.
            let own = &line.as_bytes()[if number == 0 { 48 } else { 0 }..];
            for part in own.chunks_exact(16) {
                add("a part of a line of the file", part.to_vec());
            }
        }
        let PrivateKeyDer::Pkcs8(der) = PrivateKeyDer::from_pem_file(key).unwrap() else {
            panic!("the key is not PKCS #8");
        };
        let der = der.secret_pkcs8_der();
        // ECPrivateKey (RFC 5915 section 3): version 1, and a private key of 32 bytes.
        let at = der.windows(5).position(|part| part == [2, 1, 1, 4, 32]);
        let scalar = &der[at.unwrap() + 5..][..32];
        add("the scalar", scalar[..16].to_vec());
        let hex: String = scalar.iter().map(|byte| format!("{byte:02x}")).collect();
        add("hexadecimal", hex.as_bytes()[..32].to_vec());
        add("HEXADECIMAL", hex.to_uppercase().as_bytes()[..32].to_vec());
        for separator in [":", " ", ", 0x"] {
            let spaced: Vec<_> = scalar[..12]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            add("spaced hexadecimal", spaced.join(separator).into_bytes());
        }
        add("numbers", numbers(&scalar[..12]).into_bytes());
        let escaped = scalar.escape_ascii().to_string();
        add("escaped", escaped.as_bytes()[..32].to_vec());
        let turned: Vec<u8> = scalar.iter().rev().copied().collect();
        add("the scalar from its end", turned[..16].to_vec());
        Self(needles)
    }

    #[track_caller]
    fn assert_absent(&self, place: &str, bytes: &[u8]) {
        for (what, needle) in &self.0 {
            assert!(!contains(bytes, needle), "{what} of the key is in {place}");
        }
    }
}

/// As a list of bytes is printed.
fn numbers(bytes: &[u8]) -> String {
    let text = format!("{bytes:?}");
    text.trim_matches(['[', ']']).to_owned()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|part| part == needle)
}

/// Has the daemon decrypt, block, be refused and read its configuration again, and fail at it.
fn everything_happens(gateway: &Inspected) {
    let config = web::modern(&gateway.pki, &[NAME]);
    for family in Family::ALL {
        let to = family.origin_at(5, 443);
        let _origin = web::origin(gateway.lab.internet(), to, &config);
        let ask = |path, ca| Ask {
            lab: &gateway.lab,
            host: NAME,
            to,
            ca,
            path,
        };
        let served = said(&ask("/today", &gateway.ca).curl(&[]));
        assert!(served.contains("the news of /today by"), "{served}");
        let blocked = said(&ask("/secret", &gateway.ca).curl(&["--http1.1"]));
        assert!(blocked.contains("403"), "{blocked}");
        let refused = ask("/", &gateway.roots).curl(&[]);
        assert!(!refused.status.success(), "the leaf is refused");
    }
    gateway.record("a client that refused the CA", |one| {
        one["reason"] == "client-rejected-ca" || one["end"] == "client-rejected-ca"
    });
    // Reloads that fail: at the text, and at a certificate that the key does not fit.
    let good = fs::read_to_string(gateway.sluice.config_path()).unwrap();
    let theirs = gateway.roots.display().to_string();
    let ours = gateway.lab.dir().join("state/ca.pem").display().to_string();
    for bad in [
        good.replace("[ca]", "[ca]\ncolour = \"x\""),
        good.replace(&ours, &theirs),
    ] {
        assert_ne!(bad, good);
        fs::write(gateway.sluice.config_path(), bad).unwrap();
        let before = gateway.sluice.log().len();
        gateway.sluice.reload();
        eventually("the old policy stays", || {
            gateway.sluice.log()[before..].contains("ERROR")
        });
    }
    fs::write(gateway.sluice.config_path(), good).unwrap();
}

#[test]
#[ignore = "root: cargo xtask test"]
fn e4_nothing_that_is_told_holds_the_key() {
    let gateway = Inspected::logging(RULES, "trace");
    let key = gateway.lab.dir().join("state/ca.key");
    let needles = Needles::of(&key);
    // What is looked for is there to be found.
    let found = |bytes: &[u8]| {
        needles
            .0
            .iter()
            .filter(|(_, one)| contains(bytes, one))
            .count()
    };
    assert!(found(&fs::read(&key).unwrap()) > 2);
    let PrivateKeyDer::Pkcs8(der) = PrivateKeyDer::from_pem_file(&key).unwrap() else {
        panic!("the key is not PKCS #8");
    };
    let der = der.secret_pkcs8_der();
    assert_eq!(found(der), 1);
    assert_eq!(found(numbers(der).as_bytes()), 1);
    everything_happens(&gateway);
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/api/rejected",
        "/nothing",
    ] {
        let answer = gateway.sluice.get(path).unwrap();
        needles.assert_absent(path, answer.body.as_bytes());
    }
    for args in [
        &["check"][..],
        &["status"],
        &["rejected"],
        &["suggest"],
        &["doctor"],
    ] {
        needles.assert_absent(args[0], said(&try_sluice(&gateway.lab, args)).as_bytes());
    }
    let certificate = gateway.lab.dir().join("state/ca.pem");
    let (certificate, path) = (certificate.display().to_string(), key.display().to_string());
    let shown = gateway
        .lab
        .sluice(&["ca", "show", "--certificate", &certificate, "--key", &path]);
    assert!(shown.status.success(), "{}", said(&shown));
    needles.assert_absent("ca show", said(&shown).as_bytes());
    assert_eq!(
        status(&gateway.lab)["generation"].as_u64().map(|n| n > 0),
        Some(true)
    );
    for kind in ["environ", "cmdline", "status", "maps"] {
        let file = format!("/proc/{}/{kind}", gateway.sluice.pid());
        needles.assert_absent(&file, &fs::read(&file).unwrap());
    }
    let Inspected { sluice, lab, .. } = gateway;
    let died = sluice.end_by(Signal::ABORT);
    assert_eq!(died.signal(), Some(Signal::ABORT.as_raw()));
    let log = fs::read_to_string(lab.dir().join("sluice.log")).unwrap();
    assert!(log.contains("TRACE"), "the log tells all");
    let files = files(lab.dir());
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        if file != key {
            needles.assert_absent(&file.display().to_string(), &fs::read(&file).unwrap());
        }
    }
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !entry.path().ends_with("bpf") {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[test]
#[ignore = "root: cargo xtask test"]
fn e4_other_users_cannot_look_into_the_daemon() {
    let gateway = Inspected::new(RULES);
    let pid = gateway.sluice.pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{limits}");
    let told = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let locked = told.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let locked: u64 = locked
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(locked > 0, "the memory is not locked");
    let key = gateway.lab.dir().join("state/ca.key").display().to_string();
    // Another process of the same kind, into which the same user can look.
    let mut sleep = Command::new("setpriv");
    sleep
        .args(NOBODY)
        .args(["sleep", "60"])
        .stdin(Stdio::null());
    let mut sleeping = gateway.lab.gateway().start(&mut sleep);
    let as_nobody = |file: &str| -> Output {
        let mut read = Command::new("setpriv");
        read.args(NOBODY)
            .args(["head", "-c", "1", file])
            .stdin(Stdio::null());
        gateway.lab.gateway().output(&mut read)
    };
    eventually("a process that may be looked into", || {
        as_nobody(&format!("/proc/{}/maps", sleeping.id()))
            .status
            .success()
    });
    for kind in [
        "mem",
        "maps",
        "environ",
        "auxv",
        "stack",
        "syscall",
        "fd/0",
        "root/etc/passwd",
    ] {
        let file = format!("/proc/{pid}/{kind}");
        let output = as_nobody(&file);
        assert!(!output.status.success(), "{file} is read by nobody");
        assert!(said(&output).contains("ermi"), "{file}: {}", said(&output));
    }
    let output = as_nobody(&key);
    assert!(!output.status.success() && said(&output).contains("ermission denied"));
    let _ended = sleeping.kill();
    let _status = sleeping.wait();
}

/// Lets the kernel write a core file of a process, as far as the limit goes; false where the limit
/// is there to stay, since whoever runs the tests may not raise it.
fn allow_core(pid: u32) -> bool {
    let mut raise = Command::new("prlimit");
    raise
        .args(["--core=unlimited:unlimited", "--pid", &pid.to_string()])
        .stderr(Stdio::null());
    raise.status().unwrap().success()
}

fn cores(lab: &Lab) -> Vec<std::path::PathBuf> {
    let name = |file: &std::path::PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
    let mut found = files(lab.dir());
    found.retain(|file| name(file).starts_with("core"));
    found
}

#[test]
#[ignore = "root: cargo xtask test"]
fn e4_no_core_file_is_left() {
    for (signal, raised) in [
        (Signal::ABORT, false),
        // The limit alone is not what keeps the kernel from it.
        (Signal::ABORT, true),
        (Signal::QUIT, true),
    ] {
        let Inspected { sluice, lab, .. } = Inspected::new(RULES);
        if raised && !allow_core(sluice.pid()) {
            continue;
        }
        let died = sluice.end_by(signal);
        assert_eq!(died.signal(), Some(signal.as_raw()), "{died}");
        assert!(!died.core_dumped(), "{died}, raised: {raised}");
        assert_eq!(cores(&lab), Vec::<std::path::PathBuf>::new());
        // A process that does not keep it away leaves one, where the kernel writes any.
        let mut sleep = Command::new("sleep");
        sleep.arg("60").current_dir(lab.dir()).process_group(0);
        let mut sleeping = lab.gateway().start(sleep.stdin(Stdio::null()));
        let id = rustix::process::Pid::from_child(&sleeping);
        // Until it is another program than the one that was forked.
        thread::sleep(Duration::from_millis(50));
        let allowed = allow_core(sleeping.id());
        rustix::process::kill_process(id, signal).unwrap();
        let died = sleeping.wait().unwrap();
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        if allowed && pattern.trim() == "core" {
            assert!(died.core_dumped(), "{died}");
        }
    }
}
