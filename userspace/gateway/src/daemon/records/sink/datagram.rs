//! Sinks that take a datagram for each record.

use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::super::queue::{Batch, Entry};
use super::super::writer::Deliver;
use super::wait_writable;
use crate::config::Server;

/// Makes a datagram of an entry.
type Encode = Box<dyn FnMut(&Entry, &mut Vec<u8>) + Send>;

/// A socket that takes datagrams, made when there is something to send, and anew after a failure.
pub(super) struct Datagrams {
    place: Place,
    encode: Encode,
    socket: Option<Socket>,
    /// The datagram of the first entry; empty where it is not made yet.
    message: Vec<u8>,
}

enum Place {
    Unix(PathBuf),
    Udp(Server),
}

enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl Datagrams {
    pub(super) fn unix(path: PathBuf, encode: Encode) -> Self {
        Self::new(Place::Unix(path), encode)
    }

    pub(super) fn udp(server: Server, encode: Encode) -> Self {
        Self::new(Place::Udp(server), encode)
    }

    const fn new(place: Place, encode: Encode) -> Self {
        Self {
            place,
            encode,
            socket: None,
            message: Vec::new(),
        }
    }
}

impl Socket {
    fn open(place: &Place) -> io::Result<Self> {
        match place {
            Place::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(socket))
            }
            Place::Udp(Server { host, port }) => {
                let mut last = None;
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    let any = if address.is_ipv4() {
                        "0.0.0.0:0"
                    } else {
                        "[::]:0"
                    };
                    let socket = UdpSocket::bind(any)?;
                    match socket.connect(address) {
                        Ok(()) => {
                            socket.set_nonblocking(true)?;
                            return Ok(Self::Udp(socket));
                        }
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(|| io::Error::other("the name has no address")))
            }
        }
    }

    fn send(&self, message: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.send(message),
            Self::Udp(socket) => socket.send(message),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

impl Deliver for Datagrams {
    fn deliver(&mut self, batch: &mut Batch) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::open(&self.place)?,
        };
        while let Some(entry) = batch.front() {
            if self.message.is_empty() {
                (self.encode)(entry, &mut self.message);
            }
            match socket.send(&self.message) {
                Ok(_) => {
                    batch.delivered();
                    self.message.clear();
                }
                Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                    batch.refused();
                    self.message.clear();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waited = wait_writable(&socket, PollFlags::empty());
                    if waited.is_err() {
                        self.socket = Some(socket);
                        waited?;
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.socket = Some(socket);
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.socket = Some(Socket::open(&self.place)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry;
    use super::super::syslog::Header;
    use super::*;

    fn plain() -> Encode {
        Box::new(|entry, out| out.extend(entry.json()))
    }

    #[test]
    fn a_socket_that_comes_back_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut sink = Datagrams::unix(path.clone(), plain());
        let mut batch = Batch::of([entry("1")]);
        assert!(sink.deliver(&mut batch).is_err());
        let mut buffer = [0; 16];
        for _ in 0..2 {
            let server = UnixDatagram::bind(&path).unwrap();
            // What a server that is gone was told is told to its successor.
            while sink.deliver(&mut batch).is_err() {}
            assert_eq!(server.recv(&mut buffer).unwrap(), 1);
            drop(server);
            std::fs::remove_file(&path).unwrap();
            batch = Batch::of([entry("2")]);
            assert!(sink.deliver(&mut batch).is_err());
            assert_eq!(batch.len(), 1);
        }
    }

    #[test]
    fn one_that_is_full_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut sink = Datagrams::unix(path, plain());
        let mut batch = Batch::of((0..10_000).map(|_| entry("record")));
        let full = sink.deliver(&mut batch).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 16];
            (0..10_000)
                .filter(|_| server.recv(&mut buffer).unwrap() == 6)
                .count()
        });
        while let Err(error) = sink.deliver(&mut batch) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        assert_eq!(reader.join().unwrap(), 10_000);
    }

    #[test]
    fn a_server_is_sent_a_datagram_for_each_record() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = Server {
            host: "127.0.0.1".into(),
            port: server.local_addr().unwrap().port(),
        };
        let mut header = Header::new();
        let encode = move |entry: &Entry, out: &mut Vec<u8>| header.message(entry, out);
        let mut sink = Datagrams::udp(place, Box::new(encode));
        let too_large = entry(&"x".repeat(70_000));
        let mut batch = Batch::of([entry("{\"a\":1}"), too_large, entry("{\"a\":2}")]);
        sink.deliver(&mut batch).unwrap();
        let mut buffer = [0; 512];
        server
            .set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        for wanted in ["{\"a\":1}", "{\"a\":2}"] {
            let length = server.recv(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            assert!(text.starts_with("<133>1 "), "{text}");
            assert!(text.ends_with(wanted), "{text}");
        }
    }
}
