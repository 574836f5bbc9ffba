//! What a certificate says of itself.

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::{SignatureVerificationAlgorithm, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::algorithms::is_signed_by;
use super::der::{BOOLEAN, OID, Reader, SEQUENCE, Signed, context};

/// The smallest RSA key that is no weak one, in bits (NIST SP 800-131A Rev. 2 section 3).
const RSA_BITS: usize = 2048;
/// The TLS feature extension (RFC 7633 section 4), and the feature status_request in it.
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
const STATUS_REQUEST: &[u8] = &[5];
/// Extensions of RFC 5280 section 4.2.1 that are judged, by the last arc of 2.5.29.
const JUDGED: [u8; 6] = [15, 17, 19, 30, 31, 37];
/// How many names of a certificate are kept.
const NAMES: usize = 128;

/// The kind of a public key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// RSA of so many bits.
    Rsa(usize),
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// ML-DSA (FIPS 204).
    MlDsa,
    /// Anything else, by its object identifier; of an elliptic curve, by that of the curve.
    Other(String),
}

impl KeyKind {
    /// Whether it is too weak, or so odd that nobody vouches for it.
    #[must_use]
    pub const fn is_weak(&self) -> bool {
        match self {
            Self::Rsa(bits) => *bits < RSA_BITS,
            Self::Other(_) => true,
            Self::P256 | Self::P384 | Self::P521 | Self::Ed25519 | Self::MlDsa => false,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "rsa-{bits}"),
            Self::P256 => f.write_str("p256"),
            Self::P384 => f.write_str("p384"),
            Self::P521 => f.write_str("p521"),
            Self::Ed25519 => f.write_str("ed25519"),
            Self::MlDsa => f.write_str("ml-dsa"),
            Self::Other(oid) => f.write_str(oid),
        }
    }
}

/// One certificate, decoded leniently: what is wrong with it is to be told.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) signed: Signed<'a>,
    pub(super) certificate: X509Certificate<'a>,
}

impl<'a> View<'a> {
    /// Decodes one certificate; `None` where that cannot be done.
    pub(super) fn of(der: &'a [u8]) -> Option<Self> {
        let signed = Signed::of(der)?;
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        (rest.is_empty() && signed.rest.is_empty()).then_some(Self {
            signed,
            certificate,
        })
    }

    pub(super) fn subject(&self) -> &'a [u8] {
        self.certificate.tbs_certificate.subject.as_raw()
    }

    pub(super) fn issuer(&self) -> &'a [u8] {
        self.certificate.tbs_certificate.issuer.as_raw()
    }

    /// The SubjectPublicKeyInfo, with its tag.
    pub(super) fn key(&self) -> &'a [u8] {
        self.certificate.tbs_certificate.subject_pki.raw
    }

    /// First and last second of its time.
    pub(super) fn validity(&self) -> (i64, i64) {
        let validity = &self.certificate.tbs_certificate.validity;
        (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        )
    }

    pub(super) fn key_kind(&self) -> KeyKind {
        kind_of(&self.certificate.tbs_certificate.subject_pki)
    }

    /// Whether it is signed in a way that is too weak: with MD2, MD4, MD5, SHA-1 or SHA-224, or
    /// with a hash that goes unsaid (RFC 9155, RFC 8446 section 4.4.2.4).
    pub(super) fn has_weak_signature(&self) -> bool {
        let oid = self
            .certificate
            .signature_algorithm
            .algorithm
            .to_id_string();
        match oid.as_str() {
            // RSA with MD2, MD4, MD5, SHA-1, SHA-224; the last two of another registration.
            "1.2.840.113549.1.1.2"
            | "1.2.840.113549.1.1.3"
            | "1.2.840.113549.1.1.4"
            | "1.2.840.113549.1.1.5"
            | "1.2.840.113549.1.1.14"
            | "1.3.14.3.2.3"
            | "1.3.14.3.2.29" => true,
            // ECDSA with SHA-1 and SHA-224, DSA.
            "1.2.840.10045.4.1" | "1.2.840.10045.4.3.1" | "1.2.840.10040.4.3" | "1.3.14.3.2.27" => {
                true
            }
            // RSA-PSS, whose default is SHA-1 (RFC 4055 section 3.1).
            "1.2.840.113549.1.1.10" => {
                const SHA2: [u8; 10] = [0x06, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 3, 4, 2];
                !self
                    .signed
                    .algorithm
                    .windows(SHA2.len())
                    .any(|part| part == SHA2)
            }
            _ => false,
        }
    }

    /// Whether its serial number is one: not negative, and of at most 20 bytes (RFC 5280
    /// section 4.1.2.2).
    pub(super) fn has_plain_serial(&self) -> bool {
        match self.certificate.tbs_certificate.raw_serial() {
            [0, rest @ ..] => rest.len() <= 20,
            [first, rest @ ..] => *first < 0x80 && rest.len() < 20,
            [] => false,
        }
    }

    /// Whether a key has signed it.
    pub(super) fn is_signed_by(
        &self,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        key: &[u8],
    ) -> bool {
        let Signed {
            message,
            algorithm,
            signature,
            ..
        } = self.signed;
        is_signed_by(algorithms, algorithm, key, message, signature)
    }

    /// The names that it is for: DNS names and addresses, each once, at most 128.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for extension in self.certificate.extensions() {
            if let ParsedExtension::SubjectAlternativeName(alternative) =
                extension.parsed_extension()
            {
                for name in alternative.general_names.iter().filter_map(shown) {
                    if names.len() < NAMES && !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
        }
        names
    }

    /// Whether it demands a stapled OCSP answer (RFC 7633 section 4.2.3.1).
    pub(super) fn must_staple(&self) -> bool {
        self.certificate.extensions().iter().any(|extension| {
            let features = || Reader::new(extension.value).enter(SEQUENCE);
            extension.oid.to_id_string() == TLS_FEATURE
                && features().is_some_and(|mut features| {
                    std::iter::from_fn(|| features.any())
                        .any(|feature| feature.content == STATUS_REQUEST)
                })
        })
    }

    /// The value of an extension of 2.5.29, by its last arc.
    pub(super) fn extension(&self, arc: u8) -> Option<&'a [u8]> {
        let extensions = self.certificate.extensions();
        let found = extensions
            .iter()
            .find(|extension| extension.oid.as_bytes() == [0x55, 0x1d, arc]);
        found.map(|extension| extension.value)
    }

    /// The same certificate with each critical extension that is not judged made uncritical, which
    /// is a change of one byte each; `None` where there is none.
    pub(super) fn without_unknown_critical(&self, der: &[u8]) -> Option<Vec<u8>> {
        let mut fields = Reader::new(self.signed.message).enter(SEQUENCE)?;
        let mut changed = None;
        let mut list = std::iter::from_fn(|| fields.any())
            .find(|field| field.tag == context(3))
            .and_then(|field| Reader::new(field.content).enter(SEQUENCE))?;
        while let Some(mut extension) = list.enter(SEQUENCE) {
            let oid = extension.take(OID)?.content;
            let judged = matches!(oid, [0x55, 0x1d, arc] if JUDGED.contains(arc));
            let critical = extension.optional(BOOLEAN).filter(|b| b.content == [0xff]);
            if let Some(critical) = critical.filter(|_| !judged) {
                // Slices of the same memory: their distance is where the byte stands.
                let at = critical.content.as_ptr() as usize - der.as_ptr() as usize;
                *changed.get_or_insert_with(|| der.to_vec()).get_mut(at)? = 0;
            }
        }
        changed
    }
}

