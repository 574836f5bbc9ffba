//! The keys: the CA's, which signs leaves, and the leaves' own.
//!
//! Bytes of a private key exist here only in buffers that are cleared when they go, and inside
//! aws-lc, which clears what it frees. Nothing can be asked for them.

use std::{fmt, path::Path, sync::Arc};

use pkcs8::{
    EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument,
    der::{Decode, pem::PemLabel},
    pkcs5::{pbes2, scrypt},
};
use rcgen::{PublicKeyData, SignatureAlgorithm};
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs,
    pki_types::{
        AlgorithmIdentifier, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer,
        PrivateSec1KeyDer, alg_id,
    },
    sign::{Signer, SigningKey},
};
use sha2::{Digest, Sha256};
use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};
use zeroize::{Zeroize, Zeroizing};

use crate::{AuthorityError, Passphrase, der};

/// What kind of key an authority has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyKind {
    /// ECDSA on P-256, signing over SHA-256.
    P256,
    /// ECDSA on P-384, signing over SHA-384.
    P384,
    /// RSA with PKCS#1 v1.5 signatures over SHA-256; only imported.
    Rsa {
        /// Length of the modulus.
        bits: usize,
    },
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P256 => f.write_str("ECDSA P-256"),
            Self::P384 => f.write_str("ECDSA P-384"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
        }
    }
}

/// Random bytes from the source that the TLS stack uses.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], AuthorityError> {
    let mut bytes = [0; N];
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Crypto {
            what: "get random bytes",
            why: "the source of randomness failed".into(),
        })?;
    Ok(bytes)
}

/// A new key as PKCS#8.
pub(crate) fn generate(kind: KeyKind) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
    let algorithm = match kind {
        KeyKind::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyKind::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyKind::Rsa { .. } => {
            return Err(AuthorityError::Option {
                what: format!("a new key of {kind}"),
                why: "only P-256 and P-384 are made, which every client takes".into(),
            });
        }
    };
    let mut pair =
        rcgen::KeyPair::generate_for(algorithm).map_err(|error| AuthorityError::Crypto {
            what: "make a key",
            why: error.to_string(),
        })?;
    let bytes = Zeroizing::new(pair.serialized_der().to_vec());
    pair.zeroize();
    Ok(bytes)
}

/// A key that signs certificates. It can sign, and nothing else: its bytes are in aws-lc.
pub(crate) struct CaKey {
    signer: Box<dyn Signer>,
    kind: KeyKind,
    algorithm: &'static SignatureAlgorithm,
    algorithm_id: AlgorithmIdentifier,
    /// As the certificate has it: SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) in DER.
    info: Vec<u8>,
    /// The key alone.
    point: Vec<u8>,
}

impl fmt::Debug for CaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaKey")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl CaKey {
    /// Takes a key; `None` where it is of a kind that no authority may have.
    pub(crate) fn new(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let key = aws_lc_rs::sign::any_supported_type(der).ok()?;
        let info = key.public_key()?.to_vec();
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&info).ok()?;
        let kind = kind_of(&parsed)?;
        let (scheme, algorithm, algorithm_id) = match kind {
            KeyKind::P256 => (
                SignatureScheme::ECDSA_NISTP256_SHA256,
                &rcgen::PKCS_ECDSA_P256_SHA256,
                alg_id::ECDSA_SHA256,
            ),
            KeyKind::P384 => (
                SignatureScheme::ECDSA_NISTP384_SHA384,
                &rcgen::PKCS_ECDSA_P384_SHA384,
                alg_id::ECDSA_SHA384,
            ),
            KeyKind::Rsa { .. } => (
                SignatureScheme::RSA_PKCS1_SHA256,
                &rcgen::PKCS_RSA_SHA256,
                alg_id::RSA_PKCS1_SHA256,
            ),
        };
        let point = parsed.subject_public_key.data.to_vec();
        Some(Self {
            signer: key.choose_scheme(&[scheme])?,
            kind,
            algorithm,
            algorithm_id,
            point,
            info,
        })
    }

    /// The public key as a certificate has it, in DER.
    pub(crate) fn info(&self) -> &[u8] {
        &self.info
    }

    /// How a certificate says what it is signed with (RFC 5280 section 4.1.1.2).
    pub(crate) fn algorithm_id(&self) -> Vec<u8> {
        der::value(der::SEQUENCE, &[&self.algorithm_id])
    }

    /// How its signatures are made: what is inside an AlgorithmIdentifier.
    pub(crate) fn signature(&self) -> &[u8] {
        &self.algorithm_id
    }

    /// Signs what this crate made up.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.signer.sign(message)
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Self::sign(self, message).map_err(|error| rcgen::Error::RingKeyRejected(error.to_string()))
    }
}

