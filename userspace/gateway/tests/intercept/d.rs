//! Origins with wrong certificates, as clients of the gateway meet them: each ends in a failure that
//! the client sees, and none in a leaf that it would accept. Named d1 to d9 after the kinds.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rcgen::KeyPair;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::lab::{Client, Lab, NAME, Origin, lasting, shown};
use crate::pki::*;
use crate::served::Served;

/// Everything is decrypted, bare addresses too.
pub(crate) const ALL: &str = "[[rule]]\nname = \"all\"\naction = \"inspect\"\n\
                   [[rule]]\nname = \"rest\"\naction = \"allow\"\n";

/// What becomes of a client, by versions of TLS and of HTTP.
fn ways() -> [(&'static SupportedProtocolVersion, &'static [u8]); 3] {
    [(&TLS12, b"h2"), (&TLS13, b"http/1.1"), (&TLS13, b"h2")]
}

/// The client's handshake fails with `error`, the record says `end` and what was wrong with the
/// certificate, and the origin is sent nothing.
#[track_caller]
pub(crate) fn refused(what: &str, origin: &Origin, error: &str, end: &str, faults: &[&str]) {
    refused_as(what, origin, NAME, (error, end, faults));
}

#[track_caller]
fn refused_as(
    what: &str,
    origin: &Origin,
    name: &'static str,
    (error, end, faults): (&str, &str, &[&str]),
) {
    let lab = Lab::before(origin, ALL);
    for (version, alpn) in ways() {
        let client = Client::speaking(&lab.ca, &[version]);
        let client = client.offering(&[alpn]).asking_for(name);
        let met = lab.run(client.connect(&lab)).map(|stream| shown(&stream));
        let met = met.expect_err(what).to_string();
        assert!(met.to_lowercase().contains(error), "{what}: {met}");
    }
    lab.over(3);
    assert_eq!(lab.requests.load(Ordering::SeqCst), 0, "{what}");
    assert!(
        lab.shared.memory.rejected.all(Instant::now()).is_empty(),
        "{what}: taken for a refusal of the CA"
    );
    let (flows, requests) = lab.end();
    assert!(requests.is_empty(), "{what}");
    for flow in flows {
        assert_eq!(flow["end"], end, "{what}: {flow}");
        assert_eq!(flow["decrypted"], false, "{what}");
        let told: Vec<_> = flow["interception"]["faults"]
            .as_array()
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(told, faults, "{what}: {flow}");
    }
}

pub(crate) const UNTRUSTED: &str = "unknownissuer";
pub(crate) const DENIED: &str = "accessdenied";
pub(crate) const INVALID: &str = "certificate-invalid";

/// A root that the gateway trusts, an issuer below it, and a key for leaves.
pub(crate) struct World {
    pub(crate) root: Authority,
    pub(crate) issuer: Authority,
    pub(crate) key: KeyPair,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = Authority::root("root");
        Self {
            issuer: root.below("issuer", |_| {}),
            root,
            key: key(),
        }
    }

    pub(crate) fn serving(&self, chain: &[&CertificateDer<'static>]) -> Origin {
        self.served(Served::new(chain, &self.key))
    }

    pub(crate) fn served(&self, mut served: Served) -> Origin {
        served.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Origin {
            served: Some(served.config()),
            roots: vec![self.root.certificate.clone()],
            ..Origin::default()
        }
    }

    /// An origin with a leaf of the issuer.
    pub(crate) fn with(&self, change: impl FnOnce(Draft) -> Draft) -> Origin {
        let leaf = change(lasting(self.issuer.leaf(&self.key))).sign(&self.issuer.key);
        self.serving(&[&leaf, &self.issuer.certificate])
    }

    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        lasting(self.issuer.leaf(&self.key)).sign(&self.issuer.key)
    }
}

