//! Chains that are wrong, and exactly what is reported of them.

use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use sluice_gateway::origin::{Cause, KeyKind, Origins, Settings};
use sluice_policy::CertificateState;

use crate::pki::*;
use crate::served::{Served, World, faults_at, meet_as, settings, trusting, trusting_der, words};

#[tokio::test]
async fn a_right_chain_is_valid_and_told_of() {
    let world = World::new();
    let leaf = world.issuer.leaf(&world.key).sign(&world.issuer.key);
    for version in [&TLS12, &TLS13] {
        let served = Served::new(&[&leaf, &world.issuer.certificate], &world.key).only(version);
        let report = meet_as(&world.origins, served, Some(NAME), now())
            .await
            .unwrap();
        assert!(report.is_valid());
        assert!(
            report
                .certificate
                .states()
                .contains(CertificateState::Valid)
        );
        assert_eq!(report.negotiated.version, version.version);
        assert!(!report.negotiated.resumed);
        assert!(!report.negotiated.client_certificate_requested);
        assert_eq!(report.certificate.issuer(), Some("CN=issuer"));
        assert_eq!(report.certificate.chain.len(), 2);
        let told = report.certificate.leaf.unwrap();
        assert_eq!(told.subject, "CN=leaf");
        assert_eq!(told.names, [NAME]);
        assert_eq!(
            (told.not_before, told.not_after),
            (NOW - 15 * DAY, NOW + 15 * DAY)
        );
        assert_eq!(told.key, KeyKind::P256);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf);
        assert_eq!(told.fingerprint, digest.as_ref());
    }
}

#[tokio::test]
async fn d1_nobody_that_is_trusted_has_issued_it() {
    let world = World::new();
    let mut own = Draft::leaf(&common_name("leaf"), &world.key);
    let self_signed = own.sign(&world.key);
    assert_eq!(
        world.faults_of(&[&self_signed]).await,
        ["self-signed", "unknown-issuer"]
    );
    own.extensions.push(authority_constraints(None));
    let authority = own.sign(&world.key);
    assert_eq!(
        world.faults_of(&[&authority]).await,
        ["ca-as-leaf", "self-signed"]
    );

    let stranger = Authority::root("stranger");
    let leaf = stranger.leaf(&world.key).sign(&stranger.key);
    assert_eq!(
        world.faults_of(&[&leaf, &stranger.certificate]).await,
        ["unknown-issuer"]
    );

    let leaf = world.issuer.leaf(&world.key).sign(&world.issuer.key);
    assert_eq!(world.faults_of(&[&leaf]).await, ["unknown-issuer"]);
    // Order and repetition do not matter.
    let chain = [&leaf, &world.root.certificate, &world.issuer.certificate];
    assert_eq!(world.faults_of(&chain).await, [""; 0]);
    let twice = [&leaf, &world.issuer.certificate, &world.issuer.certificate];
    assert_eq!(world.faults_of(&twice).await, [""; 0]);
}

#[tokio::test]
async fn d1_a_broken_way_is_no_way_and_a_second_one_is() {
    let world = World::new();
    let stranger = Authority::root("stranger");
    // The same issuer, once by a stranger, once by a root that did not sign it.
    let crossed =
        Authority::draft(&stranger.name, &world.issuer.name, &world.issuer.key).sign(&stranger.key);
    let broken = Authority::draft(&world.root.name, &world.issuer.name, &world.issuer.key)
        .sign(&stranger.key);
    let leaf = world.issuer.leaf(&world.key).sign(&world.issuer.key);
    assert_eq!(
        world.faults_of(&[&leaf, &crossed, &broken]).await,
        ["bad-signature"]
    );
    let chain = [&leaf, &broken, &crossed, &world.issuer.certificate];
    assert_eq!(world.faults_of(&chain).await, [""; 0]);
    let forged = world.issuer.leaf(&world.key).sign(&stranger.key);
    assert_eq!(
        world.faults_of(&[&forged, &world.issuer.certificate]).await,
        ["bad-signature"]
    );
}

