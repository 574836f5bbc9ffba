//! What the kernel programs say one by one, for debugging.

use std::{io, os::fd::AsFd as _, thread};

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, poll};

use crate::Error;

/// Load-time constant of the object: the most talkative level that is not compiled out.
pub(crate) const LEVEL: &str = "AYA_LOG_LEVEL";

/// Whether the kernel programs tell of every packet that they refuse.
///
/// Meant for a quiet network and a short time: each refusal costs more than the judgement did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KernelLog {
    /// The verifier takes the whole of it out of the programs.
    #[default]
    Off,
    /// One line for each refused packet, as far as the reader keeps up.
    Refusals,
}

impl KernelLog {
    pub(crate) const fn level(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Refusals => aya_log::Level::Debug as u8,
        }
    }
}

/// Hands what the programs say to `tracing`.
struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tracing::info!(target: "kernel", "{}", record.args());
    }

    fn flush(&self) {}
}

/// Reads what the programs of an object say, on a thread that lasts as long as the process.
pub(crate) fn follow(object: &mut Ebpf) -> Result<(), Error> {
    let mut logger = EbpfLogger::init_with_logger(object, ToTracing)
        .map_err(|error| Error::KernelLog(io::Error::other(error)))?;
    let reader = move || {
        loop {
            let mut ready = [PollFd::from_borrowed_fd(logger.as_fd(), PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) => logger.flush(),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    tracing::warn!(%errno, "the kernel programs are not listened to any more");
                    return;
                }
            }
        }
    };
    thread::Builder::new()
        .name("kernel-log".to_owned())
        .spawn(reader)
        .map(drop)
        .map_err(Error::KernelLog)
}