fn present() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[test]
fn what_is_right_is_accepted() {
    let world = World::new();
    let lab = Lab::before(&world.with(|draft| draft), ALL);
    for (version, alpn) in ways() {
        let client = Client::speaking(&lab.ca, &[version]).offering(&[alpn]);
        assert_eq!(lab.run(client.get(&lab, "/")).unwrap().status(), 200);
    }
    lab.over(3);
    let (flows, _) = lab.end();
    assert!(flows.iter().all(|flow| flow["decrypted"] == true));
    assert_eq!(flows[0]["interception"]["faults"], serde_json::Value::Null);
}

#[test]
fn d1_issued_by_nobody_who_is_trusted() {
    let world = World::new();
    let own = lasting(Draft::leaf(&common_name("leaf"), &world.key)).sign(&world.key);
    let of_own = ["self-signed", "unknown-issuer"];
    refused(
        "self-signed",
        &world.serving(&[&own]),
        UNTRUSTED,
        INVALID,
        &of_own,
    );
    let stranger = Authority::root("stranger");
    let leaf = lasting(stranger.leaf(&world.key)).sign(&stranger.key);
    let origin = world.serving(&[&leaf, &stranger.certificate]);
    refused(
        "unknown root",
        &origin,
        UNTRUSTED,
        INVALID,
        &["unknown-issuer"],
    );
    let leaf = world.leaf();
    let origin = world.serving(&[&leaf]);
    refused(
        "no intermediate",
        &origin,
        UNTRUSTED,
        INVALID,
        &["unknown-issuer"],
    );
    let broken = Authority::draft(&world.root.name, &world.issuer.name, &world.issuer.key);
    let broken = broken.sign(&stranger.key);
    let origin = world.serving(&[&leaf, &broken]);
    refused(
        "a broken path",
        &origin,
        UNTRUSTED,
        INVALID,
        &["bad-signature"],
    );
}

#[test]
fn d2_not_in_its_time() {
    let (world, now) = (World::new(), present());
    let origin = world.with(|draft| draft.valid(now - 20 * DAY, now - DAY));
    refused("expired", &origin, "expired", INVALID, &["expired"]);
    let origin = world.with(|draft| draft.valid(now + DAY, now + 20 * DAY));
    refused(
        "to come",
        &origin,
        "not valid yet",
        INVALID,
        &["not-yet-valid"],
    );
    let origin = world.with(|draft| {
        let draft = draft.names(&[dns(b"other.example")]);
        draft.valid(now - 20 * DAY, now - DAY)
    });
    let faults = ["expired", "name-mismatch"];
    refused("expired, and another's", &origin, "", INVALID, &faults);
}

#[test]
fn d2_a_leaf_never_outlasts_the_origin_s_nor_the_ca_s_certificate() {
    let (world, now) = (World::new(), present());
    for until in [now + 2 * DAY, now + 3900 * DAY] {
        let origin = world.with(|draft| draft.valid(now - DAY, until));
        let lab = Lab::before(&origin, ALL);
        let leaf = shown(&lab.run(lab.trusting_gateway().connect(&lab)).unwrap());
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        let (_, ca) = X509Certificate::from_der(&lab.ca).unwrap();
        let end = leaf.validity().not_after.timestamp();
        assert!(end <= until && end <= ca.validity().not_after.timestamp());
    }
}

#[test]
fn d3_for_another_name() {
    let world = World::new();
    for names in [
        vec![dns(b"other.example")],
        vec![dns(b"*.com")],
        vec![dns(b"or*.example")],
        vec![dns(b"*")],
        vec![dns(b"origin.example\0.evil.example")],
        vec![dns(b"origin\x01.example")],
        vec![tlv(0x86, b"https://origin.example/")],
    ] {
        let what = format!("{names:x?}");
        let origin = world.with(|draft| draft.names(&names));
        // Whose names cannot be repeated is signed by nobody who is trusted.
        refused(&what, &origin, "", INVALID, &["name-mismatch"]);
    }
    let origin = world.with(|mut draft| {
        draft.subject = common_name(NAME);
        draft.extensions.remove(0);
        draft
    });
    refused(
        "a common name alone",
        &origin,
        "",
        INVALID,
        &["name-mismatch"],
    );
    // As text it is in there, as bytes it is not.
    let origin = world.with(|draft| draft.names(&[dns(b"127.0.0.1"), tlv(0x87, &[127, 0, 0, 2])]));
    let faults = &["name-mismatch"][..];
    refused_as("an address", &origin, "127.0.0.1", ("", INVALID, faults));
}

