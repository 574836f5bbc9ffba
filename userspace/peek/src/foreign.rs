//! Applications that tell themselves by a client's first bytes.

use crate::http;

/// The first bytes of protocols whose clients speak first, with the name used in rules and logs.
const PREFIXES: &[(&[u8], &str)] = &[
    (b"SSH-", "ssh"),
    (b"\x13BitTorrent protocol", "bittorrent"),
    // Skype's imitation of a hello in SSL 2.0 format is the same in every connection; a genuine
    // one of a TLS stack differs in its length or its lists.
    (b"\x80\x46\x01\x03\x01\0\x2d\0\0\0\x10", "skype"),
    (b"PRI * HTTP/2.0\r\n", "http"),
    (b"EHLO ", "smtp"),
    (b"HELO ", "smtp"),
    (b"<?xml ", "xmpp"),
    (b"<stream:stream", "xmpp"),
];

/// So many bytes of a prefix suffice to tell it, where the stream has no more.
const ENOUGH: usize = 5;

/// The application that a client's first bytes show, or `None` where they show none that is known.
///
/// While [`may_show_more`] holds of the bytes, more of them may give another answer.
///
/// This is a guess from outside, for rules that name an application: any program can send such
/// bytes. TLS is none of these; what is inside it does not show.
#[must_use]
pub fn application(bytes: &[u8]) -> Option<&'static str> {
    // Servers do, so that whoever does not would take what they answer for no request.
    if http::is_request_line(http::behind_empty_lines(bytes)) {
        return Some("http");
    }
    if is_rdp(bytes) {
        return Some("rdp");
    }
    PREFIXES
        .iter()
        .find(|(prefix, _)| {
            let common = prefix.len().min(bytes.len());
            common >= ENOUGH.min(prefix.len()) && prefix.get(..common) == bytes.get(..common)
        })
        .map(|(_, name)| *name)
}

/// Whether the bytes are the beginning of what some application sends first, and not all of it yet.
///
/// Whoever decides on fewer bytes decides by how the client cut its stream into segments, which is
/// its own choice.
#[must_use]
pub fn may_show_more(bytes: &[u8]) -> bool {
    http::may_become_request_line(http::behind_empty_lines(bytes))
        || may_become_rdp(bytes)
        || PREFIXES
            .iter()
            .any(|(prefix, _)| bytes.len() < prefix.len() && prefix.starts_with(bytes))
}

/// What X.224 calls a connection request.
const CONNECTION_REQUEST: u8 = 0xe0;

/// A TPKT header (RFC 1006 section 6) that holds exactly an X.224 connection request.
fn is_rdp(bytes: &[u8]) -> bool {
    matches!(*bytes, [3, 0, 0, packet, request, CONNECTION_REQUEST, ..]
        if packet.checked_sub(5) == Some(request))
}