#[tokio::test]
async fn d2_not_in_its_time() {
    let world = World::new();
    let past = |draft: Draft| draft.valid(NOW - 20 * DAY, NOW - 1);
    let future = |draft: Draft| draft.valid(NOW + 1, NOW + 20 * DAY);
    assert_eq!(world.faults(past).await, ["expired"]);
    assert_eq!(world.faults(future).await, ["not-yet-valid"]);
    assert_eq!(world.faults(|draft| draft.valid(NOW, NOW)).await, [""; 0]);
    // One fault does not hide another.
    assert_eq!(
        world
            .faults(|draft| past(draft).names(&[dns(b"other.example")]))
            .await,
        ["expired", "name-mismatch"]
    );
    let stranger = Authority::root("stranger");
    let leaf = past(stranger.leaf(&world.key)).sign(&stranger.key);
    assert_eq!(
        world.faults_of(&[&leaf]).await,
        ["expired", "unknown-issuer"]
    );
    assert_eq!(
        world
            .faults(|draft| draft.valid(NOW + DAY, NOW - DAY))
            .await,
        ["expired", "malformed", "not-yet-valid"]
    );
}

#[tokio::test]
async fn d2_an_issuer_not_in_its_time() {
    let world = World::new();
    let old = world.root.below("old", |draft| {
        draft.validity = (NOW - 100 * DAY, NOW - 10 * DAY);
    });
    let leaf = old.leaf(&world.key).sign(&old.key);
    assert_eq!(
        world.faults_of(&[&leaf, &old.certificate]).await,
        ["expired"]
    );
    // It ended before the leaf began: at no time did anybody vouch for it.
    let ancient = world.root.below("ancient", |draft| {
        draft.validity = (NOW - 100 * DAY, NOW - 90 * DAY);
    });
    let leaf = ancient.leaf(&world.key).sign(&ancient.key);
    assert_eq!(
        world.faults_of(&[&leaf, &ancient.certificate]).await,
        ["expired", "unknown-issuer"]
    );
}

/// A certificate that is kept as a file.
macro_rules! kept {
    ($name:literal) => {
        CertificateDer::from(include_bytes!(concat!("data/", $name, ".der")).as_slice())
    };
}

#[tokio::test]
async fn d5_weak_signatures_and_keys_are_told_from_untrusted_ones() {
    let origins = trusting_der(&kept!("root"));
    let stranger = trusting(&Authority::root("stranger"));
    let served = |chain: &[CertificateDer<'static>]| {
        let mut served = Served::new(&[], &key());
        served.chain = chain.to_vec();
        let bytes = include_bytes!("data/leaf-key.der").to_vec();
        served.key = rustls::pki_types::PrivatePkcs8KeyDer::from(bytes).into();
        served
    };
    for (chain, trusted, untrusted) in [
        (
            &[kept!("sha1")][..],
            &["weak-signature"][..],
            &["unknown-issuer", "weak-signature"][..],
        ),
        (
            // Nobody here can tell whether such a signature is right.
            &[kept!("md5")],
            &["unsupported-signature", "weak-signature"],
            &["unknown-issuer", "weak-signature"],
        ),
        (
            &[kept!("underweak"), kept!("weak")],
            &["weak-key"],
            &["unknown-issuer", "weak-key"],
        ),
    ] {
        for (origins, expected) in [(&origins, trusted), (&stranger, untrusted)] {
            let report = meet_as(origins, served(chain), Some(NAME), now()).await;
            assert_eq!(words(&report.unwrap().certificate), expected);
        }
    }
}

#[tokio::test]
async fn d5_nothing_is_proved_with_a_weak_key() {
    let origins = trusting_der(&kept!("root"));
    let served = Served::new(&[&kept!("weakleaf")], &key());
    let failure = meet_as(&origins, served, Some(NAME), now())
        .await
        .unwrap_err();
    assert_eq!(failure.cause, Cause::BadProof);
    let certificate = failure.certificate.unwrap();
    assert_eq!(words(&certificate), ["weak-key"]);
    assert_eq!(certificate.leaf.unwrap().key, KeyKind::Rsa(1024));

    // On the curve of Bitcoin, which TLS has no name for.
    let world = World::new();
    let mut draft = world.issuer.leaf(&world.key);
    let mut point = vec![0, 4];
    point.extend([7; 64]);
    let curve = seq(&[
        oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]),
        oid(&[0x2b, 0x81, 4, 0, 10]),
    ]);
    draft.key = seq(&[curve, tlv(0x03, &point)]);
    let leaf = draft.sign(&world.issuer.key);
    let served = Served::new(&[&leaf, &world.issuer.certificate], &world.key);
    let failure = meet_as(&world.origins, served, Some(NAME), now()).await;
    let failure = failure.unwrap_err();
    assert_eq!(failure.cause, Cause::BadProof);
    assert_eq!(words(&failure.certificate.unwrap()), ["weak-key"]);
}

