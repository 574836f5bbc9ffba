//! Certificates that were revoked, or of which nobody knows.

use rcgen::KeyPair;
use rustls::version::{TLS12, TLS13};
use sluice_gateway::origin::{
    Origins, Report, Revocation, RevocationMode, Settings, SettingsError, Unknown,
};

use crate::pki::*;
use crate::served::{Served, meet_as, settings, words};

struct World {
    root: Authority,
    issuer: Authority,
    key: KeyPair,
    folder: tempfile::TempDir,
    settings: Settings,
}

impl World {
    fn new(mode: RevocationMode, unknown: Unknown) -> Self {
        let root = Authority::root("root");
        let issuer = root.below("issuer", |_| {});
        let (mut settings, folder) = settings(&[&root.certificate]);
        settings.revocation = mode;
        settings.unknown = unknown;
        Self {
            root,
            issuer,
            key: key(),
            folder,
            settings,
        }
    }

    /// Adds a revocation list.
    fn list(&mut self, name: &str, list: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::write(&path, list).unwrap();
        self.settings.crls.push(path);
    }

    async fn meet(&self, draft: Draft, staple: Option<Vec<u8>>) -> Report {
        let leaf = draft.sign(&self.issuer.key);
        let mut served = Served::new(&[&leaf, &self.issuer.certificate], &self.key);
        served.staple = staple;
        let origins = Origins::new(&self.settings).unwrap();
        meet_as(&origins, served, Some(NAME), now()).await.unwrap()
    }

    async fn found(&self, staple: Option<Vec<u8>>) -> (Revocation, Vec<&'static str>) {
        let report = self.meet(self.issuer.leaf(&self.key), staple).await;
        (report.certificate.revocation, words(&report.certificate))
    }
}

const UNKNOWN: (Revocation, &[&str]) = (Revocation::Unknown, &["revocation-unknown"]);
const FINE: (Revocation, &[&str]) = (Revocation::Good, &[]);
const REVOKED_FOUND: (Revocation, &[&str]) = (Revocation::Revoked, &["revoked"]);

