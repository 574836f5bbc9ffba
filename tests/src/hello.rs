//! What clients say first: genuine ClientHellos, and the bytes that only look like TLS.

use std::sync::Arc;

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName,
};

/// A genuine ClientHello in its record, as rustls sends it; with SNI where `server` is a name, and
/// without where it is an address.
///
/// # Panics
///
/// When `server` is neither.
#[must_use]
pub fn genuine(server: &str, alpn: &[&str]) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions that the provider speaks")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(server.to_owned()).expect("a server's name or address");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client
        .write_tls(&mut bytes)
        .expect("a vector takes every byte");
    bytes
}

/// The same handshake bytes in records of at most `size` bytes each, 1 to 16384.
///
/// # Panics
///
/// When `record` is not one whole record.
#[must_use]
pub fn in_records_of(record: &[u8], size: usize) -> Vec<u8> {
    let (header, body) = record.split_at(5);
    assert_eq!(
        usize::from(u16::from_be_bytes([header[3], header[4]])),
        body.len()
    );
    let mut bytes = Vec::new();
    for part in body.chunks(size) {
        bytes.extend(&header[..3]);
        bytes.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

/// A ClientHello in the format of SSL 2 that offers TLS 1.0 (RFC 5246 appendix E.2): 72 bytes with
/// the head `80 46 01 03 01`, fifteen cipher specs and a challenge of sixteen bytes.
#[must_use]
pub fn sslv2() -> Vec<u8> {
    let mut bytes = vec![
        0x80, 0x46, 0x01, 0x03, 0x01, 0x00, 0x2d, 0x00, 0x00, 0x00, 0x10,
    ];
    for spec in [
        0x04u8, 0x05, 0x0a, 0x09, 0x64, 0x62, 0x03, 0x06, 0x13, 0x12, 0x63,
    ] {
        bytes.extend([0, 0, spec]);
    }
    for (kind, spec) in [(0x01u8, 0x80u8), (0x07, 0xc0), (0x03, 0x80), (0x06, 0x40)] {
        bytes.extend([kind, 0, spec]);
    }
    bytes.extend(0xb0..0xc0u8);
    bytes
}

/// TLS records of no length, one after another: something that no TLS stack sends.
#[must_use]
pub fn zero_length_records(count: usize) -> Vec<u8> {
    [0x17, 0x03, 0x01, 0x00, 0x00].repeat(count)
}

/// A datagram of 1200 bytes that begins as a QUIC version 1 Initial does (RFC 9000 section 17.2.2);
/// its payload is noise.
#[must_use]
pub fn quic_initial() -> Vec<u8> {
    let mut bytes = vec![0xc3, 0, 0, 0, 1, 8];
    bytes.extend(0xd0..0xd8u8);
    // No source connection id, no token; the rest of the datagram, as a two-byte varint.
    bytes.extend([0, 0]);
    let rest = u16::try_from(1200 - bytes.len() - 2).unwrap_or(0);
    bytes.extend((0x4000 | rest).to_be_bytes());
    let mut noise = 0x2545_f491u32;
    while bytes.len() < 1200 {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.push(noise.to_be_bytes()[0]);
    }
    bytes
}

/// A ServerHello of TLS 1.2 (RFC 5246 section 7.4.1.3) with a cipher suite that [`genuine`] offers:
/// what an origin that negotiates begins with.
#[must_use]
pub fn answer() -> Vec<u8> {
    let mut bytes = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
    bytes.extend([8; 32]);
    bytes.extend([0, 0xc0, 0x2f, 0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_for_an_address_names_nobody() {
        let named = genuine("news.example", &["h2"]);
        assert_eq!(named[..3], [0x16, 0x03, 0x01]);
        assert!(named.windows(12).any(|part| part == b"news.example"));
        let bare = genuine("203.0.113.5", &[]);
        assert!(!bare.windows(11).any(|part| part == b"203.0.113.5"));
        assert!(bare.len() < named.len());
    }

    #[test]
    fn records_hold_the_same_handshake() {
        let whole = genuine("news.example", &[]);
        let cut = in_records_of(&whole, 7);
        let joined: Vec<u8> = cut.chunks(12).flat_map(|part| part[5..].to_vec()).collect();
        assert_eq!(joined, whole[5..]);
    }

    #[test]
    fn the_sslv2_hello_is_as_long_as_it_says() {
        let bytes = sslv2();
        assert_eq!(bytes.len(), 2 + 0x46);
        // Message, version, three lengths, specs, challenge.
        assert_eq!(1 + 2 + 6 + 0x2d + 0x10, 0x46);
    }

    #[test]
    fn the_initial_fills_a_datagram() {
        assert_eq!(quic_initial().len(), 1200);
    }
}
