//! What a reload keeps of leaves, sessions and probes, and what makes it begin anew.

use std::fs;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sluice_mint::{AuthorityFiles, Existing, NewAuthority};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::Pki;
use crate::lab::{INSPECT, Lab, shown};

/// The serial number of the leaf that a client is shown.
fn serial(lab: &Lab) -> Vec<u8> {
    let leaf = shown(&lab.run(lab.trusting_gateway().connect(lab)).unwrap());
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    leaf.raw_serial().to_vec()
}

fn change(lab: &Lab, from: &str, to: &str) {
    let file = lab.folder.path().join("sluice.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).unwrap();
}

fn files(lab: &Lab) -> AuthorityFiles {
    lab.config.ca.as_ref().unwrap().files.clone()
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().try_into().unwrap()
}

#[test]
fn a_reload_of_rules_alone_keeps_leaves_sessions_and_probes() {
    let mut lab = Lab::new(INSPECT);
    let before = serial(&lab);
    let old = lab.shared.current.get();
    change(&lab, "let it through", "let it pass");
    lab.reload().unwrap();
    assert_eq!(lab.shared.current.number(), 2);
    assert_eq!(serial(&lab), before);
    let new = lab.shared.current.get();
    let same = |one: &Option<Arc<_>>, other: &Option<Arc<_>>| {
        Arc::ptr_eq(one.as_ref().unwrap(), other.as_ref().unwrap())
    };
    assert!(same(&old.means.origins, &new.means.origins));
    let probes =
        |means: &sluice_gateway::intercept::Means| Arc::as_ptr(means.probes.as_ref().unwrap());
    assert_eq!(probes(&old.means), probes(&new.means));
    let counts = new.means.leaves.as_ref().unwrap().minter.counts();
    assert_eq!((counts.minted, counts.hits), (1, 1));
}

#[test]
fn another_ca_makes_other_leaves() {
    let mut lab = Lab::new(INSPECT);
    let first = serial(&lab);
    // The next authority signs only from tomorrow on, and is known from here on.
    let tomorrow = now() + 86_400;
    files(&lab)
        .begin(&NewAuthority::default(), None, tomorrow, now())
        .unwrap();
    lab.reload().unwrap();
    let second = serial(&lab);
    assert_ne!(second, first);
    change(&lab, "[ca]\n", "[ca]\nleaf_validity = \"2d\"\n");
    lab.reload().unwrap();
    let third = serial(&lab);
    assert_ne!(third, second);

    files(&lab).abort(now()).unwrap();
    let chain = files(&lab)
        .create(&NewAuthority::default(), None, Existing::Replace, now())
        .unwrap();
    lab.reload().unwrap();
    let error = lab.run(lab.trusting_gateway().connect(&lab)).unwrap_err();
    assert!(
        error.to_string().contains("UnknownIssuer") || error.to_string().contains("BadSignature"),
        "{error}"
    );
    lab.ca = chain.signing().der().clone();
    assert_ne!(serial(&lab), third);
}

#[test]
fn other_roots_are_not_met_by_old_sessions_and_probes() {
    let mut lab = Lab::new(INSPECT);
    serial(&lab);
    let old = lab.shared.current.get();
    // The same name, and other roots in it.
    let pem = Pki::new("others").pem;
    fs::write(lab.folder.path().join("root.pem"), pem).unwrap();
    lab.reload().unwrap();
    let new = lab.shared.current.get();
    let (before, after) = (old.means.origins.as_ref(), new.means.origins.as_ref());
    assert!(!Arc::ptr_eq(before.unwrap(), after.unwrap()));
    let (before, after) = (old.means.probes.as_ref(), new.means.probes.as_ref());
    assert!(!Arc::ptr_eq(before.unwrap(), after.unwrap()));
    // The origin is not trusted now, and who trusts the gateway sees that.
    let error = lab.run(lab.trusting_gateway().connect(&lab)).unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    // The CA is the old one, and so are its leaves.
    let (before, after) = (old.means.leaves.as_ref(), new.means.leaves.as_ref());
    assert!(Arc::ptr_eq(before.unwrap(), after.unwrap()));
}

#[test]
fn a_ca_that_cannot_be_used_keeps_the_old_generation() {
    let mut lab = Lab::new(INSPECT);
    let before = serial(&lab);
    let key = lab.folder.path().join("ca.key");
    let kept = lab.folder.path().join("kept.key");
    fs::rename(&key, &kept).unwrap();
    let error = format!("{:#}", lab.reload().unwrap_err());
    assert!(error.starts_with("[ca]: "), "{error}");
    assert!(error.contains(&key.display().to_string()), "{error}");
    assert_eq!(lab.shared.current.number(), 1);
    assert_eq!(serial(&lab), before);
    fs::rename(&kept, &key).unwrap();
    lab.reload().unwrap();
    assert_eq!(lab.shared.current.number(), 2);
    assert_eq!(serial(&lab), before);
}