#[tokio::test]
async fn a_proof_by_another_key_is_none() {
    let world = World::new();
    let leaf = world.issuer.leaf(&world.key).sign(&world.issuer.key);
    for version in [&TLS12, &TLS13] {
        let served = Served::new(&[&leaf, &world.issuer.certificate], &key()).only(version);
        let failure = meet_as(&world.origins, served, Some(NAME), now()).await;
        assert_eq!(failure.unwrap_err().cause, Cause::BadProof);
    }
}

#[tokio::test]
async fn d6_not_for_this() {
    let world = World::new();
    assert_eq!(
        world
            .faults(|mut draft| {
                draft.extensions[1] = usages(&[CLIENT_AUTH]);
                draft
            })
            .await,
        ["wrong-purpose"]
    );
    assert_eq!(
        world
            .faults(|draft| draft.with(authority_constraints(None)))
            .await,
        ["ca-as-leaf"]
    );
    // An issuer without basic constraints, and one that is expressly none.
    for constraints in [None, Some(extension(EXT_BASIC, true, &seq(&[])))] {
        let none = world.root.below("no authority", |draft| {
            draft.extensions = constraints.clone().into_iter().collect();
        });
        let leaf = none.leaf(&world.key).sign(&none.key);
        assert_eq!(
            world.faults_of(&[&leaf, &none.certificate]).await,
            ["not-a-ca"]
        );
    }
    let last = world.root.below("last", |draft| {
        draft.extensions = vec![authority_constraints(Some(0))];
    });
    let more = last.below("one more", |_| {});
    let leaf = last.leaf(&world.key).sign(&last.key);
    assert_eq!(world.faults_of(&[&leaf, &last.certificate]).await, [""; 0]);
    let leaf = more.leaf(&world.key).sign(&more.key);
    assert_eq!(
        world
            .faults_of(&[&leaf, &more.certificate, &last.certificate])
            .await,
        ["path-too-long"]
    );
}

#[tokio::test]
async fn d7_a_critical_extension_that_nobody_knows() {
    let world = World::new();
    let unknown = || extension(EXT_UNKNOWN, true, &[5, 0]);
    assert_eq!(
        world.faults(|draft| draft.with(unknown())).await,
        ["unknown-critical-extension"]
    );
    assert_eq!(
        world
            .faults(|draft| draft.with(extension(EXT_UNKNOWN, false, &[5, 0])))
            .await,
        [""; 0]
    );
    // It hides nothing else.
    assert_eq!(
        world
            .faults(|draft| draft
                .with(unknown())
                .valid(NOW - 9 * DAY, NOW - DAY)
                .names(&[dns(b"other.example")]))
            .await,
        ["expired", "name-mismatch", "unknown-critical-extension"]
    );
    let stranger = Authority::root("stranger");
    let leaf = stranger
        .leaf(&world.key)
        .with(unknown())
        .sign(&stranger.key);
    assert_eq!(
        world.faults_of(&[&leaf]).await,
        ["unknown-critical-extension", "unknown-issuer"]
    );
    let forged = world
        .issuer
        .leaf(&world.key)
        .with(unknown())
        .sign(&stranger.key);
    assert_eq!(
        world.faults_of(&[&forged, &world.issuer.certificate]).await,
        ["bad-signature", "unknown-critical-extension"]
    );
    // Of an issuer it counts where the issuer is needed.
    let odd = world
        .root
        .below("odd", |draft| draft.extensions.push(unknown()));
    let leaf = odd.leaf(&world.key).sign(&odd.key);
    assert_eq!(
        world.faults_of(&[&leaf, &odd.certificate]).await,
        ["unknown-critical-extension"]
    );
    let leaf = world.issuer.leaf(&world.key).sign(&world.issuer.key);
    let chain = [&leaf, &odd.certificate, &world.issuer.certificate];
    assert_eq!(world.faults_of(&chain).await, [""; 0]);
}

#[tokio::test]
async fn d7_a_signature_does_not_do_for_what_was_made_uncritical() {
    let world = World::new();
    for (from, expected) in [
        (NOW - 9 * DAY, &["bad-signature"][..]),
        (NOW - 99 * DAY, &["bad-signature", "expired"]),
    ] {
        let leaf = world.issuer.leaf(&world.key);
        let leaf = leaf.valid(from, from + 15 * DAY);
        let leaf = leaf.with(extension(EXT_UNKNOWN, true, &[5, 0]));
        let critical = leaf.sign(&world.issuer.key);
        let at = critical
            .windows(3)
            .position(|part| part == [1, 1, 0xff])
            .unwrap();
        let mut bytes = critical.to_vec();
        bytes[at + 2] = 0;
        let uncritical = CertificateDer::from(bytes);
        // With the signed one beside it, as if that were an issuer.
        let chain = [&uncritical, &critical, &world.issuer.certificate];
        assert_eq!(world.faults_of(&chain).await, expected);
        let chain = [&uncritical, &world.issuer.certificate];
        assert_eq!(world.faults_of(&chain).await, expected);
    }
}

