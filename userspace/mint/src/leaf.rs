//! Making a leaf.
//!
//! The laws, in seconds since 1970, with now being one moment for all of them:
//!
//! - A leaf for an accepted origin is valid from max(origin's beginning, now - backdate, CA's
//!   beginning) to min(origin's end, CA's end, now + longest validity). Never does a leaf make more
//!   of an origin's certificate than it is.
//! - A leaf for an origin that is not in order is one that clients refuse as well. Where it can be,
//!   it is wrong in the same way: it keeps the dates of a certificate that is expired or not yet
//!   valid, and the names of one that bears others. Whatever cannot be repeated, or would be
//!   accepted when repeated, is signed by a CA that only this process knows.

use std::{fmt, net::IpAddr, ops::Range, sync::Arc, time::Duration};

use rustls::sign::CertifiedKey;

use crate::{
    Authority, Chain, Fingerprint, LeafName, LeafRequest, MintError, Origin, OriginCertificate,
    PresentedName, authority, certificate::hex, der, key::LeafKey, request::Faults,
};

/// Names of an origin that a leaf repeats.
const NAMES_LIMIT: usize = 100;

/// A leaf, ready for a handshake.
pub struct Leaf {
    /// The leaf, the certificates between it and the root, and the key.
    pub certified: Arc<CertifiedKey>,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// SHA-256 of the leaf; with that of the origin's certificate it links the two in a record.
    pub fingerprint: Fingerprint,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: i64,
    /// Whether the CA of the configuration signed it, and not the one that nobody trusts.
    pub trusted: bool,
    /// From when on and until when it may be handed out. A clock that was turned, in either
    /// direction, makes it useless.
    served: Range<i64>,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("serial", &self.serial)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}

/// By so much a clock may go back before a leaf that was made then is one of the future.
const CLOCK_SLACK: i64 = 60;

impl Leaf {
    /// Whether it still does what it was made for.
    pub(crate) fn is_fresh(&self, now: i64) -> bool {
        self.served.contains(&now)
    }
}

/// How leaves are dated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    /// Longest validity from now on, in seconds.
    pub(crate) validity: i64,
    /// How far back validity may begin, in seconds.
    pub(crate) backdate: i64,
    /// Time before its end from which a leaf is made anew, in seconds.
    pub(crate) margin: i64,
}

impl Dates {
    pub(crate) fn new(validity: Duration, backdate: Duration, margin: Duration) -> Self {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Self {
            validity: seconds(validity),
            backdate: seconds(backdate),
            margin: seconds(margin),
        }
    }
}

/// What a leaf says.
#[derive(Debug)]
struct Plan {
    names: Vec<PresentedName>,
    not_before: i64,
    not_after: i64,
    served: Range<i64>,
    trusted: bool,
}

/// Makes a leaf under the CA, or under the one that nobody trusts.
pub(crate) fn mint(
    request: &LeafRequest,
    authority: &Authority,
    untrusted: &Authority,
    key: &LeafKey,
    dates: Dates,
    now: i64,
) -> Result<Leaf, MintError> {
    let plan = plan(request, authority, dates, now)?;
    let signer = if plan.trusted { authority } else { untrusted };
    let failed = |why: String| MintError::Crypto { why };
    let serial = authority::serial().map_err(|error| failed(error.to_string()))?;
    let written = certificate(&plan, signer, key, serial)
        .ok_or_else(|| failed("a date is beyond the year 9999".into()))?;
    let algorithm = signer.key().algorithm_id();
    let signature = signer
        .key()
        .sign(&written)
        .map_err(|error| failed(error.to_string()))?;
    // No bit of the last byte is unused.
    let signature = der::value(der::BIT_STRING, &[&[0], &signature]);
    let certificate = der::value(der::SEQUENCE, &[&written, &algorithm, &signature]);

    let fingerprint = Fingerprint::of(&certificate);
    let sent = plan.trusted.then(|| signer.chain().sent().cloned());
    let chain = std::iter::once(certificate.into()).chain(sent.into_iter().flatten());
    Ok(Leaf {
        certified: Arc::new(CertifiedKey::new(chain.collect(), key.signing.clone())),
        serial: hex(&serial),
        fingerprint,
        not_before: plan.not_before,
        not_after: plan.not_after,
        trusted: plan.trusted,
        served: plan.served,
    })
}

