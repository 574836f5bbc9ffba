//! Users and groups in files.

use std::fmt::Write as _;

use sluice_gateway::identity::{hash::Hash, htpasswd::Users};

/// Hashes of "right", made by `htpasswd`, `argon2` and crypt(3).
const RIGHT: [&str; 7] = [
    "$2y$04$wJPihpjgyDVK6LPKZUgAK.NxhRCvxAmHNlFPFVwwhbGquI7QPZoAq",
    "$2a$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC",
    "$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC",
    "$argon2id$v=19$m=256,t=1,p=1$c2FsdHNhbHQx$BWa8GCAL0Q6nFtEiyBoeX0tl6hm5QtwOT3ZC51NgdTY",
    "$argon2i$v=19$m=256,t=1,p=1$c2FsdHNhbHQx$jjyUjds8eUh0xbtx0cA/Ji/f8/QDXbGzaRx9BQMDqo0",
    "$argon2d$v=19$m=256,t=1,p=1$c2FsdHNhbHQx$5/GwqXBku13GHaQLPpXN2CHJ5A6FGWUnsC/NI6KZMFk",
    "$argon2id$v=19$m=19456,t=2,p=2$c2FsdHNhbHQx$2R+yFdfPCWoDuz96WKZpFwvekUMb9ToaSrqtcc/8wVg",
];

/// The users of a text, and its mistakes as "line: message".
fn read(text: &str) -> (Users, Vec<String>) {
    let mut errors = Vec::new();
    let users = Users::read(text, &mut errors, 21);
    let errors = errors.into_iter();
    let errors = errors.map(|error| format!("{}: {}", error.line, error.message));
    (users, errors.collect())
}

#[test]
fn every_kind_of_hash_knows_its_password_and_no_other() {
    for hash in RIGHT {
        let hash = Hash::read(hash).unwrap();
        assert!(hash.is_of("right"), "{hash:?}");
        for other in ["", "Right", "right ", "righ", "rightt", "right\0"] {
            assert!(!hash.is_of(other), "{hash:?}: {other:?}");
        }
        assert!(["Bcrypt", "Argon2"].contains(&&*format!("{hash:?}")));
    }
    let hash = Hash::read("$2y$05$08ICgqfZ2ZaiH8KPkycmFOoCGYSybmd2mmaoQrFVYnmJw8oFNrGuO").unwrap();
    assert!(hash.is_of("grün mit : und \""));
    // Those of jBCrypt.
    let hash = Hash::read("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe").unwrap();
    assert!(hash.is_of("a") && !hash.is_of("b"));
}

#[test]
fn bcrypt_stops_looking_where_htpasswd_does() {
    let long = "x".repeat(72);
    let hash = Hash::read("$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i").unwrap();
    for (rest, right) in [("yz", true), ("", true), ("other", true)] {
        assert_eq!(hash.is_of(&format!("{long}{rest}")), right, "{rest}");
    }
    assert!(!hash.is_of(&long[1..]));
}

#[test]
fn hashes_that_are_guessed_at_once_are_refused_with_the_cure() {
    let cases = [
        ("$apr1$4FAcqp9a$3rFwCFgpIEYqZUHzeniMD1", "kept as MD5"),
        ("$1$abcdefgh$irWbblnpmw.5z7wgBnprh0", "kept as MD5"),
        ("{SHA}0nofEXcSAJSXFLGvmfBIpBb11vQ=", "kept as SHA-1"),
        ("{SSHA}AAAA", "kept as SHA-1"),
        (
            "$6$abcdefgh$vR/yd6VXABFTBRyOupJyJy",
            "kept as SHA-2 of crypt(3)",
        ),
        ("LtAKT/xzK3Ahc", "kept in the clear or as DES"),
        ("right", "kept in the clear or as DES"),
        ("", "kept in the clear or as DES"),
        ("$y$j9T$abcdefghij$x", "of a kind that is not known here"),
        ("$pbkdf2-sha256$i=1$x$y", "of a kind that is not known here"),
    ];
    for (hash, what) in cases {
        let (users, errors) = read(&format!("# staff\n\nalice:{hash}\n"));
        assert!(users.is_empty());
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("3: \"alice\": "), "{errors:?}");
        assert!(errors[0].contains(what), "{errors:?}");
        assert!(
            errors[0].ends_with("make it anew with `htpasswd -B`"),
            "{errors:?}"
        );
        assert!(hash.is_empty() || !errors[0].contains(hash), "{errors:?}");
    }
}

