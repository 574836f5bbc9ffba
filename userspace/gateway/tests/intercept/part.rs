//! Origins that stop in the middle of a handshake.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An origin that says a part of what it should, and then no more.
pub(crate) struct Part {
    /// What it says; none: its side of a genuine handshake.
    bytes: Option<Vec<u8>>,
    /// How many bytes of it, in how many flights.
    most: usize,
    flights: usize,
    /// How long it pauses before each byte.
    pause: Duration,
    /// Connections whose other side has gone since.
    pub(crate) closed: AtomicUsize,
}

impl Part {
    /// A genuine handshake as far as so many bytes.
    pub(crate) fn of_handshake(most: usize) -> &'static Self {
        Self::leaked(None, (most, usize::MAX), Duration::ZERO)
    }

    /// The first flight of a genuine handshake.
    pub(crate) fn of_one_flight() -> &'static Self {
        Self::leaked(None, (usize::MAX, 1), Duration::ZERO)
    }

    /// These bytes, whatever comes.
    pub(crate) fn of_bytes(bytes: Vec<u8>, pause: Duration) -> &'static Self {
        let most = bytes.len();
        Self::leaked(Some(bytes), (most, 1), pause)
    }

    fn leaked(
        bytes: Option<Vec<u8>>,
        (most, flights): (usize, usize),
        pause: Duration,
    ) -> &'static Self {
        Box::leak(Box::new(Self {
            bytes,
            most,
            flights,
            pause,
            closed: AtomicUsize::new(0),
        }))
    }

    pub(crate) async fn say(&self, config: Arc<ServerConfig>, mut stream: TcpStream) {
        let mut tls = rustls::ServerConnection::new(config).unwrap();
        let (mut said, mut flights) = (0, 0);
        let mut chunk = vec![0; 16_384];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            let mut heard = &chunk[..read];
            let mut answer = Vec::new();
            match &self.bytes {
                Some(bytes) if said == 0 => answer.clone_from(bytes),
                Some(_) => {}
                // An alert is no part of the handshake that is wanted here.
                None => {
                    while tls.read_tls(&mut heard).is_ok_and(|read| read > 0) {
                        if tls.process_new_packets().is_err() {
                            break;
                        }
                    }
                    while tls.wants_write() {
                        tls.write_tls(&mut answer).unwrap();
                    }
                }
            }
            if flights == self.flights {
                answer.clear();
            }
            flights += usize::from(!answer.is_empty());
            answer.truncate(self.most - said);
            said += answer.len();
            if self.pause.is_zero() {
                let _ = stream.write_all(&answer).await;
                continue;
            }
            for byte in answer {
                tokio::time::sleep(self.pause).await;
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
        }
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}
