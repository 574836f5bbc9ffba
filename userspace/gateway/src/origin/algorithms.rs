//! Which signatures are believed, and which are only understood.

use aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters, UnparsedPublicKey,
};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer,
    alg_id,
};
use webpki::RawPublicKeyEntity;

/// RSA with SHA-1 (RFC 3279 section 2.2.1).
const RSA_PKCS1_SHA1: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00,
]);

/// A way to sign that nobody should use any more, and whose chains are told apart from untrusted
/// ones nevertheless.
#[derive(Debug)]
struct Weak {
    parameters: &'static RsaParameters,
    signature: AlgorithmIdentifier,
}

static WEAK: [Weak; 3] = [
    Weak {
        parameters: &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        signature: RSA_PKCS1_SHA1,
    },
    Weak {
        parameters: &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        signature: alg_id::RSA_PKCS1_SHA256,
    },
    Weak {
        parameters: &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        signature: alg_id::RSA_PKCS1_SHA512,
    },
];

impl SignatureVerificationAlgorithm for Weak {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(self.parameters, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

/// The algorithms of `strict`, and weaker ones where they are known: to find out what else is wrong
/// with a chain, never to call one valid.
pub(super) fn lenient(
    strict: &WebPkiSupportedAlgorithms,
) -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let weak = WEAK
        .iter()
        .map(|weak| weak as &'static dyn SignatureVerificationAlgorithm);
    // Of two that share identifiers only the first is asked.
    let rest = strict.all.iter().copied().filter(|algorithm| {
        !WEAK.iter().any(|weak| {
            weak.signature == algorithm.signature_alg_id()
                && weak.public_key_alg_id() == algorithm.public_key_alg_id()
        })
    });
    weak.chain(rest).collect()
}

/// Takes signatures of certificates that were changed to be looked at for signatures of what they
/// were.
#[derive(Debug)]
pub(super) struct Unchanged<'a> {
    pub(super) algorithm: &'static dyn SignatureVerificationAlgorithm,
    /// What was changed, and what it was.
    pub(super) changes: &'a [(Vec<u8>, &'a [u8])],
}

impl SignatureVerificationAlgorithm for Unchanged<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let change = self.changes.iter().find(|(changed, _)| changed == message);
        let message = change.map_or(message, |&(_, original)| original);
        self.algorithm
            .verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

/// Whether one of the algorithms finds the signature right under a key.
///
/// `identifier` is the AlgorithmIdentifier without its tag, `key` a SubjectPublicKeyInfo.
pub(super) fn is_signed_by(
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    identifier: &[u8],
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let key = SubjectPublicKeyInfoDer::from(key);
    let Ok(key) = RawPublicKeyEntity::try_from(&key) else {
        return false;
    };
    algorithms
        .iter()
        .filter(|algorithm| algorithm.signature_alg_id().as_ref() == identifier)
        .any(|&algorithm| key.verify_signature(algorithm, message, signature).is_ok())
}
