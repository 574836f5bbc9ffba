//! The key stays where it is.

use std::{fs, process::Command, sync::Arc};

use sluice_mint::{MinterOptions, NewAuthority, SystemClock, harden_process};

use crate::help::{Place, real_now};

/// The variable by which a test tells its second process what to do.
const INSIDE: &str = "SLUICE_MINT_TEST_KEY";

#[test]
fn e4_nothing_that_is_printed_holds_the_key() {
    let now = real_now();
    let place = Place::with(&NewAuthority::default(), now);
    let pem = fs::read_to_string(&place.files.key).unwrap();
    let secret: Vec<_> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let authorities = place.load(now);
    let mut printed = format!("{authorities:?} {:#?}", authorities.signing(now));
    let clock = Arc::new(SystemClock::default());
    let minter = sluice_mint::Minter::new(authorities, &MinterOptions::default(), clock).unwrap();
    printed.push_str(&format!("{minter:?} {minter:#?}"));
    for line in secret {
        assert!(!printed.contains(line));
    }
    // Nor as numbers, as a list of bytes would be printed.
    assert!(printed.contains("CaKey { kind: P256, .. }"), "{printed}");
    assert!(
        !printed.contains(", 0, ") && printed.len() < 5000,
        "{printed}"
    );
}

/// Runs in a process of its own, which is not the same afterwards.
#[test]
fn e4_a_hardened_process_keeps_others_out() {
    if std::env::var_os(INSIDE).is_some() {
        let hardened = harden_process().unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let words: Vec<_> = core.unwrap().split_whitespace().collect();
        assert_eq!(&words[4..6], ["0", "0"]);
        let locked = status
            .lines()
            .find(|line| line.starts_with("VmLck:"))
            .unwrap();
        let locked: u64 = locked.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert_eq!(hardened.memory_locked, locked > 0, "{locked}");
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "secrecy::e4_a_hardened_process_keeps_others_out",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// The bytes of the key are gone from memory once it is loaded: what is left of them is inside the
/// cryptography.
#[test]
fn e4_the_file_of_the_key_does_not_stay_in_memory() {
    use std::io::{Read, Seek, SeekFrom};
    let now = real_now();
    let place = Place::with(&NewAuthority::default(), now);
    let authorities = place.load(now);
    // A line in the middle of the PEM block, looked for only in this process's heap.
    let mut needle = fs::read(&place.files.key).unwrap();
    let middle = needle.len() / 2;
    // Turned around, so that the search does not find itself.
    let mut part: Vec<u8> = needle[middle - 20..middle + 20]
        .iter()
        .rev()
        .copied()
        .collect();
    needle.fill(0);
    std::hint::black_box(&needle);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = fs::File::open("/proc/self/mem").unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains("[heap]")) {
        let (from, rest) = line.split_once('-').unwrap();
        let (to, _) = rest.split_once(' ').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        let mut bytes = vec![0; (to - from) as usize];
        memory.seek(SeekFrom::Start(from)).unwrap();
        memory.read_exact(&mut bytes).unwrap();
        found += bytes
            .windows(part.len())
            .filter(|window| window.iter().rev().eq(part.iter()))
            .count();
    }
    part.fill(0);
    assert_eq!(found, 0, "the PEM text of the key is still in memory");
    drop(authorities);
}
