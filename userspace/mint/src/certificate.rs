//! Certificates of authorities, and chains of them.

use std::{fmt, path::Path};

use pkcs8::{Document, LineEnding};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    extensions::ParsedExtension,
    prelude::FromDer,
    x509::{AlgorithmIdentifier, SubjectPublicKeyInfo, X509Version},
};

use crate::{
    AuthorityError, Constraints, KeyKind, LeafName, PresentedName, clock::show_moment, der, file,
    key,
};

/// Certificates that a chain may have; more only serve to keep clients busy.
const CHAIN_LIMIT: usize = 8;

/// Time before its end from which an authority is warned about, in seconds: 30 days, in which a
/// new one can be given to every client.
pub const EXPIRES_SOON: i64 = 30 * 86_400;

/// The SHA-256 of a certificate, by which people compare certificates.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// That of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index > 0 { ":" } else { "" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// A certificate under which leaves may be signed, or one above such a certificate.
#[derive(Clone)]
pub struct CaCertificate {
    der: CertificateDer<'static>,
    info: Vec<u8>,
    subject_der: Vec<u8>,
    key_id: Vec<u8>,
    self_issued: bool,
    /// SHA-256 of the certificate.
    pub fingerprint: Fingerprint,
    /// Whose certificate it is, as people write it.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// What key it has.
    pub key: KeyKind,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: i64,
    /// How many authorities may stand between it and a leaf; `None`: any number.
    pub path_length: Option<u32>,
    /// Which names may be signed for.
    pub constraints: Constraints,
}

impl fmt::Debug for CaCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaCertificate")
            .field("subject", &self.subject)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl CaCertificate {
    /// The certificate in DER.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Whether it is a root, which clients have and servers do not send.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.self_issued
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        // Refused only for DER of more than 256 MiB, which was never read.
        Document::try_from(self.der.as_ref())
            .and_then(|document| document.to_pem("CERTIFICATE", LineEnding::LF))
            .unwrap_or_default()
    }

    /// The public key as the certificate has it, in DER.
    pub(crate) fn info(&self) -> &[u8] {
        &self.info
    }

    /// Reads a certificate and refuses what is none of an authority; `below` is how many
    /// authorities stand between it and a leaf.
    fn read(der: &CertificateDer<'static>, below: usize) -> Result<Self, (String, String)> {
        let (rest, parsed) = X509Certificate::from_der(der)
            .map_err(|error| (String::new(), format!("is no certificate: {error}")))?;
        let subject = parsed.subject().to_string();
        let no = |why: &str| (subject.clone(), why.to_owned());
        if !rest.is_empty() {
            return Err(no("has bytes behind its end"));
        }
        if parsed.version() != X509Version::V3 {
            return Err(no("is not of version 3, and only that can be an authority"));
        }
        if parsed.subject().iter().next().is_none() {
            return Err(no("has an empty subject, by which leaves cannot name it"));
        }
        let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
        if parsed.subject() != parsed.issuer() && WEAK.contains(&algorithm.as_str()) {
            return Err(no("is signed with SHA-1 or MD5, which clients refuse"));
        }
        let path_length = authority(&parsed, below).map_err(|why| no(&why))?;
        let Some(key) = key::kind_of(parsed.public_key()) else {
            return Err(no(
                "has a key that cannot be used: expected ECDSA on P-256 or P-384, or RSA of 2048 \
                 bits or more",
            ));
        };
        let constraints = match parsed.name_constraints() {
            Ok(found) => found.map(|found| {
                let (permitted, excluded) = (
                    &found.value.permitted_subtrees,
                    &found.value.excluded_subtrees,
                );
                Constraints::new(permitted.as_deref(), excluded.as_deref())
            }),
            Err(_) => return Err(no("has name constraints twice")),
        };
        let read = Self {
            der: der.clone(),
            info: parsed.public_key().raw.to_vec(),
            subject_der: parsed.subject().as_raw().to_vec(),
            key_id: key_id(&parsed),
            self_issued: parsed.subject() == parsed.issuer(),
            fingerprint: Fingerprint::of(der),
            issuer: parsed.issuer().to_string(),
            serial: hex(parsed.raw_serial()),
            key,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            path_length,
            constraints: constraints.unwrap_or_default(),
            subject,
        };
        Ok(read)
    }

    /// The subject in DER, as leaves repeat it.
    pub(crate) fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// By what leaves name the key.
    pub(crate) fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// Whether this one signed that one.
    fn signed(&self, other: &Self) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(&other.der) else {
            return false;
        };
        parsed.issuer().as_raw() == self.subject_der
            && self.verifies(
                &algorithm(&parsed.signature_algorithm),
                parsed.tbs_certificate.as_ref(),
                &parsed.signature_value.data,
            )
    }

    /// Whether a signature is that of this certificate's key; `with` says how it was made, as
    /// [`algorithm`] has it.
    pub(crate) fn verifies(&self, with: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let Ok((_, info)) = SubjectPublicKeyInfo::from_der(&self.info) else {
            return false;
        };
        let kind = algorithm(&info.algorithm);
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        let mut fitting = known.all.iter().filter(|known| {
            known.signature_alg_id().as_ref() == with && known.public_key_alg_id().as_ref() == kind
        });
        let key = &info.subject_public_key.data;
        fitting.any(|known| known.verify_signature(key, message, signature).is_ok())
    }
}

