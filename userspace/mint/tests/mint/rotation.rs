//! One authority after another, with both known to clients in between.

use std::fs;

use sluice_mint::{
    AuthorityError, Existing, Format, Minter, MinterOptions, NewAuthority, Origin, export,
};

use crate::help::{DAY, Place, Turned, request};

const NOW: i64 = 1_795_000_000;

#[test]
fn a_rotation_overlaps() {
    let place = Place::with(&NewAuthority::default(), NOW);
    let files = &place.files;
    let old = files.certificates().unwrap().current;
    let from = NOW + 14 * DAY;
    let new = files
        .begin(&NewAuthority::default(), None, from, NOW)
        .unwrap();
    assert_ne!(old.signing().fingerprint, new.signing().fingerprint);

    // Before its moment clients are given both, and a daemon that runs through it changes by itself.
    let known = files.certificates().unwrap();
    let names = |now| {
        let chains = known.known(now).into_iter();
        chains
            .map(|chain| chain.signing().fingerprint)
            .collect::<Vec<_>>()
    };
    let (first, second) = (old.signing().fingerprint, new.signing().fingerprint);
    assert_eq!(names(NOW), [first, second]);
    assert_eq!(names(from), [second, first]);
    let clock = Turned::new(NOW);
    let authorities = place.load(NOW);
    let moments: Vec<_> = authorities.chains().map(|(from, _)| from).collect();
    assert_eq!(moments, [None, Some(from)]);
    let minter = Minter::new(authorities, &MinterOptions::default(), clock.clone()).unwrap();
    let issuer = |minter: &Minter| {
        let leaf = minter.leaf(&request("a.example", Origin::Gateway)).unwrap();
        let parsed = x509_parser::parse_x509_certificate(&leaf.certified.cert[0])
            .unwrap()
            .1;
        parsed.issuer().to_string()
    };
    assert_eq!(issuer(&minter), old.signing().subject);
    clock.set(from - 1);
    assert_eq!(issuer(&minter), old.signing().subject);
    clock.set(from);
    assert_eq!(issuer(&minter), new.signing().subject);

    // So does one that starts after it, also before the rotation is finished, and after.
    let restarted = |now| {
        let clock = Turned::new(now);
        let authorities = place.load(now);
        issuer(&Minter::new(authorities, &MinterOptions::default(), clock).unwrap())
    };
    assert_eq!(restarted(from), new.signing().subject);
    let key = fs::read(&files.key).unwrap();
    files.finish(from).unwrap();
    assert_eq!(restarted(from), new.signing().subject);
    let known = files.certificates().unwrap();
    assert_eq!(known.current.signing().fingerprint, second);
    assert!(known.next.is_none());
    assert_eq!(known.previous.unwrap().signing().fingerprint, first);
    let left: Vec<_> = fs::read_dir(place.dir.path())
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(left.len(), 3);
    assert!(!left.contains(&key), "the former key is gone");
}

#[test]
fn an_interrupted_finish_goes_on() {
    let place = Place::with(&NewAuthority::default(), NOW);
    let files = &place.files;
    let new = files
        .begin(&NewAuthority::default(), None, NOW, NOW)
        .unwrap();
    // As if the machine had stopped between the two renames.
    fs::rename(place.path("ca.key.next"), &files.key).unwrap();
    assert_eq!(
        place.load(NOW).signing(NOW).chain().signing().subject,
        new.signing().subject
    );
    files.finish(NOW).unwrap();
    assert_eq!(
        place.load(NOW).signing(NOW).chain().signing().subject,
        new.signing().subject
    );
    assert!(!place.path("ca.pem.next").exists());
}

#[test]
fn an_interrupted_beginning_can_be_repeated() {
    let place = Place::with(&NewAuthority::default(), NOW);
    fs::write(place.path("ca.key.next"), "half").unwrap();
    assert!(place.files.certificates().unwrap().next.is_none());
    place
        .files
        .begin(&NewAuthority::default(), None, NOW + DAY, NOW)
        .unwrap();
    place.load(NOW);
}

#[test]
fn steps_out_of_order_are_refused() {
    let place = Place::with(&NewAuthority::default(), NOW);
    let files = &place.files;
    let new = NewAuthority::default();
    let why = |result: Result<sluice_mint::Chain, AuthorityError>| match result.unwrap_err() {
        AuthorityError::Rotation { why, .. } => why,
        other => panic!("{other}"),
    };
    assert!(why(files.finish(NOW)).contains("no rotation has begun"));
    assert!(why(files.abort(NOW)).contains("no rotation has begun"));
    assert!(why(files.begin(&new, None, NOW - 1, NOW)).contains("past"));
    let late = NOW + 3653 * DAY;
    assert!(why(files.begin(&new, None, late, NOW)).contains("let the next one sign before"));
    files.begin(&new, None, NOW + DAY, NOW).unwrap();
    assert!(why(files.begin(&new, None, NOW + DAY, NOW)).contains("has begun"));
    assert!(why(files.finish(NOW)).contains("signs only from"));
    assert!(why(files.abort(NOW + DAY)).contains("signs since"));
    files.abort(NOW).unwrap();
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 2);
    let empty = Place::empty();
    let error = empty.files.begin(&new, None, NOW, NOW).unwrap_err();
    assert!(matches!(error, AuthorityError::Missing { .. }), "{error}");
}

#[test]
fn beginning_anew_leaves_nothing_of_a_rotation() {
    let place = Place::with(&NewAuthority::default(), NOW);
    let new = NewAuthority::default();
    place.files.begin(&new, None, NOW, NOW).unwrap();
    place.files.finish(NOW).unwrap();
    place.files.begin(&new, None, NOW + DAY, NOW).unwrap();
    place
        .files
        .create(&new, None, Existing::Replace, NOW)
        .unwrap();
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 2);
}

#[test]
fn a_moment_that_cannot_be_read_is_no_moment() {
    let place = Place::with(&NewAuthority::default(), NOW);
    place
        .files
        .begin(&NewAuthority::default(), None, NOW + DAY, NOW)
        .unwrap();
    let path = place.path("ca.pem.next");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("Signs-from: 2026-11-19T"), "{text}");
    for wrong in ["", "Signs-from: soon\n"] {
        let (_, certificate) = text.split_once('\n').unwrap();
        fs::write(&path, format!("{wrong}{certificate}")).unwrap();
        let error = place.files.load(None, NOW).unwrap_err().to_string();
        assert!(error.contains("says not when it signs"), "{error}");
    }
}

#[test]
fn what_is_exported_holds_both() {
    let place = Place::with(&NewAuthority::default(), NOW);
    place
        .files
        .begin(&NewAuthority::default(), None, NOW + DAY, NOW)
        .unwrap();
    let known = place.files.certificates().unwrap();
    let anchors: Vec<_> = known
        .known(NOW)
        .iter()
        .map(|chain| chain.anchor())
        .collect();
    let pem = String::from_utf8(export(&anchors, Format::Pem).unwrap()).unwrap();
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(!pem.contains("KEY"));
}
