//! As much of DNS (RFC 1035) as one question and its answer need.

use std::net::IpAddr;

/// A question for the IPv4 address of a name.
pub(crate) fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// The answer: every address of the question's family that stands beside its name. `None` for what is
/// no question.
pub(crate) fn answer(question: &[u8], zone: &[(&str, IpAddr)]) -> Option<Vec<u8>> {
    let (id, rest) = question.split_first_chunk::<2>()?;
    // One question; what a resolver says of itself behind it is not answered.
    rest.get(2..8)
        .filter(|counts| *counts == [0, 1, 0, 0, 0, 0])?;
    let rest = rest.get(10..)?;
    let (mut name, mut at) = (String::new(), 0);
    loop {
        let length = usize::from(*rest.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = rest.get(at..at + length)?;
        name += std::str::from_utf8(label).ok()?;
        name.push('.');
        at += length;
    }
    let kind = *rest.get(at..at + 4)?.first_chunk::<4>()?;
    let asked = rest.get(..at + 4)?;
    let mut found = 0;
    let mut records = Vec::new();
    for (_, address) in zone.iter().filter(|(known, _)| {
        name.strip_suffix('.')
            .is_some_and(|name| name.eq_ignore_ascii_case(known))
    }) {
        let bytes = match (kind, address) {
            ([0, 1, 0, 1], IpAddr::V4(address)) => address.octets().to_vec(),
            ([0, 28, 0, 1], IpAddr::V6(address)) => address.octets().to_vec(),
            _ => continue,
        };
        // The name is the one that stands at byte 12; a minute.
        records.extend([0xc0, 12]);
        records.extend(kind);
        records.extend([0, 0, 0, 60, 0, u8::try_from(bytes.len()).unwrap_or(0)]);
        records.extend(bytes);
        found += 1;
    }
    let mut bytes = id.to_vec();
    bytes.extend([0x81, 0x80, 0, 1, 0, found, 0, 0, 0, 0]);
    bytes.extend(asked);
    bytes.extend(records);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_gets_its_answer() {
        let zone = [
            ("news.example", IpAddr::from([203, 0, 113, 5])),
            (
                "news.example",
                IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 5]),
            ),
        ];
        let mut asked = question(7, "News.example");
        assert_eq!(asked.len(), 12 + 14 + 4);
        let answered = answer(&asked, &zone).unwrap();
        assert_eq!(
            (&answered[..2], &answered[12..30]),
            (&[0, 7][..], &asked[12..])
        );
        assert!(answered.ends_with(&[0, 4, 203, 0, 113, 5]));
        assert_eq!(answered[7], 1);
        let kind = asked.len() - 3;
        asked[kind] = 28;
        let answered = answer(&asked, &zone).unwrap();
        assert!(answered.ends_with(&[
            0, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5
        ]));
        let answered = answer(&question(7, "other.example"), &zone).unwrap();
        assert_eq!((answered[7], answered.len()), (0, asked.len() + 1));
        assert_eq!(answer(b"no question", &zone), None);
        assert_eq!(answer(&asked[..20], &zone), None);
    }
}
