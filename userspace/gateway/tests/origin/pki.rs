//! Certificates, revocation lists and OCSP answers, right and wrong, written byte by byte: what a
//! library for making certificates refuses to make is what has to be tested.

use rcgen::{KeyPair, PublicKeyData, SigningKey};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use std::time::Duration;

/// When the tests take place: the first second of 2030.
pub(crate) const NOW: i64 = 1_893_456_000;
pub(crate) const DAY: i64 = 86_400;
/// Whom most leaves are for.
pub(crate) const NAME: &str = "origin.example";

pub(crate) const EXT_SAN: &[u8] = &[0x55, 0x1d, 17];
pub(crate) const EXT_BASIC: &[u8] = &[0x55, 0x1d, 19];
pub(crate) const EXT_NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
pub(crate) const EXT_USAGE: &[u8] = &[0x55, 0x1d, 37];
pub(crate) const EXT_TLS_FEATURE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 24];
/// Of nobody.
pub(crate) const EXT_UNKNOWN: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xb5, 0x1f, 1];
pub(crate) const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
pub(crate) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
pub(crate) const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];
const ECDSA_SHA256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub(crate) fn now() -> UnixTime {
    at(NOW)
}

pub(crate) fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap()))
}

/// One element of DER.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len();
    match length {
        0..=0x7f => bytes.push(length as u8),
        0x80..=0xff => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend(content);
    bytes
}

/// A sequence of elements.
pub(crate) fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn oid(bytes: &[u8]) -> Vec<u8> {
    tlv(0x06, bytes)
}

pub(crate) fn time(seconds: i64) -> Vec<u8> {
    let time = jiff::Timestamp::from_second(seconds).unwrap();
    tlv(0x18, time.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
}

/// A distinguished name of one common name.
pub(crate) fn common_name(text: &str) -> Vec<u8> {
    let value = seq(&[oid(&[0x55, 4, 3]), tlv(0x0c, text.as_bytes())]);
    seq(&[tlv(0x31, &value)])
}

pub(crate) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![oid(id)];
    if critical {
        parts.push(vec![0x01, 1, 0xff]);
    }
    parts.push(tlv(0x04, value));
    seq(&parts)
}

pub(crate) fn dns(name: &[u8]) -> Vec<u8> {
    tlv(0x82, name)
}

pub(crate) fn alternative_names(names: &[Vec<u8>]) -> Vec<u8> {
    extension(EXT_SAN, false, &seq(names))
}

pub(crate) fn usages(ids: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<_> = ids.iter().map(|id| oid(id)).collect();
    extension(EXT_USAGE, false, &seq(&ids))
}

/// Basic constraints of an authority.
pub(crate) fn authority_constraints(issuers_below: Option<u8>) -> Vec<u8> {
    let mut parts = vec![vec![0x01, 1, 0xff]];
    parts.extend(issuers_below.map(|count| tlv(0x02, &[count])));
    extension(EXT_BASIC, true, &seq(&parts))
}

/// A key on P-256.
pub(crate) fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

pub(crate) fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

/// A certificate before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// The encoded version; `None`: version 1.
    pub(crate) version: Option<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) validity: (i64, i64),
    pub(crate) key: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
}

impl Draft {
    /// A leaf for [`NAME`] that is valid for a month around [`NOW`].
    pub(crate) fn leaf(issuer: &[u8], key: &KeyPair) -> Self {
        Self {
            version: Some(2),
            serial: vec![7],
            issuer: issuer.to_vec(),
            subject: common_name("leaf"),
            validity: (NOW - 15 * DAY, NOW + 15 * DAY),
            key: key.subject_public_key_info(),
            extensions: vec![
                alternative_names(&[dns(NAME.as_bytes())]),
                usages(&[SERVER_AUTH]),
            ],
        }
    }

    pub(crate) fn names(mut self, names: &[Vec<u8>]) -> Self {
        self.extensions[0] = alternative_names(names);
        self
    }

    pub(crate) fn with(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    pub(crate) fn valid(mut self, from: i64, to: i64) -> Self {
        self.validity = (from, to);
        self
    }

    pub(crate) fn sign(&self, signer: &KeyPair) -> CertificateDer<'static> {
        let mut parts = Vec::new();
        if let Some(version) = self.version {
            parts.push(tlv(0xa0, &tlv(0x02, &[version])));
        }
        parts.extend([
            tlv(0x02, &self.serial),
            tlv(0x30, ECDSA_SHA256),
            self.issuer.clone(),
            seq(&[time(self.validity.0), time(self.validity.1)]),
            self.subject.clone(),
            self.key.clone(),
        ]);
        if !self.extensions.is_empty() {
            parts.push(tlv(0xa3, &seq(&self.extensions)));
        }
        signed(&seq(&parts), signer, None).into()
    }
}

