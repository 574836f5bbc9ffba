//! Judges chains of certificates: everything that is wrong with one, not only the first thing.
//!
//! webpki tells one thing that is wrong, and refuses to look at some chains at all. So a chain that is
//! not simply right is asked about again: at a time at which its certificates are valid, with its
//! unknown critical extensions made uncritical, and with signatures that are too weak understood.
//! What is found so is a fault beside those; what still cannot be verified is untrusted.

use aws_lc_rs::digest;
use rustls::pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use webpki::{
    EndEntityCert, Error, ExpirationPolicy, KeyUsage, RevocationOptions, RevocationOptionsBuilder,
    UnknownStatusPolicy,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::algorithms::Unchanged;
use super::faults::{Fault, Faults};
use super::ocsp;
use super::report::{Certificate, Leaf, Revocation};
use super::settings::{RevocationMode, Unknown};
use super::trust::Trust;
use super::view::{View, kind_of, printable, unix};

/// How many steps a search for a root may take before the chain counts as made to keep us busy.
/// Chains that are cross-signed several times take a dozen.
const STEPS: usize = 256;
/// webpki follows no more issuers than this.
const DEPTH: usize = 6;

/// What an origin showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presented<'a> {
    pub(super) leaf: &'a CertificateDer<'a>,
    pub(super) issuers: &'a [CertificateDer<'a>],
    pub(super) staple: &'a [u8],
    pub(super) name: &'a ServerName<'a>,
}

/// A way from the leaf to a root.
#[derive(Debug)]
struct Path {
    /// The key of the leaf's issuer.
    issuer_key: SubjectPublicKeyInfoDer<'static>,
    /// The key of the root.
    root_key: SubjectPublicKeyInfoDer<'static>,
    /// The issuers between them.
    between: Vec<CertificateDer<'static>>,
}

/// A chain that is being judged.
struct Chain<'a> {
    trust: &'a Trust,
    leaf: &'a View<'a>,
    /// Each issuer once, as sent.
    issuers: Vec<(&'a CertificateDer<'a>, View<'a>)>,
    /// The leaf, then the issuers, as they are looked at.
    changed_leaf: CertificateDer<'a>,
    changed_issuers: Vec<CertificateDer<'a>>,
    algorithms: Vec<Unchanged<'a>>,
}

impl Trust {
    /// Judges what an origin showed at a time.
    pub(super) fn judge(&self, shown: Presented<'_>, now: UnixTime) -> Certificate {
        let mut certificate = Certificate {
            faults: Faults::of([Fault::Malformed]),
            revocation: Revocation::NotChecked,
            leaf: None,
            chain: std::iter::once(shown.leaf)
                .chain(shown.issuers)
                .map(|der| der.clone().into_owned())
                .collect(),
            staple: shown.staple.to_vec(),
            judged_at: now.as_secs(),
        };
        let Some(leaf) = View::of(shown.leaf) else {
            return certificate;
        };
        let (first, last) = leaf.validity();
        certificate.leaf = Some(Leaf {
            subject: printable(leaf.certificate.subject()),
            issuer: printable(leaf.certificate.issuer()),
            names: leaf.names(),
            not_before: first,
            not_after: last,
            fingerprint: fingerprint(shown.leaf),
            key: leaf.key_kind(),
        });
        certificate.faults = leaf_faults(&leaf, shown, now);
        let mut issuers: Vec<(&CertificateDer<'_>, View<'_>)> = Vec::new();
        for der in shown.issuers {
            if der != shown.leaf
                && issuers.iter().all(|&(known, _)| known != der)
                && let Some(view) = View::of(der)
            {
                issuers.push((der, view));
            }
        }
        if self.is_own(&leaf) || issuers.iter().any(|(_, view)| self.is_own(view)) {
            certificate.faults.insert(Fault::SelfTrust);
            return certificate;
        }
        // Each change is kept with what was signed before it.
        let mut changes = Vec::new();
        let change = |der: &CertificateDer<'_>, view: &View<'_>| {
            let changed = CertificateDer::from(view.without_unknown_critical(der)?);
            let message = View::of(&changed)?.signed.message.to_vec();
            Some((changed.into_owned(), message))
        };
        let mut changed_leaf = shown.leaf.clone().into_owned();
        if let Some((changed, message)) = change(shown.leaf, &leaf) {
            certificate.faults.insert(Fault::UnknownCriticalExtension);
            changes.push((message, leaf.signed.message));
            changed_leaf = changed;
        }
        let mut changed_issuers = Vec::new();
        for &(der, ref view) in &issuers {
            match change(der, view) {
                Some((changed, message)) => {
                    changes.push((message, view.signed.message));
                    changed_issuers.push(changed);
                }
                None => changed_issuers.push(der.clone().into_owned()),
            }
        }
        // Where what a change makes was sent as well, a signature of the one would do for the other.
        let sent = |message: &[u8]| {
            leaf.signed.message == message
                || issuers
                    .iter()
                    .any(|(_, view)| view.signed.message == message)
        };
        changes.retain(|(changed, _): &(Vec<u8>, &[u8])| !sent(changed));
        let chain = Chain {
            trust: self,
            leaf: &leaf,
            issuers,
            changed_leaf,
            changed_issuers,
            algorithms: self
                .lenient
                .iter()
                .map(|&algorithm| Unchanged {
                    algorithm,
                    changes: &changes,
                })
                .collect(),
        };
        chain.judge(shown, now, &mut certificate);
        certificate
    }