/// What is signed (RFC 5280 section 4.1): version 3, and nothing but what servers need.
fn certificate(
    plan: &Plan,
    signer: &Authority,
    key: &LeafKey,
    serial: [u8; 16],
) -> Option<Vec<u8>> {
    let issuer = signer.chain().signing();
    let (from, to) = (der::moment(plan.not_before)?, der::moment(plan.not_after)?);
    let names: Vec<u8> = plan.names.iter().flat_map(alternative).collect();
    let key_id = der::value(der::OCTET_STRING, &[&key.id]);
    let issuer_id = der::value(der::context(0, false), &[issuer.key_id()]);
    let sequence = |parts: &[&[u8]]| der::value(der::SEQUENCE, parts);
    let extensions = [
        // Digital signature alone: the first of the bits, seven of the byte unused.
        extension(KEY_USAGE, true, &[der::BIT_STRING, 2, 7, 0x80]),
        extension(EXTENDED_KEY_USAGE, false, &sequence(&[&SERVER_AUTH])),
        // No CA, which is what an empty one says.
        extension(BASIC_CONSTRAINTS, true, &sequence(&[])),
        // Clients look for names only here (RFC 9525 section 6.3). It is critical where the subject
        // is empty (section 4.2.1.6).
        extension(ALTERNATIVE_NAME, true, &sequence(&[&names])),
        extension(SUBJECT_KEY_ID, false, &key_id),
        extension(AUTHORITY_KEY_ID, false, &sequence(&[&issuer_id])),
    ];
    let version = der::value(der::INTEGER, &[&[2]]);
    Some(sequence(&[
        &der::value(der::context(0, true), &[&version]),
        &der::value(der::INTEGER, &[&serial]),
        &signer.key().algorithm_id(),
        issuer.subject_der(),
        &sequence(&[&from, &to]),
        &sequence(&[]),
        &key.info,
        &der::value(der::context(3, true), &[&sequence(&[&extensions.concat()])]),
    ]))
}

/// The last byte of id-ce (2.5.29), by which extensions are named.
const SUBJECT_KEY_ID: u8 = 14;
const KEY_USAGE: u8 = 15;
const ALTERNATIVE_NAME: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const AUTHORITY_KEY_ID: u8 = 35;
const EXTENDED_KEY_USAGE: u8 = 37;

/// id-kp-serverAuth (1.3.6.1.5.5.7.3.1) in DER.
const SERVER_AUTH: [u8; 10] = [der::OID, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];

fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let oid = der::value(der::OID, &[&[0x55, 0x1d, number]]);
    let value = der::value(der::OCTET_STRING, &[value]);
    let critical = if critical {
        der::value(der::BOOLEAN, &[&[0xff]])
    } else {
        Vec::new()
    };
    der::value(der::SEQUENCE, &[&oid, &critical, &value])
}

/// A GeneralName (RFC 5280 section 4.2.1.6): an address is its bytes.
fn alternative(name: &PresentedName) -> Vec<u8> {
    match name.base().ip() {
        Some(IpAddr::V4(address)) => der::value(der::context(7, false), &[&address.octets()]),
        Some(IpAddr::V6(address)) => der::value(der::context(7, false), &[&address.octets()]),
        None => der::value(der::context(2, false), &[name.to_string().as_bytes()]),
    }
}

fn plan(
    request: &LeafRequest,
    authority: &Authority,
    dates: Dates,
    now: i64,
) -> Result<Plan, MintError> {
    let asked = &request.name;
    let chain = authority.chain();
    if now >= chain.not_after() {
        return Err(MintError::AuthorityExpired {
            at: chain.not_after(),
        });
    }
    if now < chain.not_before() {
        return Err(MintError::AuthorityNotYetValid {
            at: chain.not_before(),
        });
    }
    if let Origin::Invalid {
        certificate,
        faults,
        names,
    } = &request.origin
    {
        return Ok(
            repeated(certificate, *faults, names, asked, chain, dates, now)
                .unwrap_or_else(|| unacceptable(certificate, *faults, names, asked, dates, now)),
        );
    }
    if !chain.allows(asked) {
        return Err(MintError::Constrained {
            name: asked.to_string(),
        });
    }
    let mut plan = Plan {
        names: vec![asked.clone().into()],
        not_before: chain.not_before().max(now.saturating_sub(dates.backdate)),
        not_after: chain.not_after().min(now.saturating_add(dates.validity)),
        served: 0..0,
        trusted: true,
    };
    if let Origin::Accepted(origin) = &request.origin {
        if now < origin.not_before || now >= origin.not_after {
            return Err(MintError::OriginNotValid {
                from: origin.not_before,
                to: origin.not_after,
            });
        }
        plan.not_before = plan.not_before.max(origin.not_before);
        plan.not_after = plan.not_after.min(origin.not_after);
    }
    // What is short is not made anew all the time: that would not make it longer.
    let margin = dates.margin.min((plan.not_after - now) / 4);
    plan.served = now.saturating_sub(CLOCK_SLACK)..plan.not_after - margin;
    Ok(plan)
}

