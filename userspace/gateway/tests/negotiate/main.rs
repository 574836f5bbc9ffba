//! Kerberos tickets of a real KDC, shown by curl.
//!
//! `cargo xtask test kerberos` runs this: it needs programs and headers that nothing else does.
#![cfg(test)]

mod kdc;

use std::{env, fs, path::Path};

use kdc::{Place, REALM, make_readable};
use sluice_gateway::identity::negotiate::{
    Accepted, Negotiate, NegotiateError, Settings, TOKEN_LIMIT,
};

/// Names the folder of the KDC to the process that has its environment.
const PLACE: &str = "SLUICE_TEST_KDC";
const SERVICE: &str = "HTTP@proxy.sluice.test";
const HOST: &str = "proxy.sluice.test";

fn settings(place: &Place, realm: &str, strip_realm: bool) -> Settings {
    let keytab = place.file("http.keytab");
    Settings::new(Path::new(&keytab), SERVICE, realm, strip_realm).unwrap()
}

fn accept(negotiate: &Negotiate, token: &[u8]) -> Result<Accepted, NegotiateError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(negotiate.accept(token))
}

#[track_caller]
fn assert_refused(accepted: &Result<Accepted, NegotiateError>) {
    assert!(
        matches!(accepted, Err(NegotiateError::Refused(_))),
        "{accepted:?}"
    );
}

#[track_caller]
fn unavailable(settings: Settings) -> String {
    match Negotiate::new(settings) {
        Err(NegotiateError::Unavailable(message)) => message,
        other => panic!("{other:?}"),
    }
}

/// The library reads its environment, and a process that has threads cannot change its own: the test
/// runs itself in another one.
#[test]
fn tickets_of_the_realm_are_accepted_once_and_nothing_else() {
    if let Some(place) = env::var_os(PLACE) {
        return all(&Place(place.into()));
    }
    let folder = tempfile::tempdir().unwrap();
    let place = Place(folder.path().to_owned());
    let _kdc = place.start();
    let own = env::current_exe().unwrap();
    let name = "tickets_of_the_realm_are_accepted_once_and_nothing_else";
    let status = place
        .command(own.to_str().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(PLACE, &place.0)
        .status()
        .unwrap();
    assert!(status.success());
}

fn all(place: &Place) {
    let negotiate = Negotiate::new(settings(place, REALM, true)).unwrap();
    let token = place.token(HOST, "tickets").unwrap();
    let accepted = accept(&negotiate, &token).unwrap();
    assert_eq!(&*accepted.user, "alice");
    // The gateway shows in return that it has the key.
    assert!(accepted.answer.is_some_and(|answer| !answer.is_empty()));

    // Whoever overheard it cannot show it again.
    assert_refused(&accept(&negotiate, &token));
    // Bytes that are changed, in steps that hit every part of it, make nobody else of alice. Names
    // outside of the encrypted part may be changed; that is worth a single try all the same.
    let token = place.token(HOST, "tickets").unwrap();
    let mut once = 0;
    for place in (0..token.len()).step_by(token.len() / 100) {
        let mut altered = token.clone();
        if let Some(byte) = altered.get_mut(place) {
            *byte ^= 0x20;
        }
        if let Ok(Accepted { user, .. }) = accept(&negotiate, &altered) {
            assert_eq!(&*user, "alice", "byte {place}");
            once += 1;
        }
    }
    assert!(once <= 1, "{once} altered tokens are accepted");
    assert_eq!(accept(&negotiate, &token).is_ok(), once == 0);
    let token = place.token(HOST, "tickets").unwrap();
    for cut in [0, 1, 16, token.len() / 2, token.len() - 1] {
        let part = token.get(..cut).unwrap();
        assert!(accept(&negotiate, part).is_err(), "{cut} bytes");
    }

    // For another service, of no Kerberos, of nothing, and of too much.
    let other = place.token("other.sluice.test", "tickets").unwrap();
    assert_refused(&accept(&negotiate, &other));
    assert_refused(&accept(&negotiate, b"NTLMSSP\0\x01\0\0\0\x07\x82\x08\xa2"));
    assert_refused(&accept(&negotiate, b""));
    assert_refused(&accept(&negotiate, &[0x60; 1000]));
    assert_refused(&accept(&negotiate, &vec![0; TOKEN_LIMIT + 1]));
    // SPNEGO that names Kerberos and brings no ticket yet (RFC 4178 section 4.2.1).
    let first = b"\x60\x1b\x06\x06\x2b\x06\x01\x05\x05\x02\xa0\x11\x30\x0f\xa0\x0d\x30\x0b\
                  \x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
    assert_eq!(accept(&negotiate, first), Err(NegotiateError::Continues));
    // Who has no ticket has nothing to show.
    assert_eq!(place.token(HOST, "no tickets"), None);

    let whole = Negotiate::new(settings(place, REALM, false)).unwrap();
    let token = place.token(HOST, "tickets").unwrap();
    assert_eq!(&*accept(&whole, &token).unwrap().user, "alice@SLUICE.TEST");
    let elsewhere = Negotiate::new(settings(place, "OTHER.TEST", true)).unwrap();
    let token = place.token(HOST, "tickets").unwrap();
    let foreign = NegotiateError::Foreign {
        principal: "alice@SLUICE.TEST".into(),
        realm: "OTHER.TEST".into(),
    };
    assert_eq!(accept(&elsewhere, &token), Err(foreign));

    // What cannot work is told before anybody asks.
    let keytab = place.0.join("http.keytab");
    let mut wrong = settings(place, REALM, true);
    wrong.service = "HTTP@other.sluice.test".into();
    let told = unavailable(wrong);
    assert!(
        told.starts_with("no key of HTTP@other.sluice.test in "),
        "{told}"
    );
    let mut wrong = settings(place, REALM, true);
    wrong.keytab = place.0.join("alice.keytab");
    let told = unavailable(wrong);
    assert!(told.contains("KRB5_KTNAME=FILE:"), "{told}");
    make_readable(&keytab, 0o644);
    let told = unavailable(settings(place, REALM, true));
    assert!(told.contains("everybody's to read"), "{told}");
    fs::remove_file(&keytab).unwrap();
    let told = unavailable(settings(place, REALM, true));
    assert!(told.contains("No such file"), "{told}");
}
