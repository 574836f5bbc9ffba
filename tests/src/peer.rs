//! Servers on the lab's internet, each a thread that ends with its owner.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::netns::Netns;

/// How often a waiting server looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(50);
/// How long a server waits for a silent client.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Serves TCP: each connection gets a thread inside the namespace.
    ///
    /// # Panics
    ///
    /// When the address cannot be bound.
    #[must_use]
    pub fn tcp(
        netns: &Netns,
        address: SocketAddr,
        serve: impl Fn(TcpStream, SocketAddr) + Send + Sync + 'static,
    ) -> Self {
        let listener = netns
            .run(|| listen(address))
            .unwrap_or_else(|error| panic!("listening on {address}: {error}"));
        let serve = Arc::new(serve);
        Self::start(netns, address, move |stop| {
            while !stop.load(Ordering::Relaxed) {
                let Ok((socket, peer)) = listener.accept() else {
                    continue;
                };
                let stream = TcpStream::from(socket);
                let serve = Arc::clone(&serve);
                // It ends with its connection, which has an end: every read has a timeout.
                let _detached = thread::spawn(move || {
                    if stream.set_read_timeout(Some(PATIENCE)).is_ok()
                        && let Some(peer) = peer.as_socket()
                    {
                        serve(stream, peer);
                    }
                });
            }
        })
    }

    /// Serves UDP: `answer` makes a reply of each datagram, or none.
    ///
    /// # Panics
    ///
    /// When the address cannot be bound.
    #[must_use]
    pub fn udp(
        netns: &Netns,
        address: SocketAddr,
        answer: impl Fn(&[u8], SocketAddr) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        let socket = netns
            .run(|| UdpSocket::bind(address))
            .and_then(|socket| socket.set_read_timeout(Some(GLANCE)).map(|()| socket))
            .unwrap_or_else(|error| panic!("binding {address}: {error}"));
        Self::start(netns, address, move |stop| {
            let mut bytes = vec![0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut bytes) else {
                    continue;
                };
                if let Some(reply) = answer(&bytes[..length], peer) {
                    // A client that went away is no fault of the server.
                    let _lost = socket.send_to(&reply, peer);
                }
            }
        })
    }

    /// Serves HTTPS: any request gets `body`.
    ///
    /// # Panics
    ///
    /// When the address cannot be bound.
    #[must_use]
    pub fn https(
        netns: &Netns,
        address: SocketAddr,
        config: &Arc<ServerConfig>,
        body: &str,
    ) -> Self {
        let config = Arc::clone(config);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        Self::tcp(netns, address, move |stream, _| {
            let Ok(tls) = ServerConnection::new(Arc::clone(&config)) else {
                return;
            };
            let mut tls = StreamOwned::new(tls, stream);
            let mut request: Vec<u8> = Vec::new();
            let mut chunk = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match tls.read(&mut chunk) {
                    Ok(length) if length > 0 => request.extend(&chunk[..length]),
                    _ => return,
                }
            }
            if tls.write_all(answer.as_bytes()).is_ok() {
                tls.conn.send_close_notify();
                // The client may have closed already; it has its answer.
                let _closed = tls.flush();
            }
        })
    }

    /// Serves TCP by sending back whatever comes, until the client has finished.
    ///
    /// # Panics
    ///
    /// When the address cannot be bound.
    #[must_use]
    pub fn echo(netns: &Netns, address: SocketAddr) -> Self {
        Self::tcp(netns, address, |mut stream, _| {
            let mut chunk = [0; 16_384];
            while let Ok(length) = stream.read(&mut chunk) {
                if length == 0 || stream.write_all(&chunk[..length]).is_err() {
                    return;
                }
            }
        })
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn start(
        netns: &Netns,
        address: SocketAddr,
        body: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = netns.spawn(move || body(&seen));
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the server on {} panicked", self.address);
        }
    }
}

/// One connection that a [`Recorder`] has seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recording {
    /// All that came so far.
    pub bytes: Vec<u8>,
    /// Whether the client finished (FIN) or the connection broke.
    pub ended: bool,
}

/// An origin that remembers exactly what it was sent, by connection, in the order they came.
#[derive(Debug)]
pub struct Recorder {
    peer: Peer,
    state: Arc<(Mutex<Vec<Recording>>, Condvar)>,
}

impl Recorder {
    /// Records on this address; `reply` is sent once, after the client's first bytes.
    ///
    /// # Panics
    ///
    /// When the address cannot be bound.
    #[must_use]
    pub fn new(netns: &Netns, address: SocketAddr, reply: &[u8]) -> Self {
        let state: Arc<(Mutex<Vec<Recording>>, Condvar)> = Arc::default();
        let (shared, reply) = (Arc::clone(&state), reply.to_vec());
        let peer = Peer::tcp(netns, address, move |mut stream, _| {
            let index = {
                let mut all = lock(&shared.0);
                all.push(Recording::default());
                all.len() - 1
            };
            let mut chunk = [0; 16_384];
            let mut first = true;
            loop {
                let length = stream.read(&mut chunk).unwrap_or(0);
                if let Some(recording) = lock(&shared.0).get_mut(index) {
                    recording.bytes.extend(&chunk[..length]);
                    recording.ended = length == 0;
                }
                shared.1.notify_all();
                if length == 0 || (std::mem::take(&mut first) && stream.write_all(&reply).is_err())
                {
                    return;
                }
            }
        });
        Self { peer, state }
    }

    /// Where it records.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.peer.address()
    }

    /// What came so far.
    #[must_use]
    pub fn recordings(&self) -> Vec<Recording> {
        lock(&self.state.0).clone()
    }

    /// Waits until `enough` holds for what came, at most `timeout`; returns what came.
    #[must_use]
    pub fn wait_until(
        &self,
        timeout: Duration,
        enough: impl Fn(&[Recording]) -> bool,
    ) -> Vec<Recording> {
        let deadline = Instant::now() + timeout;
        let mut all = lock(&self.state.0);
        while !enough(&all) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            let woken = self.state.1.wait_timeout(all, left);
            all = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        all.clone()
    }
}

/// A connection that panicked has left the list as it was: it is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    // Bounds `accept` as well.
    socket.set_read_timeout(Some(GLANCE))?;
    Ok(socket)
}