#[test]
fn d4_revoked_and_unknown() {
    let world = World::new();
    let now = present();
    let list = world.issuer.revokes(&[7], now - DAY, now + DAY);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revoked.crl");
    std::fs::write(&path, list).unwrap();
    let revoking = format!("revocation = \"crl\"\ncrls = [\"{}\"]", path.display());
    let mut origin = world.with(|draft| draft);
    origin.upstream = revoking;
    refused("by a list", &origin, UNTRUSTED, INVALID, &["revoked"]);

    let staple = Said {
        this: now - DAY,
        next: Some(now + DAY),
        ..Said::of(REVOKED)
    };
    let mut served = Served::new(&[&world.leaf(), &world.issuer.certificate], &world.key);
    served.staple = Some(staple.signed(&world.issuer, &world.issuer.key, &[]));
    let origin = world.served(served);
    refused("by a staple", &origin, UNTRUSTED, INVALID, &["revoked"]);

    let mut origin = world.with(|draft| draft);
    origin.upstream = "revocation_unknown = \"refuse\"".to_owned();
    let faults = &["revocation-unknown"];
    refused("unknown", &origin, DENIED, "origin-unverifiable", faults);
}

/// A certificate that is kept as a file.
macro_rules! kept {
    ($name:literal) => {
        CertificateDer::from(include_bytes!(concat!("../origin/data/", $name, ".der")).as_slice())
    };
}

#[test]
fn d5_weak_signatures_and_keys() {
    for (what, chain, faults) in [
        ("SHA-1", &[kept!("sha1")][..], &["weak-signature"][..]),
        (
            "MD5",
            &[kept!("md5")],
            &["unsupported-signature", "weak-signature"],
        ),
        (
            "below RSA-1024",
            &[kept!("underweak"), kept!("weak")],
            &["weak-key"],
        ),
    ] {
        let mut served = Served::new(&[], &key());
        served.chain = chain.to_vec();
        let bytes = include_bytes!("../origin/data/leaf-key.der").to_vec();
        served.key = PrivatePkcs8KeyDer::from(bytes).into();
        served.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let origin = Origin {
            served: Some(served.config()),
            roots: vec![kept!("root")],
            ..Origin::default()
        };
        refused(what, &origin, UNTRUSTED, INVALID, faults);
    }
    // Nothing is proved by a weak key, nor by another one.
    let origin = Origin {
        served: Some(Served::new(&[&kept!("weakleaf")], &key()).config()),
        roots: vec![kept!("root")],
        ..Origin::default()
    };
    let failed = "origin-handshake-failed";
    refused("RSA-1024", &origin, DENIED, failed, &["weak-key"]);
    let world = World::new();
    let chain = [&world.leaf(), &world.issuer.certificate];
    let origin = world.served(Served::new(&chain, &key()));
    refused("another key", &origin, DENIED, failed, &[]);
}

#[test]
fn d6_not_for_this() {
    let world = World::new();
    let origin = world.with(|mut draft| {
        draft.extensions[1] = usages(&[CLIENT_AUTH]);
        draft
    });
    refused(
        "for clients",
        &origin,
        UNTRUSTED,
        INVALID,
        &["wrong-purpose"],
    );
    let origin = world.with(|draft| draft.with(authority_constraints(None)));
    refused("an authority", &origin, UNTRUSTED, INVALID, &["ca-as-leaf"]);
    let none = world.root.below("no authority", |draft| {
        draft.extensions = vec![extension(EXT_BASIC, true, &seq(&[]))];
    });
    let leaf = lasting(none.leaf(&world.key)).sign(&none.key);
    let origin = world.serving(&[&leaf, &none.certificate]);
    refused(
        "no authority above",
        &origin,
        UNTRUSTED,
        INVALID,
        &["not-a-ca"],
    );
    let last = world.root.below("last", |draft| {
        draft.extensions = vec![authority_constraints(Some(0))];
    });
    let more = last.below("one more", |_| {});
    let leaf = lasting(more.leaf(&world.key)).sign(&more.key);
    let origin = world.serving(&[&leaf, &more.certificate, &last.certificate]);
    refused("too deep", &origin, UNTRUSTED, INVALID, &["path-too-long"]);
}

