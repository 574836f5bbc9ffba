//! DER as far as leaves need it (X.690 section 10).
//!
//! A leaf is written here and not by a library, because its issuer must be the subject of the CA
//! byte by byte: subjects with the same attribute twice, as the domain components of a directory
//! are, or with several attributes in one part survive no reading and writing anew.

use time::OffsetDateTime;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;

/// The tag of a part that has a number in place of a type: primitive, or around others.
pub(crate) const fn context(number: u8, around: bool) -> u8 {
    0x80 | number | if around { 0x20 } else { 0 }
}

/// One value: its tag, the length, and what its parts are.
pub(crate) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut written = Vec::with_capacity(length + 6);
    written.push(tag);
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => written.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let used = bytes.get(zeros..).unwrap_or_default();
            // At most eight bytes.
            written.push(0x80 | used.len() as u8);
            written.extend_from_slice(used);
        }
    }
    for part in parts {
        written.extend_from_slice(part);
    }
    written
}

/// A moment in seconds since 1970, as certificates have it (RFC 5280 section 4.1.2.5); `None`
/// beyond the years that can be written.
pub(crate) fn moment(unix: i64) -> Option<Vec<u8>> {
    let at = OffsetDateTime::from_unix_timestamp(unix).ok()?;
    let year = u16::try_from(at.year()).ok()?;
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    Some(match year {
        1950..=2049 => value(
            UTC_TIME,
            &[format!("{:02}", year % 100).as_bytes(), rest.as_bytes()],
        ),
        _ => value(
            GENERALIZED_TIME,
            &[format!("{year:04}").as_bytes(), rest.as_bytes()],
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_the_shortest_form() {
        for (length, head) in [
            (0, vec![OCTET_STRING, 0]),
            (127, vec![OCTET_STRING, 127]),
            (128, vec![OCTET_STRING, 0x81, 128]),
            (255, vec![OCTET_STRING, 0x81, 255]),
            (256, vec![OCTET_STRING, 0x82, 1, 0]),
            (70_000, vec![OCTET_STRING, 0x83, 1, 0x11, 0x70]),
        ] {
            let written = value(OCTET_STRING, &[&vec![7; length]]);
            assert_eq!(written[..head.len()], head);
            assert_eq!(written.len(), head.len() + length);
        }
    }

    #[test]
    fn moments_change_their_form_with_the_century() {
        let text = |unix| String::from_utf8(moment(unix).unwrap()[2..].to_vec()).unwrap();
        assert_eq!(text(0), "700101000000Z");
        assert_eq!(text(2_524_607_999), "491231235959Z");
        assert_eq!(text(2_524_608_000), "20500101000000Z");
        assert_eq!(text(-631_152_001), "19491231235959Z");
        assert_eq!(text(253_402_300_799), "99991231235959Z");
        assert_eq!(moment(253_402_300_800), None);
        assert_eq!(moment(i64::MIN), None);
    }
}
