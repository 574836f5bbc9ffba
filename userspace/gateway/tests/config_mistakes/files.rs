//! Mistakes in the files that a configuration names.

use std::{fs, path::Path};

use sluice_gateway::config::Config;

use super::LAN;

/// The messages of a configuration among some files, without the name of the directory.
pub(super) fn mistakes(rest: &str, files: &[(&str, &[u8])]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let path = directory.path().join("x.toml");
    fs::write(&path, format!("{LAN}{rest}")).unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    let prefix = format!("{}/", directory.path().display());
    error
        .lines()
        .map(|line| line.replace(&prefix, ""))
        .collect()
}

fn list(kind: &str) -> String {
    format!("[[list]]\nname = \"a\"\nkind = \"{kind}\"\nfiles = [\"a.txt\"]\n")
}

#[test]
fn lines_that_are_none_are_named() {
    assert_eq!(
        mistakes(
            &list("domains"),
            &[(
                "a.txt",
                b"ok.example\n# comment\nnot a name\n-bad-.example/\n10.0.0.1\n"
            )]
        ),
        [
            "a.txt:3: expected one name, or an address and names as in a hosts file",
            "a.txt:4: \"-bad-.example/\": expected a server name such as \"www.example.com\", \
             \"*.example.com\" or \".example.com\"",
            "a.txt:5: \"10.0.0.1\": an address is no server name: use `destination`, or \
             `host-is-ip = true`",
        ]
    );
    assert_eq!(
        mistakes(&list("addresses"), &[("a.txt", b"10.0.0.0/8\n\nalice\n")]),
        [
            "a.txt:3: \"alice\": expected an address or a CIDR such as \"10.20.0.0/16\" or \
             \"2001:db8::/32\""
        ]
    );
    assert_eq!(
        mistakes(&list("urls"), &[("a.txt", b"ftp://a.example\n")]),
        ["a.txt:1: \"ftp://a.example\": expected http:// or https://, or no scheme at all"]
    );
    assert_eq!(
        mistakes(
            &list("urls"),
            &[("a.txt", b"a.example\nb\xfccher.example\n")]
        ),
        ["a.txt:2: expected UTF-8: save the file in that encoding"]
    );
}

#[test]
fn of_many_mistakes_the_first_are_told() {
    let lines = "a b\n".repeat(1000);
    let found = mistakes(&list("domains"), &[("a.txt", lines.as_bytes())]);
    assert_eq!(found.len(), 21);
    assert_eq!(found[20], "a.txt:21: and more from here on");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let missing = "cannot be read: No such file or directory (os error 2)";
    assert_eq!(
        mistakes(&list("domains"), &[]),
        [format!(
            "x.toml:6:10: `files` in [[list]]: a.txt: {missing}"
        )]
    );
    assert_eq!(
        mistakes("[[user]]\nname = \"a\"\nfile = \"../none/a.txt\"\n", &[]),
        [format!(
            "x.toml:5:8: `file` in [[user]]: ../none/a.txt: {missing}"
        )]
    );
    assert_eq!(
        mistakes("[[group]]\nname = \"a\"\nfile = \".\"\n", &[]),
        ["x.toml:5:8: `file` in [[group]]: .: cannot be read: not a regular file"]
    );
    assert_eq!(
        mistakes("[identity]\nfiles = [\"/dev/zero\", \"\"]\n", &[]),
        [
            "x.toml:4:10: `files` in [identity]: /dev/zero: cannot be read: not a regular file",
            "x.toml:4:23: `files` in [identity]: \"\": expected the path of a file",
        ]
    );
}

#[test]
fn mistakes_in_files_of_people_are_named() {
    assert_eq!(
        mistakes(
            "[identity]\nfiles = [\"users.txt\"]\n",
            &[(
                "users.txt",
                b"10.0.0.1 alice\n10.0.0.2\nbob 10.0.0.3\n10.0.0.0/33 carol\n"
            )]
        ),
        [
            "users.txt:2: \"10.0.0.2\": expected an address or a CIDR, and behind it the name of \
             a user",
            "users.txt:3: \"bob\": expected an address or a CIDR such as \"10.20.0.0/16\" or \
             \"2001:db8::/32\"",
            "users.txt:4: \"10.0.0.0/33\": the prefix is longer than the address: at most /32",
        ]
    );
    assert_eq!(
        mistakes(
            "[[user]]\nname = \"a\"\nfile = \"a.txt\"\n",
            &[("a.txt", b"10.0.0\n")]
        ),
        [
            "a.txt:1: \"10.0.0\": expected an address or a CIDR such as \"10.20.0.0/16\" or \
             \"2001:db8::/32\""
        ]
    );
    assert_eq!(
        mistakes(
            "[[group]]\nname = \"staff\"\nfiles = [\"a.txt\"]\n[[group]]\nname = \"boss\"\n\
             members = [\"10.0.0.300\"]\n",
            &[("a.txt", b"alice\n10.0.0.1/8\ngroup:bos # who?\ngroup:x\n")]
        ),
        [
            "a.txt:2: \"10.0.0.1/8\": the address has bits beyond its prefix: write \
             \"10.0.0.0/8\" or a longer prefix",
            "a.txt:3: \"group:bos\": there is no group \"bos\": did you mean \"boss\"?",
            "a.txt:4: \"group:x\": there is no group \"x\": write a [[group]] of that name",
            "x.toml:8:12: `members` in [[group]]: \"10.0.0.300\": expected an address or a CIDR \
             such as \"10.20.0.0/16\" or \"2001:db8::/32\"",
        ]
    );
    assert_eq!(
        mistakes(
            "[[group]]\nname = \"staff\"\nfile = \"a.txt\"\n",
            &[("a.txt", b"group:staff\n")]
        ),
        [
            "x.toml:5:8: `file` in [[group]]: the group is a member of itself: take one of the \
             \"group:\" members out"
        ]
    );
}

#[test]
fn a_candidate_has_no_candidate() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    fs::write(&path, format!("{LAN}[policy]\nshadow = \"x.toml\"\n")).unwrap();
    let config = Config::load(&path).unwrap();
    let error = config.load_shadow(None).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{}:4:10: `shadow` in [policy]: this file is a candidate itself: take it out",
            path.display()
        )
    );
    fs::write(&path, format!("{LAN}[policy]\nshadow = \"none.toml\"\n")).unwrap();
    let config = Config::load(Path::new(&path)).unwrap();
    let error = config.load_shadow(None).unwrap_err().to_string();
    assert!(error.contains("none.toml: cannot be read: "), "{error}");
}
