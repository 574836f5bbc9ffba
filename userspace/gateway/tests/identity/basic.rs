//! How credentials of the Basic scheme are read.

use base64ct::{Base64, Encoding};
use http::HeaderValue;
use proptest::prelude::*;
use sluice_gateway::identity::basic::{PASSWORD_LIMIT, Shown, USER_LIMIT, challenge, read};

use crate::lab::shown;

/// User and password, where these are what was read.
fn login(value: &[u8]) -> Option<(String, String)> {
    match read(&HeaderValue::from_bytes(value).unwrap()) {
        Shown::Basic(login) => Some((login.user.into(), login.password.reveal().to_owned())),
        Shown::Malformed | Shown::Other => None,
    }
}

fn of(text: &[u8]) -> Shown {
    let value = format!("Basic {}", Base64::encode_string(text));
    read(&value.parse().unwrap())
}

#[test]
fn user_and_password_are_told_apart_at_the_first_colon() {
    // RFC 7617 sections 2 and 2.1.
    let expected = Some(("Aladdin".into(), "open sesame".into()));
    assert_eq!(login(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), expected);
    assert_eq!(login(b"bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ== "), expected);
    assert_eq!(login(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ"), expected);
    assert_eq!(
        login(b"Basic dGVzdDoxMjPCow=="),
        Some(("test".into(), "123\u{a3}".into()))
    );
    let colons = shown("alice", ":a:b:");
    assert_eq!(
        login(colons.as_bytes()),
        Some(("alice".into(), ":a:b:".into()))
    );
}

#[test]
fn what_is_no_basic_is_left_to_others() {
    for value in [
        "",
        "Negotiate YII=",
        "Basi QWxhZGRpbg==",
        "Basic2 x",
        "Bearer abc",
    ] {
        assert_eq!(read(&value.parse().unwrap()), Shown::Other, "{value}");
    }
}

#[test]
fn what_is_malformed_is_told() {
    for token in [
        "",
        "=",
        "!",
        "QQ",
        "QWxhZGRpbjpvcGVuIHNlc2FtZQ=",
        "QWxhZGRpbjpvcGVuIHNlc2Ft ZQ==",
        "dGVzdDoxMjOj",
    ] {
        let value = format!("Basic {token}");
        assert_eq!(read(&value.parse().unwrap()), Shown::Malformed, "{token}");
    }
    assert_eq!(read(&"Basic".parse().unwrap()), Shown::Malformed);
    let texts: [&[u8]; 8] = [
        b"alice",
        b":password",
        b"alice:",
        b"ali\0ce:password",
        b"alice:pass\nword",
        b"alice:pass\x7fword",
        b"alice:\xff\xfe",
        "alice:\u{85}".as_bytes(),
    ];
    for text in texts {
        assert_eq!(of(text), Shown::Malformed, "{}", text.escape_ascii());
    }
}

#[test]
fn lengths_are_bounded() {
    let of_length = |user: usize, password: usize| {
        let text = format!("{}:{}", "u".repeat(user), "p".repeat(password));
        matches!(of(text.as_bytes()), Shown::Basic(_))
    };
    assert!(of_length(USER_LIMIT, PASSWORD_LIMIT));
    assert!(!of_length(USER_LIMIT + 1, 1));
    assert!(!of_length(1, PASSWORD_LIMIT + 1));
    assert!(!of_length(1, 10_000_000));
}

#[test]
fn nothing_of_a_password_can_be_printed() {
    let text = format!("{:?}", of(b"alice:open sesame"));
    assert!(text.contains("alice") && text.contains("Secret"), "{text}");
    assert!(!text.contains("open sesame"), "{text}");
}

#[test]
fn the_challenge_quotes_the_realm() {
    let asked = |realm| challenge(realm).unwrap();
    assert_eq!(asked("corp"), "Basic realm=\"corp\", charset=\"UTF-8\"");
    assert_eq!(
        asked("the \"big\\corp\""),
        "Basic realm=\"the \\\"big\\\\corp\\\"\", charset=\"UTF-8\""
    );
    assert_eq!(challenge("a\r\nSet-Cookie: x"), None);
}

proptest! {
    #[test]
    fn what_was_shown_is_what_is_read(user in "[^:\\p{Cc}]{1,60}", password in "\\P{Cc}{1,200}") {
        prop_assert_eq!(login(shown(&user, &password).as_bytes()), Some((user, password)));
    }

    #[test]
    fn no_value_makes_it_panic(value in proptest::collection::vec(32..=255_u8, 0..300)) {
        if let Ok(value) = HeaderValue::from_bytes(&[b"Basic ", value.as_slice()].concat()) {
            let _any = read(&value);
        }
    }
}