#[test]
fn d7_outside_of_name_constraints_and_unknown_extensions() {
    let world = World::new();
    for (what, tag, base, names) in [
        (
            "not permitted",
            0xa0,
            dns(b"org"),
            vec![dns(NAME.as_bytes())],
        ),
        (
            "excluded",
            0xa1,
            dns(b"example"),
            vec![dns(NAME.as_bytes())],
        ),
        (
            "a wildcard beyond what is permitted",
            0xa0,
            dns(b"a.news.example"),
            vec![dns(b"a.news.example"), dns(b"*.news.example")],
        ),
        (
            "a URI",
            0xa1,
            tlv(0x86, b"example"),
            vec![dns(NAME.as_bytes()), tlv(0x86, b"https://a.example/")],
        ),
    ] {
        let trees = tlv(tag, &seq(&[base]));
        let constraints = extension(EXT_NAME_CONSTRAINTS, true, &seq(&[trees]));
        let issuer = world
            .root
            .below("constrained", |draft| draft.extensions.push(constraints));
        let leaf = lasting(issuer.leaf(&world.key)).names(&names);
        let origin = world.serving(&[&leaf.sign(&issuer.key), &issuer.certificate]);
        let name = if what.contains("wildcard") {
            "a.news.example"
        } else {
            NAME
        };
        let faults = &["outside-name-constraints"][..];
        refused_as(what, &origin, name, (UNTRUSTED, INVALID, faults));
    }
    let origin = world.with(|draft| draft.with(extension(EXT_UNKNOWN, true, &[5, 0])));
    let faults = &["unknown-critical-extension"];
    refused("unknown", &origin, DENIED, "origin-unverifiable", faults);
}

#[test]
fn d8_malformed() {
    let world = World::new();
    for serial in [vec![0x80], vec![0x7f; 21]] {
        let what = format!("serial {serial:x?}");
        let origin = world.with(|mut draft| {
            draft.serial = serial;
            draft
        });
        refused(&what, &origin, UNTRUSTED, INVALID, &["malformed"]);
    }
    let origin = world.with(|mut draft| {
        draft.version = None;
        draft.extensions.clear();
        draft
    });
    let faults = &["malformed", "name-mismatch"];
    refused("version 1", &origin, UNTRUSTED, INVALID, faults);
    let origin = world.with(|mut draft| {
        draft.subject = common_name("");
        draft.extensions.remove(0);
        draft
    });
    refused("an empty name", &origin, "", INVALID, &["name-mismatch"]);
    for bytes in [
        vec![0x30, 0x80],
        vec![5, 0],
        [&world.leaf()[..], &[0]].concat(),
    ] {
        let bad = CertificateDer::from(bytes);
        let origin = world.serving(&[&bad, &world.issuer.certificate]);
        let failed = "origin-handshake-failed";
        refused("bad DER", &origin, DENIED, failed, &["malformed"]);
    }
}

#[test]
fn d9_what_our_own_authority_issued_is_refused() {
    // Here the gateway's root store even holds the CA.
    let lab = Lab::new(ALL);
    let ca = lab.ca.clone();
    drop(lab);
    for roots in [Vec::new(), vec![ca]] {
        let origin = Origin {
            is_ours: true,
            roots,
            ..Origin::default()
        };
        let failed = "origin-handshake-failed";
        refused("our own", &origin, DENIED, failed, &["self-trust"]);
    }
}