#[test]
fn hashes_that_are_broken_or_too_dear_are_refused() {
    let whole = RIGHT[0];
    let cut = "is cut short or has been changed";
    for hash in [
        &whole[..59],
        &format!("{whole}x"),
        &whole.replace("$04$", "$4$"),
        &whole.replace("$04$", "$+4$"),
        &whole.replace("wJP", "wJ!"),
        "$2y$",
        "$2b$04",
    ] {
        let error = Hash::read(hash).unwrap_err();
        assert!(error.contains(cut), "{hash}: {error}");
    }
    for cost in ["03", "18", "31"] {
        let error = Hash::read(&whole.replace("$04$", &format!("${cost}$"))).unwrap_err();
        assert!(error.contains("one from 4 to 17"), "{error}");
    }
    let whole = RIGHT[3];
    let dear = [("m=256", "m=4194304"), ("t=1", "t=1000")];
    for (from, to) in dear {
        let error = Hash::read(&whole.replace(from, to)).unwrap_err();
        assert!(error.contains("more than 256 MiB or 32 passes"), "{error}");
    }
    for (from, to) in [
        ("argon2id", "argon2xx"),
        ("$BWa8GCAL0Q6nFtEiyBoeX0tl6hm5QtwOT3ZC51NgdTY", ""),
        ("p=1", "p=0"),
        ("v=19", "v=99"),
        ("c2FsdHNhbHQx", "c2FsdA"),
    ] {
        let error = Hash::read(&whole.replace(from, to)).unwrap_err();
        assert!(
            error.starts_with("no argon2 hash that can be used"),
            "{error}"
        );
    }
}

#[test]
fn lines_that_are_none_are_named() {
    let hash = RIGHT[0];
    let text = format!(
        "\u{feff}alice:{hash}\n  bob:{hash}  \nno colon\n:{hash}\n{}:{hash}\n# carol:x\nalice:{hash}\n d :{hash}\n",
        "x".repeat(201)
    );
    let (users, errors) = read(&text);
    assert_eq!(
        errors,
        [
            "3: expected a user, a colon, and the hash that `htpasswd -B` makes",
            "4: the user: expected a name of at most 200 bytes",
            "5: the user: expected a name of at most 200 bytes",
            "7: the user \"alice\" stands in line 1 already: take one of the two out",
            "8: the user: expected a name of at most 200 bytes",
        ]
    );
    assert!(users.is_right("alice", "right") && users.is_right("bob", "right"));
}

#[test]
fn mistakes_are_bounded() {
    let (_, errors) = read(&"no colon\n".repeat(1000));
    assert_eq!(errors.len(), 21);
}

#[test]
fn who_is_not_known_is_never_right() {
    let (users, errors) = read(&format!("alice:{}\nbob:{}\n", RIGHT[1], RIGHT[3]));
    assert_eq!(errors, [""; 0]);
    // One of the hashes is held against, and fits.
    for stranger in ["carol", "Alice", "alice ", "", "dave", "erin"] {
        assert!(!users.is_right(stranger, "right"), "{stranger}");
    }
    assert!(users.is_right("alice", "right") && !users.is_right("alice", "wrong"));
    assert!(!Users::default().is_right("alice", "right"));
}

#[test]
fn a_hundred_thousand_users_are_read_and_found() {
    let mut text = String::new();
    for number in 0..100_000 {
        writeln!(text, "user{number}:{}", RIGHT[number % 2]).unwrap();
    }
    let (mut users, errors) = read(&text);
    assert_eq!((users.len(), errors.len()), (100_000, 0));
    for number in [0, 1, 49_999, 99_999] {
        assert!(users.is_right(&format!("user{number}"), "right"));
    }
    assert!(!users.is_right("user100000", "right"));
    let mut groups = String::from("everybody:");
    for number in 0..100_000 {
        write!(groups, " user{number}").unwrap();
    }
    let mut errors = Vec::new();
    users.read_groups(&groups, &mut errors, 21);
    assert!(errors.is_empty());
    assert_eq!(users.groups("user99999"), ["everybody".into()]);
    text.push_str("user7:x\nuser7:");
    text.push_str(RIGHT[0]);
    let (_, errors) = read(&text);
    assert_eq!(
        errors[1],
        "100002: the user \"user7\" stands in line 8 already: take one of the two out"
    );
}

#[test]
fn groups_are_those_of_every_line() {
    let (mut users, _) = read(&format!("alice:{}\n", RIGHT[0]));
    let before = users.clone();
    let mut errors = Vec::new();
    users.read_groups(
        "# teams\nstaff: alice bob\n\nAllow Skype:alice\nstaff: carol alice\nno colon\n: alice\nempty:\n",
        &mut errors,
        21,
    );
    assert_eq!(
        users.groups("alice"),
        ["staff".into(), "Allow Skype".into()]
    );
    assert_eq!(users.groups("carol"), ["staff".into()]);
    assert!(users.groups("dave").is_empty());
    let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [6, 7]);
    assert!(
        errors[0]
            .message
            .starts_with("expected the name of a group, a colon")
    );
    assert!(users != before, "another groups file makes other users");
}
