//! An authority: a chain of certificates and the key that signs under it.

use std::{fmt, path::Path, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree,
    IsCa, KeyUsagePurpose, NameConstraints, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    AuthorityError, Chain, KeyKind, LeafName, PassphraseSource, file,
    key::{self, CaKey, KeyBlock},
};

/// Time before its making from which a new authority is valid, in seconds: clocks of clients may be
/// behind by so much.
const BACKDATE: i64 = 86_400;

/// Longest common name (RFC 5280 appendix A.1, `ub-common-name`).
const COMMON_NAME_LIMIT: usize = 64;

/// An authority that signs leaves.
///
/// There is no function that signs anything but a leaf that this crate made up itself: no request,
/// no certificate and no bytes from outside ever reach the key.
pub struct Authority {
    chain: Chain,
    key: CaKey,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("chain", &self.chain)
            .field("key", &self.key)
            .finish()
    }
}

impl Authority {
    /// Reads an authority from its two files. An encrypted key is opened with the passphrase of
    /// this source, which is not asked where the key is not encrypted.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]: a file is missing or open to others, the certificate is no CA's, is
    /// not valid now or has another key, or the passphrase is wrong.
    pub fn load(
        certificate: &Path,
        key: &Path,
        passphrase: Option<&PassphraseSource>,
        now: i64,
    ) -> Result<Self, AuthorityError> {
        let chain = Chain::read(certificate)?;
        chain.check_dates(certificate, now)?;
        Self::with_key(chain, certificate, key, passphrase)
    }

    pub(crate) fn with_key(
        chain: Chain,
        certificate: &Path,
        key: &Path,
        passphrase: Option<&PassphraseSource>,
    ) -> Result<Self, AuthorityError> {
        let bytes = file::read_secret(key)?;
        let block = KeyBlock::find(key, &bytes)?;
        let passphrase = passphrase.filter(|_| block.is_encrypted());
        let passphrase = passphrase.map(PassphraseSource::read).transpose()?;
        let opened = block.read(key, passphrase.as_ref())?;
        if opened.info() != chain.signing().info() {
            return Err(AuthorityError::Mismatch {
                certificate: certificate.into(),
                key: key.into(),
            });
        }
        Self::new(chain, opened, certificate)
    }

    fn new(chain: Chain, key: CaKey, path: &Path) -> Result<Self, AuthorityError> {
        let authority = Self { chain, key };
        authority.check_signature(path)?;
        Ok(authority)
    }

    /// An authority that only this process knows, and that nobody trusts.
    pub(crate) fn untrusted(now: i64) -> Result<Self, AuthorityError> {
        let path = Path::new("the untrusted CA");
        let new = NewAuthority {
            common_name: Some("Untrusted: the origin's certificate is not valid".into()),
            ..NewAuthority::default()
        };
        let made = new.make(now)?;
        let der = PrivatePkcs8KeyDer::from(made.key.as_slice()).into();
        let key = CaKey::new(&der).ok_or_else(|| AuthorityError::Crypto {
            what: "make the untrusted CA",
            why: "its own key is refused".into(),
        })?;
        Self::new(Chain::of(path, &made.certificate)?, key, path)
    }

    /// The certificates.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    pub(crate) fn key(&self) -> &CaKey {
        &self.key
    }

    /// Signs a few bytes, which are thrown away, and looks whether clients would take the
    /// signature: a key that does not do what it says would show only at them.
    fn check_signature(&self, path: &Path) -> Result<(), AuthorityError> {
        let refuse = |why: &str| AuthorityError::BadKey {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        let trial = b"a trial";
        let signature = self
            .key
            .sign(trial)
            .map_err(|error| refuse(&format!("the key of this CA does not sign: {error}")))?;
        let signing = self.chain.signing();
        if !signing.verifies(self.key.signature(), trial, &signature) {
            return Err(refuse(
                "the key of this CA makes signatures that its certificate does not verify",
            ));
        }
        Ok(())
    }
}

/// A serial number: 128 bits, of which 126 are random, so that it is positive, never zero, and has
/// always 16 bytes (RFC 5280 section 4.1.2.2 allows 20).
pub(crate) fn serial() -> Result<[u8; 16], AuthorityError> {
    let mut bytes = key::random::<16>()?;
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    Ok(bytes)
}