    /// Whether a certificate is of sluice's own authority, or issued by it.
    fn is_own(&self, view: &View<'_>) -> bool {
        self.own.iter().any(|own| {
            view.key() == own.key
                // Whoever names it as issuer, by name or by key, is believed when the signature is.
                || (view.issuer() == own.subject || names_key(view, &own.key_id))
                    && view.is_signed_by(&self.lenient, &own.key)
        })
    }
}

/// Whether an identifier of a key is the authority key identifier of a certificate.
fn names_key(view: &View<'_>, key_id: &[u8]) -> bool {
    // There it is [0] in a sequence.
    let authority = view.extension(35);
    !key_id.is_empty()
        && authority.is_some_and(|value| value.windows(key_id.len()).any(|part| part == key_id))
}

fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let digest = digest::digest(&digest::SHA256, der);
    for (byte, &from) in bytes.iter_mut().zip(digest.as_ref()) {
        *byte = from;
    }
    bytes
}

/// What is wrong with the leaf whoever issued it.
fn leaf_faults(leaf: &View<'_>, shown: Presented<'_>, now: UnixTime) -> Faults {
    let mut faults = Faults::NONE;
    let (first, last) = leaf.validity();
    if now < unix(first) {
        faults.insert(Fault::NotYetValid);
    }
    if now > unix(last) {
        faults.insert(Fault::Expired);
    }
    weaknesses(leaf, &mut faults);
    if !leaf.has_plain_serial() {
        faults.insert(Fault::Malformed);
    }
    let changed = leaf.without_unknown_critical(shown.leaf);
    let der = changed.map_or_else(|| shown.leaf.clone(), CertificateDer::from);
    match EndEntityCert::try_from(&der) {
        Ok(end_entity) => {
            if end_entity
                .verify_is_valid_for_subject_name(shown.name)
                .is_err()
            {
                faults.insert(Fault::NameMismatch);
            }
        }
        Err(_) => {
            faults.insert(Fault::Malformed);
            if leaf.names().is_empty() {
                faults.insert(Fault::NameMismatch);
            }
        }
    }
    faults
}

fn weaknesses(view: &View<'_>, faults: &mut Faults) {
    if view.key_kind().is_weak() {
        faults.insert(Fault::WeakKey);
    }
    if view.has_weak_signature() {
        faults.insert(Fault::WeakSignature);
    }
}

