//! Signatures of certificates that were found right, so that none is verified twice.
//!
//! A signature is right under a key for a message, or it is not: neither time nor name nor whom one
//! trusts has a part in it. So it is only this that is remembered; ways to a root, dates, names,
//! constraints and revocation are looked at anew for every connection.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use lru::LruCache;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// Signatures that are remembered at most, of some hundred bytes each.
const SIGNATURES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// Digests of signatures that were verified and found right, the longest unused of which goes first.
#[derive(Debug)]
pub(super) struct Verified(Mutex<LruCache<[u8; 32], ()>>);

impl Verified {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(SIGNATURES)))
    }

    /// The algorithms, as they remember what they have found right.
    pub(super) fn remembering(
        &self,
        algorithms: &[&'static dyn SignatureVerificationAlgorithm],
    ) -> Vec<Remembering<'_>> {
        let all = algorithms.iter().enumerate();
        all.map(|(number, &algorithm)| Remembering {
            number,
            algorithm,
            verified: self,
        })
        .collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<[u8; 32], ()>> {
        // A cache that lost its order in a panic still holds nothing but what was verified.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An algorithm that verifies no signature again that it has found right.
#[derive(Debug)]
pub(super) struct Remembering<'a> {
    /// Its place in the list that there is one of, which no other algorithm has.
    number: usize,
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    verified: &'a Verified,
}

impl Remembering<'_> {
    /// All that the outcome hangs on, in one digest.
    fn digest(&self, parts: [&[u8]; 3]) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        context.update(&(self.number as u64).to_be_bytes());
        for part in parts {
            // Each behind its length, so that no two sets of parts run together.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

impl SignatureVerificationAlgorithm for Remembering<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let digest = self.digest([public_key, message, signature]);
        if self.verified.lock().get(&digest).is_some() {
            return Ok(());
        }
        self.algorithm
            .verify_signature(public_key, message, signature)?;
        self.verified.lock().put(digest, ());
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::pki_types::alg_id;

    use super::*;

    /// Finds right what is signed by its own name, and counts how often it is asked.
    #[derive(Debug)]
    struct Named {
        name: &'static [u8],
        asked: AtomicUsize,
    }

    impl Named {
        fn leaked(name: &'static [u8]) -> &'static Self {
            let asked = AtomicUsize::new(0);
            Box::leak(Box::new(Self { name, asked }))
        }
    }

    impl SignatureVerificationAlgorithm for Named {
        fn verify_signature(
            &self,
            _: &[u8],
            _: &[u8],
            signature: &[u8],
        ) -> Result<(), InvalidSignature> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            (signature == self.name)
                .then_some(())
                .ok_or(InvalidSignature)
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ED25519
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ED25519
        }
    }

    #[test]
    fn only_the_very_same_is_not_verified_again() {
        let (a, b) = (Named::leaked(b"a"), Named::leaked(b"b"));
        let verified = Verified::new();
        let both = verified.remembering(&[a, b]);
        let ask = |which: usize, key: &[u8], message: &[u8], signature: &[u8]| {
            both[which]
                .verify_signature(key, message, signature)
                .is_ok()
        };
        for _ in 0..3 {
            assert!(ask(0, b"key", b"message", b"a"));
        }
        assert_eq!(a.asked.load(Ordering::Relaxed), 1);
        // Another key, message, signature, or the same bytes cut elsewhere.
        assert!(ask(0, b"kez", b"message", b"a"));
        assert!(ask(0, b"key", b"messagf", b"a"));
        assert!(ask(0, b"keym", b"essage", b"a"));
        assert!(!ask(0, b"key", b"message", b"b"));
        assert_eq!(a.asked.load(Ordering::Relaxed), 5);
        // What one algorithm finds right says nothing of another.
        assert!(!ask(1, b"key", b"message", b"a"));
        assert_eq!(b.asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_is_wrong_is_not_remembered_and_what_is_right_in_bounds() {
        let algorithm = Named::leaked(b"a");
        let verified = Verified::new();
        let all = verified.remembering(&[algorithm]);
        for _ in 0..2 {
            assert!(all[0].verify_signature(b"key", b"message", b"z").is_err());
        }
        assert_eq!(algorithm.asked.load(Ordering::Relaxed), 2);
        assert_eq!(verified.len(), 0);
        for number in 0..2 * SIGNATURES.get() {
            let message = number.to_be_bytes();
            all[0].verify_signature(b"key", &message, b"a").unwrap();
        }
        assert_eq!(verified.len(), SIGNATURES.get());
        // The newest are there, the oldest have gone.
        let asked = || algorithm.asked.load(Ordering::Relaxed);
        let before = asked();
        let newest = (2 * SIGNATURES.get() - 1).to_be_bytes();
        all[0].verify_signature(b"key", &newest, b"a").unwrap();
        assert_eq!(asked(), before);
        all[0]
            .verify_signature(b"key", &0_usize.to_be_bytes(), b"a")
            .unwrap();
        assert_eq!(asked(), before + 1);
    }
}
