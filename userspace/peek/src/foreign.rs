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

/// So many bytes of a prefix suffice to tell it, where the stream has no more yet.
const ENOUGH: usize = 5;

/// The application that a client's first bytes show, or `None` where they show none that is known.
///
/// This is a guess from outside, for rules that name an application: any program can send such
/// bytes. TLS is none of these; what is inside it does not show.
#[must_use]
pub fn application(bytes: &[u8]) -> Option<&'static str> {
    if http::is_request_line(bytes) {
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

/// A TPKT header (RFC 1006 section 6) that holds exactly an X.224 connection request.
fn is_rdp(bytes: &[u8]) -> bool {
    const CONNECTION_REQUEST: u8 = 0xe0;
    matches!(*bytes, [3, 0, 0, packet, request, CONNECTION_REQUEST, ..]
        if packet.checked_sub(5) == Some(request))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
