//! The laws of dates, over random ones.

use proptest::prelude::*;
use sluice_mint::{
    Clock as _, Faults, Fingerprint, MintError, Minter, MinterOptions, NewAuthority, Origin,
    OriginCertificate, PresentedName,
};
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::help::{DAY, Place, Turned, YEAR, minter, origin, request};

const NOW: i64 = 1_795_000_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_leaf_never_outlasts_what_it_stands_for(
        from in -3 * YEAR..YEAR,
        length in 1..4 * YEAR,
        validity in 3600..60 * DAY,
        backdate in 0..10 * DAY,
        ca_age in 0..4 * YEAR,
        ca_days in 1_i64..3650,
    ) {
        let made = NOW - ca_age;
        let seconds = |seconds: i64| Duration::from_secs(seconds.try_into().unwrap());
        let new = NewAuthority { validity: seconds(ca_days * DAY), ..NewAuthority::default() };
        let place = Place::with(&new, made);
        let authorities = place.files.load(None, made).unwrap();
        let clock = Turned::new(NOW);
        let options = MinterOptions {
            validity: seconds(validity),
            backdate: seconds(backdate),
            ..MinterOptions::default()
        };
        let minter = Minter::new(authorities, &options, clock).unwrap();
        let (ca_from, ca_to) = (made - DAY, made + ca_days * DAY);
        let certificate = OriginCertificate {
            fingerprint: Fingerprint::of(b"origin"),
            not_before: NOW + from,
            not_after: NOW + from + length,
        };
        match minter.leaf(&request("a.example", Origin::Accepted(certificate))) {
            Ok(leaf) => {
                let (_, parsed) = X509Certificate::from_der(&leaf.certified.cert[0]).unwrap();
                let begin = parsed.validity().not_before.timestamp();
                let end = parsed.validity().not_after.timestamp();
                prop_assert_eq!((begin, end), (leaf.not_before, leaf.not_after));
                let latest = certificate.not_after.min(ca_to).min(NOW + validity);
                prop_assert_eq!(end, latest);
                let earliest = certificate.not_before.max(ca_from).max(NOW - backdate);
                prop_assert_eq!(begin, earliest);
                prop_assert!(begin <= NOW && NOW < end && leaf.trusted);
            }
            Err(MintError::AuthorityExpired { at }) => prop_assert!(at == ca_to && ca_to <= NOW),
            Err(MintError::OriginNotValid { .. }) => {
                prop_assert!(certificate.not_after <= NOW || NOW < certificate.not_before);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn a_leaf_for_what_is_not_in_order_is_never_in_order(
        from in -3 * YEAR..YEAR,
        length in -YEAR..4 * YEAR,
        bits in 1_u8..16,
        covered in any::<bool>(),
    ) {
        let clock = Turned::new(NOW);
        let minter = minter(&clock, &MinterOptions::default());
        let all = [Faults::EXPIRED, Faults::NOT_YET_VALID, Faults::NAME_MISMATCH, Faults::UNTRUSTED];
        let chosen = all.into_iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0);
        let faults = chosen.fold(Faults::NONE, |faults, (_, fault)| faults.with(fault));
        let names = if covered { ["b.example", "*.example"] } else { ["b.example", "*.c.example"] };
        let certificate = OriginCertificate {
            fingerprint: Fingerprint::of(b"origin"),
            not_before: NOW + from,
            not_after: NOW + from + length,
        };
        let origin = Origin::Invalid {
            certificate,
            faults,
            names: names.map(|name| PresentedName::parse(name).unwrap()).to_vec(),
        };
        let leaf = minter.leaf(&request("a.example", origin)).unwrap();
        if leaf.trusted {
            let (_, parsed) = X509Certificate::from_der(&leaf.certified.cert[0]).unwrap();
            let san = parsed.subject_alternative_name().unwrap().unwrap();
            let text = format!("{:?}", san.value.general_names);
            let in_time = leaf.not_before <= NOW && NOW < leaf.not_after;
            let named = text.contains("a.example") || text.contains("\"*.example");
            prop_assert!(!in_time || !named, "{} {:?} {:?}", text, leaf, faults);
            prop_assert!(!faults.contain(Faults::UNTRUSTED));
            prop_assert!(leaf.not_after <= NOW + 7 * DAY);
            prop_assert!(leaf.not_after <= certificate.not_after);
            prop_assert!(leaf.not_before >= certificate.not_before);
        }
    }
}

#[test]
fn dates_beyond_all_calendars_are_no_danger() {
    let clock = Turned::new(NOW);
    let minter = minter(&clock, &MinterOptions::default());
    for (not_before, not_after) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (0, 0)] {
        let certificate = OriginCertificate {
            fingerprint: Fingerprint::of(&not_before.to_be_bytes()),
            not_before,
            not_after,
        };
        for faults in [Faults::EXPIRED, Faults::NOT_YET_VALID, Faults::UNTRUSTED] {
            let origin = Origin::Invalid {
                certificate,
                faults,
                names: vec![],
            };
            let leaf = minter.leaf(&request("a.example", origin)).unwrap();
            assert!(
                !leaf.trusted || leaf.not_after <= NOW,
                "{leaf:?} {faults:?}"
            );
        }
        let accepted = minter.leaf(&request("a.example", Origin::Accepted(certificate)));
        assert_eq!(accepted.is_ok(), not_before == i64::MIN, "{accepted:?}");
    }
}

#[test]
fn e8_a_clock_that_is_turned_gives_no_leaf_that_is_not_valid() {
    let start = NOW;
    let clock = Turned::new(start);
    let minter = minter(&clock, &MinterOptions::default());
    let certificate = origin(start, -800, 800);
    let wish = request("a.example", Origin::Accepted(certificate));
    let first = minter.leaf(&wish).unwrap();
    for turned in [
        DAY,
        -DAY,
        YEAR,
        -YEAR,
        0,
        7 * DAY - 3599,
        30 * YEAR,
        i64::MAX / 2,
        -start,
    ] {
        clock.set(start + turned);
        match minter.leaf(&wish) {
            Ok(leaf) => {
                let now = clock.unix();
                assert!(
                    leaf.not_before <= now && now < leaf.not_after,
                    "{turned}: {leaf:?}"
                );
                assert!(leaf.not_after <= now + 7 * DAY, "{turned}: {leaf:?}");
            }
            // The authority was made a moment before the start.
            Err(MintError::AuthorityNotYetValid { .. }) => assert!(turned < -DAY),
            Err(MintError::AuthorityExpired { .. } | MintError::OriginNotValid { .. }) => {
                assert!(turned > YEAR, "{turned}");
            }
            Err(other) => panic!("{turned}: {other}"),
        }
    }
    clock.set(start + 1);
    let again = minter.leaf(&wish).unwrap();
    assert!(again.not_after >= first.not_after);
}

#[test]
fn e8_a_process_starts_under_any_clock() {
    let place = Place::with(&NewAuthority::default(), NOW);
    for turned in [-YEAR, -2 * DAY, 20 * YEAR] {
        let now = NOW + turned;
        let error = place.files.load(None, now).unwrap_err().to_string();
        let word = if turned < 0 {
            "not valid before"
        } else {
            "expired at"
        };
        assert!(error.contains(word), "{error}");
    }
    for turned in [-DAY, DAY, YEAR] {
        let now = NOW + turned;
        let authorities = place.files.load(None, now).unwrap();
        let clock = Turned::new(now);
        let minter = Minter::new(authorities, &MinterOptions::default(), clock).unwrap();
        assert!(minter.leaf(&request("a.example", Origin::Gateway)).is_ok());
    }
}