/// A name as RFC 4514 section 2 writes it, the most particular part first; control characters are
/// escaped, too.
pub(super) fn printable(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for part in parts.into_iter().rev() {
        for (index, attribute) in part.iter().enumerate() {
            if !text.is_empty() {
                text.push(if index == 0 { ',' } else { '+' });
            }
            match oid2abbrev(attribute.attr_type(), oid_registry()) {
                Ok(short) => text.push_str(short),
                Err(_) => text.push_str(&attribute.attr_type().to_id_string()),
            }
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(value, &mut text),
                Err(_) => {
                    text.push('#');
                    let bytes = attribute.as_slice().iter();
                    bytes.for_each(|byte| text.push_str(&format!("{byte:02x}")));
                }
            }
        }
    }
    text
}

fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, c) in value.char_indices() {
        let edge = match c {
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => text.extend(['\\', c]),
            _ if edge => text.extend(['\\', c]),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        // Control bytes and NUL stay out of logs; such a name matches nothing anyway.
        GeneralName::DNSName(name) => Some(name.escape_default().to_string()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// The kind of a key.
pub(super) fn kind_of(info: &SubjectPublicKeyInfo<'_>) -> KeyKind {
    let oid = info.algorithm.algorithm.to_id_string();
    match oid.as_str() {
        "1.2.840.113549.1.1.1" => match info.parsed() {
            Ok(PublicKey::RSA(rsa)) => KeyKind::Rsa(bits(rsa.modulus)),
            _ => KeyKind::Other(oid),
        },
        "1.2.840.10045.2.1" => {
            let curve = info
                .algorithm
                .parameters
                .as_ref()
                .and_then(|any| any.as_oid().ok())
                .map(|oid| oid.to_id_string());
            match curve.as_deref() {
                Some("1.2.840.10045.3.1.7") => KeyKind::P256,
                Some("1.3.132.0.34") => KeyKind::P384,
                Some("1.3.132.0.35") => KeyKind::P521,
                Some(other) => KeyKind::Other(other.to_owned()),
                None => KeyKind::Other(oid),
            }
        }
        "1.3.101.112" => KeyKind::Ed25519,
        "2.16.840.1.101.3.4.3.17" | "2.16.840.1.101.3.4.3.18" | "2.16.840.1.101.3.4.3.19" => {
            KeyKind::MlDsa
        }
        _ => KeyKind::Other(oid),
    }
}

fn bits(modulus: &[u8]) -> usize {
    let modulus = modulus
        .iter()
        .position(|&byte| byte != 0)
        .and_then(|start| modulus.get(start..))
        .unwrap_or_default();
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    modulus.len() * 8 - unused as usize
}

/// A time as certificates have it; before 1970 counts as 1970.
pub(super) fn unix(seconds: i64) -> UnixTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(parts: &[(u8, u8, &[u8])]) -> String {
        let tlv = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        let parts: Vec<u8> = parts
            .iter()
            .flat_map(|&(kind, tag, value)| {
                let pair = [tlv(0x06, &[0x55, 4, kind]), tlv(tag, value)].concat();
                tlv(0x31, &tlv(SEQUENCE, &pair))
            })
            .collect();
        let der = tlv(SEQUENCE, &parts);
        printable(&X509Name::from_der(&der).unwrap().1)
    }

    #[test]
    fn names_are_written_as_rfc_4514_has_them() {
        let (country, organisation, common) = (6, 10, 3);
        assert_eq!(
            name(&[
                (country, 0x13, b"DE"),
                (organisation, 0x0c, b"Example, Inc. \"A+B\""),
                (common, 0x0c, b" #1\n "),
            ]),
            r#"CN=\ #1\n\ ,O=Example\, Inc. \"A\+B\",C=DE"#
        );
        assert_eq!(name(&[(common, 0x1e, b"\0a")]), "CN=#0061");
        assert_eq!(name(&[]), "");
    }
}