/// What kind of key a certificate has; `None` for those that no authority may have.
pub(crate) fn kind_of(info: &SubjectPublicKeyInfo<'_>) -> Option<KeyKind> {
    match info.parsed().ok()? {
        PublicKey::EC(point) => match point.key_size() {
            256 => Some(KeyKind::P256),
            384 => Some(KeyKind::P384),
            _ => None,
        },
        PublicKey::RSA(rsa) if rsa.key_size() >= 2048 => Some(KeyKind::Rsa {
            bits: rsa.key_size(),
        }),
        _ => None,
    }
}

/// The key that all leaves of a process share, and its public half.
pub(crate) struct LeafKey {
    pub(crate) signing: Arc<dyn SigningKey>,
    /// The public half as leaves have it, in DER.
    pub(crate) info: Vec<u8>,
    /// By what leaves name it.
    pub(crate) id: [u8; 20],
}

/// The identifier of a key, from the key as a certificate has it without what kind it is (RFC 7093
/// section 2, method 1).
pub(crate) fn key_id(point: &[u8]) -> [u8; 20] {
    let mut id = [0; 20];
    for (to, from) in id.iter_mut().zip(Sha256::digest(point)) {
        *to = from;
    }
    id
}

impl LeafKey {
    /// Makes one; it is never written anywhere.
    pub(crate) fn generate() -> Result<Self, AuthorityError> {
        let failed = |why: String| AuthorityError::Crypto {
            what: "make the key of the leaves",
            why,
        };
        let bytes = generate(KeyKind::P256)?;
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bytes.as_slice()));
        let signing =
            aws_lc_rs::sign::any_ecdsa_type(&der).map_err(|error| failed(error.to_string()))?;
        let info = signing
            .public_key()
            .ok_or_else(|| failed("it has no public half".into()))?;
        let info = info.to_vec();
        let (_, parsed) =
            SubjectPublicKeyInfo::from_der(&info).map_err(|error| failed(error.to_string()))?;
        let id = key_id(&parsed.subject_public_key.data);
        Ok(Self { signing, info, id })
    }
}

/// The cost of a guess at a passphrase: 16 MiB, five times over (RFC 7914 section 2). As much memory
/// as other programs agree to, which is why there are five.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);

/// A key as PEM, encrypted where there is a passphrase: PBES2 with scrypt and AES-256-CBC
/// (RFC 8018 section 6.2, RFC 7914 section 7).
pub(crate) fn to_pem(
    pkcs8: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<String>, AuthorityError> {
    let failed = |why: String| AuthorityError::Crypto {
        what: "write the key",
        why,
    };
    let plain = PrivateKeyInfo::try_from(pkcs8).map_err(|error| failed(error.to_string()))?;
    let (document, label) = match passphrase {
        None => (
            SecretDocument::encode_msg(&plain).map_err(|error| failed(error.to_string()))?,
            PrivateKeyInfo::PEM_LABEL,
        ),
        Some(passphrase) => {
            let (salt, iv) = (random::<16>()?, random::<16>()?);
            let (log_n, r, p) = SCRYPT;
            let cost =
                scrypt::Params::new(log_n, r, p, 32).map_err(|error| failed(error.to_string()))?;
            let parameters = pbes2::Parameters::scrypt_aes256cbc(cost, &salt, &iv)
                .map_err(|error| failed(error.to_string()))?;
            let encrypted = plain
                .encrypt_with_params(parameters, passphrase.as_bytes())
                .map_err(|error| failed(error.to_string()))?;
            (encrypted, EncryptedPrivateKeyInfo::PEM_LABEL)
        }
    };
    document
        .to_pem(label, LineEnding::LF)
        .map_err(|error| failed(error.to_string()))
}

/// One block of a private key in PEM.
pub(crate) struct KeyBlock<'t> {
    label: &'t str,
    text: &'t str,
}

