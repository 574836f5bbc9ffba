//! What clients are given.

use sluice_mint::{ExportError, Format, NewAuthority, export};

use crate::help::Place;

const NOW: i64 = 1_795_000_000;

#[test]
fn one_certificate_is_written_in_every_format() {
    let new = NewAuthority {
        common_name: Some("Tom & <Jerry>".into()),
        ..NewAuthority::default()
    };
    let chain = Place::with(&new, NOW).files.certificates().unwrap().current;
    let ca = chain.anchor();
    let pem = export(&[ca], Format::Pem).unwrap();
    assert!(pem.starts_with(b"-----BEGIN CERTIFICATE-----\n"));
    assert!(pem.ends_with(b"-----END CERTIFICATE-----\n"));
    assert_eq!(export(&[ca], Format::Der).unwrap(), ca.der().as_ref());

    let profile = String::from_utf8(export(&[ca], Format::MobileConfig).unwrap()).unwrap();
    assert!(
        profile.contains("<string>CN=Tom &amp; &lt;Jerry&gt;</string>"),
        "{profile}"
    );
    assert!(profile.contains("<string>com.apple.security.root</string>"));
    let data = profile
        .split("<data>")
        .nth(1)
        .unwrap()
        .split("</data>")
        .next()
        .unwrap();
    let inside: String = data.split_whitespace().collect();
    let pem = ca.pem();
    let expected: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert_eq!(inside, expected);
    let again = export(&[ca], Format::MobileConfig).unwrap();
    assert_eq!(again, profile.as_bytes(), "a profile replaces itself");
}

#[test]
fn several_certificates_have_identifiers_of_their_own() {
    let one = Place::with(&NewAuthority::default(), NOW)
        .files
        .certificates()
        .unwrap();
    let two = Place::with(&NewAuthority::default(), NOW)
        .files
        .certificates()
        .unwrap();
    let both = [one.current.anchor(), two.current.anchor()];
    let profile = String::from_utf8(export(&both, Format::MobileConfig).unwrap()).unwrap();
    let uuids: Vec<_> = profile
        .split("<key>PayloadUUID</key>")
        .skip(1)
        .map(|rest| {
            rest.split("<string>")
                .nth(1)
                .unwrap()
                .split('<')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(uuids.len(), 3);
    for (index, uuid) in uuids.iter().enumerate() {
        assert!(!uuids[..index].contains(uuid));
        // RFC 9562 section 5.8.
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "8"), "{uuid}");
    }
    assert_eq!(export(&both, Format::Der), Err(ExportError::OneOnly(2)));
}