fn may_become_rdp(bytes: &[u8]) -> bool {
    match *bytes {
        [] | [3] | [3, 0] | [3, 0, 0] => true,
        [3, 0, 0, packet] => packet >= 5,
        [3, 0, 0, packet, request] => packet.checked_sub(5) == Some(request),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;
    use crate::{End, FirstReader, NotTls, Peek};

    #[test]
    fn known_first_bytes() {
        let cases: &[(&[u8], Option<&str>)] = &[
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some("ssh")),
            (b"\x13BitTorrent protocol\0\0", Some("bittorrent")),
            (b"\x80\x46\x01\x03\x01", Some("skype")),
            (b"\x80\x46\x01\x03\x01\0\x2d\0\0\0\x10\0\0", Some("skype")),
            (b"\x80\x46\x01\x03\x01\0\x2a\0\0\0\x10\0\0", None),
            (b"\x80\x67\x01\x03\x01\0\x4e\0\0\0\x10", None),
            (b"GET / HTTP/1.1\r\n", Some("http")),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some("http")),
            (b"\r\nGET / HTTP/1.1\r\n", Some("http")),
            (b"\n\r\n\nPOST / HTTP/1.1\r\n", Some("http")),
            (b"\r\n", None),
            (b"\r\nEHLO a\r\n", None),
            (b"EHLO client.example\r\n", Some("smtp")),
            (b"<?xml version='1.0'?>", Some("xmpp")),
            (b"\x03\0\0\x13\x0e\xe0\0\0", Some("rdp")),
            (b"\x03\0\0\x2c\x27\xe0\0\0\0\0\0Cookie: ", Some("rdp")),
            (b"\x03\0\0\x13\x0f\xe0\0\0", None),
            (b"\x16\x03\x01\0\xba\x01", None),
            (b"\x80\x46", None),
            (b"SSH", None),
            (b"", None),
        ];
        for (bytes, name) in cases {
            assert_eq!(application(bytes), *name, "{bytes:?}");
        }
    }

    /// What every application sends first, whole: no byte of it is too many.
    fn signatures() -> Vec<(Vec<u8>, &'static str)> {
        let methods = http::METHODS
            .iter()
            .map(|method| [method, &b" "[..]].concat());
        let requests = [19, 44, 255].map(|packet: u8| vec![3, 0, 0, packet, packet - 5, 0xe0]);
        let prefixes = PREFIXES
            .iter()
            .map(|(prefix, name)| (prefix.to_vec(), *name));
        methods
            .map(|method| (method, "http"))
            .chain(requests.map(|request| (request, "rdp")))
            .chain(prefixes)
            .collect()
    }

    #[test]
    fn what_has_been_told_stays_told() {
        for (signature, name) in signatures() {
            for cut in 0..signature.len() {
                assert!(
                    may_show_more(&signature[..cut]),
                    "{signature:?} cut at {cut}"
                );
                if (name, cut) == ("rdp", 3) {
                    // Any length from 5 on will do.
                    continue;
                }
                // Another byte there makes it nobody's.
                let mut other = signature[..=cut].to_vec();
                other[cut] ^= 0xff;
                assert!(!may_show_more(&other), "{other:?}");
                assert_eq!(application(&other), None, "{other:?}");
            }
            assert!(!may_show_more(&signature), "{signature:?}");
            for end in [&b""[..], b"\0", b" / HTTP/1.1\r\n", &[0xff; 30]] {
                let whole = [&signature, end].concat();
                assert_eq!(application(&whole), Some(name), "{whole:?}");
            }
        }
    }

    #[test]
    fn segments_do_not_matter() {
        for (signature, name) in signatures() {
            let stream = [&signature[..], b" and what follows"].concat();
            let mut whole = FirstReader::new(4096);
            let Peek::NotTls(why) = whole.advance(&stream) else {
                panic!("{stream:?} is TLS")
            };
            // In two segments, and from there on in segments of one byte.
            for cut in 1..=signature.len() {
                let mut reader = FirstReader::new(4096);
                let told = (cut..=stream.len())
                    .find_map(|end| match reader.advance(&stream[..end]) {
                        Peek::NeedMore => None,
                        told => Some((told, application(&stream[..end]))),
                    })
                    .unwrap();
                assert_eq!(
                    told,
                    (Peek::NotTls(why), Some(name)),
                    "{stream:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn what_ends_early_is_what_it_was() {
        let told = |bytes: &[u8], end| FirstReader::new(4096).finish(bytes, end);
        for (bytes, why) in [
            (&b""[..], [NotTls::Silent, NotTls::Silent]),
            (b"S", [NotTls::NotTls, NotTls::NotTls]),
            (b"\x13Bit", [NotTls::NotTls, NotTls::NotTls]),
            (b"\x80\x46", [NotTls::Truncated, NotTls::Timeout]),
            (b"\x80\x46\x01\x03\x01", [NotTls::Sslv2Hello; 2]),
            (b"\x03\0", [NotTls::Truncated, NotTls::Timeout]),
            (b"\x16\x03", [NotTls::Truncated, NotTls::Timeout]),
            (b"\x16\x03\x01\0\0", [NotTls::ZeroLengthRecord; 2]),
        ] {
            assert_eq!(
                [End::Eof, End::Deadline].map(|end| told(bytes, end)),
                why,
                "{bytes:?}"
            );
        }
        // What is no application's beginning is not waited for.
        for bytes in [
            &b"x"[..],
            b"GEX",
            b"\x16\x02",
            b"\x80\x46\x01\x03\x01\0\x2a",
        ] {
            let mut reader = FirstReader::new(4096);
            assert!(
                matches!(reader.advance(bytes), Peek::NotTls(_)),
                "{bytes:?}"
            );
        }
    }
}