impl Chain<'_> {
    fn judge(&self, shown: Presented<'_>, now: UnixTime, certificate: &mut Certificate) {
        let faults = &mut certificate.faults;
        if self.is_costly() {
            faults.insert(Fault::TooCostly);
            return;
        }
        if faults.contains(Fault::Malformed) {
            return;
        }
        let issuers: Vec<CertificateDer<'_>> =
            self.issuers.iter().map(|&(der, _)| der.clone()).collect();
        let remembering = self.trust.verified.remembering(self.trust.strict.all);
        let believed: Vec<&dyn SignatureVerificationAlgorithm> = remembering
            .iter()
            .map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm)
            .collect();
        // Most chains are right.
        let strict = verify((shown.leaf, &issuers), (self.trust, &believed), now, None);
        let (path, at) = match strict {
            Ok(path) => (Some(path), now),
            Err(error) if is_budget(&error) => {
                faults.insert(Fault::TooCostly);
                return;
            }
            Err(_) => {
                let found = self.diagnose(now, faults);
                self.weaknesses_of(found.as_ref().map(|(path, _)| path), faults);
                // What is not right has to be wrong for something.
                if faults.is_empty() {
                    faults.insert(Fault::BadSignature);
                }
                match found {
                    Some((path, at)) => (Some(path), at),
                    None => (None, now),
                }
            }
        };
        if let Some(path) = path {
            let issuer = ocsp::Issuer {
                key: &path.issuer_key,
                algorithms: &believed,
            };
            certificate.revocation = self.revocation(issuer, shown.staple, (now, at), faults);
        } else if self.leaf.subject() == self.leaf.issuer()
            && self.leaf.is_signed_by(&self.trust.lenient, self.leaf.key())
        {
            faults.insert(Fault::SelfSigned);
        }
    }

    /// Finds a way to a root at any time, by any algorithm; tells what kept it from being one.
    fn diagnose(&self, now: UnixTime, faults: &mut Faults) -> Option<(Path, UnixTime)> {
        let other = self.time_of_all(now);
        let mut dated = None;
        for at in std::iter::once(now).chain(other) {
            match self.verify(at, None) {
                Ok(path) => {
                    dated.into_iter().for_each(|fault| faults.insert(fault));
                    return Some((path, at));
                }
                Err(Error::CertExpired { .. }) => dated = dated.or(Some(Fault::Expired)),
                Err(Error::CertNotValidYet { .. }) => dated = dated.or(Some(Fault::NotYetValid)),
                Err(error) => {
                    dated.into_iter().for_each(|fault| faults.insert(fault));
                    faults.insert(fault_of(&error));
                    return None;
                }
            }
        }
        dated.into_iter().for_each(|fault| faults.insert(fault));
        // At no time were all of them valid, so that nobody vouches for the leaf.
        faults.insert(Fault::UnknownIssuer);
        None
    }

    fn verify(
        &self,
        at: UnixTime,
        revocation: Option<RevocationOptions<'_>>,
    ) -> Result<Path, Error> {
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> = self
            .algorithms
            .iter()
            .map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm)
            .collect();
        verify(
            (&self.changed_leaf, &self.changed_issuers),
            (self.trust, &algorithms),
            at,
            revocation,
        )
    }

    /// The issuers that are reached from the leaf by names.
    fn reached(&self) -> Vec<&View<'_>> {
        let mut reached: Vec<&View<'_>> = Vec::new();
        let mut names = vec![self.leaf.issuer()];
        while let Some(name) = names.pop() {
            for (_, view) in &self.issuers {
                if view.subject() == name && !reached.iter().any(|known| std::ptr::eq(*known, view))
                {
                    reached.push(view);
                    names.push(view.issuer());
                }
            }
        }
        reached
    }

    /// The time next to `now` at which leaf and issuers are valid; where there is none, at which the
    /// leaf is. `None` where that is now.
    fn time_of_all(&self, now: UnixTime) -> Option<UnixTime> {
        let (first, last) = self.leaf.validity();
        let (mut begin, mut end) = (first, last);
        for view in self.reached() {
            let (first, last) = view.validity();
            (begin, end) = (begin.max(first), end.min(last));
        }
        if begin > end {
            (begin, end) = (first, last);
        }
        let at = now.max(unix(begin)).min(unix(end));
        (at != now).then_some(at)
    }

    /// What is weak on the way, or among those who could be on it.
    fn weaknesses_of(&self, path: Option<&Path>, faults: &mut Faults) {
        let on_the_way = |index: usize| {
            let changed = self.changed_issuers.get(index);
            path.is_none_or(|path| changed.is_some_and(|der| path.between.contains(der)))
        };
        let reached = self.reached();
        for (index, (der, view)) in self.issuers.iter().enumerate() {
            if on_the_way(index) && reached.iter().any(|known| std::ptr::eq(*known, view)) {
                weaknesses(view, faults);
                if self.changed_issuers.get(index) != Some(*der) {
                    faults.insert(Fault::UnknownCriticalExtension);
                }
            }
        }
        let root = path.and_then(|path| SubjectPublicKeyInfo::from_der(&path.root_key).ok());
        if root.is_some_and(|(_, root)| kind_of(&root).is_weak()) {
            faults.insert(Fault::WeakKey);
        }
    }

    /// Whether a search for a root would follow more ways than honest chains have.
    fn is_costly(&self) -> bool {
        fn walk(chain: &Chain<'_>, issuer: &[u8], used: &mut Vec<usize>, steps: &mut usize) {
            for (index, (_, view)) in chain.issuers.iter().enumerate() {
                if *steps > STEPS {
                    return;
                }
                if view.subject() == issuer && !used.contains(&index) && used.len() <= DEPTH {
                    *steps += 1;
                    used.push(index);
                    walk(chain, view.issuer(), used, steps);
                    used.pop();
                }
            }
        }
        let mut steps = 0;
        walk(self, self.leaf.issuer(), &mut Vec::new(), &mut steps);
        steps > STEPS
    }

    fn revocation(
        &self,
        issuer: ocsp::Issuer<'_>,
        staple: &[u8],
        (now, at): (UnixTime, UnixTime),
        faults: &mut Faults,
    ) -> Revocation {
        let mode = self.trust.revocation;
        if mode == RevocationMode::Off {
            return Revocation::NotChecked;
        }
        let stapled = match staple {
            [] => ocsp::Status::Unknown,
            _ => ocsp::status(staple, self.leaf, issuer, now),
        };
        let listed = (mode == RevocationMode::Crl).then(|| self.listed(stapled, (now, at)));
        let revocation = match (stapled, listed) {
            (ocsp::Status::Revoked, _) | (_, Some(Revocation::Revoked)) => Revocation::Revoked,
            (_, Some(listed)) => listed,
            (ocsp::Status::Good, None) => Revocation::Good,
            (ocsp::Status::Unknown, None) => Revocation::Unknown,
        };
        let demanded = self.leaf.must_staple() && stapled == ocsp::Status::Unknown;
        match revocation {
            Revocation::Revoked => faults.insert(Fault::Revoked),
            Revocation::Unknown if self.trust.unknown == Unknown::Refuse || demanded => {
                faults.insert(Fault::RevocationUnknown);
            }
            _ if demanded => faults.insert(Fault::RevocationUnknown),
            _ => {}
        }
        revocation
    }

    /// What the lists say of leaf and issuers. Where the staple speaks for the leaf, lists that are
    /// missing do not count.
    fn listed(&self, stapled: ocsp::Status, (now, at): (UnixTime, UnixTime)) -> Revocation {
        let crls: Vec<_> = self.trust.crls.iter().collect();
        let Ok(builder) = RevocationOptionsBuilder::new(&crls) else {
            return Revocation::Unknown;
        };
        let missing = match stapled {
            ocsp::Status::Good => UnknownStatusPolicy::Allow,
            ocsp::Status::Revoked | ocsp::Status::Unknown => UnknownStatusPolicy::Deny,
        };
        // Where the chain is looked at as of another time, that time says nothing of a list.
        let expired = match at == now {
            true => ExpirationPolicy::Enforce,
            false => ExpirationPolicy::Ignore,
        };
        let verified = |missing, expired| {
            let options = builder
                .with_status_policy(missing)
                .with_expiration_policy(expired);
            self.verify(at, Some(options.build()))
        };
        // What one list revokes is revoked, also where the next is missing or out of date.
        let known = verified(UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore);
        if let Err(Error::CertRevoked) = known {
            return Revocation::Revoked;
        }
        match verified(missing, expired) {
            Ok(_) => Revocation::Good,
            Err(Error::CertRevoked) => Revocation::Revoked,
            Err(_) => Revocation::Unknown,
        }
    }
}

