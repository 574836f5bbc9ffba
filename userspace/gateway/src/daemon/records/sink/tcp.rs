//! A syslog server over one connection (RFC 6587).

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::sockopt;

use super::super::queue::Batch;
use super::super::writer::Deliver;
use super::syslog::Header;
use super::wait_writable;
use crate::config::Server;

/// Time to connect to one address.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long what was sent may stay unacknowledged before the server is taken for gone, and how long
/// a connection may be silent before it is asked for.
const GONE: u32 = 30_000;
const SILENT: Duration = Duration::from_secs(30);

/// A connection that is made when there is something to send, and anew when it is lost. The protocol
/// knows no receipts: what was handed to a connection that is lost later may be lost with it.
pub(super) struct Tcp {
    server: Server,
    header: Header,
    connection: Option<TcpStream>,
    /// The message of the first entry, and how much of it was sent.
    message: Vec<u8>,
    sent: usize,
}

impl Tcp {
    pub(super) fn new(server: Server) -> Self {
        Self {
            server,
            header: Header::new(),
            connection: None,
            message: Vec::new(),
            sent: 0,
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let Server { host, port } = &self.server;
        let mut last = None;
        for address in (host.as_str(), *port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_nonblocking(true)?;
                    sockopt::set_tcp_user_timeout(&stream, GONE)?;
                    sockopt::set_tcp_keepidle(&stream, SILENT)?;
                    sockopt::set_socket_keepalive(&stream, true)?;
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("the name has no address")))
    }

    fn send(&mut self, stream: &mut TcpStream, batch: &mut Batch) -> io::Result<()> {
        while let Some(entry) = batch.front() {
            if self.message.is_empty() {
                self.header.counted(entry, &mut self.message);
            }
            let ready = wait_writable(stream, PollFlags::RDHUP)?;
            if ready.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
                return Err(stream.take_error()?.unwrap_or_else(|| {
                    io::Error::new(io::ErrorKind::BrokenPipe, "the server has closed")
                }));
            }
            let rest = self.message.get(self.sent..).unwrap_or_default();
            match stream.write(rest) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.sent >= self.message.len() {
                batch.delivered();
                self.message.clear();
                self.sent = 0;
            }
        }
        Ok(())
    }
}

impl Deliver for Tcp {
    fn deliver(&mut self, batch: &mut Batch) -> io::Result<()> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let sent = self.send(&mut stream, batch);
        match &sent {
            // The next connection begins with a whole message.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.sent = 0,
            _ => self.connection = Some(stream),
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::super::entry;
    use super::*;

    fn server() -> (TcpListener, Tcp) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
        };
        (listener, Tcp::new(server))
    }

    #[test]
    fn a_lost_connection_is_made_anew_and_begins_with_a_whole_message() {
        let (listener, mut sink) = server();
        let mut batch = Batch::of([entry("first")]);
        sink.deliver(&mut batch).unwrap();
        let (mut old, _) = listener.accept().unwrap();
        let mut head = [0; 4];
        old.read_exact(&mut head).unwrap();
        // More than buffers hold, so that the connection ends within a message.
        let mut batch = Batch::of((0..2).map(|_| entry(&"x".repeat(32 << 20))));
        let full = sink.deliver(&mut batch).unwrap_err();
        assert_eq!((full.kind(), batch.len()), (io::ErrorKind::WouldBlock, 2));
        assert!(sink.sent > 0);
        drop(old);
        let reader = std::thread::spawn(move || {
            let (mut new, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            new.read_to_end(&mut heard).unwrap();
            heard
        });
        let left = batch.len();
        while !batch.is_empty() {
            let _ = sink.deliver(&mut batch);
        }
        drop(sink);
        let heard = reader.join().unwrap();
        let mut rest = heard.as_slice();
        let mut count = 0;
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').unwrap();
            let length: usize = std::str::from_utf8(&rest[..space])
                .unwrap()
                .parse()
                .unwrap();
            let message = &rest[space + 1..space + 1 + length];
            assert!(message.starts_with(b"<133>1 ") && message.ends_with(b"xxxx"));
            rest = &rest[space + 1 + length..];
            count += 1;
        }
        assert_eq!(count, left);
    }

    #[test]
    fn a_server_that_closes_is_noticed_before_anything_is_lost() {
        let (listener, mut sink) = server();
        sink.deliver(&mut Batch::of([entry("1")])).unwrap();
        let (mut old, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        old.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        while !heard.ends_with(b"] 1") {
            let mut byte = [0];
            old.read_exact(&mut byte).unwrap();
            heard.extend(byte);
        }
        drop(old);
        let mut batch = Batch::of([entry("2")]);
        // Loopback tells of the end at once, or as good as.
        while sink.connection.is_some() && sink.deliver(&mut batch).is_ok() {
            assert!(batch.is_empty(), "nothing is left to try with");
            batch = Batch::of([entry("2")]);
        }
        assert_eq!(batch.len(), 1);
        sink.deliver(&mut batch).unwrap();
        let (mut new, _) = listener.accept().unwrap();
        drop(sink);
        let mut heard = String::new();
        new.read_to_string(&mut heard).unwrap();
        assert!(heard.ends_with("] 2"), "{heard}");
    }

    #[test]
    fn nobody_there_is_an_error() {
        let (listener, mut sink) = server();
        drop(listener);
        let mut batch = Batch::of([entry("1")]);
        assert!(sink.deliver(&mut batch).is_err());
        assert_eq!(batch.len(), 1);
    }
}