fn same(found: &(Revocation, Vec<&'static str>), expected: (Revocation, &[&str]), what: &str) {
    assert_eq!((found.0, &found.1[..]), expected, "{what}");
}

#[tokio::test]
async fn d4_a_staple_says_it() {
    let world = World::new(RevocationMode::Staple, Unknown::Refuse);
    let by_issuer = |said: Said| Some(said.signed(&world.issuer, &world.issuer.key, &[]));
    let good = Said::of(GOOD);
    let revoked = Said::of(REVOKED);
    same(&world.found(by_issuer(good)).await, FINE, "good");
    same(
        &world.found(by_issuer(revoked)).await,
        REVOKED_FOUND,
        "revoked",
    );
    for (what, staple) in [
        ("none", None),
        ("unknown", by_issuer(Said::of((0x82, &[])))),
        (
            "another certificate's",
            by_issuer(Said { serial: 8, ..good }),
        ),
        (
            "too old",
            by_issuer(Said {
                next: Some(NOW - DAY / 2),
                ..good
            }),
        ),
        ("without an end", by_issuer(Said { next: None, ..good })),
        (
            "of tomorrow",
            by_issuer(Said {
                this: NOW + DAY,
                next: Some(NOW + 2 * DAY),
                ..good
            }),
        ),
        (
            "another issuer's",
            Some(good.signed(&world.root, &world.issuer.key, &[])),
        ),
        ("noise", Some(b"noise".to_vec())),
        (
            "cut",
            by_issuer(good).map(|bytes| bytes[..bytes.len() - 1].to_vec()),
        ),
        (
            "signed by a stranger",
            Some(good.signed(&world.issuer, &key(), &[])),
        ),
        (
            "revoked by a stranger",
            Some(revoked.signed(&world.issuer, &key(), &[])),
        ),
    ] {
        same(&world.found(staple).await, UNKNOWN, what);
    }
    // Clocks differ a little.
    let skewed = by_issuer(Said {
        this: NOW + 60,
        ..good
    });
    same(&world.found(skewed).await, FINE, "a minute ahead");
}

#[tokio::test]
async fn d4_a_staple_is_believed_of_who_was_named_for_it() {
    let world = World::new(RevocationMode::Staple, Unknown::Refuse);
    let responder = key();
    let delegate = |change: &dyn Fn(&mut Draft), signer: &KeyPair| {
        let mut draft = world.issuer.leaf(&responder);
        draft.extensions = vec![usages(&[OCSP_SIGNING])];
        change(&mut draft);
        draft.sign(signer)
    };
    let named = delegate(&|_| {}, &world.issuer.key);
    let for_servers = delegate(
        &|d| d.extensions = vec![usages(&[SERVER_AUTH])],
        &world.issuer.key,
    );
    let expired = delegate(
        &|d| d.validity = (NOW - 9 * DAY, NOW - DAY),
        &world.issuer.key,
    );
    let forged = delegate(&|_| {}, &responder);
    for (what, certificate, expected) in [
        ("named", &named, FINE),
        ("a server's", &for_servers, UNKNOWN),
        ("expired", &expired, UNKNOWN),
        ("named by itself", &forged, UNKNOWN),
    ] {
        let staple =
            Said::of(GOOD).signed(&world.issuer, &responder, std::slice::from_ref(certificate));
        same(&world.found(Some(staple)).await, expected, what);
    }
}

#[tokio::test]
async fn d4_unknown_means_what_is_set() {
    let accept = World::new(RevocationMode::Staple, Unknown::Accept);
    same(
        &accept.found(None).await,
        (Revocation::Unknown, &[]),
        "accepted",
    );
    let off = World::new(RevocationMode::Off, Unknown::Refuse);
    let staple = Said::of(REVOKED).signed(&off.issuer, &off.issuer.key, &[]);
    same(
        &off.found(Some(staple)).await,
        (Revocation::NotChecked, &[]),
        "off",
    );
}

#[tokio::test]
async fn d4_who_demands_a_staple_has_to_bring_one() {
    let world = World::new(RevocationMode::Staple, Unknown::Accept);
    let feature = extension(EXT_TLS_FEATURE, false, &seq(&[tlv(0x02, &[5])]));
    let draft = || world.issuer.leaf(&world.key).with(feature.clone());
    let without = world.meet(draft(), None).await;
    assert_eq!(words(&without.certificate), ["revocation-unknown"]);
    assert!(!without.negotiated.stapled);
    let staple = Said::of(GOOD).signed(&world.issuer, &world.issuer.key, &[]);
    let with = world.meet(draft(), Some(staple)).await;
    assert_eq!(words(&with.certificate), [""; 0]);
    assert!(with.negotiated.stapled);
    // Another feature demands nothing.
    let other = extension(EXT_TLS_FEATURE, false, &seq(&[tlv(0x02, &[17])]));
    let report = world
        .meet(world.issuer.leaf(&world.key).with(other), None)
        .await;
    assert!(report.is_valid());
}

#[tokio::test]
async fn d4_lists_say_it() {
    let (old, new) = (NOW - DAY, NOW + DAY);
    for (what, issuers, roots, expected) in [
        (
            "good",
            (&[8][..], old, new),
            Some((&[][..], old, new)),
            FINE,
        ),
        (
            "revoked",
            (&[7], old, new),
            Some((&[], old, new)),
            REVOKED_FOUND,
        ),
        (
            "the issuer revoked",
            (&[8], old, new),
            Some((&[1], old, new)),
            REVOKED_FOUND,
        ),
        (
            "out of date",
            (&[8], old - DAY, old),
            Some((&[], old, new)),
            UNKNOWN,
        ),
        ("none of the root", (&[8], old, new), None, UNKNOWN),
        (
            "revoked, and none of the root",
            (&[7], old, new),
            None,
            REVOKED_FOUND,
        ),
        (
            "revoked, and out of date",
            (&[7], old - DAY, old),
            Some((&[], old, new)),
            REVOKED_FOUND,
        ),
    ] {
        let mut world = World::new(RevocationMode::Crl, Unknown::Refuse);
        let (serials, this, next) = issuers;
        world.list("issuer.crl", &world.issuer.revokes(serials, this, next));
        if let Some((serials, this, next)) = roots {
            world.list("root.crl", &world.root.revokes(serials, this, next));
        }
        same(&world.found(None).await, expected, what);
    }
}

#[tokio::test]
async fn d4_lists_and_staples_together() {
    let mut world = World::new(RevocationMode::Crl, Unknown::Refuse);
    world.list("root.crl", &world.root.revokes(&[], NOW - DAY, NOW + DAY));
    let staple = |said: Said| Some(said.signed(&world.issuer, &world.issuer.key, &[]));
    // The staple speaks for the leaf where its issuer has no list.
    same(&world.found(staple(Said::of(GOOD))).await, FINE, "stapled");
    same(
        &world.found(staple(Said::of(REVOKED))).await,
        REVOKED_FOUND,
        "revoked",
    );
    same(&world.found(None).await, UNKNOWN, "neither");
    // A list forged by somebody else is not one.
    let namesake = Authority::root("issuer");
    let forged = Authority {
        name: world.issuer.name.clone(),
        ..namesake
    };
    world.list("forged.crl", &forged.revokes(&[], NOW - DAY, NOW + DAY));
    same(&world.found(None).await, UNKNOWN, "forged");
}

#[tokio::test]
async fn d4_expired_and_revoked_is_both() {
    let mut world = World::new(RevocationMode::Crl, Unknown::Refuse);
    world.list("root.crl", &world.root.revokes(&[], NOW - DAY, NOW + DAY));
    world.list(
        "issuer.crl",
        &world.issuer.revokes(&[7], NOW - DAY, NOW + DAY),
    );
    let draft = world
        .issuer
        .leaf(&world.key)
        .valid(NOW - 9 * DAY, NOW - 2 * DAY);
    let report = world.meet(draft, None).await;
    assert_eq!(words(&report.certificate), ["expired", "revoked"]);
}

#[tokio::test]
async fn staples_are_seen_in_both_versions() {
    let world = World::new(RevocationMode::Staple, Unknown::Refuse);
    let leaf = world.issuer.leaf(&world.key).sign(&world.issuer.key);
    let origins = Origins::new(&world.settings).unwrap();
    for version in [&TLS12, &TLS13] {
        let mut served = Served::new(&[&leaf, &world.issuer.certificate], &world.key).only(version);
        served.staple = Some(Said::of(GOOD).signed(&world.issuer, &world.issuer.key, &[]));
        let report = meet_as(&origins, served, Some(NAME), now()).await.unwrap();
        assert!(report.negotiated.stapled && report.is_valid());
    }
}

#[test]
fn what_is_wrong_with_settings_is_told_with_its_place() {
    let world = World::new(RevocationMode::Crl, Unknown::Refuse);
    let error = |change: &dyn Fn(&mut Settings)| {
        let mut settings = world.settings.clone();
        change(&mut settings);
        Origins::new(&settings).unwrap_err()
    };
    assert!(matches!(error(&|_| {}), SettingsError::NoCrls));
    let file = |name: &str, bytes: &[u8]| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let missing = world.folder.path().join("missing");
    let noise = file("noise", b"noise");
    let broken = file("broken", &[0x30, 1, 0]);
    let own = file("root.crl", &world.root.revokes(&[], NOW - DAY, NOW + DAY));
    for path in [&missing, &noise, &broken] {
        let shown = path.display().to_string();
        let list = error(&|settings| settings.crls = vec![path.clone()]).to_string();
        assert!(list.starts_with(&shown), "{list}");
        let root = error(&|settings| {
            settings.crls = vec![own.clone()];
            settings.roots = vec![path.clone()];
        });
        assert!(root.to_string().starts_with(&shown), "{root}");
    }
    let ours = error(&|settings| {
        settings.crls = vec![own.clone()];
        settings.own = vec![b"noise".to_vec().into()];
    });
    assert!(matches!(ours, SettingsError::Own));
}

#[test]
fn roots_are_read_from_pem_as_well() {
    let key = key();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roots.pem");
    std::fs::write(&path, format!("Two roots\n{pem}\n{pem}")).unwrap();
    let settings = Settings {
        system_roots: false,
        roots: vec![path],
        ..Settings::default()
    };
    Origins::new(&settings).unwrap();
}