/// Something with its signature, and what follows that.
fn signed(message: &[u8], signer: &KeyPair, rest: Option<Vec<u8>>) -> Vec<u8> {
    let mut bits = vec![0];
    bits.extend(signer.sign(message).unwrap());
    let mut parts = vec![message.to_vec(), tlv(0x30, ECDSA_SHA256), tlv(0x03, &bits)];
    parts.extend(rest);
    seq(&parts)
}

/// A certificate authority.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) name: Vec<u8>,
    pub(crate) key: KeyPair,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Authority {
    /// One that nobody issued.
    pub(crate) fn root(name: &str) -> Self {
        let (name, key) = (common_name(name), key());
        let certificate = Self::draft(&name, &name, &key).sign(&key);
        Self {
            name,
            key,
            certificate,
        }
    }

    /// One that this one issued.
    pub(crate) fn below(&self, name: &str, change: impl FnOnce(&mut Draft)) -> Self {
        let (name, key) = (common_name(name), key());
        let mut draft = Self::draft(&self.name, &name, &key);
        change(&mut draft);
        let certificate = draft.sign(&self.key);
        Self {
            name,
            key,
            certificate,
        }
    }

    pub(crate) fn draft(issuer: &[u8], subject: &[u8], key: &KeyPair) -> Draft {
        Draft {
            version: Some(2),
            serial: vec![1],
            issuer: issuer.to_vec(),
            subject: subject.to_vec(),
            validity: (NOW - 4000 * DAY, NOW + 4000 * DAY),
            key: key.subject_public_key_info(),
            extensions: vec![authority_constraints(None)],
        }
    }

    pub(crate) fn leaf(&self, key: &KeyPair) -> Draft {
        Draft::leaf(&self.name, key)
    }

    /// A revocation list of these serial numbers, that is current from `this` to `next`.
    pub(crate) fn revokes(&self, serials: &[u8], this: i64, next: i64) -> Vec<u8> {
        let entries: Vec<_> = serials
            .iter()
            .map(|&serial| seq(&[tlv(0x02, &[serial]), time(this)]))
            .collect();
        let mut parts = vec![
            tlv(0x02, &[1]),
            tlv(0x30, ECDSA_SHA256),
            self.name.clone(),
            time(this),
            time(next),
        ];
        if !entries.is_empty() {
            parts.push(seq(&entries));
        }
        let number = extension(&[0x55, 0x1d, 20], false, &tlv(0x02, &[1]));
        parts.push(tlv(0xa0, &seq(&[number])));
        signed(&seq(&parts), &self.key, None)
    }
}

/// What an OCSP answer says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// The tag and content of the status.
    pub(crate) status: (u8, &'static [u8]),
    pub(crate) serial: u8,
    pub(crate) this: i64,
    pub(crate) next: Option<i64>,
}

pub(crate) const GOOD: (u8, &[u8]) = (0x80, &[]);
pub(crate) const REVOKED: (u8, &[u8]) = (
    0xa1,
    &[
        0x18, 15, b'2', b'0', b'2', b'9', b'1', b'2', b'0', b'1', b'0', b'0', b'0', b'0', b'0',
        b'0', b'Z',
    ],
);

impl Said {
    pub(crate) fn of(status: (u8, &'static [u8])) -> Self {
        Self {
            status,
            serial: 7,
            this: NOW - DAY,
            next: Some(NOW + DAY),
        }
    }

    /// The answer about a certificate of `issuer`, signed by `signer`, with more certificates.
    pub(crate) fn signed(
        &self,
        issuer: &Authority,
        signer: &KeyPair,
        certificates: &[CertificateDer<'_>],
    ) -> Vec<u8> {
        use aws_lc_rs::digest::{SHA256, digest};
        let hash = |bytes: &[u8]| tlv(0x04, digest(&SHA256, bytes).as_ref());
        let sha256 = seq(&[oid(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1])]);
        let id = seq(&[
            sha256,
            hash(&issuer.name),
            hash(issuer.key.der_bytes()),
            tlv(0x02, &[self.serial]),
        ]);
        let mut single = vec![id, tlv(self.status.0, self.status.1), time(self.this)];
        single.extend(self.next.map(|next| tlv(0xa0, &time(next))));
        let data = seq(&[
            tlv(0xa1, &issuer.name),
            time(self.this),
            seq(&[seq(&single)]),
        ]);
        let certificates: Vec<_> = certificates.iter().map(|der| der.to_vec()).collect();
        let rest = (!certificates.is_empty()).then(|| tlv(0xa0, &seq(&certificates)));
        let basic = signed(&data, signer, rest);
        let bytes = seq(&[oid(&[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]), tlv(0x04, &basic)]);
        seq(&[tlv(0x0a, &[0]), tlv(0xa0, &bytes)])
    }
}