#[tokio::test]
async fn d8_malformed() {
    let world = World::new();
    let serial = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        world.faults(|mut draft| {
            draft.serial = bytes;
            draft
        })
    };
    assert_eq!(serial(&[0x80]).await, ["malformed"]);
    assert_eq!(serial(&[0x7f; 21]).await, ["malformed"]);
    assert_eq!(serial(&[0x7f; 20]).await, [""; 0]);
    let version_1 = world.faults(|mut draft| {
        draft.version = None;
        draft.extensions.clear();
        draft
    });
    assert_eq!(version_1.await, ["malformed", "name-mismatch"]);
    let empty = world.faults(|mut draft| {
        draft.subject = common_name("");
        draft.extensions.remove(0);
        draft
    });
    assert_eq!(empty.await, ["name-mismatch"]);
    let nameless = world.faults(|mut draft| {
        draft.subject = seq(&[]);
        draft
    });
    assert_eq!(nameless.await, [""; 0]);
}

#[tokio::test]
async fn d8_bad_der() {
    let world = World::new();
    let leaf = world.issuer.leaf(&world.key).sign(&world.issuer.key);
    let mut trailing = leaf.to_vec();
    trailing.push(0);
    let cut = leaf[..leaf.len() - 1].to_vec();
    let mut long_form = leaf.to_vec();
    // The length of the whole, in one byte more than it takes.
    long_form.splice(1..2, [0x83, 0]);
    for bytes in [trailing, cut, long_form, vec![0x30, 0x80], vec![5, 0]] {
        let bad = CertificateDer::from(bytes);
        let served = Served::new(&[&bad, &world.issuer.certificate], &world.key);
        let failure = meet_as(&world.origins, served, Some(NAME), now()).await;
        let failure = failure.unwrap_err();
        assert_eq!(failure.cause, Cause::BadProof);
        let certificate = failure.certificate.unwrap();
        assert_eq!(words(&certificate), ["malformed"]);
        assert_eq!(certificate.leaf, None);
        assert!(certificate.states().contains(CertificateState::Untrusted));
    }
    // As an issuer it is of no use, and does no harm.
    let bad = CertificateDer::from(vec![0x30, 3, 1, 2, 3]);
    assert_eq!(
        world
            .faults_of(&[&leaf, &bad, &world.issuer.certificate])
            .await,
        [""; 0]
    );
}

#[tokio::test]
async fn d9_what_our_own_authority_issued_is_refused() {
    let world = World::new();
    // The authority is issued by a root that is trusted, and is trusted as a root itself.
    let ours = world.root.below("sluice", |_| {});
    let (base, _folder) = settings(&[&world.root.certificate, &ours.certificate]);
    let settings = Settings {
        own: vec![ours.certificate.clone()],
        ..base
    };
    let origins = Origins::new(&settings).unwrap();
    let minted = ours.leaf(&world.key).sign(&ours.key);
    let below = ours.below("below", |_| {});
    let deeper = below.leaf(&world.key).sign(&below.key);
    let good = world.issuer.leaf(&world.key).sign(&world.issuer.key);
    for chain in [
        &[&minted][..],
        &[&minted, &ours.certificate],
        &[&deeper, &below.certificate],
        &[&deeper, &below.certificate, &ours.certificate],
        // Anywhere in the chain.
        &[&good, &world.issuer.certificate, &ours.certificate],
    ] {
        let served = Served::new(chain, &world.key);
        let failure = meet_as(&origins, served, Some(NAME), now()).await;
        let failure = failure.unwrap_err();
        assert_eq!(failure.cause, Cause::SelfTrust);
        let certificate = failure.certificate.unwrap();
        assert_eq!(words(&certificate), ["self-trust"]);
        assert!(certificate.states().contains(CertificateState::Untrusted));
    }
    // Another authority of the same name is a stranger, no more.
    let namesake = Authority::root("sluice");
    let leaf = namesake.leaf(&world.key).sign(&namesake.key);
    assert_eq!(
        faults_at(&origins, &[&leaf], &world.key, now()).await,
        ["unknown-issuer"]
    );
    let chain = [&good, &world.issuer.certificate];
    assert_eq!(
        faults_at(&origins, &chain, &world.key, now()).await,
        [""; 0]
    );
}
