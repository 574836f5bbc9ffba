//! Secrets in files: read only where nobody else could have read or written them, written whole.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno, process::geteuid};
use zeroize::Zeroizing;

use crate::{AuthorityError, key};

/// Bytes that a certificate with its chain, a key or a passphrase may have.
const LIMIT: u64 = 1 << 20;

/// Reads a file that is no secret.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, AuthorityError> {
    let file = File::open(path).map_err(|error| failed(path, error))?;
    let mut bytes = Vec::new();
    drain(path, file, &mut bytes)?;
    Ok(bytes)
}

/// Reads a secret. What is checked is the file that was opened, not what its name stands for a
/// moment earlier.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
    // systemd gives a service its credentials by an access list, which shows as the group's right
    // to read (systemd.exec(5), `LoadCredential=`).
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let is_credential = credentials.is_some_and(|directory| path.starts_with(directory));
    read_closed(path, if is_credential { 0o037 } else { 0o077 })
}

/// Reads a secret whose mode has none of the bits of `others`.
fn read_closed(path: &Path, others: u32) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
    let file = fs::OpenOptions::new()
        .read(true)
        // A pipe in place of the file must not hold the daemon up.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => AuthorityError::Link { path: path.into() },
            _ => failed(path, error),
        })?;
    let found = file.metadata().map_err(|error| failed(path, error))?;
    if !found.is_file() {
        return Err(AuthorityError::NoFile { path: path.into() });
    }
    let mode = found.mode() & 0o7777;
    if mode & others != 0 {
        return Err(AuthorityError::Mode {
            path: path.into(),
            mode,
        });
    }
    let user = geteuid().as_raw();
    if found.uid() != user && found.uid() != 0 {
        return Err(AuthorityError::Owner {
            path: path.into(),
            owner: found.uid(),
            user,
        });
    }
    // Sized before, so that growing leaves no copy behind.
    let size = usize::try_from(found.len().min(LIMIT)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    drain(path, file, &mut bytes)?;
    Ok(bytes)
}

fn drain(path: &Path, file: File, into: &mut Vec<u8>) -> Result<(), AuthorityError> {
    file.take(LIMIT + 1)
        .read_to_end(into)
        .map_err(|error| failed(path, error))?;
    if into.len() as u64 > LIMIT {
        return Err(AuthorityError::TooLarge { path: path.into() });
    }
    Ok(())
}

fn failed(path: &Path, source: io::Error) -> AuthorityError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => AuthorityError::Missing { path },
        _ => AuthorityError::Read { path, source },
    }
}

/// Whether a name is taken, be it by a link that leads nowhere.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// What to do where a file is already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Existing {
    /// Refuse.
    Keep,
    /// Put the new file in its place.
    Replace,
}

/// Writes a file as a whole or not at all: a reader sees the file before or the file after, also
/// where the machine stops in between. `mode` are the rights, whatever the umask.
pub(crate) fn write(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    existing: Existing,
) -> Result<(), AuthorityError> {
    let failed = |source| AuthorityError::Write {
        path: path.into(),
        source,
    };
    if existing == Existing::Keep && exists(path) {
        return Err(AuthorityError::Exists { path: path.into() });
    }
    let temporary = beside(path).map_err(failed)?;
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode))?;
        file.sync_all()?;
        match existing {
            Existing::Replace => fs::rename(&temporary, path),
            // Unlike a rename, a link fails where somebody was quicker.
            Existing::Keep => fs::hard_link(&temporary, path),
        }
    })();
    // After a rename there is nothing to remove.
    let _gone = fs::remove_file(&temporary);
    match written {
        Ok(()) => sync_directory(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && exists(path) => {
            Err(AuthorityError::Exists { path: path.into() })
        }
        Err(error) => Err(failed(error)),
    }
}

/// Renames a file, to stay.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), AuthorityError> {
    fs::rename(from, to)
        .and_then(|()| sync_directory(to))
        .map_err(|source| AuthorityError::Write {
            path: to.into(),
            source,
        })
}

/// Removes a file, to stay; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), AuthorityError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done
            .and_then(|()| sync_directory(path))
            .map_err(|source| AuthorityError::Write {
                path: path.into(),
                source,
            }),
    }
}

/// A name in the same directory that nobody can foresee.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let number: [u8; 8] = key::random().map_err(|_| io::ErrorKind::Other)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{:016x}", u64::from_be_bytes(number)));
    Ok(path.with_file_name(temporary))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_is_written_whole_and_never_overwritten_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.key");
        write(&path, b"one", 0o600, Existing::Keep).unwrap();
        let refused = write(&path, b"two", 0o600, Existing::Keep);
        assert!(
            matches!(refused, Err(AuthorityError::Exists { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, b"two", 0o644, Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o644);
        // No temporary file stays behind.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let link = dir.path().join("link");
        symlink("nowhere", &link).unwrap();
        let refused = write(&link, b"x", 0o600, Existing::Keep);
        assert!(
            matches!(refused, Err(AuthorityError::Exists { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn e4_a_secret_is_read_only_where_it_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.key");
        write(&path, b"secret", 0o600, Existing::Keep).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(*read_secret(&path).unwrap(), b"secret");
        for wrong in [0o640, 0o604, 0o660, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(wrong)).unwrap();
            let error = read_secret(&path).unwrap_err();
            let AuthorityError::Mode { mode, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(mode, wrong);
            assert_eq!(read_closed(&path, 0o037).is_ok(), wrong == 0o640);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read_secret(&path).is_ok());
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        let error = read_secret(&link).unwrap_err();
        assert!(matches!(error, AuthorityError::Link { .. }), "{error}");
        let error = read_secret(dir.path()).unwrap_err();
        assert!(matches!(error, AuthorityError::NoFile { .. }), "{error}");
        let error = read_secret(&dir.path().join("none")).unwrap_err();
        assert!(matches!(error, AuthorityError::Missing { .. }), "{error}");
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        fs::write(&path, vec![b'x'; (LIMIT + 1) as usize]).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, AuthorityError::TooLarge { .. }), "{error}");
    }
}