/// What is inside an AlgorithmIdentifier (RFC 5280 section 4.1.1.2), in DER. Its parameters are
/// short here: another OID, or nothing.
fn algorithm(read: &AlgorithmIdentifier<'_>) -> Vec<u8> {
    let mut written = der::value(der::OID, &[read.algorithm.as_bytes()]);
    if let Some(parameters) = &read.parameters {
        // Types have numbers below 31.
        let tag = parameters.tag().0 as u8;
        written.extend(der::value(tag, &[parameters.data]));
    }
    written
}

/// The subject key identifier, or what it would be by RFC 7093 section 2.
fn key_id(parsed: &X509Certificate<'_>) -> Vec<u8> {
    let given = parsed
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
    given.unwrap_or_else(|| key::key_id(&parsed.public_key().subject_public_key.data).to_vec())
}

/// MD5 and SHA-1 with RSA, SHA-1 with ECDSA (RFC 8017 appendix A.2.4, RFC 3279 section 2.2.3).
const WEAK: [&str; 3] = [
    "1.2.840.113549.1.1.4",
    "1.2.840.113549.1.1.5",
    "1.2.840.10045.4.1",
];

/// Checks that a certificate may sign others (RFC 5280 sections 4.2.1.3, 4.2.1.9, 4.2.1.12), and
/// returns its path length.
fn authority(parsed: &X509Certificate<'_>, below: usize) -> Result<Option<u32>, String> {
    let twice = |_| "has an extension twice".to_owned();
    let constraints = parsed.basic_constraints().map_err(twice)?;
    let constraints = constraints.map(|found| found.value);
    let Some(constraints) = constraints.filter(|found| found.ca) else {
        return Err("is no CA's: expected one with basicConstraints CA:TRUE".into());
    };
    let usage = parsed.key_usage().map_err(twice)?;
    if !usage.is_some_and(|found| found.value.key_cert_sign()) {
        return Err("may not sign certificates: expected one with keyUsage keyCertSign".into());
    }
    let purposes = parsed.extended_key_usage().map_err(twice)?;
    if purposes.is_some_and(|found| !found.value.any && !found.value.server_auth) {
        return Err("may not sign for servers: its extendedKeyUsage lacks serverAuth".into());
    }
    let length = constraints.path_len_constraint;
    if length.is_some_and(|length| (length as usize) < below) {
        return Err(format!(
            "allows fewer authorities below it than the {below} there are: its pathLen forbids the \
             one that would sign leaves"
        ));
    }
    let unknown = parsed.extensions().iter().find(|extension| {
        let parsed = extension.parsed_extension();
        extension.critical
            && (parsed.unsupported() || matches!(parsed, ParsedExtension::ParseError { .. }))
    });
    match unknown {
        Some(extension) => Err(format!(
            "has the critical extension {}, which clients may not know and then refuse",
            extension.oid
        )),
        None => Ok(length),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate that signs leaves, and those above it in order.
#[derive(Clone, Debug)]
pub struct Chain(Vec<CaCertificate>);

impl Chain {
    /// Reads a chain from a PEM file: first the certificate that signs leaves, then the one that
    /// signed it, and so on. The root may be there or not. Dates are not looked at.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds something that is no such chain.
    pub fn read(path: &Path) -> Result<Self, AuthorityError> {
        Self::parse(path, &file::read(path)?)
    }

    pub(crate) fn parse(path: &Path, pem: &[u8]) -> Result<Self, AuthorityError> {
        let mut chain: Vec<CaCertificate> = Vec::new();
        for (index, der) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let bad = |(subject, why)| AuthorityError::BadCertificate {
                path: path.into(),
                number: index + 1,
                subject,
                why,
            };
            let der = der.map_err(|_| bad((String::new(), "is no well-formed PEM".into())))?;
            let certificate = CaCertificate::read(&der, index).map_err(bad)?;
            let no = |why: &str| bad((certificate.subject.clone(), why.into()));
            if index >= CHAIN_LIMIT {
                return Err(no("is one too many: a chain has at most 8"));
            }
            if chain.last().is_some_and(|below| !certificate.signed(below)) {
                return Err(no(
                    "did not sign the one before it: the one that signs leaves comes first, then \
                     its issuer, and so on up to the root",
                ));
            }
            chain.push(certificate);
        }
        if chain.is_empty() {
            return Err(AuthorityError::NoCertificate { path: path.into() });
        }
        Ok(Self(chain))
    }

    /// One certificate that is its own chain.
    pub(crate) fn of(path: &Path, der: &CertificateDer<'static>) -> Result<Self, AuthorityError> {
        let read = CaCertificate::read(der, 0);
        let bad = |(subject, why)| AuthorityError::BadCertificate {
            path: path.into(),
            number: 1,
            subject,
            why,
        };
        Ok(Self(vec![read.map_err(bad)?]))
    }

    /// All certificates, from the one that signs leaves upwards.
    #[must_use]
    pub fn certificates(&self) -> &[CaCertificate] {
        &self.0
    }

    /// The certificate that signs leaves.
    #[must_use]
    pub fn signing(&self) -> &CaCertificate {
        #[expect(
            clippy::indexing_slicing,
            reason = "no chain is made without a certificate"
        )]
        &self.0[0]
    }

    /// What clients have to trust: the root where it is known, else the certificate that signs.
    #[must_use]
    pub fn anchor(&self) -> &CaCertificate {
        let root = self.0.iter().find(|certificate| certificate.is_root());
        root.unwrap_or_else(|| self.signing())
    }

    /// What is sent behind a leaf: every certificate but the root.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let below = self.0.iter().filter(|certificate| !certificate.is_root());
        below.map(CaCertificate::der)
    }

    /// From when on all certificates are valid, in seconds since 1970.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        let dates = self.0.iter().map(|certificate| certificate.not_before);
        dates.max().unwrap_or(i64::MAX)
    }

    /// Until when all certificates are valid, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        let dates = self.0.iter().map(|certificate| certificate.not_after);
        dates.min().unwrap_or(i64::MIN)
    }

    /// Whether the name constraints of all certificates allow a name.
    #[must_use]
    pub fn allows(&self, name: &LeafName) -> bool {
        self.allows_presented(&PresentedName::from(name.clone()))
    }

    pub(crate) fn allows_presented(&self, name: &PresentedName) -> bool {
        let mut constraints = self.0.iter().map(|certificate| &certificate.constraints);
        constraints.all(|constraints| constraints.allow_presented(name))
    }

    /// Refuses a chain that is not valid now.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Expired`] and [`AuthorityError::NotYetValid`], with the file to name.
    pub fn check_dates(&self, path: &Path, now: i64) -> Result<(), AuthorityError> {
        let path = || path.to_owned();
        if now >= self.not_after() {
            return Err(AuthorityError::Expired {
                path: path(),
                at: self.not_after(),
            });
        }
        if now < self.not_before() {
            return Err(AuthorityError::NotYetValid {
                path: path(),
                at: self.not_before(),
            });
        }
        Ok(())
    }

    /// What an administrator should know about a chain that can be used.
    #[must_use]
    pub fn warnings(&self, now: i64) -> Vec<String> {
        let mut found = Vec::new();
        let signing = self.signing();
        let ends = self.not_after();
        if now >= ends {
            found.push(format!("expired at {}", show_moment(ends)));
        } else if ends - now <= EXPIRES_SOON {
            found.push(format!(
                "expires at {}, in {} days: `sluice ca rotate` makes the next one, which clients \
                 need before",
                show_moment(ends),
                (ends - now) / 86_400
            ));
        }
        if now < self.not_before() {
            found.push(format!(
                "not valid before {}",
                show_moment(self.not_before())
            ));
        }
        if signing.path_length != Some(0) {
            found.push(
                "may have authorities below it: who takes its key can make more of them; pathLen \
                 0 forbids that"
                    .into(),
            );
        }
        let constrained = self
            .0
            .iter()
            .any(|certificate| !certificate.constraints.is_empty());
        if !signing.is_root() && !constrained {
            found.push(
                "has no name constraints: who takes its key can sign for every name that clients \
                 of its root ask for"
                    .into(),
            );
        }
        found
    }

    /// The chain in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.iter().map(CaCertificate::pem).collect()
    }
}
