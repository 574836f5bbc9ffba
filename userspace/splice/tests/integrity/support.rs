//! A client, a relay and an origin on loopback, and bytes that can be told from any others.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sluice_splice::{DialOptions, ListenOptions, dial, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Keeps the tests of this process apart: they count and limit its descriptors.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // The first runtime of a process opens descriptors that stay.
    run(async {});
    turn
}

/// A small generator with a seed, so that a failure can be run again.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Length of the noise that streams are cut from; prime, so that no pipe or buffer divides it.
const NOISE: usize = 1_299_709;

fn noise() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut random = Random::new(7);
        let mut bytes: Vec<u8> = (0..NOISE.div_ceil(8))
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        bytes.truncate(NOISE);
        // Twice the same, so that a slice may run over the end.
        bytes.extend_from_within(..);
        bytes
    })
}

/// A stream of bytes that differs from other streams and from itself elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl Stream {
    pub(crate) fn random(random: &mut Random, length: usize) -> Self {
        Self {
            start: random.below(NOISE),
            length,
        }
    }

    /// At most `limit` bytes from `offset` on.
    pub(crate) fn slice(&self, offset: usize, limit: usize) -> &'static [u8] {
        let from = (self.start + offset) % NOISE;
        let length = limit.min(self.length - offset).min(NOISE);
        &noise()[from..from + length]
    }

    /// Whether `bytes` are what stands at `offset`.
    pub(crate) fn holds(&self, offset: usize, bytes: &[u8]) -> bool {
        offset + bytes.len() <= self.length && self.slice(offset, bytes.len()) == bytes
    }
}

/// A listener on a free loopback port of the family.
pub(crate) fn listener(ipv6: bool) -> TcpListener {
    let address: SocketAddr = if ipv6 { "[::1]:0" } else { "127.0.0.1:0" }
        .parse()
        .unwrap();
    listen(
        address,
        &ListenOptions {
            transparent: false,
            ..ListenOptions::default()
        },
    )
    .unwrap()
}

/// Two connected pairs: client and its side of the relay, the relay's other side and the origin.
pub(crate) struct Pairs {
    pub(crate) client: TcpStream,
    pub(crate) relay_client: TcpStream,
    pub(crate) relay_origin: TcpStream,
    pub(crate) origin: TcpStream,
}

impl Pairs {
    pub(crate) async fn new(ipv6: bool) -> Self {
        let (client, relay_client) = pair(ipv6).await;
        let (relay_origin, origin) = pair(ipv6).await;
        Self {
            client,
            relay_client,
            relay_origin,
            origin,
        }
    }
}

async fn pair(ipv6: bool) -> (TcpStream, TcpStream) {
    let listener = listener(ipv6);
    let address = listener.local_addr().unwrap();
    let options = DialOptions::default();
    let (near, far) = tokio::join!(dial(address, &options), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Runs a test's future, which has to end within its time.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), future)
            .await
            .expect("the test hangs")
    })
}

/// Open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Reads until the end and checks every byte; returns how many there were.
pub(crate) async fn read_all(
    from: &mut (impl AsyncReadExt + Unpin),
    stream: Stream,
) -> io::Result<usize> {
    let mut buffer = vec![0; 64 << 10];
    let mut offset = 0;
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(offset);
        }
        assert!(
            stream.holds(offset, &buffer[..length]),
            "bytes differ behind {offset}"
        );
        offset += length;
    }
}

/// Writes the whole stream.
pub(crate) async fn write_all(
    to: &mut (impl AsyncWriteExt + Unpin),
    stream: Stream,
) -> io::Result<()> {
    let mut offset = 0;
    while offset < stream.length {
        let bytes = stream.slice(offset, 64 << 10);
        to.write_all(bytes).await?;
        offset += bytes.len();
    }
    Ok(())
}