/// What a new authority is to be.
///
/// A default has ten years: every client has to be given a new authority before its end, which is
/// work that an administrator does by hand on some of them, and a CA that ends unnoticed takes all
/// intercepted traffic with it. A key of this age is protected by its file, not by its date; who
/// rotates more often can say so.
#[derive(Clone, Debug)]
pub struct NewAuthority {
    /// The common name of the subject; `None`: "sluice CA", the host's name and six random digits,
    /// so that no two authorities share a subject.
    pub common_name: Option<String>,
    /// P-256 or P-384.
    pub key: KeyKind,
    /// How long it is valid, from a day to 30 years.
    pub validity: Duration,
    /// DNS names that leaves may be for, each with all below it; none: any. Where there are some,
    /// leaves for addresses are forbidden.
    pub permitted: Vec<String>,
    /// DNS names that leaves may not be for, each with all below it.
    pub excluded: Vec<String>,
}

impl Default for NewAuthority {
    fn default() -> Self {
        Self {
            common_name: None,
            key: KeyKind::P256,
            validity: Duration::from_secs(3652 * 86_400),
            permitted: Vec::new(),
            excluded: Vec::new(),
        }
    }
}

/// A new authority, not yet written.
pub(crate) struct Made {
    pub(crate) certificate: CertificateDer<'static>,
    /// PKCS#8.
    pub(crate) key: Zeroizing<Vec<u8>>,
}

impl NewAuthority {
    /// Makes the key and the certificate: version 3, pathLen 0, keyUsage keyCertSign alone, both
    /// critical, a subject key identifier, and name constraints where some are wished
    /// (RFC 5280 section 4.2.1).
    pub(crate) fn make(&self, now: i64) -> Result<Made, AuthorityError> {
        let option = |what: &str, why: &str| AuthorityError::Option {
            what: what.to_owned(),
            why: why.to_owned(),
        };
        let common_name = match &self.common_name {
            Some(name) => name.clone(),
            None => default_name()?,
        };
        let length = common_name.chars().count();
        if !(1..=COMMON_NAME_LIMIT).contains(&length) || common_name.chars().any(char::is_control) {
            return Err(option("the common name", "expected 1 to 64 characters"));
        }
        let seconds = i64::try_from(self.validity.as_secs()).unwrap_or(i64::MAX);
        if !(86_400..=30 * 366 * 86_400).contains(&seconds) {
            return Err(option("the validity", "expected a day to 30 years"));
        }
        let moment = |unix| {
            OffsetDateTime::from_unix_timestamp(unix)
                .map_err(|_| option("the clock", "is beyond the year 9999: set it"))
        };
        let bytes = key::generate(self.key)?;
        let der = PrivatePkcs8KeyDer::from(bytes.as_slice()).into();
        let crypto = |why: String| AuthorityError::Crypto {
            what: "make an authority",
            why,
        };
        let key = CaKey::new(&der).ok_or_else(|| crypto("its own key is refused".into()))?;

        let mut params = CertificateParams::default();
        params.not_before = moment(now.saturating_sub(BACKDATE))?;
        params.not_after = moment(now.saturating_add(seconds))?;
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.name_constraints = self.constraints()?;
        let certificate = params
            .self_signed(&key)
            .map_err(|error| crypto(error.to_string()))?;
        Ok(Made {
            certificate: certificate.into(),
            key: bytes,
        })
    }

    fn constraints(&self) -> Result<Option<NameConstraints>, AuthorityError> {
        if self.permitted.is_empty() && self.excluded.is_empty() {
            return Ok(None);
        }
        let subtrees = |names: &[String]| {
            let each = names.iter().map(|name| match LeafName::parse(name) {
                Ok(read) => match read.dns() {
                    Some(dns) => Ok(GeneralSubtree::DnsName(dns.to_owned())),
                    None => Err(AuthorityError::Option {
                        what: format!("the constraint \"{name}\""),
                        why: "expected a DNS name, not an address".into(),
                    }),
                },
                Err(error) => Err(AuthorityError::Option {
                    what: format!("the constraint \"{name}\""),
                    why: error.to_string(),
                }),
            });
            each.collect::<Result<Vec<_>, _>>()
        };
        let permitted_subtrees = subtrees(&self.permitted)?;
        let mut excluded_subtrees = subtrees(&self.excluded)?;
        if !permitted_subtrees.is_empty() {
            // Addresses are a kind of their own, which permitted names do not constrain.
            excluded_subtrees.extend([
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
            ]);
        }
        Ok(Some(NameConstraints {
            permitted_subtrees,
            excluded_subtrees,
        }))
    }
}

fn default_name() -> Result<String, AuthorityError> {
    let digits = crate::certificate::hex(&key::random::<3>()?);
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let most = COMMON_NAME_LIMIT - "sluice CA  ".len() - digits.len();
    let host: String = host
        .chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect();
    Ok(format!("sluice CA {host} {digits}"))
}
