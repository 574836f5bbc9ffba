//! Standard output and standard error, whatever they lead to.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::PollFlags;

use super::super::queue::Batch;
use super::super::writer::Deliver;
use super::wait_writable;

/// Bytes that a pipe takes without blocking when it says that it takes some: PIPE_BUF of Linux.
/// They are not mixed with those of other writers either (pipe(7)).
const ATOMIC: usize = 4096;

/// A descriptor that other processes may share, which is why it is not made non-blocking.
pub(super) struct Descriptor {
    descriptor: OwnedFd,
    /// Bytes of the first entry that were written already.
    written: usize,
    /// Whether the last attempt left half a line behind.
    torn: bool,
}

impl Descriptor {
    pub(super) fn new(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            descriptor: descriptor.try_clone_to_owned()?,
            written: 0,
            torn: false,
        })
    }

    /// What is to be written next: whole lines as far as they fit, or a piece of one.
    fn piece(&self, batch: &Batch) -> Vec<u8> {
        let mut piece = Vec::with_capacity(ATOMIC);
        if self.torn {
            piece.push(b'\n');
        }
        for (number, entry) in batch.iter().enumerate() {
            let line = if number == 0 {
                entry.line.get(self.written..).unwrap_or_default()
            } else {
                &entry.line
            };
            let room = ATOMIC - piece.len();
            if line.len() > room && number > 0 {
                break;
            }
            piece.extend(line.iter().take(room));
        }
        piece
    }

    /// Takes away what so many bytes have delivered.
    fn advance(&mut self, bytes: usize, batch: &mut Batch) {
        let mut bytes = bytes;
        if bytes > 0 && std::mem::take(&mut self.torn) {
            bytes -= 1;
        }
        while let Some(entry) = batch.front() {
            let left = entry.line.len() - self.written;
            if bytes < left {
                self.written += bytes;
                return;
            }
            bytes -= left;
            self.written = 0;
            batch.delivered();
        }
    }
}

impl Deliver for Descriptor {
    fn deliver(&mut self, batch: &mut Batch) -> io::Result<()> {
        while !batch.is_empty() {
            wait_writable(&self.descriptor, PollFlags::empty())?;
            let written = rustix::io::write(&self.descriptor, &self.piece(batch));
            match written.map_err(io::Error::from) {
                Ok(bytes) => self.advance(bytes, batch),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) =>
                {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Err(error) => {
                    self.torn |= std::mem::take(&mut self.written) > 0;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::super::entry;
    use super::*;

    #[test]
    fn a_reader_that_stops_is_waited_for_and_loses_nothing() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut sink = Descriptor::new(writer.as_fd()).unwrap();
        drop(writer);
        let lines: Vec<_> = (0..4000)
            .map(|number| {
                entry(&format!(
                    "{{\"number\":{number},\"more\":\"{}\"}}",
                    "x".repeat(number % 9000)
                ))
            })
            .collect();
        let whole: Vec<u8> = lines.iter().flat_map(|one| one.line.to_vec()).collect();
        let mut batch = Batch::of(lines);
        let stopped = sink.deliver(&mut batch).unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::WouldBlock);
        assert!(!batch.is_empty());
        let heard = std::thread::spawn(move || {
            let mut heard = Vec::new();
            reader.read_to_end(&mut heard).unwrap();
            heard
        });
        while let Err(error) = sink.deliver(&mut batch) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        drop(sink);
        assert!(heard.join().unwrap() == whole);
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut sink = Descriptor::new(writer.as_fd()).unwrap();
        let mut batch = Batch::of([entry("{}")]);
        assert_eq!(
            sink.deliver(&mut batch).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        assert_eq!(batch.len(), 1);
    }
}
