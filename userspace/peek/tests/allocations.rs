//! What reading a hello allocates: nothing where it comes in one record, and never more than a
//! small multiple of what arrived, whatever lengths are announced.
//!
//! One test in a binary of its own, since the counts are of the whole process.
#![expect(
    unsafe_code,
    reason = "a global allocator that counts is an unsafe trait"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator with the caller's own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `System.alloc` with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use sluice_peek::{End, HELLO_LIMIT, HelloReader, NotTls, Peek, foreign, http};

    use super::{ALLOCATIONS, BYTES, Relaxed};

    /// How often, and how many bytes, are allocated meanwhile.
    fn allocated(action: impl FnOnce()) -> (usize, usize) {
        let before = (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed));
        action();
        let after = (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed));
        (after.0 - before.0, after.1 - before.1)
    }

    fn genuine_hello() -> Vec<u8> {
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("www.example.com").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        sent
    }

    fn one_byte_records(message: &[u8]) -> Vec<u8> {
        message
            .iter()
            .flat_map(|byte| [22, 3, 1, 0, 1, *byte])
            .collect()
    }

    #[test]
    fn the_common_path_allocates_nothing() {
        let hello = genuine_hello();
        let whole = allocated(|| {
            let peek = HelloReader::new(HELLO_LIMIT).advance(&hello);
            assert!(matches!(black_box(&peek), Peek::Hello(hello) if hello.sni.is_some()));
        });
        assert_eq!(whole, (0, 0), "in one segment");

        let in_segments = allocated(|| {
            let mut reader = HelloReader::new(HELLO_LIMIT);
            for seen in 0..hello.len() {
                assert_eq!(reader.advance(&hello[..seen]), Peek::NeedMore);
            }
            assert!(matches!(reader.advance(&hello), Peek::Hello(_)));
        });
        assert_eq!(in_segments, (0, 0), "in one-byte segments");

        let refused = allocated(|| {
            for bytes in [
                &b"\x80\x46\x01\x03\x01\0"[..],
                b"SSH-2.0-x\r\n",
                b"\x16\x03\x01\0\0",
            ] {
                let why = HelloReader::new(HELLO_LIMIT).finish(bytes, End::Eof);
                assert_ne!(why, NotTls::Truncated);
                black_box(foreign::application(bytes));
            }
            black_box(http::head(
                b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
                4096,
            ));
        });
        assert_eq!(refused, (0, 0), "what is not TLS");

        // 60,000 bytes are announced, 100 come.
        let announced = [&b"\x01\x00\xea\x60\x03\x03"[..], &[0; 94]].concat();
        let few = one_byte_records(&announced);
        let (_, bytes) = allocated(|| {
            let mut reader = HelloReader::new(HELLO_LIMIT);
            assert_eq!(reader.advance(&few), Peek::NeedMore);
        });
        assert!(bytes <= 4 * announced.len(), "{bytes} bytes");

        let message = &hello[5..];
        let many = one_byte_records(message);
        let (count, bytes) = allocated(|| {
            let peek = HelloReader::new(HELLO_LIMIT).advance(&many);
            assert!(matches!(peek, Peek::Hello(_)));
        });
        assert!(count <= 16, "{count} allocations");
        assert!(bytes <= 4 * message.len(), "{bytes} bytes");
    }
}