/// A leaf of the CA that is wrong in the same way as the origin's certificate; `None` where there
/// is none that clients would refuse for it.
fn repeated(
    origin: &OriginCertificate,
    faults: Faults,
    names: &[PresentedName],
    asked: &LeafName,
    chain: &Chain,
    dates: Dates,
    now: i64,
) -> Option<Plan> {
    if faults.contain(Faults::UNTRUSTED) {
        return None;
    }
    let expired = faults.contain(Faults::EXPIRED) && origin.not_after <= now;
    let early = faults.contain(Faults::NOT_YET_VALID) && now < origin.not_before;
    let mismatch = faults.contain(Faults::NAME_MISMATCH)
        && !names.is_empty()
        && !names.iter().any(|name| name.covers(asked));
    // Names alone make a leaf that is valid for somebody else, with a key that only this process
    // has: refused here, and of no use there. Dates are a fault for everybody.
    if !expired && !early && !mismatch {
        return None;
    }
    let claimed = [
        (Faults::EXPIRED, expired),
        (Faults::NOT_YET_VALID, early),
        (Faults::NAME_MISMATCH, mismatch),
    ];
    if claimed
        .iter()
        .any(|(fault, is)| faults.contain(*fault) && !is)
    {
        return None;
    }
    let names = if mismatch {
        names.iter().take(NAMES_LIMIT).cloned().collect()
    } else {
        vec![asked.clone().into()]
    };
    let allowed = names.iter().all(|name| chain.allows_presented(name));
    if !allowed {
        return None;
    }
    let latest = chain.not_after().min(now.saturating_add(dates.validity));
    let not_after = origin.not_after.min(latest);
    let not_before = if expired || early {
        origin.not_before
    } else {
        let earliest = chain.not_before().max(now.saturating_sub(dates.backdate));
        origin.not_before.max(earliest)
    };
    let slack = now.saturating_sub(CLOCK_SLACK);
    // While the fault is one.
    let served = if expired {
        slack.max(not_after)..now.saturating_add(dates.validity)
    } else if early {
        slack..not_before
    } else {
        slack..not_after
    };
    (not_before < not_after).then_some(Plan {
        names,
        not_before,
        not_after,
        served,
        trusted: true,
    })
}

/// A leaf of the CA that nobody trusts, which repeats besides what it can.
fn unacceptable(
    origin: &OriginCertificate,
    faults: Faults,
    names: &[PresentedName],
    asked: &LeafName,
    dates: Dates,
    now: i64,
) -> Plan {
    let mismatch = faults.contain(Faults::NAME_MISMATCH) && !names.is_empty();
    let names = if mismatch {
        names.iter().take(NAMES_LIMIT).cloned().collect()
    } else {
        vec![asked.clone().into()]
    };
    let keeps = faults.contain(Faults::EXPIRED) || faults.contain(Faults::NOT_YET_VALID);
    let written = |unix: i64| der::moment(unix).is_some();
    let sane = origin.not_before < origin.not_after
        && written(origin.not_before)
        && written(origin.not_after);
    let (not_before, not_after) = if keeps && sane {
        (origin.not_before, origin.not_after)
    } else {
        (
            now.saturating_sub(dates.backdate),
            now.saturating_add(dates.validity),
        )
    };
    Plan {
        names,
        not_before,
        not_after,
        // It stays refused whatever its dates; made anew now and then all the same.
        served: now.saturating_sub(CLOCK_SLACK)..now.saturating_add(dates.validity),
        trusted: false,
    }
}
