//! One owner of the kernel side at a time.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::Error;

/// An exclusive lock on a state directory; given up on drop, or by the kernel when the process
/// ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    // Closing the file releases the lock.
    _file: File,
    path: PathBuf,
}

impl StateLock {
    /// Name of the lock file in the state directory.
    pub const FILE: &'static str = "steer.lock";

    /// Takes the lock, making the directory where it is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] where another process holds it, [`Error::Io`] where the directory cannot be
    /// written.
    pub fn take(state_dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(state_dir).map_err(Error::io("cannot make the directory", state_dir))?;
        let path = state_dir.join(Self::FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("cannot open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file, path }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy(path)),
            Err(errno) => Err(Error::io("cannot lock", &path)(
                io::Error::from_raw_os_error(errno.raw_os_error()),
            )),
        }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path()).unwrap();
        let refused = StateLock::take(dir.path()).unwrap_err();
        assert!(matches!(&refused, Error::Busy(path) if path == first.path()));
        assert!(refused.to_string().contains("another sluice"));
        drop(first);
        StateLock::take(dir.path()).unwrap();
    }
}
