//! As much of DNS (RFC 1035) as one question and its answer need.

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

/// The answer: the name of the question has this address. `None` for what is no question.
pub(crate) fn answer(question: &[u8], address: [u8; 4]) -> Option<Vec<u8>> {
    let (id, rest) = question.split_first_chunk::<2>()?;
    // One question, no records.
    let asked = rest
        .get(10..)
        .filter(|_| rest.get(2..10) == Some(&[0, 1, 0, 0, 0, 0, 0, 0]))?;
    let mut bytes = id.to_vec();
    bytes.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    bytes.extend(asked);
    // The name is the one that stands at byte 12; type A, class IN, a minute, four bytes.
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    bytes.extend(address);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_gets_its_answer() {
        let asked = question(7, "news.example");
        assert_eq!(asked.len(), 12 + 14 + 4);
        let answered = answer(&asked, [203, 0, 113, 5]).unwrap();
        assert_eq!(
            (&answered[..2], &answered[12..30]),
            (&[0, 7][..], &asked[12..])
        );
        assert!(answered.ends_with(&[0, 4, 203, 0, 113, 5]));
        assert_eq!(answer(b"no question", [0; 4]), None);
    }
}
