//! The sinks: each delivers records its own way, and none waits longer than [`TURN`] at once.

mod datagram;
mod descriptor;
mod file;
mod journald;
mod stream;
mod syslog;
mod tcp;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::writer::Deliver;
use crate::config::{Rotation, Sink};

pub(super) use file::Settings;
pub(super) use stream::Stream;

/// How long a sink waits for its reader before it looks around.
const TURN: Duration = Duration::from_millis(200);

/// Opens a sink. Only files are opened at once: whoever names one wants to know that it cannot be.
///
/// # Errors
///
/// The system's.
pub(super) fn open(sink: &Sink, rotation: &Arc<Settings>) -> io::Result<Box<dyn Deliver>> {
    Ok(match sink {
        Sink::Stdout => Box::new(descriptor::Descriptor::new(io::stdout().as_fd())?),
        Sink::Stderr => Box::new(descriptor::Descriptor::new(io::stderr().as_fd())?),
        Sink::File(path) => Box::new(file::File::open(path.clone(), Arc::clone(rotation))?),
        Sink::Journald(path) => Box::new(datagram::Datagrams::unix(
            path.clone(),
            Box::new(journald::encode),
        )),
        Sink::SyslogUnix(path) => {
            let mut header = syslog::Header::new();
            let encode = move |entry: &_, out: &mut Vec<u8>| header.message(entry, out);
            Box::new(datagram::Datagrams::unix(path.clone(), Box::new(encode)))
        }
        Sink::SyslogUdp(server) => {
            let mut header = syslog::Header::new();
            let encode = move |entry: &_, out: &mut Vec<u8>| header.message(entry, out);
            Box::new(datagram::Datagrams::udp(server.clone(), Box::new(encode)))
        }
        Sink::SyslogTcp(server) => Box::new(tcp::Tcp::new(server.clone())),
    })
}

impl From<Rotation> for Settings {
    fn from(rotation: Rotation) -> Self {
        let settings = Self::default();
        settings.set(rotation);
        settings
    }
}

/// Waits until a descriptor takes bytes, but no longer than [`TURN`].
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`]: it takes none yet; else the system's.
fn wait_writable(descriptor: &impl AsFd, more: PollFlags) -> io::Result<PollFlags> {
    let mut polled = [PollFd::new(descriptor, PollFlags::OUT | more)];
    let turn = Timespec::try_from(TURN).map_err(|_| io::ErrorKind::InvalidInput)?;
    match poll(&mut polled, Some(&turn)) {
        // A signal was for somebody else: it is looked again, as after a turn.
        Err(Errno::INTR) => return Err(io::ErrorKind::WouldBlock.into()),
        polled => polled?,
    };
    let [polled] = polled;
    match polled.revents() {
        nothing if nothing.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
        ready => Ok(ready),
    }
}

/// Entries for tests.
#[cfg(test)]
pub(super) fn entry(json: &str) -> super::queue::Entry {
    super::queue::Entry {
        line: format!("{json}\n").into(),
        kind: super::queue::Kind::Flow,
        refused: true,
        time: std::time::UNIX_EPOCH + Duration::from_millis(951_782_400_123),
    }
}