impl<'t> KeyBlock<'t> {
    /// Finds the key in a file that may hold other blocks, such as the EC PARAMETERS that openssl
    /// writes before a key.
    pub(crate) fn find(path: &Path, bytes: &'t [u8]) -> Result<Self, AuthorityError> {
        let missing = || AuthorityError::NoKey { path: path.into() };
        let text = std::str::from_utf8(bytes).map_err(|_| missing())?;
        let mut rest = text;
        while let Some(at) = rest.find("-----BEGIN ") {
            let block = rest.get(at..).unwrap_or_default();
            let label = block
                .strip_prefix("-----BEGIN ")
                .and_then(|rest| rest.split_once("-----"))
                .map(|(label, _)| label)
                .ok_or_else(missing)?;
            let end = format!("-----END {label}-----");
            let length = block.find(&end).ok_or_else(missing)? + end.len();
            if label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY") {
                let text = block.get(..length).unwrap_or_default();
                return Ok(Self { label, text });
            }
            rest = block.get(length..).unwrap_or_default();
        }
        Err(missing())
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.label == EncryptedPrivateKeyInfo::PEM_LABEL
    }

    /// The block as it was written.
    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// Reads the key, with its passphrase where it is encrypted.
    pub(crate) fn read(
        &self,
        path: &Path,
        passphrase: Option<&Passphrase>,
    ) -> Result<CaKey, AuthorityError> {
        let bad = |why: &str| AuthorityError::BadKey {
            path: path.into(),
            why: why.to_owned(),
        };
        if self.text.contains("Proc-Type:") {
            return Err(bad(
                "is encrypted in a form of PEM that has no protection worth the name: convert it \
                 with `openssl pkcs8 -topk8`",
            ));
        }
        let (_, document) =
            SecretDocument::from_pem(self.text).map_err(|_| bad("is no well-formed PEM"))?;
        let opened;
        let bytes = document.as_bytes();
        let der = match self.label {
            "PRIVATE KEY" => PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bytes)),
            "EC PRIVATE KEY" => PrivateKeyDer::from(PrivateSec1KeyDer::from(bytes)),
            "RSA PRIVATE KEY" => PrivateKeyDer::from(PrivatePkcs1KeyDer::from(bytes)),
            "ENCRYPTED PRIVATE KEY" => {
                let passphrase = passphrase
                    .ok_or_else(|| AuthorityError::PassphraseMissing { path: path.into() })?;
                let info = EncryptedPrivateKeyInfo::from_der(bytes).map_err(|_| {
                    bad(
                        "is encrypted in a way that is not understood: expected PBES2 with AES and \
                         PBKDF2 or scrypt, as `openssl pkcs8 -topk8` writes it",
                    )
                })?;
                opened = info
                    .decrypt(passphrase.as_bytes())
                    .map_err(|_| AuthorityError::PassphraseWrong { path: path.into() })?;
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(opened.as_bytes()))
            }
            _ => return Err(bad("holds a key of a kind that no CA has")),
        };
        CaKey::new(&der).ok_or_else(|| {
            bad(
                "holds a key that cannot be used: expected ECDSA on P-256 or P-384, or RSA of 2048 \
                 bits or more",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_and_read_plain_and_encrypted() {
        let path = Path::new("ca.key");
        let bytes = generate(KeyKind::P256).unwrap();
        let right = Passphrase::new("correct horse".to_owned().into()).unwrap();
        let plain = to_pem(&bytes, None).unwrap();
        let block = KeyBlock::find(path, plain.as_bytes()).unwrap();
        assert!(!block.is_encrypted());
        let key = block.read(path, None).unwrap();
        assert_eq!(key.kind, KeyKind::P256);

        let pem = to_pem(&bytes, Some(&right)).unwrap();
        let block = KeyBlock::find(path, pem.as_bytes()).unwrap();
        assert!(block.is_encrypted());
        let opened = block.read(path, Some(&right)).unwrap();
        assert_eq!(opened.info(), key.info());
        let error = block.read(path, None).unwrap_err();
        assert!(
            matches!(error, AuthorityError::PassphraseMissing { .. }),
            "{error}"
        );
        let wrong = Passphrase::new("wrong".to_owned().into()).unwrap();
        let error = block.read(path, Some(&wrong)).unwrap_err();
        assert!(
            matches!(error, AuthorityError::PassphraseWrong { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_key_is_found_behind_other_blocks() {
        let bytes = generate(KeyKind::P384).unwrap();
        let pem = to_pem(&bytes, None).unwrap();
        let text = format!(
            "who: me\n-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n{}",
            *pem
        );
        let path = Path::new("ca.key");
        let block = KeyBlock::find(path, text.as_bytes()).unwrap();
        assert_eq!(block.text(), pem.trim_end());
        assert_eq!(block.read(path, None).unwrap().kind, KeyKind::P384);
        for text in [
            "",
            "-----BEGIN ",
            "-----BEGIN X-----",
            "-----BEGIN PRIVATE KEY-----\n",
        ] {
            assert!(KeyBlock::find(path, text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn e4_a_debugged_key_shows_no_bytes() {
        let bytes = generate(KeyKind::P256).unwrap();
        let key = CaKey::new(&PrivatePkcs8KeyDer::from(bytes.as_slice()).into()).unwrap();
        assert_eq!(format!("{key:?}"), "CaKey { kind: P256, .. }");
    }
}
