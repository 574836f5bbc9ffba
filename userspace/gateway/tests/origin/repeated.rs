//! Origins that are met again: nothing but the arithmetic of signatures is remembered of the last time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::version::{TLS12, TLS13};
use sluice_gateway::origin::{Origins, Target};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_rustls::TlsAcceptor;

use crate::pki::*;
use crate::served::{Served, offering, settings, words};

/// A connection that counts what would be packets.
struct Packets {
    stream: DuplexStream,
    written: usize,
}

impl AsyncRead for Packets {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Packets {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written += 1;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written += 1;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn each_flight_of_a_handshake_is_one_packet() {
    for version in [&TLS12, &TLS13] {
        let (root, key) = (Authority::root("root"), key());
        let leaf = root
            .leaf(&key)
            .names(&[dns(NAME.as_bytes())])
            .sign(&root.key);
        let (settings, _folder) = settings(&[&root.certificate]);
        let config = Served::new(&[&leaf], &key).only(version).config();
        let (near, far) = tokio::io::duplex(64 << 10);
        let packets = Packets {
            stream: near,
            written: 0,
        };
        let origins = Origins::new(&settings).unwrap();
        let target = Target::new(Some(NAME), ([192, 0, 2, 1], 443).into()).unwrap();
        let (met, _served) = tokio::join!(
            origins.connect(packets, &target, None, offering(&[]), now()),
            TlsAcceptor::from(config).accept(far),
        );
        // The hello; and all that follows the origin's own flight.
        let met = met.unwrap();
        assert_eq!(met.stream.get_ref().0.get_ref().written, 2, "{version:?}");
        assert!(met.report.is_valid());
    }
}

#[tokio::test]
async fn a_chain_that_was_right_before_is_judged_anew_by_name_time_and_bytes() {
    let (root, issuer_key) = (Authority::root("root"), key());
    let (leaf_key, other_key) = (key(), key());
    let names = [dns(NAME.as_bytes())];
    let leaf = root.leaf(&leaf_key).names(&names).sign(&root.key);
    let forged = root.leaf(&leaf_key).names(&names).sign(&issuer_key);
    let other = root.leaf(&other_key).names(&names).sign(&root.key);
    let (settings, _folder) = settings(&[&root.certificate]);
    let origins = Origins::new(&settings).unwrap();
    let meet = async |leaf, key, name: &'static str, now| {
        let config = Served::new(&[leaf], key).config();
        let (near, far) = tokio::io::duplex(64 << 10);
        let target = Target::new(Some(name), ([192, 0, 2, 1], 443).into()).unwrap();
        let (met, _served) = tokio::join!(
            origins.connect(near, &target, None, offering(&[]), now),
            TlsAcceptor::from(config).accept(far),
        );
        met.map(|met| words(&met.report.certificate))
            .map_err(|failure| failure.to_string())
    };
    let late = at(NOW + 16 * DAY);
    for _ in 0..2 {
        let none: Vec<&str> = Vec::new();
        assert_eq!(meet(&leaf, &leaf_key, NAME, now()).await, Ok(none.clone()));
        assert_eq!(meet(&other, &other_key, NAME, now()).await, Ok(none));
        assert_eq!(
            meet(&leaf, &leaf_key, NAME, late).await,
            Ok(vec!["expired"])
        );
        assert_eq!(
            meet(&leaf, &leaf_key, "elsewhere.example", now()).await,
            Ok(vec!["name-mismatch"])
        );
        // The same to the byte but for its signature.
        let forged = meet(&forged, &leaf_key, NAME, now()).await.unwrap();
        assert!(!forged.is_empty());
        // Whoever shows a certificate that was right has to have its key.
        let stolen = meet(&leaf, &other_key, NAME, now()).await;
        assert!(stolen.is_err(), "{stolen:?}");
    }
}