fn verify(
    (leaf, issuers): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    (trust, algorithms): (&Trust, &[&dyn SignatureVerificationAlgorithm]),
    at: UnixTime,
    revocation: Option<RevocationOptions<'_>>,
) -> Result<Path, Error> {
    let end_entity = EndEntityCert::try_from(leaf)?;
    let path = end_entity.verify_for_usage(
        algorithms,
        &trust.anchors,
        issuers,
        at,
        KeyUsage::server_auth(),
        revocation,
        None,
    )?;
    Ok(Path {
        issuer_key: path.issuer_spki().into_owned(),
        root_key: webpki::spki_for_anchor(path.anchor()).into_owned(),
        between: path
            .intermediate_certificates()
            .map(|issuer| issuer.der().into_owned())
            .collect(),
    })
}

const fn is_budget(error: &Error) -> bool {
    matches!(
        error,
        Error::MaximumSignatureChecksExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumNameConstraintComparisonsExceeded
    )
}

fn fault_of(error: &Error) -> Fault {
    match error {
        error if is_budget(error) => Fault::TooCostly,
        Error::CaUsedAsEndEntity => Fault::CaAsLeaf,
        Error::EndEntityUsedAsCa => Fault::NotACa,
        Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => Fault::PathTooLong,
        Error::NameConstraintViolation
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint
        | Error::UnsupportedNameType => Fault::OutsideNameConstraints,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Fault::WrongPurpose,
        Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => {
            Fault::BadSignature
        }
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Fault::UnsupportedSignature,
        Error::CertDistrusted => Fault::Distrusted,
        Error::UnsupportedCriticalExtension => Fault::UnknownCriticalExtension,
        Error::UnknownIssuer => Fault::UnknownIssuer,
        _ => Fault::Malformed,
    }
}

#[cfg(test)]
mod tests;
