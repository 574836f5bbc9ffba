//! The files that a configuration names: what is read from them, and what is read again.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use sluice_gateway::config::{Config, show};
use sluice_policy::{DomainList, ListData};

/// Longer than a change can hide behind the clock that files are stamped with.
const SETTLED: Duration = Duration::from_millis(150);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(rest: &str, files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, content) in files {
            folder.write(name, content);
        }
        folder.write("x.toml", &format!("[gateway]\nlan = [\"lan0\"]\n{rest}"));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn load(&self) -> Config {
        Config::load(&self.path("x.toml")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn reload(&self, before: &Config) -> Config {
        Config::reload(&self.path("x.toml"), before).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn domains(config: &Config, list: usize) -> &Arc<DomainList> {
    match &config.rules.lists[list].data {
        ListData::Domains(names) => names,
        other => panic!("{}", other.kind()),
    }
}

#[test]
fn every_file_is_read_from_the_directory_of_the_configuration() {
    let folder = Folder::new(
        r#"
        [identity]
        files = ["users.txt"]
        [[user]]
        name = "alice"
        addresses = ["10.0.0.1"]
        file = "alice.txt"
        [[group]]
        name = "staff"
        members = ["alice"]
        file = "staff.txt"
        files = ["more.txt"]
        [[group]]
        name = "boss"
        [[list]]
        name = "names"
        kind = "domains"
        files = ["hosts.txt"]
        entries = ["one.example"]
        [[list]]
        name = "nets"
        kind = "addresses"
        files = ["nets.txt", "more-nets.txt"]
        [[list]]
        name = "pages"
        kind = "urls"
        files = ["pages.txt"]
        "#,
        &[
            (
                "users.txt",
                "# who\n10.0.0.7 alice\n10.1.0.0/16\tmary ann # guest\n",
            ),
            ("alice.txt", "2001:db8::1\n10.0.0.2 # desk\n"),
            ("staff.txt", "bob\n10.2.0.0/16\n"),
            ("more.txt", "group:boss\nCORP\\carol\n"),
            (
                "hosts.txt",
                "0.0.0.0 ads.example track.example\n*.b.example\n",
            ),
            ("nets.txt", "192.0.2.7/24\n"),
            ("more-nets.txt", "198.51.100.0/24\n"),
            ("pages.txt", "https://a.example/x\n"),
        ],
    );
    let shown = show::effective(&folder.load());
    for part in [
        "users:\n  \"alice\": 10.0.0.1, 2001:db8::1, 10.0.0.2, 10.0.0.7\n  \"mary ann\": \
         10.1.0.0/16\n",
        "  \"staff\": 10.2.0.0/16, group:boss, \"alice\", \"bob\", \"CORP\\carol\"\n",
        "lists:\n  \"names\": 4 domains\n  \"nets\": 2 addresses\n  \"pages\": 1 urls\n",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}

const LISTS: &str = "[[list]]\nname = \"one\"\nkind = \"domains\"\nfiles = [\"one.txt\"]\n\
                     [[list]]\nname = \"two\"\nkind = \"domains\"\nfiles = [\"two.txt\"]\n\
                     entries = [\"c.example\"]\n";

#[test]
fn lists_that_have_not_changed_are_shared() {
    let folder = Folder::new(
        LISTS,
        &[("one.txt", "a.example\n"), ("two.txt", "b.example\n")],
    );
    sleep(SETTLED);
    let first = folder.load();
    let second = folder.reload(&first);
    for list in [0, 1] {
        assert!(Arc::ptr_eq(domains(&first, list), domains(&second, list)));
    }

    // The same length, so that only the times tell.
    folder.write("two.txt", "d.example\n");
    sleep(SETTLED);
    let third = folder.reload(&second);
    assert!(Arc::ptr_eq(domains(&first, 0), domains(&third, 0)));
    let names: Vec<_> = domains(&third, 1).iter().collect();
    assert_eq!(names, ["c.example", "d.example"]);

    // Another file in its place, as editors and downloads leave it.
    folder.write("new.txt", "e.example\n");
    fs::rename(folder.path("new.txt"), folder.path("one.txt")).unwrap();
    sleep(SETTLED);
    let fourth = folder.reload(&third);
    assert!(Arc::ptr_eq(domains(&third, 1), domains(&fourth, 1)));
    assert_eq!(domains(&fourth, 0).iter().next().unwrap(), "e.example");

    let text = format!(
        "[gateway]\nlan = [\"lan0\"]\n{}",
        LISTS.replace("c.example", "f.example")
    );
    folder.write("x.toml", &text);
    let fifth = folder.reload(&fourth);
    assert!(Arc::ptr_eq(domains(&fourth, 0), domains(&fifth, 0)));
    assert_eq!(domains(&fifth, 1).iter().next().unwrap(), "f.example");
}

#[test]
fn a_file_that_changes_at_once_is_read_again() {
    let folder = Folder::new(
        LISTS,
        &[("one.txt", "a.example\n"), ("two.txt", "b.example\n")],
    );
    let mut config = folder.load();
    for name in ["c.example", "d.example", "e.example"] {
        folder.write("one.txt", &format!("{name}\n"));
        config = folder.reload(&config);
        assert_eq!(domains(&config, 0).iter().next().unwrap(), name);
    }
}

#[test]
fn a_candidate_shares_the_lists() {
    let folder = Folder::new(
        &format!("[policy]\nshadow = \"y.toml\"\n{LISTS}"),
        &[("one.txt", "a.example\n"), ("two.txt", "b.example\n")],
    );
    folder.write(
        "y.toml",
        &format!("[gateway]\nlan = [\"lan0\"]\n[policy]\ndefault = \"allow\"\n{LISTS}"),
    );
    sleep(SETTLED);
    let config = folder.load();
    assert_eq!(config.shadow, Some(folder.path("y.toml")));
    assert!(show::effective(&config).contains("\nshadow: /"));
    let shadow = config.load_shadow(None).unwrap().unwrap();
    assert!(Arc::ptr_eq(domains(&config, 0), domains(&shadow, 0)));
    let again = folder.reload(&config).load_shadow(Some(&shadow)).unwrap();
    let again = again.unwrap();
    assert!(Arc::ptr_eq(domains(&shadow, 1), domains(&again, 1)));
    assert_eq!(again.shadow, None);
    assert!(Config::load(Path::new("/nowhere")).is_err());
}
