use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;

use super::*;
use crate::origin::Settings;

const NOW: u64 = 1_893_456_000;

struct World {
    trust: Trust,
    leaf: CertificateDer<'static>,
}

impl World {
    fn new() -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(params, root_key);
        let names = vec!["origin.example".to_owned()];
        let params = CertificateParams::new(names).unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), root.der()).unwrap();
        let settings = Settings {
            system_roots: false,
            roots: vec![file.path().to_owned()],
            ..Settings::default()
        };
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        Self {
            trust: Trust::load(&settings, algorithms).unwrap(),
            leaf: leaf.der().clone(),
        }
    }

    fn judge(&self, leaf: &[u8], issuers: &[CertificateDer<'_>], staple: &[u8]) -> Faults {
        let shown = Presented {
            leaf: &CertificateDer::from(leaf),
            issuers,
            staple,
            name: &ServerName::try_from("origin.example").unwrap(),
        };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
        self.trust.judge(shown, now).faults
    }
}

#[test]
fn whatever_is_changed_in_a_certificate_it_is_not_valid() {
    let world = World::new();
    assert_eq!(world.judge(&world.leaf, &[], &[]), Faults::NONE);
    for at in 0..world.leaf.len() {
        for change in [0x01, 0x20, 0x80, 0xff] {
            let mut leaf = world.leaf.to_vec();
            leaf[at] ^= change;
            // With the right one beside it.
            let issuers = [world.leaf.clone()];
            let faults = world.judge(&leaf, &issuers, &[]);
            assert!(!faults.is_empty(), "byte {at} changed by {change:x}");
        }
    }
    for end in 0..world.leaf.len() {
        assert!(!world.judge(&world.leaf[..end], &[], &[]).is_empty());
    }
}

#[test]
fn a_staple_of_noise_changes_nothing() {
    let world = World::new();
    let mut noise = 0x2545_f491u32;
    for length in 0..200 {
        let mut staple = vec![0x30, 0x81, 0x80, 0x0a, 1, 0, 0xa0, 0x30];
        staple.resize_with(8 + length, || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        });
        assert_eq!(world.judge(&world.leaf, &[], &staple), Faults::NONE);
    }
}
