//! Whom to trust: roots, revocation lists and sluice's own authority, loaded once.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm, TrustAnchor,
};
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::algorithms::lenient;
use super::der::{Reader, SEQUENCE};
use super::settings::{RevocationMode, Settings, SettingsError, Unknown};
use super::verified::Verified;
use super::view::View;

/// What of a certificate of sluice's own authority others are known by.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) subject: Vec<u8>,
    /// The SubjectPublicKeyInfo, with its tag.
    pub(super) key: Vec<u8>,
    /// The subject key identifier; empty where there is none.
    pub(super) key_id: Vec<u8>,
}

impl Own {
    fn of(view: &View<'_>) -> Self {
        // The identifier is an octet string within the value of its extension.
        let key_id = view.extension(14).and_then(|value| value.get(2..));
        Self {
            subject: view.subject().to_vec(),
            key: view.key().to_vec(),
            key_id: key_id.unwrap_or_default().to_vec(),
        }
    }
}

/// Whom to trust.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) strict: WebPkiSupportedAlgorithms,
    /// Signatures that those algorithms have found right.
    pub(super) verified: Verified,
    pub(super) lenient: Vec<&'static dyn SignatureVerificationAlgorithm>,
    pub(super) crls: Vec<CertRevocationList<'static>>,
    /// SHA-256 of the revocation lists as they were read.
    crls_digest: [u8; 32],
    pub(super) own: Vec<Own>,
    pub(super) revocation: RevocationMode,
    pub(super) unknown: Unknown,
}

impl Trust {
    pub(super) fn load(
        settings: &Settings,
        strict: WebPkiSupportedAlgorithms,
    ) -> Result<Self, SettingsError> {
        let mut roots = RootCertStore::empty();
        if settings.system_roots {
            let loaded = rustls_native_certs::load_native_certs();
            // A system's bundle may hold one that is of no use here; the others are.
            let (added, _) = roots.add_parsable_certificates(loaded.certs);
            if added == 0 {
                let why: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
                return Err(SettingsError::SystemRoots(why.join(", ")));
            }
        }
        for path in &settings.roots {
            add_roots(&mut roots, path)?;
        }
        let mut own = Vec::new();
        for certificate in &settings.own {
            let view = View::of(certificate).ok_or(SettingsError::Own)?;
            let key = Reader::new(view.key())
                .enter(SEQUENCE)
                .ok_or(SettingsError::Own)?;
            // A gateway whose system trusts its own authority must not: what it minted would be valid.
            roots
                .roots
                .retain(|anchor| anchor.subject_public_key_info.as_ref() != key.rest());
            own.push(Own::of(&view));
        }
        let mut crls = Vec::new();
        let mut digest = digest::Context::new(&digest::SHA256);
        if settings.revocation == RevocationMode::Crl {
            for path in &settings.crls {
                crls.extend(read_crls(path, &mut digest)?);
            }
            if crls.is_empty() {
                return Err(SettingsError::NoCrls);
            }
        }
        let mut crls_digest = [0; 32];
        crls_digest.copy_from_slice(digest.finish().as_ref());
        Ok(Self {
            anchors: roots.roots,
            strict,
            verified: Verified::new(),
            lenient: lenient(&strict),
            crls,
            crls_digest,
            own,
            revocation: settings.revocation,
            unknown: settings.unknown,
        })
    }

    /// Whether the same roots and revocation lists were read.
    pub(super) fn has_read_the_same(&self, other: &Self) -> bool {
        self.anchors == other.anchors && self.crls_digest == other.crls_digest
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SettingsError> {
    fs::read(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), SettingsError> {
    let wrong = |what: String| SettingsError::Roots {
        path: path.to_owned(),
        what,
    };
    let bytes = read(path)?;
    let mut found = Vec::new();
    if bytes.first() == Some(&SEQUENCE) {
        found.push(CertificateDer::from(bytes));
    } else {
        for root in CertificateDer::pem_slice_iter(&bytes) {
            let number = found.len() + 1;
            found.push(root.map_err(|error| wrong(format!("block {number} is not PEM: {error}")))?);
        }
    }
    if found.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    for (index, root) in found.into_iter().enumerate() {
        roots
            .add(root)
            .map_err(|error| wrong(format!("certificate {} is no root: {error}", index + 1)))?;
    }
    Ok(())
}

fn read_crls(
    path: &Path,
    digest: &mut digest::Context,
) -> Result<Vec<CertRevocationList<'static>>, SettingsError> {
    let wrong = |what: String| SettingsError::Crl {
        path: path.to_owned(),
        what,
    };
    let bytes = read(path)?;
    digest.update(&(bytes.len() as u64).to_be_bytes());
    digest.update(&bytes);
    let mut lists = Vec::new();
    if bytes.first() == Some(&SEQUENCE) {
        lists.push(CertificateRevocationListDer::from(bytes));
    } else {
        for list in CertificateRevocationListDer::pem_slice_iter(&bytes) {
            let number = lists.len() + 1;
            let list =
                list.map_err(|error| wrong(format!("block {number} is not PEM: {error}")))?;
            lists.push(CertificateRevocationListDer::from(list.to_vec()));
        }
    }
    if lists.is_empty() {
        return Err(wrong("no revocation list in it".to_owned()));
    }
    let parse = |(index, list): (usize, &CertificateRevocationListDer<'static>)| {
        OwnedCertRevocationList::from_der(list)
            .map(CertRevocationList::from)
            .map_err(|error| wrong(format!("list {} is of no use: {error}", index + 1)))
    };
    lists.iter().enumerate().map(parse).collect()
}
