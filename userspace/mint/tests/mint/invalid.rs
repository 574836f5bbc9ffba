//! Leaves for origins that are not in order: refused by clients too, and for the same reason where
//! that is possible.

use sluice_mint::{
    Faults, Leaf, MintError, Minter, MinterOptions, NewAuthority, Origin, OriginCertificate,
    PresentedName,
};

use crate::help::{DAY, Place, Turned, minter, ordinary, origin, real_now, request, tool};

const NOW: i64 = 1_795_000_000;

fn invalid(certificate: OriginCertificate, faults: Faults, names: &[&str]) -> Origin {
    Origin::Invalid {
        certificate,
        faults,
        names: names
            .iter()
            .map(|name| PresentedName::parse(name).unwrap())
            .collect(),
    }
}

/// What openssl says of a leaf for `a.example`.
fn judged(place: &Place, leaf: &Leaf) -> String {
    let path = place.path("leaf.der");
    std::fs::write(&path, &leaf.certified.cert[0]).unwrap();
    let (path, anchor) = (
        path.display().to_string(),
        place.files.certificate.display().to_string(),
    );
    let (good, said) = tool(
        "openssl",
        &[
            "verify",
            "-x509_strict",
            "-CAfile",
            &anchor,
            "-verify_hostname",
            "a.example",
            &path,
        ],
    );
    assert!(!good, "{said}");
    said
}

#[test]
fn a_client_sees_the_fault_of_the_origin() {
    let now = real_now();
    let place = Place::with(&NewAuthority::default(), now);
    let clock = Turned::new(now);
    let minter = Minter::new(place.load(now), &MinterOptions::default(), clock).unwrap();
    let (valid, names) = (origin(now, -9, 9), ["b.example", "*.c.example"]);
    for (certificate, faults, trusted, word) in [
        (
            origin(now, -9, -2),
            Faults::EXPIRED,
            true,
            "certificate has expired",
        ),
        (
            origin(now, 2, 90),
            Faults::NOT_YET_VALID,
            true,
            "certificate is not yet valid",
        ),
        (valid, Faults::NAME_MISMATCH, true, "hostname mismatch"),
        (
            valid,
            Faults::UNTRUSTED,
            false,
            "unable to get local issuer certificate",
        ),
        (
            origin(now, -9, -2),
            Faults::EXPIRED.with(Faults::NAME_MISMATCH),
            true,
            "hostname mismatch",
        ),
    ] {
        let wish = request("a.example", invalid(certificate, faults, &names));
        let leaf = minter.leaf(&wish).unwrap();
        assert_eq!(leaf.trusted, trusted, "{faults:?}");
        let said = judged(&place, &leaf);
        assert!(said.contains(word), "{faults:?}: {said}");
    }
}

#[test]
fn what_would_be_accepted_is_signed_by_nobody_who_is_trusted() {
    let clock = Turned::new(NOW);
    let minter = minter(&clock, &MinterOptions::default());
    let valid = origin(NOW, -9, 9);
    for (why, wish) in [
        ("no fault is named", invalid(valid, Faults::NONE, &[])),
        ("not expired", invalid(valid, Faults::EXPIRED, &[])),
        ("valid already", invalid(valid, Faults::NOT_YET_VALID, &[])),
        (
            "the name fits",
            invalid(valid, Faults::NAME_MISMATCH, &["*.example"]),
        ),
        ("no names", invalid(valid, Faults::NAME_MISMATCH, &[])),
        (
            "too far ahead",
            invalid(origin(NOW, 9, 90), Faults::NOT_YET_VALID, &[]),
        ),
    ] {
        let leaf = minter.leaf(&request("a.example", wish)).unwrap();
        assert!(!leaf.trusted, "{why}");
        assert_eq!(leaf.certified.cert.len(), 1);
    }
}

#[test]
fn a_leaf_of_the_future_is_not_kept_until_then() {
    let clock = Turned::new(NOW);
    let minter = minter(&clock, &MinterOptions::default());
    let certificate = origin(NOW, 1, 90);
    let wish = request(
        "a.example",
        invalid(certificate, Faults::NOT_YET_VALID, &[]),
    );
    let leaf = minter.leaf(&wish).unwrap();
    assert!(leaf.trusted && leaf.not_before == NOW + DAY);
    clock.set(NOW + DAY);
    assert!(!minter.leaf(&wish).unwrap().trusted);
}

#[test]
fn an_expired_leaf_is_not_kept_when_the_clock_goes_back() {
    let clock = Turned::new(NOW);
    let minter = minter(&clock, &MinterOptions::default());
    let wish = request(
        "a.example",
        invalid(origin(NOW, -9, -1), Faults::EXPIRED, &[]),
    );
    assert!(minter.leaf(&wish).unwrap().trusted);
    clock.set(NOW - DAY + 3);
    assert!(minter.leaf(&wish).unwrap().trusted);
    clock.set(NOW - DAY - 1);
    assert!(matches!(
        minter.leaf(&wish),
        Err(MintError::AuthorityNotYetValid { .. })
    ));
}

#[test]
fn names_outside_of_the_constraints_are_refused() {
    let new = NewAuthority {
        permitted: vec!["corp.example".into()],
        excluded: vec!["bank.corp.example".into()],
        ..NewAuthority::default()
    };
    let place = Place::with(&new, NOW);
    let clock = Turned::new(NOW);
    let minter = Minter::new(place.load(NOW), &MinterOptions::default(), clock).unwrap();
    assert!(ordinary(&minter, "www.corp.example", NOW).unwrap().trusted);
    for asked in [
        "corp.example.net",
        "x.bank.corp.example",
        "192.0.2.1",
        "2001:db8::1",
    ] {
        let refused = ordinary(&minter, asked, NOW).unwrap_err();
        let MintError::Constrained { name } = &refused else {
            panic!("{refused}");
        };
        assert_eq!(name, asked);
    }
    // Names of an origin are held against them as well.
    let faults = Faults::NAME_MISMATCH;
    let wish = invalid(origin(NOW, -9, 9), faults, &["elsewhere.example"]);
    assert!(
        !minter
            .leaf(&request("www.corp.example", wish))
            .unwrap()
            .trusted
    );
    let wish = invalid(origin(NOW, -9, 8), faults, &["a.corp.example"]);
    assert!(
        minter
            .leaf(&request("www.corp.example", wish))
            .unwrap()
            .trusted
    );
}
