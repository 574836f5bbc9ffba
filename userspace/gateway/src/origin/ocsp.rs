//! Stapled answers of the Online Certificate Status Protocol (RFC 6960, RFC 6066 section 8).
//!
//! Read by hand: the one crate for it is of a generation of its family that is no longer kept up, and
//! what is needed of an answer is little.

use aws_lc_rs::digest::{self, Algorithm};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::pki_types::{SignatureVerificationAlgorithm, UnixTime};

use super::algorithms::is_signed_by;
use super::der::{
    ENUMERATED, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, Signed, context,
};
use super::view::View;

/// How far the clocks of a responder and of the gateway may be apart, in seconds.
const SKEW: i64 = 300;
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const KEY_USAGE_OCSP: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];

/// What an answer proves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Status {
    Good,
    Revoked,
    /// Nothing: it is not about this certificate, not of its issuer, not of this time, or says that
    /// the responder does not know.
    Unknown,
}

/// Who may sign an answer about a certificate, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issuer<'a> {
    /// The SubjectPublicKeyInfo of the certificate's issuer.
    pub(super) key: &'a [u8],
    pub(super) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

/// What an answer proves of a certificate at a time.
pub(super) fn status(answer: &[u8], leaf: &View<'_>, issuer: Issuer<'_>, now: UnixTime) -> Status {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    read(answer, leaf, issuer, now).unwrap_or(Status::Unknown)
}

fn read(answer: &[u8], leaf: &View<'_>, issuer: Issuer<'_>, now: i64) -> Option<Status> {
    let mut outer = Reader::new(answer).enter(SEQUENCE)?;
    if outer.take(ENUMERATED)?.content != [0] {
        return None;
    }
    let mut bytes = outer.enter(context(0))?.enter(SEQUENCE)?;
    if bytes.take(OID)?.content != BASIC {
        return None;
    }
    let signed = Signed::of(bytes.take(OCTET_STRING)?.content)?;
    if !is_answer_of(&signed, leaf, issuer, now) {
        return None;
    }
    let mut data = Reader::new(signed.message).enter(SEQUENCE)?;
    let _version = data.optional(context(0));
    let _responder = data.any()?;
    let _produced = data.take(GENERALIZED_TIME)?;
    let mut responses = data.enter(SEQUENCE)?;
    std::iter::from_fn(|| responses.enter(SEQUENCE))
        .filter_map(|response| single(response, leaf, issuer.key, now))
        // More than one about the same certificate: the worst counts.
        .reduce(|one, other| match (one, other) {
            (Status::Revoked, _) | (_, Status::Revoked) => Status::Revoked,
            (Status::Unknown, _) | (_, Status::Unknown) => Status::Unknown,
            (Status::Good, Status::Good) => Status::Good,
        })
}

/// Whether the issuer signed it, or somebody whom the issuer named for that (RFC 6960
/// section 4.2.2.2).
fn is_answer_of(signed: &Signed<'_>, leaf: &View<'_>, issuer: Issuer<'_>, now: i64) -> bool {
    let Signed {
        message,
        algorithm,
        signature,
        mut rest,
    } = *signed;
    let algorithms = issuer.algorithms;
    if is_signed_by(algorithms, algorithm, issuer.key, message, signature) {
        return true;
    }
    let Some(mut certificates) = rest.enter(context(0)).and_then(|mut r| r.enter(SEQUENCE)) else {
        return false;
    };
    // A responder needs one certificate; a few more are harmless, many only cost.
    std::iter::from_fn(|| certificates.take(SEQUENCE))
        .take(3)
        .filter_map(|element| View::of(element.whole))
        .any(|delegate| {
            let (first, last) = delegate.validity();
            let signs_answers = delegate
                .extension(37)
                .and_then(|usages| Reader::new(usages).enter(SEQUENCE))
                .is_some_and(|mut usages| {
                    std::iter::from_fn(|| usages.take(OID)).any(|id| id.content == KEY_USAGE_OCSP)
                });
            signs_answers
                && (first..=last).contains(&now)
                && delegate.issuer() == leaf.issuer()
                && delegate.is_signed_by(algorithms, issuer.key)
                && is_signed_by(algorithms, algorithm, delegate.key(), message, signature)
        })
}

/// What one of the responses says, where it is about the certificate.
fn single(mut response: Reader<'_>, leaf: &View<'_>, key: &[u8], now: i64) -> Option<Status> {
    let mut id = response.enter(SEQUENCE)?;
    let hash: &'static Algorithm = match id.enter(SEQUENCE)?.take(OID)?.content {
        SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &digest::SHA256,
        _ => return None,
    };
    let (name_hash, key_hash) = (id.take(OCTET_STRING)?, id.take(OCTET_STRING)?);
    let serial = id.take(INTEGER)?.content;
    if serial != leaf.certificate.tbs_certificate.raw_serial()
        || name_hash.content != digest::digest(hash, leaf.issuer()).as_ref()
        || key_hash.content != digest::digest(hash, key_bits(key)?).as_ref()
    {
        return None;
    }
    let status = match response.any()?.tag {
        0x80 => Status::Good,
        0xa1 => Status::Revoked,
        _ => Status::Unknown,
    };
    let begin = time(response.take(GENERALIZED_TIME)?.content)?;
    // An answer that names no end could be replayed for ever (RFC 5019 section 2.2.4 asks for one).
    let end = time(response.enter(context(0))?.take(GENERALIZED_TIME)?.content)?;
    let current = begin - SKEW <= now && now <= end + SKEW;
    Some(if current { status } else { Status::Unknown })
}

/// The bits of the key in a SubjectPublicKeyInfo.
fn key_bits(info: &[u8]) -> Option<&[u8]> {
    let mut info = Reader::new(info).enter(SEQUENCE)?;
    info.take(SEQUENCE)?;
    let (_unused, bits) = info.any()?.content.split_first()?;
    Some(bits)
}

/// A GeneralizedTime as RFC 5280 section 4.1.2.5.2 has it, in seconds since 1970.
fn time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i8>().ok();
    let year: i16 = text.get(..4)?.parse().ok()?;
    let (month, day) = (part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    Some(TimeZone::UTC.to_timestamp(time).ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_refused() {
        assert_eq!(time(b"19700101000001Z"), Some(1));
        assert_eq!(time(b"20240229120000Z"), Some(1_709_208_000));
        for wrong in [
            &b"20240230120000Z"[..],
            b"20240229120000",
            b"202402291200Z",
            b"2024022912000\xffZ",
            b"+0240229120000Z",
        ] {
            assert_eq!(time(wrong), None, "{wrong:?}");
        }
    }
}
